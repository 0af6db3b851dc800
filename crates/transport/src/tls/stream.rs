//! Bytes under TLS, with what the handshake settled.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use super::ahead::ReadAhead;
use super::alert::Explainer;
use super::standing::Standing;
use crate::cert::{Certificate, Identity};

/// A TLS 1.3 stream whose peer has shown a good certificate.
///
/// `AsyncBufRead` gives the plaintext of received records without a copy. A peer that vanishes without close_notify
/// is an `UnexpectedEof` error, never a clean end. An alert from the peer becomes an error whose text names the fault.
#[derive(Debug)]
pub struct TlsStream<S> {
    inner: tokio_rustls::TlsStream<ReadAhead<S>>,
    standing: Standing,
    identity: Identity,
    explainer: Explainer,
}

impl<S> TlsStream<S> {
    pub(super) fn new(
        inner: tokio_rustls::TlsStream<ReadAhead<S>>,
        standing: Standing,
        explainer: Explainer,
    ) -> Self {
        let identity = standing.certificate().identity();
        Self { inner, standing, identity, explainer }
    }

    /// What TLS runs on.
    pub fn get_ref(&self) -> &S {
        self.inner.get_ref().0.get_ref()
    }

    /// What the peer's certificate proves.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The peer's certificate.
    pub fn certificate(&self) -> &Arc<Certificate> {
        self.standing.certificate()
    }

    /// The peer's right to the connection, which it may lose; can be kept beside the stream.
    pub fn standing(&self) -> Standing {
        self.standing.clone()
    }

    /// The application protocol both sides chose; `None` where the peer named none.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.inner.get_ref().1.alpn_protocol()
    }

    /// The key exchange, as IANA names it: `X25519MLKEM768`.
    pub fn group(&self) -> &'static str {
        let group = self.inner.get_ref().1.negotiated_key_exchange_group();
        group.and_then(|group| group.name().as_str()).unwrap_or("unknown")
    }

    /// The cipher suite, as IANA names it: `TLS13_AES_128_GCM_SHA256`.
    pub fn cipher(&self) -> &'static str {
        let suite = self.inner.get_ref().1.negotiated_cipher_suite();
        suite.and_then(|suite| suite.suite().as_str()).unwrap_or("unknown")
    }

    /// Explains a later error of this stream; can be kept when the stream is gone.
    pub fn explainer(&self) -> Explainer {
        self.explainer.clone()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        Pin::new(&mut this.inner).poll_read(cx, buf).map_err(|error| this.explainer.enrich(error))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncBufRead for TlsStream<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        let explainer = &this.explainer;
        Pin::new(&mut this.inner).poll_fill_buf(cx).map_err(|error| explainer.enrich(error))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        Pin::new(&mut self.get_mut().inner).consume(amount);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        Pin::new(&mut this.inner).poll_write(cx, buf).map_err(|error| this.explainer.enrich(error))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        Pin::new(&mut this.inner).poll_write_vectored(cx, bufs).map_err(|error| this.explainer.enrich(error))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        Pin::new(&mut this.inner).poll_flush(cx).map_err(|error| this.explainer.enrich(error))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        Pin::new(&mut this.inner).poll_shutdown(cx).map_err(|error| this.explainer.enrich(error))
    }
}
