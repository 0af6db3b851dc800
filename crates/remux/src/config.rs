//! Every knob of a connection and of the pool, with its default, its unit and what more of it costs.
//!
//! All structs are plain data with public fields; `Default` is what the product runs with.

use std::time::Duration;

/// Which dialect a connection speaks; chosen once, by ALPN or by configuration.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Wire {
    /// Our own wire: half-close, reset codes, credit, liveness.
    #[default]
    Remux2,
    /// The classic TunneLS wire: `u16 session, u16 length, data`.
    Classic,
}

impl Wire {
    /// The name used in settings and logs: `remux2` or `classic`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Remux2 => "remux2",
            Self::Classic => "classic",
        }
    }
}

/// Which end of a connection this is: the client dialled, the server accepted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    /// Dialled the connection; its streams have odd ids.
    Client,
    /// Accepted the connection; its streams have even ids.
    Server,
}

/// When connections are made, reused and given up, and how each behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// A connection older than this takes no new stream. Default 60 s; more saves handshakes, but lets one
    /// path carry everything for longer.
    pub reuse_max_age: Duration,
    /// A connection that has carried this many streams takes no further one. Default 16; more saves
    /// handshakes, but one lost packet then holds up more streams.
    pub reuse_max_count: u32,
    /// A connection without streams is closed after this. Default 10 s; more costs open sockets.
    pub idle_max: Duration,
    /// The most connections at a time, dials included. Default 1024.
    pub conn_max: usize,
    /// How long a request waits for a usable connection, and a dial for its first byte. Default 10 s.
    pub dial_timeout: Duration,
    /// First pause after a failed dial. Default 250 ms.
    pub backoff_min: Duration,
    /// Longest pause after failed dials when no request waits (1 s while one does). Default 20 s.
    pub backoff_max: Duration,
    /// How each connection behaves.
    pub session: SessionConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            reuse_max_age: Duration::from_secs(60),
            reuse_max_count: 16,
            idle_max: Duration::from_secs(10),
            conn_max: 1024,
            dial_timeout: Duration::from_secs(10),
            backoff_min: Duration::from_millis(250),
            backoff_max: Duration::from_secs(20),
            session: SessionConfig::default(),
        }
    }
}

/// How one connection behaves, on either side.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Receive windows: how much of a stream may be on its way or unread.
    pub window: WindowConfig,
    /// Send queues, records and batches.
    pub sending: SendConfig,
    /// How a dead peer is found.
    pub liveness: LivenessConfig,
    /// The classic wire's own bounds.
    pub classic: ClassicConfig,
    /// What a peer may do before it is told to calm down.
    pub limits: LimitConfig,
    /// What this side tells the peer about the reuse of the connection.
    pub announce: AnnounceConfig,
    /// A server closes a connection without streams after this. Default 60 s; more costs open sockets that
    /// nobody uses. Clients go by [`Config::idle_max`].
    pub server_idle: Duration,
    /// Seed of the jitter of PINGs and of back-off. Default 0: a pool and a listener draw one by chance for
    /// themselves and each connection; any other value is taken as it is, for a simulation that repeats itself.
    pub seed: u64,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            window: WindowConfig::default(),
            sending: SendConfig::default(),
            liveness: LivenessConfig::default(),
            classic: ClassicConfig::default(),
            limits: LimitConfig::default(),
            announce: AnnounceConfig::default(),
            server_idle: Duration::from_secs(60),
            seed: 0,
        }
    }
}

/// Receive windows of the remux2 wire (bytes).
#[derive(Clone, Debug)]
pub struct WindowConfig {
    /// Window of a new stream. Default 256 KiB, also the least the wire allows; at most 2^30. A stalled
    /// reader that was never fast pins this much.
    pub initial: u32,
    /// A window shrinks no further than this while its reader is slow. Default 64 KiB.
    pub min: u32,
    /// A window grows no further than this. Default 16 MiB: 1 Gbit/s at 130 ms.
    pub max: u32,
    /// All growth of one connection's windows beyond `initial`. Default 64 MiB.
    pub growth: u64,
    /// A window whose reader left more than half of it unread for this long halves. Default 1 s.
    pub slow_after: Duration,
    /// A window halves for each such time without traffic. Default 2 s.
    pub idle_after: Duration,
}

impl Default for WindowConfig {
    fn default() -> Self {
        Self {
            initial: 256 << 10,
            min: 64 << 10,
            max: 16 << 20,
            growth: 64 << 20,
            slow_after: Duration::from_secs(1),
            idle_after: Duration::from_secs(2),
        }
    }
}

