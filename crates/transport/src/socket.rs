//! One socket, TCP or Unix, with the options a tunnel needs.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::probe::{Probe, ProbeSlot};

/// A connected TCP or Unix stream socket.
///
/// Dropping it closes it: with FIN, or with RST while [armed](Self::arm_reset).
#[derive(Debug)]
pub struct Socket {
    kind: Kind,
    probe: Arc<ProbeSlot>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Is it a Unix socket? Those have neither RST nor TCP_INFO.
    pub fn is_unix(&self) -> bool {
        matches!(self.kind, Kind::Unix(_))
    }

    /// Our end as text: `127.0.0.1:40000`, a path, or `unix` where it has no name.
    pub fn local(&self) -> String {
        match &self.kind {
            Kind::Tcp(socket) => address_text(socket.local_addr()),
            Kind::Unix(socket) => path_text(socket.local_addr()),
        }
    }

    /// The peer's end as text, as [`Self::local`].
    pub fn remote(&self) -> String {
        match &self.kind {
            Kind::Tcp(socket) => address_text(socket.peer_addr()),
            Kind::Unix(socket) => path_text(socket.peer_addr()),
        }
    }

    /// Our end's address; `None` for a Unix socket or a dead one.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(socket) => socket.local_addr().ok(),
            Kind::Unix(_) => None,
        }
    }

    /// The peer's address; `None` for a Unix socket or a dead one.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(socket) => socket.peer_addr().ok(),
            Kind::Unix(_) => None,
        }
    }

    /// The peer's IP address; `None` for a Unix socket.
    pub fn remote_ip(&self) -> Option<IpAddr> {
        self.remote_addr().map(|address| address.ip())
    }

    /// From now on any close that is not announced by [`Self::disarm_reset`] is a reset, even when the process is killed:
    /// linger on with 0 seconds, so that close(2) sends RST. A Unix socket has no RST: there this does nothing, and its
    /// peer sees end of input.
    ///
    /// # Errors
    /// What setsockopt(2) says.
    pub fn arm_reset(&self) -> io::Result<()> {
        match &self.kind {
            Kind::Tcp(socket) => SockRef::from(socket).set_linger(Some(Duration::ZERO)),
            Kind::Unix(_) => Ok(()),
        }
    }

    /// An orderly end is near: close(2) delivers what is still unsent and ends with FIN. Call after `poll_shutdown`.
    ///
    /// # Errors
    /// What setsockopt(2) says.
    pub fn disarm_reset(&self) -> io::Result<()> {
        match &self.kind {
            Kind::Tcp(socket) => SockRef::from(socket).set_linger(None),
            Kind::Unix(_) => Ok(()),
        }
    }

    /// Has an error ended it (a reset, a time-out) that no read or write has told yet? What came before may still be unread.
    pub fn has_failed(&self) -> bool {
        // The error that the last event came with; it stays with the socket.
        let seen = match &self.kind {
            Kind::Tcp(socket) => socket.try_io(Interest::ERROR, || Ok(())),
            Kind::Unix(socket) => socket.try_io(Interest::ERROR, || Ok(())),
        };
        seen.is_ok()
    }

    /// Bounds the unsent bytes below which the socket counts as writable (TCP_NOTSENT_LOWAT). Nothing for Unix sockets.
    ///
    /// # Errors
    /// What setsockopt(2) says.
    pub fn set_notsent_lowat(&self, bytes: u32) -> io::Result<()> {
        match &self.kind {
            Kind::Tcp(socket) => SockRef::from(socket).set_tcp_notsent_lowat(bytes),
            Kind::Unix(_) => Ok(()),
        }
    }

    /// A view of the path that can be kept apart from the socket; costs one descriptor until the socket is dropped.
    /// `None` for Unix sockets, or when no descriptor is to be had.
    pub fn probe(&self) -> Option<Probe> {
        match &self.kind {
            Kind::Tcp(socket) => self.probe.fill(socket).ok().map(|()| Probe::new(self.probe.clone())),
            Kind::Unix(_) => None,
        }
    }
}

impl From<TcpStream> for Socket {
    fn from(socket: TcpStream) -> Self {
        Self { kind: Kind::Tcp(socket), probe: Arc::default() }
    }
}

