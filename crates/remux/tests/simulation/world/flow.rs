//! One request and its two sides: what each sends, how each reads, and what came.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use framing::Target;
use framing::remux2::Code;
use remux::Wire;
use remux::pool::Ticket;
use remux::session::Open;
use simnet::{Host, Rng};

use super::conn::Half;
use super::{Kind, Place};

/// A request from its plan to its end.
#[derive(Debug)]
pub(crate) struct Flow {
    index: usize,
    begins: Duration,
    /// Whose request it is.
    pub(crate) opener: Half,
    pub(crate) client: Side,
    pub(crate) server: Side,
    /// What the acceptor is to see of it.
    pub(crate) priority: u8,
    pub(crate) wants_opened: bool,
    /// Answers to the request that came.
    pub(crate) opened: usize,
    /// When the pool was asked for a connection.
    pub(crate) asked: Option<Instant>,
    /// It was refused once, and asked for again.
    pub(crate) retried: bool,
    /// Where.
    pub(crate) avoids: Option<Ticket>,
    /// It never got a stream, and why.
    pub(crate) refused: Option<String>,
    /// Its connection was struck: it may end early.
    pub(crate) tainted: bool,
    /// The acceptor's dial fails with this code.
    pub(crate) denied: Option<Code>,
    /// When the acceptor took it up.
    pub(crate) served: Option<Instant>,
    /// How often it did.
    pub(crate) times_served: u32,
    /// How often it was refused with the promise that nothing was done.
    pub(crate) refusals: u32,
}

/// One end of a flow.
#[derive(Debug)]
pub(crate) struct Side {
    key: u64,
    other_key: u64,
    /// Bytes it will send.
    pub(crate) planned: usize,
    pub(crate) sent: usize,
    first: usize,
    chunk: usize,
    /// It sends only after the other side's end of input.
    answers: bool,
    pub(crate) reads: Reads,
    next_read: Option<Instant>,
    /// Bytes that it sends at a time, and the longest pause in between.
    pub(crate) trickles: Option<(usize, Duration)>,
    next_write: Option<Instant>,
    pub(crate) reset_at: Option<usize>,
    pub(crate) stream: Place,
    /// It was told to wait: it does nothing until the session says that something changed.
    pub(crate) waits_to_read: bool,
    pub(crate) waits_to_write: bool,
    /// The session takes no more of its bytes.
    pub(crate) cannot_write: bool,
    pub(crate) received: usize,
    /// Bytes that had come when the stream ended.
    pub(crate) came: u64,
    pub(crate) finished: bool,
    pub(crate) fin: bool,
    /// When it had everything.
    pub(crate) fin_at: Option<Instant>,
    pub(crate) reset: bool,
    pub(crate) failed: Option<String>,
    /// The code it failed with, and whether nothing had been done.
    pub(crate) code: Option<(Code, bool)>,
    /// It has let go of its stream.
    pub(crate) released: bool,
}

/// How a side reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reads {
    Fast,
    /// A chunk, then a pause.
    Slow(Duration),
    /// Nothing for this long after the first byte.
    Stops(Duration),
    /// A chunk, then a long pause, but never while that holds up others; so often.
    Yields(Duration, u32),
}