/// Send queues, records and batches (bytes).
#[derive(Clone, Debug)]
pub struct SendConfig {
    /// Bytes a stream takes from its application before they are on the wire. Default 256 KiB; more hides
    /// a slow application better, and costs that much per stream that is blocked.
    pub queue: usize,
    /// When all streams of a connection together have this many bytes queued, each may queue no more than
    /// [`crowded_share`](Self::crowded_share). Default 8 MiB: a peer that opens many streams and reads none of them pins this
    /// much and not a whole queue for each.
    pub crowded: usize,
    /// See [`crowded`](Self::crowded). Default 32 KiB, two frames: less costs a busy stream among many blocked ones its rate.
    pub crowded_share: usize,
    /// Size of records at start and after [`small_idle`](Self::small_idle). Default 1400: one packet, so that
    /// the first bytes can be opened before a whole 16 KiB record has arrived. 16384 turns it off.
    pub small_record: usize,
    /// Records are small until this many bytes are out. Default 48 KiB.
    pub small_until: usize,
    /// A connection that sent nothing for this long starts with small records again. Default 1 s.
    pub small_idle: Duration,
    /// Bytes a stream sends per round among equals. Default 16 KiB; four times that while no interactive
    /// stream is seen.
    pub quantum: usize,
    /// Records per write at most. Default 8, at least 1.
    pub batch_records: usize,
}

impl Default for SendConfig {
    fn default() -> Self {
        Self {
            queue: 256 << 10,
            crowded: 8 << 20,
            crowded_share: 32 << 10,
            small_record: 1400,
            small_until: 48 << 10,
            small_idle: Duration::from_secs(1),
            quantum: 16 << 10,
            batch_records: 8,
        }
    }
}

/// How a dead peer is found; PINGs exist on the remux2 wire only.
#[derive(Clone, Debug)]
pub struct LivenessConfig {
    /// A client with a reason to ask (an open stream, unacknowledged bytes) sends a PING after this much
    /// silence, less up to 20 %. Default 5 s.
    pub ping_client: Duration,
    /// The same for a server. Default 15 s.
    pub ping_server: Duration,
    /// The same after three rounds in which nothing but the answers came. Default 25 s: under the 30 s
    /// after which common NATs forget.
    pub ping_quiet: Duration,
    /// The answer must come within four round trips, but not sooner than this. Default 1 s.
    pub answer_min: Duration,
    /// And not later than this, which is also what it has while our kernel sends lost bytes again. Default 5 s.
    pub answer_max: Duration,
    /// On the classic wire, which can't ask: a connection whose bytes nobody acknowledged for this long is dead.
    /// Default 9 s: looked at four times a second, it is known within 10 s.
    pub unacked: Duration,
    /// An OPEN on a connection silent for longer than this carries a PING. Default 2 s.
    pub open_silence: Duration,
    /// A connection with bytes to write that got none of them rid is closed after this. Default 30 s.
    pub stall: Duration,
    /// The peer's SETTINGS must have come by then. Default 5 s.
    pub settings: Duration,
}

impl Default for LivenessConfig {
    fn default() -> Self {
        Self {
            ping_client: Duration::from_secs(5),
            ping_server: Duration::from_secs(15),
            ping_quiet: Duration::from_secs(25),
            answer_min: Duration::from_secs(1),
            answer_max: Duration::from_secs(5),
            unacked: Duration::from_secs(9),
            open_silence: Duration::from_secs(2),
            stall: Duration::from_secs(30),
            settings: Duration::from_secs(5),
        }
    }
}

/// Bounds of the classic wire, which has no credit.
#[derive(Clone, Debug)]
pub struct ClassicConfig {
    /// Unread bytes a stream may hold; full, the connection is not read. Default 256 KiB.
    pub queue: usize,
    /// A stream that holds up the connection for this long in all, with less than a quarter of its queue read
    /// meanwhile, ends. Default 10 s.
    pub full: Duration,
    /// Longest payload sent in a frame. Default 16 KiB, at most 65535; more saves headers, and lets one
    /// stream hold the line for longer.
    pub max_payload: usize,
    /// Each stream begins with an eager request (`05 01 00 ATYP ADDR PORT`), which the accepting side reads
    /// into [`Open::target`](crate::session::Open::target). Default true; false hands all bytes through.
    pub request: bool,
    /// The whole request must have come by then. Default 10 s.
    pub request_timeout: Duration,
}

