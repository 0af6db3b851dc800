//! T28: the application was told of success, and its first bytes are on their way, when the server's dial is refused, times out, finds
//! no name or is denied. The opener learns the code, is never told of an end or of a safe retry, and nothing runs twice.

use std::time::Instant;

use framing::remux2::Code;
use remux::Wire;

use crate::runner::{Outcome, REMUX2, Scenario};
use crate::world::{World, plan::Plan};

const FAILED: Scenario = Scenario {
    name: "t28_failed_dials",
    seeds: 2_000,
    wires: REMUX2,
    live,
    must: &[("dials that failed", 1), ("bytes sent in vain", 2), ("flows whole beside them", 2)],
};

const CODES: [Code; 8] = [
    Code::DEST_REFUSED,
    Code::DIAL_TIMEOUT,
    Code::DNS_NXDOMAIN,
    Code::DNS_FAIL,
    Code::RULE_REFUSED,
    Code::NET_UNREACHABLE,
    Code::HOST_UNREACHABLE,
    Code::LIMIT,
];

fn live(seed: u64, wire: Wire, tells: bool) -> Outcome {
    let mut plan = Plan::quiet(seed, wire, Instant::now());
    plan.links.delay = (100, 40_000);
    // Time a dial takes.
    plan.queue = plan.millis(1, 10_000);
    for _ in 0..plan.rng.between(2, 20) {
        let begins = plan.millis(0, 1_000);
        let (up, down) = (plan.rng.size(0, 60_000), plan.rng.size(0, 10_000));
        let fails = plan.rng.one_in(2);
        let code = *plan.rng.pick(&CODES).unwrap();
        let asks = plan.rng.one_in(2);
        let flow = plan.add_flow(begins, up, down);
        flow.wants_opened = asks;
        flow.denied = fails.then_some(code);
        flow.tainted = fails;
    }
    plan.flows[0].denied = Some(Code::DEST_REFUSED);
    plan.flows[0].tainted = true;
    let life = World::new(plan).telling(tells).live();
    let mut outcome = Outcome::from(&life);
    for flow in &life.flows {
        let at = format!("seed {seed}: {flow:?}");
        let Some(code) = flow.denied else {
            assert!(flow.is_whole(), "{at}");
            outcome.note("flows whole beside them", 1);
            continue;
        };
        outcome.note("dials that failed", 1);
        outcome.note("bytes sent in vain", flow.client.sent as u64);
        assert_eq!(flow.client.code, Some((code, false)), "{at}");
        assert!(!flow.client.fin && flow.client.received == 0 && flow.opened == 0, "{at}");
        assert!(!flow.retried && flow.times_served == 1, "{at}");
    }
    outcome
}

#[test]
fn t28_dial_that_fails_after_success_was_told_is_a_reset_with_its_code_and_never_an_end() {
    FAILED.run();
}
