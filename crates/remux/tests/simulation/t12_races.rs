//! T12: streams larger than their windows, slow and stopped readers, resets from both sides at any byte. After a reset nothing is
//! delivered, credit that crosses it harms nobody, and what was promised is given back to the last byte.

use std::time::{Duration, Instant};

use remux::{WindowConfig, Wire};

use crate::runner::{BOTH, Outcome, Scenario};
use crate::world::{Kind, World, plan::Plan};

const RACES: Scenario = Scenario {
    name: "t12_races",
    seeds: 2_000,
    wires: BOTH,
    live,
    must: &[
        ("client resets", 3),
        ("server resets", 3),
        ("slow reader", 2),
        ("stopped reader", 4),
        ("beyond the first window", 3),
    ],
};

fn live(seed: u64, wire: Wire, tells: bool) -> Outcome {
    let mut plan = Plan::quiet(seed, wire, Instant::now());
    plan.wanted.extend([Kind::ClientReset, Kind::ServerReset, Kind::SlowReader, Kind::StoppedReader]);
    plan.links.delay = (100, 30_000);
    plan.draw_configs();
    for config in &mut plan.configs {
        // Some windows shrink to a frame or two, some never grow.
        config.window = WindowConfig {
            min: u32::try_from(plan.rng.between(16 << 10, 256 << 10)).unwrap(),
            max: if plan.rng.one_in(2) { 256 << 10 } else { 4 << 20 },
            slow_after: Duration::from_millis(plan.rng.between(5, 1_000)),
            ..WindowConfig::default()
        };
    }
    let count = plan.rng.size(1, 4);
    plan.add_flows(count, Duration::from_millis(50));
    for flow in &mut plan.flows {
        let sizes = [0, 1].map(|_| plan.rng.size(0, 500_000));
        flow.resize(sizes, &mut plan.rng);
    }
    let life = World::new(plan).telling(tells).live();
    let mut outcome = Outcome::from(&life);
    let far = |flow: &&crate::world::flow::Flow| flow.client.received.max(flow.server.received) > 256 << 10;
    outcome.note("beyond the first window", life.flows.iter().filter(far).count() as u64);
    outcome
}

#[test]
fn t12_resets_that_race_data_and_credit_deliver_nothing_more_and_keep_nothing() {
    RACES.run();
}
