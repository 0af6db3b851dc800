//! Events that are one line and no more.

use std::time::{Duration, Instant};

use tracing::field as fmt;

use super::quota::Quota;
use super::{Role, millis};
use crate::redact::{Named, Scrubbed};
use crate::{ConnectionId, Redacted, code};

/// One finished stream, for [`access`].
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// The connection that carried it; none where it had no connection (refused before, or without mux).
    pub connection_id: Option<ConnectionId>,
    /// Its number in that connection.
    pub stream_id: Option<u32>,
    /// Which side we are.
    pub role: Role,
    /// How it came in: `socks5`, `socks4`, `socks4a`, `http`, `eager`.
    pub inbound: &'a str,
    /// The application's address (client) or the peer connection's (server).
    pub source: &'a str,
    /// `host:port` as asked.
    pub target: &'a str,
    /// Who asked: the SOCKS user at the client, the certificate's name at the server.
    pub identity: Option<&'a str>,
    /// Payload bytes from the application to the destination.
    pub bytes_up: u64,
    /// Payload bytes from the destination to the application.
    pub bytes_down: u64,
    /// From the request to the end of both directions.
    pub duration: Duration,
    /// From the request to the first byte from the destination, where one came.
    pub first_byte: Option<Duration>,
    /// `fin`, `reset`, `refused`, `truncated`, `timeout`, `denied` …
    pub end: &'a str,
    /// What went wrong, where something did.
    pub error: Option<&'a str>,
}

/// The access line of a finished stream: JSON only, as the `sock` lines are its view in text. At info.
pub fn access(access: &Access<'_>) {
    let &Access { target, .. } = access;
    tracing::info!(
        name: "access",
        target: "sla::access",
        connection_id = access.connection_id.map(tracing::field::display),
        stream_id = access.stream_id,
        role = access.role.as_str(),
        inbound = access.inbound,
        source = access.source,
        target_address = %Redacted(target),
        identity = access.identity,
        bytes_up = access.bytes_up,
        bytes_down = access.bytes_down,
        duration_ms = millis(access.duration),
        first_byte_ms = access.first_byte.map(millis),
        end = access.end,
        error = access.error.map(|text| tracing::field::display(Scrubbed::new(text, target))),
        "stream finished"
    );
}

/// A listener broke. At error.
pub fn accept_failed(address: &str, cause: &str) {
    tracing::error!(name: "accept_failed", target: "sla::load", address, cause, "accept failed");
}

/// Destination policy refused a destination. At info; the name is shown at least as its domain. Bounded: see
/// `held_back`.
pub fn acl_denied(identity: Option<&str>, target: &str, rule: &str) {
    static LINES: Quota = Quota::new(FLOOD_BURST, FLOOD_EVERY);
    if !tracing::enabled!(target: "sla::rule", tracing::Level::INFO) {
        return;
    }
    let Some(held_back) = LINES.take(Instant::now()) else { return };
    tracing::info!(
        name: "acl_denied",
        target: "sla::rule",
        identity,
        target_address = %Named(target),
        rule = %Scrubbed::named(rule, target),
        held_back = some(held_back),
        "destination denied"
    );
}

/// An alert was lost after all its tries. At warn, and never itself alerted.
pub fn alert_failed(cause: &str, tries: u32) {
    tracing::warn!(name: "alert_failed", target: "sla::hook", cause, tries, "alert not delivered");
}

/// The robot said that it gets too many messages. At warn, and never itself alerted.
pub fn alert_paused(pause: Duration, held: u64) {
    tracing::warn!(
        name: "alert_paused",
        target: "sla::hook",
        pause_ms = millis(pause),
        held,
        cause = fmt::display(format_args!(
            "{} the robot takes 20 messages a minute from all its senders → send fewer of others there, or give this \
             program a robot of its own",
            code::ALERT_PAUSED
        )),
        "DingTalk rate limit hit, alerts paused; a summary will follow"
    );
}

