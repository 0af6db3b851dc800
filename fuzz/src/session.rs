//! One session of either wire, told arbitrary frames, torn bytes and wishes of its application.
//!
//! The first byte draws wire, role and tightness of the limits; then each operation is a byte and what it needs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::draw::Draw;
use bytes::{Buf, Bytes, BytesMut};
use framing::remux2::{Code, HEADER, Header, Opened};
use remux::session::{Batch, Event, Open, PathInfo, Recv, Session, StreamId};
use remux::{Budget, ConnectionError, LimitConfig, Role, SendConfig, SessionConfig, WindowConfig, Wire};

/// Judges one input.
pub fn run(input: &[u8]) {
    let mut rest = Draw(input);
    let mut run = Run::new(rest.u8());
    while !rest.is_empty() && run.session.closed().is_none() {
        run.step(&mut rest);
        run.check();
    }
    run.end();
}

struct Run {
    session: Session,
    wire: Wire,
    budget: Arc<Budget>,
    now: Instant,
    input: BytesMut,
    batch: Batch,
    sent: Vec<u8>,
    streams: Vec<StreamId>,
    closed: bool,
    most_streams: usize,
    opened: usize,
}

impl Run {
    fn new(draw: u8) -> Self {
        let wire = if draw & 1 == 0 { Wire::Remux2 } else { Wire::Classic };
        let role = if draw & 2 == 0 { Role::Server } else { Role::Client };
        let mut config = SessionConfig { seed: draw.into(), ..SessionConfig::default() };
        config.limits.max_streams = Some(8);
        if draw & 4 != 0 {
            config.limits = LimitConfig { max_frame: u16::MAX, max_meta: 20, ..config.limits };
            config.sending = SendConfig { queue: 5000, quantum: 1024, batch_records: 1, ..config.sending };
            config.window = WindowConfig { growth: 1 << 20, ..config.window };
        }
        let budget = Arc::new(if draw & 8 != 0 { Budget::new(2 << 20) } else { Budget::default() });
        let now = Instant::now();
        let mut run = Self {
            session: Session::new(role, wire, config, budget.clone(), now),
            wire,
            budget,
            now,
            input: BytesMut::new(),
            batch: Batch::new(),
            sent: Vec::new(),
            streams: Vec::new(),
            closed: false,
            most_streams: 8,
            opened: 0,
        };
        if draw & 16 != 0 && wire == Wire::Remux2 {
            // Settings with which the server may open streams too.
            run.receive(&[7, 0, 0, 6, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9]);
        }
        run
    }

    fn step(&mut self, rest: &mut Draw<'_>) {
        let now = self.now;
        let op = rest.u8();
        match op % 18 {
            // A frame with its right length, of a stream near the others.
            0..=4 => {
                let (kind, flags, stream, n) = (rest.u8(), rest.u8(), rest.u8() % 24, rest.u8());
                // A long one is drawn in front only: many of them fit into one input.
                let long = op >= 128;
                let mut payload = rest.take(if long { (n & 15).into() } else { n.into() }).to_vec();
                if long {
                    payload.resize(usize::from(n) * 64, 7);
                }
                let length = payload.len() as u16;
                let head = match self.wire {
                    Wire::Remux2 => {
                        let kind = if kind & 0x80 == 0 { kind % 11 } else { kind };
                        Header { kind, flags, length, stream: stream.into() }.to_bytes().to_vec()
                    }
                    Wire::Classic => [[0, stream], length.to_be_bytes()].concat(),
                };
                self.receive(&[head, payload].concat());
            }
            5 => {
                let n = rest.u8();
                let bytes = rest.take(n.into()).to_vec();
                self.receive(&bytes);
            }
            6 => {
                let flags = rest.u8();
                let target = (flags & 1 == 0).then(|| "a.b:1".parse().expect("a target"));
                let command =
                    if flags & 2 == 0 { Default::default() } else { framing::remux2::Command::Connect };
                let first = Bytes::from(vec![5; usize::from(rest.u8()) * 40]);
                let open = Open {
                    command,
                    target,
                    priority: flags >> 2,
                    want_opened: flags & 64 != 0,
                    first,
                    fin: flags & 128 != 0,
                };
                if let Ok(id) = self.session.open(now, open) {
                    self.streams.push(id);
                    self.opened += 1;
                }
            }
            7 => {
                let (id, n) = (self.stream(rest), usize::from(rest.u8()) * 60);
                let room = self.session.send_room(id);
                let result = self.session.send(now, id, Bytes::from(vec![9; n]));
                assert_eq!(result.is_ok(), room.is_ok_and(|room| n <= room));
            }
            8 => {
                let id = self.stream(rest);
                self.session.finish(now, id);
                assert!(self.session.send_room(id).is_err());
            }
            9 => {
                let id = self.stream(rest);
                self.session.reset(now, id, Code(rest.u8().into()), "fuzz");
            }
            10 => {
                let (id, keep) = (self.stream(rest), rest.u8());
                if let Recv::Data(chunk) = self.session.recv(now, id) {
                    assert!(!chunk.is_empty());
                    self.session.release(now, id, chunk.len() / usize::from(keep % 3 + 1));
                }
            }
            11 => {
                let id = self.stream(rest);
                self.session.forget(now, id);
                self.streams.retain(|other| *other != id);
            }
            12 => {
                let id = self.stream(rest);
                self.session.answer_opened(now, id, Opened { dial_us: 7, bound: None });
            }
            // A transport that takes all, or some of it.
            13 => self.transmit(if op < 128 { usize::MAX } else { rest.u16().into() }),
            14 => self.now += Duration::from_millis(u64::from(rest.u8()) * u64::from(rest.u8())),
            15 => {
                let mut path =
                    PathInfo { rtt: Duration::from_micros(rest.u32().into()), ..PathInfo::default() };
                (path.bytes_acked, path.unacked, path.cwnd) =
                    (rest.u8().into(), rest.u8().into(), rest.u32().into());
                path.delivery_rate = rest.u32().into();
                self.session.handle_path(now, path);
            }
            16 => {
                let limit = u64::from(rest.u8()) * 100;
                self.session.drain(now, Code::DRAIN, Duration::from_millis(limit));
            }
            _ => match rest.u8() % 8 {
                0 => self.session.handle_closed(now, ConnectionError::Closed),
                1 => self.session.abort(now, ConnectionError::Aborted("fuzz".into())),
                _ => self.session.handle_suspend(now),
            },
        }
        self.wake();
    }

