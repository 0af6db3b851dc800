//! What carries requests between client and server: the transports of `transport`, dressed for `remux`.
//!
//! Siblings don't see each other, so here is where a TLS stream meets the pool's record seam and where ALPN becomes a
//! wire.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use framing::remux2::Code;
use parking_lot::Mutex;
use remux::session::PathInfo;
use remux::{BufStream, ByteStream, Connected, PeerFacts, Probe, TurnedAway};
use sla::ConnectionId;
use sla::event::{self, Conn, ConnEnd, ConnFacts, Health, Role};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use transport::{Connector, Explainer, HandshakeError, PathFacts, Server, Standing, Stream};

use crate::config;
use crate::relay::Broken;

/// The wires to offer in TLS, best first: ends with different settings find out in the handshake, not in each other's bytes.
pub(crate) fn alpn(carrier: config::Carrier) -> &'static [&'static [u8]] {
    match carrier {
        config::Carrier::Eager => &[transport::ALPN_EAGER],
        config::Carrier::Remux(config::Wire::Auto) => &[transport::ALPN_REMUX2, transport::ALPN_REMUX1],
        config::Carrier::Remux(config::Wire::Remux2) => &[transport::ALPN_REMUX2],
        config::Carrier::Remux(config::Wire::Classic) => &[transport::ALPN_REMUX1],
    }
}

/// The wire on a transport that is up: what was configured, else what TLS negotiated, where silence means classic.
///
/// On a plain transport nothing is negotiated and `auto` is remux2.
pub(crate) fn wire(configured: config::Wire, stream: &Stream) -> remux::Wire {
    match configured {
        config::Wire::Remux2 => remux::Wire::Remux2,
        config::Wire::Classic => remux::Wire::Classic,
        config::Wire::Auto => match stream {
            Stream::Plain(_) => remux::Wire::Remux2,
            Stream::Tls(tls) if tls.alpn() == Some(transport::ALPN_REMUX2) => remux::Wire::Remux2,
            Stream::Tls(_) => remux::Wire::Classic,
        },
    }
}

/// Dresses an accepted transport for the listener.
pub(crate) fn accepted(stream: Stream, wire: remux::Wire) -> Connected {
    dress(stream, wire, Role::Server, None)
}

/// Dresses a dialled transport for the pool; `way` learns of a server that refused us after the handshake.
pub(crate) fn dialled(stream: Stream, wire: remux::Wire, way: (Arc<Connector>, Server)) -> Connected {
    let (connector, server) = way;
    // On our own wire a server speaks first; the classic one need not say anything.
    let speaks_first = wire == remux::Wire::Remux2;
    let awaited = Awaited { connector: connector.clone(), server, speaks_first, health: None };
    let mut connected = dress(stream, wire, Role::Client, Some(awaited));
    connected.facts.server = Some(connector.name(server).into());
    connected.with_end(move |cause| {
        if cause.speaks_for_another() {
            connector.give_up_on(server);
        }
    })
}

fn dress(stream: Stream, wire: remux::Wire, role: Role, awaited: Option<Awaited>) -> Connected {
    let facts = facts(&stream);
    let standing = stream.standing();
    let watched = facts.clone();
    let probe = stream.probe();
    let connected = match stream {
        Stream::Plain(socket) => Connected::new(ByteStream::new(socket), wire, facts),
        Stream::Tls(tls) => {
            let explainer = Some(tls.explainer());
            Connected::new(BufStream::new(Explained { stream: tls, explainer, awaited }), wire, facts)
        }
    };
    let connected = match probe {
        Some(probe) => connected.with_probe(SocketProbe(probe)),
        None => connected,
    };
    match standing {
        Some(standing) => connected.with_lease(async move { lost(standing, role, &watched).await.into() }),
        None => connected,
    }
}

/// Waits until a peer has lost its right to the connection, tells the log, and says what the peer may be told.
async fn lost(mut standing: Standing, role: Role, facts: &PeerFacts) -> &'static str {
    let error = standing.lost().await;
    event::peer_cut(role, &facts.remote, facts.identity.as_deref(), &error.to_string());
    error.told()
}

