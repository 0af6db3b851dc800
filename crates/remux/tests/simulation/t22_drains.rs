//! T22: the server drains connections one by one, and all of them at a reload, while requests are on their way, wait to be looked
//! at, or are being answered. Every request is served exactly once, wherever it ends up.

use std::time::{Duration, Instant};

use remux::Wire;
use remux::pool::Limits;

use crate::runner::{Outcome, REMUX2, Scenario};
use crate::world::{Kind, World, plan::Plan};

const DRAINS: Scenario = Scenario {
    name: "t22_drains",
    seeds: 2_000,
    wires: REMUX2,
    live,
    must: &[
        ("server drains", 2),
        ("reload", 2),
        ("refused and retried", 3),
        ("turned away by a server that stops", 10),
        ("refused twice", 10),
    ],
};

fn live(seed: u64, wire: Wire, tells: bool) -> Outcome {
    let mut plan = Plan::quiet(seed, wire, Instant::now());
    plan.links.delay = (100, 40_000);
    plan.pool.limits =
        Limits { max_count: u32::try_from(plan.rng.between(2, 30)).unwrap(), ..plan.pool.limits };
    plan.wanted.insert(Kind::ServerDrain);
    (plan.odds, plan.drain_within) = (plan.rng.between(1, 3), 500);
    plan.queue = plan.millis(0, 60).max(Duration::from_millis(1));
    let count = plan.rng.size(5, 60);
    plan.add_flows(count, Duration::from_millis(500));
    for flow in &mut plan.flows {
        flow.shrink(20_000);
    }
    for _ in 0..plan.rng.between(0, 3) {
        let at = plan.millis(0, 700);
        plan.reloads.push(at);
    }
    let flows = plan.flows.len();
    let life = World::new(plan).telling(tells).live();
    let mut outcome = Outcome::from(&life);
    for (index, flow) in life.flows.iter().enumerate() {
        let at = format!("seed {seed}, flow {index}: {flow:?}");
        outcome.note("refused and retried", u64::from(flow.retried));
        outcome.note("refused twice", u64::from(flow.refusals > 1));
        outcome.note("served", u64::from(flow.times_served));
        assert_eq!(flow.retried, flow.refusals > 0, "a refused request is asked for again, once: {at}");
        assert!(flow.refusals <= 2, "{at}");
        // Draining is no fault: only who met two servers that stop may go without.
        if flow.refusals < 2 {
            assert_eq!(flow.times_served, 1, "{at}");
            assert!(flow.is_whole(), "{at}");
        }
    }
    assert_eq!(life.flows.len(), flows);
    outcome
}

#[test]
fn t22_requests_that_race_a_drain_are_served_exactly_once() {
    DRAINS.run();
}
