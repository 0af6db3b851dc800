//! The classic wire: `u16 session | u16 length | data`, a length of 0 ends the session.
//!
//! ```text
//!  client                                              server
//!  id+1: eager request + first data (one frame) ─────▶ request read, Incoming
//!  data ◀────────────────────────────────────────────▶ data
//!  0 (let go of, reset) ─────────────────────────────▶ both directions end
//!  both directions end ◀───────────────────────────── 0 (its application finished, let go, reset)
//! ```
//!
//! What the wire can't say is made up for in bounded memory: each stream has a queue of 256 KiB; full, the connection
//! is not read (`wants_read`); after 10 s of that with hardly anything read, the stream ends. The opening application's
//! FIN is held back until the other side ends. An id at or below the highest one seen never opens a stream again.

use std::time::Instant;

use bytes::{Buf, BytesMut};
use framing::classic::{HEADER, Header};
use framing::remux2::{Code, Command};
use framing::{Decode, eager, socks};

use super::batch::Batch;
use super::event::{Event, Open, StreamId};
use super::liveness::later;
use super::schedule::Freed;
use super::stream::{RecvState, SendState, Stream};
use super::table::Key;
use super::{Body, SERVER_STREAMS, Session};
use crate::config::Role;
use crate::error::ConnectionError;

impl Session {
    pub(super) fn receive_classic(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
    ) -> Result<(), ConnectionError> {
        loop {
            if self.body.is_some() && !self.receive_classic_body(now, input)? {
                return Ok(());
            }
            let Some(header) = input.first_chunk::<HEADER>().map(|bytes| Header::from_bytes(*bytes)) else {
                return Ok(());
            };
            input.advance(HEADER);
            self.stats.frames_in = self.stats.frames_in.saturating_add(1);
            let id = StreamId(header.session.into());
            let live = self.find(id).filter(|&key| self.table.get(key).is_some_and(|stream| !stream.ended));
            let to = match live {
                Some(key) if header.is_end() => {
                    self.receive_end(now, key)?;
                    continue;
                }
                Some(key) => Some(key),
                None => self.receive_unknown(now, id, header)?,
            };
            self.limits.data(header.length.into(), self.is_behind(to), now)?;
            self.body = Some(Body { to: to.map(|key| (key, id)), left: header.length.into(), flags: 0 });
        }
    }

    /// A frame of a session that isn't live: it opens one, or is ignored.
    fn receive_unknown(
        &mut self,
        now: Instant,
        id: StreamId,
        header: Header,
    ) -> Result<Option<Key>, ConnectionError> {
        if id.0 == 0 {
            self.limits.padding(u64::from(header.length).max(HEADER as u64))?;
            return Ok(None);
        }
        if self.role == Role::Client || id.0 <= self.counts.last_remote {
            self.stats.late = self.stats.late.saturating_add(1);
            return Ok(None);
        }
        self.counts.last_remote = id.0;
        if header.is_end() {
            self.limits.reset(now)?;
            return Ok(None);
        }
        let most = self.config.limits.max_streams.unwrap_or(SERVER_STREAMS);
        let allowed = self.limits.allows_open(now) && self.counts.remote < most as usize;
        let draining = !matches!(self.phase, super::Phase::Open);
        if !allowed || draining || !self.has_memory() {
            self.refuse_open(now, id, !allowed)?;
            return Ok(None);
        }
        let mut stream =
            Stream::new(id, false, u64::MAX, super::app::initial_window(&self.config, self.wire), now);
        stream.announced = !self.config.classic.request;
        let announced = stream.announced;
        let key = self.insert(stream);
        if announced {
            self.events.push_back(Event::Incoming { id, open: Open::stream() });
        } else {
            self.sweep_by(later(now, self.config.classic.request_timeout));
        }
        Ok(Some(key))
    }

