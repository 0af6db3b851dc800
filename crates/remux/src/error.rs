//! Why a stream, an opening, a dial or a connection failed: one enum for each operation.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use framing::remux2::Code;
use sla::code;

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

/// Why a connection ended. Cheap to clone: each of its streams may carry it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// This side ended it at once.
    #[error("ended here{}", Because(.0))]
    Aborted(Arc<str>),
    /// The peer did more of something than a limit allows.
    #[error("peer went over the limit on {limit}")]
    Calm {
        /// The limit, by the name of its field in [`LimitConfig`](crate::LimitConfig).
        limit: &'static str,
    },
    /// The transport ended: the peer closed it.
    #[error("closed by the peer")]
    Closed,
    /// The peer answers no more.
    #[error("peer gave no sign of life for {}", Seconds(*silence))]
    Dead {
        /// Time since the last byte from it.
        silence: Duration,
    },
    /// Every stream has ended after [`drain`](crate::session::Session::drain).
    #[error("drained")]
    Drained,
    /// The peer lost its right to the connection: [`Connected::with_lease`](crate::Connected::with_lease) says why.
    #[error("the right to it was lost: {0}")]
    Forbidden(Arc<str>),
    /// The peer announced the end and then closed the transport.
    #[error("ended by the peer{}", CodeAndText(*code, text))]
    GoAway {
        /// Why.
        code: Code,
        /// More about why, as the peer sent it: not trusted, not escaped; may be empty.
        text: Arc<str>,
    },
    /// Nobody used the connection for the time allowed.
    #[error("idle")]
    Idle,
    /// The transport failed.
    #[error("{}{text}", if sla::code::split(text).is_some() { "" } else { "transport failed: " })]
    Io {
        /// What kind of failure.
        kind: io::ErrorKind,
        /// The error's own words.
        text: Arc<str>,
    },
    /// This process ran short of memory, and no connection held more.
    #[error("closed to free memory: it held {bytes} bytes, more than any other connection")]
    Memory {
        /// What it held and was promised.
        bytes: u64,
    },
    /// The peer broke the protocol.
    #[error("peer broke the protocol: {what}")]
    Protocol {
        /// What it did.
        what: &'static str,
    },
    /// The peer's SETTINGS did not come in time: it doesn't speak this wire, or not at all.
    #[error("peer sent no settings within {}", Seconds(*limit))]
    NoSettings {
        /// The time allowed.
        limit: Duration,
    },
    /// Bytes waited, and none could be written for the time allowed.
    #[error("no progress in writing for {}", Seconds(*limit))]
    Stalled {
        /// The time allowed.
        limit: Duration,
    },
    /// The peer refused the connection before it took a byte of ours: nothing was done with any stream.
    #[error("transport failed: {text}")]
    TurnedAway {
        /// Why.
        text: Arc<str>,
        /// Another server may not refuse: what waits here is worth another try.
        elsewhere: bool,
    },
    /// The peer insists on an extension this side doesn't know.
    #[error("peer uses the unknown critical frame type {kind:#04x}")]
    UnknownCritical {
        /// The type byte.
        kind: u8,
    },
}

impl ConnectionError {
    /// The GOAWAY code that tells the peer.
    pub const fn code(&self) -> Code {
        match self {
            Self::Aborted(_) => Code::CANCEL,
            Self::Calm { .. } => Code::CALM,
            Self::Closed | Self::GoAway { .. } | Self::Io { .. } | Self::TurnedAway { .. } => Code::NONE,
            Self::Dead { .. } | Self::Memory { .. } | Self::Stalled { .. } => Code::LIMIT,
            Self::Drained => Code::DRAIN,
            Self::Forbidden(_) => Code::AUTH,
            Self::Idle => Code::IDLE,
            Self::NoSettings { .. } | Self::Protocol { .. } => Code::PROTOCOL,
            Self::UnknownCritical { .. } => Code::UNKNOWN_CRITICAL,
        }
    }

    /// Whether the peer did something no honest one does, by intent or by a fault of its own.
    pub const fn is_misconduct(&self) -> bool {
        matches!(
            self,
            Self::Calm { .. }
                | Self::NoSettings { .. }
                | Self::Protocol { .. }
                | Self::UnknownCritical { .. }
        )
    }

    /// Whether this side cut the connection for what its peer did or left undone.
    pub const fn is_cut(&self) -> bool {
        self.is_misconduct() || matches!(self, Self::Memory { .. } | Self::Stalled { .. })
    }

