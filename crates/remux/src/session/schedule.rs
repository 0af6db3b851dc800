//! Whose bytes go next.
//!
//! ```text
//!  urgency 0 … 7, strict, but each lower one is owed 1/16 of the bytes sent above it
//!
//!                 ┌─ new list: active again after it had nothing to send; one quantum (16 KiB) before all others
//!   each urgency ─┤     │ quantum used up, or emptied
//!                 │     ▼
//!                 └─ old list: round robin by bytes ── emptied ──▶ out
//! ```
//!
//! The two lists are those of FQ-CoDel (RFC 8290, without its dropping): an exchange below one quantum passes all bulk
//! streams, and bulk streams share the bytes equally whatever the size of their writes. A new stream that empties
//! goes through the old list once, so that answering ping-pong can't starve bulk.
//!
//! A stream held up by credit leaves the lists, and comes back to the *old* one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::stream::Stream;
use super::table::{Key, Table};

#[derive(Debug)]
pub(super) struct Scheduler {
    levels: [Level; LEVELS],
    /// Bit n: level n may have entries.
    active: u8,
    ticket: u64,
    quantum: i64,
    /// When an exchange shorter than a quantum was last seen.
    sparse_at: Option<Instant>,
    /// Entries of streams that are gone or moved.
    stale: usize,
}

impl Scheduler {
    pub(super) fn new(quantum: usize) -> Self {
        let quantum = i64::try_from(quantum).unwrap_or(i64::MAX).clamp(MIN_QUANTUM, MAX_QUANTUM);
        Self { levels: Default::default(), active: 0, ticket: 0, quantum, sparse_at: None, stale: 0 }
    }

    /// Whether some stream may have bytes to send.
    pub(super) const fn is_active(&self) -> bool {
        self.active != 0
    }

    /// Lists a stream if it has something to send and is not listed.
    pub(super) fn activate(&mut self, table: &mut Table, key: Key, freed: Freed) {
        let Some(stream) = table.get_mut(key).filter(|stream| stream.is_sendable()) else { return };
        if stream.place.ticket != 0 {
            return;
        }
        let new = freed == Freed::ByData;
        if new {
            stream.place.deficit = self.quantum;
        }
        self.enter(table, key, new);
    }

    /// The stream's urgency changes.
    pub(super) fn set_urgency(&mut self, table: &mut Table, key: Key, urgency: u8) {
        let Some(stream) = table.get_mut(key).filter(|stream| stream.urgency != urgency) else { return };
        stream.urgency = urgency;
        if stream.place.ticket != 0 {
            self.leave(stream);
            let new = stream.place.new;
            self.enter(table, key, new);
        }
    }

    /// Takes a stream out of the lists.
    pub(super) fn leave(&mut self, stream: &mut Stream) {
        if std::mem::take(&mut stream.place.ticket) != 0 {
            self.stale = self.stale.saturating_add(1);
        }
    }

    /// The stream whose turn it is; it stays first in its list.
    pub(super) fn next(&mut self, table: &mut Table, now: Instant, round_trip: Duration) -> Option<Key> {
        let quantum = self.turn(now, round_trip);
        while let Some(at) = self.pick() {
            let level = self.levels.get_mut(at)?;
            let Some((entry, new)) = level.front() else {
                level.owed = 0;
                self.active &= !bit(at);
                continue;
            };
            let Some(stream) = table.get_mut(entry.key).filter(|stream| stream.place.ticket == entry.ticket)
            else {
                level.pop(new);
                self.stale = self.stale.saturating_sub(1);
                continue;
            };
            if !stream.is_sendable() {
                level.pop(new);
                let emptied = stream.send.queued == 0;
                if new && emptied {
                    self.sparse_at = Some(now);
                    stream.place.new = false;
                    level.old.push_back(entry);
                } else {
                    stream.place.ticket = 0;
                }
                continue;
            }
            if stream.place.deficit <= 0 {
                level.pop(new);
                stream.place.deficit = stream.place.deficit.saturating_add(quantum);
                stream.place.new = false;
                level.old.push_back(entry);
                continue;
            }
            return Some(entry.key);
        }
        None
    }

