//! The gate as a listener uses it: who waits for room, who is asked to make some, and who is turned away.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sla::code;
use sla::event::Area;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::limits::{Gate, Limits, Outcome, Refusal, Source, Ticket};

/// The gate with what waits before it.
#[derive(Debug)]
pub(super) struct Door {
    house: Mutex<House>,
    room: Notify,
    refused: Mutex<Refused>,
}

#[derive(Debug)]
struct House {
    gate: Gate,
    /// How each pending connection is asked to go.
    bells: HashMap<Ticket, Arc<Notify>>,
}

#[derive(Debug, Default)]
struct Refused {
    count: u64,
    told: Option<Instant>,
}

impl Door {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            house: Mutex::new(House { gate: Gate::new(limits), bells: HashMap::new() }),
            room: Notify::new(),
            refused: Mutex::default(),
        })
    }

    /// Waits for room; whoever holds most of a full house is asked to make some.
    pub(super) async fn make_room(&self) {
        let mut asked = None;
        loop {
            // Registered before looking, so that no permit that ends in between is missed.
            let changed = self.room.notified();
            let due = {
                let mut house = self.house.lock();
                if house.gate.has_room() {
                    return;
                }
                if asked.as_ref().is_none_or(|ticket| !house.bells.contains_key(ticket)) {
                    let next = house.gate.next_to_go(Instant::now().into_std());
                    asked = next.ok();
                    asked
                        .as_ref()
                        .and_then(|ticket| house.bells.get(ticket))
                        .inspect(|bell| bell.notify_one());
                    next.err().flatten()
                } else {
                    None
                }
            };
            match due {
                Some(due) => drop(timeout_at(due.into(), changed).await),
                None => changed.await,
            }
        }
    }

    pub(super) fn admit(self: &Arc<Self>, source: Option<Source>) -> Result<Permit, Refusal> {
        let mut house = self.house.lock();
        let ticket = house.gate.admit(Instant::now().into_std(), source, rand::random())?;
        let bell = Arc::new(Notify::new());
        house.bells.insert(ticket, bell.clone());
        Ok(Permit { door: self.clone(), ticket, bell, outcome: Outcome::Gone })
    }

    /// One line at once, then at most one every ten seconds with their number: a flood must not become a flood of lines.
    pub(super) fn note_refusal(&self, remote: &str, refusal: Refusal) {
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
        drop(house);
        self.door.room.notify_one();
    }
}

const TELL_REFUSALS: Duration = Duration::from_secs(10);
