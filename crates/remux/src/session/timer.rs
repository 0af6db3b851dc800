//! The deadlines of a connection; each has its reason.
//!
//! | reason | when | what |
//! |---|---|---|
//! | `memory` | at once, when the budget has chosen this connection as the heaviest | closed |
//! | `settings` | 5 s after the start without the peer's SETTINGS | closed |
//! | `write stall` | 30 s with bytes to write and none written | closed |
//! | `ping`, `answer to ping`, `path`, `acknowledgement` | see `liveness` | asked, suspect, dead |
//! | `drain` | the limit given to `drain` | streams reset with DRAIN |
//! | `idle` | 60 s without streams, server only | closed |
//! | `sweep` | a stream's own deadline: unread for 120 s, let go of and less than a quarter of a queue taken in 300 s, classic queue full for 10 s, classic request for 10 s | that stream ends |

use std::time::{Duration, Instant};

use framing::remux2::Code;

use super::event::Event;
use super::liveness::{Deadline, Suspicion, later};
use super::{Phase, Session};
use crate::budget::Stage;
use crate::config::{Role, Wire};
use crate::error::ConnectionError;

impl Session {
    /// When to call [`Session::handle_timeout`], and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        if self.closed().is_some() {
            return None;
        }
        let drain = match self.phase {
            Phase::Draining { deadline } => deadline.map(|at| (at, "drain")),
            Phase::Open | Phase::Closed(_) => None,
        };
        let deadlines = [
            self.memory_deadline(),
            self.settings_deadline(),
            self.stall_deadline(),
            self.ping_deadline(),
            drain,
            self.idle_deadline(),
            self.sweep_deadline(),
        ];
        deadlines.into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    /// The time of [`Session::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.closed().is_some() {
            return;
        }
        if self.check_memory(now).is_err() {
            return;
        }
        let has_come = |deadline: Option<Deadline>| deadline.is_some_and(|(at, _)| at <= now);
        if has_come(self.settings_deadline()) {
            return self.close(now, ConnectionError::NoSettings { limit: self.config.liveness.settings });
        }
        if has_come(self.stall_deadline()) {
            return self.close(now, ConnectionError::Stalled { limit: self.config.liveness.stall });
        }
        if has_come(self.idle_deadline()) {
            return self.close(now, ConnectionError::Idle);
        }
        if has_come(self.ping_deadline()) {
            let (reason, pings, round_trip) =
                (self.has_reason(), self.wire == Wire::Remux2, self.round_trip());
            match self.liveness.handle_timeout(now, reason, pings, round_trip) {
                Some(Suspicion::Raised) => self.events.push_back(Event::Suspect),
                Some(Suspicion::Dead { silence }) => {
                    return self.close(now, ConnectionError::Dead { silence });
                }
                None => {}
            }
        }
        if has_come(self.sweep_deadline()) {
            self.sweep(now);
        }
        if let Phase::Draining { deadline: Some(deadline) } = self.phase
            && deadline <= now
        {
            self.phase = Phase::Draining { deadline: None };
            if self.is_classic() && self.counts.running > 0 {
                return self.stop_classic(now);
            }
            let text = format!(
                "{} the flow was still open when the program that carried it had to end → raise drain.max.sec if flows need \
                 longer to finish",
                sla::code::LIMIT_DRAIN
            );
            for key in self.table.keys() {
                self.abort_stream(now, key, Code::DRAIN, &text);
            }
            self.check_drained(now);
        }
    }

    /// Looks at all streams no later than `at`.
    pub(super) fn sweep_by(&mut self, at: Instant) {
        self.sweep_at = Some(self.sweep_at.map_or(at, |old| old.min(at)));
    }

    fn sweep(&mut self, now: Instant) {
        self.sweep_at = None;
        for key in self.table.keys() {
            self.sweep_lingering(now, key);
            match self.wire {
                Wire::Remux2 => self.sweep_unread(now, key),
                Wire::Classic => self.sweep_classic(now, key),
            }
        }
        self.check_drained(now);
    }

    /// A stream that was let go of is ended when its peer takes next to none of its last bytes.
    fn sweep_lingering(&mut self, now: Instant, key: super::Key) {
        let limit = self.config.limits.linger;
        let enough = (self.config.sending.queue / 4).max(1) as u64;
        let Some(stream) = self.table.get_mut(key).filter(|stream| !stream.ended) else { return };
        let sent = stream.send.credit.sent();
        let Some((before, since)) = stream.lingers else { return };
        // A byte now and then would hold the rest for ever.
        let since = if sent.saturating_sub(before) >= enough {
            stream.lingers = Some((sent, now));
            now
        } else {
            since
        };
        let deadline = later(since, limit);
        if now < deadline {
            self.sweep_by(deadline);
        } else {
            self.abort_stream(now, key, Code::LIMIT, "the last bytes were not taken");
        }
    }

    /// A stream that nobody reads is ended when the process needs its memory.
    fn sweep_unread(&mut self, now: Instant, key: super::Key) {
        let Some(since) = self.table.get(key).and_then(|stream| stream.recv.credit.full_since()) else {
            return;
        };
        if self.table.get(key).is_some_and(|stream| stream.ended) {
            return;
        }
        let deadline = later(since, self.config.limits.unread);
        if now < deadline {
            self.sweep_by(deadline);
        } else if self.ledger.stage() >= Stage::NoGrowth {
            self.abort_stream(now, key, Code::LIMIT, "nobody read the stream");
        } else {
            self.sweep_by(later(now, AGAIN));
        }
    }

    /// Ends the connection if it was chosen to free memory.
    pub(super) fn check_memory(&mut self, now: Instant) -> Result<(), ConnectionError> {
        let Some(bytes) = self.ledger.doomed() else { return Ok(()) };
        let cause = ConnectionError::Memory { bytes };
        self.close(now, cause.clone());
        Err(cause)
    }

    fn memory_deadline(&self) -> Option<Deadline> {
        self.ledger.doomed().map(|_| (self.start, "memory"))
    }

    fn settings_deadline(&self) -> Option<Deadline> {
        let waits = self.wire == Wire::Remux2 && !self.peer.settings;
        waits.then(|| (later(self.start, self.config.liveness.settings), "settings"))
    }

    fn stall_deadline(&self) -> Option<Deadline> {
        let waits = self.writing.outstanding > 0;
        waits.then(|| (later(self.writing.progress, self.config.liveness.stall), "write stall"))
    }

    fn ping_deadline(&self) -> Option<Deadline> {
        self.liveness.poll_timeout(
            self.has_reason(),
            self.wire == Wire::Remux2,
            self.round_trip(),
            self.path.is_some(),
        )
    }

    fn idle_deadline(&self) -> Option<Deadline> {
        let since = self.idle_since.filter(|_| self.role == Role::Server)?;
        Some((later(since, self.config.server_idle), "idle"))
    }

    fn sweep_deadline(&self) -> Option<Deadline> {
        self.sweep_at.map(|at| (at, "sweep"))
    }

    /// Whether there is anything to lose when the peer is gone.
    fn has_reason(&self) -> bool {
        self.counts.running > 0
            || self.writing.outstanding > 0
            || self.path.is_some_and(|path| path.unacked > 0)
    }
}

/// An unread stream is looked at again after this, as long as memory is no problem.
const AGAIN: Duration = Duration::from_secs(10);
