//! Lines that strangers can cause are bounded: a flood of connections must not become a flood of lines.
//!
//! ```text
//! event ──▶ a token left? ── yes ──▶ the line, and how many like it were held back before it
//!                └───────── no ───▶ counted                  one token comes back per `every`
//! ```

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The lines of one kind of event.
#[derive(Debug)]
pub(super) struct Quota {
    burst: u32,
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    left: u32,
    /// When the last token came back; `None` before the first line.
    at: Option<Instant>,
    held_back: u64,
}

impl Quota {
    /// `burst` lines at once, then one per `every`.
    pub(super) const fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, state: Mutex::new(State { left: burst, at: None, held_back: 0 }) }
    }

    /// Whether a line may be written at `now`, and how many were held back since the last one.
    pub(super) fn take(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *state.at.get_or_insert(now);
        let earned = now.saturating_duration_since(since).as_nanos() / self.every.as_nanos().max(1);
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if earned > 0 {
            state.left = state.left.saturating_add(earned).min(self.burst);
            state.at = Some(since.checked_add(self.every.saturating_mul(earned)).unwrap_or(now));
        }
        match state.left.checked_sub(1) {
            Some(left) => {
                state.left = left;
                Some(std::mem::take(&mut state.held_back))
            }
            None => {
                state.held_back = state.held_back.saturating_add(1);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_is_written_and_the_rest_is_counted_in_the_next_line() {
        let (quota, start) = (Quota::new(3, Duration::from_secs(1)), Instant::now());
        let lines = |at| (0..100).filter_map(|_| quota.take(at)).collect::<Vec<_>>();
        assert_eq!(lines(start), [0, 0, 0]);
        assert!(lines(start + Duration::from_millis(999)).is_empty());
        assert_eq!(lines(start + Duration::from_secs(1)), [197]);
        assert_eq!(lines(start + Duration::from_secs(100)), [99, 0, 0], "no more than the burst is saved");
    }

    #[test]
    fn time_that_is_left_over_counts_for_the_next_line() {
        let (quota, start) = (Quota::new(1, Duration::from_secs(1)), Instant::now());
        let mut lines = 0;
        for step in 0..=100 {
            lines += u32::from(quota.take(start + Duration::from_millis(100) * step).is_some());
        }
        assert_eq!(lines, 11, "one at once and one a second");
    }
}
