//! How a driver ends: its streams first, then its transport, in good order as far as the peer takes part.
//!
//! ```text
//!  Running ──session closed──▶ Flush ──▶ Shutdown ──▶ Linger ──▶ gone        (within 2 s, or its patience
//!     ├── peer closed ───────────────────────▲                     ▲            with what streams are owed)
//!     └── transport failed, peer dead ─────────────────────────────┘   dropped or panicked: at once
//! ```
//! However it ends, every stream that has not ended fails as truncated.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use sla::event;

use super::{ConnEvent, Driver, Phase, READ_SMALL, wide};
use crate::error::ConnectionError;
use crate::io::clock::now;

impl Driver {
    /// Leaves the running phase: every stream ends now, the transport by and by.
    pub(super) fn close(&mut self, end: End) {
        let (closing, cause) = match end {
            End::Now(cause) => (Closing::Done, cause),
            End::PeerClosed => (Closing::Shutdown, ConnectionError::Closed),
            End::Orderly(cause) => (Closing::Flush, cause),
        };
        let cause = self.end_streams(cause);
        let patience = Patience::new(now(), cause == ConnectionError::Drained && self.owes());
        self.arm(patience.deadline(now()));
        self.phase = Phase::Closing(closing, patience, cause);
    }

    /// Whether the peer has still to take bytes of streams. Our goodbye is not with the kernel yet, so what the kernel holds
    /// is theirs; where nobody knows what it holds, it may be.
    fn owes(&self) -> bool {
        let path = self.probe.as_ref().and_then(|probe| probe.path());
        self.shared.lock().session.holds_streams()
            || path.is_none_or(|path| path.unacked > 0 || path.notsent > 0)
    }

    /// Ends the transport in good order as far as the peer takes part, within its [`Patience`].
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        while let Phase::Closing(closing, patience, _) = &mut self.phase {
            let patience = *patience;
            *closing = match closing {
                Closing::Flush => {
                    let before = self.batch.len();
                    let written = self.records.poll_write(cx, &mut self.batch);
                    let moved = before.saturating_sub(self.batch.len());
                    self.bytes_out = self.bytes_out.saturating_add(wide(moved));
                    if moved > 0 {
                        let now = now();
                        self.armed = Some(patience.deadline(now));
                        self.timer.as_mut().reset(patience.deadline(now).into());
                        // A timer that was reset wakes only who polls it again.
                        if self.timer.as_mut().poll(cx).is_ready() {
                            return Poll::Ready(());
                        }
                    }
                    match ready!(written) {
                        Ok(()) => {
                            self.shared.lock().session.poll_transmit(now(), &mut self.batch);
                            if self.batch.is_empty() { Closing::Shutdown } else { Closing::Flush }
                        }
                        Err(_) => Closing::Done,
                    }
                }
                Closing::Shutdown => match ready!(self.records.poll_shutdown(cx)) {
                    Ok(()) => Closing::Linger(0),
                    Err(_) => Closing::Done,
                },
                Closing::Linger(lingered) => {
                    self.slab.clear();
                    self.slab.reserve(READ_SMALL);
                    match ready!(self.records.poll_read(cx, &mut self.slab)) {
                        Ok(count) if count > 0 && *lingered < LINGER_BYTES => {
                            Closing::Linger(lingered.saturating_add(count))
                        }
                        _ => Closing::Done,
                    }
                }
                Closing::Done => return Poll::Ready(()),
            };
        }
        Poll::Ready(())
    }

    /// The last word on why it ended, for the log as well.
    pub(super) fn finish(&mut self) -> ConnectionError {
        let cause = match std::mem::replace(&mut self.phase, Phase::Gone) {
            Phase::Closing(_, _, cause) => cause,
            Phase::Running | Phase::Gone => ConnectionError::Aborted(DROPPED.into()),
        };
        self.log_end(&cause);
        cause
    }

    /// Tells every stream that the connection is over, and says why in the session's own words.
    fn end_streams(&mut self, cause: ConnectionError) -> ConnectionError {
        self.shared.lock().end(now(), &cause, &mut self.effects);
        let verdict = match self.apply() {
            Err(End::Now(verdict) | End::Orderly(verdict)) => verdict,
            Ok(()) | Err(End::PeerClosed) => cause,
        };
        self.tell_verdict(&verdict);
        self.shared.tell_end(verdict.clone());
        self.tell(ConnEvent::Closed { cause: verdict.clone() });
        verdict
    }

    fn log_end(&mut self, cause: &ConnectionError) {
        let Some(conn) = self.conn.take() else { return };
        let stats = self.shared.lock().session.stats();
        let text = cause.to_string();
        if cause.is_cut() {
            let facts = &self.shared.facts;
            event::conn_cut(self.shared.id, self.role, &facts.remote, facts.identity.as_deref(), &text);
        }
        conn.close(
            &text,
            &event::ConnEnd {
                streams: stats.opened.saturating_add(stats.accepted),
                bytes_in: self.bytes_in,
                bytes_out: self.bytes_out,
                duration: now().saturating_duration_since(self.start),
            },
        );
    }
}

