//! How a pool behaves, and what one of its connections may carry.

use std::time::Duration;

/// How a pool behaves; the defaults are the seed's.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Our own limits on one connection (60 s, 16 streams, 256 at a time); the peer's, if smaller, hold.
    pub limits: Limits,
    /// A connection without a stream is closed after this time (10 s); more saves handshakes, costs sockets.
    pub idle_max: Duration,
    /// Connections of any state at a time (1024); bounds sockets and memory.
    pub max_connections: usize,
    /// Requests that may wait at a time (4096); bounds memory while the server is away.
    pub max_waiting: usize,
    /// How long a request waits, and a new connection for its first byte (10 s).
    pub request_timeout: Duration,
    /// The shortest pause after a failed dial (250 ms).
    pub backoff_min: Duration,
    /// The longest pause after failed dials (20 s).
    pub backoff_max: Duration,
    /// The longest pause while a request waits (1 s).
    pub backoff_waiting: Duration,
    /// Another dial begins when the newest has kept a request waiting for so long, and a new connection that has said
    /// nothing for so long takes no more streams (1 s): as long as the kernel takes to send a lost SYN again.
    pub hedge: Duration,
    /// Connections set apart for bulk streams at a time (4); more than the default is an unfair share of the path.
    pub bulk_lanes: usize,
    /// Whether to dial one connection ahead (true): no stream waits for a handshake, at the price of one idle socket.
    pub spare: bool,
}

impl Config {
    pub(super) fn sane(self) -> Self {
        Self {
            limits: self.limits.sane(),
            hedge: self.hedge.max(MIN_HEDGE),
            max_connections: self.max_connections.max(1),
            request_timeout: self.request_timeout.min(FOREVER),
            ..self
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits { max_age: Duration::from_secs(60), max_count: 16, max_streams: 256 },
            idle_max: Duration::from_secs(10),
            max_connections: 1024,
            max_waiting: 4096,
            request_timeout: Duration::from_secs(10),
            backoff_min: Duration::from_millis(250),
            backoff_max: Duration::from_secs(20),
            backoff_waiting: Duration::from_secs(1),
            hedge: Duration::from_secs(1),
            bulk_lanes: 4,
            spare: true,
        }
    }
}

/// What one connection may carry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// No new stream at this age.
    pub max_age: Duration,
    /// Streams over its whole life.
    pub max_count: u32,
    /// Streams at a time.
    pub max_streams: u32,
}

impl Limits {
    /// No limit of zero: such a connection could never be used, and the pool would dial for ever.
    pub(super) fn sane(self) -> Self {
        Self {
            max_age: self.max_age.max(MIN_AGE),
            max_count: self.max_count.max(1),
            max_streams: self.max_streams.max(1),
        }
    }
}

/// Any age above zero lets the stream through for which the connection was dialled.
const MIN_AGE: Duration = Duration::from_millis(1);
/// Hedges are for lost packets, not for a busy loop.
const MIN_HEDGE: Duration = Duration::from_millis(100);
/// Longer than any process lives, and still on the clock.
const FOREVER: Duration = Duration::from_hours(24 * 365);
