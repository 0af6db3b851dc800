//! The client: applications in, requests to the server out.
//!
//! ```text
//!  accept ─▶ handshake ─▶ open ─▶ (strict: result ─▶ reply) ─▶ relay ─▶ access line
//!            deadline     pool or                               until both
//!                         connection                            directions end
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use eagersocks::{Gate, HandshakeError, Request};
use framing::remux2::Code;
use remux::Budget;
use sla::event::{self, Access, Role, Sock};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use transport::{ClientTls, ListenOptions};

use crate::carrier::{Alone, Vigil};
use crate::listen::Door;
use crate::outbound::{Opened, Outbound};
use crate::papers::Papers;
use crate::relay::{Armed, Broken, Muxed, Plain, Quiet, Report, relay};
use crate::shutdown::{Phase, Shutdown};
use crate::{Error, carrier, config, memory, refused, tasks};

/// A client that listens but does not serve yet.
///
/// Dropping it closes the listener.
pub struct Client {
    door: Door,
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("address", &self.address()).finish_non_exhaustive()
    }
}

/// What all flows of a client share.
pub(crate) struct Inner {
    config: config::Client,
    front: ArcSwap<eagersocks::Config>,
    gate: Gate,
    outbound: Outbound,
    tls: Option<Arc<ClientTls>>,
    slots: Arc<Semaphore>,
    budget: Arc<Budget>,
}

impl Client {
    /// Reads the certificates and starts to listen. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A certificate that can't be used, or an address that can't be listened on. Nothing is left behind.
    pub async fn bind(config: config::Client) -> Result<Self, Error> {
        let budget = Arc::new(memory::budget(config.memory));
        let (outbound, tls) = Outbound::new(&config, &budget)?;
        let door = Door::open(&config.listen, &ListenOptions::default()).await?;
        Ok(Self { door, inner: Arc::new(Inner::new(config, outbound, tls, budget)) })
    }

    /// Where applications connect, with the real port where 0 was asked for.
    pub fn address(&self) -> String {
        self.door.local()
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.inner.budget
    }

    /// A handle that renews users and certificates while the client serves.
    pub fn reloader(&self) -> Reloader {
        Reloader(self.inner.clone())
    }

    /// Serves until `shutdown` has been reached: draining takes nothing new and lets running flows end for at most
    /// [`config::Client::drain`]; what is left then is reset.
    ///
    /// Cancel safety: dropping the future resets every flow.
    ///
    /// # Errors
    /// [`Error::Listener`]: the listener broke, which begins to drain as well.
    pub async fn serve(self, shutdown: Shutdown) -> Result<(), Error> {
        let Self { door, inner } = self;
        event::listening(Role::Client, inner.config.listen.net.as_str(), &door.local());
        let mut flows = JoinSet::new();
        let outcome = loop {
            // Above the limit nothing is accepted: the kernel's backlog holds the rest.
            let accepted = memory::with_room(&inner.budget, async {
                let slot = inner.slots.clone().acquire_owned().await;
                (slot, door.accept().await)
            });
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Draining) => break Ok(()),
                Some(ended) = flows.join_next() => tasks::note_panic("flow", ended),
                (slot, incoming) = accepted => match incoming {
                    Ok(incoming) => {
                        let (inner, shutdown) = (inner.clone(), shutdown.clone());
                        flows.spawn(async move {
                            let _held = (slot, inner.budget.charge(memory::FLOW));
                            let peer = incoming.remote().to_owned();
                            let source = incoming.remote_addr();
                            flow(&inner, incoming.into_socket(), peer, source, &shutdown).await;
                        });
                    }
                    Err(error) => break Err(door.broken(error, &shutdown)),
                },
            }
        };
        drop(door);
        let limit = inner.config.drain;
        event::draining(Role::Client, flows.len() as u64, limit);
        // A flow has ended when its last bytes wait in the stream's queue: they have what is left of the time.
        let tails = inner.outbound.drain(limit);
        tasks::drain_with(&mut flows, tails, limit, &shutdown, "flow").await;
        let _ = timeout(tasks::GOODBYE, inner.outbound.drain(Duration::ZERO)).await;
        event::stopped(Role::Client, if outcome.is_ok() { "asked to" } else { "its listener broke" });
        outcome
    }

    /// [`Client::bind`] and [`Client::serve`] in one: the seed's interface.
    ///
    /// # Errors
    /// As [`Client::bind`] and [`Client::serve`].
    pub async fn listen_and_serve(config: config::Client, shutdown: Shutdown) -> Result<(), Error> {
        Self::bind(config).await?.serve(shutdown).await
    }
}