/// Dropped before its end: by its owner, or by a panic, after which the session can't be trusted.
impl Drop for Driver {
    fn drop(&mut self) {
        match &self.phase {
            Phase::Gone => {}
            Phase::Closing(_, _, cause) => {
                let cause = cause.clone();
                self.log_end(&cause);
            }
            Phase::Running => {
                let dropped = if std::thread::panicking() { PANICKED } else { DROPPED };
                let cause = ConnectionError::Aborted(dropped.into());
                if std::thread::panicking() {
                    self.shared.lock().lose(cause.clone());
                }
                let cause = self.end_streams(cause);
                self.log_end(&cause);
            }
        }
    }
}

/// Why the running phase ends.
pub(super) enum End {
    /// There is nobody to say anything to.
    Now(ConnectionError),
    /// The peer is there, and is told.
    Orderly(ConnectionError),
    /// The peer has closed its direction; it is given ours.
    PeerClosed,
}

/// The session's own verdict.
impl From<ConnectionError> for End {
    fn from(cause: ConnectionError) -> Self {
        if cause.is_lost() { Self::Now(cause) } else { Self::Orderly(cause) }
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        match ConnectionError::from(error) {
            ConnectionError::Closed => Self::PeerClosed,
            cause => Self::Now(cause),
        }
    }
}

/// How far an orderly end has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Closing {
    /// What the session still has to say is written.
    Flush,
    Shutdown,
    /// Reads up to the peer's end: unread bytes would make the kernel throw away our last words. So many were read.
    Linger(usize),
    Done,
}

/// How long an orderly end may take. The last bytes of streams that ended well are owed to the peer, however slow the path:
/// as long as it takes some there is more time, up to a limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    without_progress: Duration,
    end: Instant,
}

impl Patience {
    fn new(now: Instant, owed: bool) -> Self {
        let (without_progress, total) = if owed { (OWED_STALL, OWED_MAX) } else { (CLOSE_MAX, CLOSE_MAX) };
        Self { without_progress, end: now.checked_add(total).unwrap_or(now) }
    }

    fn deadline(&self, now: Instant) -> Instant {
        now.checked_add(self.without_progress).unwrap_or(now).min(self.end)
    }
}

/// Why a driver that panicked ended.
const PANICKED: &str = "its task panicked";
/// Why a driver that is dropped before its end ended.
const DROPPED: &str = "its task was dropped";
/// How long an orderly end may take when nothing is owed to the peer.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// How long a peer may take none of what is owed to it.
const OWED_STALL: Duration = Duration::from_secs(30);
/// How long it may take for all of that, as for the last bytes of a stream that was let go of.
const OWED_MAX: Duration = Duration::from_secs(300);
/// Bytes thrown away while waiting for the peer's end.
const LINGER_BYTES: usize = 4 * 1024 * 1024;
