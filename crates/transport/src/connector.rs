//! The client's way to its server: net, addresses, perhaps TLS.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use crate::dial::{ConnectError, DialOptions, connect, connect_unix, resolve};
use crate::net::{Address, Net};
use crate::socket::Socket;
use crate::stream::Stream;
use crate::tls::ClientTls;

/// Opens connections to one server, or to the first of several that works.
///
/// Names are resolved anew each time. With several servers the one that worked last is tried first, those that keep
/// another dial waiting come last, and each gets an equal share of [`DialOptions::total`]; with a single one, TLS has its
/// own time after that of the socket.
#[derive(Debug)]
pub struct Connector {
    net: Net,
    addresses: Vec<Address>,
    tls: Option<Arc<ClientTls>>,
    options: DialOptions,
    preferred: AtomicUsize,
    standings: Vec<Standing>,
}

/// What is held against one server.
#[derive(Debug, Default)]
struct Standing {
    /// Dials it has kept waiting for [`PATIENCE`] and still does.
    waits: AtomicUsize,
    /// It has turned us away since the last time they all had.
    refused: AtomicBool,
}

/// One of a connector's servers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Server(usize);

impl Connector {
    /// A connector to `addresses`, plain or under `tls`.
    pub fn new(net: Net, addresses: Vec<Address>, tls: Option<Arc<ClientTls>>, options: DialOptions) -> Self {
        let standings = addresses.iter().map(|_| Standing::default()).collect();
        Self { net, addresses, tls, options, preferred: AtomicUsize::new(0), standings }
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
        self.connect_to().await.map(|(stream, _)| stream).map_err(|failed| failed.error)
    }

    /// [`Connector::connect`] that also says which server it was, for [`Connector::give_up_on`].
    ///
    /// # Errors
    /// As [`Connector::connect`], and with which server it was.
    pub async fn connect_to(&self) -> Result<(Stream, Server), Unconnected> {
        let count = self.addresses.len();
        let first = self.preferred.load(Ordering::Relaxed);
        let mut last = Unconnected { server: None, error: ConnectError::NoServer };
        for (offset, index) in self.order(first).into_iter().enumerate() {
            let (Some(address), Some(standing)) = (self.addresses.get(index), self.standings.get(index))
            else {
                break;
            };
            let attempt = if count == 1 {
                self.connect_one(address).await
            } else {
                let share = self.options.total / u32::try_from(count).unwrap_or(u32::MAX);
                let connected = timeout(share, standing.watch(self.connect_one(address))).await;
                connected.unwrap_or_else(|_| {
                    Err(ConnectError::TooSlow { target: address.to_string(), after: share })
                })
            };
            match attempt {
                Ok(stream) => {
                    // Those before it have failed or keep us waiting; a preference that has moved on meanwhile stays.
                    self.prefer(first, index);
                    return Ok((stream, Server(index)));
                }
                Err(error) => {
                    // A later server may work: then nobody else would tell of this one.
                    if offset + 1 < count {
                        sla::event::dial_failed(&address.to_string(), &error.to_string(), 1);
                    }
                    last = Unconnected { server: Some(Server(index)), error };
                }
            }
        }
        Err(last)
    }

    /// A connection to `server` turned out useless (it fell silent): begin with the next one from now on. Said by several
    /// connections at once it counts once.
    pub fn give_up_on(&self, server: Server) {
        let next = (server.0 + 1) % self.addresses.len().max(1);
        self.prefer(server.0, next);
    }

    /// `server` turned us away: as [`Connector::give_up_on`]. Whether there is one that did not, since the last time that
    /// all had.
    pub fn turned_away_by(&self, server: Server) -> bool {
        self.give_up_on(server);
        if let Some(standing) = self.standings.get(server.0) {
            standing.refused.store(true, Ordering::Relaxed);
        }
        let elsewhere = self.standings.iter().any(|standing| !standing.refused.load(Ordering::Relaxed));
        if !elsewhere {
            for standing in &self.standings {
                standing.refused.store(false, Ordering::Relaxed);
            }
        }
        elsewhere
    }