    /// What a driver does after each turn.
    fn wake(&mut self) {
        for _ in 0..8 {
            let due = self.session.poll_timeout().filter(|(at, _)| *at <= self.now);
            let Some((_, reason)) = due else { break };
            self.session.handle_timeout(self.now);
            let again = self.session.poll_timeout().is_some_and(|(at, why)| at <= self.now && why == reason);
            assert!(!again, "{reason} does not go away");
        }
        if self.session.wants_read() && !self.input.is_empty() {
            let _ = self.session.handle_data(self.now, &mut self.input);
        }
        self.events();
    }

    fn receive(&mut self, bytes: &[u8]) {
        // A driver does not read while it may not, and its buffer is bounded.
        if self.session.wants_read() {
            self.input.extend_from_slice(bytes);
            let result = self.session.handle_data(self.now, &mut self.input);
            assert!(result.is_ok() || self.session.closed() == result.as_ref().err());
            assert!(!self.session.wants_read() || self.input.len() < HEADER + usize::from(u16::MAX));
        }
        self.events();
    }

    /// Writes `room` bytes at most.
    fn transmit(&mut self, mut room: usize) {
        self.session.poll_transmit(self.now, &mut self.batch);
        while self.batch.has_remaining() && room > 0 {
            let n = self.batch.record_len();
            assert!((1..=Batch::MAX_RECORD).contains(&n));
            let n = n.min(room);
            room -= n;
            self.sent.extend_from_slice(&self.batch.copy_to_bytes(n));
        }
        self.session.handle_written(self.now, self.batch.len());
        if self.batch.is_empty() {
            self.read_sent();
        }
        self.events();
    }

    fn read_sent(&mut self) {
        let mut sent = &self.sent[..];
        while let (Wire::Remux2, Some((front, behind))) = (self.wire, sent.split_first_chunk()) {
            let header = Header::from_bytes(*front);
            assert!(header.kind <= 0x0A, "we send what we know");
            sent = behind.get(header.length.into()..).expect("a batch is whole frames");
        }
        self.sent.clear();
    }

    fn events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            assert!(!self.closed, "{event:?} after the last event");
            match event {
                Event::Incoming { id, .. } => self.streams.push(id),
                Event::Closed(cause) => {
                    assert_eq!(self.session.closed(), Some(&cause));
                    self.closed = true;
                }
                _ => {}
            }
        }
    }

    fn stream(&self, rest: &mut Draw<'_>) -> StreamId {
        let at = usize::from(rest.u8());
        match self.streams.get(at % self.streams.len().max(1)) {
            Some(id) if at < 250 => *id,
            _ => StreamId(at as u32 % 24),
        }
    }

    fn check(&self) {
        assert!(self.session.streams() <= self.most_streams + self.opened);
        let (held, growth) = self.session.charged();
        let streams = self.session.streams() as u64;
        let most = streams * ((1 << 20) + (256 << 10)) + growth;
        assert!(held <= most, "{held} held by {streams} streams, growth {growth}");
        assert!(growth <= 64 << 20);
    }

    fn end(mut self) {
        while self.session.wants_transmit() {
            let (before, had_room) = (self.session.stats().bytes_out, self.batch.is_empty());
            self.transmit(usize::MAX);
            let idle = self.session.stats().bytes_out == before && had_room;
            assert!(!(idle && self.session.wants_transmit()), "it wants to send and does not");
        }
        for id in std::mem::take(&mut self.streams) {
            self.session.forget(self.now, id);
        }
        self.session.abort(self.now, ConnectionError::Closed);
        self.events();
        assert!(self.closed);
        let before = self.session.stats().bytes_out;
        self.transmit(usize::MAX);
        assert_eq!(self.session.stats().bytes_out, before, "it says something after its end");
        assert_eq!((self.session.streams(), self.session.charged()), (0, (0, 0)));
        drop(self.session);
        assert_eq!(self.budget.used(), 0);
    }
}