/// Renews what can be renewed in a serving client.
#[derive(Clone)]
pub struct Reloader(Arc<Inner>);

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reloader")
    }
}

impl Reloader {
    /// Takes users and certificates as they are now. A connection whose server the new CA or revocation lists refuse is cut;
    /// other live streams are not touched.
    ///
    /// # Errors
    /// What is wrong with the new ones; the old ones stay in use.
    pub fn reload(&self) -> Result<(), Error> {
        let fresh = self.0.config.reload()?;
        if let Some(tls) = &self.0.tls {
            tls.reload()?;
        }
        self.0.front.store(Arc::new(front(&fresh)));
        if let Some(warning) = self.0.config.restart_warning(&fresh) {
            event::config_warning(&warning);
        }
        Ok(())
    }
}

impl Papers for Reloader {
    fn renew(&self) -> Result<(), Error> {
        self.reload()
    }

    fn certificate(&self) -> Option<(PathBuf, SystemTime)> {
        let file = self.0.config.tls.as_ref()?.cert.clone();
        Some((file, self.0.tls.as_ref()?.certificate().not_after))
    }

    fn stale_list(&self) -> Option<PathBuf> {
        let file = self.0.config.tls.as_ref()?.crl.clone()?;
        let now = SystemTime::now();
        self.0.tls.as_ref()?.revocation_lists().iter().any(|list| list.is_stale(now)).then_some(file)
    }
}

impl Inner {
    /// For flows that go by `outbound`.
    pub(crate) fn new(
        config: config::Client,
        outbound: Outbound,
        tls: Option<Arc<ClientTls>>,
        budget: Arc<Budget>,
    ) -> Self {
        let front = ArcSwap::from_pointee(front(&config));
        let slots = Arc::new(Semaphore::new(config.conn_max));
        Self { config, front, gate: Gate::new(), outbound, tls, slots, budget }
    }
}

fn front(config: &config::Client) -> eagersocks::Config {
    eagersocks::Config {
        reply: config.reply,
        users: config.users.clone(),
        deadline: config.handshake_timeout,
        ..eagersocks::Config::default()
    }
}

/// The socket of an application.
pub(crate) trait Application: AsyncRead + AsyncWrite + Armed + Unpin {}

impl<S: AsyncRead + AsyncWrite + Armed + Unpin> Application for S {}

/// One application connection, from its first byte to its access line.
pub(crate) async fn flow<S: Application>(
    inner: &Inner,
    socket: S,
    peer: String,
    source: Option<SocketAddr>,
    shutdown: &Shutdown,
) {
    // From here on an end of this process is a reset for the application, never a clean end: it may have been told of success
    // before anybody looks at the socket again.
    if let Err(error) = socket.arm_reset() {
        return event::request_refused(&peer, None, &refused::explain(&error.into()));
    }
    let front = inner.front.load_full();
    let shaken = match source {
        Some(source) => eagersocks::handshake_from(socket, &front, source.ip(), &inner.gate).await,
        None => eagersocks::handshake(socket, &front).await,
    };
    let (socket, mut request) = match shaken {
        Ok(done) => done,
        Err(error) => return turned_away(&peer, &error),
    };
    let mut story = Story::new(&request, peer);
    let sock = Sock::accepted(&request.target, &story.source);
    let early = std::mem::take(&mut request.early);
    let report = match carry(inner, socket, &request, early, &mut story, shutdown).await {
        Ok(report) => report,
        Err(broken) => Report::of(broken),
    };
    sock.close(report.cause());
    story.tell(&report);
}

