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

/// One of a connector's servers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Server(usize);

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
        self.connect_to().await.map(|(stream, _)| stream)
    }

    /// [`Connector::connect`] that also says which server it was, for [`Connector::give_up_on`].
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn connect_to(&self) -> Result<(Stream, Server), ConnectError> {
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
                    // Only those before it have failed; a preference that has moved on meanwhile stays.
                    self.prefer(first, index);
                    return Ok((stream, Server(index)));
                }
                Err(error) => {
                    // A later server may work: then nobody else would tell of this one.
                    if offset + 1 < count {
                        sla::event::dial_failed(&address.to_string(), &error.to_string(), 1);
                    }
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// A connection to `server` turned out useless (it refused us): begin with the next one from now on. Said by
    /// several connections at once it counts once.
    pub fn give_up_on(&self, server: Server) {
        let next = (server.0 + 1) % self.addresses.len().max(1);
        self.prefer(server.0, next);
    }

    fn prefer(&self, instead_of: usize, index: usize) {
        // Another task was faster: its word stands.
        let _ = self.preferred.compare_exchange(instead_of, index, Ordering::Relaxed, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener as Reserve;
    use std::path::Path;

    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::listen::{Acceptor, ListenOptions};
    use crate::testing::{Ca, Leaf};
    use crate::tls::{ALPN_REMUX2, ServerTls, TlsSettings};

    #[tokio::test]
    async fn tls_over_tcp_and_over_a_unix_socket_and_both_plain() {
        let folder = TempDir::new().expect("folder");
        let (server, client) = tls(folder.path());
        let path = folder.path().join("s");
        let unix = path.to_str().expect("utf-8");
        for (net, address, secure, transport) in [
            (Net::Tcp, "127.0.0.1:0", true, "tls"),
            (Net::Tcp4, "127.0.0.1:0", false, "tcp"),
            (Net::Unix, unix, true, "tls+unix"),
            (Net::Unix, unix, false, "unix"),
        ] {
            let listen = Address::to_listen(net, address).expect("address");
            let acceptor = Acceptor::bind(net, &listen, ListenOptions::tunnel()).await.expect("bind");
            let dial = Address::to_dial(net, &acceptor.local()).expect("address");
            let connector =
                Connector::new(net, vec![dial], secure.then(|| client.clone()), DialOptions::tunnel());
            let serve = async {
                let incoming = acceptor.accept().await.expect("accept");
                let mut stream = if secure {
                    incoming.handshake(&server).await.expect("tls")
                } else {
                    incoming.into_stream()
                };
                let mut text = [0; 4];
                stream.read_exact(&mut text).await.expect("read");
                stream.write_all(&text).await.expect("write");
                stream.shutdown().await.expect("shutdown");
            };
            let call = async {
                let mut stream = connector.connect().await.expect("connect");
                assert_eq!(stream.transport(), transport);
                assert_eq!(
                    stream.identity().map(ToString::to_string),
                    secure.then(|| "a.example".to_owned())
                );
                assert_eq!(stream.alpn(), secure.then_some(ALPN_REMUX2));
                assert_eq!(stream.probe().is_some(), net != Net::Unix);
                stream.write_all(b"ping").await.expect("write");
                stream.flush().await.expect("flush");
                let mut text = Vec::new();
                stream.read_to_end(&mut text).await.expect("read");
                assert_eq!(text, b"ping");
            };
            tokio::join!(serve, call);
        }
    }

    #[tokio::test]
    async fn second_server_is_used_when_the_first_is_down_and_then_preferred() {
        let down = Reserve::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
        let listen = Address::to_listen(Net::Tcp, "127.0.0.1:0").expect("address");
        let acceptor = Acceptor::bind(Net::Tcp, &listen, ListenOptions::default()).await.expect("bind");
        let up = acceptor.local_addr().expect("address");
        let addresses = vec![Address::Host(down.into()), Address::Host(up.into())];
        let connector = Connector::new(Net::Tcp, addresses, None, DialOptions::default());
        let (stream, server) = connector.connect_to().await.expect("the second");
        assert_eq!(stream.socket().remote_addr(), Some(up));
        assert_eq!(connector.preferred.load(Ordering::Relaxed), 1);
        connector.give_up_on(server);
        connector.give_up_on(server);
        assert_eq!(connector.preferred.load(Ordering::Relaxed), 0, "given up on twice, it counts once");
        drop(acceptor);
        let error = connector.connect().await.expect_err("both are down").to_string();
        assert!(error.starts_with("NET-201") && error.contains("refused"), "{error}");
    }

    #[tokio::test]
    async fn connector_without_addresses_says_so() {
        let connector = Connector::new(Net::Tcp, Vec::new(), None, DialOptions::default());
        assert!(connector.connect().await.expect_err("none").to_string().contains("server.addr"));
        connector.give_up_on(Server(0));
    }

    #[tokio::test]
    async fn futures_can_be_spawned() {
        fn sent<T: Send>(_: &T) {}
        let connector = Connector::new(Net::Tcp, Vec::new(), None, DialOptions::default());
        sent(&connector.connect());
        let listen = Address::to_listen(Net::Tcp, "127.0.0.1:0").expect("address");
        let acceptor = Acceptor::bind(Net::Tcp, &listen, ListenOptions::tunnel()).await.expect("bind");
        sent(&acceptor.accept());
    }

    fn tls(folder: &Path) -> (ServerTls, Arc<ClientTls>) {
        let ca = Ca::new("Root");
        let server = ca.issue(&Leaf::server("a.example")).write(folder, "server", &ca);
        let client = ca.issue(&Leaf::client("laptop-7")).write(folder, "client", &ca);
        let client = TlsSettings {
            server_name: Some("a.example".to_owned()),
            ..TlsSettings::new(client, &[ALPN_REMUX2])
        };
        let server = ServerTls::load(TlsSettings::new(server, &[ALPN_REMUX2])).expect("server");
        (server, Arc::new(ClientTls::load(client).expect("client")))
    }
}
