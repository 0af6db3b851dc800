//! Frames of the remux2 wire, as they come. Every frame is judged whole before it changes anything.

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use framing::remux2::{
    Code, Credit, GoAway, HEADER, Header, Kind, MAX_PAYLOAD, Open as OpenPayload, Opened, Ping, Priority,
    Rst, Setting, TypeByte, flags, setting,
};

use super::super::app::URGENCY;
use super::super::credit::{CRUMB, MAX_WINDOW};
use super::super::event::{Event, Open, StreamId};
use super::super::liveness::later;
use super::super::schedule::Freed;
use super::super::stream::{RecvState, Stream};
use super::super::table::Key;
use super::super::{Body, SERVER_STREAMS, Session};
use crate::config::Role;
use crate::error::{ConnectionError, StreamError};

impl Session {
    /// Takes what there is; says whether anything but PINGs was among it.
    pub(in super::super) fn receive_remux2(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
    ) -> Result<bool, ConnectionError> {
        let mut busy = false;
        loop {
            if self.body.is_some() {
                busy = true;
                if !self.receive_body(now, input) {
                    return Ok(busy);
                }
            }
            let Some(header) = input.first_chunk::<HEADER>().map(|bytes| Header::from_bytes(*bytes)) else {
                return Ok(busy);
            };
            let kind = self.judge_header(header)?;
            let whole = HEADER.saturating_add(header.length.into());
            match kind {
                Some(Kind::Data) => {
                    input.advance(HEADER);
                    self.count_frame();
                    self.receive_data(now, header)?;
                }
                None | Some(Kind::Pad) => {
                    input.advance(HEADER);
                    self.count_frame();
                    self.limits.padding((whole as u64).max(PAD_LEAST))?;
                    if kind.is_none() {
                        self.limits.stray(now)?;
                    }
                    self.body = Some(Body { to: None, left: header.length.into(), flags: 0 });
                }
                Some(_) if input.len() < whole => return Ok(busy),
                Some(kind) => {
                    input.advance(HEADER);
                    let payload = input.split_to(header.length.into());
                    self.count_frame();
                    self.receive_control(now, kind, header, payload)?;
                    busy |= kind != Kind::Ping;
                }
            }
        }
    }

    /// What can be said of a frame by its header alone. `None`: to be skipped.
    fn judge_header(&self, header: Header) -> Result<Option<Kind>, ConnectionError> {
        let most = usize::from(self.config.limits.max_frame).max(MAX_PAYLOAD);
        if usize::from(header.length) > most {
            return Err(protocol("a frame is longer than the settings allow"));
        }
        let kind = match header.type_byte() {
            TypeByte::Known(kind) => Some(kind),
            TypeByte::Ignorable => None,
            TypeByte::Critical => return Err(ConnectionError::UnknownCritical { kind: header.kind }),
            TypeByte::Reserved => return Err(protocol("a frame has a reserved type")),
        };
        if !self.peer.settings && kind != Some(Kind::Settings) {
            return Err(protocol("the first frame is not SETTINGS"));
        }
        let of_connection = matches!(kind, Some(Kind::Ping | Kind::Settings | Kind::GoAway));
        let of_stream = matches!(
            kind,
            Some(Kind::Data | Kind::Open | Kind::Opened | Kind::Credit | Kind::Rst | Kind::Priority)
        );
        match (header.stream, kind) {
            (_, Some(Kind::Dgram)) => Err(protocol("a datagram was sent and none were agreed")),
            (0, _) if of_stream => Err(protocol("a stream's frame names the connection")),
            (1.., _) if of_connection => Err(protocol("the connection's frame names a stream")),
            _ => Ok(kind),
        }
    }

    fn receive_data(&mut self, now: Instant, header: Header) -> Result<(), ConnectionError> {
        #[cfg(feature = "planted")]
        let header = self.misdirected(header);
        let id = StreamId(header.stream);
        let left = usize::from(header.length);
        if left == 0 && header.flags & (flags::FIN | flags::BLOCKED) == 0 {
            return Err(protocol("DATA is empty and says nothing"));
        }
        let to = match self.find(id) {
            Some(key) => self.accept_data(now, key, header)?,
            None => {
                self.receive_late(now, id)?;
                self.limits.data(header.length.into(), true, now)?;
                None
            }
        };
        self.body = Some(Body { to: to.map(|key| (key, id)), left, flags: header.flags });
        Ok(())
    }

