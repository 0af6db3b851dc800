//! The client's way to its server: net, addresses, perhaps TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::timeout;

use crate::dial::{ConnectError, DialOptions, connect, connect_unix, resolve};
use crate::net::{Address, Net};
use crate::socket::Socket;
use crate::stream::Stream;
use crate::tls::ClientTls;

/// Opens connections to one server, or to the first of several that works.
///
/// Names are resolved anew each time. With several servers the one that worked last is tried first, and each gets an
/// equal share of [`DialOptions::total`]; with a single one, TLS has its own time after that of the socket.
#[derive(Debug)]
pub struct Connector {
    net: Net,
    addresses: Vec<Address>,
    tls: Option<Arc<ClientTls>>,
    options: DialOptions,
    preferred: AtomicUsize,
}

impl Connector {
    /// A connector to `addresses`, plain or under `tls`.
    pub fn new(net: Net, addresses: Vec<Address>, tls: Option<Arc<ClientTls>>, options: DialOptions) -> Self {
        Self { net, addresses, tls, options, preferred: AtomicUsize::new(0) }
    }

    /// Where it goes.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Its TLS, to reload.
    pub fn tls(&self) -> Option<&Arc<ClientTls>> {
        self.tls.as_ref()
    }

    /// Opens a connection. Under TLS the server is verified, but has not judged us yet: that shows with the first read.
    ///
    /// Cancel safety: dropping the future closes whatever was begun.
    ///
    /// # Errors
    /// The [`ConnectError`] of the last server tried.
    pub async fn connect(&self) -> Result<Stream, ConnectError> {
        let count = self.addresses.len();
        let first = self.preferred.load(Ordering::Relaxed);
        let mut last = ConnectError::NoServer;
        for offset in 0..count {
            let index = (first + offset) % count;
            let Some(address) = self.addresses.get(index) else { break };
            let attempt = if count == 1 {
                self.connect_one(address).await
            } else {
                let share = self.options.total / u32::try_from(count).unwrap_or(u32::MAX);
                timeout(share, self.connect_one(address)).await.unwrap_or_else(|_| {
                    Err(ConnectError::TooSlow { target: address.to_string(), after: share })
                })
            };
            match attempt {
                Ok(stream) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The connection just made turned out useless (the server refused us): begin with the next server from now on.
    pub fn prefer_next(&self) {
        let next = (self.preferred.load(Ordering::Relaxed) + 1) % self.addresses.len().max(1);
        self.preferred.store(next, Ordering::Relaxed);
    }

    async fn connect_one(&self, address: &Address) -> Result<Stream, ConnectError> {
        let socket = self.open(address).await?;
        match &self.tls {
            None => Ok(Stream::Plain(socket)),
            Some(tls) => {
                let stream = tls.connect(socket, address.host(), &address.to_string()).await?;
                Ok(Stream::Tls(Box::new(stream)))
            }
        }
    }

    async fn open(&self, address: &Address) -> Result<Socket, ConnectError> {
        match address {
            Address::Unix(path) => connect_unix(path, &self.options).await,
            Address::Host(target) => {
                let addresses = resolve(self.net, target, &self.options).await?;
                connect(target, &addresses, &self.options).await
            }
        }
    }
}
