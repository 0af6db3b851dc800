//! How streams begin and end, and how the connection does.

#[cfg(feature = "io")]
use std::task::{Context, Poll};
use std::time::Instant;

use framing::remux2::{Code, GoAway};

use super::event::{Event, StreamEnd, StreamId};
use super::stream::{RecvState, RstOut, Stream};
use super::table::Key;
use super::{Phase, Session};
use crate::budget::Stage;
use crate::error::{ConnectionError, StreamError};

impl Session {
    /// Gives a new stream its slot.
    pub(super) fn insert(&mut self, stream: Stream) -> Key {
        if stream.local {
            self.counts.local = self.counts.local.saturating_add(1);
            self.stats.opened = self.stats.opened.saturating_add(1);
        } else {
            self.counts.remote = self.counts.remote.saturating_add(1);
            self.stats.accepted = self.stats.accepted.saturating_add(1);
        }
        self.counts.running = self.counts.running.saturating_add(1);
        self.idle_since = None;
        let key = self.table.insert(stream);
        self.settle(key);
        key
    }

    /// Brings the process's budget up to date with a stream.
    pub(super) fn settle(&mut self, key: Key) {
        let classic = self.is_classic();
        let Some(stream) = self.table.get_mut(key) else { return };
        let growth = if classic { 0 } else { stream.recv.growth() };
        let new = (stream.held(classic), growth);
        let old = std::mem::replace(&mut stream.charged, new);
        let counted = std::mem::replace(&mut stream.counted, stream.send.queued);
        self.queued = self.queued.saturating_add(stream.send.queued).saturating_sub(counted);
        if old.0 != new.0 {
            self.ledger.change_held(old.0, new.0);
        }
        if old.1 != new.1 {
            self.ledger.change_growth(old.1, new.1);
        }
    }

    /// This side resets a stream: what is queued is dropped at once, the peer is told.
    pub(super) fn abort_stream(&mut self, now: Instant, key: Key, code: Code, text: &str) {
        let Some(stream) = self.table.get_mut(key) else { return };
        if stream.ended {
            return;
        }
        let id = stream.id;
        // A stream whose OPEN never left needs no RST: the peer knows nothing of it.
        let known = stream.control.open.take().is_none();
        if known && stream.control.rst.is_none() {
            stream.control.rst = Some(Box::new(RstOut { code, text: text.to_owned(), safe: false }));
            self.out.resets.push_back((key, id));
        }
        self.fail_stream(now, key, StreamError::Aborted { code, text: text.to_owned() }, true);
    }

    /// A stream ends early. A reset drops what is unread; a cut connection leaves it to be read.
    pub(super) fn fail_stream(&mut self, now: Instant, key: Key, error: StreamError, drop_unread: bool) {
        let Some(stream) = self.table.get_mut(key) else { return };
        if stream.ended {
            return;
        }
        stream.send.fail();
        stream.recv.fail(drop_unread);
        stream.failure = Some(error);
        stream.control.open = None;
        stream.control.opened = None;
        self.schedule.leave(stream);
        self.end_stream(now, key);
    }

    /// Ends a stream whose both directions are over.
    pub(super) fn end_if_over(&mut self, now: Instant, key: Key) {
        if self.table.get(key).is_some_and(|stream| stream.is_over() && !stream.ended) {
            self.end_stream(now, key);
        }
    }

    fn end_stream(&mut self, now: Instant, key: Key) {
        let Some(stream) = self.table.get_mut(key) else { return };
        stream.ended = true;
        let id = stream.id;
        // What it still wanted to say is of no use, and must not pile up where the transport takes nothing.
        if std::mem::take(&mut stream.control.credit) {
            self.out.credits.retain(|&(_, other)| other != id);
        }
        if std::mem::take(&mut stream.control.listed) {
            self.out.opens.retain(|&(_, other)| other != id);
        }
        if stream.local {
            self.counts.local = self.counts.local.saturating_sub(1);
        }
        self.counts.running = self.counts.running.saturating_sub(1);
        if stream.announced {
            let (bytes_in, bytes_out) = (stream.recv.credit.received(), stream.send.credit.sent());
            let end = StreamEnd { error: stream.failure.clone(), bytes_in, bytes_out };
            self.events.push_back(Event::Ended { id, end });
        } else {
            stream.forgotten = true;
        }
        if self.blocked.is_some_and(|(_, blocked)| blocked == id) {
            self.blocked = None;
        }
        let round_trip = self.round_trip();
        self.ended.push(id, now, round_trip);
        self.settle(key);
        self.free_if_done(now, key);
    }

    /// Frees the slot of a stream that nobody needs any more.
    pub(super) fn free_if_done(&mut self, now: Instant, key: Key) {
        let Some(stream) = self.table.get_mut(key).filter(|stream| stream.is_free()) else { return };
        self.schedule.leave(stream);
        let (held, growth) = stream.charged;
        self.queued = self.queued.saturating_sub(stream.counted);
        self.ledger.change_held(held, 0);
        self.ledger.change_growth(growth, 0);
        if !stream.local {
            self.counts.remote = self.counts.remote.saturating_sub(1);
        }
        self.table.remove(key);
        if self.table.len() == 0 {
            self.idle_since = Some(now);
        }
    }

