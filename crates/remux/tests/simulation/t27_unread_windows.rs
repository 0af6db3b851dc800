//! T27: clients fill the windows of all their streams and the server reads none of it. Its budget goes through its stages in order,
//! is never overrun, and when it sheds, it sheds the heaviest. Afterwards honest clients are served again.

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
