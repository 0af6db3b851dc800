//! A session's wishes as frames of the remux2 wire, packed into records.
//!
//! ```text
//!  record  |RST|CREDIT|OPEN + first data|DATA …                     |   header and body share a record
//!          strict order: SETTINGS (first of all), RST, PING answer, CREDIT, OPENED/OPEN, PING, GOAWAY, then DATA
//! ```
//!
//! A DATA frame is cut to the room left in its record if that is 1 KiB or more, else it begins a new record.

use std::time::{Duration, Instant};

use framing::Encode;
use framing::remux2::{HEADER, Header, Kind, MAX_PAYLOAD, Rst, Setting, flags, setting};

use super::super::Session;
use super::super::batch::Batch;
use super::super::event::{Event, StreamId};
#[cfg(feature = "planted")]
use super::super::planted;
use super::super::schedule::Freed;
use super::super::stream::{SendState, Stream};
use super::super::table::Key;
use crate::config::Role;

impl Session {
    pub(in super::super) fn transmit_remux2(&mut self, now: Instant, batch: &mut Batch) {
        self.size_records(batch, batch.len());
        if self.closed().is_some() {
            self.put_goaway(batch);
            return;
        }
        let (start, burst) = (batch.len(), self.writing.burst);
        if self.put_control(now, batch) {
            self.put_streams(now, batch, start, burst);
        }
    }

    /// Small records at first: their bytes can be opened as soon as one packet is there.
    pub(in super::super) fn size_records(&self, batch: &mut Batch, start: usize) {
        let sending = &self.config.sending;
        let sent = self.writing.burst.saturating_add(batch.len()).saturating_sub(start);
        batch.set_record(if sent < sending.small_until { sending.small_record } else { Batch::MAX_RECORD });
    }

    /// False: the batch is full.
    fn put_control(&mut self, now: Instant, batch: &mut Batch) -> bool {
        self.put_settings(batch)
            && self.put_refused(batch)
            && self.put_resets(now, batch)
            && self.put_pong(batch)
            && self.put_credits(batch)
            && self.put_opens(now, batch)
            && self.put_ping(now, batch)
            && self.put_goaway(batch)
    }

    fn put_streams(&mut self, now: Instant, batch: &mut Batch, start: usize, burst: usize) {
        let round_trip = self.round_trip();
        let mut sent = false;
        while let Some(key) = self.schedule.next(&mut self.table, now, round_trip) {
            if burst < self.config.sending.small_until {
                self.size_records(batch, start);
            }
            if !self.put_data(now, key, batch) {
                break;
            }
            sent = true;
        }
        if sent {
            self.liveness.handle_sending();
        }
    }

    /// One DATA frame of the stream; false when there is no room for it.
    fn put_data(&mut self, now: Instant, key: Key, batch: &mut Batch) -> bool {
        let Some(stream) = self.table.get_mut(key) else { return true };
        let credit = usize::try_from(stream.send.credit.room()).unwrap_or(usize::MAX);
        #[cfg(feature = "planted")]
        let credit = credit.saturating_add(planted::overdraft());
        let want = stream.send.queued.min(credit).min(MAX_PAYLOAD);
        let Some(room) = batch.fit(HEADER.saturating_add(want.min(CUT_ABOVE))) else { return false };
        let n = want.min(room.saturating_sub(HEADER));
        let mut bits = 0;
        if n == stream.send.queued {
            if stream.send.state == SendState::Finishing && stream.send.fin_ready {
                bits |= flags::FIN;
                stream.send.state = SendState::Finished;
            }
        } else if n == credit {
            bits |= flags::BLOCKED;
            stream.send.credit.tell();
        }
        let finished = bits & flags::FIN != 0;
        #[cfg(feature = "planted")]
        let bits = planted::without_end(bits);
        let length = u16::try_from(n).unwrap_or(u16::MAX);
        let header = Header::new(Kind::Data, bits, stream.id.0, length);
        #[cfg(feature = "planted")]
        let spoiled = planted::spoil(&mut stream.send, header, n, batch);
        #[cfg(not(feature = "planted"))]
        let spoiled = false;
        if !spoiled {
            batch.put_copy(&header.to_bytes());
            stream.send.take(n, batch);
        }
        self.schedule.charge(stream, n.saturating_add(HEADER));
        self.stats.frames_out = self.stats.frames_out.saturating_add(1);
        self.sent_from(now, key, finished);
        true
    }

