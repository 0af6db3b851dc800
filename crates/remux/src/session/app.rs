//! What the application may ask of a [`Session`].

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use framing::Encode;
use framing::remux2::{Code, Command, GoAway, Open as OpenPayload, Opened, flags};

use super::credit::Growth;
use super::event::{Open, Recv, StreamId};
use super::liveness::later;
use super::schedule::Freed;
use super::stream::{OpenOut, RecvState, SendState, Stream};
use super::table::Key;
use super::{Phase, Session};
use crate::budget::Stage;
use crate::config::{Role, SessionConfig, Wire};
use crate::error::{ConnectionError, OpenError, OpenReason, StreamError};

impl Session {
    /// Opens a stream; its OPEN and `first` leave with the next [`Session::poll_transmit`], in one frame if they fit.
    /// Let go of it by [`Session::forget`], whatever becomes of it.
    ///
    /// # Errors
    /// [`OpenError`] says why and hands `open` back; nothing was sent.
    pub fn open(&mut self, now: Instant, open: Open) -> Result<StreamId, OpenError> {
        if let Err(reason) = self.may_open().and_then(|()| self.can_express(&open)) {
            return Err(OpenError { reason, open });
        }
        let step = if self.counts.last_local == 0 { self.first_id() } else { self.id_step() };
        self.counts.last_local = self.counts.last_local.saturating_add(step);
        let id = StreamId(self.counts.last_local);
        let send_limit = if self.is_classic() { u64::MAX } else { self.peer.initial_window };
        let mut stream = Stream::new(id, true, send_limit, initial_window(&self.config, self.wire), now);
        stream.urgency = open.priority & URGENCY;
        stream.want_opened = open.want_opened;
        let Open { command, target, priority, want_opened, first, fin } = open;
        if self.is_classic() {
            push_classic(&mut stream, target.as_ref(), first);
        } else if !first.is_empty() {
            stream.send.push(first);
        }
        let wanted = if want_opened { flags::WANT_OPENED } else { 0 };
        let payload = OpenPayload { command, priority, target };
        stream.control.open = Some(Box::new(OpenOut { payload, flags: wanted }));
        stream.control.listed = true;
        if fin {
            stream.send.state = SendState::Finishing;
            stream.send.fin_ready = !self.is_classic();
        }
        stream.send.was_full = stream.send.queued > self.config.sending.queue / 2;
        let key = self.insert(stream);
        self.out.opens.push_back((key, id));
        Ok(id)
    }

    /// Whether [`Session::open`] would take a plain request.
    pub fn can_open(&self) -> bool {
        self.may_open().is_ok()
    }

    /// Bytes the stream's send queue takes now. None: [`Event::Writable`](super::Event::Writable) says when it does again.
    ///
    /// # Errors
    /// The sending direction has ended, or the stream is not known.
    pub fn send_room(&mut self, id: StreamId) -> Result<usize, StreamError> {
        let most = self.send_most();
        let key = self.find(id).ok_or(StreamError::Closed)?;
        let stream = self.table.get_mut(key).ok_or(StreamError::Closed)?;
        match stream.send.state {
            SendState::Open => {
                let room = most.saturating_sub(stream.send.queued);
                stream.send.was_full |= room == 0;
                Ok(room)
            }
            SendState::Finishing | SendState::Finished | SendState::Failed => Err(stream.send_error()),
        }
    }

    /// Bytes one stream may have queued now: less when all of them together have much.
    pub(super) fn send_most(&self) -> usize {
        let sending = &self.config.sending;
        if self.queued < sending.crowded { sending.queue } else { sending.crowded_share.min(sending.queue) }
    }

    /// Queues bytes, at most as many as [`Session::send_room`] once said.
    ///
    /// # Errors
    /// The sending direction has ended, or there is no room: nothing was taken.
    pub fn send(&mut self, _now: Instant, id: StreamId, data: Bytes) -> Result<(), StreamError> {
        self.send_room(id)?;
        let queued = self.find(id).and_then(|key| self.table.get(key)).map_or(0, |stream| stream.send.queued);
        // Room that was told remains, though others have filled theirs since.
        if data.len() > self.config.sending.queue.saturating_sub(queued) {
            return Err(StreamError::NoRoom);
        }
        self.send_promised(id, data)
    }

