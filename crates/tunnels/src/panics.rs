//! Panics of this process: each ends the task it happened in and what that held, and is told by who owns the task; three
//! within a minute are no accident, and end the process in good order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The panics so far.
#[derive(Debug, Default)]
pub(crate) struct Panics {
    recent: Mutex<Recent>,
    enough: Notify,
}

impl Panics {
    /// Counts every panic of this process from now on, in whatever thread.
    pub(crate) fn watch() -> Arc<Self> {
        let panics = Arc::<Self>::default();
        let counting = panics.clone();
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            before(info);
            counting.note(Instant::now());
        }));
        panics
    }

    /// Waits until there were too many. Cancel safe.
    pub(crate) async fn enough(&self) {
        loop {
            let changed = self.enough.notified();
            if self.are_enough() {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn are_enough(&self) -> bool {
        self.recent.lock().enough
    }

    fn note(&self, now: Instant) {
        self.recent.lock().note(now);
        self.enough.notify_waiters();
    }
}

/// When the last ones were.
#[derive(Debug, Default)]
struct Recent {
    times: VecDeque<Instant>,
    enough: bool,
}

impl Recent {
    fn note(&mut self, now: Instant) {
        self.times.push_back(now);
        while self.times.front().is_some_and(|&first| now.saturating_duration_since(first) > WITHIN) {
            self.times.pop_front();
        }
        self.enough |= self.times.len() >= MOST;
    }
}

/// So many ...
const MOST: usize = 3;
/// ... within this time end the process.
const WITHIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn enough(seconds: &[u64]) -> bool {
        let (start, mut recent) = (Instant::now(), Recent::default());
        seconds.iter().for_each(|&at| recent.note(start + Duration::from_secs(at)));
        assert!(recent.times.len() <= MOST + 1);
        recent.enough
    }

    #[test]
    fn three_panics_within_a_minute_are_enough_and_fewer_or_slower_ones_are_not() {
        assert!(!enough(&[0, 1]));
        assert!(enough(&[0, 30, 60]));
        assert!(!enough(&[0, 30, 61, 100, 122]));
        assert!(enough(&[0, 61, 70, 80, 500]), "and it stays so");
    }
}
