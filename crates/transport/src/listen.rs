//! The accepting side: a listener that no slow, broken or hostile peer can stop.
//!
//! ```text
//! accept(2) ── room? ── Gate: admit ──▶ Incoming ──handshake──▶ Stream
//!     │          │           └─ refused: RST           └─▶ HandshakeError, counted by the Gate
//!     │          └─ wait until a pending handshake ends; the oldest of whoever holds most is asked to
//!     └─ out of descriptors: pause 10 ms .. 1 s, tell once a minute
//! ```

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use framing::{Host, Target};
use nix::libc;
use nix::sys::stat::{Mode, fchmod};
use parking_lot::Mutex;
use sla::code;
use sla::event::Area;
use socket2::{Domain, Protocol, SockAddr, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use crate::holder;
use crate::limits::{Gate, Limits, Outcome, Refusal, Source, Ticket};
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
    /// Accepted, and waiting for room: kept here so that a cancelled accept loses nothing.
    waiting: Mutex<Option<Accepted>>,
}

type Accepted = (Socket, String, Option<IpAddr>);

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
        let fail = |error| BindError::new(address, error);
        let listener = match address {
            Address::Unix(path) => {
                let (listener, file) = bind_unix(path, &options).await.map_err(fail)?;
                Listener::Unix { listener, file }
            }
            Address::Host(target) => Listener::Tcp(bind_tcp(net, target, &options).await.map_err(fail)?),
        };
        let door = options.limits.clone().map(|limits| {
            Arc::new(Door {
                house: Mutex::new(House { gate: Gate::new(limits), bells: HashMap::new() }),
                room: Notify::new(),
                refused: Mutex::default(),
            })
        });
        Ok(Self { listener, options, door, pause: Mutex::default(), waiting: Mutex::default() })
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

    /// The next connection that may begin. It never waits for a peer's bytes; while as many handshakes are pending as
    /// may be, it asks one to end and waits for that, and when descriptors run out it pauses.
    ///
    /// Cancel safety: safe; no accepted connection is lost.
    ///
    /// # Errors
    /// Only when the listener itself is broken: stop using it.
    pub async fn accept(&self) -> io::Result<Incoming> {
        loop {
            let is_waiting = self.waiting.lock().is_some();
            if !is_waiting {
                match self.accept_socket().await {
                    Ok(accepted) => *self.waiting.lock() = Some(accepted),
                    Err(error) => match judge_accept(&error) {
                        AcceptFailure::Peer => continue,
                        AcceptFailure::Listener => return Err(error),
                        AcceptFailure::Resources => {
                            let delay = self.pause.lock().next(&error);
                            sleep(delay).await;
                            continue;
                        }
                    },
                }
            }
            self.pause.lock().reset();
            if let Some(door) = &self.door {
                door.make_room().await;
            }
            let Some((socket, remote, ip)) = self.waiting.lock().take() else { continue };
            // A socket that died already refuses options; reading it will tell.
            let _ = self.options.socket.apply(&socket);
            let permit = match &self.door {
                None => None,
                Some(door) => match door.admit(ip.map(Source::from)) {
                    Ok(permit) => Some(permit),
                    Err(refusal) => {
                        door.note_refusal(&remote, refusal);
                        let _ = socket.arm_reset();
                        continue;
                    }
                },
            };
            return Ok(Incoming { socket, remote, permit });
        }
    }

    async fn accept_socket(&self) -> io::Result<Accepted> {
        match &self.listener {
            Listener::Tcp(listener) => {
                let (socket, from) = listener.accept().await?;
                Ok((Socket::from(socket), from.to_string(), Some(from.ip())))
            }
            Listener::Unix { listener, .. } => {
                let (socket, _) = listener.accept().await?;
                let pid = socket.peer_cred().ok().and_then(|credentials| credentials.pid());
                let remote = pid.map_or_else(|| "unix".to_owned(), |pid| format!("unix:pid={pid}"));
                Ok((Socket::from(socket), remote, None))
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
                result = tls.accept(socket, &remote) => result,
                () = permit.bell.notified() => Err(HandshakeError::crowded_out(&remote)),
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

/// The gate with what waits before it.
#[derive(Debug)]
struct Door {
    house: Mutex<House>,
    room: Notify,
    refused: Mutex<Refused>,
}

#[derive(Debug)]
struct House {
    gate: Gate,
    /// How each pending connection is asked to go.
    bells: HashMap<Ticket, Arc<Notify>>,
}

#[derive(Debug, Default)]
struct Refused {
    count: u64,
    told: Option<Instant>,
}

impl Door {
    /// Waits for room; whoever holds most of a full house is asked to make some.
    async fn make_room(&self) {
        let mut asked = None;
        loop {
            // Registered before looking, so that no permit that ends in between is missed.
            let changed = self.room.notified();
            let due = {
                let mut house = self.house.lock();
                if house.gate.has_room() {
                    return;
                }
                if asked.as_ref().is_none_or(|ticket| !house.bells.contains_key(ticket)) {
                    let next = house.gate.next_to_go(Instant::now().into_std());
                    asked = next.ok();
                    asked
                        .as_ref()
                        .and_then(|ticket| house.bells.get(ticket))
                        .inspect(|bell| bell.notify_one());
                    next.err().flatten()
                } else {
                    None
                }
            };
            match due {
                Some(due) => drop(timeout_at(due.into(), changed).await),
                None => changed.await,
            }
        }
    }

    fn admit(self: &Arc<Self>, source: Option<Source>) -> Result<Permit, Refusal> {
        let mut house = self.house.lock();
        let ticket = house.gate.admit(Instant::now().into_std(), source, rand::random())?;
        let bell = Arc::new(Notify::new());
        house.bells.insert(ticket, bell.clone());
        Ok(Permit { door: self.clone(), ticket, bell, outcome: Outcome::Gone })
    }

    /// One line at once, then at most one every ten seconds with their number: a flood must not become a flood of lines.
    fn note_refusal(&self, remote: &str, refusal: Refusal) {
        let mut refused = self.refused.lock();
        refused.count += 1;
        let now = Instant::now();
        if refused.told.is_some_and(|told| now.duration_since(told) < TELL_REFUSALS) {
            return;
        }
        let count = std::mem::take(&mut refused.count);
        refused.told = Some(now);
        drop(refused);
        let text = format!(
            "{} {count} connections refused before their handshake, last {remote}: {refusal}",
            code::PREAUTH
        );
        sla::event::warn(Area::Conn, &text);
    }
}

/// A pending connection's place; told to the gate when dropped.
#[derive(Debug)]
struct Permit {
    door: Arc<Door>,
    ticket: Ticket,
    /// Rings when it should make room for another.
    bell: Arc<Notify>,
    outcome: Outcome,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut house = self.door.house.lock();
        house.bells.remove(&self.ticket);
        house.gate.handle_done(Instant::now().into_std(), self.ticket, self.outcome);
        drop(house);
        self.door.room.notify_one();
    }
}

/// Back-off of an accept loop that the system gives no descriptors.
#[derive(Debug, Default)]
struct Pause {
    current: Duration,
    told: Option<Instant>,
}

impl Pause {
    fn next(&mut self, error: &io::Error) -> Duration {
        let now = Instant::now();
        if self.told.is_none_or(|told| now.duration_since(told) >= TELL_RESOURCES) {
            self.told = Some(now);
            let text = format!(
                "{} cannot accept: {} → raise LimitNOFILE (ulimit -n); new connections wait, running ones \
                 are unaffected",
                code::DESCRIPTORS,
                sla::plain(error),
            );
            sla::event::error(Area::Main, &text);
        }
        self.current = (self.current * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        self.current
    }

    fn reset(&mut self) {
        self.current = Duration::ZERO;
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum AcceptFailure {
    /// This one connection died in the queue.
    Peer,
    /// The process or system is out of something; it stays so until something is freed, and accept(2) would spin.
    Resources,
    /// The listener is no listener any more.
    Listener,
}

/// accept(2): errors of the network that came over the new socket are the peer's.
fn judge_accept(error: &io::Error) -> AcceptFailure {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => AcceptFailure::Resources,
        Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::EFAULT) => {
            AcceptFailure::Listener
        }
        _ => AcceptFailure::Peer,
    }
}

async fn bind_tcp(net: Net, target: &Target, options: &ListenOptions) -> io::Result<TcpListener> {
    let address = match &target.host {
        Host::V4(ip) => SocketAddr::from((*ip, target.port)),
        Host::V6(ip) => SocketAddr::from((*ip, target.port)),
        Host::Name(name) => tokio::net::lookup_host((name.as_str(), target.port))
            .await?
            .find(|address| net.takes(address))
            .ok_or_else(|| io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no such address"))?,
    };
    match listen_tcp(net, address, options) {
        // A machine without IPv6: "every address" is every IPv4 address then.
        Err(error)
            if error.raw_os_error() == Some(libc::EAFNOSUPPORT)
                && net == Net::Tcp
                && address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) =>
        {
            listen_tcp(net, SocketAddr::from((Ipv4Addr::UNSPECIFIED, target.port)), options)
        }
        result => result,
    }
}

fn listen_tcp(net: Net, address: SocketAddr, options: &ListenOptions) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(net == Net::Tcp6)?;
    }
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

async fn bind_unix(path: &Path, options: &ListenOptions) -> io::Result<(UnixListener, SocketFile)> {
    remove_stale(path).await?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // Linux gives the file the mode of the socket, so it is never open to others, not even for a moment.
    fchmod(&socket, Mode::from_bits_truncate(options.unix_mode)).map_err(io::Error::from)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::new(path)?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok((UnixListener::from_std(std::os::unix::net::UnixListener::from(socket))?, file))
}

/// A socket file outlives a killed process; it may go if nobody answers on it.
async fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there"));
        }
        Ok(_) => {}
    }
    match tokio::net::UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// Removes the file at the end, if it is still the one we made.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let made = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: made.dev(), inode: made.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Why an address can't be listened on. `Display` is one line: code, address, cause, what to do.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot listen on {address}: {}", code::BIND, explain_bind(.address, .error, .holder.as_deref()))]