/// The robot refused our signature, token or words. At warn, and never itself alerted.
pub fn alert_rejected(cause: &str) {
    tracing::warn!(name: "alert_rejected", target: "sla::hook", cause, "DingTalk refused the alert");
}

/// An application or a peer showed a wrong user or password. At warn. Bounded: see `held_back`.
pub fn auth_failed(source: &str, user: Option<&str>) {
    static LINES: Quota = Quota::new(FLOOD_BURST, FLOOD_EVERY);
    if !tracing::enabled!(target: "sla::sock", tracing::Level::WARN) {
        return;
    }
    let Some(held_back) = LINES.take(Instant::now()) else { return };
    let cause = match user {
        Some(_) => "the password is wrong",
        None => "there is no such user, or what came is no password",
    };
    tracing::warn!(
        name: "auth_failed",
        target: "sla::sock",
        source,
        user,
        cause = fmt::display(format_args!(
            "{} {cause} → compare the application's proxy settings with client.users",
            code::APP_PASSWORD
        )),
        held_back = some(held_back),
        "wrong user or password"
    );
}

/// A certificate in use is past its end. At error.
pub fn certificate_expired(file: &str) {
    tracing::error!(
        name: "certificate_expired",
        target: "sla::cert",
        file,
        cause = fmt::display(renewal("the other end refuses it")),
        "certificate expired"
    );
}

/// A certificate in use ends soon. At warn.
pub fn certificate_expiring(file: &str, days_left: u32) {
    tracing::warn!(
        name: "certificate_expiring",
        target: "sla::cert",
        file,
        days_left,
        cause = fmt::display(renewal("after that the other end refuses it")),
        "certificate ends soon"
    );
}

/// A setting is allowed but questionable; `text` says what and what to do. At warn.
pub fn config_warning(text: &str) {
    tracing::warn!(name: "config_warning", target: "sla::conf", cause = text, "questionable setting");
}

/// A suspect connection answered again. At info.
pub fn conn_alive(id: ConnectionId) {
    tracing::info!(name: "conn_alive", target: "sla::conn", connection_id = %id, "connection answers again");
}

/// A connection was closed for what its peer did: it went over a limit, broke the protocol, took no bytes, or held the most
/// memory when there was none left. At warn, once for each such connection beside its `conn_close`. Bounded: see `held_back`.
pub fn conn_cut(id: ConnectionId, role: Role, remote: &str, identity: Option<&str>, cause: &str) {
    static LINES: Quota = Quota::new(FLOOD_BURST, FLOOD_EVERY);
    if !tracing::enabled!(target: "sla::conn", tracing::Level::WARN) {
        return;
    }
    let Some(held_back) = LINES.take(Instant::now()) else { return };
    tracing::warn!(
        name: "conn_cut",
        target: "sla::conn",
        connection_id = %id,
        role = role.as_str(),
        remote,
        identity,
        cause,
        held_back = some(held_back),
        "connection cut"
    );
}

/// A connection takes no new stream and ends when its last one does. At debug.
pub fn conn_draining(id: ConnectionId, cause: &str) {
    tracing::debug!(
        name: "conn_draining",
        target: "sla::conn",
        connection_id = %id,
        cause,
        "connection draining"
    );
}

/// A connection has not answered for a while and takes no new stream until it does. At info.
pub fn conn_suspect(id: ConnectionId, cause: &str) {
    tracing::info!(
        name: "conn_suspect",
        target: "sla::conn",
        connection_id = %id,
        cause,
        "connection suspect"
    );
}

/// A revocation list in use is older than its CA promised; what it lists stays refused. At error.
pub fn crl_stale(file: &str) {
    tracing::error!(name: "crl_stale", target: "sla::cert", file, "revocation list is stale");
}

