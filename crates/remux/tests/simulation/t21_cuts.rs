//! T21: small worlds in which nothing goes wrong are lived once to count what happens on each connection, and then again and
//! again, each time with one connection broken right after one of these events: a write, a read, a timer, an event told, a
//! stream opened or read. Every event of every connection has its turn.

use std::time::{Duration, Instant};

use remux::Wire;
use remux::pool::Limits;
use simnet::Fault;

use crate::runner::{BOTH, Outcome, Scenario};
use crate::world::{Kind, World, plan::Plan};

const CUTS: Scenario = Scenario {
    name: "t21_cuts",
    seeds: 400,
    wires: BOTH,
    live,
    must: &[("cuts", 2), ("black holes", 8), ("flows that ended early", 2), ("flows whole beside a cut", 2)],
};

/// A few small flows on a few connections.
fn reference(seed: u64, wire: Wire, start: Instant) -> Plan {
    let mut plan = Plan::quiet(seed, wire, start);
    plan.links.capacity = (2 << 10, 64 << 10);
    plan.links.delay = (100, 20_000);
    plan.pool.limits = Limits { max_count: 2, ..plan.pool.limits };
    plan.pool.idle_max = Duration::from_millis(300);
    if plan.rng.one_in(2) {
        plan.wanted.extend([Kind::ServerStream, Kind::SafeRetry]);
    }
    plan.draw_configs();
    let flows = plan.rng.size(1, 4);
    plan.add_flows(flows, Duration::from_millis(100));
    for flow in &mut plan.flows {
        flow.shrink(12_000);
    }
    plan
}

/// One reference run, and all of its cuts.
fn live(seed: u64, wire: Wire, tells: bool) -> Outcome {
    let start = Instant::now();
    let life = World::new(reference(seed, wire, start)).telling(tells).live();
    let mut outcome = Outcome::from(&life);
    outcome.note("reference runs", 1);
    // Every fourth run's connections vanish as well: nobody is told, and the ends have to find out.
    let faults: &[Fault] = if seed.is_multiple_of(4) { &[Fault::Cut, Fault::Vanish] } else { &[Fault::Cut] };
    for (nth, events) in life.events.iter().enumerate() {
        for (event, fault) in (1..=*events).flat_map(|event| faults.iter().map(move |fault| (event, *fault)))
        {
            let mut plan = reference(seed, wire, start);
            plan.cut = Some((nth, event, fault));
            let life = World::new(plan).telling(tells).live();
            outcome.add(&life);
            outcome.note(if fault == Fault::Cut { "cuts" } else { "black holes" }, 1);
            let whole = life.flows.iter().filter(|flow| flow.is_whole()).count() as u64;
            outcome.note("flows whole beside a cut", whole);
            outcome.note("flows that ended early", life.flows.len() as u64 - whole);
        }
    }
    outcome
}

#[test]
fn t21_cut_at_any_event_of_a_connection_is_never_taken_for_an_end() {
    CUTS.run();
}
