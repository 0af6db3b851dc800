//! A connection's bytes, plain or under TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::cert::Identity;
use crate::probe::Probe;
use crate::socket::Socket;
use crate::tls::{Explainer, Standing, TlsStream};

/// What `Connector` and `Acceptor` yield.
#[derive(Debug)]
pub enum Stream {
    /// The socket itself.
    Plain(Socket),
    /// Mutual TLS 1.3 over the socket; this half also has `AsyncBufRead`, the plaintext buffer.
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    /// The socket underneath: options, addresses, `arm_reset`.
    pub fn socket(&self) -> &Socket {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => tls.get_ref(),
        }
    }

    /// `tcp`, `unix`, `tls` (over tcp) or `tls+unix`, for the log.
    pub fn transport(&self) -> &'static str {
        match (self, self.socket().is_unix()) {
            (Stream::Plain(_), false) => "tcp",
            (Stream::Plain(_), true) => "unix",
            (Stream::Tls(_), false) => "tls",
            (Stream::Tls(_), true) => "tls+unix",
        }
    }

    /// What the peer's certificate proves; `None` without TLS.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Stream::Plain(_) => None,
            Stream::Tls(tls) => Some(tls.identity()),
        }
    }

    /// The peer's right to the connection, which it may lose; `None` without TLS.
    pub fn standing(&self) -> Option<Standing> {
        match self {
            Stream::Plain(_) => None,
            Stream::Tls(tls) => Some(tls.standing()),
        }
    }

    /// The application protocol both sides chose; `None` without TLS or where the peer named none (an old peer: classic).
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Stream::Plain(_) => None,
            Stream::Tls(tls) => tls.alpn(),
        }
    }

    /// TCP_INFO and NOTSENT_LOWAT, to be kept beside the stream; `None` for Unix sockets.
    pub fn probe(&self) -> Option<Probe> {
        self.socket().probe()
    }

    /// Explains a later error of this stream, also when the stream itself is gone; `None` without TLS.
    pub fn explainer(&self) -> Option<Explainer> {
        match self {
            Stream::Plain(_) => None,
            Stream::Tls(tls) => Some(tls.explainer()),
        }
    }

    /// See [`Socket::set_notsent_lowat`].
    ///
    /// # Errors
    /// What setsockopt(2) says.
    pub fn set_notsent_lowat(&self, bytes: u32) -> io::Result<()> {
        self.socket().set_notsent_lowat(bytes)
    }

    /// See [`Socket::arm_reset`].
    ///
    /// # Errors
    /// What setsockopt(2) says.
    pub fn arm_reset(&self) -> io::Result<()> {
        self.socket().arm_reset()
    }

    /// See [`Socket::disarm_reset`].
    ///
    /// # Errors
    /// What setsockopt(2) says.
    pub fn disarm_reset(&self) -> io::Result<()> {
        self.socket().disarm_reset()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Stream::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