impl From<UnixStream> for Socket {
    fn from(socket: UnixStream) -> Self {
        Self { kind: Kind::Unix(socket), probe: Arc::default() }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Tcp(socket) => socket.as_fd(),
            Kind::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The kernel sends FIN or RST when the last descriptor closes: it must be ours.
        self.probe.clear();
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Kind::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.kind {
            Kind::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Kind::Unix(socket) => Pin::new(socket).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.kind {
            Kind::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Kind::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Kind::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

/// How the kernel treats a socket. SO_SNDBUF is never set: it would end the kernel's own tuning.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SocketOptions {
    /// Ask a silent peer whether it lives; `None` never asks.
    pub keepalive: Option<Keepalive>,
    /// Congestion control by name, used if this kernel offers it, else its default stays.
    pub congestion: Option<String>,
    /// Armed ([`Socket::arm_reset`]) before the first packet leaves: whoever drops the dial, or kills this process,
    /// resets a peer that was reached meanwhile.
    pub armed: bool,
}

/// SO_KEEPALIVE and its three times.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Keepalive {
    /// Silence before the first question.
    pub idle: Duration,
    /// Between questions.
    pub interval: Duration,
    /// Unanswered questions until the connection is dead.
    pub count: u32,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), interval: Duration::from_secs(10), count: 3 }
    }
}

/// For sockets of applications and destinations: keepalive, nothing else.
impl Default for SocketOptions {
    fn default() -> Self {
        Self { keepalive: Some(Keepalive::default()), congestion: None, armed: false }
    }
}

impl SocketOptions {
    /// For a connection between client and server: one on which nothing is under way is probed from its tenth silent
    /// second on and dead after 25 s. Bytes that nobody acknowledges are for whoever sent them to notice, by [`Probe`]:
    /// the kernel's own limit (TCP_USER_TIMEOUT) would also end a connection whose living peer pauses.
    pub fn tunnel() -> Self {
        let keepalive =
            Keepalive { idle: Duration::from_secs(10), interval: Duration::from_secs(5), count: 3 };
        Self { keepalive: Some(keepalive), ..Self::default() }
    }

