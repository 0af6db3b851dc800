//! The words of the logs: every line that TunneLS writes goes through [`event`].
//!
//! An event has a constant text, a level, an area and typed fields ([`fields::EVENTS`] is the one table of
//! them, `docs/logs.md` explains it). Underneath is `tracing`: a program that embeds the libraries keeps its
//! own subscriber and gets the same events and fields. The programs of this project switch on the feature
//! `subscriber` and get the log itself: the text format of the original, JSON lines, a rotated file, alerts.
//!
//! | word | meaning |
//! |---|---|
//! | event | one thing that happened: one line |
//! | area | the part it happened in: conn, sess, sock, main … ([`event::Area`]) |
//! | open count | how many connections, streams or sockets this process holds after the event |
//! | redaction | how much of a destination's name a line shows ([`Redaction`]) |
//!
//! # Types to start with
//!
//! [`event::Conn`], [`event::Sess`] and [`event::Sock`] are guards: made when a thing opens, closed with its
//! cause. [`event::access`] tells of a finished stream. For a plain sentence there are [`info`], [`warn`],
//! [`error`] and [`fatal`].
//!
//! ```
//! use sla::event::{Conn, ConnEnd, ConnFacts, Role};
//!
//! let facts = ConnFacts {
//!     role: Role::Client,
//!     wire: "remux2",
//!     transport: "tls",
//!     local: "192.0.2.7:40312",
//!     remote: "198.51.100.1:443",
//!     identity: Some("server.example"),
//! };
//! let conn = Conn::open(sla::ConnectionId(0x8f7e_d46a), &facts); // [conn] + 8f7ed46a = 1
//! conn.close("idle", &ConnEnd::default()); //                       [conn] - 8f7ed46a = 0 idle
//! ```

pub mod code;
pub mod event;
pub mod fields;
mod flush;
mod plain;
mod redact;
#[cfg(feature = "subscriber")]
pub mod subscriber;

use std::fmt;

pub use plain::plain;
pub use redact::{Redacted, Redaction, redaction, set_redaction};

/// The name of one connection in the logs of this process: random or counted, chosen by who opens it.
///
/// Prints as eight lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnectionId(pub u32);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Logs one sentence at `info` in the area `main`.
pub fn info(text: &str) {
    event::info(event::Area::Main, text);
}

/// Logs one sentence at `warn` in the area `main`.
pub fn warn(text: &str) {
    event::warn(event::Area::Main, text);
}

/// Logs one sentence at `error` in the area `main`; goes to the alert robot where one is set.
pub fn error(text: &str) {
    event::error(event::Area::Main, text);
}

/// Logs one sentence at `fatal` in the area `main`, alerts, flushes, and ends the process with exit code 1.
pub fn fatal(text: &str) -> ! {
    event::fatal(event::Area::Main, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_id_prints_as_eight_hex_digits() {
        assert_eq!(ConnectionId(0x8f7e_d46a).to_string(), "8f7ed46a");
        assert_eq!(ConnectionId(7).to_string(), "00000007");
    }
}