    /// Queues bytes that there was room for once, though there may be none now: those of a stream that was refused
    /// safely and goes on as this one. Who kept them bounds them.
    ///
    /// # Errors
    /// The sending direction has ended: nothing was taken.
    pub fn send_promised(&mut self, id: StreamId, data: Bytes) -> Result<(), StreamError> {
        self.send_room(id)?;
        let most = self.send_most();
        let Some(key) = self.find(id) else { return Err(StreamError::Closed) };
        let Some(stream) = self.table.get_mut(key) else { return Err(StreamError::Closed) };
        if data.is_empty() {
            return Ok(());
        }
        stream.send.push(data);
        stream.send.was_full = stream.send.queued > most / 2;
        self.schedule.activate(&mut self.table, key, Freed::ByData);
        self.settle(key);
        Ok(())
    }

    /// No more bytes will be sent: FIN follows what is queued.
    ///
    /// Classic has no half-close: the accepting side's end is the end of the session, once its queue is out; the
    /// opening side's is held back until the other side ends, or the stream is let go of.
    pub fn finish(&mut self, now: Instant, id: StreamId) {
        let classic = self.is_classic();
        let Some(key) = self.find(id) else { return };
        let Some(stream) = self.table.get_mut(key) else { return };
        if stream.send.state != SendState::Open {
            return;
        }
        stream.send.state = SendState::Finishing;
        stream.send.fin_ready = !(classic && stream.local);
        self.schedule.activate(&mut self.table, key, Freed::ByData);
        self.end_if_over(now, key);
    }

    /// Ends both directions at once and drops what is queued, in both. Classic: end of session, without the code; with
    /// [`Code::DRAIN`], as this process has to stop, end of the connection.
    pub fn reset(&mut self, now: Instant, id: StreamId, code: Code, text: &str) {
        let Some(key) = self.find(id) else { return };
        let runs = self.table.get(key).is_some_and(|stream| !stream.ended);
        if self.is_classic() && runs && code == Code::DRAIN {
            return self.stop_classic(now);
        }
        self.abort_stream(now, key, code, text);
        self.check_drained(now);
    }

    /// Resets a stream the peer opened, with the promise that nothing was done with it, so that the peer may open it
    /// again elsewhere (REFUSED_SAFE). One opened here is reset as ever. Classic: end of session.
    pub fn turn_away(&mut self, now: Instant, id: StreamId, code: Code, text: &str) {
        let Some(key) = self.find(id) else { return };
        let fresh = self.table.get(key).is_some_and(|stream| !stream.ended && !stream.local);
        self.abort_stream(now, key, code, text);
        if let Some(rst) =
            self.table.get_mut(key).filter(|_| fresh).and_then(|stream| stream.control.rst.as_mut())
        {
            rst.safe = true;
        }
        self.check_drained(now);
    }

    /// Answers an OPEN that wanted it ([`Open::want_opened`]), once; otherwise does nothing.
    pub fn answer_opened(&mut self, _now: Instant, id: StreamId, opened: Opened) {
        let Some(key) = self.find(id) else { return };
        let Some(stream) = self.table.get_mut(key) else { return };
        if stream.local || stream.ended || !std::mem::take(&mut stream.want_opened) {
            return;
        }
        stream.control.opened = Some(Box::new(opened));
        if !std::mem::replace(&mut stream.control.listed, true) {
            self.out.opens.push_back((key, id));
        }
    }

