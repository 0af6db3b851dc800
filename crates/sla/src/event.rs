//! Every event of the product, one function or guard each.
//!
//! ```text
//!            open()                       close(cause)
//! Conn  ─────────────▶ [conn] + id = n  ──────────────▶ [conn] - id = n cause
//! Sess  (the same with id:stream, at debug)      Sock  (the same with host:port)
//!          a guard that is dropped without close() says "dropped" as its cause
//! ```
//!
//! The open counts are counters of the process, kept whether or not the line is written, so that `n` is right
//! after the level changes. An event whose level is off costs one comparison: no argument is formatted.
//! Each function logs the event of its own name in [`crate::fields::EVENTS`]; strings may come from a peer,
//! the log escapes them.

mod guard;
mod health;
mod notes;
mod quota;

use std::fmt;
use std::time::Duration;

pub use guard::{Conn, ConnEnd, ConnFacts, Open, Sess, Sock, open_counts};
pub use health::Health;
pub use notes::{
    Access, accept_failed, access, acl_denied, alert_failed, alert_paused, alert_rejected, auth_failed,
    certificate_expired, certificate_expiring, config_warning, conn_alive, conn_cut, conn_draining,
    conn_suspect, crl_stale, dial_backoff, dial_failed, draining, handshake_failed, limit_reached, listening,
    log_dropped, log_fallback, memory_free, memory_short, peer_cut, peer_refused, reload_failed, reloaded,
    request_refused, resources, started, stopped, target_failed, task_panicked,
};

/// The side of the tunnel an event belongs to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    /// The side that applications talk to; opens connections.
    Client,
    /// The side that dials destinations; accepts connections.
    Server,
}

impl Role {
    /// `client` or `server`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The part of the product an event happened in; the second bracket of a text line.
///
/// Its name is the last part of the `tracing` target: `sla::conn`, `sla::main` …
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Area {
    /// `conn`: connections between client and server, and dialling them.
    Conn,
    /// `sess`: streams inside a connection.
    Sess,
    /// `sock`: sockets of applications and destinations.
    Sock,
    /// `main`: the program: start, listeners, reload, stop.
    Main,
    /// `conf`: settings.
    Conf,
    /// `cert`: certificates and keys.
    Cert,
    /// `rule`: what destination policy refused.
    Rule,
    /// `load`: limits and resources.
    Load,
    /// `logs`: the log itself.
    Logs,
    /// `hook`: the alert webhook; never alerted, whatever the level.
    Hook,
}

impl Area {
    /// The four letters of a text line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conn => "conn",
            Self::Sess => "sess",
            Self::Sock => "sock",
            Self::Main => "main",
            Self::Conf => "conf",
            Self::Cert => "cert",
            Self::Rule => "rule",
            Self::Load => "load",
            Self::Logs => "logs",
            Self::Hook => "hook",
        }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A target must be a constant of its call site, so every area has its own.
macro_rules! say {
    ($level:expr, $name:literal, $area:expr, $text:expr) => {{
        let text: &str = $text;
        match $area {
            Area::Conn => tracing::event!(name: $name, target: "sla::conn", $level, "{text}"),
            Area::Sess => tracing::event!(name: $name, target: "sla::sess", $level, "{text}"),
            Area::Sock => tracing::event!(name: $name, target: "sla::sock", $level, "{text}"),
            Area::Main => tracing::event!(name: $name, target: "sla::main", $level, "{text}"),
            Area::Conf => tracing::event!(name: $name, target: "sla::conf", $level, "{text}"),
            Area::Cert => tracing::event!(name: $name, target: "sla::cert", $level, "{text}"),
            Area::Rule => tracing::event!(name: $name, target: "sla::rule", $level, "{text}"),
            Area::Load => tracing::event!(name: $name, target: "sla::load", $level, "{text}"),
            Area::Logs => tracing::event!(name: $name, target: "sla::logs", $level, "{text}"),
            Area::Hook => tracing::event!(name: $name, target: "sla::hook", $level, "{text}"),
        }
    }};
}

/// Logs a sentence at `debug`.
pub fn debug(area: Area, text: &str) {
    say!(tracing::Level::DEBUG, "note", area, text);
}

/// Logs a sentence at `info`.
pub fn info(area: Area, text: &str) {
    say!(tracing::Level::INFO, "note", area, text);
}

/// Logs a sentence at `warn`: may wake someone.
pub fn warn(area: Area, text: &str) {
    say!(tracing::Level::WARN, "note", area, text);
}

/// Logs a sentence at `error`: we are broken. Goes to the alert robot where one is set.
pub fn error(area: Area, text: &str) {
    say!(tracing::Level::ERROR, "note", area, text);
}

/// Logs a sentence at `fatal`, alerts, writes out everything pending (at most five seconds), and ends the
/// process with exit code 1.
pub fn fatal(area: Area, text: &str) -> ! {
    say!(tracing::Level::ERROR, "fatal", area, text);
    crate::flush::before_exit(FATAL_LIMIT);
    std::process::exit(1)
}

/// Milliseconds with microseconds behind the point: short streams on a fast path last less than one.
fn millis(duration: Duration) -> f64 {
    let micros = u32::try_from(duration.as_micros()).map_or(duration.as_secs_f64() * 1e6, f64::from);
    micros.round() / 1000.0
}

/// How long a dying process waits for its last lines and alerts.
const FATAL_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millis_keep_microseconds_and_no_more() {
        assert_eq!(millis(Duration::from_micros(1_234)), 1.234);
        assert_eq!(millis(Duration::from_nanos(1_600)), 0.001);
        assert_eq!(millis(Duration::from_secs(100_000)), 100_000_000.0);
    }
}