impl Flow {
    /// Draws a flow that begins within `spread`.
    pub(crate) fn plan(
        index: usize,
        wire: Wire,
        spread: Duration,
        wanted: &BTreeSet<Kind>,
        rng: &mut Rng,
    ) -> Self {
        let remux2 = wire == Wire::Remux2;
        let reversed = remux2 && wanted.contains(&Kind::ServerStream) && rng.one_in(3);
        let opener = if reversed { Half::Server } else { Half::Client };
        let mut sides =
            [Half::Client, Half::Server].map(|half| Side::plan(half, half == opener, wanted, rng));
        let keys = [0, 1].map(|half| (index as u64 * 2 + half).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for half in 0..2 {
            sides[half].key = keys[half];
            sides[half].other_key = keys[1 - half];
        }
        let [client, server] = sides;
        let mut flow = Self {
            index,
            begins: Duration::from_micros(rng.between(0, u64::try_from(spread.as_micros()).unwrap())),
            opener,
            client,
            server,
            priority: if remux2 { rng.bits().to_le_bytes()[0] & 0x0F } else { 3 },
            wants_opened: remux2 && rng.one_in(4),
            opened: 0,
            asked: None,
            retried: false,
            avoids: None,
            refused: None,
            tainted: false,
            denied: None,
            served: None,
            times_served: 0,
            refusals: 0,
        };
        flow.side(opener.other()).answers = remux2 && rng.one_in(4);
        flow
    }

    /// A flow of the client's that sends so many bytes each way, reads at once and resets nothing.
    pub(crate) fn simple(index: usize, begins: Duration, [up, down]: [usize; 2], rng: &mut Rng) -> Self {
        let nothing = BTreeSet::new();
        let mut flow = Self::plan(index, Wire::Classic, Duration::ZERO, &nothing, rng);
        flow.begins = begins;
        for (side, planned) in [(&mut flow.client, up), (&mut flow.server, down)] {
            (side.planned, side.first) = (planned, side.first.min(planned));
        }
        flow
    }

    /// One of the sides.
    pub(crate) fn side(&mut self, half: Half) -> &mut Side {
        match half {
            Half::Client => &mut self.client,
            Half::Server => &mut self.server,
        }
    }

    /// One of the sides, to look at.
    pub(crate) const fn view(&self, half: Half) -> &Side {
        match half {
            Half::Client => &self.client,
            Half::Server => &self.server,
        }
    }

    /// It is time to ask for a stream.
    pub(crate) fn wants_start(&self, now: Instant, start: Instant) -> bool {
        self.asked.is_none() && start + self.begins <= now
    }

    /// The request, with its first bytes, and whether it is all there is to send.
    pub(crate) fn request(&mut self, wire: Wire) -> (Open, bool) {
        let (priority, want_opened) = (self.priority, self.wants_opened);
        let port = u16::try_from(self.index + 1).unwrap();
        let target = Target::new(framing::Host::V4([192, 0, 2, 1].into()), port);
        let side = self.side(self.opener);
        let first = side.take_first();
        let fin = wire == Wire::Remux2 && side.wants_finish();
        (Open { first, fin, priority, want_opened, ..Open::connect(target) }, fin)
    }

    /// It gets no stream.
    pub(crate) fn refuse(&mut self, why: String) {
        self.refused = Some(why);
    }

    /// The stream was refused before anything was done with it: everything from the start again.
    pub(crate) fn begin_again(&mut self, elsewhere_than: Ticket) {
        self.retried = true;
        self.avoids = Some(elsewhere_than);
        let side = self.side(self.opener);
        (side.sent, side.finished, side.failed, side.stream) = (0, false, None, None);
        (side.waits_to_read, side.waits_to_write, side.cannot_write, side.came) = (false, false, false, 0);
    }

    /// Fewer bytes than planned.
    pub(crate) fn shrink(&mut self, most: usize) {
        for side in [&mut self.client, &mut self.server] {
            side.planned = side.planned.min(most);
            side.first = side.first.min(side.planned);
            side.reset_at = side.reset_at.map(|at| at.min(side.planned));
        }
    }

    /// Other amounts of bytes, and resets anywhere among them where there were to be any.
    pub(crate) fn resize(&mut self, [up, down]: [usize; 2], rng: &mut Rng) {
        for (side, planned) in [(&mut self.client, up), (&mut self.server, down)] {
            (side.planned, side.first) = (planned, side.first.min(planned));
            side.reset_at = side.reset_at.map(|_| rng.size(0, planned));
        }
    }

    /// Both sides have everything the other one was to send.
    pub(crate) const fn is_whole(&self) -> bool {
        self.client.fin
            && self.server.fin
            && self.client.received == self.server.planned
            && self.server.received == self.client.planned
    }

    /// A side was planned to reset.
    pub(crate) fn reset_is_planned(&self) -> Option<usize> {
        self.client.reset_at.or(self.server.reset_at)
    }

    /// Its bytes may come from somebody else.
    pub(crate) fn hostile(&self) -> bool {
        let (opener, acceptor) = (self.view(self.opener), self.view(self.opener.other()));
        self.tainted && opener.stream.is_some() && acceptor.stream.is_none()
    }

    /// Both sides are done with it.
    pub(crate) fn is_over(&self) -> bool {
        let (opener, acceptor) = (self.view(self.opener), self.view(self.opener.other()));
        (self.refused.is_some() || opener.released) && (acceptor.stream.is_none() || acceptor.released)
    }

    /// When it wants to do something next.
    pub(crate) fn poll_timeout(
        &self,
        now: Instant,
        start: Instant,
        hosts: &[Arc<Host>; 2],
    ) -> Option<Instant> {
        if self.asked.is_none() {
            return Some(hosts[self.opener as usize].awake_from((start + self.begins).max(now)));
        }
        let sides = [&self.client, &self.server].into_iter().zip(hosts);
        let waits = sides.filter(|(side, _)| !side.released && side.stream.is_some());
        let times = waits.flat_map(|(side, host)| [(side.next_read, host), (side.next_write, host)]);
        let times = times.filter_map(|(at, host)| Some(host.awake_from(at?)));
        times.filter(|at| *at > now).min()
    }
}

impl Side {
    fn plan(half: Half, opens: bool, wanted: &BTreeSet<Kind>, rng: &mut Rng) -> Self {
        let most = if rng.one_in(30) { 1 << 20 } else { 40_000 };
        let planned = if rng.one_in(10) { 0 } else { rng.log_size(most) };
        let own = if half == Half::Client { Kind::ClientReset } else { Kind::ServerReset };
        let reads = if wanted.contains(&Kind::SlowReader) && rng.one_in(3) {
            Reads::Slow(Duration::from_millis(rng.between(1, 40)))
        } else if wanted.contains(&Kind::StoppedReader) && rng.one_in(3) {
            if rng.one_in(3) {
                Reads::Yields(Duration::from_millis(rng.between(5_000, 20_000)), 5)
            } else {
                Reads::Stops(Duration::from_millis(rng.between(100, 8_000)))
            }
        } else {
            Reads::Fast
        };
        Self {
            key: 0,
            other_key: 0,
            planned,
            sent: 0,
            first: if opens && rng.one_in(2) { rng.size(0, planned.min(16_000)) } else { 0 },
            chunk: rng.size(1, 40_000),
            answers: false,
            reads,
            next_read: None,
            trickles: None,
            next_write: None,
            fin_at: None,
            reset_at: (wanted.contains(&own) && rng.one_in(3)).then(|| rng.size(0, planned)),
            stream: None,
            waits_to_read: false,
            waits_to_write: false,
            cannot_write: false,
            received: 0,
            came: 0,
            finished: false,
            fin: false,
            reset: false,
            failed: None,
            code: None,
            released: false,
        }
    }

