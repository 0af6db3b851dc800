//! What the kernel knows about the path, and how much unsent data it should hold.

use std::time::Duration;

/// What the kernel knows about the path (TCP_INFO), in bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PathInfo {
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Lowest round-trip time seen lately.
    pub min_rtt: Duration,
    /// Bytes delivered per second.
    pub delivery_rate: u64,
    /// Congestion window.
    pub cwnd: u64,
    /// Sent and not yet acknowledged.
    pub unacked: u64,
    /// Acknowledged since the start.
    pub bytes_acked: u64,
    /// Handed to the kernel and not yet sent.
    pub notsent: u64,
    /// The sender is repairing a loss after a time-out (`TCP_CA_Loss`).
    pub ca_loss: bool,
}

impl PathInfo {
    /// The round-trip time to reckon with: at least 1 ms.
    pub(super) fn round_trip(&self) -> Duration {
        self.rtt.max(LEAST)
    }

    /// How much the kernel should hold unsent: 2 ms' worth, so that a frame which has become urgent has little before
    /// it; one record while the path is young and long.
    pub(super) fn transmit_limit(&self) -> usize {
        if self.cwnd <= YOUNG && self.rtt >= LONG {
            return LOWEST;
        }
        let bytes = self.delivery_rate.saturating_mul(2) / 1000;
        usize::try_from(bytes).unwrap_or(HIGHEST).clamp(LOWEST, HIGHEST)
    }
}

/// The round-trip time when nobody knows it.
pub(super) const ASSUMED_ROUND_TRIP: Duration = Duration::from_millis(100);
/// The limit when nothing is known about the path.
pub(super) const ASSUMED_LIMIT: usize = 128 << 10;

const LEAST: Duration = Duration::from_millis(1);
const LOWEST: usize = 16 << 10;
const HIGHEST: usize = 256 << 10;
const YOUNG: u64 = 64 << 10;
const LONG: Duration = Duration::from_millis(50);
