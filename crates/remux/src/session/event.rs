//! The words between a session and its user.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use framing::Target;
use framing::remux2::{Code, Command, Opened};

use crate::error::{ConnectionError, StreamError};

/// A stream of one connection: odd ids were opened by the client, even ones by the server (classic: all by the client).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StreamId(pub u32);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

/// What [`Session::recv`](super::Session::recv) found.
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
    /// The peer opened a stream; it must be let go of by [`Session::forget`](super::Session::forget), like one opened here.
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
    /// [`Session::recv`](super::Session::recv) said wait, and now there is something.
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
    /// The peer has begun to speak this wire: the dial was good. remux2: its SETTINGS came; classic: its first byte.
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
    /// Streams of the peer are refused from now on, as its [`Account`](crate::Account) is at [`NoOpens`](crate::Stage::NoOpens).
    Short {
        /// Bytes it holds, over all its connections.
        held: u64,
        /// Those and what is free.
        room: u64,
    },
    /// The connection is over; the last event. Write what [`Session::poll_transmit`](super::Session::poll_transmit) still gives, once, and close.
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
