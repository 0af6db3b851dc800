//! What all connections of a process may hold and promise together.
//!
//! ```text
//!  growth  (windows beyond their initial size)    0 ──── 75 % ─────── 90 % ──── 100 %
//!                                                  grow   no growth    no window above 64 KiB
//!  held    (promised + buffered bytes)             0 ──────────────────────────── 100 %
//!                                                  accept                        refuse new streams
//! ```
//!
//! Only atomics: a session adds and takes back in steps of 64 KiB and more, so the counters are seldom touched.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The process-wide account; share one among all connections.
#[derive(Debug)]
pub struct Budget {
    growth: AtomicU64,
    growth_limit: u64,
    held: AtomicU64,
    held_limit: u64,
}

impl Budget {
    /// A budget of `growth` bytes for windows beyond their initial size, and `held` bytes for everything
    /// promised or buffered.
    pub const fn new(growth: u64, held: u64) -> Self {
        Self { growth: AtomicU64::new(0), growth_limit: growth, held: AtomicU64::new(0), held_limit: held }
    }

    /// A budget for a machine (or control group) with `total` bytes of memory: an eighth, at most 1 GiB, for
    /// growth; half for all that is promised or buffered.
    pub const fn for_memory(total: u64) -> Self {
        let eighth = total / 8;
        Self::new(if eighth < (1 << 30) { eighth } else { 1 << 30 }, total / 2)
    }

    /// How tight growth is.
    pub fn pressure(&self) -> Pressure {
        let used = self.growth.load(Ordering::Relaxed);
        let part = |percent: u64| self.growth_limit.saturating_div(100).saturating_mul(percent);
        if used > part(90) {
            Pressure::High
        } else if used > part(75) {
            Pressure::Raised
        } else {
            Pressure::Low
        }
    }

    /// Whether promised and buffered bytes leave room for another stream.
    pub fn has_room(&self) -> bool {
        self.held.load(Ordering::Relaxed) < self.held_limit
    }

    /// Bytes of window growth in use, and the limit.
    pub fn growth(&self) -> (u64, u64) {
        (self.growth.load(Ordering::Relaxed), self.growth_limit)
    }

    /// Bytes promised or buffered, and the limit.
    pub fn held(&self) -> (u64, u64) {
        (self.held.load(Ordering::Relaxed), self.held_limit)
    }

    /// Whether a window may grow by `more` bytes.
    pub(crate) fn allows_growth(&self, more: u64) -> bool {
        let used = self.growth.load(Ordering::Relaxed);
        self.pressure() == Pressure::Low && used.saturating_add(more) <= self.growth_limit
    }
}

/// For a machine with 2 GiB.
impl Default for Budget {
    fn default() -> Self {
        Self::for_memory(2 << 30)
    }
}

/// How near the growth budget is to its end.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Pressure {
    /// Up to 75 %: windows may grow.
    Low,
    /// Over 75 %: no window grows, and streams nobody reads are ended after a while.
    Raised,
    /// Over 90 %: nothing above 64 KiB is granted.
    High,
}

/// One session's entries in the [`Budget`]; taken back when it is dropped.
#[derive(Debug)]
pub(crate) struct Ledger {
    budget: Arc<Budget>,
    growth: Entry,
    held: Entry,
}

impl Ledger {
    pub(crate) const fn new(budget: Arc<Budget>) -> Self {
        Self { budget, growth: Entry::new(), held: Entry::new() }
    }

    /// Bytes of growth this session uses.
    pub(crate) const fn growth(&self) -> u64 {
        self.growth.now
    }

    /// Bytes this session promised or buffers.
    pub(crate) const fn held(&self) -> u64 {
        self.held.now
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// A part of this session's growth went from `old` to `new`.
    pub(crate) fn change_growth(&mut self, old: u64, new: u64) {
        self.growth.change(old, new);
        self.growth.post(&self.budget.growth, STEP);
    }

    /// A part of what this session holds went from `old` to `new`.
    pub(crate) fn change_held(&mut self, old: u64, new: u64) {
        self.held.change(old, new);
        self.held.post(&self.budget.held, STEP);
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.growth.now = 0;
        self.held.now = 0;
        self.growth.post(&self.budget.growth, 0);
        self.held.post(&self.budget.held, 0);
    }
}

/// A sum and how much of it the process knows of.
#[derive(Debug)]
struct Entry {
    now: u64,
    posted: u64,
}

impl Entry {
    const fn new() -> Self {
        Self { now: 0, posted: 0 }
    }

    const fn change(&mut self, old: u64, new: u64) {
        self.now = self.now.saturating_add(new).saturating_sub(old);
    }

    fn post(&mut self, total: &AtomicU64, step: u64) {
        if self.now.abs_diff(self.posted) < step {
            return;
        }
        if self.now >= self.posted {
            total.fetch_add(self.now.saturating_sub(self.posted), Ordering::Relaxed);
        } else {
            total.fetch_sub(self.posted.saturating_sub(self.now), Ordering::Relaxed);
        }
        self.posted = self.now;
    }
}

/// Differences below this stay in the session.
const STEP: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_ledger_gives_everything_back() {
        let budget = Arc::new(Budget::new(1 << 20, 1 << 20));
        let mut ledger = Ledger::new(budget.clone());
        ledger.change_growth(0, 200 << 10);
        ledger.change_held(0, 100 << 10);
        ledger.change_held(100 << 10, 90 << 10);
        assert_eq!(budget.growth().0, 200 << 10);
        assert_eq!(budget.held().0, 100 << 10, "differences under 64 KiB stay in the session");
        drop(ledger);
        assert_eq!((budget.growth().0, budget.held().0), (0, 0));
    }

    #[test]
    fn pressure_rises_at_75_and_90_percent() {
        let budget = Arc::new(Budget::new(10 << 20, 1 << 30));
        let mut ledger = Ledger::new(budget.clone());
        ledger.change_growth(0, 7 << 20);
        assert_eq!(budget.pressure(), Pressure::Low);
        ledger.change_growth(7 << 20, 8 << 20);
        assert_eq!(budget.pressure(), Pressure::Raised);
        ledger.change_growth(8 << 20, 10 << 20);
        assert_eq!(budget.pressure(), Pressure::High);
    }
}
