//! Why a stream, an opening, a dial or a connection failed: one enum for each operation.

mod connection;

use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use connection::{ConnectionError, TurnedAway};
use framing::remux2::Code;

use crate::session::Open;

/// Why a stream ended other than by both sides' FIN.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// This side reset the stream: the application, or a limit.
    #[error("stream was reset here: {code}{}", Because(text))]
    Aborted {
        /// The code the peer was told.
        code: Code,
        /// More about why; may be empty.
        text: String,
    },
    /// The stream is not known: never opened, or let go of.
    #[error("stream is not open")]
    Closed,
    /// The sending direction has ended already.
    #[error("stream takes no more bytes: its sending direction has ended")]
    Finished,
    /// More was sent than [`send_room`](crate::session::Session::send_room) allowed; nothing was taken.
    #[error("stream's send queue has no room")]
    NoRoom,
    /// The peer reset the stream; queued bytes were dropped on both sides.
    #[error("stream was reset by the peer: {code}{}", Because(text))]
    Reset {
        /// Why.
        code: Code,
        /// More about why, as the peer sent it: not trusted, not escaped; may be empty.
        text: String,
        /// The peer did nothing with the stream: opening it again elsewhere is safe.
        refused_safe: bool,
    },
    /// The connection ended before the stream did. What was received is a prefix, not the whole.
    #[error("stream was cut off: {cause}")]
    Truncated {
        /// Why the connection ended.
        cause: ConnectionError,
    },
}

impl StreamError {
    /// Whether the peer did nothing with the stream, so that opening it again elsewhere is safe.
    pub const fn is_refused_safe(&self) -> bool {
        matches!(
            self,
            Self::Reset { refused_safe: true, .. }
                | Self::Truncated { cause: ConnectionError::TurnedAway { elsewhere: true, .. } }
        )
    }

    /// The code to pass on to whoever waits behind the stream.
    pub const fn code(&self) -> Code {
        match self {
            Self::Aborted { code, .. } | Self::Reset { code, .. } => *code,
            Self::Closed | Self::Finished | Self::NoRoom => Code::CLOSED,
            Self::Truncated { .. } => Code::TRUNCATED,
        }
    }
}

/// A reset and a cut are [`ConnectionReset`](io::ErrorKind::ConnectionReset), as of a TCP socket.
impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match &error {
            StreamError::Aborted { .. } => io::ErrorKind::ConnectionAborted,
            StreamError::Closed => io::ErrorKind::NotConnected,
            StreamError::Finished => io::ErrorKind::BrokenPipe,
            StreamError::NoRoom => io::ErrorKind::WouldBlock,
            StreamError::Reset { .. } | StreamError::Truncated { .. } => io::ErrorKind::ConnectionReset,
        };
        Self::new(kind, error)
    }
}

/// A stream could not be opened on this connection; nothing was sent and the wish is handed back.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct OpenError {
    /// Why.
    pub reason: OpenReason,
    /// What was asked for, unchanged.
    pub open: Open,
}

/// Why [`OpenError`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenReason {
    /// The connection has ended.
    #[error("connection has ended")]
    Closed,
    /// The connection takes no more streams.
    #[error("connection is draining")]
    Draining,
    /// Every stream id of the connection was used.
    #[error("connection has no stream ids left")]
    Exhausted,
    /// This process is short of memory: see [`Stage::NoOpens`](crate::Stage::NoOpens).
    #[error("memory is short")]
    NoMemory,
    /// The peer allows no further stream at the same time.
    #[error("peer allows no more streams at a time")]
    TooMany,
    /// The wire can't express what was asked for.
    #[error("this wire can't express {0}")]
    Unsupported(&'static str),
}

/// Why a dialler yields no stream.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The dialler was told to stop.
    #[error("dialler is closed")]
    Closed,
    /// No connection could be made.
    #[error("{0}")]
    Connect(Arc<dyn std::error::Error + Send + Sync>),
    /// A connection ended before the stream was answered.
    #[error("connection was lost: {0}")]
    Connection(ConnectionError),
    /// Every connection is in use and no further one is allowed.
    #[error("all {limit} connections are in use")]
    Limit {
        /// The most connections at a time.
        limit: usize,
    },
    /// The stream was refused.
    #[error(transparent)]
    Stream(StreamError),
    /// This process is short of memory: see [`Stage::NoOpens`](crate::Stage::NoOpens).
    #[error("memory is short: {used} of {limit} bytes are in use (remux.memory.max.bytes)")]
    Memory {
        /// Bytes that are held or promised.
        used: u64,
        /// The most there may be; opens are refused from 90 % of it.
        limit: u64,
    },
    /// No usable connection within the time allowed.
    #[error("no usable connection within {}{}", Seconds(*limit), Because(last))]
    Timeout {
        /// The time allowed.
        limit: Duration,
        /// The last dial's error; may be empty.
        last: String,
    },
    /// What was asked for can't be expressed on the wire in use.
    #[error("the wire in use can't express {0}")]
    Unsupported(&'static str),
}

impl DialError {
    /// The code to pass on to whoever waits for the stream.
    pub const fn code(&self) -> Code {
        match self {
            Self::Closed => Code::DRAIN,
            Self::Connect(_) | Self::Connection(_) => Code::SERVER_ERROR,
            Self::Limit { .. } | Self::Memory { .. } => Code::LIMIT,
            Self::Stream(error) => error.code(),
            Self::Timeout { .. } => Code::DIAL_TIMEOUT,
            Self::Unsupported(_) => Code::COMMAND_UNKNOWN,
        }
    }
}

impl From<DialError> for io::Error {
    fn from(error: DialError) -> Self {
        let kind = match &error {
            DialError::Closed => io::ErrorKind::NotConnected,
            DialError::Connect(_) => io::ErrorKind::ConnectionRefused,
            DialError::Connection(_) | DialError::Stream(_) => io::ErrorKind::ConnectionReset,
            DialError::Limit { .. } => io::ErrorKind::ResourceBusy,
            DialError::Memory { .. } => io::ErrorKind::OutOfMemory,
            DialError::Timeout { .. } => io::ErrorKind::TimedOut,
            DialError::Unsupported(_) => io::ErrorKind::Unsupported,
        };
        Self::new(kind, error)
    }
}

/// `": text"`, or nothing when there is no text.
struct Because<'a, T: AsRef<str>>(&'a T);

impl<T: AsRef<str>> std::fmt::Display for Because<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_ref() {
            "" => Ok(()),
            text => write!(f, ": {text}"),
        }
    }
}

/// A time for people: `250 ms`, `5.8 s`, `30 s`.
struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(time) = self;
        if *time < Duration::from_secs(1) {
            return write!(f, "{} ms", time.as_millis());
        }
        let text = format!("{:.1}", time.as_secs_f64());
        write!(f, "{} s", text.strip_suffix(".0").unwrap_or(&text))
    }
}
