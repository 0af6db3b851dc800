//! What a client or a server needs to know, typed and checked: the result of reading a configuration.
//!
//! The structs are plain, so that an embedding program may build or change them by hand; the rules of
//! the configuration (no plain transport to another host, no open SOCKS port) are applied while
//! *reading* one, by [`Client::from_pairs`] or from a file, and not again afterwards.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::address::{Endpoint, Net};
use super::error::Error;
use super::source::Source;

/// Everything a client is told: where it listens, how it reaches its server, and the limits it keeps.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where applications connect (`client.net`, `client.addr`); one endpoint.
    pub listen: Sockets,
    /// Where the server is found (`server.net`, `server.addr`), in the order to try.
    pub server: Sockets,
    /// What runs on the sockets towards the server (`eagersocks.net`, `remux.wire`).
    pub carrier: Carrier,
    /// Certificates (`tls.*`); `None` on a plain transport.
    pub tls: Option<ClientTls>,
    /// When SOCKS answers (`eagersocks.reply`).
    pub reply: Reply,
    /// How long a strict answer may wait for the server's result (`eagersocks.strict.max.sec`).
    pub strict_timeout: Duration,
    /// Who may use the SOCKS port (`client.users.*`); empty = everyone who can reach it.
    pub users: Vec<User>,
    /// Local connections at once (`client.conn.max.cnt`); above it accepting pauses.
    pub conn_max: usize,
    /// From accept to a complete request (`client.handshake.max.sec`).
    pub handshake_timeout: Duration,
    /// The pool and its connections (`remux.*`).
    pub remux: Remux,
    /// One relayed stream (`stream.*`).
    pub stream: StreamLimits,
    /// How long a stop waits for streams (`drain.max.sec`).
    pub drain: Duration,
    /// The log (`sla.log.*`).
    pub log: Log,
    /// The DingTalk robot (`sla.dingtalk.*`); `None` without a token.
    pub alert: Option<Alert>,
    /// Remarks for the log at start: nothing that stops us, but something to know.
    pub warnings: Vec<String>,
    /// Where all this came from, for [`Client::reload`].
    pub source: Arc<Source>,
}

/// Everything a server is told: where it listens, whom it believes, where it may connect, and the limits it keeps.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where clients connect (`server.net`, `server.addr`).
    pub listen: Sockets,
    /// What runs on accepted sockets (`eagersocks.net`, `remux.wire`).
    pub carrier: Carrier,
    /// Certificates (`tls.*`); `None` on a plain transport.
    pub tls: Option<ServerTls>,
    /// Destinations open beside the public Internet (`server.allow`).
    pub allow: Vec<Grant>,
    /// Destinations closed, whatever `allow` says (`server.deny`).
    pub deny: Vec<Grant>,
    /// Resolving and connecting to a destination (`server.dial.max.sec`).
    pub dial_timeout: Duration,
    /// Dials in progress for one identity (`server.dial.identity.max.cnt`); more wait.
    pub dials_per_identity: usize,
    /// Dials in progress to one destination (`server.dial.target.max.cnt`); more wait.
    pub dials_per_target: usize,
    /// Streams at once of one identity (`server.stream.identity.max.cnt`).
    pub streams_per_identity: usize,
    /// Streams at once of the process (`server.stream.max.cnt`).
    pub streams_max: usize,
    /// Share of `remux.conn.max.cnt` that one identity may hold, in percent (`server.conn.identity.percent`).
    pub identity_share_percent: u8,
    /// Limits on peers that have not shown a certificate yet (`server.preauth.*`).
    pub preauth: PreAuth,
    /// The connections (`remux.*`).
    pub remux: Remux,
    /// One relayed stream (`stream.*`).
    pub stream: StreamLimits,
    /// How long a stop waits for streams (`drain.max.sec`).
    pub drain: Duration,
    /// The log (`sla.log.*`).
    pub log: Log,
    /// The DingTalk robot (`sla.dingtalk.*`); `None` without a token.
    pub alert: Option<Alert>,
    /// Remarks for the log at start: nothing that stops us, but something to know.
    pub warnings: Vec<String>,
    /// Where all this came from, for [`Server::reload`].
    pub source: Arc<Source>,
}