    /// Whether the peer was not heard of when it should have been: another server may be nearer.
    pub const fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::Dead { .. }
                | Self::NoSettings { .. }
                | Self::Stalled { .. }
                | Self::Io { kind: io::ErrorKind::TimedOut, .. }
        )
    }

    /// Whether this is an end nobody has to look into: idle, drained, closed.
    pub const fn is_orderly(&self) -> bool {
        matches!(
            self,
            Self::Closed
                | Self::Drained
                | Self::Idle
                | Self::GoAway { code: Code::DRAIN | Code::IDLE | Code::NONE, .. }
        )
    }
}

#[cfg(feature = "io")]
impl ConnectionError {
    /// What it means for a connection that was dialled and ended before the server had proven to speak our wire, with
    /// what to do.
    pub(crate) fn early(&self) -> String {
        match self {
            // The transport knew more, and said it with its own code.
            Self::Io { text, .. } | Self::TurnedAway { text, .. } if sla::code::split(text).is_some() => {
                text.to_string()
            }
            Self::Closed => format!(
                "{} the server closed the connection before it said a word → check that remux.net, eagersocks.net and \
                 remux.wire are the same on both sides, then read the server's log",
                code::LINK_CLOSED
            ),
            Self::NoSettings { limit } => format!(
                "{} the server did not greet us within {} → check that remux.net and remux.wire are the same on both \
                 sides, and that a TunneLS server listens there",
                code::LINK_SILENT,
                Seconds(*limit)
            ),
            Self::Protocol { .. } | Self::UnknownCritical { .. } => format!(
                "{} what the server said is not our wire ({self}) → check that remux.net and remux.wire are the same \
                 on both sides, then the versions of both programs",
                code::LINK_PROTOCOL
            ),
            _ => format!(
                "{} the connection did not live: {self} → if it stays so, check the path to the server and its log",
                code::LINK_LOST
            ),
        }
    }
}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Closed;
        }
        if let Some(TurnedAway { text, elsewhere }) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            return Self::TurnedAway { text: text.clone(), elsewhere: *elsewhere };
        }
        Self::Io { kind: error.kind(), text: sla::plain(&error).into() }
    }
}

/// The payload of an [`io::Error`] by which a transport says that its peer refused it before it took a byte:
/// [`ConnectionError::TurnedAway`].
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct TurnedAway {
    /// Why.
    pub text: Arc<str>,
    /// Another server may not refuse.
    pub elsewhere: bool,
}

impl From<ConnectionError> for io::Error {
    fn from(error: ConnectionError) -> Self {
        let kind = match &error {
            ConnectionError::Io { kind, .. } => *kind,
            ConnectionError::Dead { .. }
            | ConnectionError::NoSettings { .. }
            | ConnectionError::Stalled { .. } => io::ErrorKind::TimedOut,
            ConnectionError::Protocol { .. }
            | ConnectionError::Calm { .. }
            | ConnectionError::UnknownCritical { .. } => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::ConnectionReset,
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

/// `": code: text"`; a text that only says the code in a longer word stands alone, as does a text without a code.
struct CodeAndText<'a>(Code, &'a str);

impl std::fmt::Display for CodeAndText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(code, text) = self;
        if *code == Code::NONE || !text.is_empty() && text.starts_with(&code.to_string()) {
            return Because(text).fmt(f);
        }
        write!(f, ": {code}{}", Because(text))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_for_people() {
        let dead = |millis: u64| {
            ConnectionError::Dead { silence: Duration::from_micros(millis * 1000 + 67) }.to_string()
        };
        assert_eq!(dead(5_784), "peer gave no sign of life for 5.8 s");
        assert_eq!(dead(10_000), "peer gave no sign of life for 10 s");
        assert_eq!(dead(250), "peer gave no sign of life for 250 ms");
    }

    #[test]
    fn goodbye_says_its_reason_once() {
        let goodbye = |code, text: &str| ConnectionError::GoAway { code, text: text.into() }.to_string();
        assert_eq!(goodbye(Code::IDLE, "idle"), "ended by the peer: idle");
        assert_eq!(goodbye(Code::DRAIN, "drained"), "ended by the peer: drained");
        assert_eq!(goodbye(Code::DRAIN, ""), "ended by the peer: drain");
        assert_eq!(goodbye(Code::NONE, ""), "ended by the peer");
        assert_eq!(goodbye(Code::LIMIT, "too many pings"), "ended by the peer: limit: too many pings");
    }
}
