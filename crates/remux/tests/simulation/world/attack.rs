//! Peers that mean harm: nonsense between the frames of an honest session, and clients that say only what hurts.

use std::time::{Duration, Instant};

use bytes::Bytes;
use framing::Encode;
use framing::remux2::{Code, Command, Credit, Header, Kind, Open, Priority, Rst, flags};
use remux::{ConnectionError, Wire};
use simnet::{Arrival, Duplex, Link, Rng};

use super::end::End;

/// What an attacker says again and again, as a remux2 client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tactic {
    /// Opens a stream and resets it.
    ResetLoop,
    /// Opens streams and breaks a rule on each, so that the server has to reset it.
    Provoke,
    /// Opens streams that are at their end at once, and reads no answer.
    OpenUnread,
    /// Opens more streams than there may be.
    OpenMany,
    /// Single bytes behind unread ones.
    Tiny,
    /// DATA without a byte.
    Empty,
    /// CREDIT that changes nothing.
    Credits,
    /// PING.
    Pings,
    /// SETTINGS.
    Settings,
    /// PAD.
    Padding,
    /// Frames of unknown kinds that may be skipped.
    Unknown,
    /// PRIORITY.
    Priorities,
    /// Fills the windows of all streams there may be.
    Fill,
}

/// A client that attacks.
#[derive(Debug)]
pub(crate) struct Attacker {
    pub(crate) tactic: Tactic,
    rng: Rng,
    at: Instant,
    /// Time between two bursts.
    every: Duration,
    /// So slow that it may open as many streams as it does: the limit on resets alone ends it.
    patient: bool,
    /// Streams it works with, where it does not open ever more of them.
    streams: u32,
    next_id: u32,
    /// Frames of the attack so far.
    pub(crate) said: u64,
    /// Bytes of payload sent to fill windows.
    filled: u64,
    pub(crate) began: Instant,
    /// The most its connection was charged, and the most streams it held.
    pub(crate) peak: (u64, usize),
    /// How the server ended it, and when.
    pub(crate) ended: Option<(Instant, ConnectionError)>,
}

impl Attacker {
    pub(crate) fn new(tactic: Tactic, begins: Instant, streams: u32, mut rng: Rng) -> Self {
        let mut every = Duration::from_micros(rng.between(200, 5_000));
        let patient = matches!(tactic, Tactic::ResetLoop | Tactic::Provoke) && rng.one_in(2);
        if patient {
            every = Duration::from_millis(rng.between(6, 30));
        }
        Self {
            tactic,
            at: begins,
            every,
            patient,
            streams,
            next_id: 1,
            said: 0,
            filled: 0,
            began: begins,
            peak: (0, 0),
            ended: None,
            rng,
        }
    }

    /// Says the next part of it; whether it did.
    pub(crate) fn act(&mut self, now: Instant, to: &mut Link) -> bool {
        let over = self.ended.is_some() || to.is_cut();
        if over || self.at > now || to.room() < 40_000 {
            return false;
        }
        let mut out = Vec::new();
        if self.next_id == 1 {
            say(&mut out, Kind::Settings, 0, 0, &[]);
        }
        let burst = if self.patient { 1 } else { self.rng.between(1, 100) };
        for _ in 0..burst {
            if out.len() > 20_000 {
                break;
            }
            self.speak(&mut out);
        }
        self.at = now + self.every;
        let spoke = !out.is_empty();
        if spoke {
            to.send(now, out.into());
        } else {
            self.at = now + Duration::from_secs(3_600);
        }
        spoke
    }

    fn speak(&mut self, out: &mut Vec<u8>) {
        use Tactic as T;
        let opens = matches!(self.tactic, T::ResetLoop | T::Provoke | T::OpenUnread | T::OpenMany);
        if !opens && self.next_id < 2 * self.streams {
            self.open(out, 0);
            return;
        }
        if self.tactic == T::OpenUnread && self.next_id > 2 * self.streams {
            return;
        }
        let any = 1 + 2 * u32::try_from(self.rng.between(0, u64::from(self.streams) - 1)).unwrap();
        self.said += 1;
        match self.tactic {
            T::ResetLoop => {
                let id = self.open(out, 0);
                say(out, Kind::Rst, 0, id, &Rst { code: Code::CANCEL, text: String::new() }.to_vec());
            }
            T::Provoke => self.provoke(out),
            T::OpenUnread => {
                self.open(out, flags::FIN);
            }
            T::OpenMany => {
                self.open(out, 0);
            }
            T::Tiny => say(out, Kind::Data, 0, any, b"x"),
            T::Empty => say(out, Kind::Data, 0, any, &[]),
            T::Credits => say(out, Kind::Credit, 0, any, &Credit { consumed: 0, window: WINDOW }.to_vec()),
            T::Pings => say(out, Kind::Ping, 0, 0, &[7; 8]),
            T::Settings => say(out, Kind::Settings, 0, 0, &[]),
            T::Padding => say(out, Kind::Pad, 0, 0, &[0; 2_000]),
            T::Unknown => say_raw(out, 0x40, 0, 0, b"skip"),
            T::Priorities => {
                let priority = self.rng.bits().to_le_bytes()[0] & 7;
                say(out, Kind::Priority, 0, any, &Priority { priority }.to_vec());
            }
            T::Fill => self.fill(out),
        }
    }

