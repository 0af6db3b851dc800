//! The front's side of a handshake, without any I/O.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::request::Request;
use crate::users::Users;

/// The most application bytes taken along with a request.
pub const EARLY_MAX: usize = 64 * 1024;

/// What a front expects and how it answers.
#[derive(Clone, Debug)]
pub struct Config {
    /// When success is told. Default [`Reply::Eager`].
    pub reply: Reply,
    /// Who may come in; empty (the default) is everyone. With users, SOCKS4 and SOCKS5 without a password are
    /// refused.
    pub users: Users,
    /// From accept to the complete request, one deadline and not one per read. Default 10 s. More lets a stalled
    /// peer hold a socket for longer.
    pub deadline: Duration,
    /// How long the answer to a wrong or missing password is held back. Default 200 ms; slows guessing down.
    pub auth_delay: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            reply: Reply::default(),
            users: Users::default(),
            deadline: Duration::from_secs(10),
            auth_delay: Duration::from_millis(200),
        }
    }
}

/// When an application is told that its destination is reached.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Reply {
    /// Before anything is dialled: saves a round trip, a failure is a reset.
    #[default]
    Eager,
    /// When it is: the caller sends [`Request::reply_success`] or [`Request::reply_failure`].
    Strict,
}

/// One handshake.
#[derive(Debug)]
pub struct Handshake {
    auth_delay: Duration,
    out: Bytes,
    outcome: Option<Result<Request, Refusal>>,
}

impl Handshake {
    /// A handshake of which no byte has come.
    pub fn new(config: &Config) -> Self {
        Self { auth_delay: config.auth_delay, out: Bytes::new(), outcome: None }
    }

    /// Takes what it understands off the front of `input`.
    pub fn handle_data(&mut self, input: &mut BytesMut) {
        if !input.is_empty() && self.outcome.is_none() {
            self.outcome = Some(Err(Refusal {
                reply: Bytes::new(),
                delay: self.auth_delay,
                kind: "bad_protocol",
                detail: String::new(),
                wrong_password: false,
            }));
        }
    }

    /// Bytes to be sent before anything else happens; then call [`Self::handle_data`] again, with or without news.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        (!self.out.is_empty()).then(|| std::mem::take(&mut self.out))
    }

    /// The end of the handshake, once, and not before its last reply was taken.
    pub fn poll_outcome(&mut self) -> Option<Result<Request, Refusal>> {
        if self.out.is_empty() { self.outcome.take() } else { None }
    }
}

/// A request that is never served: what to say, when, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Refusal {
    /// The protocol's answer; empty where none is defined.
    pub reply: Bytes,
    /// How long to hold it back.
    pub delay: Duration,
    /// One word for counters.
    pub kind: &'static str,
    /// What was wrong, with peers' bytes escaped.
    pub detail: String,
    /// Whether it counts for [`AuthLimit`](crate::AuthLimit).
    pub wrong_password: bool,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Refusal {}
