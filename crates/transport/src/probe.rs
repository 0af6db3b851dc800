//! What the kernel knows about a path: TCP_INFO, and the one knob that answers it, TCP_NOTSENT_LOWAT.
//!
//! ```text
//! Socket ──probe()──▶ Probe (own descriptor of the same socket)
//!    └──drop────────▶ takes the probe's descriptor back first, so that FIN or RST leaves at once
//! ```

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::libc;
use nix::sys::socket::sockopt::GetStruct;
use parking_lot::Mutex;
use socket2::SockRef;

/// A view of a live TCP socket that outlives no one: it goes blind when the [`Socket`](crate::Socket) is dropped.
#[derive(Clone, Debug)]
pub struct Probe {
    slot: Arc<ProbeSlot>,
}

impl Probe {
    pub(crate) fn new(slot: Arc<ProbeSlot>) -> Self {
        Self { slot }
    }

    /// The path as it is now; `None` once the socket is gone or where the kernel is older than 4.9.
    /// One system call, a few hundred nanoseconds.
    pub fn path(&self) -> Option<PathFacts> {
        if !kernel_has_delivery_rate() {
            return None;
        }
        let guard = self.slot.fd.lock();
        let info = nix::sys::socket::getsockopt(guard.as_ref()?, TcpInfoOption).ok()?;
        Some(PathFacts::from(info))
    }

    /// Lets the socket report "writable" only while fewer than `bytes` unsent bytes wait in the kernel
    /// (TCP_NOTSENT_LOWAT). Does nothing once the socket is gone.
    pub fn set_notsent_lowat(&self, bytes: u32) {
        if let Some(fd) = self.slot.fd.lock().as_ref() {
            // A knob of speed, not of correctness: a kernel that refuses it loses nothing but latency.
            let _ = SockRef::from(fd).set_tcp_notsent_lowat(bytes);
        }
    }
}

/// The facts of TCP_INFO that the engine uses (tcp(7), `struct tcp_info` of Linux 4.9 and later).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PathFacts {
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Its mean deviation.
    pub rtt_var: Duration,
    /// The least seen by the kernel's filter; zero before the first sample.
    pub min_rtt: Duration,
    /// The most recent delivery rate in bytes a second; 0 before the first sample.
    pub delivery_rate: u64,
    /// The rate was limited by us having nothing to send, so the path may do better.
    pub app_limited: bool,
    /// Congestion window in segments.
    pub cwnd: u32,
    /// Bytes a segment carries.
    pub mss: u32,
    /// Segments sent and not yet acknowledged.
    pub unacked: u32,
    /// Bytes acknowledged since the start: what was written to the socket (under TLS that is records, not
    /// plaintext), and one more each for an acknowledged SYN of ours (we connected) and FIN.
    pub bytes_acked: u64,
    /// Payload bytes received since the start.
    pub bytes_received: u64,
    /// Payload bytes written but not yet sent.
    pub notsent: u32,
    /// The sender is in loss recovery after a time-out (`TCP_CA_Loss`).
    pub ca_loss: bool,
    /// Segments retransmitted since the start.
    pub retransmits: u32,
}

impl PathFacts {
    /// The congestion window in bytes.
    pub fn cwnd_bytes(&self) -> u64 {
        self.bytes(self.cwnd)
    }

    /// Bytes sent and not yet acknowledged, at most: the kernel counts segments, and not each of them is full.
    pub fn unacked_bytes(&self) -> u64 {
        self.bytes(self.unacked)
    }

    /// A segment is a byte at least, so that something is never nothing.
    fn bytes(&self, segments: u32) -> u64 {
        u64::from(segments).saturating_mul(u64::from(self.mss.max(1)))
    }
}

/// Shared by a socket and its probes; empty once the socket is dropped.
#[derive(Debug, Default)]
pub(crate) struct ProbeSlot {
    fd: Mutex<Option<OwnedFd>>,
}