    /// Takes payload of the frame under way; true when the frame is complete, false when more bytes or room in the
    /// stream's queue are needed.
    fn receive_classic_body(&mut self, now: Instant, input: &mut BytesMut) -> Result<bool, ConnectionError> {
        let Some(mut body) = self.body else { return Ok(true) };
        let (capacity, limit) = (self.config.classic.queue as u64, self.config.classic.full);
        let live = body.to.and_then(|(key, id)| Some((key, self.stream_mut(key, id)?)));
        let taking =
            live.filter(|(_, stream)| stream.recv.state == RecvState::Open && !stream.recv.is_discarding());
        let Some((key, stream)) = taking else {
            let n = body.left.min(input.len());
            input.advance(n);
            return Ok(self.body_went_on(&mut body, n));
        };
        let id = stream.id;
        let room = capacity.saturating_sub(stream.recv.credit.unread());
        if room == 0 && body.left > 0 {
            let deadline = stream.full.begin(now, limit);
            self.blocked = Some((key, id));
            self.sweep_by(deadline);
            return Ok(false);
        }
        let n = body.left.min(input.len()).min(usize::try_from(room).unwrap_or(usize::MAX));
        if n > 0 {
            // There is no credit on this wire, so nothing can be beyond it.
            let _ = stream.recv.credit.receive(n as u64, now);
            stream.recv.push_part(input, n, capacity);
            if stream.announced {
                self.wake_reader(key);
            } else {
                self.read_request(now, key)?;
            }
            self.settle(key);
        }
        let complete = self.body_went_on(&mut body, n);
        // The frame may go on beyond the room there was.
        if complete || input.is_empty() { Ok(complete) } else { self.receive_classic_body(now, input) }
    }

    fn body_went_on(&mut self, body: &mut Body, n: usize) -> bool {
        body.left = body.left.saturating_sub(n);
        self.body = (body.left > 0).then_some(*body);
        body.left == 0
    }

    /// Reads the eager request off the front of a new stream.
    fn read_request(&mut self, now: Instant, key: Key) -> Result<(), ConnectionError> {
        let Some(stream) = self.table.get_mut(key) else { return Ok(()) };
        let mut front = [0; eager::MAX_LEN];
        let n = stream.recv.peek(&mut front);
        let request = eager::Request::decode(front.get(..n).unwrap_or_default());
        let (request, used) = match request {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(()),
            Err(_) => {
                self.abort_stream(now, key, Code::PROTOCOL, "the request is malformed");
                return self.limits.reset(now);
            }
        };
        stream.recv.skip(used);
        stream.recv.credit.discount(used as u64);
        stream.announced = true;
        let command = match request.command {
            socks::Command::Connect => Command::Connect,
            socks::Command::Bind => Command::Bind,
            socks::Command::UdpAssociate => Command::Udp,
        };
        let open = Open { command, target: Some(request.target), ..Open::stream() };
        self.events.push_back(Event::Incoming { id: stream.id, open });
        Ok(())
    }

    /// The peer ended the session: both directions are over. What was received can still be read.
    fn receive_end(&mut self, now: Instant, key: Key) -> Result<(), ConnectionError> {
        let Some(stream) = self.table.get_mut(key) else { return Ok(()) };
        let rapid = !stream.local && stream.send.credit.sent() == 0;
        if stream.send.state != SendState::Finished {
            self.schedule.leave(stream);
            stream.send.end();
        }
        stream.control.open = None;
        self.finish_receiving(now, key);
        if rapid { self.limits.reset(now) } else { Ok(()) }
    }

    fn is_behind(&self, to: Option<Key>) -> bool {
        to.and_then(|key| self.table.get(key)).is_none_or(|stream| !stream.recv.is_empty())
    }

    /// Bytes were read from a stream's queue: the connection may be read again.
    pub(super) fn release_classic(&mut self, now: Instant, key: Key, n: usize) {
        let Some(stream) = self.table.get_mut(key) else { return };
        let id = stream.id;
        let has_room = stream.recv.credit.unread() < self.config.classic.queue as u64;
        if has_room {
            stream.full.read(now, n, self.config.classic.queue / 4);
            if self.blocked.is_some_and(|(_, blocked)| blocked == id) {
                self.blocked = None;
            }
        }
    }

