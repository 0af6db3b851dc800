//! Reaching a host: resolve its name, then race its addresses (RFC 8305, "happy eyeballs").
//!
//! ```text
//! addresses: v6 a, v6 b, v4 c ──order──▶ a c b
//!   a ───────────────────────▶ no answer
//!   │250 ms│ c ──▶ refused ─ next at once
//!                  b ──▶ connected: the others are dropped
//! ```

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use framing::{Host, Target};
use nix::libc;
use sla::code;
use socket2::SockRef;
use tokio::net::{TcpSocket, UnixStream};
use tokio::time::{Instant, Timeout, sleep_until, timeout};

use crate::net::Net;
use crate::socket::{Socket, SocketOptions};
use crate::tls::HandshakeError;

/// How long to try, and what the socket gets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DialOptions {
    /// Head start of each address before the next is tried as well.
    pub stagger: Duration,
    /// For one address.
    pub per_address: Duration,
    /// For all of them.
    pub total: Duration,
    /// For the resolver.
    pub resolve: Duration,
    /// More addresses than this are not tried.
    pub max_addresses: usize,
    /// Options of the connected socket.
    pub socket: SocketOptions,
}

/// For destinations: 250 ms apart, 3 s each, 10 s in all, four addresses, 5 s for the name; armed, so that nothing but an
/// orderly end looks like one.
impl Default for DialOptions {
    fn default() -> Self {
        Self {
            stagger: Duration::from_millis(250),
            per_address: Duration::from_secs(3),
            total: Duration::from_secs(10),
            resolve: Duration::from_secs(5),
            max_addresses: 4,
            socket: SocketOptions { armed: true, ..SocketOptions::default() },
        }
    }
}

impl DialOptions {
    /// For a client's connections to its server.
    pub fn tunnel() -> Self {
        Self { socket: SocketOptions::tunnel(), ..Self::default() }
    }
}

/// The addresses of a target that `net` may use, in the resolver's order. A literal is its own address. Callers that
/// have addresses already, or judge them first, go straight to [`connect`].
///
/// Cancel safety: safe; the system's resolver may go on in its thread.
///
/// # Errors
/// [`ConnectError::Resolve`] or [`ConnectError::NoAddress`].
pub async fn resolve(
    net: Net,
    target: &Target,
    options: &DialOptions,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let found: Vec<SocketAddr> = match &target.host {
        Host::V4(ip) => vec![SocketAddr::new(IpAddr::V4(*ip), target.port)],
        Host::V6(ip) => vec![SocketAddr::new(IpAddr::V6(*ip), target.port)],
        Host::Name(name) => {
            let fail = |reason| ConnectError::Resolve { host: name.as_str().to_owned(), reason };
            match timeout(options.resolve, tokio::net::lookup_host((name.as_str(), target.port))).await {
                Err(_) => return Err(fail(format!("no answer in {} s", options.resolve.as_secs()))),
                Ok(Err(error)) => return Err(fail(sla::plain(&error))),
                Ok(Ok(found)) => found.collect(),
            }
        }
    };
    let usable: Vec<SocketAddr> = found.into_iter().filter(|address| net.takes(address)).collect();
    if usable.is_empty() {
        return Err(ConnectError::NoAddress { target: target.to_string(), net });
    }
    Ok(usable)
}

/// Connects to the first of `addresses` that answers, IPv6 and IPv4 in turn; `target` is for messages.
///
/// Cancel safety: dropping the future closes every attempt.
///
/// # Errors
/// [`ConnectError::Unreachable`] tells of each address that was tried.
pub async fn connect(
    target: &Target,
    addresses: &[SocketAddr],
    options: &DialOptions,
) -> Result<Socket, ConnectError> {
    let ordered = interleave(addresses, options.max_addresses);
    let attempt = |address: SocketAddr| async move {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if options.socket.armed {
            SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
        }
        let socket = Socket::from(socket.connect(address).await?);
        options.socket.apply(&socket)?;
        Ok(socket)
    };
    let result = race(&ordered, options, attempt).await;
    result.map_err(|attempts| ConnectError::Unreachable { target: target.to_string(), attempts })
}