/// The next dial waits. At debug; `attempt` counts failures in a row.
pub fn dial_backoff(server: &str, wait: Duration, attempt: u32) {
    tracing::debug!(
        name: "dial_backoff",
        target: "sla::conn",
        server,
        wait_ms = millis(wait),
        attempt,
        "dial waits"
    );
}

/// A server could not be reached. At warn; `attempt` counts failures in a row. See [`super::Health`].
pub fn dial_failed(server: &str, cause: &str, attempt: u32) {
    tracing::warn!(name: "dial_failed", target: "sla::conn", server, cause, attempt, "dial failed");
}

/// We take no new work and wait for the rest. At info.
pub fn draining(role: Role, connections: u64, limit: Duration) {
    tracing::info!(
        name: "draining",
        target: "sla::main",
        role = role.as_str(),
        connections,
        limit_ms = millis(limit),
        "draining"
    );
}

/// A transport came up but the peer did not pass, or did not finish in time. At warn. Bounded: see `held_back`.
pub fn handshake_failed(role: Role, remote: &str, cause: &str) {
    static LINES: Quota = Quota::new(FLOOD_BURST, FLOOD_EVERY);
    if !tracing::enabled!(target: "sla::conn", tracing::Level::WARN) {
        return;
    }
    let Some(held_back) = LINES.take(Instant::now()) else { return };
    tracing::warn!(
        name: "handshake_failed",
        target: "sla::conn",
        role = role.as_str(),
        remote,
        cause,
        held_back = some(held_back),
        "handshake failed"
    );
}

/// A limit of ours was reached; `what` says which, `source` who ran into it: the peer's address, and its identity where it
/// has one. At warn. Bounded: see `held_back`.
pub fn limit_reached(what: &str, source: &str, identity: Option<&str>, limit: u64) {
    static LINES: Quota = Quota::new(FLOOD_BURST, FLOOD_EVERY);
    if !tracing::enabled!(target: "sla::load", tracing::Level::WARN) {
        return;
    }
    let Some(held_back) = LINES.take(Instant::now()) else { return };
    tracing::warn!(
        name: "limit_reached",
        target: "sla::load",
        what,
        source,
        identity,
        limit,
        held_back = some(held_back),
        "limit reached"
    );
}

/// A listener is ready. At info; `net` is `tcp`, `unix`, and what runs on it, such as `tls`.
pub fn listening(role: Role, net: &str, address: &str) {
    tracing::info!(
        name: "listening",
        target: "sla::main",
        role = role.as_str(),
        net,
        address,
        "listening"
    );
}

/// Log lines were lost; written by the log itself once it can write again. At warn.
pub fn log_dropped(lines: u64) {
    tracing::warn!(
        name: "log_dropped",
        target: "sla::logs",
        lines,
        cause = fmt::display(format_args!(
            "{} they came faster than they could be written, or could not be written → look at standard error for the \
             reason; a higher sla.log.level means fewer lines",
            code::LOG_LOST
        )),
        "log lines dropped"
    );
}

/// The log file can't be used by this process. At warn.
pub fn log_fallback(path: &str, cause: &str) {
    tracing::warn!(name: "log_fallback", target: "sla::logs", path, cause, "logging to stderr");
}

/// Memory is free again after it was short. At info.
pub fn memory_free(used: u64, limit: u64) {
    tracing::info!(name: "memory_free", target: "sla::load", used, limit, "memory is free again");
}

/// Memory runs short: `stage` says what is done about it, `used` and `limit` are bytes, `heaviest` is the identity that holds most
/// of them, and what it holds. At warn.
pub fn memory_short(stage: &str, used: u64, limit: u64, heaviest: Option<(&str, u64)>) {
    let (identity, held_bytes) = heaviest.unzip();
    tracing::warn!(name: "memory_short", target: "sla::load", stage, used, limit, identity, held_bytes, "memory is short");
}

