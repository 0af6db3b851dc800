//! Why a connection ended, and what that says of its peer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use framing::remux2::Code;
use sla::code;

use super::{Because, Seconds};

/// Why a connection ended. Cheap to clone: each of its streams may carry it.
///
/// Who acts on an end asks one of these, and nothing else tells ends apart by what they say of the peer:
///
/// | question | true for | who asks |
/// |---|---|---|
/// | [`is_orderly`](Self::is_orderly) | `Closed`, `Drained`, `Idle`; `GoAway` with DRAIN, IDLE or NONE | who looks for faults |
/// | [`is_misconduct`](Self::is_misconduct) | `Calm`, `NoSettings`, `Protocol`, `UnknownCritical` | the server: it counts against the peer's identity |
/// | [`is_cut`](Self::is_cut) | misconduct; `Memory`, `Stalled` | the log: it warns |
/// | [`is_lost`](Self::is_lost) | `Dead`, `Io`, `Stalled`, `TurnedAway` | the driver: it says no goodbye |
/// | [`speaks_for_another`](Self::speaks_for_another) | misconduct; `Dead`, `Forbidden`, `Stalled`; `GoAway` with any code but IDLE and NONE; `Io` that timed out | the client: it turns to the next server (whoever met `TurnedAway` has done so) |
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
    #[error("{}{text}", if code::split(text).is_some() { "" } else { "transport failed: " })]
    Io {
        /// What kind of failure.
        kind: io::ErrorKind,
        /// The error's own words.
        text: Arc<str>,
    },
    /// This process ran short of memory, no identity held more, and no other connection of that one did.
    #[error("closed to free memory: it held {bytes} bytes, the most of a peer that held most")]
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

    /// Whether this is an end nobody has to look into.
    pub const fn is_orderly(&self) -> bool {
        matches!(
            self,
            Self::Closed
                | Self::Drained
                | Self::Idle
                | Self::GoAway { code: Code::DRAIN | Code::IDLE | Code::NONE, .. }
        )
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

    /// Whether the transport failed or the peer takes no more: there is nobody to say anything to.
    pub const fn is_lost(&self) -> bool {
        matches!(self, Self::Dead { .. } | Self::Io { .. } | Self::Stalled { .. } | Self::TurnedAway { .. })
    }

    /// Whether it speaks for another server, where there is one: this one misbehaved, was not heard of when it should have
    /// been, lost its right to be one, or said that it is about to go.
    pub const fn speaks_for_another(&self) -> bool {
        match self {
            Self::Dead { .. } | Self::Forbidden(_) | Self::Stalled { .. } => true,
            Self::GoAway { code, .. } => !matches!(*code, Code::IDLE | Code::NONE),
            Self::Io { kind, .. } => matches!(kind, io::ErrorKind::TimedOut),
            _ => self.is_misconduct(),
        }
    }
}

#[cfg(feature = "io")]
impl ConnectionError {
    /// What it means for a connection that was dialled and ended before the server had proven to speak our wire, with
    /// what to do.
    pub(crate) fn early(&self) -> String {
        match self {
            // The transport knew more, and said it with its own code.
            Self::Io { text, .. } | Self::TurnedAway { text, .. } if code::split(text).is_some() => {
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

#[cfg(test)]
mod tests {
    use super::ConnectionError::{
        Aborted, Calm, Closed, Dead, Drained, Forbidden, GoAway, Idle, Io, Memory, NoSettings, Protocol,
        Stalled, TurnedAway, UnknownCritical,
    };
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

    #[test]
    fn every_end_says_of_its_peer_what_the_table_says() {
        let goaways = [Code::CALM, Code::DRAIN, Code::IDLE].map(|code| GoAway { code, text: "".into() });
        let timed_out = Io { kind: io::ErrorKind::TimedOut, text: "".into() };
        let others = goaways.into_iter().chain([timed_out]);
        for end in std::iter::successors(Some(Aborted("".into())), after).chain(others) {
            let says = match &end {
                Aborted(_) => "",
                Calm { .. } | NoSettings { .. } | Protocol { .. } | UnknownCritical { .. } => {
                    "misconduct cut another"
                }
                Closed | Drained | Idle => "orderly",
                Dead { .. } => "lost another",
                Forbidden(_) => "another",
                GoAway { code: Code::DRAIN, .. } => "orderly another",
                GoAway { code: Code::IDLE | Code::NONE, .. } => "orderly",
                GoAway { .. } => "another",
                Io { kind: io::ErrorKind::TimedOut, .. } => "lost another",
                Io { .. } | TurnedAway { .. } => "lost",
                Memory { .. } => "cut",
                Stalled { .. } => "cut lost another",
            };
            assert_eq!(verdict(&end), says, "{end:?}");
        }
    }

    fn verdict(end: &ConnectionError) -> String {
        let marks = [
            (end.is_orderly(), "orderly"),
            (end.is_misconduct(), "misconduct"),
            (end.is_cut(), "cut"),
            (end.is_lost(), "lost"),
            (end.speaks_for_another(), "another"),
        ];
        marks.into_iter().filter_map(|(is, mark)| is.then_some(mark)).collect::<Vec<_>>().join(" ")
    }

    /// Goes through every kind of end, from `Aborted` on.
    fn after(end: &ConnectionError) -> Option<ConnectionError> {
        Some(match end {
            Aborted(_) => Calm { limit: "pings" },
            Calm { .. } => Closed,
            Closed => Dead { silence: Duration::ZERO },
            Dead { .. } => Drained,
            Drained => Forbidden("".into()),
            Forbidden(_) => GoAway { code: Code::NONE, text: "".into() },
            GoAway { .. } => Idle,
            Idle => Io { kind: io::ErrorKind::ConnectionReset, text: "".into() },
            Io { .. } => Memory { bytes: 1 },
            Memory { .. } => NoSettings { limit: Duration::ZERO },
            NoSettings { .. } => Protocol { what: "a frame has a reserved type" },
            Protocol { .. } => Stalled { limit: Duration::ZERO },
            Stalled { .. } => TurnedAway { text: "".into(), elsewhere: true },
            TurnedAway { .. } => UnknownCritical { kind: 0x40 },
            UnknownCritical { .. } => return None,
        })
    }
}