    /// Bytes have left a stream's queue.
    pub(in super::super) fn sent_from(&mut self, now: Instant, key: Key, finished: bool) {
        let most = self.send_most();
        self.writing.streams = true;
        let Some(stream) = self.table.get_mut(key) else { return };
        if stream.send.was_full && stream.send.queued <= most / 2 {
            stream.send.was_full = false;
            self.events.push_back(Event::Writable(stream.id));
        }
        self.settle(key);
        if finished {
            self.end_if_over(now, key);
        }
    }

    fn put_settings(&mut self, batch: &mut Batch) -> bool {
        if !self.out.settings {
            return true;
        }
        let limits = &self.config.limits;
        let default_streams = if self.role == Role::Server { super::super::SERVER_STREAMS } else { 0 };
        let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let window = super::super::app::initial_window(&self.config, self.wire);
        let entries = [
            Some((setting::MAX_STREAMS, limits.max_streams.unwrap_or(default_streams))),
            Some((setting::INITIAL_WINDOW, u32::try_from(window).unwrap_or(u32::MAX))),
            Some((setting::MAX_FRAME, u32::from(limits.max_frame).max(MAX_PAYLOAD as u32))),
            Some((setting::MAX_META, limits.max_meta.into())),
            (self.role == Role::Server).then(|| (setting::IDLE_MS, millis(self.config.server_idle))),
            self.config.announce.max_age.map(|age| (setting::MAX_AGE_MS, millis(age))),
            self.config.announce.max_reuse.map(|count| (setting::MAX_REUSE, count)),
        ];
        let mut payload = Vec::with_capacity(64);
        for (id, value) in entries.into_iter().flatten() {
            Setting { id, value }.encode(&mut payload);
        }
        let done = self.put_frame(batch, Kind::Settings, 0, StreamId(0), &payload);
        self.out.settings = !done;
        done
    }

    fn put_refused(&mut self, batch: &mut Batch) -> bool {
        while let Some(&refused) = self.out.refused.front() {
            let bits = if refused.safe { flags::REFUSED_SAFE } else { 0 };
            let [high, low] = refused.code.0.to_be_bytes();
            if !self.put_frame(batch, Kind::Rst, bits, refused.id, &[high, low]) {
                return false;
            }
            self.out.refused.pop_front();
            self.stats.resets_out = self.stats.resets_out.saturating_add(1);
        }
        true
    }

    fn put_resets(&mut self, now: Instant, batch: &mut Batch) -> bool {
        while let Some(&(key, id)) = self.out.resets.front() {
            let rst = self.stream_mut(key, id).and_then(|stream| stream.control.rst.take());
            if let Some(rst) = rst {
                let bits = if rst.safe { flags::REFUSED_SAFE } else { 0 };
                let payload = Rst { code: rst.code, text: rst.text.clone() }.to_vec();
                if !self.put_frame(batch, Kind::Rst, bits, id, &payload) {
                    if let Some(stream) = self.stream_mut(key, id) {
                        stream.control.rst = Some(rst);
                    }
                    return false;
                }
                self.stats.resets_out = self.stats.resets_out.saturating_add(1);
                self.free_if_done(now, key);
            }
            self.out.resets.pop_front();
        }
        true
    }

    fn put_pong(&mut self, batch: &mut Batch) -> bool {
        let Some(opaque) = self.out.pong else { return true };
        let done = self.put_frame(batch, Kind::Ping, flags::ACK, StreamId(0), &opaque);
        if done {
            self.out.pong = None;
        }
        done
    }

    fn put_credits(&mut self, batch: &mut Batch) -> bool {
        if self.out.credits.is_empty() {
            return true;
        }
        while let Some(&(key, id)) = self.out.credits.front() {
            if batch.fit(HEADER.saturating_add(CREDIT)).is_none() {
                return false;
            }
            self.out.credits.pop_front();
            let Some(stream) = self.stream_mut(key, id) else { continue };
            stream.control.credit = false;
            if stream.recv.state != super::super::stream::RecvState::Open || !stream.recv.credit.is_due() {
                continue;
            }
            let credit = stream.recv.credit.grant();
            let mut payload = [0; CREDIT];
            credit.encode(&mut payload.as_mut_slice());
            self.put_frame(batch, Kind::Credit, 0, id, &payload);
            self.settle(key);
        }
        true
    }

    fn put_opens(&mut self, now: Instant, batch: &mut Batch) -> bool {
        while let Some((key, id)) = self.out.opens.pop_front() {
            let Some(stream) = self.stream_mut(key, id) else { continue };
            stream.control.listed = false;
            let done = if stream.control.open.is_some() {
                self.put_open(now, key, batch)
            } else {
                self.put_opened(key, id, batch)
            };
            if !done {
                self.list_open_first(key, id);
                return false;
            }
        }
        true
    }

