//! One connection's part of the account.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use super::account::{Account, Holder};
use super::{Budget, Stage};

/// One connection's part of an [`Account`]; taken back when it is dropped.
#[derive(Debug)]
pub(crate) struct Ledger {
    account: Account,
    entry: Arc<Entry>,
    held: u64,
    growth: u64,
    /// What the budget knows of, the fixed cost included.
    posted: u64,
    /// The waker that the entry has.
    waker: Option<Waker>,
}

impl Ledger {
    /// The part of a connection that has just begun.
    pub(crate) fn open(account: Account) -> Self {
        let entry = Arc::new(Entry::of(account.holder().cloned()));
        account.budget().book().entries.push(entry.clone());
        let mut ledger = Self { account, entry, held: 0, growth: 0, posted: 0, waker: None };
        ledger.post(CONNECTION);
        ledger
    }

    /// Bytes this connection's streams hold or are promised.
    pub(crate) const fn held(&self) -> u64 {
        self.held
    }

    /// The part of them that is growth of windows.
    pub(crate) const fn growth(&self) -> u64 {
        self.growth
    }

    pub(crate) const fn budget(&self) -> &Arc<Budget> {
        self.account.budget()
    }

    pub(crate) const fn account(&self) -> &Account {
        &self.account
    }

    /// How short memory is for this connection.
    pub(crate) fn stage(&self) -> Stage {
        self.account.stage()
    }

    /// Whether windows of this connection, which may grow by `most` in all, may grow by `more`.
    pub(crate) fn allows_growth(&self, more: u64, most: u64) -> bool {
        let most = most.min(self.budget().limit() / GROWTH_SHARE);
        self.growth.saturating_add(more) <= most && self.account.allows_growth(more)
    }

    /// A part of what its streams hold went from `old` to `new`.
    pub(crate) fn change_held(&mut self, old: u64, new: u64) {
        self.held = self.held.saturating_add(new).saturating_sub(old);
        let all = self.held.saturating_add(CONNECTION);
        if all.abs_diff(self.posted) >= STEP {
            self.post(all);
        }
    }

    /// A part of its windows' growth went from `old` to `new`.
    pub(crate) const fn change_growth(&mut self, old: u64, new: u64) {
        self.growth = self.growth.saturating_add(new).saturating_sub(old);
    }

    /// What it is to free when the budget has chosen it.
    pub(crate) fn doomed(&self) -> Option<u64> {
        self.entry.doomed.load(Ordering::SeqCst).then(|| self.entry.held())
    }

    /// Who is woken when that happens.
    pub(crate) fn set_waker(&mut self, waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            self.waker = Some(waker.clone());
            self.entry.set_waker(Some(waker.clone()));
        }
    }

    /// The connection is over: what it still holds is on its way out, and it is not chosen any more.
    pub(crate) fn close(&mut self) {
        self.settle(self.held.saturating_add(CONNECTION));
    }

    /// What it still holds is not on its way out: it may be chosen again.
    #[cfg(feature = "io")]
    pub(crate) fn reopen(&self) {
        let mut book = self.budget().book();
        if !book.entries.iter().any(|entry| Arc::ptr_eq(entry, &self.entry)) {
            book.entries.push(self.entry.clone());
        }
        drop(book);
        self.budget().judge();
    }

    fn settle(&mut self, rest: u64) {
        self.post(rest);
        let mut book = self.budget().book();
        book.entries.retain(|entry| !Arc::ptr_eq(entry, &self.entry));
        if book.doomed.as_ref().is_some_and(|doomed| Arc::ptr_eq(doomed, &self.entry)) {
            book.doomed = None;
        }
        drop(book);
        self.waker = None;
        self.entry.set_waker(None);
        // Where that was not enough the next one is chosen.
        self.budget().judge();
    }

    fn post(&mut self, all: u64) {
        self.entry.held.store(all, Ordering::SeqCst);
        let before = std::mem::replace(&mut self.posted, all);
        if all > before {
            self.account.add(all.saturating_sub(before));
        } else if all < before {
            self.account.subtract(before.saturating_sub(all));
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.settle(0);
    }
}

/// What the budget sees of a connection.
#[derive(Debug)]
pub(super) struct Entry {
    holder: Option<Arc<Holder>>,
    held: AtomicU64,
    doomed: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Entry {
    fn of(holder: Option<Arc<Holder>>) -> Self {
        Self { holder, held: AtomicU64::new(0), doomed: AtomicBool::new(false), waker: Mutex::new(None) }
    }

    fn held(&self) -> u64 {
        self.held.load(Ordering::SeqCst)
    }

    /// What its identity holds, then what it does. Connections without an identity are our own, and go last.
    pub(super) fn weight(&self) -> (u64, u64) {
        (self.holder.as_ref().map_or(0, |holder| holder.held()), self.held())
    }

    /// Whether its identity is refused more.
    pub(super) fn is_over_share(&self, budget: &Budget) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.stage(budget) >= Stage::NoOpens)
    }

    pub(super) fn doom(&self) {
        self.doomed.store(true, Ordering::SeqCst);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn set_waker(&self, waker: Option<Waker>) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = waker;
    }
}

/// Differences below this stay in the session.
const STEP: u64 = 16 << 10;
/// What a connection takes beside its streams: TLS, buffers for reading and writing, its task; and a [`STEP`].
const CONNECTION: u64 = (160 << 10) + STEP;
/// The part of the budget that growth of one connection's windows may take.
const GROWTH_SHARE: u64 = 8;
