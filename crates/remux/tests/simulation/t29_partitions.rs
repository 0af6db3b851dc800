//! T29: for a while nothing arrives from one side, or from both, then everything does, as over a TCP connection whose path was gone.
//! An end whose application waits knows within 10 s (the server, which asks later, 20 s), any other with a stream open within 30 s; two
//! seconds after the path is back a new stream is served as ever. In other worlds the server's answers to PINGs are lost while its
//! data comes: nobody calls that a dead connection.

use std::time::{Duration, Instant};

use remux::Wire;

use crate::runner::{BOTH, Outcome, Scenario};
use crate::world::conn::Half;
use crate::world::plan::{Partition, Plan};
use crate::world::{World, flow::Flow};

const PARTITIONS: Scenario = Scenario {
    name: "t29_partitions",
    seeds: 2_000,
    wires: BOTH,
    live,
    must: &[
        ("partition", 3),
        ("answers lost", 30),
        ("flows after the path came back", 3),
        ("connections given up", 10),
    ],
};

pub(crate) fn live(seed: u64, wire: Wire, tells: bool) -> Outcome {
    let mut plan = Plan::quiet(seed, wire, Instant::now());
    plan.links.delay = (500, 40_000);
    plan.links.unknown = plan.rng.between(1, 2);
    // Without what the kernel knows of the path, bytes that fill it are the write stall's case, which takes longer.
    plan.links.capacity = (256 << 10, 512 << 10);
    if seed.is_multiple_of(3) { answers_lost(plan, tells) } else { partitioned(plan, tells) }
}

fn partitioned(mut plan: Plan, tells: bool) -> Outcome {
    let seed = plan.seed;
    let mut healed = Duration::ZERO;
    for _ in 0..plan.rng.between(1, 2) {
        let (at, time) = (healed + plan.millis(100, 15_000), plan.millis(100, 45_000));
        let both = plan.rng.one_in(3);
        let half = if plan.rng.one_in(2) { Half::Client } else { Half::Server };
        plan.partitions.push(Partition { at, time, half });
        if both {
            plan.partitions.push(Partition { at, time, half: half.other() });
        }
        healed = at + time;
    }
    for n in 0..plan.rng.between(3, 14) {
        let begins =
            Duration::from_millis(plan.rng.between(0, u64::try_from(healed.as_millis()).unwrap() + 8_000));
        let (up, down) = (plan.rng.size(1, 3_000), plan.rng.size(1, 20_000));
        let (pause, up_trickles, down_trickles) =
            (plan.millis(10, 9_000), plan.rng.one_in(3), plan.rng.one_in(3));
        let flow = plan.add_flow(begins, up, down);
        // Some talk all the time, some hold still between two words.
        for (half, trickles) in [(Half::Client, up_trickles), (Half::Server, down_trickles)] {
            if trickles && n < 6 {
                let side = flow.side(half);
                side.trickles = Some((side.planned / 30 + 1, pause));
            }
        }
    }
    let start = plan.start;
    let life = World::new(plan).telling(tells).live();
    let mut outcome = Outcome::from(&life);
    outcome.note("connections given up", life.given_up);
    for flow in life.flows.iter().filter(|flow| flow.asked.is_some_and(|at| at >= start + healed)) {
        outcome.note("flows after the path came back", 1);
        let (asked, Some(served)) = (flow.asked.unwrap(), flow.served) else {
            panic!("seed {seed}: never served after the path came back: {flow:?}")
        };
        let due = asked.max(start + healed + RECOVERY) + USUAL;
        assert!(
            served <= due,
            "seed {seed}: served {:?} after the path came back",
            served - (start + healed)
        );
    }
    outcome
}

fn answers_lost(mut plan: Plan, tells: bool) -> Outcome {
    let seed = plan.seed;
    plan.loses_answers = true;
    // One flow may be silent for almost as long as it takes to be called dead; beside others, which ask sooner, not so long.
    let flows = if plan.rng.one_in(2) { 1 } else { plan.rng.between(2, 4) };
    let pause = if flows == 1 { Duration::from_millis(4_800) } else { Duration::from_millis(600) };
    for _ in 0..flows {
        let begins = plan.millis(0, 1_000);
        let flow = plan.add_flow(begins, 10, 4_000);
        flow.side(Half::Server).trickles = Some((100, pause));
    }
    let life = World::new(plan).telling(tells).live();
    assert!(life.flows.iter().all(Flow::is_whole), "seed {seed}: called dead while data came");
    Outcome::from(&life)
}

#[test]
fn t29_silence_is_noticed_in_time_and_data_is_proof_of_life() {
    PARTITIONS.run();
}

/// New streams work so long after the path returned.
const RECOVERY: Duration = Duration::from_secs(2);
/// A dial and a round trip, and the server's turn.
const USUAL: Duration = Duration::from_millis(500);
