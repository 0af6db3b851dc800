//! When the next dial may start after one that failed.
//!
//! ```text
//!            dial failed: wait, twice as long each time
//!           ┌──────────────────────────┐
//!  Ready ───┴──▶ Waiting(n) ──failed──▶ Waiting(n + 1), up to the ceiling
//!    ▲                │
//!    └── good dial ───┘   a dial is good at the first byte from the peer
//! ```
//!
//! The wait is drawn evenly between the shortest wait and a ceiling that doubles, so that a thousand clients
//! of one dead server don't come back in step, and so that no client ever dials twice within the shortest wait.

use std::time::{Duration, Instant};

/// The pause between dials to a server that doesn't answer.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    waiting_max: Duration,
    jitter: Jitter,
    state: State,
}

impl Backoff {
    /// A pause of `min` to `max`, of at most `waiting_max` while a request waits; `seed` sets the jitter.
    pub(super) fn new(min: Duration, max: Duration, waiting_max: Duration, seed: u64) -> Self {
        Self {
            min,
            max: max.max(min),
            waiting_max: waiting_max.max(min),
            jitter: Jitter(seed),
            state: State::Ready,
        }
    }

    /// A dial that began at `began` failed. Dials that ran side by side count as one failure.
    pub(super) fn handle_failure(&mut self, now: Instant, began: Instant) {
        let failures = match self.state {
            State::Ready => 1,
            State::Waiting { since, .. } if began < since => return,
            State::Waiting { failures, .. } => failures.saturating_add(1),
        };
        let pause = self.jitter.between(self.min, self.ceiling(failures));
        self.state = State::Waiting { failures, since: now, pause };
    }

    /// A dial proved good.
    pub(super) fn handle_success(&mut self) {
        self.state = State::Ready;
    }

    /// Whether the last dial failed.
    pub(super) fn is_failing(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }

    /// The earliest next dial; `None` is any time. `wanted`: a request waits for it.
    pub(super) fn until(&self, wanted: bool) -> Option<Instant> {
        let State::Waiting { since, pause, .. } = self.state else { return None };
        since.checked_add(if wanted { pause.min(self.waiting_max) } else { pause })
    }

    /// The longest wait after so many failures in a row: `min` x 2, x 4, x 8 ...
    fn ceiling(&self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX);
        self.min.saturating_mul(factor).min(self.max)
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Ready,
    Waiting { failures: u32, since: Instant, pause: Duration },
}

/// SplitMix64: spread, not secrecy.
#[derive(Debug)]
struct Jitter(u64);

impl Jitter {
    fn between(&mut self, low: Duration, high: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        // 1024 steps are fine enough and need no floating point.
        let step = u32::try_from(z & 1023).unwrap_or(0);
        let span = high.saturating_sub(low);
        low.saturating_add(span.checked_div(1023).unwrap_or_default().saturating_mul(step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(250);
    const MAX: Duration = Duration::from_secs(20);
    const WAITING: Duration = Duration::from_secs(1);

    #[test]
    fn pause_stays_between_the_shortest_and_a_doubling_ceiling() {
        for seed in 0..2_000 {
            let mut now = Instant::now();
            let mut backoff = Backoff::new(MIN, MAX, WAITING, seed);
            for failure in 1..40_u32 {
                backoff.handle_failure(now, now);
                let ceiling = MAX.min(MIN.saturating_mul(1 << failure.min(10)));
                let pause = backoff.until(false).unwrap() - now;
                assert!((MIN..=ceiling).contains(&pause), "seed {seed}, failure {failure}: {pause:?}");
                let wanted = backoff.until(true).unwrap() - now;
                assert!((MIN..=WAITING).contains(&wanted), "seed {seed}, failure {failure}: {wanted:?}");
                now += pause;
            }
        }
    }

    #[test]
    fn pauses_of_two_clients_differ() {
        let now = Instant::now();
        let pauses: std::collections::BTreeSet<Duration> = (0..100)
            .map(|seed| {
                let mut backoff = Backoff::new(MIN, MAX, WAITING, seed);
                backoff.handle_failure(now, now);
                backoff.until(false).unwrap() - now
            })
            .collect();
        assert!(pauses.len() > 60, "{} of 100 differ", pauses.len());
    }

    #[test]
    fn dials_that_fail_side_by_side_count_once() {
        let now = Instant::now();
        let mut backoff = Backoff::new(MIN, MAX, WAITING, 7);
        for _ in 0..30 {
            backoff.handle_failure(now + MIN, now);
        }
        assert!(backoff.until(false).unwrap() <= now + MIN + MIN * 2);
    }

    #[test]
    fn good_dial_ends_the_pause() {
        let now = Instant::now();
        let mut backoff = Backoff::new(MIN, MAX, WAITING, 7);
        backoff.handle_failure(now, now);
        backoff.handle_success();
        assert_eq!(backoff.until(false), None);
        assert!(!backoff.is_failing());
    }
}