    /// The peer has finished sending.
    pub(super) fn finish_receiving(&mut self, now: Instant, key: Key) {
        let Some(stream) = self.table.get_mut(key) else { return };
        if stream.recv.state == RecvState::Open {
            stream.recv.state = RecvState::Finished;
        }
        self.wake_reader(key);
        self.settle(key);
        self.end_if_over(now, key);
    }

    /// There is something to receive.
    pub(super) fn wake_reader(&mut self, key: Key) {
        let Some(stream) = self.table.get_mut(key) else { return };
        if std::mem::take(&mut stream.recv.waiting) {
            self.events.push_back(Event::Readable(stream.id));
        }
    }

    /// Turns away a stream for which there is no place. `charged`: the peer could know that; it is not blamed for a want of
    /// memory here, or for an end it can't know of, unless it goes on without taking the answers.
    pub(super) fn refuse_open(
        &mut self,
        now: Instant,
        id: StreamId,
        charged: bool,
    ) -> Result<(), ConnectionError> {
        self.refuse(now, id, Code::REFUSED, true);
        let untold = self.out.refused.len() > UNTOLD;
        if charged || untold { self.limits.refusal(now) } else { Ok(()) }
    }

    /// Whether there is memory for one more stream of the peer's. That there no longer is, is told.
    pub(super) fn has_memory(&mut self) -> bool {
        let is_short = self.ledger.stage() >= Stage::NoOpens;
        if is_short && !self.is_short {
            let (held, room) = self.ledger.account().held();
            self.events.push_back(Event::Short { held, room });
        }
        self.is_short = is_short;
        !is_short
    }

    /// Turns away a stream that has no slot.
    pub(super) fn refuse(&mut self, now: Instant, id: StreamId, code: Code, safe: bool) {
        self.stats.refused = self.stats.refused.saturating_add(1);
        self.out.refused.push_back(super::Refused { id, code, safe });
        let round_trip = self.round_trip();
        self.ended.push(id, now, round_trip);
    }

    /// Ends the connection; the first cause wins.
    pub(super) fn close(&mut self, now: Instant, cause: ConnectionError) {
        if self.closed().is_some() {
            return;
        }
        let told = self.out.last_id.is_some() && cause == ConnectionError::Drained;
        let ours = cause.code() != Code::NONE && !told && !self.is_classic();
        self.out = super::Out::default();
        for key in self.table.keys() {
            self.fail_stream(now, key, StreamError::Truncated { cause: cause.clone() }, false);
        }
        for key in self.table.keys() {
            if let Some(stream) = self.table.get_mut(key) {
                stream.control.rst = None;
            }
            self.settle(key);
            self.free_if_done(now, key);
        }
        // What is unread can still be read, unless it has to go.
        if matches!(cause, ConnectionError::Memory { .. }) {
            self.drop_unread(&cause);
        }
        if ours {
            let text = cause.to_string();
            let (last_id, code) = (self.counts.last_remote, cause.code());
            self.out.goaway = Some(GoAway { last_id, code, drain_ms: 0, text });
        }
        self.body = None;
        self.blocked = None;
        self.sweep_at = None;
        self.ledger.close();
        self.phase = Phase::Closed(cause.clone());
        self.events.push_back(Event::Closed(cause));
    }

    /// Waits, once the connection is over, until nothing of what it received is unread: by then it was read, or dropped because
    /// memory ran short.
    #[cfg(feature = "io")]
    pub(crate) fn poll_rest(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.ledger.held() > 0 {
            self.ledger.set_waker(cx.waker());
            self.ledger.reopen();
            let Some(bytes) = self.ledger.doomed() else { return Poll::Pending };
            self.drop_unread(&ConnectionError::Memory { bytes });
        }
        self.ledger.close();
        Poll::Ready(())
    }

    /// What was received and is unread goes; no stream of which that is true has a clean end.
    fn drop_unread(&mut self, cause: &ConnectionError) {
        for key in self.table.keys() {
            if let Some(stream) = self.table.get_mut(key).filter(|stream| !stream.recv.is_empty()) {
                stream.recv.fail(true);
                stream.failure = Some(StreamError::Truncated { cause: cause.clone() });
                self.settle(key);
            }
        }
    }

    /// Classic streams have to end before they are done. A 0 would look like their end: only the end of the connection tells.
    pub(super) fn stop_classic(&mut self, now: Instant) {
        self.close(now, ConnectionError::Aborted("stopped with streams open".into()));
    }

    /// Ends a draining connection when nothing is left to do.
    pub(super) fn check_drained(&mut self, now: Instant) {
        let Phase::Draining { .. } = self.phase else { return };
        if self.counts.running == 0 && !self.out.is_waiting() && !self.schedule.is_active() {
            self.close(now, ConnectionError::Drained);
        }
    }
}

/// Refusals that may wait to be sent before the peer is blamed for more.
const UNTOLD: usize = 1024;
