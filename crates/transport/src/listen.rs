//! The accepting side: a listener that no slow, broken or hostile peer can stop.
//!
//! ```text
//! accept(2) ──▶ Lobby ── room? ──▶ Gate: admit ──▶ Incoming ──handshake──▶ Stream
//!     │           │        │             └─ refused: RST           └─▶ HandshakeError, counted by the Gate
//!     │           │        └─ wait until a pending handshake ends; the oldest of whoever holds most is asked to
//!     │           └─ full: whoever has most there loses its newest, RST
//!     └─ out of descriptors: pause 10 ms .. 1 s, tell once a minute
//! ```

mod bind;
mod door;
mod failure;
mod lobby;
mod turnstile;

use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

pub use bind::BindError;
use bind::SocketFile;
use door::{Door, Next, Permit};
use failure::{AcceptFailure, Pause, judge_accept};
use parking_lot::Mutex;
use tokio::net::{TcpListener, UnixListener};
use tokio::time::{sleep, sleep_until};

use crate::limits::{Limits, Outcome, Source};
use crate::net::{Address, Net};
use crate::socket::{Socket, SocketOptions};
use crate::stream::Stream;
use crate::tls::{HandshakeError, ServerTls};

/// How to listen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListenOptions {
    /// Connections the kernel holds until we accept them; the system may cut it (`somaxconn`).
    pub backlog: u32,
    /// Permission bits of a Unix socket's file.
    pub unix_mode: u32,
    /// Limits before authentication; `None` for a listener whose peers need no proof.
    pub limits: Option<Limits>,
    /// Options of each accepted socket.
    pub socket: SocketOptions,
}

/// For applications: no limits, a Unix socket for its owner only.
impl Default for ListenOptions {
    fn default() -> Self {
        Self { backlog: 1024, unix_mode: 0o600, limits: None, socket: SocketOptions::default() }
    }
}

impl ListenOptions {
    /// For a server's connections from its clients.
    pub fn tunnel() -> Self {
        Self { limits: Some(Limits::default()), socket: SocketOptions::tunnel(), ..Self::default() }
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct Acceptor {
    listener: Listener,
    options: ListenOptions,
    door: Option<Arc<Door>>,
    pause: Mutex<Pause>,
}

/// A socket that has come, and from where.
#[derive(Debug)]
struct Accepted {
    socket: Socket,
    remote: String,
    ip: Option<IpAddr>,
}

impl Accepted {
    fn source(&self) -> Option<Source> {
        self.ip.map(Source::from)
    }
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix { listener: UnixListener, file: SocketFile },
}

impl Acceptor {
    /// Listens on `address`. A TCP name is resolved and its first address taken; `[::]` takes IPv4 as well unless `net`
    /// is tcp6. A Unix socket's file that nobody listens on is replaced, and removed again at the end.
    ///
    /// # Errors
    /// [`BindError`] says why not and what to do.
    pub async fn bind(net: Net, address: &Address, options: ListenOptions) -> Result<Self, BindError> {
        let door = options.limits.clone().map(Door::new);
        Self::bind_with(net, address, options, door).await
    }

    /// Listens on all of `addresses`, or on none. The limits hold for all of them together.
    ///
    /// # Errors
    /// [`BindError`] of the first that fails.
    pub async fn bind_all(
        net: Net,
        addresses: &[Address],
        options: &ListenOptions,
    ) -> Result<Vec<Self>, BindError> {
        let door = options.limits.clone().map(Door::new);
        let mut acceptors = Vec::with_capacity(addresses.len());
        for address in addresses {
            acceptors.push(Self::bind_with(net, address, options.clone(), door.clone()).await?);
        }
        Ok(acceptors)
    }

    async fn bind_with(
        net: Net,
        address: &Address,
        options: ListenOptions,
        door: Option<Arc<Door>>,
    ) -> Result<Self, BindError> {
        let listener = bind::bind(net, address, &options).await?;
        Ok(Self { listener, options, door, pause: Mutex::default() })
    }

    /// Where it listens, with the port the system chose.
    pub fn local(&self) -> String {
        match &self.listener {
            Listener::Tcp(_) => {
                self.local_addr().map_or_else(|| "closed".to_owned(), |address| address.to_string())
            }
            Listener::Unix { file, .. } => file.path.display().to_string(),
        }
    }

    /// The same as an address; `None` for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix { .. } => None,
        }
    }

