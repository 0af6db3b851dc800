//! Skeleton.
#![expect(missing_docs, clippy::todo, reason = "signatures first")]
use crate::limits::Limits;
use crate::net::{Address, Net};
use crate::socket::{Socket, SocketOptions};
use crate::stream::Stream;
use crate::tls::{HandshakeError, ServerTls};
use std::io;
use std::net::SocketAddr;
#[derive(Clone, Debug)]
pub struct ListenOptions {
    pub backlog: u32,
    pub unix_mode: u32,
    pub limits: Option<Limits>,
    pub socket: SocketOptions,
}
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct BindError {}
#[derive(Debug)]
pub struct Acceptor {}
impl Acceptor {
    pub async fn bind(_net: Net, _address: &Address, _options: ListenOptions) -> Result<Self, BindError> {
        todo!()
    }
    pub fn local(&self) -> String {
        todo!()
    }
    pub fn local_addr(&self) -> Option<SocketAddr> {
        todo!()
    }
    pub async fn accept(&self) -> io::Result<Incoming> {
        todo!()
    }
}
#[derive(Debug)]
pub struct Incoming {}
impl Incoming {
    pub fn remote(&self) -> &str {
        todo!()
    }
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        todo!()
    }
    pub async fn handshake(self, _tls: &ServerTls) -> Result<Stream, HandshakeError> {
        todo!()
    }
    pub fn into_socket(self) -> Socket {
        todo!()
    }
}
