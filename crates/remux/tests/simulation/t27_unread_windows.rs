//! T27: clients fill the windows of all their streams and the server reads none of it. Its budget goes through its stages in order,
//! is never overrun, and when it sheds, it sheds the heaviest. Afterwards honest clients are served again; and meanwhile, where one identity
//! takes all that it gets and another one asks for little.

use std::sync::Arc;
use std::time::Instant;

use remux::{Budget, ConnectionError, Stage, Wire};

use crate::runner::{Outcome, REMUX2, Scenario};
use crate::world::attack::Tactic;
use crate::world::{World, plan::Plan};

const UNREAD: Scenario = Scenario {
    name: "t27_unread_windows",
    seeds: 2_000,
    wires: REMUX2,
    live,
    must: &[
        ("stage NoGrowth", 10),
        ("stage NoOpens", 3),
        ("stage NoAccept", 10),
        ("shed", 20),
        ("late flows served", 1),
    ],
};

fn live(seed: u64, wire: Wire, tells: bool) -> Outcome {
    let mut plan = Plan::quiet(seed, wire, Instant::now());
    plan.even_links((1_000, 20_000), (256 << 10, 512 << 10));
    let limit = plan.rng.between(4 << 20, 24 << 20);
    plan.budgets[1] = Arc::new(Budget::new(limit));
    for _ in 0..plan.rng.between(1, 3) {
        let (begins, streams) = (plan.millis(0, 50), plan.rng.between(4, 60));
        plan.attacks.push((Tactic::Fill, begins, u32::try_from(streams).unwrap()));
    }
    // Some come while there is no room, and some after the attackers are gone.
    let early = plan.rng.size(0, 6);
    for n in 0..early + 4 {
        let begins = if n < early { plan.millis(0, 2_000) } else { plan.millis(200_000, 210_000) };
        plan.add_flow(begins, 2_000, 20_000).tainted = n < early;
    }
    plan.watches_budget = true;
    let budget = plan.budgets[1].clone();
    let life = World::new(plan).telling(tells).live();
    let mut outcome = Outcome::from(&life);
    for (attacker, stats) in &life.attackers {
        outcome.note("opens refused", stats.refused);
        if let Some((_, ConnectionError::Memory { .. })) = &attacker.ended {
            outcome.note("shed", 1);
        }
    }
    for flow in &life.flows[early..] {
        assert!(flow.is_whole(), "seed {seed}: not served after the flood: {flow:?}");
        outcome.note("late flows served", 1);
    }
    assert_eq!((budget.used(), budget.stage()), (0, Stage::Plenty), "seed {seed}");
    outcome
}

#[test]
fn t27_windows_nobody_reads_never_overrun_the_budget_and_go_through_its_stages() {
    UNREAD.run();
}

const SHARES: Scenario = Scenario {
    name: "t27_shares",
    seeds: 2_000,
    wires: REMUX2,
    live: live_beside,
    must: &[("stage NoOpens", 2), ("opens refused", 2), ("shed", 10), ("flows served meanwhile", 1)],
};

/// One identity with many connections that want all the memory there is, beside one that wants little of it.
fn live_beside(seed: u64, wire: Wire, tells: bool) -> Outcome {
    let mut plan = Plan::quiet(seed, wire, Instant::now());
    plan.even_links((1_000, 20_000), (256 << 10, 512 << 10));
    let limit = plan.rng.between(5 << 20, 16 << 20);
    plan.budgets[1] = Arc::new(Budget::new(limit));
    let connections = plan.rng.between(1, 12);
    for _ in 0..connections {
        let begins = plan.millis(0, 500);
        let streams = (limit / (200 << 10)).div_ceil(connections);
        plan.attacks.push((Tactic::Fill, begins, u32::try_from(streams).unwrap().max(2)));
    }
    for _ in 0..plan.rng.between(1, 5) {
        let begins = plan.millis(0, 60_000);
        plan.add_flow(begins, 2_000, 20_000);
    }
    plan.watches_budget = true;
    let life = World::new(plan).telling(tells).live();
    let mut outcome = Outcome::from(&life);
    for (attacker, stats) in &life.attackers {
        outcome.note("opens refused", stats.refused);
        if let Some((_, ConnectionError::Memory { .. })) = &attacker.ended {
            outcome.note("shed", 1);
        }
    }
    for flow in &life.flows {
        assert!(flow.is_whole(), "seed {seed}: not served beside the flood: {flow:?}");
        outcome.note("flows served meanwhile", 1);
    }
    assert_eq!(life.tally.get("honest connections shed").copied().unwrap_or(0), 0, "seed {seed}");
    outcome
}

#[test]
fn t27_identity_that_takes_all_it_gets_costs_another_one_nothing() {
    SHARES.run();
}
