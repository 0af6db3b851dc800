//! One connection, without any I/O (signatures first; bodies follow).

mod batch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use framing::Target;
use framing::remux2::{Code, Command, Opened};

use crate::budget::Budget;
use crate::config::{Role, SessionConfig, Wire};
use crate::error::{ConnectionError, OpenError, OpenReason, StreamError};

pub use batch::Batch;

/// The engine of one connection: streams, credit, scheduling, limits, liveness.
#[derive(Debug)]
pub struct Session {
    role: Role,
    wire: Wire,
    config: SessionConfig,
    budget: Arc<Budget>,
    start: Instant,
}

impl Session {
    /// A connection that has just been made.
    pub fn new(role: Role, wire: Wire, config: SessionConfig, budget: Arc<Budget>, now: Instant) -> Self {
        Self { role, wire, config, budget, start: now }
    }

    // What the application wants.

    /// Opens a stream; its OPEN (and `first`) leave with the next [`Session::poll_transmit`].
    ///
    /// # Errors
    /// [`OpenError`] says why and hands `open` back; nothing was sent.
    pub fn open(&mut self, _now: Instant, open: Open) -> Result<StreamId, OpenError> {
        Err(OpenError { reason: OpenReason::Closed, open })
    }

    /// Bytes the stream's send queue takes now.
    ///
    /// # Errors
    /// The sending direction has ended.
    pub fn send_room(&self, _id: StreamId) -> Result<usize, StreamError> {
        Err(StreamError::Closed)
    }

    /// Queues bytes, at most [`Session::send_room`] of them.
    ///
    /// # Errors
    /// The sending direction has ended, or there is no room: nothing was taken.
    pub fn send(&mut self, _now: Instant, _id: StreamId, _data: Bytes) -> Result<(), StreamError> {
        Err(StreamError::Closed)
    }

    /// No more bytes will be sent: FIN follows what is queued. Classic: see the protocol page.
    pub fn finish(&mut self, _now: Instant, _id: StreamId) {}

    /// Ends both directions at once and drops what is queued. Classic: end of session.
    pub fn reset(&mut self, _now: Instant, _id: StreamId, _code: Code, _text: &str) {}

    /// Answers an OPEN that wanted it ([`Open::want_opened`]); otherwise does nothing.
    pub fn answer_opened(&mut self, _now: Instant, _id: StreamId, _opened: Opened) {}

    /// Takes received bytes. After [`Recv::Wait`] an [`Event::Readable`] follows.
    pub fn recv(&mut self, _now: Instant, _id: StreamId) -> Recv {
        Recv::Wait
    }

    /// The application has consumed `n` bytes it got from [`Session::recv`]: credit may grow back.
    pub fn release(&mut self, _now: Instant, _id: StreamId, _n: usize) {}

    /// The application lets go of the stream: reset with CANCEL unless both directions have ended. Every stream
    /// opened or [`Event::Incoming`] must be let go of once; until then it counts.
    pub fn forget(&mut self, _now: Instant, _id: StreamId) {}

    /// Takes no new streams, tells the peer, and ends the connection once every stream has ended; those still open
    /// after `limit` are reset with DRAIN. `Duration::MAX` waits for ever.
    pub fn drain(&mut self, _now: Instant, _code: Code, _limit: Duration) {}

    /// Ends the connection at once: every stream is [`StreamError::Truncated`], the peer is told, an
    /// [`Event::Closed`] follows.
    pub fn abort(&mut self, _now: Instant, _cause: ConnectionError) {}

    /// Asks the peer for a sign of life (remux2): the machine slept, or the path changed. The connection is
    /// [`Event::Suspect`] until a byte comes, and dead after 1 s without one.
    pub fn handle_suspend(&mut self, _now: Instant) {}

    // What happened on the wire.

    /// Bytes arrived. Consumes whole frames, and what there is of a DATA payload, from the front of `input`; the rest
    /// must stay in front of the next call's bytes. Classic: stops at bytes for a stream whose queue is full; once
    /// [`Session::wants_read`] is true again call this with the rest before reading more.
    ///
    /// # Errors
    /// The connection is over (an [`Event::Closed`] says the same): write what [`Session::poll_transmit`] still gives,
    /// once, and close.
    pub fn handle_data(&mut self, _now: Instant, _input: &mut BytesMut) -> Result<(), ConnectionError> {
        Ok(())
    }

    /// The transport ended. Every unfinished stream is [`StreamError::Truncated`]; an [`Event::Closed`] follows.
    pub fn handle_closed(&mut self, _now: Instant, _cause: ConnectionError) {}

    /// What the kernel knows about the path; at most ten times a second while bytes flow, and just before
    /// [`Session::handle_timeout`].
    pub fn handle_path(&mut self, _now: Instant, _path: PathInfo) {}

    /// Some bytes of a batch were written, `left` remain in it. Optional: a call of [`Session::poll_transmit`] says the
    /// same, but a batch can take long on a slow path.
    pub fn handle_written(&mut self, _now: Instant, _left: usize) {}

    /// The time of [`Session::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// Fills `batch` up to its room with what should be sent next. Call it when the transport can take bytes.
    pub fn poll_transmit(&mut self, _now: Instant, _batch: &mut Batch) {}