    /// Takes received bytes. After [`Recv::Wait`] an [`Event::Readable`](super::Event::Readable) follows, or an
    /// [`Event::Ended`](super::Event::Ended).
    pub fn recv(&mut self, _now: Instant, id: StreamId) -> Recv {
        let Some(stream) = self.find(id).and_then(|key| self.table.get_mut(key)) else {
            return Recv::Failed(StreamError::Closed);
        };
        if let Some(chunk) = stream.recv.pop() {
            return Recv::Data(chunk);
        }
        match stream.recv.state {
            RecvState::Open => {
                stream.recv.waiting = true;
                Recv::Wait
            }
            RecvState::Finished => Recv::Fin,
            RecvState::Failed => Recv::Failed(stream.failure.clone().unwrap_or(StreamError::Closed)),
        }
    }

    /// The application has consumed `n` bytes of those it got from [`Session::recv`]: credit may grow back.
    pub fn release(&mut self, now: Instant, id: StreamId, n: usize) {
        let Some(key) = self.find(id) else { return };
        let round_trip = self.round_trip();
        let (ledger, window) = (&self.ledger, &self.config.window);
        let allows = |more: u64| ledger.allows_growth(more, window.growth);
        let growth = Growth { rtt: round_trip, config: window, stage: ledger.stage(), allows: &allows };
        let Some(stream) = self.table.get_mut(key) else { return };
        stream.recv.release(n);
        if stream.recv.credit.consume(n as u64, now, &growth) {
            self.stats.grown = self.stats.grown.saturating_add(1);
        }
        if self.wire == Wire::Classic {
            self.release_classic(now, key, n);
        } else {
            self.offer_credit(key);
        }
        self.settle(key);
    }

    /// The application lets go of the stream: reset with CANCEL, unless both directions have ended or only bytes
    /// already queued remain to be sent, for which the peer has
    /// [`LimitConfig::linger`](crate::LimitConfig::linger). Each stream opened here or given out as
    /// [`Event::Incoming`](super::Event::Incoming) is let go of once; until then it counts.
    pub fn forget(&mut self, now: Instant, id: StreamId) {
        let classic = self.is_classic();
        let Some(key) = self.find(id) else { return };
        let Some(stream) = self.table.get_mut(key) else { return };
        stream.forgotten = true;
        stream.recv.waiting = false;
        if !stream.ended {
            let sending = stream.send.state == SendState::Finishing && stream.send.fin_ready;
            let received = stream.recv.state == RecvState::Finished || (classic && !stream.local);
            if sending && received {
                stream.recv.discard();
                stream.lingers = Some((stream.send.credit.sent(), now));
                self.sweep_by(later(now, self.config.limits.linger));
                if self.blocked.is_some_and(|(_, blocked)| blocked == id) {
                    self.blocked = None;
                }
                self.settle(key);
            } else {
                self.abort_stream(now, key, Code::CANCEL, "");
            }
        }
        self.free_if_done(now, key);
        self.check_drained(now);
    }

    /// Takes no new streams, tells the peer (remux2), and ends the connection once every stream has ended; those
    /// still running after `limit` are reset with DRAIN. `Duration::MAX` waits for ever; a later call may only
    /// shorten the time.
    pub fn drain(&mut self, now: Instant, code: Code, limit: Duration) {
        let deadline = now.checked_add(limit);
        match &mut self.phase {
            Phase::Closed(_) => return,
            Phase::Draining { deadline: old } => {
                *old = match (*old, deadline) {
                    (Some(old), Some(new)) => Some(old.min(new)),
                    (old, new) => old.or(new),
                };
            }
            Phase::Open => {
                self.phase = Phase::Draining { deadline };
                if self.wire == Wire::Remux2 {
                    let last_id = self.counts.last_remote;
                    let drain_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
                    self.out.goaway = Some(GoAway { last_id, code, drain_ms, text: String::new() });
                    self.out.last_id = Some(last_id);
                }
            }
        }
        self.check_drained(now);
    }

    /// Ends the connection at once: every stream is [`StreamError::Truncated`], the peer is told (remux2), an
    /// [`Event::Closed`](super::Event::Closed) follows.
    pub fn abort(&mut self, now: Instant, cause: ConnectionError) {
        self.close(now, cause);
    }