/// Connects to a Unix socket, within [`DialOptions::per_address`].
///
/// # Errors
/// [`ConnectError::Unix`].
pub async fn connect_unix(path: &Path, options: &DialOptions) -> Result<Socket, ConnectError> {
    let fail = |error| ConnectError::Unix { path: path.to_owned(), error };
    match timeout(options.per_address, UnixStream::connect(path)).await {
        Ok(Ok(socket)) => Ok(Socket::from(socket)),
        Ok(Err(error)) => Err(fail(AttemptError::new(&error))),
        Err(_) => Err(fail(AttemptError::NoAnswer { after: options.per_address })),
    }
}

/// Alternates the families, beginning with the resolver's first choice (RFC 8305 section 4).
fn interleave(addresses: &[SocketAddr], max: usize) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return Vec::new() };
    let (mut ours, mut others): (Vec<&SocketAddr>, Vec<&SocketAddr>) =
        addresses.iter().partition(|address| address.is_ipv6() == first.is_ipv6());
    ours.reverse();
    others.reverse();
    let mut ordered: Vec<SocketAddr> = Vec::new();
    while !ours.is_empty() || !others.is_empty() {
        for address in [ours.pop(), others.pop()].into_iter().flatten() {
            if !ordered.contains(address) {
                ordered.push(*address);
            }
        }
    }
    ordered.truncate(max);
    ordered
}

/// Runs `attempt` for each address, staggered, until one succeeds. A failure starts the next at once.
async fn race<T, F>(
    addresses: &[SocketAddr],
    options: &DialOptions,
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<T, Vec<Attempt>>
where
    F: Future<Output = io::Result<T>>,
{
    let start = Instant::now();
    let end = start + options.total;
    let mut waiting = addresses.iter().copied();
    let mut running: Vec<(SocketAddr, Pin<Box<Timeout<F>>>)> = Vec::new();
    let mut failed: Vec<Attempt> = Vec::new();
    // The first starts at once: a timer for now would still wait for its next tick, a millisecond on every dial.
    let mut start_now = true;
    let mut start_next = pin!(sleep_until(start + options.stagger));
    let mut give_up = pin!(sleep_until(end));
    poll_fn(|cx| {
        loop {
            let mut next_now = std::mem::take(&mut start_now);
            let mut index = 0;
            while let Some((address, future)) = running.get_mut(index) {
                match future.as_mut().poll(cx) {
                    Poll::Pending => index += 1,
                    Poll::Ready(Ok(Ok(connected))) => return Poll::Ready(Ok(connected)),
                    Poll::Ready(outcome) => {
                        let error = match outcome {
                            Ok(Err(error)) => AttemptError::new(&error),
                            _ => AttemptError::NoAnswer { after: options.per_address },
                        };
                        failed.push(Attempt { address: *address, error });
                        drop(running.swap_remove(index));
                        next_now = true;
                    }
                }
            }
            if give_up.as_mut().poll(cx).is_ready() {
                let late = running.drain(..).map(|(address, _)| Attempt {
                    address,
                    error: AttemptError::NoAnswer { after: start.elapsed().min(options.total) },
                });
                failed.extend(late);
                return Poll::Ready(Err(std::mem::take(&mut failed)));
            }
            let due = next_now || start_next.as_mut().poll(cx).is_ready();
            match due.then(|| waiting.next()).flatten() {
                Some(address) => {
                    running.push((address, Box::pin(timeout(options.per_address, attempt(address)))));
                    start_next.as_mut().reset(Instant::now() + options.stagger);
                }
                None if running.is_empty() && waiting.len() == 0 => {
                    return Poll::Ready(Err(std::mem::take(&mut failed)));
                }
                None => return Poll::Pending,
            }
        }
    })
    .await
}

/// One address that did not work.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attempt {
    /// Where to.
    pub address: SocketAddr,
    /// Why not.
    pub error: AttemptError,
}

/// `203.0.113.5 refused (nothing listens on 443)`.
impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.address.ip(), self.error)?;
        match self.error {
            AttemptError::Refused => write!(f, " (nothing listens on {})", self.address.port()),
            _ => Ok(()),
        }
    }
}

/// Why one address can't be connected to.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// A firewall of this machine, or missing rights on a Unix socket.
    #[error("not permitted (a firewall here, or the socket's mode)")]
    Denied,
    /// EMFILE, ENFILE.
    #[error("out of file descriptors here (raise LimitNOFILE)")]
    Descriptors,
    /// Another error of the system.
    #[error("failed ({reason})")]
    Io {
        /// In its words.
        reason: String,
    },
    /// EADDRNOTAVAIL.
    #[error("out of local ports here")]
    LocalPorts,
    /// No such Unix socket.
    #[error("does not exist")]
    Missing,
    /// Silence.
    #[error("no answer in {} (filtered or host down)", seconds(.after))]
    NoAnswer {
        /// For this long.
        after: Duration,
    },
    /// ECONNREFUSED.
    #[error("refused")]
    Refused,
    /// ECONNRESET during the connect.
    #[error("reset")]
    Reset,
    /// ENETUNREACH, EHOSTUNREACH.
    #[error("unreachable (no route, or a router said no)")]
    Unreachable,
}

