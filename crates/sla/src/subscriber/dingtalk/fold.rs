//! Equal alerts become one, and a recovery is told only after its problem.
//!
//! ```text
//!            first: told                     60 s over, nothing came: forgotten
//!  (none) ─────────────▶ Quiet ──equal──▶ counted ──60 s over──▶ "repeated n times", Quiet again
//! ```

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{Alert, Kind};

/// What was told in the last minute, and which problems are still there.
#[derive(Debug, Default)]
pub(super) struct Fold {
    recent: HashMap<String, Seen>,
    /// Keys of problems that were told and have not recovered, with the place in line for removal.
    problems: HashMap<String, u64>,
    next: u64,
}

#[derive(Debug)]
struct Seen {
    until: Instant,
    repeated: u64,
    text: String,
}

impl Fold {
    /// The words to send for this alert, if it is news.
    pub(super) fn handle_event(&mut self, now: Instant, alert: Alert) -> Option<String> {
        let Alert { key, kind, text } = alert;
        if kind == Kind::Recovery {
            self.problems.remove(&key)?;
            // If it breaks again, that is news.
            let repeated = self.recent.remove(&key).map_or(0, |seen| seen.repeated);
            return Some(match repeated {
                0 => format!("recovered: {text}"),
                n => format!("recovered after {n} repetitions: {text}"),
            });
        }
        self.remember(&key);
        if let Some(seen) = self.recent.get_mut(&key) {
            seen.repeated += 1;
            seen.text = text;
            return None;
        }
        if self.recent.len() < MAX_KEYS {
            self.recent.insert(key, Seen { until: now + MERGE, repeated: 0, text: text.clone() });
        }
        Some(text)
    }

    /// An alert that was repeated, once its minute is over. Ask until there is none.
    pub(super) fn poll_repeated(&mut self, now: Instant) -> Option<String> {
        self.recent.retain(|_, seen| now < seen.until || seen.repeated > 0);
        let seen = self.recent.values_mut().filter(|seen| seen.until <= now).min_by_key(|seen| seen.until)?;
        let repeated = std::mem::take(&mut seen.repeated);
        seen.until = now + MERGE;
        Some(format!("repeated {repeated} times in {} s: {}", MERGE.as_secs(), seen.text))
    }

    pub(super) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let repeated = self.recent.values().filter(|seen| seen.repeated > 0);
        repeated.map(|seen| (seen.until, "repeated alert")).min_by_key(|(at, _)| *at)
    }

    /// Notes an open problem; the oldest makes room.
    fn remember(&mut self, key: &str) {
        if self.problems.len() >= MAX_KEYS && !self.problems.contains_key(key) {
            let oldest = self.problems.iter().min_by_key(|(_, place)| **place).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.problems.remove(&key));
        }
        self.next += 1;
        self.problems.insert(key.to_owned(), self.next);
    }
}

/// Equal alerts within this are one.
const MERGE: Duration = Duration::from_secs(60);
/// Different alerts that are remembered at once.
const MAX_KEYS: usize = 100;
