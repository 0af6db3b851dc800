//! How a server reaches destinations: resolve once, judge every address, dial only what was permitted.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use framing::remux2::Code;
use framing::{Host, Target};
use routing::{Acl, Permitted};
use sla::event;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use transport::{ConnectErrorKind, DialOptions, Socket};

use crate::config;
use crate::outbound::socket_address;
use crate::relay::Broken;

/// Dials destinations within the policy and the limits on dials in progress.
pub(crate) struct Destinations {
    acl: ArcSwap<Acl>,
    timeout: Duration,
    per_target: usize,
    /// Dials in progress by target; an entry lives as long as one of its dials.
    dialling: DashMap<Target, Arc<Semaphore>>,
}

impl Destinations {
    pub(crate) fn new(config: &config::Server, acl: Acl) -> Self {
        Self {
            acl: ArcSwap::from_pointee(acl),
            timeout: config.dial_timeout,
            per_target: config.dials_per_target,
            dialling: DashMap::new(),
        }
    }

    /// Judges dials by `acl` from now on.
    pub(crate) fn set_acl(&self, acl: Acl) {
        self.acl.store(Arc::new(acl));
    }

    /// Dials `target` for `identity`; too many dials at once wait, within the time there is.
    ///
    /// Cancel safety: dropping the future ends the dial; a name look-up under way keeps its place until it is done.
    pub(crate) async fn dial(
        &self,
        identity: &str,
        dials: &Arc<Semaphore>,
        target: &Target,
    ) -> Result<Socket, Broken> {
        if target.port == 0 {
            return Err(Broken::new("refused", Code::SERVER_ERROR, "port 0 can't be dialled"));
        }
        let deadline = Instant::now() + self.timeout;
        let late = |what: &str| {
            let text = format!("{what} took longer than {} s", self.timeout.as_secs());
            Broken::new("timeout", Code::DIAL_TIMEOUT, text)
        };
        let place = timeout_at(deadline, dials.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(late("waiting for earlier dials of this identity")) };
        let place = Arc::new(place);
        let Ok(_turn) = timeout_at(deadline, self.turn(target)).await else {
            return Err(late("waiting for earlier dials to this destination"));
        };
        let found = timeout_at(deadline, resolve(target, place.clone())).await;
        let found =
            found.map_err(|_| Broken::new("timeout", Code::DNS_FAIL, late("the name service").text))??;
        let permitted = self.judge(identity, target, &found)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let options = DialOptions { total: left, ..DialOptions::default() };
        let addresses: Vec<SocketAddr> = permitted.into_iter().map(Permitted::address).collect();
        let socket = transport::connect(target, &addresses, &options).await;
        let socket = socket.map_err(|error| Broken::new("refused", code_of(&error), error.to_string()))?;
        // A dead process must never look like a clean end to the destination.
        socket.arm_reset().map_err(|error| Broken::new("error", Code::SERVER_ERROR, error.to_string()))?;
        Ok(socket)
    }

    fn judge(&self, identity: &str, target: &Target, found: &[SocketAddr]) -> Result<Vec<Permitted>, Broken> {
        let (permitted, denied) = self.acl.load().filter(found);
        if !permitted.is_empty() {
            return Ok(permitted);
        }
        let text = match denied {
            Some(denied) => denied.to_string(),
            None => "the name has no address".to_owned(),
        };
        event::acl_denied(Some(identity), &target.to_string(), &text);
        Err(Broken::new("denied", Code::RULE_REFUSED, text))
    }

    /// Waits for a place among the dials to this target.
    async fn turn(&self, target: &Target) -> Turn<'_> {
        let queue = self
            .dialling
            .entry(target.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(self.per_target)))
            .clone();
        // Only this type closes it, and never does.
        let permit = queue.acquire_owned().await.ok();
        Turn { table: &self.dialling, target: target.clone(), permit }
    }
}

/// A place among the dials to one target; the table forgets the target with its last one.
struct Turn<'a> {
    table: &'a DashMap<Target, Arc<Semaphore>>,
    target: Target,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.permit = None;
        // One reference is the table's own: nobody waits or dials any more.
        self.table.remove_if(&self.target, |_, queue| Arc::strong_count(queue) == 1);
    }
}

/// The addresses of a target, by the system's name service. `place` is held until the look-up has really ended, as a
/// cancelled one goes on in its thread.
async fn resolve(target: &Target, place: Arc<OwnedSemaphorePermit>) -> Result<Vec<SocketAddr>, Broken> {
    if let Some(address) = socket_address(target) {
        return Ok(vec![address]);
    }
    let Host::Name(name) = &target.host else { return Ok(Vec::new()) };
    let (name, port) = (name.as_str().trim_end_matches('.').to_owned(), target.port);
    let looked_up = tokio::task::spawn_blocking(move || {
        let found =
            (name.as_str(), port).to_socket_addrs().map(|found| found.take(ADDRESSES).collect::<Vec<_>>());
        drop(place);
        found
    });
    let failed = |code, text: String| Broken::new("refused", code, text);
    match looked_up.await {
        Ok(Ok(found)) if found.is_empty() => {
            Err(failed(Code::DNS_NXDOMAIN, format!("{target}: the name has no address")))
        }
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(failed(dns_code(&error), format!("{target}: {error}"))),
        Err(error) => Err(failed(Code::DNS_FAIL, format!("{target}: the look-up broke off: {error}"))),
    }
}

/// The resolver's own words tell a name that does not exist from a service that does not answer.
fn dns_code(error: &io::Error) -> Code {
    let text = error.to_string();
    if text.contains("Name or service not known") || text.contains("No address associated") {
        Code::DNS_NXDOMAIN
    } else {
        Code::DNS_FAIL
    }
}

fn code_of(error: &transport::ConnectError) -> Code {
    match error.kind() {
        ConnectErrorKind::Refused => Code::DEST_REFUSED,
        ConnectErrorKind::Unreachable => Code::HOST_UNREACHABLE,
        ConnectErrorKind::TimedOut => Code::DIAL_TIMEOUT,
        ConnectErrorKind::Name => Code::DNS_FAIL,
        ConnectErrorKind::Local | ConnectErrorKind::Handshake => Code::SERVER_ERROR,
    }
}

/// Addresses of one name that are judged; a name with more is not trusted to be honest.
const ADDRESSES: usize = 64;
