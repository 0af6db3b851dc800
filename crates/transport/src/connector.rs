//! Skeleton.
#![expect(missing_docs, clippy::todo, reason = "signatures first")]
use crate::dial::{ConnectError, DialOptions};
use crate::net::{Address, Net};
use crate::stream::Stream;
use crate::tls::ClientTls;
use std::sync::Arc;
#[derive(Debug)]
pub struct Connector {}
impl Connector {
    pub fn new(
        _net: Net,
        _addresses: Vec<Address>,
        _tls: Option<Arc<ClientTls>>,
        _options: DialOptions,
    ) -> Self {
        todo!()
    }
    pub async fn connect(&self) -> Result<Stream, ConnectError> {
        todo!()
    }
}