    /// The next connection that may begin. It never waits for a peer's bytes. While as many handshakes are pending as may
    /// be, it asks one to end and waits for that, and those that are known go first; when descriptors run out it pauses.
    ///
    /// Cancel safety: safe; no accepted connection is lost.
    ///
    /// # Errors
    /// Only when the listener itself is broken: stop using it.
    pub async fn accept(&self) -> io::Result<Incoming> {
        let Some(door) = &self.door else {
            return Ok(self.begin(self.accept_socket().await?, None));
        };
        loop {
            // Registered before looking, so that no place that becomes free in between is missed.
            let mut changed = pin!(door.changed());
            changed.as_mut().enable();
            let due = match door.next() {
                Next::Begins(accepted, permit) => return Ok(self.begin(accepted, Some(permit))),
                Next::Refused(accepted) => {
                    let _ = accepted.socket.arm_reset();
                    continue;
                }
                Next::Wait(due) => due,
            };
            let due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = due => {}
                accepted = self.accept_socket() => if let Some(left) = door.enter(accepted?) {
                    let _ = left.socket.arm_reset();
                },
            }
        }
    }

    fn begin(&self, accepted: Accepted, permit: Option<Permit>) -> Incoming {
        let Accepted { socket, remote, .. } = accepted;
        // A socket that died already refuses options; reading it will tell.
        let _ = self.options.socket.apply(&socket);
        Incoming { socket, remote, permit }
    }

    /// Cancel safety: safe; what is accepted is returned at once.
    async fn accept_socket(&self) -> io::Result<Accepted> {
        loop {
            match self.accept_once().await {
                Ok(accepted) => {
                    self.pause.lock().reset();
                    return Ok(accepted);
                }
                Err(error) => match judge_accept(&error) {
                    AcceptFailure::Peer => {}
                    AcceptFailure::Listener => return Err(error),
                    AcceptFailure::Resources => {
                        let delay = self.pause.lock().next(&error);
                        sleep(delay).await;
                    }
                },
            }
        }
    }

    async fn accept_once(&self) -> io::Result<Accepted> {
        match &self.listener {
            Listener::Tcp(listener) => {
                let (socket, from) = listener.accept().await?;
                let (remote, ip) = (from.to_string(), Some(from.ip()));
                Ok(Accepted { socket: Socket::from(socket), remote, ip })
            }
            Listener::Unix { listener, .. } => {
                let (socket, _) = listener.accept().await?;
                let pid = socket.peer_cred().ok().and_then(|credentials| credentials.pid());
                let remote = pid.map_or_else(|| "unix".to_owned(), |pid| format!("unix:pid={pid}"));
                Ok(Accepted { socket: Socket::from(socket), remote, ip: None })
            }
        }
    }
}

/// A connection that was accepted and has proven nothing. Dropping it closes it.
#[derive(Debug)]
pub struct Incoming {
    socket: Socket,
    remote: String,
    permit: Option<Permit>,
}

impl Incoming {
    /// The peer's address as text; `unix:pid=N` for a Unix socket.
    pub fn remote(&self) -> &str {
        &self.remote
    }

    /// The peer's address; `None` for a Unix socket.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.socket.remote_addr()
    }

    /// Whom to tell when this peer is not served although it proves who it is.
    pub fn doorkeeper(&self) -> Doorkeeper {
        let door = self.permit.as_ref().map(Permit::door);
        Doorkeeper { door, source: self.remote_addr().map(|address| Source::from(address.ip())) }
    }

    /// Shakes hands, within the TLS settings' deadline. The outcome counts for the peer's address.
    ///
    /// Cancel safety: dropping the future closes the connection.
    ///
    /// # Errors
    /// [`HandshakeError`], whose text names the certificate that was refused and why.
    pub async fn handshake(self, tls: &ServerTls) -> Result<Stream, HandshakeError> {
        let Self { socket, remote, mut permit } = self;
        let result = match &permit {
            None => tls.accept(socket, &remote).await,
            Some(permit) => tokio::select! {
                biased;
                result = permit.pace(tls.accept(socket, &remote)) => result,
                () = permit.asked_to_go() => Err(HandshakeError::crowded_out(&remote)),
            },
        };
        if let Some(permit) = &mut permit {
            permit.outcome = match &result {
                Ok(_) => Outcome::Authenticated,
                Err(error) => error.outcome(),
            };
        }
        result.map(|stream| Stream::Tls(Box::new(stream)))
    }

    /// The socket as it is, for a net without TLS. It counts as pending no longer.
    pub fn into_socket(self) -> Socket {
        self.socket
    }

    /// [`Self::into_socket`] as a stream.
    pub fn into_stream(self) -> Stream {
        Stream::Plain(self.socket)
    }
}

/// Remembers what became of a peer after its handshake.
#[derive(Debug)]
pub struct Doorkeeper {
    door: Option<Arc<Door>>,
    source: Option<Source>,
}