impl Client {
    /// A client from setting names and values, everything else at its default: for embedding.
    ///
    /// ```
    /// let config = tunnels::config::Client::from_pairs([
    ///     ("server.net", "unix"), ("server.addr", "/run/tunnels.sock"),
    ///     ("remux.net", "unix"), ("client.addr", "127.0.0.1:1080"),
    /// ])?;
    /// assert_eq!(config.remux.reuse_max_count, 16);
    /// # Ok::<(), tunnels::config::Error>(())
    /// ```
    ///
    /// # Errors
    /// The same as for a configuration file: an unknown name, a bad value, a combination that is refused.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Error> {
        Source::from_pairs(super::Role::Client, pairs)?.client()
    }

    /// Reads file, environment and flags again, as they were named at the start.
    ///
    /// Certificates, users and the log level may be taken from the result while running; the table in
    /// `docs/configuration.md` says which settings can. Certificate files are not opened here.
    ///
    /// # Errors
    /// Whatever is wrong now; the running configuration is untouched.
    pub fn reload(&self) -> Result<Self, Error> {
        Source::reread(&self.source)?.client()
    }
}

impl Server {
    /// A server from setting names and values, everything else at its default; see [`Client::from_pairs`].
    ///
    /// # Errors
    /// The same as for a configuration file: an unknown name, a bad value, a combination that is refused.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Error> {
        Source::from_pairs(super::Role::Server, pairs)?.server()
    }

    /// Reads file, environment and flags again; see [`Client::reload`].
    ///
    /// # Errors
    /// Whatever is wrong now; the running configuration is untouched.
    pub fn reload(&self) -> Result<Self, Error> {
        Source::reread(&self.source)?.server()
    }
}

/// Sockets of one kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sockets {
    /// The kind of socket.
    pub net: Net,
    /// Its addresses, at least one, none twice.
    pub addresses: Vec<Endpoint>,
}

/// What runs on a socket between client and server, below TLS or plain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Carrier {
    /// `eagersocks.net: remux`: requests are streams of pooled connections.
    Remux(Wire),
    /// `eagersocks.net: tls` or a plain net: one connection a request, the eager request in front.
    Eager,
}

/// The framing dialect of pooled connections (`remux.wire`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wire {
    /// By ALPN in TLS; remux2 on a plain transport.
    Auto,
    /// Ours.
    Remux2,
    /// The seed's.
    Classic,
}

/// When a SOCKS or CONNECT request is answered (`eagersocks.reply`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reply {
    /// At once; a failure comes as a reset.
    Eager,
    /// With the real result, a round trip later.
    Strict,
}

/// The client's side of TLS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientTls {
    /// The CA trusted for the server (`tls.server.ca`, else `tls.client.ca`).
    pub server_ca: PathBuf,
    /// Our certificate chain (`tls.client.cert`).
    pub cert: PathBuf,
    /// Our private key (`tls.client.key`).
    pub key: PathBuf,
    /// The name the server's certificate must carry (`tls.server.name`); `None` = the host dialled.
    pub server_name: Option<String>,
}

/// The server's side of TLS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerTls {
    /// The CA that clients' certificates must chain to (`tls.client.ca`).
    pub client_ca: PathBuf,
    /// Our certificate chain (`tls.server.cert`).
    pub cert: PathBuf,
    /// Our private key (`tls.server.key`).
    pub key: PathBuf,
}

/// Somebody who may use the SOCKS port.
#[derive(Clone, Eq, PartialEq)]
pub struct User {
    /// 1 to 255 bytes.
    pub name: String,
    /// 1 to 255 bytes; never printed.
    pub password: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "User({:?}, ***)", self.name)
    }
}

/// A range of destinations: network and ports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Grant {
    /// The network; no host bits are set.
    pub network: ipnet::IpNet,
    /// First and last port, both included; 0 to 65535 when none was named.
    pub ports: (u16, u16),
}

impl Grant {
    /// Whether this address and port fall inside.
    pub fn contains(&self, address: IpAddr, port: u16) -> bool {
        self.network.contains(&address) && self.ports.0 <= port && port <= self.ports.1
    }
}

