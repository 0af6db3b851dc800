//! What carries requests between client and server: the transports of `transport`, dressed for `remux`.
//!
//! Siblings don't see each other, so here is where a TLS stream meets the pool's record seam and where ALPN becomes a
//! wire.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use remux::session::{Batch, PathInfo};
use remux::{BufStream, ByteStream, Connected, PeerFacts, Probe, Records};
use transport::{Connector, Explainer, Stream};

use crate::config;

/// The wires to offer in TLS, best first.
pub(crate) fn alpn(carrier: config::Carrier) -> &'static [&'static [u8]] {
    match carrier {
        config::Carrier::Eager => &[],
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
    dress(stream, wire, None)
}

/// Dresses a dialled transport for the pool. `connector` learns of a server that refused us after the handshake.
pub(crate) fn dialled(stream: Stream, wire: remux::Wire, connector: Arc<Connector>) -> Connected {
    dress(stream, wire, Some(connector))
}

fn dress(stream: Stream, wire: remux::Wire, connector: Option<Arc<Connector>>) -> Connected {
    let facts = facts(&stream);
    let probe = stream.probe();
    let connected = match stream {
        Stream::Plain(socket) => Connected::new(ByteStream::new(socket), wire, facts),
        Stream::Tls(tls) => {
            let explainer = tls.explainer();
            // On our own wire a server speaks first; the classic one need not say anything.
            let awaited = connector.filter(|_| wire == remux::Wire::Remux2);
            Connected::new(Explained { records: BufStream::new(tls), explainer, awaited }, wire, facts)
        }
    };
    match probe {
        Some(probe) => connected.with_probe(SocketProbe(probe)),
        None => connected,
    }
}

/// Who is at the other end of a transport.
pub(crate) fn facts(stream: &Stream) -> PeerFacts {
    PeerFacts {
        transport: stream.transport().to_owned(),
        local: stream.socket().local(),
        remote: stream.socket().remote(),
        identity: stream.identity().map(|identity| Arc::from(identity.to_string())),
    }
}

/// Records whose errors say what a TLS alert means: in TLS 1.3 a client learns only by the first read that the server
/// refused its certificate. A peer that closes before the bytes its wire begins with has most likely done that too.
struct Explained<R> {
    records: R,
    explainer: Explainer,
    /// Who dialled, until the server has said something.
    awaited: Option<Arc<Connector>>,
}

impl<R> Explained<R> {
    fn refused(&self, connector: &Connector, error: Option<io::Error>) -> io::Error {
        connector.prefer_next();
        let kind = error.as_ref().map_or(io::ErrorKind::ConnectionAborted, io::Error::kind);
        io::Error::new(kind, self.explainer.early_death(error.as_ref()))
    }

    fn explain(&self, error: io::Error) -> io::Error {
        match self.explainer.explain(&error) {
            Some(text) => io::Error::new(error.kind(), text),
            None => error,
        }
    }
}

impl<R: Records> Records for Explained<R> {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        let read = ready!(self.records.poll_read(cx, into));
        Poll::Ready(match (read, self.awaited.take()) {
            (Ok(0), Some(connector)) => Err(self.refused(&connector, None)),
            (Err(error), Some(connector)) => Err(self.refused(&connector, Some(error))),
            (Err(error), None) => Err(self.explain(error)),
            (Ok(count), _) => Ok(count),
        })
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<io::Result<()>> {
        self.records.poll_write(cx, batch).map_err(|error| self.explain(error))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.records.poll_shutdown(cx)
    }
}

struct SocketProbe(transport::Probe);

impl Probe for SocketProbe {
    fn path(&self) -> Option<PathInfo> {
        self.0.path().map(|facts| PathInfo {
            rtt: facts.rtt,
            min_rtt: facts.min_rtt,
            delivery_rate: facts.delivery_rate,
            cwnd: facts.cwnd_bytes(),
            unacked: facts.unacked.into(),
            bytes_acked: facts.bytes_acked,
            notsent: facts.notsent.into(),
            ca_loss: facts.ca_loss,
        })
    }

    fn set_notsent_lowat(&self, bytes: u32) {
        self.0.set_notsent_lowat(bytes);
    }
}
