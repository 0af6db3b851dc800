//! Why a handshake brought no request.

use std::io;
use std::time::Duration;

use crate::handshake::Refusal;

/// Why a handshake brought no request. The socket is closed by then, with the protocol's reply where it has one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer ended before its request was complete.
    #[error("peer closed after {received} bytes of its request")]
    Closed {
        /// Bytes that had come by then.
        received: usize,
    },
    /// The request was not complete in time.
    #[error("no complete request within {} s", limit.as_secs_f32())]
    Deadline {
        /// The time there was.
        limit: Duration,
    },
    /// The socket failed.
    #[error("the socket failed: {0}")]
    Io(#[from] io::Error),
    /// The request is one that is never served.
    #[error("{0}")]
    Refused(#[from] Refusal),
}

impl HandshakeError {
    /// One word for counters: `closed`, `deadline`, `io`, or the [`Refusal`]'s kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Deadline { .. } => "deadline",
            Self::Io(_) => "io",
            Self::Refused(refusal) => refusal.kind,
        }
    }
}