    /// Says CREDIT when that is worth a frame.
    pub(super) fn offer_credit(&mut self, key: Key) {
        let Some(stream) = self.table.get_mut(key) else { return };
        let due = stream.recv.state == RecvState::Open && stream.recv.credit.is_due();
        if due && !std::mem::replace(&mut stream.control.credit, true) {
            self.out.credits.push_back((key, stream.id));
        }
    }

    fn may_open(&self) -> Result<(), OpenReason> {
        match self.phase {
            Phase::Closed(_) => return Err(OpenReason::Closed),
            Phase::Draining { .. } => return Err(OpenReason::Draining),
            Phase::Open if self.peer.last_id.is_some() => return Err(OpenReason::Draining),
            Phase::Open => {}
        }
        if self.is_classic() && self.role == Role::Server {
            return Err(OpenReason::Unsupported("streams opened by the server"));
        }
        let last = if self.is_classic() { CLASSIC_LAST } else { LAST };
        if self.counts.last_local > last.saturating_sub(self.id_step()) {
            return Err(OpenReason::Exhausted);
        }
        if self.counts.local >= self.peer.max_streams as usize {
            return Err(OpenReason::TooMany);
        }
        if self.ledger.stage() >= Stage::NoOpens {
            return Err(OpenReason::NoMemory);
        }
        Ok(())
    }

    fn can_express(&self, open: &Open) -> Result<(), OpenReason> {
        if !self.is_classic() {
            return match open.target {
                None if open.command != Command::Stream => {
                    Err(OpenReason::Unsupported("a request without a target"))
                }
                _ => Ok(()),
            };
        }
        let unsupported = match open.command {
            _ if open.want_opened => "an answer to the request",
            Command::Stream if open.target.is_some() => "a plain stream with a target",
            Command::Stream if self.config.classic.request => "a stream without a target",
            Command::Stream if open.first.is_empty() => "a stream without a first byte",
            Command::Connect if open.target.is_none() => "a request without a target",
            Command::Stream | Command::Connect => return Ok(()),
            Command::Bind | Command::Udp | Command::Resolve => "this command",
        };
        Err(OpenReason::Unsupported(unsupported))
    }

    const fn first_id(&self) -> u32 {
        match (self.wire, self.role) {
            (Wire::Classic, _) | (Wire::Remux2, Role::Client) => 1,
            (Wire::Remux2, Role::Server) => 2,
        }
    }

    pub(super) const fn id_step(&self) -> u32 {
        match self.wire {
            Wire::Remux2 => 2,
            Wire::Classic => 1,
        }
    }
}

/// The window a stream starts with here: what the wire promises, or more.
pub(super) fn initial_window(config: &SessionConfig, wire: Wire) -> u64 {
    match wire {
        Wire::Remux2 => {
            u64::from(config.window.initial.min(super::credit::MAX_WINDOW)).max(super::INITIAL_WINDOW)
        }
        Wire::Classic => u64::MAX,
    }
}

/// The eager request and the first data, as one piece when that is a short copy.
fn push_classic(stream: &mut Stream, target: Option<&framing::Target>, first: Bytes) {
    let Some(target) = target else { return stream.send.push(first) };
    let request = framing::eager::Request::connect(target.clone());
    let mut head = BytesMut::with_capacity(framing::eager::MAX_LEN);
    request.encode(&mut head);
    if first.len() < SHORT {
        head.put_slice(&first);
        return stream.send.push(head.freeze());
    }
    stream.send.push(head.freeze());
    stream.send.push(first);
}

/// The bits of a priority that are the urgency.
pub(super) const URGENCY: u8 = 7;
/// The highest id of the remux2 wire that is used.
const LAST: u32 = (1 << 31) - 1;
/// The highest id of the classic wire.
const CLASSIC_LAST: u32 = 65_535;
/// First data below this are copied behind the request.
const SHORT: usize = 2048;
