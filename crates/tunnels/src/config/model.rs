//! What a client or a server needs to know, typed and checked: the result of reading a configuration.
//!
//! The structs are plain, so that an embedding program may build or change them by hand; the rules of
//! the configuration (no plain transport to another host, no open SOCKS port) are applied while
//! *reading* one, by [`Client::from_pairs`] or from a file, and not again afterwards.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use eagersocks::{Reply, Users};
use routing::Grant;
use sla::Redaction;
use sla::subscriber::dingtalk::Endpoint;
use sla::subscriber::{Format, Level, LogPath, Rotation};
use transport::{Address, Net};

use super::error::Error;
use super::identity::Identities;
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
    pub users: Users,
    /// Local connections at once (`client.conn.max.cnt`); above it accepting pauses.
    pub conn_max: usize,
    /// From accept to a complete request (`client.handshake.max.sec`).
    pub handshake_timeout: Duration,
    /// The pool and its connections (`remux.*`).
    pub remux: remux::Config,
    /// What all connections together may hold.
    pub memory: Memory,
    /// One relayed stream (`stream.*`).
    pub stream: StreamLimits,
    /// How long a stop waits for streams (`drain.max.sec`).
    pub drain: Duration,
    /// Whom the process becomes once it listens (`process.user`); `None`: it stays who it is.
    pub user: Option<String>,
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
    /// Who is let in, and what each of them may do (`server.identities.file`).
    pub identities: Identities,
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
    pub preauth: transport::Limits,
    /// The connections (`remux.*`).
    pub remux: remux::Config,
    /// What all connections together may hold.
    pub memory: Memory,
    /// From accept to an authenticated connection (`remux.handshake.max.sec`).
    pub handshake_timeout: Duration,
    /// One relayed stream (`stream.*`).
    pub stream: StreamLimits,
    /// How long a stop waits for streams (`drain.max.sec`).
    pub drain: Duration,
    /// Whom the process becomes once it listens (`process.user`); `None`: it stays who it is.
    pub user: Option<String>,
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
    /// Users and grants may be taken from the result while running; the table in `docs/configuration.md` says which
    /// settings can, and [`Client::restart_warning`] which of the others have changed. Certificate files are not opened
    /// here.
    ///
    /// # Errors
    /// Whatever is wrong now; the running configuration is untouched.
    pub fn reload(&self) -> Result<Self, Error> {
        Source::reread(&self.source)?.client()
    }

    /// What [`Client::reload`] brought that only a restart can bring into effect, as a line for the log; `None` = nothing.
    pub fn restart_warning(&self, fresh: &Client) -> Option<String> {
        restart_warning(self.source.restart_needed(&fresh.source), &self.alert, &fresh.alert)
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

    /// What [`Server::reload`] brought that only a restart can bring into effect, as a line for the log; `None` = nothing.
    pub fn restart_warning(&self, fresh: &Server) -> Option<String> {
        restart_warning(self.source.restart_needed(&fresh.source), &self.alert, &fresh.alert)
    }
}

fn restart_warning(mut names: Vec<&str>, old: &Option<Alert>, new: &Option<Alert>) -> Option<String> {
    // Behind `file:` the setting stays and the secret changes.
    if old != new && !names.iter().any(|name| name.starts_with("sla.dingtalk.")) {
        names.push("the secrets of sla.dingtalk");
    }
    if names.is_empty() {
        return None;
    }
    let code = sla::code::RESTART;
    Some(format!(
        "{code} changed, but not in effect yet: {} → restart this program when it suits",
        names.join(", ")
    ))
}

/// Sockets of one kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sockets {
    /// The kind of socket.
    pub net: Net,
    /// Its addresses, at least one, none twice.
    pub addresses: Vec<Address>,
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

/// The client's side of TLS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientTls {
    /// The CA trusted for the server (`tls.server.ca`, else `tls.client.ca`).
    pub server_ca: PathBuf,
    /// Our certificate chain (`tls.client.cert`).
    pub cert: PathBuf,
    /// Our private key (`tls.client.key`).
    pub key: PathBuf,
    /// Revocation lists of the CAs trusted for the server (`tls.server.crl`).
    pub crl: Option<PathBuf>,
    /// A connection ends with the server's certificate (`tls.cut.expired`).
    pub cut_expired: bool,
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
    /// Revocation lists of the CAs in `client_ca` (`tls.client.crl`).
    pub crl: Option<PathBuf>,
    /// A connection ends with the client's certificate (`tls.cut.expired`).
    pub cut_expired: bool,
}

/// Bounds of the whole process, for `remux::Budget`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Memory {
    /// The account of all that is promised, buffered or a fixed cost (`remux.memory.max.bytes`); `None` = a quarter of the
    /// memory, 4 GiB at most.
    pub max: Option<u64>,
}

/// One relayed stream, on either side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StreamLimits {
    /// No byte either way (`stream.idle.max.sec`).
    pub idle: Duration,
    /// No byte either way after one direction has ended (`stream.half.max.sec`).
    pub half_closed: Duration,
}

/// The log, in the words of `sla::subscriber::Config`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Log {
    /// Lines below this are not written (`sla.log.level`).
    pub level: Level,
    /// Where lines go (`sla.log.path`); a path that somebody named must be usable.
    pub path: LogPath,
    /// Text or JSON (`sla.log.format`).
    pub format: Format,
    /// When a file is changed for a new one (`sla.log.max.*`).
    pub rotation: Rotation,
    /// How destinations are written (`sla.log.redact`).
    pub redaction: Redaction,
}

/// The DingTalk robot.
#[derive(Clone, Eq, PartialEq)]
pub struct Alert {
    /// Access token of the robot.
    pub token: String,
    /// Secret it signs with; `None` = the robot asks for no signature.
    pub secret: Option<String>,
    /// Where it listens.
    pub url: Endpoint,
}

impl std::fmt::Debug for Alert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Alert({:?}, ***)", self.url)
    }
}
