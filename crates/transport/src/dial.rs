//! Skeleton.
#![expect(missing_docs, clippy::todo, reason = "signatures first")]
use crate::net::Net;
use crate::socket::{Socket, SocketOptions};
use crate::tls::HandshakeError;
use framing::Target;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
#[derive(Clone, Debug)]
pub struct DialOptions {
    pub stagger: Duration,
    pub per_address: Duration,
    pub total: Duration,
    pub max_addresses: usize,
    pub socket: SocketOptions,
}
#[derive(Clone, Debug)]
pub struct Attempt {
    pub address: SocketAddr,
    pub error: AttemptError,
}
#[derive(Clone, Debug, thiserror::Error)]
pub enum AttemptError {
    #[error("x")]
    Refused,
}
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}
pub async fn resolve(_net: Net, _target: &Target) -> Result<Vec<SocketAddr>, ConnectError> {
    todo!()
}
pub async fn connect(
    _target: &Target,
    _addresses: &[SocketAddr],
    _options: &DialOptions,
) -> Result<Socket, ConnectError> {
    todo!()
}
pub async fn connect_unix(_path: &Path, _options: &DialOptions) -> Result<Socket, ConnectError> {
    todo!()
}