impl Default for ClassicConfig {
    fn default() -> Self {
        Self {
            queue: 256 << 10,
            full: Duration::from_secs(10),
            max_payload: 16 << 10,
            request: true,
            request_timeout: Duration::from_secs(10),
        }
    }
}

/// What this side's SETTINGS say about the reuse of the connection; `None` says nothing.
#[derive(Clone, Debug, Default)]
pub struct AnnounceConfig {
    /// Please use the connection no longer than this for new streams. Default: nothing said.
    pub max_age: Option<Duration>,
    /// Please open no more streams than this. Default: nothing said.
    pub max_reuse: Option<u32>,
}

/// A rate with a burst: `burst` at once, then one per `every`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// How many at once.
    pub burst: u32,
    /// The time after which one more is allowed.
    pub every: Duration,
}

impl Rate {
    /// `burst` at once, then `per_second`; 0 for never again.
    pub fn per_second(burst: u32, per_second: u32) -> Self {
        Self { burst, every: Duration::from_secs(1).checked_div(per_second).unwrap_or(Duration::MAX) }
    }
}

/// What a peer may do. "Calm" below: the connection ends with GOAWAY CALM.
#[derive(Clone, Debug)]
pub struct LimitConfig {
    /// Streams the peer may have open here. `None`: 256 at a server, 0 at a client. A stream counts until the
    /// application let go of it. Over: RST REFUSED_SAFE (classic: end of session).
    pub max_streams: Option<u32>,
    /// OPENs. Default 64 at once, 256/s. Over: RST REFUSED_SAFE.
    pub opens: Rate,
    /// Refused OPENs in 10 s, but for those refused only because this process is short of memory or drains. Default 100.
    /// Over: calm.
    pub refusals: u32,
    /// Resets by the peer of streams it opened, and resets its mistakes make us send. Default 100 at
    /// once, 10/s. Over: calm.
    pub resets: Rate,
    /// DATA under 256 bytes that lands behind unread bytes of its stream, DATA without a byte, and other frames for streams
    /// that have just ended; each longer DATA gives one back. Default 65,536 at once and per second: about a hundredth of
    /// a core. Over: calm.
    pub tiny: Rate,
    /// PINGs. Default 20 at once, 10/s. Over: calm.
    pub pings: Rate,
    /// SETTINGS. Default 16 at once, one per 10 s. Over: calm.
    pub settings: Rate,
    /// CREDITs that grant less than 4 KiB more. Default 1000 at once and per second. Over: calm.
    pub credits: Rate,
    /// Frames without use: for streams ended long ago, PRIORITY oftener than every 100 ms on a stream, a
    /// second OPENED, repeated GOAWAYs, unknown frames that may be skipped. Default 1024 at once, 100/s.
    /// Over: calm.
    pub strays: Rate,
    /// Bytes of PAD and of unknown frames beyond a quarter of the data. Default 256 KiB. Over: calm.
    pub padding: u64,
    /// Longest payload accepted. Default 16376, at most 65535. Over: PROTOCOL.
    pub max_frame: u16,
    /// Longest target and options of an OPEN. Default 512, the most there is; at most 16 options. Over: RST PROTOCOL.
    pub max_meta: u16,
    /// A stream of which nothing was read for this long, with no room for another frame in its window, is reset (LIMIT)
    /// once the process's [`Budget`](crate::Budget) is 80 % full. Default 120 s.
    pub unread: Duration,
    /// A stream the application has let go of, after its end was queued, is reset (LIMIT) when the peer takes less than a
    /// quarter of [`SendConfig::queue`] of its last bytes in this time. Default 300 s; more lets a paused player have its
    /// last 256 KiB later, and lets a hostile peer hold as much for longer.
    pub linger: Duration,
}

impl Default for LimitConfig {
    fn default() -> Self {
        Self {
            max_streams: None,
            opens: Rate::per_second(64, 256),
            refusals: 100,
            resets: Rate::per_second(100, 10),
            tiny: Rate::per_second(65_536, 65_536),
            pings: Rate::per_second(20, 10),
            settings: Rate { burst: 16, every: Duration::from_secs(10) },
            credits: Rate::per_second(1000, 1000),
            strays: Rate::per_second(1024, 100),
            padding: 256 << 10,
            max_frame: 16_376,
            max_meta: 512,
            unread: Duration::from_secs(120),
            linger: Duration::from_secs(300),
        }
    }
}