    fn open(&mut self, out: &mut Vec<u8>, bits: u8) -> u32 {
        let id = self.next_id;
        self.next_id += 2;
        let target = Some("attack.example:443".parse().unwrap());
        let open = Open { command: Command::Connect, priority: 3, target };
        say(out, Kind::Open, bits, id, &open.to_vec());
        id
    }

    /// A rule broken on a new stream, each of them answered by a reset.
    fn provoke(&mut self, out: &mut Vec<u8>) {
        let credit = |consumed, window| Credit { consumed, window }.to_vec();
        match self.rng.between(0, 3) {
            0 => {
                let id = self.open(out, 0);
                say(out, Kind::Credit, 0, id, &credit(0, (1 << 30) + 1));
            }
            1 => {
                let id = self.open(out, 0);
                say(out, Kind::Credit, 0, id, &credit(1, WINDOW));
            }
            2 => {
                let id = self.open(out, flags::FIN);
                say(out, Kind::Data, 0, id, b"after the end");
            }
            _ => {
                say(out, Kind::Open, 0, self.next_id, &[1, 3, 0, 1, 9]);
                self.next_id += 2;
            }
        }
    }

    /// The next piece, one stream's window after the other's.
    fn fill(&mut self, out: &mut Vec<u8>) {
        let (stream, offset) = (self.filled / u64::from(WINDOW), self.filled % u64::from(WINDOW));
        // A promise counts as much as a byte; some of them are enough.
        if stream < u64::from(self.streams.min(3)) {
            let piece = (u64::from(WINDOW) - offset).min(16_000);
            self.filled += piece;
            let id = 1 + 2 * u32::try_from(stream).unwrap();
            say(out, Kind::Data, 0, id, &vec![0; usize::try_from(piece).unwrap()]);
        }
    }

    /// Takes what the server says without looking at it, or leaves it where it is.
    pub(crate) fn read(&mut self, now: Instant, from: &mut Link, end: &mut End) -> bool {
        let mut busy = false;
        while self.tactic != Tactic::OpenUnread && end.over.is_none() {
            match from.receive(now, usize::MAX) {
                Some(Arrival::Data(_)) => busy = true,
                Some(Arrival::End | Arrival::Cut) => end.over = Some(ConnectionError::Closed),
                None => break,
            }
        }
        if from.is_cut() && end.over.is_none() {
            end.over = Some(ConnectionError::Closed);
            return true;
        }
        busy
    }

    /// Looks at what its connection costs the server, and whether that has ended it.
    pub(crate) fn look(&mut self, now: Instant, server: &End) {
        let (charged, streams) = (server.session.charged().0, server.session.streams());
        self.peak = (self.peak.0.max(charged), self.peak.1.max(streams));
        if let Some(cause) = server.session.closed().filter(|_| self.ended.is_none()) {
            self.ended = Some((now, cause.clone()));
        }
    }

    /// When it goes on.
    pub(crate) fn poll_timeout(&self, link: &Duplex) -> Option<Instant> {
        let speaks = self.ended.is_none() && !link.ab.is_cut() && link.ab.room() >= 40_000;
        let reads = self.tactic != Tactic::OpenUnread;
        speaks.then_some(self.at).into_iter().chain(link.ba.poll_timeout().filter(|_| reads)).min()
    }
}

fn say(out: &mut Vec<u8>, kind: Kind, bits: u8, stream: u32, payload: &[u8]) {
    say_raw(out, kind as u8, bits, stream, payload);
}

fn say_raw(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = payload.len().try_into().unwrap();
    out.extend_from_slice(&Header { kind, flags, length, stream }.to_bytes());
    out.extend_from_slice(payload);
}

/// Frames that are well formed more often than not, with fields that mean nothing.
pub(crate) fn nonsense(wire: Wire, rng: &mut Rng) -> Bytes {
    let length = if rng.one_in(4) { rng.size(0, 20_000) } else { rng.size(0, 40) };
    let length = u16::try_from(length).unwrap_or(u16::MAX);
    let low = u32::try_from(rng.between(0, 40)).unwrap();
    let stream = if rng.one_in(5) { u32::try_from(rng.bits() >> 32).unwrap() } else { low };
    let byte = |rng: &mut Rng| rng.bits().to_le_bytes()[0];
    let mut out = Vec::new();
    if wire == Wire::Classic {
        out.extend_from_slice(&u16::try_from(low).unwrap().to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        let kind = if rng.one_in(4) { byte(rng) } else { byte(rng) % 12 };
        let header = Header { kind, flags: byte(rng) & 7, length, stream };
        out.extend_from_slice(&header.to_bytes());
    }
    for _ in 0..length {
        out.push(byte(rng) & if rng.one_in(3) { 0xFF } else { 0x07 });
    }
    out.into()
}

/// The identity of them all.
pub(crate) const ATTACKER: &str = "attacker";
/// The window of a new stream.
const WINDOW: u32 = 262_144;
