//! T24: one reader stops for ten minutes. The same world is lived a second time with all of them reading: beside the stopped one the
//! others take no longer than they do there.

use std::time::{Duration, Instant};

use remux::Wire;
use remux::pool::Limits;

use crate::runner::{BOTH, Outcome, Scenario};
use crate::world::conn::Half;
use crate::world::flow::{Flow, Reads};
use crate::world::{Life, World, plan::Plan};

const STOPPED: Scenario = Scenario {
    name: "t24_stopped_reader",
    seeds: 2_000,
    wires: BOTH,
    live,
    must: &[("stopped reader", 1), ("stopped with bytes waiting", 3)],
};

/// Downloads that begin over ten minutes, all on one connection; the first one's reader stops, or not.
fn world(seed: u64, wire: Wire, start: Instant, stops: bool) -> World {
    let mut plan = Plan::quiet(seed, wire, start);
    let minutes = Duration::from_secs(600);
    plan.pool.limits = Limits { max_age: 2 * minutes, max_count: 1_000, max_streams: 256 };
    plan.pool.max_connections = 1;
    plan.even_links((500, 60_000), (32 << 10, 128 << 10));
    plan.limit = 3 * minutes;
    // More than its window, so that its sender is held up.
    let greedy = plan.rng.size(100_000, 600_000);
    let first = plan.add_flow(Duration::ZERO, 100, greedy);
    if stops {
        first.side(Half::Client).reads = Reads::Stops(minutes);
        // It may not get its end: without credit it is ended soon, and with it once nobody takes the last bytes for five minutes.
        first.tainted = true;
    }
    for n in 0..plan.rng.between(8, 20) {
        // Some at once, beside the first one's bytes; the others when it stands still.
        let begins = if n < 4 { plan.millis(0, 500) } else { plan.millis(1_000, 590_000) };
        let (up, down) = (plan.rng.size(0, 2_000), plan.rng.size(1_000, 60_000));
        plan.add_flow(begins, up, down);
    }
    World::new(plan)
}

fn live(seed: u64, wire: Wire, tells: bool) -> Outcome {
    let start = Instant::now();
    let stopped = world(seed, wire, start, true).telling(tells).live();
    let mut outcome = Outcome::from(&stopped);
    let first = &stopped.flows[0];
    let waited = first.server.planned > 100_000 + (64 << 10);
    outcome.note("stopped with bytes waiting", u64::from(waited));
    if wire == Wire::Classic {
        // Without credit it holds everybody up, for ten seconds: then it ends, and everybody goes on.
        for flow in &stopped.flows[1..] {
            assert!(flow.is_whole(), "seed {seed}: {flow:?}");
        }
        let most = stopped.flows[1..].iter().map(time).max().unwrap_or_default();
        assert!(most < Duration::from_secs(25), "seed {seed}: a flow beside a stopped reader took {most:?}");
        return outcome;
    }
    let cut = first.client.failed.as_ref().is_some_and(|why| why.contains("the last bytes were not taken"));
    assert!(first.is_whole() || cut, "seed {seed}: {first:?}");
    outcome.note("last bytes not taken", u64::from(cut));
    let calm = world(seed, wire, start, false).live();
    let (with, without) = (others(&stopped), others(&calm));
    // At least 95 % of the throughput, and a millisecond of jitter each.
    let flows = u32::try_from(stopped.flows.len()).unwrap();
    assert!(
        with <= without * 20 / 19 + Duration::from_millis(1) * flows,
        "seed {seed}: {with:?} beside a stopped reader, {without:?} else"
    );
    outcome.note("flows beside a stopped reader", u64::from(flows) - 1);
    outcome
}

/// Time all but the first flow took together.
fn others(life: &Life) -> Duration {
    life.flows[1..].iter().map(time).sum()
}

/// From the request to the last byte of the answer.
fn time(flow: &Flow) -> Duration {
    flow.client.fin_at.unwrap() - flow.asked.unwrap()
}

#[test]
fn t24_reader_that_stops_for_ten_minutes_slows_nobody_down() {
    STOPPED.run();
}