    /// Sets them (but for `armed`), and TCP_NODELAY always. Unix sockets have none of these.
    ///
    /// # Errors
    /// What setsockopt(2) says; a congestion control that this kernel does not offer is not an error.
    pub fn apply(&self, socket: &Socket) -> io::Result<()> {
        let Kind::Tcp(tcp) = &socket.kind else { return Ok(()) };
        let sock = SockRef::from(tcp);
        sock.set_tcp_nodelay(true)?;
        if let Some(keepalive) = self.keepalive {
            let times = TcpKeepalive::new()
                .with_time(keepalive.idle)
                .with_interval(keepalive.interval)
                .with_retries(keepalive.count);
            sock.set_tcp_keepalive(&times)?;
        }
        if let Some(name) = &self.congestion {
            match sock.set_tcp_congestion(name.as_bytes()) {
                Err(error)
                    if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) =>
                {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Does this kernel offer the congestion control `name` to us?
pub fn congestion_offered(name: &str) -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
        .is_ok_and(|offered| offered.split_ascii_whitespace().any(|offer| offer == name))
}

fn address_text(address: io::Result<SocketAddr>) -> String {
    address.map_or_else(|_| "closed".to_owned(), |address| address.to_string())
}

fn path_text(address: io::Result<tokio::net::unix::SocketAddr>) -> String {
    let path = address.as_ref().ok().and_then(|address| address.as_pathname());
    path.map_or_else(|| "unix".to_owned(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn tunnel_options_reach_the_kernel() {
        let (near, _far) = pair().await;
        let options =
            SocketOptions { congestion: Some("no-such-control".to_owned()), ..SocketOptions::tunnel() };
        options.apply(&near).expect("an unknown congestion control is not an error");
        near.set_notsent_lowat(16_384).expect("lowat");
        let sock = SockRef::from(&near);
        assert!(sock.tcp_nodelay().expect("nodelay"));
        assert!(sock.keepalive().expect("keepalive"));
        assert_eq!(sock.tcp_keepalive_time().expect("idle"), Duration::from_secs(10));
        assert_eq!(sock.tcp_keepalive_interval().expect("interval"), Duration::from_secs(5));
        assert_eq!(sock.tcp_keepalive_retries().expect("count"), 3);
        assert_eq!(sock.tcp_notsent_lowat().expect("lowat"), 16_384);
    }

    #[tokio::test]
    async fn congestion_control_is_chosen_where_the_kernel_offers_it() {
        let (near, _far) = pair().await;
        let default = SockRef::from(&near).tcp_congestion().expect("default");
        let name = String::from_utf8_lossy(&default).trim_end_matches('\0').to_owned();
        assert!(congestion_offered(&name));
        assert!(!congestion_offered("no-such-control"));
        for offered in ["reno", "cubic", "bbr"].into_iter().filter(|name| congestion_offered(name)) {
            let options = SocketOptions { congestion: Some(offered.to_owned()), ..SocketOptions::default() };
            options.apply(&near).expect("offered");
            assert!(SockRef::from(&near).tcp_congestion().expect("chosen").starts_with(offered.as_bytes()));
        }
    }

    #[tokio::test]
    async fn armed_socket_that_is_dropped_resets_its_peer() {
        let (near, mut far) = pair().await;
        near.arm_reset().expect("arm");
        drop(near);
        let error = far.read(&mut [0]).await.expect_err("reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn socket_never_armed_ends_with_fin() {
        let (near, mut far) = pair().await;
        drop(near);
        assert_eq!(far.read(&mut [0]).await.expect("end"), 0);
    }

    #[tokio::test]
    async fn armed_socket_that_is_shut_down_and_disarmed_delivers_everything_and_then_fin() {
        let (mut near, mut far) = pair().await;
        near.arm_reset().expect("arm");
        let data = vec![7; 200_000];
        let send = async {
            near.write_all(&data).await.expect("write");
            near.shutdown().await.expect("shutdown");
            near.disarm_reset().expect("disarm");
            drop(near);
        };
        let mut read = Vec::new();
        let (_, got) = tokio::join!(send, far.read_to_end(&mut read));
        got.expect("clean end");
        assert_eq!(read.len(), data.len());
    }

    #[tokio::test]
    async fn reset_is_seen_behind_unread_bytes_and_a_clean_end_is_no_failure() {
        for reset in [true, false] {
            let (mut near, mut far) = pair().await;
            far.write_all(b"last words").await.expect("write");
            near.read_exact(&mut [0; 5]).await.expect("read");
            assert!(!near.has_failed());
            if reset {
                far.arm_reset().expect("arm");
            }
            drop(far);
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!((near.has_failed(), near.has_failed()), (reset, reset));
            let mut rest = Vec::new();
            let end = near.read_to_end(&mut rest).await.map_err(|error| error.kind());
            assert_eq!(end.is_err(), reset, "asking took nothing from it");
            assert_eq!(rest, b"words");
        }
    }

    #[tokio::test]
    async fn probe_does_not_keep_a_dropped_socket_open() {
        for armed in [false, true] {
            let (near, mut far) = pair().await;
            let probe = near.probe().expect("tcp");
            assert!(probe.path().is_some());
            if armed {
                near.arm_reset().expect("arm");
            }
            drop(near);
            let end = far.read(&mut [0]).await.map_err(|error| error.kind());
            assert_eq!(end, if armed { Err(io::ErrorKind::ConnectionReset) } else { Ok(0) });
            assert_eq!(probe.path(), None);
            probe.set_notsent_lowat(1);
        }
    }

    #[tokio::test]
    async fn probe_tells_of_bytes_and_round_trips() {
        let (mut near, mut far) = pair().await;
        near.write_all(&[1; 50_000]).await.expect("write");
        far.read_exact(&mut [0; 50_000]).await.expect("read");
        far.write_all(b"ack").await.expect("write");
        near.read_exact(&mut [0; 3]).await.expect("read");
        let facts = near.probe().expect("tcp").path().expect("facts");
        assert_eq!(facts.bytes_acked, 50_001, "what was answered was acknowledged, and the SYN counts");
        assert_eq!(facts.bytes_received, 3);
        assert!(facts.rtt > Duration::ZERO && facts.min_rtt > Duration::ZERO && facts.delivery_rate > 0);
        assert!(facts.cwnd_bytes() >= u64::from(facts.mss));
        assert_eq!((facts.unacked, facts.notsent, facts.ca_loss), (0, 0, false));
        // The accepting side sent no SYN of its own that this counter saw.
        near.write_all(b"ack").await.expect("write");
        far.read_exact(&mut [0; 3]).await.expect("read");
        assert_eq!(far.probe().expect("tcp").path().expect("facts").bytes_acked, 3);
    }

    #[tokio::test]
    async fn unix_socket_has_no_reset_and_no_probe_and_takes_every_option() {
        let (near, far) = UnixStream::pair().expect("pair");
        let (near, mut far) = (Socket::from(near), Socket::from(far));
        assert!(near.is_unix() && near.probe().is_none() && near.remote_ip().is_none());
        SocketOptions::tunnel().apply(&near).expect("options");
        near.arm_reset().expect("arm");
        drop(near);
        assert_eq!(far.read(&mut [0]).await.expect("end"), 0);
    }

    async fn pair() -> (Socket, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let near = TcpStream::connect(listener.local_addr().expect("address")).await.expect("connect");
        let (far, _) = listener.accept().await.expect("accept");
        (Socket::from(near), Socket::from(far))
    }
}
