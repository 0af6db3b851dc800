//! Runs a scenario over its seeds, on all cores, and counts what struck.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use remux::Wire;

use crate::world::{Kind, Life};

/// A named set of worlds.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Seeds in `cargo test`; each is lived on every one of the wires.
    pub(crate) seeds: u64,
    pub(crate) wires: &'static [Wire],
    /// Lives one seed, and panics where a promise is broken. True: tells its story.
    pub(crate) live: fn(u64, Wire, bool) -> Outcome,
    /// What has to happen in at least one world of so many, or the scenario tests nothing.
    pub(crate) must: &'static [(&'static str, u64)],
}

/// What happened in a world.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Outcome {
    /// Figures, each a fault that struck or something counted.
    pub(crate) figures: BTreeMap<&'static str, u64>,
    /// A digest of everything that happened.
    pub(crate) trace: u64,
}

impl Outcome {
    /// What another life of the same seed adds.
    pub(crate) fn add(&mut self, life: &Life) {
        for (what, n) in Self::from(life).figures {
            self.note(what, n);
        }
        self.trace = self.trace.rotate_left(7) ^ life.trace;
    }

    /// So many more of these.
    pub(crate) fn note(&mut self, what: &'static str, n: u64) {
        if n > 0 {
            *self.figures.entry(what).or_default() += n;
        }
    }
}

impl From<&Life> for Outcome {
    fn from(life: &Life) -> Self {
        let kinds = life.struck.iter().copied().map(|kind: Kind| (kind.name(), 1));
        let tally = life.tally.iter().map(|(what, n)| (*what, *n));
        Self { figures: kinds.chain(tally).filter(|(_, n)| *n > 0).collect(), trace: life.trace }
    }
}

impl Scenario {
    /// All seeds; panics at the first that breaks a promise, naming it.
    pub(crate) fn run(&self) {
        if let Some(seed) = number("REMUX_SEED") {
            for wire in self.wires {
                println!(
                    "{} seed {seed} on {}: {:?}",
                    self.name,
                    wire.name(),
                    (self.live)(seed, *wire, true).figures
                );
            }
            return;
        }
        let began = Instant::now();
        let seconds = number("REMUX_SECONDS").map(Duration::from_secs);
        let seeds = if seconds.is_some() { u64::MAX } else { number("REMUX_SEEDS").unwrap_or(self.seeds) };
        let from = number("REMUX_FROM").unwrap_or(0);
        let next = AtomicU64::new(0);
        let done = AtomicU64::new(0);
        let failed = AtomicBool::new(false);
        let tally: Mutex<BTreeMap<&'static str, (u64, u64)>> = Mutex::default();
        let work = || {
            loop {
                let late = seconds.is_some_and(|seconds| began.elapsed() >= seconds);
                let n = next.fetch_add(1, Ordering::Relaxed);
                if late || n >= seeds || failed.load(Ordering::Relaxed) {
                    return;
                }
                for wire in self.wires {
                    let outcome = self.live_or_name(from + n, *wire, &failed);
                    if n.is_multiple_of(TWICE) {
                        let again = (self.live)(from + n, *wire, false);
                        assert_eq!(outcome, again, "{}: seed {} is two worlds", self.name, from + n);
                    }
                    let mut tally = tally.lock().unwrap();
                    for (what, n) in outcome.figures {
                        let entry = tally.entry(what).or_default();
                        *entry = (entry.0 + 1, entry.1 + n);
                    }
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        // In `cargo test` the scenarios share the cores; alone, one takes them all.
        let workers =
            if seconds.is_some() { std::thread::available_parallelism().map_or(2, usize::from) } else { 1 };
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(work);
            }
        });
        self.report(done.into_inner(), from, began, &tally.into_inner().unwrap());
    }

    /// A broken promise is told with the words that show it again.
    fn live_or_name(&self, seed: u64, wire: Wire, failed: &AtomicBool) -> Outcome {
        let lived = std::panic::catch_unwind(|| (self.live)(seed, wire, false));
        lived.unwrap_or_else(|panic| {
            failed.store(true, Ordering::Relaxed);
            let name = self.name;
            println!("{name}: seed {seed} on {} breaks a promise; again, with its story:", wire.name());
            println!("  REMUX_SEED={seed} cargo test -p remux --test simulation {name} -- --nocapture");
            std::panic::resume_unwind(panic)
        })
    }

    fn report(&self, seeds: u64, from: u64, began: Instant, tally: &BTreeMap<&'static str, (u64, u64)>) {
        let worlds = seeds * self.wires.len() as u64;
        println!("{}: {seeds} seeds from {from} on, {worlds} worlds in {:?}", self.name, began.elapsed());
        for (what, (worlds, sum)) in tally {
            println!("  {what}: {worlds} worlds, {sum} in all");
        }
        for (what, one_in) in self.must {
            let struck = tally.get(what).map_or(0, |(worlds, _)| *worlds);
            let least = worlds / one_in;
            assert!(
                struck >= least,
                "{}: \"{what}\" in {struck} of {worlds} worlds: it is no longer tested",
                self.name
            );
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// Both wires.
pub(crate) const BOTH: &[Wire] = &[Wire::Remux2, Wire::Classic];
/// The one with credit, codes and drains.
pub(crate) const REMUX2: &[Wire] = &[Wire::Remux2];
/// One seed in so many is lived twice: it has to be the same world.
const TWICE: u64 = 100;
