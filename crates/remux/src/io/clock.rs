//! The clock of the `io` half, and whether the machine slept.

use std::time::{Duration, Instant};

/// Now; tokio's clock, so that tests can stop it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The configured seed, or one by chance where none is.
pub(crate) fn seed_or_chance(seed: u64) -> u64 {
    if seed == 0 { rand::random() } else { seed }
}

/// Notices that the machine was suspended: `CLOCK_BOOTTIME` goes on meanwhile, `CLOCK_MONOTONIC` (and all timers) stand still.
#[derive(Debug)]
pub(crate) struct Wakefulness {
    looked: Instant,
    slept: Option<Duration>,
}

impl Wakefulness {
    pub(crate) fn new(now: Instant) -> Self {
        Self { looked: now, slept: slept_since_boot() }
    }

    /// Whether the machine slept for more than [`GAP`] since the last look; looks once a second at most.
    pub(crate) fn has_slept(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.looked) < LOOK_EVERY {
            return false;
        }
        self.looked = now;
        self.compare(slept_since_boot())
    }

    fn compare(&mut self, slept: Option<Duration>) -> bool {
        let before = std::mem::replace(&mut self.slept, slept);
        matches!((before, slept), (Some(before), Some(after)) if after.saturating_sub(before) > GAP)
    }
}

#[cfg(target_os = "linux")]
fn slept_since_boot() -> Option<Duration> {
    use nix::time::{ClockId, clock_gettime};
    let boot = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    let awake = clock_gettime(ClockId::CLOCK_MONOTONIC).ok()?;
    Duration::from(boot).checked_sub(Duration::from(awake))
}

#[cfg(not(target_os = "linux"))]
fn slept_since_boot() -> Option<Duration> {
    None
}

/// A shorter sleep does no connection any harm.
const GAP: Duration = Duration::from_secs(2);
/// Two looks cost a hundred nanoseconds; once a second they cost nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_that_stayed_awake_has_not_slept() {
        let start = Instant::now();
        let mut clock = Wakefulness::new(start);
        assert!(!clock.has_slept(start + Duration::from_secs(60)));
    }

    #[test]
    fn gap_between_the_clocks_is_a_sleep_once() {
        let mut clock = Wakefulness { looked: Instant::now(), slept: Some(Duration::from_secs(100)) };
        assert!(!clock.compare(Some(Duration::from_secs(101))));
        assert!(clock.compare(Some(Duration::from_secs(104))));
        assert!(!clock.compare(Some(Duration::from_secs(104))));
        assert!(!clock.compare(None));
    }
}