/// The same for a connection that has one request for itself; never ready on a plain transport.
pub(crate) fn forbidden(stream: &Stream, role: Role) -> impl Future<Output = Broken> + use<> {
    let (standing, facts) = (stream.standing(), facts(stream));
    async move {
        match standing {
            Some(standing) => Broken::new("denied", Code::AUTH, lost(standing, role, &facts).await),
            None => std::future::pending().await,
        }
    }
}

/// Tells the log of a handshake that failed at a server.
pub(crate) fn refused(remote: &str, error: &HandshakeError) {
    match error.identity() {
        Some(identity) => {
            event::peer_refused(Role::Server, remote, Some(&identity.to_string()), &error.to_string());
        }
        None => event::handshake_failed(Role::Server, remote, &error.to_string()),
    }
}

/// Who is at the other end of a transport.
pub(crate) fn facts(stream: &Stream) -> PeerFacts {
    PeerFacts {
        transport: stream.transport().to_owned(),
        local: stream.socket().local(),
        remote: stream.socket().remote(),
        identity: stream.identity().map(|identity| Arc::from(identity.to_string())),
        server: None,
    }
}

/// A byte stream whose errors say what a TLS alert means: in TLS 1.3 a client learns only by the first read that the server
/// refused its certificate.
#[derive(Debug)]
pub(crate) struct Explained<S> {
    stream: S,
    explainer: Option<Explainer>,
    awaited: Option<Awaited>,
}

/// A server of which nothing was heard yet.
#[derive(Debug)]
struct Awaited {
    connector: Arc<Connector>,
    server: Server,
    /// Its wire begins with bytes of the server: an end before them is a refusal as well.
    speaks_first: bool,
    /// Where there is no pool that keeps it.
    health: Option<Arc<Mutex<Health>>>,
}

impl Explained<Stream> {
    /// A dialled connection for one eager request.
    pub(crate) fn single(
        stream: Stream,
        connector: Arc<Connector>,
        server: Server,
        health: Arc<Mutex<Health>>,
    ) -> Self {
        let explainer = stream.explainer();
        let awaited = Awaited { connector, server, speaks_first: false, health: Some(health) };
        Self { stream, explainer, awaited: Some(awaited) }
    }

    pub(crate) fn get_ref(&self) -> &Stream {
        &self.stream
    }
}

impl<S> Explained<S> {
    /// What a read tells of the server, and the error in words.
    fn judge(&mut self, read: io::Result<usize>) -> io::Result<usize> {
        let Some(awaited) = self.awaited.take() else { return read.map_err(|error| self.explain(error)) };
        let explained = read.as_ref().err().and_then(|error| self.explainer.as_ref()?.explain(error));
        let refused = explained.is_some() || awaited.speaks_first && !matches!(read, Ok(1..));
        if !refused {
            if let (Some(health), Ok(1..)) = (&awaited.health, &read) {
                health.lock().ok();
            }
            return read;
        }
        let refusal = read.as_ref().err().is_some_and(|error| {
            self.explainer.as_ref().is_some_and(|explainer| explainer.is_refusal(error))
        });
        let elsewhere = refusal && awaited.connector.turned_away_by(awaited.server);
        if !refusal {
            awaited.connector.give_up_on(awaited.server);
        }
        let text = match (explained, &self.explainer) {
            (Some(text), _) => text,
            (None, Some(explainer)) => explainer.early_death(read.as_ref().err()),
            (None, None) => "closed before its first byte".to_owned(),
        };
        if let Some(health) = &awaited.health {
            health.lock().failed(Some(&awaited.connector.name(awaited.server)), &text);
        }
        Err(if refusal {
            io::Error::new(io::ErrorKind::PermissionDenied, TurnedAway { text: text.into(), elsewhere })
        } else {
            io::Error::new(io::ErrorKind::PermissionDenied, text)
        })
    }

    fn explain(&self, error: io::Error) -> io::Error {
        let text = self.explainer.as_ref().and_then(|explainer| explainer.explain(&error));
        text.map_or_else(|| error, |text| io::Error::new(io::ErrorKind::ConnectionAborted, text))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Explained<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut this.stream).poll_read(cx, buf));
        let read = read.map(|()| buf.filled().len().saturating_sub(before));
        Poll::Ready(this.judge(read).map(|_| ()))
    }
}

