//! T23: connections wear out after a few streams or a moment, there may be few of them, and many dials fail. The world checks each
//! step: none beyond the cap, no stream on a worn one, no dial beside those that will do, none right after one that failed.

use std::time::{Duration, Instant};

use remux::Wire;
use remux::pool::Limits;

use crate::runner::{BOTH, Outcome, Scenario};
use crate::world::{Kind, World, flow::Flow, plan::Plan};

const CHURN: Scenario = Scenario {
    name: "t23_churn",
    seeds: 2_000,
    wires: BOTH,
    live,
    must: &[
        ("dial failure", 3),
        ("connections", 1),
        ("flows without a stream", 4),
        ("two and more dials at a time", 5),
    ],
};

fn live(seed: u64, wire: Wire, tells: bool) -> Outcome {
    let mut plan = Plan::quiet(seed, wire, Instant::now());
    plan.pool.limits = Limits {
        max_age: plan.millis(20, 2_000),
        max_count: u32::try_from(plan.rng.between(1, 6)).unwrap(),
        max_streams: u32::try_from(plan.rng.between(1, 8)).unwrap(),
    };
    plan.pool.idle_max = plan.millis(5, 500);
    plan.pool.max_connections = plan.rng.size(1, 6);
    plan.pool.request_timeout = plan.millis(1_000, 10_000);
    if plan.rng.one_in(2) {
        plan.wanted.insert(Kind::DialFailure);
        plan.odds = plan.rng.between(1, 4);
    }
    plan.links.delay = (100, 30_000);
    plan.late = Duration::from_micros(plan.rng.between(0, 5_000));
    let (count, spread) = (plan.rng.size(10, 60), plan.millis(50, 3_000));
    plan.add_flows(count, spread);
    for flow in &mut plan.flows {
        flow.shrink(8_000);
    }
    let fails = plan.wanted.contains(&Kind::DialFailure);
    let cap = plan.pool.max_connections;
    let life = World::new(plan).telling(tells).live();
    let mut outcome = Outcome::from(&life);
    outcome.note("connections", life.events.len() as u64);
    let without = life.flows.iter().filter(|flow| flow.refused.is_some()).count() as u64;
    outcome.note("flows without a stream", without);
    outcome.note("two and more dials at a time", u64::from(outcome.figures["most dials at a time"] > 1));
    // Where no dial fails, only a full house leaves a request without a stream, and only after its whole time; it says
    // "time-out" if a place became free in the last moment and the dial for it was still under way.
    let says = |flow: &Flow, word: &str| flow.refused.as_ref().is_some_and(|why| why.contains(word));
    let full = life.flows.iter().any(|flow| says(flow, "limit"));
    for flow in life.flows.iter().filter(|_| !fails) {
        assert!(
            flow.is_whole() || says(flow, "limit") || full && says(flow, "time-out"),
            "seed {seed}, cap {cap}: {flow:?}"
        );
    }
    outcome
}

#[test]
fn t23_worn_connections_and_failing_dials_cost_no_stream_that_had_begun_and_make_no_herd() {
    CHURN.run();
}