    /// Ends a stream whose request did not come, or that held up the connection for too long.
    pub(super) fn sweep_classic(&mut self, now: Instant, key: Key) {
        let Some(stream) = self.table.get_mut(key).filter(|stream| !stream.ended) else { return };
        if !stream.announced {
            let deadline = later(stream.recv.credit.began(), self.config.classic.request_timeout);
            if deadline <= now {
                return self.abort_stream(now, key, Code::PROTOCOL, "the request did not come");
            }
            return self.sweep_by(deadline);
        }
        let Some(deadline) = stream.full.deadline(self.config.classic.full) else { return };
        if now < deadline {
            return self.sweep_by(deadline);
        }
        self.abort_stream(now, key, Code::LIMIT, "nobody read the stream while it held up the connection");
    }

    pub(super) fn transmit_classic(&mut self, now: Instant, batch: &mut Batch) {
        if self.closed().is_some() {
            return;
        }
        self.size_records(batch, batch.len());
        let start = batch.len();
        if !self.put_ends(now, batch) || !self.put_first_frames(now, batch) {
            return;
        }
        let round_trip = self.round_trip();
        while let Some(key) = self.schedule.next(&mut self.table, now, round_trip) {
            self.size_records(batch, start);
            if !self.put_classic_data(now, key, batch) {
                return;
            }
        }
    }

    /// Ends of sessions that were refused or reset.
    fn put_ends(&mut self, now: Instant, batch: &mut Batch) -> bool {
        while let Some(refused) = self.out.refused.front() {
            let id = refused.id;
            if !self.put_end(id, batch) {
                return false;
            }
            self.out.refused.pop_front();
        }
        while let Some(&(key, id)) = self.out.resets.front() {
            if self.stream_mut(key, id).is_some_and(|stream| stream.control.rst.is_some()) {
                if !self.put_end(id, batch) {
                    return false;
                }
                if let Some(stream) = self.stream_mut(key, id) {
                    stream.control.rst = None;
                }
                self.free_if_done(now, key);
            }
            self.out.resets.pop_front();
        }
        true
    }

    /// First frames in the order of their ids: one that came after a higher id would open nothing.
    fn put_first_frames(&mut self, now: Instant, batch: &mut Batch) -> bool {
        while let Some((key, id)) = self.out.opens.pop_front() {
            let Some(stream) = self.stream_mut(key, id) else { continue };
            stream.control.listed = false;
            if !self.put_classic_data(now, key, batch) {
                self.list_open_first(key, id);
                return false;
            }
            if let Some(stream) = self.stream_mut(key, id) {
                stream.control.open = None;
            }
            self.schedule.activate(&mut self.table, key, Freed::ByData);
            self.liveness.handle_open(now);
        }
        true
    }

    /// One frame of the stream: data, or its end once they are out; false when there is no room for it.
    fn put_classic_data(&mut self, now: Instant, key: Key, batch: &mut Batch) -> bool {
        let Some(stream) = self.table.get_mut(key) else { return true };
        let id = stream.id;
        if stream.send.queued == 0 {
            if !self.put_end(id, batch) {
                return false;
            }
            if let Some(stream) = self.table.get_mut(key) {
                stream.send.state = SendState::Finished;
                self.schedule.charge(stream, HEADER);
            }
            self.finish_receiving(now, key);
            return true;
        }
        let want =
            stream.send.queued.min(self.config.classic.max_payload.clamp(1, framing::classic::MAX_PAYLOAD));
        let Some(room) = batch.fit(HEADER.saturating_add(want.min(CUT_ABOVE))) else { return false };
        let n = want.min(room.saturating_sub(HEADER));
        let session = u16::try_from(id.0).unwrap_or(0);
        batch.put_copy(&Header { session, length: u16::try_from(n).unwrap_or(u16::MAX) }.to_bytes());
        stream.send.take(n, batch);
        self.schedule.charge(stream, n.saturating_add(HEADER));
        self.stats.frames_out = self.stats.frames_out.saturating_add(1);
        self.sent_from(now, key, false);
        true
    }

    fn put_end(&mut self, id: StreamId, batch: &mut Batch) -> bool {
        if batch.fit(HEADER).is_none() {
            return false;
        }
        batch.put_copy(&Header::end(u16::try_from(id.0).unwrap_or(0)).to_bytes());
        self.stats.frames_out = self.stats.frames_out.saturating_add(1);
        self.stats.resets_out = self.stats.resets_out.saturating_add(1);
        true
    }
}

/// A frame is cut if this much of it still fits into a record.
const CUT_ABOVE: usize = 1024;
