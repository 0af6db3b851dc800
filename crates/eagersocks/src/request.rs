//! What an application asked for, and the words its answer is made of.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use bytes::Bytes;
use framing::connect::Response;
use framing::remux2::Code;
use framing::socks::{Command, v4, v5};
use framing::{Encode, Target};

/// What an application asked for: command, destination, who it is, and the bytes it sent along.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// What is to be done; [`Command::Connect`] until the others are built.
    pub command: Command,
    /// Where to; the port is never 0.
    pub target: Target,
    /// Who asked, when users are configured.
    pub credential: Option<Credential>,
    /// Application bytes that came with the request, at most [`EARLY_MAX`](crate::EARLY_MAX); they go first.
    pub early: Bytes,
    /// How it was asked, and so how it must be answered.
    pub protocol: Protocol,
    pub(crate) answered: bool,
}

impl Request {
    /// A CONNECT without early data that nobody waits for an answer to, as a fixed forward makes it.
    pub fn new(protocol: Protocol, target: Target) -> Self {
        Self {
            command: Command::Connect,
            target,
            credential: None,
            early: Bytes::new(),
            protocol,
            answered: true,
        }
    }

    /// Whether success was already told ([`Reply::Eager`](crate::Reply::Eager)): a failure can then only be shown
    /// as a reset.
    pub const fn is_answered(&self) -> bool {
        self.answered
    }

    /// The bytes that tell the application its destination is reached; empty when it was told already.
    ///
    /// `bound` is the local address of the dialled socket, as far as it is known. Only an IPv4 address is told: each
    /// other form has clients that count on a reply of 10 bytes, and none that need it after CONNECT.
    pub fn reply_success(&self, bound: Option<SocketAddr>) -> Bytes {
        if self.answered { Bytes::new() } else { success(self.protocol, bound) }
    }

    /// The bytes that tell the application why it gets nothing; empty when it was told of success already.
    ///
    /// Send them, then FIN.
    pub fn reply_failure(&self, code: Code) -> Bytes {
        if self.answered { Bytes::new() } else { failure(self.protocol, code) }
    }
}

/// How a request was spoken.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Protocol {
    /// The eager request: one message, no answer.
    Eager,
    /// An HTTP/1 CONNECT (RFC 9110 section 9.3.6).
    HttpConnect,
    /// SOCKS 4, IPv4 only.
    Socks4,
    /// SOCKS 4a: SOCKS 4 with a name.
    Socks4a,
    /// SOCKS 5 (RFC 1928).
    Socks5,
}

impl Protocol {
    /// The word used in logs: `socks5`, `socks4`, `socks4a`, `http`, `eager`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eager => "eager",
            Self::HttpConnect => "http",
            Self::Socks4 => "socks4",
            Self::Socks4a => "socks4a",
            Self::Socks5 => "socks5",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who an application proved to be; holds no secret.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Credential {
    /// The configured user name.
    pub user: Arc<str>,
}

/// The bytes that say "connected".
///
/// An eager SOCKS5 reply names `0.0.0.0:0`, not the asked target as the first TunneLS did: some clients read a reply
/// of 10 bytes whatever its address type says.
pub(crate) fn success(protocol: Protocol, bound: Option<SocketAddr>) -> Bytes {
    let bound = match bound.map(|bound| (bound.ip().to_canonical(), bound.port())) {
        Some((std::net::IpAddr::V4(ip), port)) => SocketAddrV4::new(ip, port),
        _ => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
    };
    match protocol {
        Protocol::Eager => Bytes::new(),
        Protocol::HttpConnect => Response::established().to_vec().into(),
        Protocol::Socks4 | Protocol::Socks4a => v4::Reply::granted(bound).to_vec().into(),
        Protocol::Socks5 => v5::Reply::success(Target::from(SocketAddr::V4(bound))).to_vec().into(),
    }
}

/// The bytes that say "not connected", and why as far as the protocol has words for it.
pub(crate) fn failure(protocol: Protocol, code: Code) -> Bytes {
    match protocol {
        Protocol::Eager => Bytes::new(),
        Protocol::HttpConnect => Response::failure(code).to_vec().into(),
        Protocol::Socks4 | Protocol::Socks4a => v4::Reply::refused().to_vec().into(),
        Protocol::Socks5 => v5::Reply::failure(code).to_vec().into(),
    }
}