/// Opens the way to the destination and moves the bytes.
async fn carry<S: Application>(
    inner: &Inner,
    mut socket: S,
    request: &Request,
    early: Bytes,
    story: &mut Story,
    shutdown: &Shutdown,
) -> Result<Report, Broken> {
    let broken = |error: std::io::Error| Broken::new("error", Code::SERVER_ERROR, error.to_string());
    let (strict, sent) = (!request.is_answered(), early.len() as u64);
    let opened = async {
        let mut opened = inner.outbound.open(&request.target, early, strict).await?;
        story.carried_by(&opened);
        let bound = if strict { opened.result().await? } else { None };
        Ok::<_, Broken>((opened, bound))
    };
    let limit = if strict { inner.config.strict_timeout } else { Duration::MAX };
    let outcome = tokio::select! {
        biased;
        outcome = timeout(limit, opened) => outcome.unwrap_or_else(|_| {
            let text = format!("the server told no result within {} s", limit.as_secs());
            Err(Broken::new("timeout", Code::DIAL_TIMEOUT, text))
        }),
        () = shutdown.reached(Phase::Stopped) => Err(Broken::stopped()),
    };
    let opened = match outcome {
        Ok((opened, bound)) => {
            socket.write_all(&request.reply_success(bound)).await.map_err(broken)?;
            opened
        }
        Err(failure) => {
            answer_failure(socket, request, &failure).await;
            return Err(failure);
        }
    };
    let half_closed = inner.config.stream.half_closed;
    let half_closed = if opened.has_half_close() { half_closed } else { half_closed.min(NO_HALF_CLOSE) };
    let quiet = Quiet { open: inner.config.stream.idle, half_closed };
    let near = Plain::new(socket, "application");
    let stop = async {
        shutdown.reached(Phase::Stopped).await;
        Broken::stopped()
    };
    let mut report = match opened {
        Opened::Stream(stream) => relay(near, Muxed::new(stream), Bytes::new(), quiet, stop).await,
        Opened::Connection(stream, _charge) => {
            let alone = Alone::open(Role::Client, stream.get_ref());
            story.connection = Some(alone.id());
            let vigil = Vigil::over(stream.get_ref());
            let forbidden = carrier::forbidden(stream.get_ref(), Role::Client);
            let stop = async {
                tokio::select! {
                    biased;
                    broken = stop => broken,
                    broken = forbidden => broken,
                }
            };
            let far = Plain::new(stream, "server").watched(vigil);
            let report = relay(near, far, Bytes::new(), quiet, stop).await;
            alone.close(report.cause(), report.down, report.up);
            report
        }
    };
    report.up = report.up.saturating_add(sent);
    Ok(report)
}

/// Tells the application why it gets nothing: by the protocol's code if nothing was told yet, else by a reset.
async fn answer_failure<S: Application>(mut socket: S, request: &Request, failure: &Broken) {
    let reply = request.reply_failure(failure.code);
    if reply.is_empty() {
        return;
    }
    // An orderly end, so that the reply is not lost with a reset.
    let sent = async {
        socket.disarm_reset()?;
        socket.write_all(&reply).await?;
        socket.shutdown().await?;
        // Closing with bytes unread would be a reset, and take the reply along.
        tokio::io::copy(&mut (&mut socket).take(UNREAD_MAX), &mut tokio::io::sink()).await
    };
    // Whoever has gone away meanwhile misses nothing.
    let _ = timeout(tasks::GOODBYE, sent).await;
}

fn turned_away(peer: &str, error: &HandshakeError) {
    match error {
        // A port scan or a health check: nothing was asked.
        HandshakeError::Closed { received: 0 } => {}
        HandshakeError::Refused(refusal) if refusal.wrong_password => {
            event::auth_failed(peer, refusal.user.as_deref());
        }
        error => event::request_refused(peer, None, &refused::explain(error)),
    }
}

/// On the classic wire an application's end can't travel, so the destination never learns of it: what it has not answered by
/// then it hardly will.
const NO_HALF_CLOSE: Duration = Duration::from_secs(30);

/// What an application may still send before it has read that it is refused.
const UNREAD_MAX: u64 = 64 << 10;

/// What the access line will say.
struct Story {
    began: Instant,
    inbound: &'static str,
    source: String,
    target: String,
    user: Option<Arc<str>>,
    connection: Option<sla::ConnectionId>,
    stream: Option<u32>,
}

impl Story {
    fn new(request: &Request, source: String) -> Self {
        Self {
            began: Instant::now(),
            inbound: request.protocol.as_str(),
            source,
            target: request.target.to_string(),
            user: request.credential.as_ref().map(|credential| credential.user.clone()),
            connection: None,
            stream: None,
        }
    }

    fn carried_by(&mut self, opened: &Opened) {
        if let Opened::Stream(stream) = opened {
            self.connection = Some(stream.connection_id());
            self.stream = Some(stream.id().0);
        }
    }

    fn tell(&self, report: &Report) {
        let error = report.broken.as_ref().map(|(_, broken)| broken.text.as_str());
        event::access(&Access {
            connection_id: self.connection,
            stream_id: self.stream,
            role: Role::Client,
            inbound: self.inbound,
            source: &self.source,
            target: &self.target,
            identity: self.user.as_deref(),
            bytes_up: report.up,
            bytes_down: report.down,
            duration: self.began.elapsed(),
            first_byte: report.first_byte.map(|at| at.saturating_duration_since(self.began)),
            end: report.end(),
            error,
        });
        if let Some((_, broken)) = &report.broken
            && report.first_byte.is_none()
            && matches!(broken.end, "refused" | "denied" | "timeout")
        {
            event::target_failed(&self.target, &broken.text);
        }
    }
}
