//! Identical warnings and errors become one line and a count.
//!
//! ```text
//!            first: written at once             60 s over, none came: forgotten
//!  (none) ─────────────────────────▶ Quiet ──identical──▶ counted ──60 s over──▶ "repeated n times in 60 s", Quiet again
//! ```
//!
//! Identical are records of one event whose words are the same; numbers don't count, nor does the port that a peer happened to
//! have. What an operator caused (reloads, settings) and what counts lost lines is never folded, nor is anything below a
//! warning.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::time::{Duration, Instant};

use super::config::Level;
use super::record::{Record, Repeated, Value};

/// The messages of the last minute.
#[derive(Debug, Default)]
pub(super) struct Fold {
    seen: HashMap<u64, Seen>,
    keys: RandomState,
}

#[derive(Debug)]
struct Seen {
    since: Instant,
    repeated: u64,
    /// The last one that was not written.
    last: Option<Box<Record>>,
}

impl Fold {
    /// Whether this record is to be written; else it is counted.
    pub(super) fn handle_record(&mut self, now: Instant, record: &Record) -> bool {
        if !is_foldable(record) {
            return true;
        }
        let key = self.key(record);
        if let Some(seen) = self.seen.get_mut(&key) {
            if seen.repeated == 0 && seen.is_over(now) {
                seen.since = now;
                return true;
            }
            // A line may stand for others that were held back before it.
            seen.repeated = seen.repeated.saturating_add(1).saturating_add(record.held_back());
            seen.last = Some(Box::new(record.clone()));
            return false;
        }
        if self.seen.len() >= MAX_MESSAGES {
            self.seen.retain(|_, seen| seen.repeated > 0 || !seen.is_over(now));
        }
        // Without room it is written each time, and never lost.
        if self.seen.len() < MAX_MESSAGES {
            self.seen.insert(key, Seen { since: now, repeated: 0, last: None });
        }
        true
    }

    /// A message that was repeated, once its minute is over. Ask until there is none.
    pub(super) fn poll_repeated(&mut self, now: Instant) -> Option<Record> {
        self.seen.retain(|_, seen| seen.repeated > 0 || !seen.is_over(now));
        let seen = self.seen.values_mut().filter(|seen| seen.is_over(now)).min_by_key(|seen| seen.since)?;
        seen.tell(now)
    }

    /// The same for one whose minute is not over: nothing comes after this.
    pub(super) fn poll_rest(&mut self, now: Instant) -> Option<Record> {
        self.seen.values_mut().filter(|seen| seen.repeated > 0).min_by_key(|seen| seen.since)?.tell(now)
    }

    /// When [`poll_repeated`](Self::poll_repeated) has to be asked.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.seen.values().map(|seen| seen.since + WINDOW).min()
    }

    fn key(&self, record: &Record) -> u64 {
        let mut hasher = self.keys.build_hasher();
        (record.event, record.level, record.area, &record.message).hash(&mut hasher);
        let peer = record.fields.iter().find_map(|(name, value)| match value {
            Value::Text(text) if PEERS.contains(name) => Some((text.as_str(), host(text))),
            _ => None,
        });
        for (name, value) in &record.fields {
            let Value::Text(text) = value else { continue };
            name.hash(&mut hasher);
            match peer {
                Some((address, host)) => text.replace(address, host).hash(&mut hasher),
                None => text.hash(&mut hasher),
            }
        }
        hasher.finish()
    }
}

impl Seen {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= WINDOW
    }

    fn tell(&mut self, now: Instant) -> Option<Record> {
        let span = now.saturating_duration_since(self.since);
        let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
        let repeated = Repeated { times: std::mem::take(&mut self.repeated), seconds: seconds.max(1) };
        self.since = now;
        Some(Record { repeated: Some(repeated), ..*self.last.take()? })
    }
}

fn is_foldable(record: &Record) -> bool {
    matches!(record.level, Level::Warn | Level::Error) && !OPERATORS.contains(&record.area)
}

/// An address without its port, a Unix peer without its process.
fn host(address: &str) -> &str {
    address.rsplit_once([':', '=']).map_or(address, |(host, _)| host)
}

