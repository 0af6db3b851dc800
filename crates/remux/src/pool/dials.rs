//! When a connection is dialled, and when a dial is given up or has failed.
//!
//! ```text
//! requests wait ───────────▶ dial ──failed──▶ pause; those who wait for nothing else fail with it
//!    still, for `hedge` ───▶ another beside it ──up──▶ those overtaken by it are given up
//! a stream found a place ──▶ one ahead, unless a connection is fresh or being dialled
//! ```

use std::time::Instant;

use super::slot::Slot;
use super::{Action, CloseReason, Pool, RequestError, Ticket, Waiting};

impl<E: Clone> Pool<E> {
    /// Dials for the requests that wait: as many as they need, and one more beside a late one.
    pub(super) fn dial_for_requests(&mut self, now: Instant) {
        while self.wants_dial() && self.backoff.until(true).is_none_or(|until| until <= now) {
            self.dial(now);
        }
        if self.late_at().is_some_and(|at| at <= now) {
            self.dial(now);
        }
    }

    /// Dials one for the next stream, where no connection is left that will do for long.
    pub(super) fn dial_ahead(&mut self, now: Instant) {
        if self.wants_spare(now) {
            self.dial(now);
        }
    }

    /// A dial that did not become good: pause, and tell those who waited for it.
    pub(super) fn fail_dial(&mut self, now: Instant, began: Instant, error: RequestError<E>) {
        self.backoff.handle_failure(now, began);
        // Another dial, or a connection that is only full for the moment, may still serve them.
        if self.slots.values().any(|slot| slot.is_dialling() || (slot.is_open() && !slot.is_suspect())) {
            return;
        }
        for Waiting { waiter, .. } in self.waiting.drain(..) {
            self.actions.push_back(Action::Fail { waiter, error: error.clone() });
        }
    }

    /// One that began at `began` is up: those that were late by then are given up, as their kernels have backed off.
    pub(super) fn give_up_overtaken(&mut self, began: Instant) {
        let hedge = self.config.hedge;
        self.give_up_dials(|slot| slot.began.checked_add(hedge).is_some_and(|late| late <= began));
    }

    pub(super) fn give_up_dials(&mut self, which: impl Fn(&Slot) -> bool) {
        let given_up = self.slots.iter().filter(|(_, slot)| slot.is_dialling() && which(slot));
        let given_up: Vec<Ticket> = given_up.map(|(ticket, _)| *ticket).collect();
        for ticket in given_up {
            self.close(ticket, CloseReason::Overtaken);
        }
    }

    /// More requests wait than the dials under way will carry. While dials fail, one at a time must do.
    pub(super) fn wants_dial(&self) -> bool {
        if !self.may_dial() {
            return false;
        }
        let room =
            self.slots.values().fold(0_usize, |sum, slot| sum.saturating_add(slot.room_when_dialled()));
        let one_by_one = self.backoff.is_failing() && self.slots.values().any(|slot| slot.is_trial());
        self.waiting.len() > room && !one_by_one
    }

    /// When the newest dial will have kept requests waiting for too long.
    pub(super) fn late_at(&self) -> Option<Instant> {
        let newest = self.slots.values().filter(|slot| slot.is_trial()).map(|slot| slot.began).max();
        newest.filter(|_| self.may_dial())?.checked_add(self.config.hedge)
    }

    /// A request waits, and a dial is allowed.
    fn may_dial(&self) -> bool {
        !self.waiting.is_empty() && self.slots.len() < self.config.max_connections && !self.shut_down
    }

    fn wants_spare(&self, now: Instant) -> bool {
        self.config.spare
            && !self.shut_down
            && self.waiting.is_empty()
            && !self.backoff.is_failing()
            && self.slots.len() < self.config.max_connections
            && !self
                .slots
                .values()
                .any(|slot| slot.is_dialling() || (slot.is_usable(now) && !slot.is_wearing(now)))
    }

    fn dial(&mut self, now: Instant) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        self.slots.insert(ticket, Slot::new(now, self.limits));
        self.actions.push_back(Action::Dial(ticket));
    }
}