impl AttemptError {
    fn new(error: &io::Error) -> Self {
        match (error.raw_os_error(), error.kind()) {
            (Some(libc::EMFILE | libc::ENFILE), _) => {
                tell_descriptors();
                AttemptError::Descriptors
            }
            (_, io::ErrorKind::AddrNotAvailable) => AttemptError::LocalPorts,
            (_, io::ErrorKind::ConnectionRefused) => AttemptError::Refused,
            (_, io::ErrorKind::ConnectionReset) => AttemptError::Reset,
            (_, io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
                AttemptError::Unreachable
            }
            (_, io::ErrorKind::NotFound) => AttemptError::Missing,
            (_, io::ErrorKind::PermissionDenied) => AttemptError::Denied,
            // The kernel gave up by itself (tcp_syn_retries), which is later than we wait.
            _ => AttemptError::Io { reason: sla::plain(error) },
        }
    }
}

/// Says at once, and then at most once a minute, that dials fail for want of descriptors.
fn tell_descriptors() {
    static TOLD: parking_lot::Mutex<Option<std::time::Instant>> = parking_lot::Mutex::new(None);
    let now = std::time::Instant::now();
    let mut told = TOLD.lock();
    if told.is_some_and(|told| now.duration_since(told) < TELL_DESCRIPTORS) {
        return;
    }
    *told = Some(now);
    drop(told);
    let text = format!(
        "{} cannot connect: out of file descriptors → raise LimitNOFILE (ulimit -n); what asked is refused, running \
         streams are unaffected",
        code::DESCRIPTORS
    );
    sla::event::error(sla::event::Area::Main, &text);
}

const TELL_DESCRIPTORS: Duration = Duration::from_secs(60);

/// Why there is no connection. `Display` is one line: code, whom, cause, what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// TLS failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The name has no address of the net's IP version.
    #[error("{} {target} has no {} address → use another name, or net tcp", code::NO_ADDRESS, if *.net == Net::Tcp6 { "IPv6" } else { "IPv4" })]
    NoAddress {
        /// Whom.
        target: String,
        /// The net that was asked for.
        net: Net,
    },
    /// The connector has no address.
    #[error("{} there is no server address → set server.addr", code::NO_SERVER)]
    NoServer,
    /// The name does not resolve.
    #[error(
        "{} the server's name {host} does not resolve: {reason} → check server.addr, and this machine's name service",
        code::UNRESOLVED
    )]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// One server of several took longer than its share of the time.
    #[error("{} server {target}: no connection within its share of the time, {} → the next server is tried; check the path to this one, or raise remux.dial.max.sec", code::TOO_SLOW, seconds(.after))]
    TooSlow {
        /// Which.
        target: String,
        /// Its share.
        after: Duration,
    },
    /// A Unix socket.
    #[error("{} server {}: {error} → check that it is running, and that server.addr is its path", code::UNREACHABLE, .path.display())]
    Unix {
        /// Its path.
        path: PathBuf,
        /// Why not.
        error: AttemptError,
    },
    /// No address worked.
    #[error("{} server {target}: {} → {}", code::UNREACHABLE, tried(.attempts), advice(.target, .attempts))]
    Unreachable {
        /// Whom.
        target: String,
        /// Each address tried, in the order they failed.
        attempts: Vec<Attempt>,
    },
}

impl ConnectError {
    /// What each address answered, for a caller with words of its own about whom and what to do.
    pub fn cause(&self) -> String {
        match self {
            ConnectError::Unreachable { attempts, .. } => tried(attempts),
            error => error.to_string(),
        }
    }

