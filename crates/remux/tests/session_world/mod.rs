//! Two sessions back to back over in-memory pipes, or one session and hand-made frames.
#![expect(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use framing::remux2::{HEADER, Header, Kind, Open as OpenPayload, Setting};
use framing::{Encode, Target};
use remux::session::{Batch, Event, Open, Recv, Session, StreamId};
use remux::{Account, Budget, ConnectionError, Role, SessionConfig, StreamError, Wire};

/// A client and a server and the bytes between them.
pub struct Pair {
    pub now: Instant,
    pub client: Side,
    pub server: Side,
    /// How the pipes cut what passes: sizes used in turn; empty: no cuts.
    pub cuts: Vec<usize>,
    cut: usize,
}

impl Pair {
    pub fn new(wire: Wire) -> Self {
        Self::with(wire, SessionConfig::default(), SessionConfig::default())
    }

    pub fn with(wire: Wire, client: SessionConfig, server: SessionConfig) -> Self {
        let now = Instant::now();
        Self {
            now,
            client: Side::new(Role::Client, wire, client, now),
            server: Side::new(Role::Server, wire, server, now),
            cuts: Vec::new(),
            cut: 0,
        }
    }

    /// Lets all bytes pass until both sides are quiet.
    pub fn settle(&mut self) {
        while self.step() {}
    }

    /// One batch each way; false when both had nothing.
    pub fn step(&mut self) -> bool {
        // A side that is not reading stops the other's writing.
        let (up_open, down_open) = (self.server.session.wants_read(), self.client.session.wants_read());
        let up = if up_open { self.client.transmit(self.now) } else { Vec::new() };
        let down = if down_open { self.server.transmit(self.now) } else { Vec::new() };
        let moved = !up.is_empty() || !down.is_empty();
        for part in self.split(&up) {
            self.server.receive(self.now, &part);
        }
        for part in self.split(&down) {
            self.client.receive(self.now, &part);
        }
        self.client.retry(self.now);
        self.server.retry(self.now);
        moved
    }

    fn split(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut rest = bytes;
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let n = match self.cuts.is_empty() {
                true => rest.len(),
                false => self.cuts[self.cut % self.cuts.len()].clamp(1, rest.len()),
            };
            self.cut += 1;
            parts.push(rest[..n].to_vec());
            rest = &rest[n..];
        }
        parts
    }

    pub fn wait(&mut self, time: Duration) {
        self.now += time;
        self.client.tick(self.now);
        self.server.tick(self.now);
    }

    /// Opens a stream at the client and hands out the server's end of it.
    pub fn open(&mut self, open: Open) -> (StreamId, StreamId) {
        let id = self.client.session.open(self.now, open).expect("open");
        self.settle();
        (id, self.server.incoming().expect("the server got the stream").0)
    }
}

/// One session, what it said, and the bytes it has not parsed.
pub struct Side {
    pub session: Session,
    pub budget: Arc<Budget>,
    pub events: VecDeque<Event>,
    pub input: BytesMut,
    pub batch: Batch,
}

impl Side {
    pub fn new(role: Role, wire: Wire, config: SessionConfig, now: Instant) -> Self {
        // Memory is never what a test is about, unless it shares a budget of its own.
        Self::sharing(role, wire, config, Arc::new(Budget::new(1 << 40)), now)
    }

    pub fn sharing(
        role: Role,
        wire: Wire,
        config: SessionConfig,
        account: impl Into<Account>,
        now: Instant,
    ) -> Self {
        let session = Session::new(role, wire, config, account, now);
        let budget = session.budget().clone();
        Self { session, budget, events: VecDeque::new(), input: BytesMut::new(), batch: Batch::new() }
    }

    /// The next batch, as one piece.
    pub fn transmit(&mut self, now: Instant) -> Vec<u8> {
        self.session.poll_transmit(now, &mut self.batch);
        let bytes = self.batch.copy_to_bytes(self.batch.remaining()).to_vec();
        self.session.handle_written(now, 0);
        self.collect();
        bytes
    }

    pub fn receive(&mut self, now: Instant, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        if self.session.wants_read() {
            let _ = self.session.handle_data(now, &mut self.input);
        }
        self.collect();
    }

    /// What a driver does once reading is wanted again.
    pub fn retry(&mut self, now: Instant) {
        if self.session.wants_read() && !self.input.is_empty() {
            let _ = self.session.handle_data(now, &mut self.input);
            self.collect();
        }
    }

    pub fn tick(&mut self, now: Instant) {
        while self.session.poll_timeout().is_some_and(|(at, _)| at <= now) {
            let before = self.session.poll_timeout();
            self.session.handle_timeout(now);
            self.collect();
            if self.session.poll_timeout() == before {
                break;
            }
        }
    }

    pub fn collect(&mut self) {
        while let Some(event) = self.session.poll_event() {
            self.events.push_back(event);
        }
    }

    pub fn incoming(&mut self) -> Option<(StreamId, Open)> {
        let at = self.events.iter().position(|event| matches!(event, Event::Incoming { .. }))?;
        match self.events.remove(at)? {
            Event::Incoming { id, open } => Some((id, open)),
            _ => None,
        }
    }