    /// `n` bytes of the stream were sent.
    pub(super) fn charge(&mut self, stream: &mut Stream, n: usize) {
        let at = level_of(stream);
        stream.place.deficit = stream.place.deficit.saturating_sub(i64::try_from(n).unwrap_or(i64::MAX));
        if self.active & !bit(at) == 0 {
            return;
        }
        for (other, level) in self.levels.iter_mut().enumerate() {
            let share = (n as u64) / OWED_PART;
            if other == at {
                level.owed = level.owed.saturating_sub(n as u64);
            } else if other > at && self.active & bit(other) != 0 {
                level.owed = level.owed.saturating_add(share).min(MOST_OWED);
            }
        }
    }

    /// Only here the lists grow, so here they are rid of what is stale.
    fn enter(&mut self, table: &mut Table, key: Key, new: bool) {
        if self.stale > MOST_STALE {
            self.sweep(table);
        }
        let Some(stream) = table.get_mut(key) else { return };
        self.ticket = self.ticket.saturating_add(1);
        stream.place.ticket = self.ticket;
        stream.place.new = new;
        let at = level_of(stream);
        if let Some(level) = self.levels.get_mut(at) {
            let entry = Entry { key, ticket: self.ticket };
            if new {
                level.new.push_back(entry)
            } else {
                level.old.push_back(entry)
            }
            self.active |= bit(at);
        }
    }

    /// The level that sends next: one that is owed a quantum, else the most urgent.
    fn pick(&self) -> Option<usize> {
        if self.active == 0 {
            return None;
        }
        let first = self.active.trailing_zeros() as usize;
        if self.active & !bit(first) == 0 {
            return Some(first);
        }
        let is_owed = |at: usize| self.levels.get(at).is_some_and(|level| level.owed >= PAY_AT);
        let owed = (0..LEVELS).find(|&at| self.active & bit(at) != 0 && is_owed(at));
        Some(owed.unwrap_or(first))
    }

    /// What a stream may send per round: four times the quantum when there is nobody to wait for it.
    fn turn(&self, now: Instant, round_trip: Duration) -> i64 {
        let lately = self.sparse_at.is_some_and(|at| now.saturating_duration_since(at) < round_trip);
        if lately { self.quantum } else { self.quantum.saturating_mul(4) }
    }

    fn sweep(&mut self, table: &Table) {
        for level in &mut self.levels {
            let is_live = |entry: &Entry| {
                table.get(entry.key).is_some_and(|stream| stream.place.ticket == entry.ticket)
            };
            level.new.retain(is_live);
            level.old.retain(is_live);
        }
        self.stale = 0;
    }
}

/// Why a stream can send again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Freed {
    /// The peer granted credit; its bytes were waiting.
    ByCredit,
    /// The application sent something.
    ByData,
}

#[derive(Debug, Default)]
struct Level {
    new: VecDeque<Entry>,
    old: VecDeque<Entry>,
    /// Bytes this level is owed by more urgent ones.
    owed: u64,
}

impl Level {
    fn front(&self) -> Option<(Entry, bool)> {
        match self.new.front() {
            Some(&entry) => Some((entry, true)),
            None => self.old.front().map(|&entry| (entry, false)),
        }
    }

    fn pop(&mut self, new: bool) {
        if new {
            self.new.pop_front()
        } else {
            self.old.pop_front()
        };
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    ticket: u64,
}

fn level_of(stream: &Stream) -> usize {
    usize::from(stream.urgency).min(LEVELS.saturating_sub(1))
}

const fn bit(at: usize) -> u8 {
    match at {
        0 => 1,
        1 => 2,
        2 => 4,
        3 => 8,
        4 => 16,
        5 => 32,
        6 => 64,
        _ => 128,
    }
}

const LEVELS: usize = 8;
/// A lower level is owed one byte for so many sent above it.
const OWED_PART: u64 = 16;
/// A level that is owed this much goes first.
const PAY_AT: u64 = 16_384;
const MOST_OWED: u64 = 64 << 10;
const MOST_STALE: usize = 1024;
const MIN_QUANTUM: i64 = 1024;
const MAX_QUANTUM: i64 = 1 << 20;