pub struct BindError {
    /// Where.
    pub address: Address,
    /// What the system said.
    #[source]
    pub error: io::Error,
    /// Who has it, where it is taken and the system tells.
    pub holder: Option<String>,
}

impl BindError {
    fn new(address: &Address, error: io::Error) -> Self {
        let holder = match address {
            Address::Host(target) if error.kind() == io::ErrorKind::AddrInUse => holder::of_port(target.port),
            _ => None,
        };
        Self { address: address.clone(), error, holder }
    }
}

fn explain_bind(address: &Address, error: &io::Error, holder: Option<&str>) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let (who, it) = match holder {
                Some(holder) => (format!("already used by {holder}"), "it"),
                None => ("already in use".to_owned(), "the other program (as root, ss -ltnp names it)"),
            };
            format!("{who} → stop {it}, or choose another address")
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address → use one of its own (ip address shows them), or 127.0.0.1"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => match address {
            Address::Host(_) => {
                "ports below 1024 need a right that this user does not have → use a port from 1024 up, \
                                     or grant CAP_NET_BIND_SERVICE (AmbientCapabilities= in a systemd unit)"
            }
            Address::Unix(_) => {
                "this user may not make a socket in that folder → change the folder's owner or mode, or \
                                     choose another path"
            }
        }
        .to_owned(),
        io::ErrorKind::NotFound => "the folder does not exist → make it, or choose another path".to_owned(),
        io::ErrorKind::AlreadyExists => format!("{error} → choose another path"),
        _ => format!("{} → check the address", sla::plain(error)),
    }
}

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);
const TELL_REFUSALS: Duration = Duration::from_secs(10);
const TELL_RESOURCES: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::os::unix::fs::PermissionsExt;
    use std::task::Poll;

    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpStream, UnixStream};

    use super::*;
    use crate::testing::{Ca, Leaf};
    use crate::tls::TlsSettings;

    #[tokio::test]
    async fn port_in_use_is_said_with_what_to_do() {
        let first = listen(ListenOptions::default()).await;
        let address = Address::Host(first.local_addr().expect("address").into());
        let error = Acceptor::bind(Net::Tcp, &address, ListenOptions::default())
            .await
            .expect_err("taken")
            .to_string();
        assert!(
            error.starts_with(&format!("NET-210 cannot listen on {address}: already in use →")),
            "{error}"
        );
    }

    #[tokio::test]
    async fn foreign_address_is_said_to_be_so() {
        let address = Address::to_listen(Net::Tcp, "192.0.2.1:0").expect("address");
        let error = Acceptor::bind(Net::Tcp, &address, ListenOptions::default()).await.expect_err("foreign");
        assert!(error.to_string().contains("no such address"), "{error}");
    }

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
    async fn unix_socket_is_its_owners_and_goes_with_the_listener() {
        let folder = TempDir::new().expect("folder");
        let path = folder.path().join("s");
        let acceptor = listen_unix(&path).await.expect("bind");
        assert_eq!(std::fs::metadata(&path).expect("file").permissions().mode() & 0o777, 0o600);
        let _client = UnixStream::connect(&path).await.expect("connect");
        let incoming = acceptor.accept().await.expect("accept");
        assert_eq!(incoming.remote(), format!("unix:pid={}", std::process::id()));
        drop(acceptor);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn stale_unix_socket_is_replaced_and_a_live_one_is_not() {
        let folder = TempDir::new().expect("folder");
        let path = folder.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a killed process's socket"));
        let _live = listen_unix(&path).await.expect("stale");
        let error = listen_unix(&path).await.expect_err("live").to_string();
        assert!(error.contains("already in use"), "{error}");
    }

    #[tokio::test]
    async fn file_that_is_no_socket_is_never_removed() {
        let folder = TempDir::new().expect("folder");
        let path = folder.path().join("s");
        std::fs::write(&path, "precious").expect("write");
        let error = listen_unix(&path).await.expect_err("a file").to_string();
        assert!(error.contains("no socket"), "{error}");
        assert_eq!(std::fs::read(&path).expect("read"), b"precious");
    }

    #[tokio::test]
    async fn socket_file_of_a_successor_is_left_alone() {
        let folder = TempDir::new().expect("folder");
        let path = folder.path().join("s");
        let old = listen_unix(&path).await.expect("bind");
        std::fs::remove_file(&path).expect("remove");
        let _new = listen_unix(&path).await.expect("bind");
        drop(old);
        assert!(path.exists());
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
            // Until it stands in the house's door.
            while acceptor.waiting.lock().is_none() {
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

    #[tokio::test(start_paused = true)]
    async fn pause_doubles_to_a_second_and_starts_anew() {
        let mut pause = Pause::default();
        let error = io::Error::from_raw_os_error(libc::EMFILE);
        let delays: Vec<u128> = (0..9).map(|_| pause.next(&error).as_millis()).collect();
        assert_eq!(delays, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        pause.reset();
        assert_eq!(pause.next(&error).as_millis(), 10);
    }

    #[test]
    fn failures_of_accept_are_told_apart() {
        let judge = |errno| judge_accept(&io::Error::from_raw_os_error(errno));
        for errno in
            [libc::ECONNABORTED, libc::EPROTO, libc::ENETDOWN, libc::EPERM, libc::EINTR, libc::ETIMEDOUT]
        {
            assert_eq!(judge(errno), AcceptFailure::Peer);
        }
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            assert_eq!(judge(errno), AcceptFailure::Resources);
        }
        assert_eq!(judge(libc::EBADF), AcceptFailure::Listener);
    }

    async fn listen(options: ListenOptions) -> Acceptor {
        let address = Address::to_listen(Net::Tcp, "127.0.0.1:0").expect("address");
        Acceptor::bind(Net::Tcp, &address, options).await.expect("bind")
    }

    async fn listen_unix(path: &Path) -> Result<Acceptor, BindError> {
        Acceptor::bind(Net::Unix, &Address::Unix(path.to_owned()), ListenOptions::default()).await
    }
}