    /// How the stream ended, once it has.
    pub fn end(&self, id: StreamId) -> Option<Result<(), StreamError>> {
        self.events.iter().find_map(|event| match event {
            Event::Ended { id: ended, end } if *ended == id => Some(end.error.clone().map_or(Ok(()), Err)),
            _ => None,
        })
    }

    pub fn closed(&self) -> Option<ConnectionError> {
        self.session.closed().cloned()
    }

    /// Reads and consumes all there is.
    pub fn read(&mut self, now: Instant, id: StreamId) -> (Vec<u8>, Recv) {
        let mut bytes = Vec::new();
        loop {
            match self.session.recv(now, id) {
                Recv::Data(chunk) => {
                    bytes.extend_from_slice(&chunk);
                    self.session.release(now, id, chunk.len());
                }
                other => {
                    self.collect();
                    return (bytes, other);
                }
            }
        }
    }

    /// Queues as much of `data` as there is room for; says how much.
    pub fn write(&mut self, now: Instant, id: StreamId, data: &[u8]) -> usize {
        let n = self.session.send_room(id).expect("room").min(data.len());
        self.session.send(now, id, Bytes::copy_from_slice(&data[..n])).expect("send");
        n
    }
}

/// One remux2 session and a hand that writes frames.
pub struct Lone {
    pub now: Instant,
    pub side: Side,
    /// Frames the session sent and nobody took yet.
    pub sent: VecDeque<(Header, Vec<u8>)>,
}

impl Lone {
    /// A session that has heard the peer's SETTINGS.
    pub fn new(role: Role, config: SessionConfig) -> Self {
        let mut lone = Self::silent(role, config);
        lone.say(Kind::Settings, 0, 0, &[]);
        lone.take_sent();
        lone
    }

    pub fn silent(role: Role, config: SessionConfig) -> Self {
        let now = Instant::now();
        Self { now, side: Side::new(role, Wire::Remux2, config, now), sent: VecDeque::new() }
    }

    pub fn server() -> Self {
        Self::new(Role::Server, SessionConfig::default())
    }

    pub fn say(&mut self, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
        self.say_raw(kind as u8, flags, stream, payload);
    }

    pub fn say_raw(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = payload.len().try_into().expect("a frame's length");
        let mut bytes = Header { kind, flags, length, stream }.to_bytes().to_vec();
        bytes.extend_from_slice(payload);
        self.side.receive(self.now, &bytes);
    }

    pub fn say_open(&mut self, id: u32) {
        self.say(Kind::Open, 0, id, &open_payload());
    }

    pub fn say_settings(&mut self, entries: &[(u16, u32)]) {
        let mut payload = Vec::new();
        entries.iter().for_each(|&(id, value)| Setting { id, value }.encode(&mut payload));
        self.say(Kind::Settings, 0, 0, &payload);
    }

    /// All frames the session wants to send now, and those it sent before.
    pub fn take_sent(&mut self) -> Vec<(Header, Vec<u8>)> {
        loop {
            let bytes = self.side.transmit(self.now);
            if bytes.is_empty() {
                return self.sent.drain(..).collect();
            }
            self.sent.extend(frames(&bytes));
        }
    }

    pub fn sent_kind(&mut self, kind: Kind) -> Vec<(Header, Vec<u8>)> {
        self.take_sent().into_iter().filter(|(header, _)| header.kind == kind as u8).collect()
    }

    /// The code of the RST the session sends for the stream.
    pub fn sent_rst(&mut self, id: u32) -> Option<(u16, u8)> {
        let resets = self.sent_kind(Kind::Rst);
        let (header, payload) = resets.iter().find(|(header, _)| header.stream == id)?;
        Some((u16::from_be_bytes([payload[0], payload[1]]), header.flags))
    }

    /// The code of the GOAWAY the session sends.
    pub fn sent_goaway(&mut self) -> Option<u16> {
        let (_, payload) = self.sent_kind(Kind::GoAway).pop()?;
        Some(u16::from_be_bytes([payload[4], payload[5]]))
    }
}

/// Cuts bytes into frames; they must be whole.
pub fn frames(bytes: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let mut rest = bytes;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let header = Header::from_bytes(rest[..HEADER].try_into().expect("a header"));
        let end = HEADER + usize::from(header.length);
        out.push((header, rest[HEADER..end].to_vec()));
        rest = &rest[end..];
    }
    out
}

pub fn open_payload() -> Vec<u8> {
    let command = framing::remux2::Command::Connect;
    OpenPayload { command, priority: 3, target: Some(target()) }.to_vec()
}

pub fn target() -> Target {
    "example.net:443".parse().expect("a target")
}

pub fn connect(first: &'static [u8]) -> Open {
    Open { first: Bytes::from_static(first), ..Open::connect(target()) }
}

/// Bytes that show where they belong.
pub fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i.wrapping_mul(31) ^ (i >> 8)) as u8).collect()
}

pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}