    /// The error as one word, for a reply code or a decision.
    pub fn kind(&self) -> ConnectErrorKind {
        match self {
            ConnectError::Handshake(_) => ConnectErrorKind::Handshake,
            ConnectError::NoAddress { .. } | ConnectError::NoServer | ConnectError::Resolve { .. } => {
                ConnectErrorKind::Name
            }
            ConnectError::TooSlow { .. } => ConnectErrorKind::TimedOut,
            ConnectError::Unix { error, .. } => error.kind(),
            // An address that answered says more than one that did not; a fault of ours says most.
            ConnectError::Unreachable { attempts, .. } => attempts
                .iter()
                .map(|attempt| attempt.error.kind())
                .min()
                .unwrap_or(ConnectErrorKind::Unreachable),
        }
    }
}

impl AttemptError {
    /// The error as one word.
    pub fn kind(&self) -> ConnectErrorKind {
        match self {
            AttemptError::Denied | AttemptError::Descriptors | AttemptError::LocalPorts => {
                ConnectErrorKind::Local
            }
            AttemptError::Missing | AttemptError::Refused | AttemptError::Reset => ConnectErrorKind::Refused,
            AttemptError::Io { .. } | AttemptError::Unreachable => ConnectErrorKind::Unreachable,
            AttemptError::NoAnswer { .. } => ConnectErrorKind::TimedOut,
        }
    }
}

/// Kinds of [`ConnectError`], the most telling first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ConnectErrorKind {
    /// A limit or rule of this machine.
    Local,
    /// The host answered: nothing listens there.
    Refused,
    /// No way to the host.
    Unreachable,
    /// Silence.
    TimedOut,
    /// The name has no usable address.
    Name,
    /// TLS failed.
    Handshake,
}

fn tried(attempts: &[Attempt]) -> String {
    match attempts {
        [] => "no address to try".to_owned(),
        [one] => one.to_string(),
        several => {
            let each: Vec<String> = several.iter().map(Attempt::to_string).collect();
            format!("{} addresses tried: {}", several.len(), each.join(", "))
        }
    }
}

fn advice(target: &str, attempts: &[Attempt]) -> String {
    let port = target.rsplit(':').next().unwrap_or_default();
    match attempts.iter().map(|attempt| attempt.error.kind()).min() {
        Some(ConnectErrorKind::Local)
            if attempts.iter().all(|a| a.error.kind() == ConnectErrorKind::Local) =>
        {
            "mend it on this machine; the other side was not reached".to_owned()
        }
        Some(ConnectErrorKind::Refused) => format!("check that the server runs there and listens on {port}"),
        Some(ConnectErrorKind::Unreachable) => {
            "check the address, and this machine's network and routes".to_owned()
        }
        _ => format!("check that the host is up and that the firewalls in between let {port}/tcp through"),
    }
}

