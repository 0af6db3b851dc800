//! Skeleton.
#![expect(missing_docs, clippy::todo, reason = "signatures first")]
use crate::cert::{Certificate, Identity};
use framing::Host;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

pub const ALPN_REMUX1: &[u8] = b"remux/1";
pub const ALPN_REMUX2: &[u8] = b"remux/2";

#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}
#[derive(Clone, Debug)]
pub struct TlsSettings {
    pub files: TlsFiles,
    pub alpn: Vec<Vec<u8>>,
    pub post_quantum: bool,
    pub deadline: Duration,
    pub server_name: Option<String>,
}
impl TlsSettings {
    pub fn new(_files: TlsFiles, _alpn: &[&[u8]]) -> Self {
        todo!()
    }
}
#[derive(Debug)]
pub struct ServerTls;
impl ServerTls {
    pub fn load(_settings: TlsSettings) -> Result<Self, LoadError> {
        todo!()
    }
    pub fn reload(&self) -> Result<(), LoadError> {
        todo!()
    }
    pub fn certificate(&self) -> Arc<Certificate> {
        todo!()
    }
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        _io: S,
        _peer: &str,
    ) -> Result<TlsStream<S>, HandshakeError> {
        todo!()
    }
}
#[derive(Debug)]
pub struct ClientTls;
impl ClientTls {
    pub fn load(_settings: TlsSettings) -> Result<Self, LoadError> {
        todo!()
    }
    pub fn reload(&self) -> Result<(), LoadError> {
        todo!()
    }
    pub fn certificate(&self) -> Arc<Certificate> {
        todo!()
    }
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        _io: S,
        _host: Option<&Host>,
        _peer: &str,
    ) -> Result<TlsStream<S>, HandshakeError> {
        todo!()
    }
}
#[derive(Debug)]
pub struct TlsStream<S> {
    _io: S,
}
impl<S> TlsStream<S> {
    pub fn get_ref(&self) -> &S {
        todo!()
    }
    pub fn identity(&self) -> &Identity {
        todo!()
    }
    pub fn certificate(&self) -> &Arc<Certificate> {
        todo!()
    }
    pub fn alpn(&self) -> Option<&[u8]> {
        todo!()
    }
    pub fn group(&self) -> &'static str {
        todo!()
    }
    pub fn cipher(&self) -> &'static str {
        todo!()
    }
    pub fn explainer(&self) -> Explainer {
        todo!()
    }
}
impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        todo!()
    }
}
impl<S: AsyncRead + AsyncWrite + Unpin> AsyncBufRead for TlsStream<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        todo!()
    }
    fn consume(self: Pin<&mut Self>, _: usize) {
        todo!()
    }
}
impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        todo!()
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        todo!()
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        todo!()
    }
}
#[derive(Clone, Debug)]
pub struct Explainer;
impl Explainer {
    pub fn explain(&self, _error: &io::Error) -> Option<String> {
        todo!()
    }
}
pub fn explain_alert(_error: &io::Error) -> Option<String> {
    todo!()
}
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct LoadError {
    message: String,
}
#[derive(Clone, Debug)]
pub enum Fault {
    Deadline,
}
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct HandshakeError {
    message: String,
}
impl HandshakeError {
    pub fn fault(&self) -> &Fault {
        todo!()
    }
    pub fn code(&self) -> &'static str {
        todo!()
    }
}
