//! What a peer may do, and how much of it.
//!
//! ```text
//!  Bucket: burst ──take──▶ … ──take──▶ 0 ──take──▶ over      one comes back per `every`, never more than burst
//! ```
//!
//! Each method is told that something happened and answers with [`ConnectionError::Calm`] when that was too much.

use std::time::{Duration, Instant};

use crate::config::{LimitConfig, Rate};
use crate::error::ConnectionError;

/// The counters of one connection.
#[derive(Debug)]
pub(super) struct Limits {
    opens: Bucket,
    resets: Bucket,
    tiny: Bucket,
    pings: Bucket,
    settings: Bucket,
    credits: Bucket,
    strays: Bucket,
    refusals: u32,
    refusals_most: u32,
    refusals_since: Instant,
    padding: u64,
    padding_most: u64,
    data: u64,
}

impl Limits {
    pub(super) fn new(config: &LimitConfig, now: Instant) -> Self {
        let bucket = |rate| Bucket::new(rate, now);
        Self {
            opens: bucket(config.opens),
            resets: bucket(config.resets),
            tiny: bucket(config.tiny),
            pings: bucket(config.pings),
            settings: bucket(config.settings),
            credits: bucket(config.credits),
            strays: bucket(config.strays),
            refusals: 0,
            refusals_most: config.refusals,
            refusals_since: now,
            padding: 0,
            padding_most: config.padding,
            data: 0,
        }
    }

    /// Whether one more stream may be opened now; if not it is to be refused.
    pub(super) fn allows_open(&mut self, now: Instant) -> bool {
        self.opens.take(now)
    }

    /// A stream was refused.
    pub(super) fn refusal(&mut self, now: Instant) -> Result<(), ConnectionError> {
        if now.saturating_duration_since(self.refusals_since) >= REFUSALS_IN {
            self.refusals_since = now;
            self.refusals = 0;
        }
        self.refusals = self.refusals.saturating_add(1);
        calm("refusals", self.refusals <= self.refusals_most)
    }

    /// The peer reset a stream it had opened, or made us reset one.
    pub(super) fn reset(&mut self, now: Instant) -> Result<(), ConnectionError> {
        calm("resets", self.resets.take(now))
    }

    /// A DATA frame of `n` bytes came; `behind`: its stream holds unread bytes already.
    pub(super) fn data(&mut self, n: u64, behind: bool, now: Instant) -> Result<(), ConnectionError> {
        self.data = self.data.saturating_add(n);
        if n >= TINY {
            self.tiny.give();
            return Ok(());
        }
        // Bytes that are read as they come are what a stream is for; none at all are only work.
        if n > 0 && !behind { Ok(()) } else { self.late(now) }
    }

    /// A frame came that moves no byte and that an honest peer may send as well: it is cheap, and there may be many.
    pub(super) fn late(&mut self, now: Instant) -> Result<(), ConnectionError> {
        calm("tiny", self.tiny.take(now))
    }

    /// A PING came.
    pub(super) fn ping(&mut self, now: Instant) -> Result<(), ConnectionError> {
        calm("pings", self.pings.take(now))
    }

    /// SETTINGS came.
    pub(super) fn settings(&mut self, now: Instant) -> Result<(), ConnectionError> {
        calm("settings", self.settings.take(now))
    }

    /// A CREDIT came that changes next to nothing.
    pub(super) fn idle_credit(&mut self, now: Instant) -> Result<(), ConnectionError> {
        calm("credits", self.credits.take(now))
    }

    /// A frame came that serves nothing.
    pub(super) fn stray(&mut self, now: Instant) -> Result<(), ConnectionError> {
        calm("strays", self.strays.take(now))
    }

    /// `n` bytes came that are dropped unread.
    pub(super) fn padding(&mut self, n: u64) -> Result<(), ConnectionError> {
        self.padding = self.padding.saturating_add(n);
        calm("padding", self.padding <= (self.data / 4).saturating_add(self.padding_most))
    }
}

/// A rate with a burst, in whole nanoseconds.
#[derive(Debug)]
pub(super) struct Bucket {
    every: u64,
    most: u64,
    /// Nanoseconds' worth of tokens.
    level: u64,
    last: Instant,
}

impl Bucket {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        let every = nanos(rate.every).max(1);
        let most = every.saturating_mul(rate.burst.into());
        Self { every, most, level: most, last: now }
    }

    /// Takes one; false when there is none.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let level = self.level.saturating_add(nanos(now.saturating_duration_since(self.last))).min(self.most);
        self.last = self.last.max(now);
        let left = level.checked_sub(self.every);
        self.level = left.unwrap_or(level);
        left.is_some()
    }

    /// Gives one back.
    pub(super) fn give(&mut self) {
        self.level = self.level.saturating_add(self.every).min(self.most);
    }
}

fn calm(limit: &'static str, kept: bool) -> Result<(), ConnectionError> {
    if kept { Ok(()) } else { Err(ConnectionError::Calm { limit }) }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// DATA below this is tiny.
const TINY: u64 = 256;
/// The time in which refusals are counted.
const REFUSALS_IN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_gives_its_burst_then_its_rate_and_never_saves_more_than_the_burst() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate::per_second(3, 10), start);
        let taken = |bucket: &mut Bucket, at: Instant| (0..100).take_while(|_| bucket.take(at)).count();
        assert_eq!(taken(&mut bucket, start), 3);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(99)), 0);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(100)), 1);
        assert_eq!(taken(&mut bucket, start + Duration::from_hours(10 * 365 * 24)), 3);
    }

    #[test]
    fn bucket_stands_still_when_the_clock_goes_backward() {
        let start = Instant::now() + Duration::from_secs(10);
        let mut bucket = Bucket::new(Rate::per_second(1, 1), start);
        assert!(bucket.take(start));
        assert!(!bucket.take(start - Duration::from_secs(5)));
        assert!(!bucket.take(start + Duration::from_millis(900)), "time that passed twice counts once");
        assert!(bucket.take(start + Duration::from_millis(1000)));
    }

    #[test]
    fn rate_of_nought_gives_its_burst_only() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate::per_second(1, 0), start);
        assert!(bucket.take(start));
        assert!(!bucket.take(start + Duration::from_hours(24)));
    }

    #[test]
    fn a_quarter_of_the_data_may_be_padding() {
        let now = Instant::now();
        let mut limits = Limits::new(&LimitConfig { padding: 100, ..LimitConfig::default() }, now);
        limits.data(4000, false, now).unwrap();
        assert!(limits.padding(1100).is_ok());
        assert_eq!(limits.padding(1), Err(ConnectionError::Calm { limit: "padding" }));
    }
}