/// Fields with a peer's own address.
const PEERS: [&str; 2] = ["remote", "source"];
/// Areas whose messages are the answer to something that somebody did, or counts.
const OPERATORS: [&str; 3] = ["main", "conf", "logs"];
/// Identical messages within this are one.
const WINDOW: Duration = Duration::from_secs(60);
/// Messages that are remembered at once; with their words some 3 KiB each at most.
const MAX_MESSAGES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(remote: &str, attempt: i128) -> Record {
        Record {
            at: 0,
            level: Level::Warn,
            area: "conn",
            event: "handshake_failed",
            message: "handshake failed".to_owned(),
            fields: vec![
                ("remote", Value::Text(remote.to_owned())),
                ("cause", Value::Text(format!("TLS-142 client {remote} does not speak TLS"))),
                ("attempt", Value::Number(attempt)),
            ],
            repeated: None,
        }
    }

    #[test]
    fn first_is_written_at_once_and_the_others_are_one_line_after_a_minute() {
        let (mut fold, start) = (Fold::default(), Instant::now());
        assert!(fold.handle_record(start, &record("192.0.2.1:1000", 1)));
        for n in 0..212 {
            let at = start + Duration::from_millis(n * 100);
            assert!(!fold.handle_record(at, &record(&format!("192.0.2.1:{}", 2000 + n), n.into())));
        }
        let due = fold.poll_timeout().expect("a time");
        assert_eq!(due, start + WINDOW);
        assert!(fold.poll_repeated(due - Duration::from_millis(1)).is_none());
        let told = fold.poll_repeated(due).expect("a line");
        assert_eq!(told.repeated, Some(Repeated { times: 212, seconds: 60 }));
        assert_eq!(told.value("remote"), Some(&Value::Text("192.0.2.1:2211".to_owned())), "the last one's");
        assert!(fold.poll_repeated(due).is_none());
        // Nothing came in the next minute: forgotten, and told at once when it comes again.
        assert!(fold.poll_repeated(due + WINDOW).is_none());
        assert_eq!(fold.poll_timeout(), None);
        assert!(fold.handle_record(due + WINDOW, &record("192.0.2.1:1", 1)));
    }

    #[test]
    fn another_host_another_cause_and_a_lower_level_are_other_messages() {
        let (mut fold, now) = (Fold::default(), Instant::now());
        assert!(fold.handle_record(now, &record("192.0.2.1:1000", 1)));
        assert!(fold.handle_record(now, &record("192.0.2.2:1000", 1)));
        let other = Record { fields: vec![("cause", Value::Text("another".to_owned()))], ..record("", 0) };
        assert!(fold.handle_record(now, &other));
        let info = Record { level: Level::Info, ..record("192.0.2.1:1000", 1) };
        let reload = Record { area: "main", ..record("192.0.2.1:1000", 1) };
        assert!((0..3).all(|_| fold.handle_record(now, &info) && fold.handle_record(now, &reload)));
    }

    #[test]
    fn lines_that_were_held_back_before_a_folded_one_are_counted_with_it() {
        let (mut fold, now) = (Fold::default(), Instant::now());
        fold.handle_record(now, &record("192.0.2.1:1", 1));
        let mut flood = record("192.0.2.1:1", 2);
        flood.fields.push(("held_back", Value::Number(40)));
        assert!(!fold.handle_record(now, &flood));
        let told = fold.poll_rest(now).and_then(|record| record.repeated);
        assert_eq!(told, Some(Repeated { times: 41, seconds: 1 }));
        assert!(fold.poll_rest(now).is_none());
    }

    #[test]
    fn endless_different_messages_take_bounded_memory_and_are_all_written() {
        let (mut fold, now) = (Fold::default(), Instant::now());
        for n in 0..MAX_MESSAGES + 100 {
            assert!(fold.handle_record(now, &record(&format!("host-{n}:1"), 1)));
        }
        assert_eq!(fold.seen.len(), MAX_MESSAGES);
        let late = record("host-300:1", 1);
        assert!(
            fold.handle_record(now, &late) && fold.handle_record(now, &late),
            "no room: written each time"
        );
        assert!(fold.handle_record(now + WINDOW, &late));
        assert!(!fold.handle_record(now + WINDOW, &late), "the old ones have made room");
    }
}
