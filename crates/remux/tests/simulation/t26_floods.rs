//! T26: floods of frames that carry next to nothing: single bytes behind unread ones, empty DATA, CREDIT that changes nothing, PING,
//! SETTINGS, PAD, unknown frames, PRIORITY. Whatever is sent, the connection is charged little and ends at the limit of its kind.

use std::time::{Duration, Instant};

use remux::{ConnectionError, LimitConfig, Rate, Wire};

use crate::runner::{Outcome, REMUX2, Scenario};
use crate::world::attack::Tactic;
use crate::world::{World, plan::Plan};

const FLOODS: Scenario = Scenario {
    name: "t26_floods",
    seeds: 2_000,
    wires: REMUX2,
    live,
    must: &[
        ("tiny", 16),
        ("empty", 16),
        ("credits", 16),
        ("pings", 16),
        ("settings", 16),
        ("padding", 16),
        ("unknown", 16),
        ("priorities", 16),
        ("frames of attacks", 1),
    ],
};

/// What ends each of them, in words of the error, and how many frames there may be: at once, and a second.
fn limit(tactic: Tactic) -> (&'static str, &'static str, u64, u64) {
    match tactic {
        Tactic::Tiny => ("tiny", "tiny", TINY, TINY),
        Tactic::Empty => ("empty", "DATA is empty", 1, 0),
        Tactic::Credits => ("credits", "credits", 1_000, 1_000),
        Tactic::Pings => ("pings", "pings", 20, 10),
        Tactic::Settings => ("settings", "settings", 16, 1),
        // 256 KiB at 2008 bytes each.
        Tactic::Padding => ("padding", "padding", 131, 0),
        Tactic::Unknown => ("unknown", "stray", 1_024, 100),
        Tactic::Priorities => ("priorities", "stray", 1_024, 100 + 10 * 8),
        other => panic!("{other:?} is no flood"),
    }
}

const FLOOD: [Tactic; 8] = [
    Tactic::Tiny,
    Tactic::Empty,
    Tactic::Credits,
    Tactic::Pings,
    Tactic::Settings,
    Tactic::Padding,
    Tactic::Unknown,
    Tactic::Priorities,
];

fn live(seed: u64, wire: Wire, tells: bool) -> Outcome {
    let mut plan = Plan::quiet(seed, wire, Instant::now());
    plan.even_links((1_000, 40_000), (64 << 10, 512 << 10));
    // The limit of single bytes is large; a small one tests the same.
    let tiny = Rate::per_second(u32::try_from(TINY).unwrap(), u32::try_from(TINY).unwrap());
    plan.configs[1].limits = LimitConfig { tiny, ..LimitConfig::default() };
    let tactic = FLOOD[usize::try_from(seed % 8).unwrap()];
    let streams = u32::try_from(plan.rng.between(1, 8)).unwrap();
    plan.attacks.push((tactic, Duration::ZERO, streams));
    for _ in 0..plan.rng.between(0, 4) {
        let begins = plan.millis(0, 500);
        plan.add_flow(begins, 1_000, 4_000);
    }
    let life = World::new(plan).telling(tells).live();
    let mut outcome = Outcome::from(&life);
    let [(attacker, stats)] = &life.attackers[..] else { panic!("seed {seed}: one attacker") };
    let at = format!("seed {seed}: {attacker:?}, {stats:?}");
    let (name, cause, burst, rate) = limit(tactic);
    outcome.note(name, 1);
    outcome.note("frames of attacks", stats.frames_in);
    match &attacker.ended {
        Some((when, ConnectionError::Calm { limit })) if limit.contains(cause) => {
            let secs = (*when - attacker.began).as_secs() + 1;
            let most = burst + rate * secs + u64::from(streams) + 2;
            assert!(stats.frames_in <= most, "{most} frames, {at}");
        }
        Some((_, ConnectionError::Protocol { what })) if what.contains(cause) => {
            assert!(stats.frames_in <= u64::from(streams) + 2, "{at}");
        }
        other => panic!("ended by {other:?}, {at}"),
    }
    // What its streams were promised, and no more whatever it says.
    let promised = u64::from(streams) * STREAM + CONNECTION;
    assert!(attacker.peak.0 <= promised, "{promised} bytes, {at}");
    // Answers do not pile up: each kind of them waits in one place.
    assert!(stats.frames_out <= stats.frames_in + 4, "{at}");
    assert!(life.flows.iter().all(|flow| flow.is_whole()), "an honest flow was harmed, {at}");
    outcome
}

const TINY: u64 = 2_000;
/// What a stream nobody reads is charged at most: its window, and what the pieces in it cost.
const STREAM: u64 = (256 << 10) + (16 << 10);
/// What a connection is charged beside its streams.
const CONNECTION: u64 = 256 << 10;

#[test]
fn t26_floods_of_next_to_nothing_end_at_their_limits_and_cost_no_memory() {
    FLOODS.run();
}
