//! What one identity holds of the process's account.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::{Budget, Stage, part};

/// Whose memory something is: an identity's, over all its connections, or just the process's ([`Account::from`] a
/// [`Budget`]), as for connections that are dialled here. Clones are the same account.
#[derive(Clone, Debug)]
pub struct Account {
    budget: Arc<Budget>,
    holder: Option<Arc<Holder>>,
}

impl Account {
    pub(super) fn of(budget: &Arc<Budget>, name: &str) -> Self {
        let mut book = budget.book();
        let known = book.holders.get(name).and_then(Weak::upgrade);
        let holder = known.unwrap_or_else(|| {
            let name: Arc<str> = name.into();
            let holder = Arc::new(Holder {
                budget: Arc::downgrade(budget),
                name: name.clone(),
                held: AtomicU64::new(0),
            });
            book.holders.insert(name, Arc::downgrade(&holder));
            holder
        });
        drop(book);
        Self { budget: budget.clone(), holder: Some(holder) }
    }

    /// How short memory is for this identity: by what it holds of its room, which is that and what is free. For the process it
    /// is [`Budget::stage`].
    pub fn stage(&self) -> Stage {
        self.holder.as_ref().map_or_else(|| self.budget.stage(), |holder| holder.stage(&self.budget))
    }

    /// Bytes it holds, and its room; those of the process where it is nobody's.
    pub fn held(&self) -> (u64, u64) {
        match &self.holder {
            Some(holder) => (holder.held(), holder.room(&self.budget)),
            None => (self.budget.used(), self.budget.limit()),
        }
    }

    /// Charges memory that belongs to none of its connections' streams, until the result is dropped.
    pub fn charge(&self, bytes: u64) -> Charge {
        self.add(bytes);
        Charge { account: self.clone(), bytes }
    }

    /// Whether a window may grow by `more` bytes.
    pub(crate) fn allows_growth(&self, more: u64) -> bool {
        match &self.holder {
            None => self.budget.allows_growth(more),
            Some(holder) => {
                let line = part(holder.room(&self.budget), Stage::NoGrowth.percent());
                holder.held().saturating_add(more) <= line
            }
        }
    }

    pub(crate) const fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    pub(super) const fn holder(&self) -> Option<&Arc<Holder>> {
        self.holder.as_ref()
    }

    pub(super) fn add(&self, bytes: u64) {
        if let Some(holder) = &self.holder {
            holder.held.fetch_add(bytes, Ordering::SeqCst);
        }
        self.budget.add(bytes);
    }

    pub(super) fn subtract(&self, bytes: u64) {
        if let Some(holder) = &self.holder {
            holder.held.fetch_sub(bytes, Ordering::SeqCst);
        }
        self.budget.subtract(bytes);
    }
}

/// Nobody's in particular: the process's.
impl From<Arc<Budget>> for Account {
    fn from(budget: Arc<Budget>) -> Self {
        Self { budget, holder: None }
    }
}

/// Bytes charged to an [`Account`]; dropping it gives them back.
#[derive(Debug)]
#[must_use = "dropping it gives the bytes back"]
pub struct Charge {
    account: Account,
    bytes: u64,
}

impl Charge {
    /// Charges `more` bytes.
    pub fn add(&mut self, more: u64) {
        self.account.add(more);
        self.bytes = self.bytes.saturating_add(more);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.subtract(self.bytes);
    }
}

/// One identity, as long as it holds anything.
#[derive(Debug)]
pub(super) struct Holder {
    budget: Weak<Budget>,
    pub(super) name: Arc<str>,
    held: AtomicU64,
}

impl Holder {
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::SeqCst)
    }

    pub(super) fn stage(&self, budget: &Budget) -> Stage {
        // No slack: what it would steady are lines that each stream of it moves.
        Stage::at(self.held(), self.room(budget), Stage::Plenty)
    }

    fn room(&self, budget: &Budget) -> u64 {
        self.held().saturating_add(budget.free())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let Some(budget) = self.budget.upgrade() else { return };
        let mut book = budget.book();
        // It may have come back meanwhile.
        if book.holders.get(&self.name).is_some_and(|holder| holder.strong_count() == 0) {
            book.holders.remove(&self.name);
        }
    }
}