/// Pool, connections, credit and abuse limits (`remux.*`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Remux {
    /// A connection older than this takes no new stream (`reuse.max.sec`).
    pub reuse_max_age: Duration,
    /// Streams one connection takes in its life (`reuse.max.cnt`).
    pub reuse_max_count: u32,
    /// The client closes a connection without a stream after this (`idle.max.sec`).
    pub idle_max: Duration,
    /// The server closes a connection without a stream after this (`idle.server.sec`).
    pub server_idle: Duration,
    /// Connections at once (`conn.max.cnt`).
    pub conn_max: usize,
    /// Dial, TLS and first answer of the server together (`dial.max.sec`).
    pub dial_timeout: Duration,
    /// Accept to authenticated connection, one deadline (`handshake.max.sec`).
    pub handshake_timeout: Duration,
    /// SETTINGS of the peer after the handshake (`settings.max.sec`).
    pub settings_timeout: Duration,
    /// First pause after a failed dial (`backoff.min.msec`).
    pub backoff_min: Duration,
    /// Longest pause after failed dials (`backoff.max.sec`).
    pub backoff_max: Duration,
    /// Connections given to bulk streams before bulk shares (`bulk.max.cnt`).
    pub bulk_lanes: usize,
    /// Silence after which a PING asks, with streams open (`ping.quiet.sec`; 5 s client, 15 s server).
    pub ping_quiet: Duration,
    /// Longest wait for its answer (`ping.answer.sec`).
    pub ping_answer: Duration,
    /// A peer that takes no byte for this long is gone (`stall.max.sec`; 10 s client, 30 s server).
    pub stall: Duration,
    /// Streams open at once on one connection (`stream.max.cnt`).
    pub streams_max: u32,
    /// Bytes waiting to be sent on one stream (`stream.send.bytes`).
    pub send_queue: usize,
    /// Receive window a stream starts with (`window.start.bytes`).
    pub window_start: u32,
    /// Receive window an idle or unread stream shrinks to (`window.min.bytes`).
    pub window_min: u32,
    /// Receive window a fast stream grows to (`window.max.bytes`).
    pub window_max: u32,
    /// Growth of all windows of one connection (`growth.conn.bytes`).
    pub growth_connection: u64,
    /// Growth of all windows of the process (`growth.process.bytes`); `None` = min(RAM/8, 1 GiB).
    pub growth_process: Option<u64>,
    /// Promised and buffered bytes of the process (`memory.max.bytes`); `None` = min(RAM/4, 2 GiB).
    pub memory_max: Option<u64>,
    /// Classic: bytes one stream may hold unread (`classic.queue.bytes`).
    pub classic_queue: usize,
    /// Classic: how long that queue may stay full (`classic.full.sec`).
    pub classic_full: Duration,
    /// Stream opens a second by one peer, long run (`open.rate.cnt`).
    pub open_rate: u32,
    /// Stream opens at once above that rate (`open.burst.cnt`).
    pub open_burst: u32,
    /// Resets a second by or because of one peer, long run (`reset.rate.cnt`).
    pub reset_rate: u32,
    /// Resets at once above that rate (`reset.burst.cnt`).
    pub reset_burst: u32,
    /// PINGs a second by one peer (`ping.rate.cnt`).
    pub ping_rate: u32,
}

/// One relayed stream, on either side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StreamLimits {
    /// No byte either way (`stream.idle.max.sec`).
    pub idle: Duration,
    /// No byte either way after one direction has ended (`stream.half.max.sec`).
    pub half_closed: Duration,
}

/// Limits on peers that have not shown a certificate yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PreAuth {
    /// At once, all sources together (`server.preauth.max.cnt`); half of it starts random refusal.
    pub max: usize,
    /// At once from one IPv4 address or IPv6 /64 (`server.preauth.source.max.cnt`).
    pub per_source: usize,
    /// New connections a second from a source whose handshakes failed (`server.preauth.fail.rate.cnt`).
    pub fail_rate: u32,
    /// The same, at once (`server.preauth.fail.burst.cnt`).
    pub fail_burst: u32,
}

/// The log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Log {
    /// Lines below this are not written (`sla.log.level`).
    pub level: Level,
    /// The file (`sla.log.path`); `None` = stderr.
    pub path: Option<PathBuf>,
    /// Somebody named the path: not being able to open it is an error, and no reason for stderr.
    pub path_was_given: bool,
    /// Text or JSON (`sla.log.format`).
    pub format: LogFormat,
    /// A file is rotated at this size (`sla.log.max.bytes`); `None` = never.
    pub max_bytes: Option<u64>,
    /// A file is rotated at this age (`sla.log.max.age.sec`); `None` = never.
    pub max_age: Option<Duration>,
    /// Rotated files kept beside the current one (`sla.log.max.files.cnt`).
    pub max_files: usize,
    /// How destinations are written (`sla.log.redact`).
    pub redact: Redact,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// Sessions.
    Debug,
    /// Connections and sockets.
    Info,
    /// May wake someone.
    Warn,
    /// Something of ours failed.
    Error,
    /// We are about to end.
    Fatal,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// The seed's lines, local time.
    Text,
    /// One JSON object a line, UTC.
    Json,
}

/// How much of a destination is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Redact {
    /// All of it.
    Full,
    /// The registrable part.
    Domain,
    /// A hash that is the same for the same name.
    Hash,
    /// Nothing.
    None,
}

/// The DingTalk robot.
#[derive(Clone, Eq, PartialEq)]
pub struct Alert {
    /// Access token of the robot.
    pub token: String,
    /// Secret it signs with; `None` = the robot asks for no signature.
    pub secret: Option<String>,
    /// Where it listens: https, or http on loopback.
    pub url: String,
}

impl std::fmt::Debug for Alert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Alert({:?}, ***)", self.url)
    }
}