impl<S: AsyncBufRead + Unpin> AsyncBufRead for Explained<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        let read = ready!(Pin::new(&mut this.stream).poll_fill_buf(cx)).map(<[u8]>::len);
        this.judge(read)?;
        // Filled just now: the buffer is there at once.
        Pin::new(&mut this.stream).poll_fill_buf(cx)
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        Pin::new(&mut self.get_mut().stream).consume(amount);
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Explained<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        Pin::new(&mut this.stream).poll_write(cx, bytes).map_err(|error| this.explain(error))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        Pin::new(&mut this.stream).poll_write_vectored(cx, slices).map_err(|error| this.explain(error))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// A connection of one request in the log; those of a pool log themselves.
pub(crate) struct Alone {
    id: ConnectionId,
    conn: Conn,
    began: Instant,
}

impl Alone {
    /// It is up.
    pub(crate) fn open(role: Role, stream: &Stream) -> Self {
        let PeerFacts { transport, local, remote, identity, .. } = facts(stream);
        let id = ConnectionId(rand::random());
        let facts = ConnFacts {
            role,
            wire: "none",
            transport: &transport,
            local: &local,
            remote: &remote,
            identity: identity.as_deref(),
        };
        Self { id, conn: Conn::open(id, &facts), began: Instant::now() }
    }

    /// Its name in the logs.
    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// It is gone, after so many bytes from and to the peer.
    pub(crate) fn close(self, cause: &str, bytes_in: u64, bytes_out: u64) {
        let end = ConnEnd { streams: 1, bytes_in, bytes_out, duration: self.began.elapsed() };
        self.conn.close(cause, &end);
    }
}

/// Notices that nobody acknowledges what was sent on a connection without mux: it has no PING, and a limit of the kernel's
/// would take a peer that pauses for a dead one.
#[derive(Debug)]
pub(crate) struct Vigil {
    probe: transport::Probe,
    look: Pin<Box<Sleep>>,
    acked: u64,
    stuck: Option<Instant>,
}

impl Vigil {
    /// None where the socket has no figures.
    pub(crate) fn over(stream: &Stream) -> Option<Self> {
        let look = Box::pin(tokio::time::sleep(LOOK));
        Some(Self { probe: stream.probe()?, look, acked: 0, stuck: None })
    }

    /// Ready once the peer's kernel has acknowledged nothing for [`UNACKED`], with something to acknowledge.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        loop {
            ready!(self.look.as_mut().poll(cx));
            let now = Instant::now();
            self.look.as_mut().reset(now + LOOK);
            let Some(path) = self.probe.path() else { continue };
            let waits = path.unacked > 0 && path.bytes_acked == self.acked;
            self.acked = path.bytes_acked;
            self.stuck = if waits { self.stuck.or(Some(now)) } else { None };
            let silence = self.stuck.map(|since| now - since).unwrap_or_default();
            if silence >= UNACKED {
                return Poll::Ready(silence);
            }
        }
    }
}

/// The kernel is asked this often, so that with [`UNACKED`] a dead connection is known within 10 s.
const LOOK: Duration = Duration::from_secs(1);
const UNACKED: Duration = Duration::from_secs(8);

struct SocketProbe(transport::Probe);

impl Probe for SocketProbe {
    fn path(&self) -> Option<PathInfo> {
        self.0.path().map(path_info)
    }

    fn set_notsent_lowat(&self, bytes: u32) {
        self.0.set_notsent_lowat(bytes);
    }
}

/// The kernel's figures as a session takes them: all in bytes.
fn path_info(facts: PathFacts) -> PathInfo {
    PathInfo {
        rtt: facts.rtt,
        min_rtt: facts.min_rtt,
        delivery_rate: facts.delivery_rate,
        cwnd: facts.cwnd_bytes(),
        unacked: facts.unacked_bytes(),
        bytes_acked: facts.bytes_acked,
        notsent: facts.notsent.into(),
        ca_loss: facts.ca_loss,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by reading: segments passed for bytes, so a PING behind a full uplink counted as delivered at once, and the living
    /// peer that could not have it yet as dead.
    #[test]
    fn session_is_told_what_is_under_way_in_bytes() {
        let facts =
            PathFacts { cwnd: 10, unacked: 7, mss: 1448, bytes_acked: 1, notsent: 3, ..PathFacts::default() };
        let path = path_info(facts);
        assert_eq!((path.cwnd, path.unacked, path.bytes_acked, path.notsent), (14_480, 10_136, 1, 3));
    }
}
