//! One account of what all connections of a process hold and promise together, and what happens as it fills.
//!
//! ```text
//!  used   0 ──────────────── 80 % ────── 90 % ────── 95 % ─── 98 % ── 100 %
//!  stage     Plenty           NoGrowth    NoOpens     NoAccept  Shed
//!                             windows     opens are   nothing   the heaviest
//!                             stop        refused,    is        connection
//!                             growing     windows     accepted  is closed
//!                                         shrink
//!  A stage begins at its line and ends 5 points below it, so that it doesn't flap.
//! ```
//!
//! Peers that are known by an identity have an [`Account`] each, for all their connections, and windows and opens go by
//! that: whoever holds much runs short before whoever holds little does.
//!
//! ```text
//!  │◀─ others ─▶│◀──── held by it ────▶│◀──── free ────▶│ limit
//!               │◀────────────── its room ─────────────▶│        its stage: by what it holds of its room
//! ```
//!
//! An identity that is alone has the room of all. Beside others none holds more than nine times what is free, so there is
//! always something free: of two that want all there is each gets 47 %, and a third one is served. Nobody needs to know how many
//! there are, or will be.
//!
//! Charged is what can become memory, not what is memory already: a window counts from the moment it is promised.
//! A connection posts its changes in steps and pays for what a step may hide with its fixed cost, so the account is
//! never below the truth. Only atomics, except where a stage changes and above the last lines.

mod account;
mod ledger;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use account::Holder;
pub use account::{Account, Charge};
use ledger::Entry;
pub(crate) use ledger::Ledger;

/// The process-wide account; share one among all connections.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    stage: AtomicU8,
    book: Mutex<Book>,
}

/// How full the account is, or the room of an identity in it. Each stage keeps what those before it do.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Stage {
    /// Windows may grow.
    Plenty,
    /// From 80 %: no window grows, and streams that nobody reads are ended after
    /// [`LimitConfig::unread`](crate::LimitConfig::unread).
    NoGrowth,
    /// From 90 %: no stream is opened here or for a peer (REFUSED, safe), and windows shrink to 64 KiB as they are read.
    NoOpens,
    /// From 95 % of the process's account: whoever accepts connections pauses. So that it doesn't last, the heaviest
    /// identity loses its heaviest connection if it has come to [`NoOpens`](Self::NoOpens) itself, then the next one.
    NoAccept,
    /// From 98 % of it: the heaviest connection of the heaviest identity is closed whatever it holds, then the next one,
    /// until the account is below that line.
    Shed,
}

impl Stage {
    /// Every stage, in the order in which memory runs out.
    pub const ALL: [Self; 5] = [Self::Plenty, Self::NoGrowth, Self::NoOpens, Self::NoAccept, Self::Shed];

    /// Percent of the limit at which the stage begins; it ends [`Stage::HYSTERESIS`] below.
    pub const fn percent(self) -> u64 {
        match self {
            Self::Plenty => 0,
            Self::NoGrowth => 80,
            Self::NoOpens => 90,
            Self::NoAccept => 95,
            Self::Shed => 98,
        }
    }

    /// Points of a percent between the begin of a stage and its end.
    pub const HYSTERESIS: u64 = 5;

    fn of(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Shed)
    }

    /// The stage of whoever has `used` so much of `room`, and was at `old` before.
    fn at(used: u64, room: u64, old: Self) -> Self {
        let begun = |stage: Self| {
            let slack = if stage <= old { part(room, Self::HYSTERESIS) } else { 0 };
            used >= part(room, stage.percent()).saturating_sub(slack)
        };
        Self::ALL.into_iter().rev().find(|&stage| begun(stage)).unwrap_or(Self::Plenty)
    }
}

impl Budget {
    /// A budget of `limit` bytes for everything that is promised, buffered or a connection's fixed cost.
    pub const fn new(limit: u64) -> Self {
        let book = Book { entries: Vec::new(), holders: BTreeMap::new(), doomed: None, watchers: Vec::new() };
        Self { limit, used: AtomicU64::new(0), stage: AtomicU8::new(0), book: Mutex::new(book) }
    }

    /// The budget for a machine, or a control group, with `total` bytes of memory: a quarter, at most 4 GiB. That much
    /// is promised when 16,384 streams begin, so a larger account would allow more streams, not faster ones.
    pub const fn for_memory(total: u64) -> Self {
        let quarter = total / 4;
        Self::new(if quarter < MOST { quarter } else { MOST })
    }