/// A live connection was cut: its peer's certificate ended, was revoked, or is not let in any more. At warn.
pub fn peer_cut(role: Role, remote: &str, identity: Option<&str>, cause: &str) {
    tracing::warn!(
        name: "peer_cut",
        target: "sla::cert",
        role = role.as_str(),
        remote,
        identity,
        cause,
        "connection cut: its peer lost the right to it"
    );
}

/// A peer proved an identity that is not let in, or was revoked. At warn. Bounded: see `held_back`.
pub fn peer_refused(role: Role, remote: &str, identity: Option<&str>, cause: &str) {
    static LINES: Quota = Quota::new(FLOOD_BURST, FLOOD_EVERY);
    if !tracing::enabled!(target: "sla::cert", tracing::Level::WARN) {
        return;
    }
    let Some(held_back) = LINES.take(Instant::now()) else { return };
    tracing::warn!(
        name: "peer_refused",
        target: "sla::cert",
        role = role.as_str(),
        remote,
        identity,
        cause,
        held_back = some(held_back),
        "peer refused"
    );
}

/// A reload failed and what was there stays in force. At error.
pub fn reload_failed(what: &str, cause: &str) {
    tracing::error!(name: "reload_failed", target: "sla::main", what, cause, "reload failed");
}

/// Certificates, users or grants were read anew. At info, and a recovery where a reload had failed.
pub fn reloaded(what: &str) {
    tracing::info!(name: "reloaded", target: "sla::main", what, "reloaded");
}

/// An application's request could not be used: not SOCKS, not CONNECT, too slow. At info. Bounded: see `held_back`.
pub fn request_refused(source: &str, identity: Option<&str>, cause: &str) {
    static LINES: Quota = Quota::new(FLOOD_BURST, FLOOD_EVERY);
    if !tracing::enabled!(target: "sla::sock", tracing::Level::INFO) {
        return;
    }
    let Some(held_back) = LINES.take(Instant::now()) else { return };
    tracing::info!(
        name: "request_refused",
        target: "sla::sock",
        source,
        identity,
        cause,
        held_back = some(held_back),
        "request refused"
    );
}

/// What to do about a certificate of ours near or past its end.
fn renewal(consequence: &str) -> impl std::fmt::Display {
    let code = code::TLS_OWN_EXPIRED;
    format!("{code} {consequence} → renew it in place, then send this program SIGHUP; no restart is needed")
}

/// What this process will take at most: bytes of memory, and descriptors. At info, once at the start.
pub fn resources(memory: u64, descriptors: u64) {
    tracing::info!(name: "resources", target: "sla::main", memory, descriptors, "resources");
}

/// The program is up. At info; the first event of a run.
pub fn started(role: Role, version: &str) {
    tracing::info!(
        name: "started",
        target: "sla::main",
        role = role.as_str(),
        version,
        pid = std::process::id(),
        "started"
    );
}

/// The program is about to end. At info; the last event of a run.
pub fn stopped(role: Role, cause: &str) {
    tracing::info!(name: "stopped", target: "sla::main", role = role.as_str(), cause, "stopped");
}

/// A destination could not be reached. At debug; the access line tells it too.
pub fn target_failed(target: &str, cause: &str) {
    tracing::debug!(
        name: "target_failed",
        target: "sla::sock",
        target_address = %Named(target),
        cause = %Scrubbed::named(cause, target),
        "destination not reached"
    );
}

/// A task of ours panicked; what it held is gone, the rest goes on. At error.
pub fn task_panicked(task: &str, cause: &str) {
    tracing::error!(name: "task_panicked", target: "sla::main", task, cause, "task panicked");
}

/// Nothing held back is nothing to say.
fn some(held_back: u64) -> Option<u64> {
    (held_back > 0).then_some(held_back)
}

/// Lines of one kind that strangers may cause at once.
const FLOOD_BURST: u32 = 50;
/// After those, one for each of these times.
const FLOOD_EVERY: Duration = Duration::from_millis(500);