    /// There was no room for its frame: it is the next one.
    pub(in super::super) fn list_open_first(&mut self, key: Key, id: StreamId) {
        if let Some(stream) = self.stream_mut(key, id) {
            stream.control.listed = true;
            self.out.opens.push_front((key, id));
        }
    }

    /// OPEN, with as much of the first data as the record takes.
    fn put_open(&mut self, now: Instant, key: Key, batch: &mut Batch) -> bool {
        let Some(stream) = self.table.get_mut(key) else { return true };
        let Some(open) = stream.control.open.take() else { return true };
        let front = open.payload.to_vec();
        let credit = usize::try_from(stream.send.credit.room()).unwrap_or(usize::MAX);
        let want = stream.send.queued.min(credit).min(MAX_PAYLOAD.saturating_sub(front.len()));
        let head = HEADER.saturating_add(front.len());
        let Some(room) = batch.fit(head.saturating_add(want.min(CUT_ABOVE))) else {
            stream.control.open = Some(open);
            return false;
        };
        let n = want.min(room.saturating_sub(head));
        let mut bits = open.flags;
        let finished = n == stream.send.queued && stream.send.state == SendState::Finishing;
        if finished {
            bits |= flags::FIN;
            stream.send.state = SendState::Finished;
        }
        let length = u16::try_from(front.len().saturating_add(n)).unwrap_or(u16::MAX);
        batch.put_copy(&Header::new(Kind::Open, bits, stream.id.0, length).to_bytes());
        batch.put_copy(&front);
        stream.send.take(n, batch);
        self.schedule.activate(&mut self.table, key, Freed::ByData);
        if let Some(stream) = self.table.get_mut(key).filter(|stream| stream.is_sendable()) {
            self.schedule.charge(stream, n.saturating_add(head));
        }
        self.stats.frames_out = self.stats.frames_out.saturating_add(1);
        self.liveness.handle_open(now);
        self.liveness.handle_sending();
        self.sent_from(now, key, finished);
        true
    }

    fn put_opened(&mut self, key: Key, id: StreamId, batch: &mut Batch) -> bool {
        let Some(opened) = self.stream_mut(key, id).and_then(|stream| stream.control.opened.take()) else {
            return true;
        };
        let done = self.put_frame(batch, Kind::Opened, 0, id, &opened.to_vec());
        if !done && let Some(stream) = self.stream_mut(key, id) {
            stream.control.opened = Some(opened);
        }
        done
    }

    fn put_ping(&mut self, now: Instant, batch: &mut Batch) -> bool {
        if !self.liveness.wants_ping() {
            return true;
        }
        if batch.fit(HEADER.saturating_add(PING)).is_none() {
            return false;
        }
        if let Some(opaque) = self.liveness.take_ping(now) {
            self.stats.pings = self.stats.pings.saturating_add(1);
            self.put_frame(batch, Kind::Ping, 0, StreamId(0), &opaque);
        }
        true
    }

    fn put_goaway(&mut self, batch: &mut Batch) -> bool {
        let Some(away) = self.out.goaway.take() else { return true };
        let done = self.put_frame(batch, Kind::GoAway, 0, StreamId(0), &away.to_vec());
        if !done {
            self.out.goaway = Some(away);
        }
        done
    }

    /// A control frame, whole; false when there is no room for it.
    fn put_frame(&mut self, batch: &mut Batch, kind: Kind, bits: u8, id: StreamId, payload: &[u8]) -> bool {
        if batch.fit(HEADER.saturating_add(payload.len())).is_none() {
            return false;
        }
        let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
        batch.put_copy(&Header::new(kind, bits, id.0, length).to_bytes());
        batch.put_copy(payload);
        self.stats.frames_out = self.stats.frames_out.saturating_add(1);
        true
    }

    /// The stream in a slot, if it is still the one meant.
    pub(in super::super) fn stream_mut(&mut self, key: Key, id: StreamId) -> Option<&mut Stream> {
        self.table.get_mut(key).filter(|stream| stream.id == id)
    }
}

/// A DATA frame is cut if this much of it still fits into a record.
const CUT_ABOVE: usize = 1024;
/// Payload bytes of CREDIT.
const CREDIT: usize = 8;
/// Payload bytes of PING.
const PING: usize = 8;
