//! One stream: what is queued in each direction, and how far each has ended.
//!
//! ```text
//!  sending     Open ──finish──▶ Finishing ──FIN sent──▶ Finished        receiving   Open ──FIN came──▶ Finished
//!               └───────┬──────────┘                                                └──┐
//!                       └── RST either way, connection lost ──▶ Failed                 └── the same ──▶ Failed
//! ```
//!
//! The stream is over on the wire (`ended`) when both have finished or failed. Its slot stays until the application
//! has let go of it and nothing about it is left to say to the peer.
//!
//! Received chunks are shared, not copied, unless they are less than an eighth of the 64 KiB buffer they came in: a chunk
//! that nobody reads keeps its whole buffer alive, and is charged for its own bytes only. Short ones (under 2 KiB) are
//! copied together, so that a flood of them is no flood of allocations.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use framing::remux2::{Code, Open as OpenPayload, Opened};

use super::StreamId;
use super::batch::Batch;
use super::chunks::Chunks;
use super::credit::{RecvCredit, SendCredit};
use super::liveness::later;
use crate::error::StreamError;

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    /// Opened by this side.
    pub(super) local: bool,
    pub(super) send: SendHalf,
    pub(super) recv: RecvHalf,
    pub(super) control: Control,
    pub(super) urgency: u8,
    pub(super) priority_at: Option<Instant>,
    /// The opener wants OPENED, or this side owes it.
    pub(super) want_opened: bool,
    /// The application knows of the stream.
    pub(super) announced: bool,
    /// The application has let go of it.
    pub(super) forgotten: bool,
    /// Over on the wire, and the application was told.
    pub(super) ended: bool,
    pub(super) failure: Option<StreamError>,
    /// Classic: how it holds up the connection.
    pub(super) full: Full,
    /// Let go of with bytes still to send: how many had been sent when enough of them last were, and when that was.
    pub(super) lingers: Option<(u64, Instant)>,
    /// What the process's budget has been told of this stream: held bytes and growth.
    pub(super) charged: (u64, u64),
    /// What the connection has been told of its send queue.
    pub(super) counted: usize,
    pub(super) place: Place,
}

impl Stream {
    pub(super) fn new(id: StreamId, local: bool, send_limit: u64, recv_limit: u64, now: Instant) -> Self {
        Self {
            id,
            local,
            send: SendHalf::new(send_limit),
            recv: RecvHalf::new(recv_limit, now),
            control: Control::default(),
            urgency: 3,
            priority_at: None,
            want_opened: false,
            announced: true,
            forgotten: false,
            ended: false,
            failure: None,
            full: Full::default(),
            lingers: None,
            charged: (0, 0),
            counted: 0,
            place: Place::default(),
        }
    }

    /// Whether the scheduler has something to send from it.
    pub(super) fn is_sendable(&self) -> bool {
        if self.control.open.is_some() {
            return false;
        }
        match self.send.state {
            SendState::Open | SendState::Finishing if self.send.queued > 0 => {
                self.send.credit.room() > 0 || self.send.credit.should_tell()
            }
            SendState::Finishing => self.send.fin_ready,
            SendState::Open | SendState::Finished | SendState::Failed => false,
        }
    }

    /// Whether both directions are over.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.send.state, SendState::Finished | SendState::Failed)
            && self.recv.state != RecvState::Open
    }

    /// Whether the slot can be used for another stream.
    pub(super) fn is_free(&self) -> bool {
        self.forgotten && self.ended && self.control.rst.is_none()
    }

    /// What a finished direction says to a further write.
    pub(super) fn send_error(&self) -> StreamError {
        match (&self.send.state, &self.failure) {
            (SendState::Failed, Some(error)) => error.clone(),
            _ => StreamError::Finished,
        }
    }

    /// The bytes to charge: its own, those promised or unread, those queued to be sent, and what all the chunks cost.
    pub(super) fn held(&self, classic: bool) -> u64 {
        let promised = if classic { 0 } else { self.recv.promised() };
        let receive = self.recv.chunks.footprint().max(promised);
        let chunks = self.recv.chunks.cost().saturating_add(self.send.chunks.cost());
        STREAM.saturating_add(receive).saturating_add(self.send.queued as u64).saturating_add(chunks)
    }
}

/// How long a full queue has held up the connection since a good part of it was last read (classic).
///
/// Time in which the connection could be read doesn't count, so a reader that stopped in peace isn't ended; nor does it
/// make up for the rest, so one that reads a byte now and then is.
#[derive(Debug, Default)]
pub(super) struct Full {
    /// Since when it holds up the connection, if it does now.
    since: Option<Instant>,
    /// For how long it did before.
    before: Duration,
    /// Bytes read since this began.
    read: u64,
}

impl Full {
    /// The queue is full and more has come. Says when that becomes too much.
    pub(super) fn begin(&mut self, now: Instant, limit: Duration) -> Instant {
        later(*self.since.get_or_insert(now), limit.saturating_sub(self.before))
    }

    /// `n` bytes were read, so there is room again; `enough` of them, and all is forgotten.
    pub(super) fn read(&mut self, now: Instant, n: usize, enough: usize) {
        if let Some(since) = self.since.take() {
            self.before = self.before.saturating_add(now.saturating_duration_since(since));
        }
        self.read = self.read.saturating_add(n as u64);
        if self.read >= enough as u64 {
            *self = Self::default();
        }
    }

    /// When it becomes too much, while it holds up the connection.
    pub(super) fn deadline(&self, limit: Duration) -> Option<Instant> {
        self.since.map(|since| later(since, limit.saturating_sub(self.before)))
    }
}

