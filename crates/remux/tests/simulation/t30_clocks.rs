//! T30: clocks that run up to 30 % fast or slow, machines that are stopped or suspended for up to 90 s, delays that are all multiples of
//! 10 ms so that much falls on one instant, and what falls on one instant in any order. Nobody polls without end: at most ten
//! deadlines are acted on for each thing that happens.

use std::sync::Arc;
use std::time::Duration;

use remux::Wire;
use simnet::Host;

use crate::runner::{BOTH, Outcome, Scenario};
use crate::world::flow::Reads;
use crate::world::{Kind, World, plan::Plan};

const CLOCKS: Scenario = Scenario {
    name: "t30_clocks",
    seeds: 2_000,
    wires: BOTH,
    live,
    must: &[("sleep", 3), ("skewed", 2), ("shuffled", 3), ("client resets", 20), ("safe retry", 50)],
};

pub(crate) fn live(seed: u64, wire: Wire, tells: bool) -> Outcome {
    let mut plan = Plan::mix(seed, wire);
    // The mix's faults beside it, but for those whose times the world judges by an exact clock.
    for kind in [Kind::BlackHole, Kind::Stall, Kind::PathGrows, Kind::HostilePeer, Kind::Suspend] {
        plan.wanted.remove(&kind);
    }
    plan.wakes.clear();
    if wire == Wire::Classic {
        // There who does not read for ten seconds loses the stream, and a reader that sleeps does not read.
        for flow in &mut plan.flows {
            (flow.client.reads, flow.server.reads) = (Reads::Fast, Reads::Fast);
        }
    }
    let skewed = plan.rng.one_in(2) || plan.rng.one_in(2);
    plan.lenient = skewed;
    let mut sleeps = 0;
    for at in 0..2 {
        let permille = if skewed { u32::try_from(plan.rng.between(700, 1_300)).unwrap() } else { 1_000 };
        let mut host = Host::skewed(plan.start, permille);
        let mut from = Duration::ZERO;
        for _ in 0..plan.rng.between(0, 2) {
            from += plan.millis(50, 4_000);
            let (time, stands) = (plan.millis(100, 90_000), plan.rng.one_in(2));
            host.sleep(plan.start + from, time, stands);
            from += time;
            sleeps += 1;
            // A suspended machine learns of it when it looks, at most a second later.
            if at == 0 && stands {
                let late = plan.millis(0, 1_000);
                plan.wakes.push(from + late);
            }
        }
        plan.hosts[at] = Arc::new(host);
    }
    plan.shuffles = plan.rng.one_in(2);
    if plan.rng.one_in(2) {
        (plan.links.delay, plan.links.jitter, plan.links.grain) = ((10_000, 60_000), 0, 10_000);
    }
    let (shuffles, limit) = (plan.shuffles, plan.limit);
    plan.limit = limit + Duration::from_secs(200);
    let life = World::new(plan).telling(tells).live();
    let mut outcome = Outcome::from(&life);
    outcome.note("skewed", u64::from(skewed));
    outcome.note("shuffled", u64::from(shuffles));
    outcome.note("sleeps", sleeps);
    let events: u64 = life.events.iter().sum();
    assert!(life.polls <= 10 * (events + 10), "seed {seed}: {} polls for {events} events", life.polls);
    outcome
}

#[test]
fn t30_clocks_that_differ_and_machines_that_sleep_break_no_promise_and_poll_no_loop() {
    CLOCKS.run();
}