    /// The bytes that travel with the request.
    fn take_first(&mut self) -> Bytes {
        self.sent = self.first;
        pattern(self.key, 0, self.first)
    }

    /// Everything was given to the stream.
    pub(crate) fn wants_finish(&self) -> bool {
        self.sent >= self.planned && self.reset_at.is_none()
    }

    /// It need not wait for the other side's end, nor for its own time.
    pub(crate) fn may_write(&self, now: Instant) -> bool {
        let in_time = self.next_write.is_none_or(|at| at <= now);
        in_time && (!self.answers || self.fin || self.failed.is_some() || self.reset_at.is_some())
    }

    /// It has more to send.
    pub(crate) fn has_more(&self) -> bool {
        self.sent < self.reset_at.unwrap_or(self.planned)
    }

    /// The next bytes to send.
    pub(crate) fn next_chunk(&mut self, now: Instant, room: usize) -> Bytes {
        let most = self.reset_at.unwrap_or(self.planned);
        let chunk = self.trickles.map_or(self.chunk, |(chunk, _)| chunk);
        let length = room.min(chunk).min(most.saturating_sub(self.sent));
        if let Some((_, pause)) = self.trickles {
            // Mostly short ones; one in four is nearly the longest.
            let mixed = (self.key ^ self.sent as u64).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40;
            let part = u32::try_from(mixed % 1_000).unwrap();
            let permille = if mixed & 0x3000 == 0 { 900 + part / 10 } else { part / 8 };
            self.next_write = Some(now + pause / 1_000 * permille);
        }
        let chunk = pattern(self.key, self.sent, length);
        self.sent += length;
        chunk
    }

    /// It reads now; `held_up`: its connection waits for some reader.
    pub(crate) fn may_read(&self, now: Instant, held_up: bool) -> bool {
        let gives_way = held_up && matches!(self.reads, Reads::Yields(..));
        !self.waits_to_read && (gives_way || self.next_read.is_none_or(|at| at <= now))
    }

    /// Compares what came with what the other side sends; what is wrong with it.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Option<String> {
        let expected = pattern(self.other_key, self.received, bytes.len());
        if expected != bytes {
            let same = expected.iter().zip(bytes).take_while(|(one, other)| one == other).count();
            return Some(format!("byte {} is not the one that was sent there", self.received + same));
        }
        if self.fin {
            return Some("bytes after the end".into());
        }
        self.received += bytes.len();
        None
    }

    /// Decides on the next read; the kind of slowness that struck.
    pub(crate) fn after_read(&mut self, now: Instant) -> Option<Kind> {
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
            Reads::Yields(pause, times) if times > 0 => {
                self.reads = Reads::Yields(pause, times - 1);
                self.next_read = Some(now + pause);
                Some(Kind::StoppedReader)
            }
            Reads::Stops(_) | Reads::Yields(..) => None,
        }
    }

    /// Nothing more will come or go; on the classic wire one end is the end of both directions.
    pub(crate) fn is_done(&self, classic: bool) -> bool {
        self.reset || self.failed.is_some() || self.fin && (self.finished || self.cannot_write || classic)
    }
}

/// The bytes from an offset on of one direction of one flow.
fn pattern(key: u64, from: usize, length: usize) -> Bytes {
    let mut out = BytesMut::with_capacity(length + 16);
    let mut word = from as u64 >> 3;
    while out.len() < length + 8 {
        let mixed = (key ^ word).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        out.extend_from_slice(&(mixed ^ (mixed >> 29)).to_le_bytes());
        word += 1;
    }
    out.freeze().slice(from & 7..(from & 7) + length)
}