/// Frames that wait to be said; bits and slots, so that nothing here can grow.
#[derive(Debug, Default)]
pub(super) struct Control {
    /// OPEN has not been sent.
    pub(super) open: Option<Box<OpenOut>>,
    pub(super) opened: Option<Box<Opened>>,
    pub(super) rst: Option<Box<RstOut>>,
    /// CREDIT is worth a frame; also: the stream is on the list of those.
    pub(super) credit: bool,
    /// On the list of those with OPEN or OPENED.
    pub(super) listed: bool,
}

/// An OPEN to be sent.
#[derive(Debug)]
pub(super) struct OpenOut {
    pub(super) payload: OpenPayload,
    pub(super) flags: u8,
}

/// A RST to be sent.
#[derive(Debug)]
pub(super) struct RstOut {
    pub(super) code: Code,
    pub(super) text: String,
    pub(super) safe: bool,
}

/// Where the scheduler has put the stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// The ticket of its entry; 0: in no list.
    pub(super) ticket: u64,
    /// In the list of new streams.
    pub(super) new: bool,
    /// Bytes it may send before its neighbours' turn.
    pub(super) deficit: i64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SendState {
    Open,
    /// FIN stands behind the queue.
    Finishing,
    Finished,
    Failed,
}

#[derive(Debug)]
pub(super) struct SendHalf {
    pub(super) state: SendState,
    pub(super) credit: SendCredit,
    /// The FIN may be sent (classic: the opener's may not, it would end both directions).
    pub(super) fin_ready: bool,
    pub(super) queued: usize,
    /// More than half full, or refused bytes: say so when it no longer is.
    pub(super) was_full: bool,
    chunks: Chunks,
}

impl SendHalf {
    fn new(limit: u64) -> Self {
        Self {
            state: SendState::Open,
            credit: SendCredit::new(limit),
            fin_ready: false,
            queued: 0,
            was_full: false,
            chunks: Chunks::default(),
        }
    }

    pub(super) fn push(&mut self, data: Bytes) {
        self.queued = self.queued.saturating_add(data.len());
        self.chunks.push(data);
    }

    /// Moves `n` queued bytes into the batch.
    pub(super) fn take(&mut self, n: usize, batch: &mut Batch) {
        self.queued = self.queued.saturating_sub(n);
        self.credit.spend(n as u64);
        let mut left = n;
        while left > 0 {
            let Some(chunk) = self.chunks.take(left) else { return };
            left = left.saturating_sub(chunk.len());
            batch.put(chunk);
        }
    }

    /// Ends without a FIN of its own: the peer ended both directions.
    pub(super) fn end(&mut self) {
        self.state = SendState::Finished;
        self.queued = 0;
        self.chunks = Chunks::default();
    }

    /// Drops what is queued.
    pub(super) fn fail(&mut self) {
        if self.state != SendState::Finished {
            self.state = SendState::Failed;
        }
        self.queued = 0;
        self.chunks = Chunks::default();
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RecvState {
    Open,
    Finished,
    Failed,
}

#[derive(Debug)]
pub(super) struct RecvHalf {
    pub(super) state: RecvState,
    pub(super) credit: RecvCredit,
    /// The application was told to wait and is to be told when there is something.
    pub(super) waiting: bool,
    /// Nobody will read: what comes is dropped.
    discarding: bool,
    chunks: Chunks,
}

impl RecvHalf {
    fn new(limit: u64, now: Instant) -> Self {
        Self {
            state: RecvState::Open,
            credit: RecvCredit::new(limit, now),
            waiting: false,
            discarding: false,
            chunks: Chunks::default(),
        }
    }

    /// Takes the first `n` bytes of `input`; what they keep in memory stays within `room`.
    pub(super) fn push_part(&mut self, input: &mut BytesMut, n: usize, room: u64) {
        self.chunks.push_part(input, n, room);
    }

    /// The application is done with `n` bytes that it took.
    pub(super) fn release(&mut self, n: usize) {
        self.chunks.release(n);
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        self.chunks.take(usize::MAX)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Copies the first bytes into `into`, as many as there are; says how many.
    pub(super) fn peek(&self, into: &mut [u8]) -> usize {
        self.chunks.peek(into)
    }

    /// Drops `n` bytes from the front.
    pub(super) fn skip(&mut self, n: usize) {
        let mut left = n;
        while left > 0 {
            let Some(chunk) = self.chunks.take(left) else { return };
            left = left.saturating_sub(chunk.len());
        }
        self.chunks.release(n);
    }

    /// Drops what is unread and all that is still to come.
    pub(super) fn discard(&mut self) {
        self.discarding = true;
        self.chunks = Chunks::default();
    }

    pub(super) const fn is_discarding(&self) -> bool {
        self.discarding
    }

    /// A reset drops what is unread; a cut connection leaves it to be read.
    pub(super) fn fail(&mut self, drop_unread: bool) {
        if drop_unread {
            self.chunks = Chunks::default();
            self.state = RecvState::Failed;
        } else if self.state == RecvState::Open {
            self.state = RecvState::Failed;
        }
    }

    /// Bytes that are unread or may come; none may once the direction is over.
    pub(super) fn promised(&self) -> u64 {
        if self.state == RecvState::Open { self.credit.claim() } else { 0 }
    }

    pub(super) fn growth(&self) -> u64 {
        if self.state == RecvState::Open { self.credit.growth() } else { 0 }
    }
}

/// What a stream takes beside its bytes.
const STREAM: u64 = 4 << 10;