    /// What the application should know; call until `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// When to call [`Session::handle_timeout`], and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        None
    }

    /// Whether [`Session::poll_transmit`] would add anything: wake the writer.
    pub fn wants_transmit(&self) -> bool {
        false
    }

    /// Whether bytes should be read from the transport; false is back-pressure (classic only).
    pub fn wants_read(&self) -> bool {
        true
    }

    /// Bytes that should be unsent in the kernel at most (`TCP_NOTSENT_LOWAT`).
    pub fn transmit_limit(&self) -> usize {
        128 << 10
    }

    // What there is to know.

    /// The wire in use.
    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// Which end this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Streams the application has not let go of.
    pub fn streams(&self) -> usize {
        0
    }

    /// Whether [`Session::open`] would succeed for a plain request.
    pub fn can_open(&self) -> bool {
        false
    }

    /// Why the connection ended, once it has.
    pub fn closed(&self) -> Option<&ConnectionError> {
        None
    }

    /// Counters since the start.
    pub fn stats(&self) -> Stats {
        let _ = (&self.config, &self.budget, self.start);
        Stats::default()
    }
}

/// A stream of one connection: odd ids were opened by the client, even ones by the server (classic: all by the client).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StreamId(pub u32);

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What an opened stream asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Open {
    /// What the acceptor shall do.
    pub command: Command,
    /// Where to; may be absent only for [`Command::Stream`].
    pub target: Option<Target>,
    /// Bits 0-2 urgency (0 first, default 3), bit 3 incremental.
    pub priority: u8,
    /// The opener waits for [`Event::Opened`] (remux2 only).
    pub want_opened: bool,
    /// First bytes of the stream; they travel with the request. Empty on the accepting side, where they are received.
    pub first: Bytes,
    /// No more bytes follow `first`. False on the accepting side, where it is received.
    pub fin: bool,
}

impl Open {
    /// A request to dial `target`, with nothing to send yet.
    pub fn connect(target: Target) -> Self {
        Self { command: Command::Connect, target: Some(target), ..Self::stream() }
    }

    /// A plain stream between the two ends of the connection.
    pub fn stream() -> Self {
        Self {
            command: Command::Stream,
            target: None,
            priority: 3,
            want_opened: false,
            first: Bytes::new(),
            fin: false,
        }
    }
}

/// What [`Session::recv`] found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Recv {
    /// The next bytes, never empty.
    Data(Bytes),
    /// The peer has finished: no more bytes come.
    Fin,
    /// Nothing yet.
    Wait,
    /// The stream ended early.
    Failed(StreamError),
}

/// What the application should know.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The peer opened a stream; it must be let go of by [`Session::forget`], like one opened here.
    Incoming {
        /// The stream.
        id: StreamId,
        /// What it asks for; `first` and `fin` are received like all that follows.
        open: Open,
    },
    /// The peer answered [`Open::want_opened`].
    Opened {
        /// The stream.
        id: StreamId,
        /// The answer.
        opened: Opened,
    },
    /// [`Session::recv`] said wait, and now there is something.
    Readable(StreamId),
    /// The send queue was more than half full and no longer is.
    Writable(StreamId),
    /// The stream is over on the wire, in both directions: wake its reader and its writer. What was received can
    /// still be read; the stream counts until it is let go of.
    Ended {
        /// The stream.
        id: StreamId,
        /// How it ended.
        end: StreamEnd,
    },
    /// The first byte came from the peer: the dial was good.
    FirstByte,
    /// The peer said how the connection may be used.
    PeerLimits {
        /// Open no stream on a connection older than this; `Duration::MAX` when nothing was said.
        max_age: Duration,
        /// Open no more streams in all; `u32::MAX` when nothing was said.
        max_reuse: u32,
        /// Open no more streams at a time.
        max_streams: u32,
    },
    /// The peer takes no more streams; those above `last_id` were not served and have failed as
    /// [`StreamError::Reset`] with `refused_safe`.
    PeerDraining {
        /// The last stream of ours it takes care of.
        last_id: StreamId,
        /// Why.
        code: Code,
        /// How long it waits for running streams.
        limit: Duration,
        /// More about why, as the peer sent it: not trusted, not escaped.
        text: String,
    },
    /// The peer may be gone: open no stream here until [`Event::Alive`].
    Suspect,
    /// The peer is there after all.
    Alive,
    /// The connection is over; the last event. Write what [`Session::poll_transmit`] still gives, once, and close.
    Closed(ConnectionError),
}

/// How a stream ended, for the logs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StreamEnd {
    /// `None`: both directions finished.
    pub error: Option<StreamError>,
    /// Payload bytes received.
    pub bytes_in: u64,
    /// Payload bytes sent (put on the wire).
    pub bytes_out: u64,
}

/// What the kernel knows about the path (TCP_INFO), in bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PathInfo {
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Lowest round-trip time seen lately.
    pub min_rtt: Duration,
    /// Bytes delivered per second.
    pub delivery_rate: u64,
    /// Congestion window.
    pub cwnd: u64,
    /// Sent and not yet acknowledged.
    pub unacked: u64,
    /// Acknowledged since the start.
    pub bytes_acked: u64,
    /// Handed to the kernel and not yet sent.
    pub notsent: u64,
    /// The sender is repairing a loss after a time-out (`TCP_CA_Loss`).
    pub ca_loss: bool,
}

/// Counters of one connection since its start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Streams opened here.
    pub opened: u64,
    /// Streams the peer opened and that were accepted.
    pub accepted: u64,
    /// Streams the peer opened and that were refused.
    pub refused: u64,
    /// Bytes received, headers included.
    pub bytes_in: u64,
    /// Bytes put into batches, headers included.
    pub bytes_out: u64,
    /// Frames received.
    pub frames_in: u64,
    /// Frames put into batches.
    pub frames_out: u64,
    /// Resets received.
    pub resets_in: u64,
    /// Resets sent.
    pub resets_out: u64,
    /// Frames for streams that had ended, dropped.
    pub late: u64,
    /// PINGs sent.
    pub pings: u64,
    /// Times a window grew.
    pub grown: u64,
}
