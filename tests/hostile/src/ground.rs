//! What every attack is given, and where it writes down what became of it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use framing::Target;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep_until, timeout_at};

/// The place of the fight.
#[derive(Debug)]
pub(crate) struct Ground {
    /// Whom to attack.
    pub(crate) to: SocketAddr,
    /// Source addresses, used in turn; empty for whatever the system takes.
    pub(crate) from: Vec<IpAddr>,
    pub(crate) pki: PathBuf,
    /// Destinations that the server may dial: one that echoes, one that never reads, one that sends for ever.
    pub(crate) echo: Target,
    pub(crate) deaf: Target,
    pub(crate) endless: Target,
    /// One that never answers a SYN.
    pub(crate) nowhere: Target,
    pub(crate) seed: u64,
    pub(crate) until: Instant,
    pub(crate) tally: Tally,
}

impl Ground {
    /// Whether the time is not over.
    pub(crate) fn is_on(&self) -> bool {
        Instant::now() < self.until
    }

    pub(crate) fn source(&self, lane: usize) -> Option<IpAddr> {
        self.from.get(lane.checked_rem(self.from.len())?).copied()
    }

    /// The dice of one lane.
    pub(crate) fn dice(&self, lane: usize) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_add(lane as u64))
    }

    /// Sleeps, but not beyond the end.
    pub(crate) async fn pause(&self, time: Duration) {
        sleep_until((Instant::now() + time).min(self.until)).await;
    }

    /// The result of `work`, or an error when the time is over.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        timeout_at(self.until, work).await.map_err(|_| over())?
    }
}

/// The attack's own time is over: nobody has closed anything.
pub(crate) fn over() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, OVER)
}

pub(crate) const OVER: &str = "still open at the end";

/// What became of the connections.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    ends: Mutex<BTreeMap<String, u64>>,
    pub(crate) connections: AtomicU64,
    pub(crate) sent: AtomicU64,
    /// The longest that a connection lived which the peer closed, in milliseconds.
    longest: AtomicU64,
}

impl Tally {
    /// A connection has ended in this way after so long.
    pub(crate) fn end(&self, how: &str, lived: Duration) {
        if how != OVER {
            self.longest.fetch_max(u64::try_from(lived.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        let mut ends = self.ends.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *ends.entry(how.to_owned()).or_default() += 1;
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        let ends = self.ends.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        serde_json::json!({
            "connections": self.connections.load(Ordering::Relaxed),
            "sent_bytes": self.sent.load(Ordering::Relaxed),
            "longest_ms": self.longest.load(Ordering::Relaxed),
            "ends": *ends,
        })
    }
}

/// How a read or write that failed looked from the outside.
pub(crate) fn end_of(error: &io::Error) -> String {
    if error.to_string() == OVER {
        return OVER.to_owned();
    }
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (tls, error.kind()) {
        (Some(rustls::Error::AlertReceived(alert)), _) => format!("alert {alert:?}"),
        (Some(other), _) => format!("tls: {other}"),
        (None, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => "rst".to_owned(),
        (None, io::ErrorKind::UnexpectedEof) => "fin".to_owned(),
        (None, io::ErrorKind::ConnectionRefused) => "refused".to_owned(),
        (None, _) => error.to_string(),
    }
}