impl Doorkeeper {
    /// The peer has proven who it is and was not served: see [`Gate::handle_turned_away`](crate::limits::Gate).
    pub fn turn_away(&self) {
        if let (Some(door), Some(source)) = (&self.door, self.source) {
            door.turned_away(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::testing::{Ca, Leaf};
    use crate::tls::TlsSettings;

    #[tokio::test]
    async fn accepted_socket_has_the_options() {
        let acceptor = listen(ListenOptions::tunnel()).await;
        let _client = TcpStream::connect(acceptor.local_addr().expect("address")).await.expect("connect");
        let socket = acceptor.accept().await.expect("accept").into_socket();
        let sock = socket2::SockRef::from(&socket);
        assert!(sock.tcp_nodelay().expect("nodelay"));
        assert_eq!(sock.tcp_keepalive_time().expect("idle"), Duration::from_secs(10));
    }

    #[tokio::test]
    async fn full_house_waits_instead_of_refusing() {
        let limits = Limits { pending: 1, ..Limits::default() };
        let acceptor = listen(ListenOptions { limits: Some(limits), ..ListenOptions::default() }).await;
        let address = acceptor.local_addr().expect("address");
        let _clients = [TcpStream::connect(address).await, TcpStream::connect(address).await];
        let first = acceptor.accept().await.expect("accept");
        let mut second = std::pin::pin!(acceptor.accept());
        let early = poll_fn(|cx| Poll::Ready(second.as_mut().poll(cx).is_ready())).await;
        assert!(!early, "one is pending, and that is all there may be");
        drop(first);
        second.await.expect("now there is room");
    }

    #[tokio::test]
    async fn silent_handshake_makes_room_in_a_full_house_and_a_cancelled_accept_loses_nobody() {
        let folder = TempDir::new().expect("folder");
        let ca = Ca::new("Root");
        let files = ca.issue(&Leaf::server("a.example")).write(folder.path(), "server", &ca);
        let tls = ServerTls::load(TlsSettings::new(files, &[])).expect("tls");
        let limits = Limits { pending: 1, fair_time: Duration::ZERO, ..Limits::default() };
        let acceptor = listen(ListenOptions { limits: Some(limits), ..ListenOptions::default() }).await;
        let address = acceptor.local_addr().expect("address");
        let _silent = TcpStream::connect(address).await.expect("connect");
        let silent = acceptor.accept().await.expect("accept");
        let second = TcpStream::connect(address).await.expect("connect");
        {
            let mut accept = std::pin::pin!(acceptor.accept());
            // Until it stands in the lobby.
            while acceptor.door.as_ref().expect("limits").waiting() == 0 {
                let early = poll_fn(|cx| Poll::Ready(accept.as_mut().poll(cx).is_ready())).await;
                assert!(!early, "the house is full");
                tokio::task::yield_now().await;
            }
        }
        let (ended, accepted) = tokio::join!(silent.handshake(&tls), acceptor.accept());
        assert!(ended.expect_err("asked to go").to_string().contains("TLS-146"));
        assert_eq!(accepted.expect("accept").remote_addr(), second.local_addr().ok());
    }

    #[tokio::test]
    async fn addresses_of_one_server_have_one_room() {
        let limits = Limits { pending: 1, ..Limits::default() };
        let options = ListenOptions { limits: Some(limits), ..ListenOptions::default() };
        let any = || Address::to_listen(Net::Tcp, "127.0.0.1:0").expect("address");
        let acceptors = Acceptor::bind_all(Net::Tcp, &[any(), any()], &options).await.expect("bind");
        let [one, other] = acceptors.as_slice() else { panic!("two") };
        let _first = TcpStream::connect(one.local_addr().expect("address")).await.expect("connect");
        let first = one.accept().await.expect("accept");
        let second = TcpStream::connect(other.local_addr().expect("address")).await.expect("connect");
        let mut accept = pin!(other.accept());
        while other.door.as_ref().expect("limits").waiting() == 0 {
            let early = poll_fn(|cx| Poll::Ready(accept.as_mut().poll(cx).is_ready())).await;
            assert!(!early, "the place is taken at the other address");
            tokio::task::yield_now().await;
        }
        drop(first);
        assert_eq!(accept.await.expect("now there is room").remote_addr(), second.local_addr().ok());
    }

    #[tokio::test]
    async fn source_that_speaks_rubbish_is_reset_the_next_time() {
        let folder = TempDir::new().expect("folder");
        let ca = Ca::new("Root");
        let files = ca.issue(&Leaf::server("a.example")).write(folder.path(), "server", &ca);
        let tls = ServerTls::load(TlsSettings::new(files, &[])).expect("tls");
        let limits = Limits { exempt_loopback: false, ..Limits::default() };
        let acceptor = listen(ListenOptions { limits: Some(limits), ..ListenOptions::default() }).await;
        let address = acceptor.local_addr().expect("address");
        let client = async {
            let mut client = TcpStream::connect(address).await.expect("connect");
            client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("write");
            let _ = client.read_to_end(&mut Vec::new()).await;
        };
        let serve =
            async { acceptor.accept().await.expect("accept").handshake(&tls).await.expect_err("rubbish") };
        let (error, ()) = tokio::join!(serve, client);
        assert_eq!(error.outcome(), Outcome::Malformed);
        let mut again = TcpStream::connect(address).await.expect("connect");
        let mut byte = [0];
        let end = tokio::select! {
            _ = acceptor.accept() => panic!("it was let in"),
            end = again.read(&mut byte) => end,
        };
        assert_eq!(end.expect_err("reset").kind(), io::ErrorKind::ConnectionReset);
    }

    async fn listen(options: ListenOptions) -> Acceptor {
        let address = Address::to_listen(Net::Tcp, "127.0.0.1:0").expect("address");
        Acceptor::bind(Net::Tcp, &address, options).await.expect("bind")
    }
}
