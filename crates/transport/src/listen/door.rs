//! The gate as a listener uses it: who waits for a place, who is asked to make some, and who is turned away.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sla::code;
use sla::event::Area;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use super::Accepted;
use super::lobby::Lobby;
use super::turnstile::{Paced, Turnstile};
use crate::limits::{Gate, Limits, Outcome, Refusal, Source, Ticket};

/// The gate with what waits before it.
#[derive(Debug)]
pub(super) struct Door {
    house: Mutex<House>,
    /// Somebody waits, and a place is free.
    room: Notify,
    turnstile: Arc<Turnstile>,
    refused: Mutex<Refused>,
}

#[derive(Debug)]
struct House {
    gate: Gate,
    /// How each pending connection is asked to go.
    bells: HashMap<Ticket, Arc<Notify>>,
    lobby: Lobby<Accepted>,
}

/// What becomes of those who wait.
pub(super) enum Next {
    /// This one may begin.
    Begins(Accepted, Permit),
    /// This one is turned away; there may be others.
    Refused(Accepted),
    /// There is no place for anybody; look again then, if a time is given, and at [`Door::changed`].
    Wait(Option<Instant>),
}

#[derive(Debug, Default)]
struct Refused {
    count: u64,
    told: Option<Instant>,
}

impl Door {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        let lobby = Lobby::new(limits.pending);
        Arc::new(Self {
            house: Mutex::new(House { gate: Gate::new(limits), bells: HashMap::new(), lobby }),
            room: Notify::new(),
            turnstile: Turnstile::new(),
            refused: Mutex::default(),
        })
    }

    /// Ready when [`Self::next`] may have another answer; enable it before asking.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.room.notified()
    }

    /// One more waits; returned is who has to leave for it, if anybody.
    pub(super) fn enter(&self, accepted: Accepted) -> Option<Accepted> {
        let mut house = self.house.lock();
        let source = accepted.source();
        let is_known = house.gate.is_known(Instant::now().into_std(), source);
        let left = house.lobby.enter(is_known, source, accepted);
        drop(house);
        left.inspect(|left| self.note_refusal(&left.remote, Refusal::Full))
    }

    /// Who may begin. When nobody may, as many as wait are asked to make room.
    pub(super) fn next(self: &Arc<Self>) -> Next {
        let mut house = self.house.lock();
        let House { gate, bells, lobby } = &mut *house;
        let now = Instant::now().into_std();
        if let Some((source, accepted)) = lobby.leave(|source| gate.has_room(now, source)) {
            return match gate.admit(now, source, rand::random()) {
                Ok(ticket) => {
                    let bell = Arc::new(Notify::new());
                    bells.insert(ticket, bell.clone());
                    let permit = Permit { door: self.clone(), ticket, bell, outcome: Outcome::Gone };
                    Next::Begins(accepted, permit)
                }
                Err(refusal) => {
                    drop(house);
                    self.note_refusal(&accepted.remote, refusal);
                    Next::Refused(accepted)
                }
            };
        }
        while gate.leaving() < lobby.len() {
            match gate.next_to_go(now, lobby.has_known()) {
                Ok(ticket) => {
                    if let Some(bell) = bells.get(&ticket) {
                        bell.notify_one();
                    }
                }
                Err(due) => return Next::Wait(due.map(Instant::from_std)),
            }
        }
        Next::Wait(None)
    }

    pub(super) fn turned_away(&self, source: Source) {
        self.house.lock().gate.handle_turned_away(Instant::now().into_std(), source);
    }

    /// One line at once, then at most one every ten seconds with their number: a flood must not become a flood of lines.
    fn note_refusal(&self, remote: &str, refusal: Refusal) {
        let mut refused = self.refused.lock();
        refused.count += 1;
        let now = Instant::now();
        if refused.told.is_some_and(|told| now.duration_since(told) < TELL_REFUSALS) {
            return;
        }
        let count = std::mem::take(&mut refused.count);
        refused.told = Some(now);
        drop(refused);
        let text = format!(
            "{} {count} connections refused before their handshake, last {remote}: {refusal}",
            code::PREAUTH
        );
        sla::event::warn(Area::Conn, &text);
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.house.lock().lobby.len()
    }
}

/// A pending connection's place; told to the gate when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    door: Arc<Door>,
    ticket: Ticket,
    bell: Arc<Notify>,
    pub(super) outcome: Outcome,
}

impl Permit {
    pub(super) fn door(&self) -> Arc<Door> {
        self.door.clone()
    }

    /// Lets a handshake's steps take turns with those of other sources.
    pub(super) fn pace<F: Future>(&self, handshake: F) -> Paced<F> {
        self.door.turnstile.pace(self.ticket.source(), Box::pin(handshake))
    }

    /// Ready when it should make room for another.
    pub(super) async fn asked_to_go(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut house = self.door.house.lock();
        house.bells.remove(&self.ticket);
        house.gate.handle_done(Instant::now().into_std(), self.ticket, self.outcome);
        if house.lobby.len() > 0 {
            self.door.room.notify_waiters();
        }
    }
}

const TELL_REFUSALS: Duration = Duration::from_secs(10);