    /// Where the payload goes; `None`: nowhere.
    fn accept_data(
        &mut self,
        now: Instant,
        key: Key,
        header: Header,
    ) -> Result<Option<Key>, ConnectionError> {
        let Some(stream) = self.table.get_mut(key) else { return Ok(None) };
        let length = u64::from(header.length);
        self.limits.data(length, stream.recv.state != RecvState::Open || !stream.recv.is_empty(), now)?;
        match stream.recv.state {
            RecvState::Finished if !stream.ended => {
                self.limits.reset(now)?;
                self.abort_stream(now, key, Code::CLOSED, "DATA after FIN");
                Ok(None)
            }
            RecvState::Failed | RecvState::Finished => {
                self.stats.late = self.stats.late.saturating_add(1);
                Ok(None)
            }
            RecvState::Open => {
                if stream.recv.credit.receive(length, now).is_err() {
                    self.limits.reset(now)?;
                    self.abort_stream(now, key, Code::FLOW, "DATA beyond the credit");
                    return Ok(None);
                }
                if let Some(since) = stream.recv.credit.full_since() {
                    self.sweep_by(later(since, self.config.limits.unread));
                }
                Ok(Some(key))
            }
        }
    }

    /// Takes payload of the frame under way; true when the frame is complete.
    fn receive_body(&mut self, now: Instant, input: &mut BytesMut) -> bool {
        let Some(body) = &mut self.body else { return true };
        let n = body.left.min(input.len());
        body.left = body.left.saturating_sub(n);
        let (to, rest, frame_flags) = (body.to, body.left, body.flags);
        // The stream may have ended, even its slot been used again, since the header came.
        let stream = to.and_then(|(key, id)| Some((key, self.table.get_mut(key).filter(|s| s.id == id)?)));
        match stream.filter(|(_, stream)| stream.recv.state == RecvState::Open) {
            Some((key, stream)) => {
                if n > 0 {
                    let room = stream.recv.promised();
                    stream.recv.push_part(input, n, room);
                }
                if rest == 0 {
                    stream.recv.credit.set_blocked(frame_flags & flags::BLOCKED != 0);
                }
                if n > 0 {
                    self.wake_reader(key);
                    self.settle(key);
                }
                if rest == 0 && frame_flags & flags::FIN != 0 {
                    self.finish_receiving(now, key);
                } else if rest == 0 && frame_flags & flags::BLOCKED != 0 {
                    self.offer_credit(key);
                }
            }
            None => input.advance(n),
        }
        if rest == 0 {
            self.body = None;
        }
        rest == 0
    }

    fn receive_control(
        &mut self,
        now: Instant,
        kind: Kind,
        header: Header,
        payload: BytesMut,
    ) -> Result<(), ConnectionError> {
        let id = StreamId(header.stream);
        match kind {
            Kind::Open => return self.receive_open(now, id, header.flags, payload),
            Kind::Ping => return self.receive_ping(now, header.flags, &payload),
            Kind::GoAway => return self.receive_goaway(now, &payload),
            Kind::Settings => return self.receive_settings(now, &payload),
            Kind::Opened | Kind::Credit | Kind::Rst | Kind::Priority => {}
            Kind::Data | Kind::Dgram | Kind::Pad => return Ok(()),
        }
        let live = self.find(id).filter(|&key| self.table.get(key).is_some_and(|stream| !stream.ended));
        let Some(key) = live else {
            self.receive_late(now, id)?;
            return self.limits.late(now);
        };
        match kind {
            Kind::Opened => self.receive_opened(now, key, &payload),
            Kind::Credit => self.receive_credit(now, key, &payload),
            Kind::Rst => self.receive_rst(now, key, header.flags, &payload),
            _ => self.receive_priority(now, key, &payload),
        }
    }

