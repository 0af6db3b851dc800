//! Guards: things that open and close, each counted in this process.

use std::fmt::{self, Display};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Role, millis};
use crate::redact::Scrubbed;
use crate::{ConnectionId, Redacted};

/// One connection between client and server.
#[derive(Debug)]
#[must_use = "dropping it logs the end of the connection"]
pub struct Conn {
    id: ConnectionId,
    role: Role,
    remote: Box<str>,
    identity: Option<Box<str>>,
    since: Instant,
    closed: bool,
}

impl Conn {
    /// A connection is up: `[conn] + id = n`, at info.
    pub fn open(id: ConnectionId, facts: &ConnFacts<'_>) -> Self {
        let open = CONNS.one_more();
        tracing::info!(
            name: "conn_open",
            target: "sla::conn",
            connection_id = %id,
            role = facts.role.as_str(),
            wire = facts.wire,
            transport = facts.transport,
            local = facts.local,
            remote = facts.remote,
            identity = facts.identity,
            open,
            "connection open"
        );
        Self {
            id,
            role: facts.role,
            remote: facts.remote.into(),
            identity: facts.identity.map(Into::into),
            since: Instant::now(),
            closed: false,
        }
    }

    /// The connection is gone: `[conn] - id = n cause`, at info.
    pub fn close(mut self, cause: &str, end: &ConnEnd) {
        self.finish(cause, end);
    }

    fn finish(&mut self, cause: &str, end: &ConnEnd) {
        self.closed = true;
        let open = CONNS.one_less();
        tracing::info!(
            name: "conn_close",
            target: "sla::conn",
            connection_id = %self.id,
            role = self.role.as_str(),
            remote = &*self.remote,
            identity = self.identity.as_deref(),
            open,
            cause,
            streams = end.streams,
            bytes_in = end.bytes_in,
            bytes_out = end.bytes_out,
            duration_ms = millis(end.duration),
            "connection closed"
        );
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if !self.closed {
            let end = ConnEnd { duration: self.since.elapsed(), ..ConnEnd::default() };
            self.finish(DROPPED, &end);
        }
    }
}

/// What is known of a connection when it opens.
#[derive(Clone, Copy, Debug)]
pub struct ConnFacts<'a> {
    /// Which side we are.
    pub role: Role,
    /// The framing on it: `remux2`, `classic`, or `none` where one request has it for itself.
    pub wire: &'a str,
    /// How its bytes travel: `tls`, `tcp`, `unix`.
    pub transport: &'a str,
    /// Our address.
    pub local: &'a str,
    /// The peer's address.
    pub remote: &'a str,
    /// What the peer's certificate proves, where it showed one.
    pub identity: Option<&'a str>,
}

/// What a connection did in its life.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnEnd {
    /// Streams it carried.
    pub streams: u64,
    /// Bytes received on it, framing included, TLS not.
    pub bytes_in: u64,
    /// Bytes sent on it, framing included, TLS not.
    pub bytes_out: u64,
    /// How long it was up.
    pub duration: Duration,
}

/// One stream inside a connection.
#[derive(Debug)]
#[must_use = "dropping it logs the end of the stream"]
pub struct Sess {
    conn: ConnectionId,
    stream: u32,
    closed: bool,
}

impl Sess {
    /// A stream opened: `[sess] + id:stream = n`, at debug.
    pub fn open(conn: ConnectionId, stream: u32) -> Self {
        let open = SESSES.one_more();
        tracing::debug!(
            name: "sess_open",
            target: "sla::sess",
            connection_id = %conn,
            stream_id = stream,
            open,
            "stream open"
        );
        Self { conn, stream, closed: false }
    }

    /// The stream ended: `[sess] - id:stream = n cause`, at debug. The cause is written as it is: it must name no
    /// destination.
    pub fn close(mut self, cause: &str) {
        self.finish(cause);
    }

    fn finish(&mut self, cause: &str) {
        self.closed = true;
        let open = SESSES.one_less();
        tracing::debug!(
            name: "sess_close",
            target: "sla::sess",
            connection_id = %self.conn,
            stream_id = self.stream,
            open,
            cause,
            "stream closed"
        );
    }
}

impl Drop for Sess {
    fn drop(&mut self) {
        if !self.closed {
            self.finish(DROPPED);
        }
    }
}

/// One socket: an application's at the client, a destination's at the server.
#[derive(Debug)]
#[must_use = "dropping it logs the end of the socket"]
pub struct Sock {
    /// `None` where nobody listened at open: then nobody hears of the close.
    names: Option<Box<Names>>,
    closed: bool,
}

#[derive(Debug)]
struct Names {
    /// As asked; redacted when it is written.
    target: String,
    peer: String,
    /// The peer is the destination itself: redacted like it.
    is_destination: bool,
}

impl Names {
    fn peer(&self) -> impl Display + '_ {
        fmt::from_fn(|f| match self.is_destination {
            true => Redacted(&self.peer).fmt(f),
            false => f.write_str(&self.peer),
        })
    }
}

impl Sock {
    /// A socket of an application at `source`, which asked for the destination `what` (`host:port`):
    /// `[sock] + host:port = n`, at info.
    pub fn accepted(what: impl Display, source: &str) -> Self {
        Self::start(what, source, false)
    }

    /// A socket to the destination `what` (`host:port`) at the address `peer`: `[sock] + host:port = n`, at info.
    pub fn open(what: impl Display, peer: &str) -> Self {
        Self::start(what, peer, true)
    }

    fn start(what: impl Display, peer: &str, is_destination: bool) -> Self {
        let open = SOCKS.one_more();
        let names = tracing::enabled!(target: "sla::sock", tracing::Level::INFO)
            .then(|| Box::new(Names { target: what.to_string(), peer: peer.to_owned(), is_destination }));
        if let Some(names) = &names {
            tracing::info!(
                name: "sock_open",
                target: "sla::sock",
                target_address = %Redacted(&names.target),
                peer = %names.peer(),
                open,
                "socket open"
            );
        }
        Self { names, closed: false }
    }

    /// The socket closed: `[sock] - host:port = n cause`, at info.
    pub fn close(mut self, cause: &str) {
        self.finish(cause);
    }

    fn finish(&mut self, cause: &str) {
        self.closed = true;
        let open = SOCKS.one_less();
        let Some(names) = &self.names else { return };
        tracing::info!(
            name: "sock_close",
            target: "sla::sock",
            target_address = %Redacted(&names.target),
            peer = %names.peer(),
            open,
            cause = %Scrubbed::new(cause, &names.target),
            "socket closed"
        );
    }
}

impl Drop for Sock {
    fn drop(&mut self) {
        if !self.closed {
            self.finish(DROPPED);
        }
    }
}

/// How many of each this process holds now.
pub fn open_counts() -> Open {
    Open { conns: CONNS.now(), streams: SESSES.now(), socks: SOCKS.now() }
}

/// Things open in this process; see [`open_counts`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Open {
    /// Connections.
    pub conns: u64,
    /// Streams.
    pub streams: u64,
    /// Sockets.
    pub socks: u64,
}

/// How many of one thing are open.
struct Count(AtomicU64);

impl Count {
    fn one_more(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    fn one_less(&self) -> u64 {
        self.0.fetch_sub(1, Ordering::Relaxed).wrapping_sub(1)
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

static CONNS: Count = Count(AtomicU64::new(0));
static SESSES: Count = Count(AtomicU64::new(0));
static SOCKS: Count = Count(AtomicU64::new(0));

/// The cause of a guard that went away without one: a task was cancelled or panicked.
const DROPPED: &str = "dropped";
