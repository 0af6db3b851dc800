//! T25: a client that opens and resets, that makes the server reset, that opens and reads nothing, or that opens without end, beside
//! the clients of somebody else. Every frame costs the server time here, so what an attacker costs the others shows. The same
//! world is lived again without the attackers.

use std::time::{Duration, Instant};

use remux::{ConnectionError, Wire};

use crate::runner::{Outcome, REMUX2, Scenario};
use crate::world::attack::Tactic;
use crate::world::{Life, World, plan::Plan};

const RESETS: Scenario = Scenario {
    name: "t25_resets",
    seeds: 2_000,
    wires: REMUX2,
    live,
    must: &[
        ("closed: calm", 2),
        ("closed: resets", 4),
        ("closed: not read", 12),
        ("frames of attacks", 1),
        ("most dials behind one attacker", 1),
    ],
};

const TACTICS: [Tactic; 4] = [Tactic::ResetLoop, Tactic::Provoke, Tactic::OpenUnread, Tactic::OpenMany];

fn world(seed: u64, wire: Wire, start: Instant, attacked: bool) -> World {
    let mut plan = Plan::quiet(seed, wire, start);
    plan.even_links((5_000, 60_000), (64 << 10, 512 << 10));
    // What a frame costs on the machine the figures of docs/benchmarks.md are from, several times over.
    plan.frame_cost = Duration::from_micros(5);
    let count = plan.rng.size(20, 40);
    for _ in 0..count {
        let begins = plan.millis(0, 3_000);
        let (up, down) = (plan.rng.size(0, 2_000), plan.rng.size(0, 8_000));
        plan.add_flow(begins, up, down);
    }
    for _ in 0..plan.rng.between(1, 3) {
        let (tactic, begins) = (*plan.rng.pick(&TACTICS).unwrap(), plan.millis(0, 500));
        let streams = if tactic == Tactic::OpenUnread { plan.rng.between(5, 60) } else { 1 };
        plan.attacks.push((tactic, begins, u32::try_from(streams).unwrap()));
    }
    if !attacked {
        plan.attacks.clear();
    }
    World::new(plan)
}

fn live(seed: u64, wire: Wire, tells: bool) -> Outcome {
    let start = Instant::now();
    let life = world(seed, wire, start, true).telling(tells).live();
    let mut outcome = Outcome::from(&life);
    for (attacker, stats) in &life.attackers {
        let at = format!("seed {seed}: {attacker:?}, {stats:?}");
        let Some((when, cause)) = &attacker.ended else { panic!("never ended, {at}") };
        let secs = (*when - attacker.began).as_secs();
        match cause {
            ConnectionError::Calm { limit } => {
                outcome.note("closed: calm", 1);
                outcome.note("closed: resets", u64::from(limit.contains("resets")));
            }
            ConnectionError::Stalled { .. } | ConnectionError::Dead { .. } => {
                outcome.note("closed: not read", 1)
            }
            other => panic!("ended by {other}, {at}"),
        }
        outcome.note("frames of attacks", stats.frames_in);
        // 100 resets at once and 10 a second; 100 refusals in 10 s; and one that was too much.
        let resets = 101 + 10 * (secs + 1);
        assert!(stats.resets_in <= resets, "{at}");
        assert!(stats.refused <= 101 + resets, "{at}");
        // 64 opens at once and 256 a second; never more streams than 256 at a time.
        assert!(stats.accepted <= 64 + 256 * (secs + 1), "{at}");
        assert!(attacker.peak.1 <= 256, "{at}");
    }
    assert!(life.flows.iter().all(|flow| flow.is_whole()), "seed {seed}: an honest flow was harmed");
    let calm = world(seed, wire, start, false).live();
    let (with, without) = (slowest_open(&life), slowest_open(&calm));
    assert!(with <= without * 6 / 5, "seed {seed}: opens took {with:?} beside attackers, {without:?} else");
    outcome
}

/// Of so few the 99th percentile is the slowest: from the request until the server takes it up.
fn slowest_open(life: &Life) -> Duration {
    let times = life.flows.iter().map(|flow| flow.served.unwrap() - flow.asked.unwrap());
    times.max().unwrap_or_default()
}

#[test]
fn t25_resets_and_refusals_without_end_are_cut_short_and_others_open_as_fast() {
    RESETS.run();
}