    fn receive_open(
        &mut self,
        now: Instant,
        id: StreamId,
        bits: u8,
        mut payload: BytesMut,
    ) -> Result<(), ConnectionError> {
        if self.is_local(id) || id.0 <= self.counts.last_remote || id.0 > LAST {
            return Err(protocol("OPEN has an id that can't be opened"));
        }
        self.counts.last_remote = id.0;
        if self.out.last_id.is_some() {
            // It crossed our GOAWAY, which said that it is not served: nothing needs to be answered.
            self.ended.push(id, now, Duration::ZERO);
            self.stats.refused = self.stats.refused.saturating_add(1);
            return if self.limits.allows_open(now) { Ok(()) } else { self.limits.stray(now) };
        }
        let decoded = OpenPayload::decode_payload(&payload);
        let (request, first) = match decoded {
            Ok((request, first)) if first.saturating_sub(4) <= self.config.limits.max_meta.into() => {
                (request, first)
            }
            Ok(_) => {
                self.refuse(now, id, Code::PROTOCOL, true);
                return self.limits.reset(now);
            }
            Err(error) => {
                self.refuse(now, id, error.code(), true);
                return self.limits.reset(now);
            }
        };
        let most = self.config.limits.max_streams.unwrap_or(match self.role {
            Role::Server => SERVER_STREAMS,
            Role::Client => 0,
        });
        let allowed = self.limits.allows_open(now) && self.counts.remote < most as usize;
        if !allowed || !self.has_memory() {
            return self.refuse_open(now, id, !allowed);
        }
        let window = super::super::app::initial_window(&self.config, self.wire);
        let mut stream = Stream::new(id, false, self.peer.initial_window, window, now);
        stream.urgency = request.priority & URGENCY;
        stream.want_opened = bits & flags::WANT_OPENED != 0;
        let OpenPayload { command, priority, target } = request;
        #[cfg(feature = "planted")]
        if let Some(target) = &target {
            crate::planted::panic_at(crate::planted::Bug::PanicInConnection, target.port);
        }
        let (want_opened, fin) = (stream.want_opened, bits & flags::FIN != 0);
        payload.advance(first.min(payload.len()));
        let first = payload.len();
        // A frame is shorter than the least window, so this can't fail.
        if stream.recv.credit.receive(first as u64, now).is_ok() && first > 0 {
            stream.recv.push_part(&mut payload, first, window);
        }
        let key = self.insert(stream);
        self.events.push_back(Event::Incoming {
            id,
            open: Open { command, target, priority, want_opened, first: Bytes::new(), fin: false },
        });
        if fin {
            self.finish_receiving(now, key);
        }
        Ok(())
    }

    fn receive_opened(&mut self, now: Instant, key: Key, payload: &[u8]) -> Result<(), ConnectionError> {
        let opened = Opened::decode_payload(payload).map_err(|_| protocol("OPENED is malformed"))?;
        let Some(stream) = self.table.get_mut(key) else { return Ok(()) };
        if !stream.local || !std::mem::take(&mut stream.want_opened) {
            return self.limits.stray(now);
        }
        self.events.push_back(Event::Opened { id: stream.id, opened });
        Ok(())
    }

    fn receive_credit(&mut self, now: Instant, key: Key, payload: &[u8]) -> Result<(), ConnectionError> {
        let credit = Credit::decode_payload(payload).map_err(|_| protocol("CREDIT is malformed"))?;
        let Some(stream) = self.table.get_mut(key) else { return Ok(()) };
        let before = stream.send.credit.room();
        match stream.send.credit.update(credit) {
            Ok(rose) => {
                let more = stream.send.credit.room().saturating_sub(before);
                if rose {
                    self.schedule.activate(&mut self.table, key, Freed::ByCredit);
                }
                // Crumbs would be answered by DATA as small.
                if more < CRUMB { self.limits.idle_credit(now) } else { Ok(()) }
            }
            Err(_) => {
                self.limits.reset(now)?;
                self.abort_stream(now, key, Code::FLOW, "CREDIT takes back or grants too much");
                Ok(())
            }
        }
    }

    fn receive_rst(
        &mut self,
        now: Instant,
        key: Key,
        bits: u8,
        payload: &[u8],
    ) -> Result<(), ConnectionError> {
        let Rst { code, text } = Rst::decode_payload(payload).map_err(|_| protocol("RST is malformed"))?;
        self.stats.resets_in = self.stats.resets_in.saturating_add(1);
        let ours = self.table.get(key).is_some_and(|stream| stream.local);
        let refused_safe = ours && bits & flags::REFUSED_SAFE != 0;
        self.fail_stream(now, key, StreamError::Reset { code, text, refused_safe }, true);
        if ours { Ok(()) } else { self.limits.reset(now) }
    }

    fn receive_priority(&mut self, now: Instant, key: Key, payload: &[u8]) -> Result<(), ConnectionError> {
        let priority =
            Priority::decode_payload(payload).map_err(|_| protocol("PRIORITY is malformed"))?.priority;
        let Some(stream) = self.table.get_mut(key) else { return Ok(()) };
        if stream.priority_at.is_some_and(|at| now.saturating_duration_since(at) < PRIORITY_EVERY) {
            return self.limits.stray(now);
        }
        stream.priority_at = Some(now);
        self.schedule.set_urgency(&mut self.table, key, priority & URGENCY);
        Ok(())
    }

