//! A peer's standing: what it showed in its handshake, judged again as long as its connection lives.
//!
//! ```text
//!             files reloaded, list changed ──┐
//!                                            ▼
//!  handshake ──▶ good ──── look again ──▶ recheck ──┬─ good ──▶ wait
//!                              ▲                    └─ not ───▶ lost: why
//!     an end of a certificate passed by the wall clock
//! ```
//! The wall clock is looked at every [`LOOK`], not only when an end is due by the monotonic one: it may be set, and a machine
//! may sleep. All connections look at the same moments, so that their number costs no wake-ups of the process.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::{CertificateError, Error};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::clock::Clock;
use super::fault::{Fault, HandshakeError};
use super::judge::Seen;
use crate::cert::{Certificate, Role};
use crate::date;

/// What a peer showed, and the right to a connection that it has by that.
#[derive(Clone)]
pub struct Standing {
    judge: Arc<dyn Recheck>,
    shown: Arc<Shown>,
    peer: Arc<str>,
    changed: watch::Receiver<()>,
}

/// What a handshake got to see.
#[derive(Debug)]
pub(super) struct Shown {
    /// The peer's certificate first, then whatever it sent along.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) certificate: Arc<Certificate>,
    /// The name that a server's certificate had to bear.
    pub(super) name: Option<ServerName<'static>>,
    /// When the handshake was.
    pub(super) at: SystemTime,
}

impl Shown {
    /// What a good handshake at `at` has left; `None` if the peer showed no certificate.
    pub(super) fn from_seen(seen: Seen, name: Option<ServerName<'static>>, at: SystemTime) -> Option<Self> {
        Some(Self { certificate: seen.certificate?, chain: seen.chain, name, at })
    }

    /// The peer's certificate, and what it sent along.
    pub(super) fn split(&self) -> Result<(&CertificateDer<'static>, &[CertificateDer<'static>]), Error> {
        Ok(self.chain.split_first().ok_or(CertificateError::BadEncoding)?)
    }
}

/// The end of TLS that made the connection, with its material of the moment.
pub(super) trait Recheck: fmt::Debug + Send + Sync {
    /// Would a handshake at `now` let the peer in with this?
    fn recheck(&self, shown: &Shown, now: SystemTime) -> Result<(), Fault>;

    fn side(&self) -> Role;

    fn rounds(&self) -> &Rounds;
}

impl Standing {
    /// Of a handshake that has ended; `changed` was taken before it began, so that no change in between is missed.
    pub(super) fn new(
        judge: Arc<dyn Recheck>,
        shown: Shown,
        peer: &str,
        changed: watch::Receiver<()>,
    ) -> Self {
        Self { judge, shown: Arc::new(shown), peer: peer.into(), changed }
    }

    /// The peer's certificate.
    pub fn certificate(&self) -> &Arc<Certificate> {
        &self.shown.certificate
    }

    /// Judges it now, by the files and lists of this moment.
    ///
    /// # Errors
    /// Why a handshake would fail.
    pub fn check(&self) -> Result<(), HandshakeError> {
        let rounds = self.judge.rounds();
        let now = if rounds.cut_expired { rounds.clock.now() } else { self.shown.at };
        let checked = self.judge.recheck(&self.shown, now);
        checked.map_err(|fault| HandshakeError::new(self.judge.side(), &self.peer, fault))
    }

    /// Waits until the peer has lost its right to the connection: after a reload its chain no longer verifies or it is not
    /// let in any more, or a certificate has passed its end. Says so at most 2 s later.
    ///
    /// Cancel safe.
    pub async fn lost(&mut self) -> HandshakeError {
        let mut ends = self.ends();
        loop {
            let is_due = tokio::select! {
                biased;
                // The sender lives in the judge.
                _ = self.changed.changed() => true,
                () = sleep_until(self.judge.rounds().next_look(Instant::now())) => {
                    let now = date::unix(self.judge.rounds().clock.now());
                    let due = ends.len();
                    // The end itself belongs to the validity.
                    ends.retain(|end| *end >= now);
                    ends.len() < due
                }
            };
            if is_due && let Err(error) = self.check() {
                return error;
            }
        }
    }

    /// The ends of the certificates, as far as they may end the connection.
    fn ends(&self) -> Vec<i64> {
        if !self.judge.rounds().cut_expired {
            return Vec::new();
        }
        let beside = self.shown.chain.iter().skip(1).filter_map(|der| Certificate::from_der(der).ok());
        let beside = beside.map(|certificate| certificate.not_after);
        std::iter::once(self.shown.certificate.not_after).chain(beside).map(date::unix).collect()
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// When to look again.
#[derive(Debug)]
pub(super) struct Rounds {
    pub(super) clock: Clock,
    pub(super) cut_expired: bool,
    changed: watch::Sender<()>,
    start: Instant,
}

impl Rounds {
    pub(super) fn new(clock: Clock, cut_expired: bool) -> Self {
        Self { clock, cut_expired, changed: watch::Sender::new(()), start: Instant::now() }
    }

    /// Hears of every change from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Everybody looks again.
    pub(super) fn announce(&self) {
        self.changed.send_replace(());
    }

    /// The next common moment after `now`.
    fn next_look(&self, now: Instant) -> Instant {
        let passed = now.saturating_duration_since(self.start).as_millis() / LOOK.as_millis();
        let rounds = u32::try_from(passed).unwrap_or(u32::MAX).saturating_add(1);
        self.start + LOOK.saturating_mul(rounds)
    }
}

/// How often the wall clock is looked at. A cut must come within 5 s.
pub(super) const LOOK: Duration = Duration::from_secs(2);