    /// How full it is.
    pub fn stage(&self) -> Stage {
        Stage::of(self.stage.load(Ordering::SeqCst))
    }

    /// Bytes charged now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::SeqCst)
    }

    /// Bytes it is for.
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Charges memory that belongs to no connection's streams and to no identity, until the result is dropped.
    pub fn charge(self: &Arc<Self>, bytes: u64) -> Charge {
        Account::from(self.clone()).charge(bytes)
    }

    /// The account of all that `identity` holds; `None`: of all peers together that prove none.
    pub fn account(self: &Arc<Self>, identity: Option<&str>) -> Account {
        Account::of(self, identity.unwrap_or_default())
    }

    /// The identity that holds most now, and how much.
    pub fn heaviest(&self) -> Option<(Arc<str>, u64)> {
        // They are let go of after the lock, which the last to do so takes.
        let holders: Vec<Arc<Holder>> = self.book().holders.values().filter_map(Weak::upgrade).collect();
        let heaviest = holders.iter().max_by_key(|holder| holder.held())?;
        Some((heaviest.name.clone(), heaviest.held()))
    }

    /// Bytes that nobody holds.
    fn free(&self) -> u64 {
        self.limit.saturating_sub(self.used())
    }

    /// Ready once the stage is another one than `seen`.
    pub fn poll_stage(&self, cx: &Context<'_>, seen: Stage) -> Poll<Stage> {
        // Looked at under the lock, which a change of stage takes to wake: none can be missed.
        let mut book = self.book();
        let stage = self.stage();
        if stage != seen {
            return Poll::Ready(stage);
        }
        if !book.watchers.iter().any(|watcher| watcher.will_wake(cx.waker())) {
            book.watchers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Whether a window may grow by `more` bytes.
    pub(crate) fn allows_growth(&self, more: u64) -> bool {
        self.stage() == Stage::Plenty
            && self.used().saturating_add(more) <= part(self.limit, Stage::NoGrowth.percent())
    }

    fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::SeqCst);
        self.judge();
    }

    fn subtract(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::SeqCst);
        self.judge();
    }

    /// Brings the stage in line with what is used. Whoever changed the sum last looks last, so the stage fits it.
    fn judge(&self) {
        loop {
            let (used, old) = (self.used(), self.stage());
            let new = Stage::at(used, self.limit, old);
            if new == old {
                if new >= Stage::NoAccept && self.limit > 0 {
                    self.shed(used >= part(self.limit, Stage::Shed.percent()));
                }
                return;
            }
            let (from, to) = (old as u8, new as u8);
            if self.stage.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                let watchers = std::mem::take(&mut self.book().watchers);
                watchers.into_iter().for_each(Waker::wake);
            }
        }
    }

    /// Dooms the heaviest connection of the heaviest identity, unless one that is doomed has still to give back what it
    /// holds. `must`: even if that identity is within its share.
    fn shed(&self, must: bool) {
        let mut book = self.book();
        if book.doomed.is_some() {
            return;
        }
        let heaviest = book.entries.iter().max_by_key(|entry| entry.weight());
        let heaviest = heaviest.filter(|entry| must || entry.is_over_share(self)).cloned();
        book.doomed.clone_from(&heaviest);
        drop(book);
        if let Some(entry) = heaviest {
            entry.doom();
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing that is done under this lock panics.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For a machine with 2 GiB: 512 MiB.
impl Default for Budget {
    fn default() -> Self {
        Self::for_memory(2 << 30)
    }
}

/// Whom the budget knows.
#[derive(Debug)]
struct Book {
    /// One for each connection that has not ended, or left something that nobody has read.
    entries: Vec<Arc<Entry>>,
    /// Identities that hold something, by name.
    holders: BTreeMap<Arc<str>, Weak<Holder>>,
    /// The connection that was told to end and has not yet.
    doomed: Option<Arc<Entry>>,
    watchers: Vec<Waker>,
}

fn part(whole: u64, percent: u64) -> u64 {
    let (hundredths, rest) = (whole / 100, whole % 100);
    hundredths.saturating_mul(percent).saturating_add(rest.saturating_mul(percent) / 100)
}

/// What a quarter of a machine's memory is cut at.
const MOST: u64 = 4 << 30;

#[cfg(test)]
mod tests;
