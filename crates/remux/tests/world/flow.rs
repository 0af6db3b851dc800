//! One request and its two sides: what each sends, how each reads, and what came.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use remux::Wire;
use simnet::Rng;

use super::conn::Half;
use super::{Kind, Place};

/// A request from its plan to its end.
#[derive(Debug)]
pub struct Flow {
    begins: Duration,
    pub client: Side,
    pub server: Side,
    /// The pool was asked for a connection.
    pub asked: bool,
    /// It never got one, or was refused.
    pub refused: bool,
    /// Its connection was struck: it may end early.
    pub tainted: bool,
}

/// One end of a flow.
#[derive(Debug)]
pub struct Side {
    key: u64,
    other_key: u64,
    /// Bytes it will send.
    pub planned: usize,
    pub sent: usize,
    first: usize,
    chunk: usize,
    /// It sends only after the other side's end of input.
    answers: bool,
    reads: Reads,
    next_read: Option<Instant>,
    pub reset_at: Option<usize>,
    pub stream: Place,
    pub received: usize,
    pub finished: bool,
    pub fin: bool,
    pub reset: bool,
    pub failed: Option<String>,
    /// It has let go of its stream.
    pub released: bool,
}

/// How a side reads.
#[derive(Clone, Copy, Debug)]
enum Reads {
    Fast,
    /// A chunk, then a pause.
    Slow(Duration),
    /// Nothing for this long after the first byte.
    Stops(Duration),
}

impl Flow {
    /// Draws a flow.
    pub fn plan(index: usize, wire: Wire, wanted: &BTreeSet<Kind>, rng: &mut Rng) -> Self {
        let mut sides = [Half::Client, Half::Server].map(|half| {
            let most = if rng.one_in(30) { 1 << 20 } else { 40_000 };
            let planned = if rng.one_in(10) { 0 } else { rng.log_size(most) };
            let own = if half == Half::Client { Kind::ClientReset } else { Kind::ServerReset };
            let reads = if wanted.contains(&Kind::SlowReader) && rng.one_in(3) {
                Reads::Slow(Duration::from_millis(rng.between(1, 40)))
            } else if wanted.contains(&Kind::StoppedReader) && rng.one_in(3) {
                Reads::Stops(Duration::from_millis(rng.between(100, 8_000)))
            } else {
                Reads::Fast
            };
            Side {
                key: 0,
                other_key: 0,
                planned,
                sent: 0,
                first: if half == Half::Client && rng.one_in(2) {
                    rng.size(0, planned.min(16_000))
                } else {
                    0
                },
                chunk: rng.size(1, 40_000),
                answers: false,
                reads,
                next_read: None,
                reset_at: (wanted.contains(&own) && rng.one_in(3)).then(|| rng.size(0, planned)),
                stream: None,
                received: 0,
                finished: false,
                fin: false,
                reset: false,
                failed: None,
                released: false,
            }
        });
        let keys = [0, 1].map(|half| (index as u64 * 2 + half).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for half in 0..2 {
            sides[half].key = keys[half];
            sides[half].other_key = keys[1 - half];
        }
        let [client, mut server] = sides;
        server.answers = wire == Wire::Remux2 && rng.one_in(4);
        let begins = Duration::from_millis(rng.between(0, 3_000));
        Self { begins, client, server, asked: false, refused: false, tainted: false }
    }

    /// One of the sides.
    pub fn side(&mut self, half: Half) -> &mut Side {
        match half {
            Half::Client => &mut self.client,
            Half::Server => &mut self.server,
        }
    }

    /// It is time to ask the pool.
    pub fn wants_start(&self, now: Instant, start: Instant) -> bool {
        !self.asked && start + self.begins <= now
    }

    /// It gets no stream.
    pub fn refuse(&mut self) {
        self.refused = true;
    }

    /// A side was planned to reset.
    pub fn reset_is_planned(&self) -> Option<usize> {
        self.client.reset_at.or(self.server.reset_at)
    }

    /// Its bytes may come from somebody else.
    pub fn hostile(&self) -> bool {
        self.tainted && self.client.stream.is_some() && self.server.stream.is_none()
    }

    /// Both sides are done with it.
    pub fn is_over(&self) -> bool {
        let client = self.refused || self.client.released;
        client && (self.server.stream.is_none() || self.server.released)
    }

    /// When it wants to do something next.
    pub fn poll_timeout(&self, now: Instant, start: Instant) -> Option<Instant> {
        if !self.asked {
            return Some(start + self.begins);
        }
        let waits =
            [&self.client, &self.server].into_iter().filter(|side| !side.released && side.stream.is_some());
        waits.filter_map(|side| side.next_read).filter(|at| *at > now).min()
    }
}

impl Side {
    /// The bytes that travel with the request.
    pub fn take_first(&mut self) -> Bytes {
        self.sent = self.first;
        self.bytes(0, self.first)
    }

    /// Everything was given to the stream.
    pub fn wants_finish(&self) -> bool {
        self.sent >= self.planned && self.reset_at.is_none()
    }

    /// It need not wait for the other side's end.
    pub fn may_write(&self) -> bool {
        !self.answers || self.fin || self.failed.is_some() || self.reset_at.is_some()
    }

    /// The next bytes to send.
    pub fn next_chunk(&mut self, room: usize) -> Option<Bytes> {
        let most = self.reset_at.unwrap_or(self.planned);
        let length = room.min(self.chunk).min(most.saturating_sub(self.sent));
        if length == 0 {
            return None;
        }
        let chunk = self.bytes(self.sent, length);
        self.sent += length;
        Some(chunk)
    }

    /// It reads now.
    pub fn may_read(&self, now: Instant) -> bool {
        self.next_read.is_none_or(|at| at <= now)
    }

    /// Compares what came with what the other side sends; what is wrong with it.
    pub fn receive(&mut self, bytes: &[u8]) -> Option<String> {
        for (offset, byte) in (self.received..).zip(bytes) {
            if *byte != pattern(self.other_key, offset) {
                return Some(format!("byte {offset} is not the one that was sent there"));
            }
        }
        if self.fin {
            return Some("bytes after the end".into());
        }
        self.received += bytes.len();
        None
    }

    /// Decides on the next read; the kind of slowness that struck.
    pub fn after_read(&mut self, now: Instant) -> Option<Kind> {
        match self.reads {
            Reads::Fast => None,
            Reads::Slow(pause) => {
                self.next_read = Some(now + pause);
                Some(Kind::SlowReader)
            }
            Reads::Stops(time) if self.next_read.is_none() => {
                self.next_read = Some(now + time);
                Some(Kind::StoppedReader)
            }
            Reads::Stops(_) => None,
        }
    }

    /// Nothing more will come or go; on the classic wire one end is the end of both directions.
    pub fn is_done(&self, classic: bool) -> bool {
        self.reset || self.failed.is_some() || self.fin && (self.finished || classic)
    }

    fn bytes(&self, from: usize, length: usize) -> Bytes {
        (from..from + length).map(|offset| pattern(self.key, offset)).collect()
    }
}

/// The byte at an offset of one direction of one flow.
fn pattern(key: u64, offset: usize) -> u8 {
    let word = (key ^ (offset as u64 >> 3)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (word >> 29).to_le_bytes()[offset & 3]
}
