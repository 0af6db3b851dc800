//! From the kernel's figures of a connection to what the pool chooses by: queue, bulk, sickness.
//!
//! ```text
//! PathInfo, ten times a second ─┐
//!                               ├─▶ Meter ─▶ Path ─▶ Pool::handle_path
//! bytes moved on the connection ┘
//! ```

use std::time::{Duration, Instant};

use super::Path;
use crate::session::PathInfo;

/// Watches one connection.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Since when bytes are counted, and how many there were.
    counted: Option<(Instant, u64)>,
    bulk: bool,
    /// Since when the peer has acknowledged nothing more, and how much it had.
    acked: Option<(Instant, u64)>,
}

impl Meter {
    /// New figures; `moved` is what the connection has carried in both directions since it began.
    pub(crate) fn handle(&mut self, now: Instant, info: &PathInfo, moved: u64) -> Path {
        self.count(now, moved);
        Path {
            rtt: info.rtt,
            queue_delay: info.rtt.saturating_sub(info.min_rtt),
            bulk: u32::from(self.bulk),
            sick: info.ca_loss || self.stands_still(now, info),
        }
    }

    fn count(&mut self, now: Instant, moved: u64) {
        let Some((since, before)) = self.counted else {
            self.counted = Some((now, moved));
            return;
        };
        let amount = moved.saturating_sub(before);
        if amount >= BULK_BYTES {
            self.bulk = now.saturating_duration_since(since) <= BULK_TIME;
        } else if now.saturating_duration_since(since) < BULK_TIME {
            return;
        } else {
            self.bulk = false;
        }
        self.counted = Some((now, moved));
    }

    fn stands_still(&mut self, now: Instant, info: &PathInfo) -> bool {
        match self.acked {
            Some((since, acked)) if info.unacked > 0 && acked == info.bytes_acked => {
                now.saturating_duration_since(since) >= STILL_MIN.max(info.rtt.saturating_mul(2))
            }
            _ => {
                self.acked = Some((now, info.bytes_acked));
                false
            }
        }
    }
}

/// A connection that carries this much within [`BULK_TIME`] has a bulk stream.
const BULK_BYTES: u64 = 256 * 1024;
const BULK_TIME: Duration = Duration::from_secs(1);
/// Bytes under way without progress for this long (or two round trips) are a bad sign.
const STILL_MIN: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: Duration = Duration::from_millis(100);

    #[test]
    fn fast_mover_is_bulk_until_it_has_been_slow_for_a_second() {
        let mut now = Instant::now();
        let mut meter = Meter::default();
        let info = PathInfo::default();
        let mut moved = 0;
        assert_eq!(meter.handle(now, &info, moved).bulk, 0);
        for _ in 0..5 {
            now += TENTH;
            moved += 100 * 1024;
            meter.handle(now, &info, moved);
        }
        assert_eq!(meter.handle(now, &info, moved).bulk, 1);
        for _ in 0..25 {
            now += TENTH;
            moved += 1024;
            meter.handle(now, &info, moved);
        }
        assert_eq!(meter.handle(now, &info, moved).bulk, 0);
    }

    #[test]
    fn bytes_under_way_without_progress_are_sick() {
        let mut now = Instant::now();
        let mut meter = Meter::default();
        let mut info = PathInfo { unacked: 1, bytes_acked: 9, rtt: TENTH, ..PathInfo::default() };
        for _ in 0..3 {
            assert!(!meter.handle(now, &info, 0).sick);
            now += TENTH;
        }
        assert!(meter.handle(now, &info, 0).sick);
        info.bytes_acked = 10;
        assert!(!meter.handle(now, &info, 0).sick);
    }

    #[test]
    fn queue_is_what_the_path_takes_beyond_its_best() {
        let info = PathInfo { rtt: 3 * TENTH, min_rtt: TENTH, ..PathInfo::default() };
        assert_eq!(Meter::default().handle(Instant::now(), &info, 0).queue_delay, 2 * TENTH);
    }
}
