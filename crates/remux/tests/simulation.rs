//! Ten thousand simulated worlds: sessions on both wires and a pool, with everything going wrong that can.
//!
//! ```text
//!  flows ─▶ Pool ─▶ Session ◀── Duplex (delay, splits, cuts, stalls, black holes) ──▶ Session ─▶ flows
//!           client                                                                    server
//! ```
//! Every byte describes itself (flow, direction, offset), so the receiver knows a wrong, lost, doubled or foreign one. Nothing may
//! end early, fail, be suspected or be refused without a fault that explains it; what has a reason to end must end in time; nothing
//! is done before an event asked for it; and when all is over nobody holds anything.
//!
//! The world is decided by its seed alone: `REMUX_SEED=4711 cargo test -p remux --test simulation` replays one, both wires, with
//! its story.
//! `REMUX_SEEDS=200000` runs more of them.

mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use remux::Wire;
use world::{Kind, World};

#[test]
fn no_world_loses_doubles_or_mixes_a_byte_or_hangs_or_keeps_anything() {
    if let Some(seed) = number("REMUX_SEED") {
        for wire in [Wire::Remux2, Wire::Classic] {
            let fired = World::new(seed, wire).telling().run();
            println!("seed {seed} on {}: fired {fired:?}", wire.name());
        }
        return;
    }
    let seeds = number("REMUX_SEEDS").unwrap_or(10_000);
    let next = AtomicU64::new(0);
    let tally: Mutex<BTreeMap<Kind, u64>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    for wire in [Wire::Remux2, Wire::Classic] {
                        let fired = World::new(seed, wire).run();
                        let mut tally = tally.lock().unwrap();
                        for kind in fired {
                            *tally.entry(kind).or_default() += 1;
                        }
                    }
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap();
    println!("{seeds} seeds, both wires each; worlds in which a fault of a kind struck:");
    for kind in Kind::ALL {
        let count = tally.get(&kind).copied().unwrap_or(0);
        println!("  {kind:?}: {count}");
        assert!(
            count >= 500.min(seeds / 20),
            "{kind:?} struck in only {count} worlds: the simulation no longer tests it"
        );
    }
}

#[test]
fn same_seed_is_the_same_world() {
    for seed in 0..20 {
        for wire in [Wire::Remux2, Wire::Classic] {
            assert_eq!(World::new(seed, wire).trace(), World::new(seed, wire).trace());
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}
