//! The asynchronous glue in a simulated world: real front, pool, drivers, listener and relays; clock, sockets and network are
//! simulated, and a seed decides everything.
//!
//! ```text
//!  application ═ SimSocket ═ client::flow ─ Dialer ═ SimSocket ═ Listener ─ relay ═ SimSocket ═ destination
//!   (actor)      no faults   (the product's own)   cuts, stalls,            no faults            (actor)
//!                                                  black holes
//! ```
//! The clock is tokio's, stopped: it jumps to the next deadline when nothing can go on. What is left to the tests with real programs:
//! the kernel's sockets, TLS, name service, signals.

mod actor;
mod socket;
mod world;

use std::collections::BTreeMap;

use world::{Fate, World};

/// Worlds in `cargo test`; `GLUE_SEEDS` runs more, `GLUE_SEED` one.
const SEEDS: u64 = 2_000;

#[test]
fn whole_flows_keep_every_promise_whatever_befalls_their_connections() {
    if let Some(seed) = number("GLUE_SEED") {
        let told = World::new(seed).run();
        println!("{told:#?}");
        return told.check(seed);
    }
    let mut struck = BTreeMap::<Fate, u64>::new();
    let (mut flows, mut complete) = (0, 0);
    for seed in 0..number("GLUE_SEEDS").unwrap_or(SEEDS) {
        let told = World::new(seed).run();
        told.check(seed);
        flows += told.flows.len();
        complete += told.flows.iter().filter(|flow| flow.is_complete()).count();
        for fate in &told.fates {
            *struck.entry(*fate).or_default() += 1;
        }
    }
    println!("{flows} flows, {complete} complete; worlds by what befell them: {struck:?}");
    for fate in Fate::ALL {
        let worlds = struck.get(&fate).copied().unwrap_or(0);
        assert!(worlds >= SEEDS / 40, "{fate:?} befell {worlds} worlds only: it is hardly tested");
    }
}

#[test]
fn same_seed_is_the_same_world() {
    for seed in 0..SEEDS / 100 {
        assert_eq!(World::new(seed).run(), World::new(seed).run(), "seed {seed}");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}