    /// A frame for a stream that is over, or never was.
    fn receive_late(&mut self, now: Instant, id: StreamId) -> Result<(), ConnectionError> {
        let last = if self.is_local(id) { self.counts.last_local } else { self.counts.last_remote };
        if id.0 > last {
            return Err(protocol("a frame names a stream that was never opened"));
        }
        self.stats.late = self.stats.late.saturating_add(1);
        let unserved = self.out.last_id.is_some_and(|last| !self.is_local(id) && id.0 > last);
        let known = unserved || self.find(id).is_some() || self.ended.is_fresh(id, now);
        if known { Ok(()) } else { self.limits.stray(now) }
    }

    fn receive_ping(&mut self, now: Instant, bits: u8, payload: &[u8]) -> Result<(), ConnectionError> {
        let ping = Ping::decode_payload(payload).map_err(|_| protocol("PING is malformed"))?;
        self.limits.ping(now)?;
        if bits & flags::ACK == 0 {
            self.out.pong = Some(ping.opaque);
        }
        Ok(())
    }

    fn receive_goaway(&mut self, now: Instant, payload: &[u8]) -> Result<(), ConnectionError> {
        let away = GoAway::decode_payload(payload).map_err(|_| protocol("GOAWAY is malformed"))?;
        let last_id = match self.peer.last_id {
            Some(before) => {
                self.limits.stray(now)?;
                away.last_id.min(before)
            }
            None => away.last_id,
        };
        let is_news = self.peer.last_id != Some(last_id);
        self.peer.last_id = Some(last_id);
        self.peer.goaway = Some((away.code, away.text.as_str().into()));
        if is_news {
            let limit = Duration::from_millis(away.drain_ms.into());
            self.events.push_back(Event::PeerDraining {
                last_id: StreamId(last_id),
                code: away.code,
                limit,
                text: away.text.clone(),
            });
        }
        for key in self.table.keys() {
            if self.table.get(key).is_some_and(|stream| stream.local && stream.id.0 > last_id) {
                let error =
                    StreamError::Reset { code: away.code, text: away.text.clone(), refused_safe: true };
                self.fail_stream(now, key, error, true);
            }
        }
        Ok(())
    }

    fn receive_settings(&mut self, now: Instant, payload: &[u8]) -> Result<(), ConnectionError> {
        self.limits.settings(now)?;
        let entries = Setting::decode_all(payload).map_err(|_| protocol("SETTINGS is malformed"))?;
        let mut window = self.peer.initial_window;
        let before = (self.peer.max_age, self.peer.max_reuse, self.peer.max_streams, self.peer.settings);
        for Setting { id, value } in entries {
            let time = Duration::from_millis(value.into());
            match id {
                setting::MAX_STREAMS => self.peer.max_streams = value,
                setting::INITIAL_WINDOW if value > MAX_WINDOW => {
                    return Err(protocol("SETTINGS has a window above 2^30"));
                }
                setting::INITIAL_WINDOW => window = window.max(value.into()),
                setting::MAX_AGE_MS => self.peer.max_age = time,
                setting::MAX_REUSE => self.peer.max_reuse = value,
                setting::MIN_PING_MS => self.liveness.min_ping = time.min(MOST_MIN_PING),
                _ => {}
            }
        }
        self.peer.settings = true;
        self.prove();
        if window > self.peer.initial_window {
            self.raise_windows(window);
        }
        let (max_age, max_reuse, max_streams) =
            (self.peer.max_age, self.peer.max_reuse, self.peer.max_streams);
        if before != (max_age, max_reuse, max_streams, true) {
            self.events.push_back(Event::PeerLimits { max_age, max_reuse, max_streams });
        }
        Ok(())
    }

    /// The peer's initial window is larger than was assumed; streams opened meanwhile have it too.
    fn raise_windows(&mut self, window: u64) {
        self.peer.initial_window = window;
        for key in self.table.keys() {
            let Some(stream) = self.table.get_mut(key) else { continue };
            stream.send.credit.raise(window);
            self.schedule.activate(&mut self.table, key, Freed::ByCredit);
        }
    }

    fn count_frame(&mut self) {
        self.stats.frames_in = self.stats.frames_in.saturating_add(1);
    }
}

const fn protocol(what: &'static str) -> ConnectionError {
    ConnectionError::Protocol { what }
}

/// The highest stream id.
const LAST: u32 = (1 << 31) - 1;
/// A stream's PRIORITY is heard this often.
const PRIORITY_EVERY: Duration = Duration::from_millis(100);
/// A peer may ask for no longer pauses between PINGs, else a dead one could not be found.
const MOST_MIN_PING: Duration = Duration::from_secs(5);
/// A frame without use counts as this many bytes at least.
const PAD_LEAST: u64 = 8;