impl ProbeSlot {
    /// Fills the slot with a descriptor of its own (one per probed socket).
    pub(crate) fn fill(&self, socket: impl AsFd) -> std::io::Result<()> {
        let mut slot = self.fd.lock();
        if slot.is_none() {
            *slot = Some(socket.as_fd().try_clone_to_owned()?);
        }
        Ok(())
    }

    pub(crate) fn clear(&self) {
        *self.fd.lock() = None;
    }
}

impl From<TcpInfo> for PathFacts {
    fn from(info: TcpInfo) -> Self {
        let micros = |value: u32| Duration::from_micros(u64::from(value));
        Self {
            rtt: micros(info.rtt),
            rtt_var: micros(info.rttvar),
            // The kernel's filter starts at all ones.
            min_rtt: if info.min_rtt == u32::MAX { Duration::ZERO } else { micros(info.min_rtt) },
            delivery_rate: info.delivery_rate,
            app_limited: info.delivery_rate_app_limited & 1 == 1,
            cwnd: info.snd_cwnd,
            mss: info.snd_mss,
            unacked: info.unacked,
            bytes_acked: info.bytes_acked,
            bytes_received: info.bytes_received,
            notsent: info.notsent_bytes,
            ca_loss: info.ca_state == TCP_CA_LOSS,
            retransmits: info.total_retrans,
        }
    }
}

/// `TCP_CA_Loss` of `enum tcp_ca_state`.
const TCP_CA_LOSS: u8 = 4;

/// `struct tcp_info` up to `tcpi_delivery_rate`: the kernel fills as much as it is asked for, so this
/// fits every kernel from 4.9 on, however long the structure grows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct TcpInfo {
    state: u8,
    ca_state: u8,
    retransmits: u8,
    probes: u8,
    backoff: u8,
    options: u8,
    wscale: u8,
    delivery_rate_app_limited: u8,
    rto: u32,
    ato: u32,
    snd_mss: u32,
    rcv_mss: u32,
    unacked: u32,
    sacked: u32,
    lost: u32,
    retrans: u32,
    fackets: u32,
    last_data_sent: u32,
    last_ack_sent: u32,
    last_data_recv: u32,
    last_ack_recv: u32,
    pmtu: u32,
    rcv_ssthresh: u32,
    rtt: u32,
    rttvar: u32,
    snd_ssthresh: u32,
    snd_cwnd: u32,
    advmss: u32,
    reordering: u32,
    rcv_rtt: u32,
    rcv_space: u32,
    total_retrans: u32,
    pacing_rate: u64,
    max_pacing_rate: u64,
    bytes_acked: u64,
    bytes_received: u64,
    segs_out: u32,
    segs_in: u32,
    notsent_bytes: u32,
    min_rtt: u32,
    data_segs_in: u32,
    data_segs_out: u32,
    delivery_rate: u64,
}

#[derive(Clone, Copy, Debug)]
struct TcpInfoOption;

nix::getsockopt_impl!(TcpInfoOption, libc::IPPROTO_TCP, libc::TCP_INFO, TcpInfo, GetStruct<TcpInfo>);

/// The getter asserts that the kernel filled the whole structure, which it does from 4.9 on: ask first.
fn kernel_has_delivery_rate() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().ok());
        let version = (parts.next().flatten(), parts.next().flatten());
        matches!(version, (Some(major), Some(minor)) if (major, minor) >= (4, 9))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_told_in_bytes_and_something_is_never_nothing() {
        let facts = PathFacts { cwnd: 10, unacked: 7, mss: 1448, ..PathFacts::default() };
        assert_eq!((facts.cwnd_bytes(), facts.unacked_bytes()), (14_480, 10_136));
        let facts = PathFacts { unacked: 7, mss: 0, ..PathFacts::default() };
        assert_eq!(facts.unacked_bytes(), 7);
        let facts = PathFacts { unacked: u32::MAX, mss: u32::MAX, ..PathFacts::default() };
        assert_eq!(facts.unacked_bytes(), u64::from(u32::MAX) * u64::from(u32::MAX));
    }
}