    /// What the configuration calls a server.
    pub fn name(&self, server: Server) -> String {
        self.addresses.get(server.0).map(ToString::to_string).unwrap_or_default()
    }

    /// The servers from `first` on, those that keep a dial waiting last.
    fn order(&self, first: usize) -> Vec<usize> {
        let count = self.addresses.len();
        let waits = |index: &usize| {
            self.standings.get(*index).is_some_and(|standing| standing.waits.load(Ordering::Relaxed) > 0)
        };
        let mut order: Vec<usize> = (0..count).map(|offset| (first + offset) % count).collect();
        order.sort_by_key(waits);
        order
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

impl Standing {
    /// Counts a dial as kept waiting once it has been for long.
    async fn watch<T>(&self, dial: impl Future<Output = T>) -> T {
        let mut dial = pin!(dial);
        if let Ok(done) = timeout(PATIENCE, &mut dial).await {
            return done;
        }
        let _waits = Waits::new(&self.waits);
        dial.await
    }
}

/// One more dial that waits, until it is dropped.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// No server could be connected to.
#[derive(Debug)]
pub struct Unconnected {
    /// The last one tried; `None` if there is none.
    pub server: Option<Server>,
    /// Why not.
    pub error: ConnectError,
}

/// A dial that has taken longer lets the next one begin with another server; shorter than a pool waits with that.
const PATIENCE: Duration = Duration::from_millis(900);

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
    async fn server_that_keeps_a_dial_waiting_is_not_tried_first_by_the_next() {
        // It takes connections and never says a word, so that TLS waits.
        let mute = Reserve::bind("127.0.0.1:0").expect("bind");
        let folder = TempDir::new().expect("folder");
        let (server, client) = tls(folder.path());
        let listen = Address::to_listen(Net::Tcp, "127.0.0.1:0").expect("address");
        let acceptor = Acceptor::bind(Net::Tcp, &listen, ListenOptions::tunnel()).await.expect("bind");
        let up = acceptor.local_addr().expect("address");
        let addresses =
            vec![Address::Host(mute.local_addr().expect("address").into()), Address::Host(up.into())];
        let connector = Connector::new(Net::Tcp, addresses, Some(client), DialOptions::tunnel());
        let serve = async {
            let stream = acceptor.accept().await.expect("accept").handshake(&server).await.expect("tls");
            std::future::pending::<()>().await;
            drop(stream);
        };
        let first = connector.connect_to();
        let second = async {
            tokio::time::sleep(PATIENCE + Duration::from_millis(100)).await;
            assert_eq!(connector.order(0), [1, 0]);
            connector.connect_to().await.expect("the second server").0.socket().remote_addr()
        };
        tokio::select! {
            _ = serve => unreachable!(),
            _ = first => panic!("the first dial waits for its whole share"),
            remote = second => assert_eq!(remote, Some(up)),
        }
        assert_eq!(connector.preferred.load(Ordering::Relaxed), 1, "the one that answered");
        assert_eq!(connector.order(0), [0, 1], "a dial that is dropped waits no more");
    }

    #[test]
    fn each_server_can_turn_us_away_once_before_there_is_none_left() {
        let addresses =
            ["a:1", "b:1", "c:1"].map(|address| Address::to_dial(Net::Tcp, address).expect("address"));
        let connector = Connector::new(Net::Tcp, addresses.to_vec(), None, DialOptions::tunnel());
        for _ in 0..2 {
            let elsewhere = [0, 1, 2].map(|server| connector.turned_away_by(Server(server)));
            assert_eq!(elsewhere, [true, true, false]);
            assert_eq!(connector.preferred.load(Ordering::Relaxed), 0, "round");
        }
        assert!(
            connector.turned_away_by(Server(0)) && connector.turned_away_by(Server(0)),
            "one server, said twice"
        );
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