fn seconds(span: &Duration) -> String {
    if span.subsec_millis() == 0 {
        format!("{} s", span.as_secs())
    } else {
        format!("{} ms", span.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::pending;

    use super::*;

    #[test]
    fn families_alternate_from_the_resolvers_first_choice() {
        let order = |list: &[&str]| {
            let list: Vec<SocketAddr> = list.iter().map(|text| text.parse().expect("address")).collect();
            interleave(&list, 4).iter().map(|address| address.ip().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(order(&["[::1]:1", "[::2]:1", "1.1.1.1:1"]), ["::1", "1.1.1.1", "::2"]);
        assert_eq!(order(&["1.1.1.1:1", "[::1]:1", "[::2]:1"]), ["1.1.1.1", "::1", "::2"]);
        assert_eq!(order(&["1.1.1.1:1", "1.1.1.1:1"]), ["1.1.1.1"]);
        assert_eq!(order(&["1.1.1.1:1", "1.1.1.2:1", "1.1.1.3:1", "1.1.1.4:1", "1.1.1.5:1"]).len(), 4);
        assert!(order(&[]).is_empty());
    }

    #[tokio::test]
    async fn armed_dial_that_is_given_up_is_a_reset_for_the_other_side() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let target = Target { host: Host::V4(std::net::Ipv4Addr::LOCALHOST), port: address.port() };
        let options = DialOptions::default();
        {
            let mut dial = pin!(connect(&target, std::slice::from_ref(&address), &options));
            poll_fn(|cx| Poll::Ready(dial.as_mut().poll(cx).is_ready())).await;
        }
        let (mut other, _) = listener.accept().await.expect("the kernel had connected it");
        let error = tokio::io::AsyncReadExt::read(&mut other, &mut [0]).await.expect_err("reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test(start_paused = true)]
    async fn silent_address_gets_a_head_start_and_then_company() {
        let start = Instant::now();
        let addresses = addresses(3);
        let begun = RefCell::new(Vec::new());
        let attempt = |address| {
            begun.borrow_mut().push(start.elapsed().as_millis());
            let third = address == addresses[2];
            async move { if third { Ok(address) } else { pending().await } }
        };
        assert_eq!(race(&addresses, &DialOptions::default(), attempt).await, Ok(addresses[2]));
        assert_eq!(begun.into_inner(), [0, 250, 500]);
    }

    #[tokio::test(start_paused = true)]
    async fn refused_address_starts_the_next_at_once() {
        let start = Instant::now();
        let addresses = addresses(2);
        let attempt = |address| {
            let first = address == addresses[0];
            async move { if first { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(address) } }
        };
        assert_eq!(race(&addresses, &DialOptions::default(), attempt).await, Ok(addresses[1]));
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn each_address_has_three_seconds_and_every_one_is_told_of() {
        let start = Instant::now();
        let addresses = addresses(2);
        let lost = race(&addresses, &DialOptions::default(), |_| pending::<io::Result<()>>()).await;
        assert_eq!(start.elapsed(), Duration::from_millis(3_250));
        let lost = lost.expect_err("silence");
        assert!(
            lost.iter()
                .all(|attempt| attempt.error == AttemptError::NoAnswer { after: Duration::from_secs(3) })
        );
        let error = ConnectError::Unreachable { target: "example.net:443".to_owned(), attempts: lost };
        assert_eq!(
            error.to_string(),
            "NET-201 server example.net:443: 2 addresses tried: 192.0.2.0 no answer in 3 s (filtered or host down), \
             192.0.2.1 no answer in 3 s (filtered or host down) → check that the host is up and that the firewalls in \
             between let 443/tcp through"
        );
        assert_eq!(error.kind(), ConnectErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn total_time_ends_everything() {
        let start = Instant::now();
        let options = DialOptions { per_address: Duration::from_secs(60), ..DialOptions::default() };
        let lost = race(&addresses(4), &options, |_| pending::<io::Result<()>>()).await;
        assert_eq!(start.elapsed(), Duration::from_secs(10));
        assert_eq!(lost.expect_err("silence").len(), 4);
    }

    #[tokio::test]
    async fn literal_needs_no_resolver_and_must_suit_the_net() {
        let options = DialOptions::default();
        let target: Target = "192.0.2.1:80".parse().expect("target");
        assert_eq!(
            resolve(Net::Tcp, &target, &options).await.expect("literal"),
            ["192.0.2.1:80".parse().expect("a")]
        );
        let error = resolve(Net::Tcp6, &target, &options).await.expect_err("family");
        assert!(error.to_string().contains("no IPv6 address"), "{error}");
    }

    #[tokio::test]
    async fn destination_that_was_reached_and_let_go_of_is_reset() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let socket = connect(&address.into(), &[address], &DialOptions::default()).await.expect("connect");
        let (mut far, _) = listener.accept().await.expect("accept");
        drop(socket);
        let error = tokio::io::AsyncReadExt::read(&mut far, &mut [0]).await.expect_err("reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn connect_to_a_closed_port_says_that_nothing_listens() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
        let error = connect(&closed.into(), &[closed], &DialOptions::default()).await.expect_err("closed");
        assert!(error.to_string().contains("refused (nothing listens on"), "{error}");
        assert_eq!(error.kind(), ConnectErrorKind::Refused);
    }

    #[tokio::test]
    async fn missing_unix_socket_is_named() {
        let error =
            connect_unix(Path::new("/nonexistent/s"), &DialOptions::default()).await.expect_err("missing");
        assert!(error.to_string().contains("/nonexistent/s: does not exist"), "{error}");
    }

    #[test]
    fn most_telling_attempt_decides_the_kind() {
        let attempt = |error| Attempt { address: "192.0.2.1:1".parse().expect("address"), error };
        let silent = attempt(AttemptError::NoAnswer { after: Duration::from_secs(3) });
        let attempts = vec![silent, attempt(AttemptError::Unreachable), attempt(AttemptError::Refused)];
        let error = ConnectError::Unreachable { target: "a:1".to_owned(), attempts };
        assert_eq!(error.kind(), ConnectErrorKind::Refused);
    }

    fn addresses(count: u8) -> Vec<SocketAddr> {
        (0..count).map(|host| SocketAddr::from(([192, 0, 2, host], 443))).collect()
    }
}
