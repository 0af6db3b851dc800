//! The server: connections and their streams in, destinations out.
//!
//! ```text
//!  accept ─▶ TLS ─▶ remux connection ─▶ streams ─┐
//!   gate      │                                  ├─▶ judge + dial ─▶ relay ─▶ access line
//!             └───▶ eager request ───────────────┘
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use framing::Target;
use framing::remux2::{Code, Command};
use remux::{Budget, Listener, StreamError};
use sla::event::{self, Access, Role, Sock};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use transport::{Incoming, ListenOptions, ServerTls, TlsFiles, TlsSettings};

use crate::access::{Policy, Terms};
use crate::carrier::{Alone, Vigil};
use crate::descriptors::Descriptors;
use crate::destination::Destinations;
use crate::listen::Door;
use crate::pace::{Paces, TooFast};
use crate::papers::Papers;
use crate::penalty::Penalties;
use crate::registry::{Held, Registry};
use crate::relay::{Broken, Endpoint, Muxed, Plain, Quiet, Report, relay};
use crate::shutdown::{Phase, Shutdown};
use crate::{Error, carrier, config, memory, refused, tasks};

/// A server that listens but does not serve yet.
///
/// Dropping it closes the listener.
pub struct Server {
    door: Door,
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address()).finish_non_exhaustive()
    }
}

struct Inner {
    config: config::Server,
    tls: Option<ServerTls>,
    access: Arc<Policy>,
    destinations: Destinations,
    registry: Arc<Registry>,
    penalties: Penalties,
    paces: Paces,
    /// Our own listening addresses, never a destination.
    own: Vec<SocketAddr>,
    listener: Listener,
    budget: Arc<Budget>,
}

impl Server {
    /// Reads the certificates and starts to listen. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A certificate that can't be used, an address that can't be listened on, or a system that does not tell this machine's
    /// addresses. Nothing is left behind.
    pub async fn bind(config: config::Server) -> Result<Self, Error> {
        let options = ListenOptions {
            limits: config.tls.is_some().then(|| config.preauth.clone()),
            ..ListenOptions::tunnel()
        };
        let door = Door::open(&config.listen, &options).await?;
        let own = door.local_addrs();
        let access = Arc::new(Policy::new(&config, &own)?);
        let tls = match &config.tls {
            Some(tls) => Some(ServerTls::load(tls_settings(&config, tls, access.clone()))?),
            None => None,
        };
        let budget = Arc::new(memory::budget(config.memory));
        let listener = Listener::with_budget(config.remux.clone(), budget.clone());
        let (destinations, registry) = (Destinations::new(&config), Arc::new(Registry::new()));
        let (penalties, paces) = (Penalties::default(), Paces::default());
        let inner =
            Inner { tls, access, destinations, registry, penalties, paces, own, listener, budget, config };
        Ok(Self { door, inner: Arc::new(inner) })
    }

    /// Where clients connect, with the real port where 0 was asked for.
    pub fn address(&self) -> String {
        self.door.local()
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.inner.budget
    }

    /// A handle that renews certificates, identities and grants while the server serves.
    pub fn reloader(&self) -> Reloader {
        Reloader { inner: self.inner.clone(), descriptors: None }
    }

    /// Serves until `shutdown` has been reached: draining takes nothing new, tells every client to go elsewhere, and lets
    /// running streams end for at most [`config::Server::drain`]; what is left then is reset.
    ///
    /// Cancel safety: dropping the future resets every stream.
    ///
    /// # Errors
    /// [`Error::Listener`]: the listener broke, which begins to drain as well.
    pub async fn serve(self, shutdown: Shutdown) -> Result<(), Error> {
        let Self { door, inner } = self;
        event::listening(Role::Server, inner.config.listen.net.as_str(), &door.local());
        let mut tasks = JoinSet::new();
        let begin = |tasks: &mut JoinSet<()>, stream: remux::Stream| {
            let (inner, shutdown) = (inner.clone(), shutdown.clone());
            tasks.spawn(async move { serve_stream(&inner, stream, &shutdown).await });
        };
        let outcome = loop {
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Draining) => break Ok(()),
                Some(ended) = tasks.join_next() => tasks::note_panic("stream", ended),
                Some(stream) = inner.listener.accept() => begin(&mut tasks, stream),
                incoming = memory::with_room(&inner.budget, door.accept()) => match incoming {
                    Ok(incoming) => {
                        let (inner, shutdown) = (inner.clone(), shutdown.clone());
                        tasks.spawn(async move { serve_connection(&inner, incoming, &shutdown).await });
                    }
                    Err(error) => break Err(door.broken(error, &shutdown)),
                },
            }
        };
        drop(door);
        let limit = inner.config.drain;
        event::draining(Role::Server, inner.listener.connections() as u64, limit);
        // Connections end when their streams have, or with the streams' limit.
        let connections = async {
            tokio::select! {
                () = inner.listener.drain(limit) => {}
                () = shutdown.reached(Phase::Stopped) => inner.listener.drain(Duration::ZERO).await,
            }
        };
        let ended = timeout(limit + 2 * tasks::GOODBYE, connections);
        let streams = async {
            // The goodbye promised to serve those that came before it.
            while let Some(stream) = inner.listener.accept().await {
                begin(&mut tasks, stream);
            }
            tasks::drain(&mut tasks, limit, &shutdown, "stream").await;
        };
        let (_, ()) = tokio::join!(ended, streams);
        event::stopped(Role::Server, if outcome.is_ok() { "asked to" } else { "its listener broke" });
        outcome
    }

    /// [`Server::bind`] and [`Server::serve`] in one: the seed's interface.
    ///
    /// # Errors
    /// As [`Server::bind`] and [`Server::serve`].
    pub async fn listen_and_serve(config: config::Server, shutdown: Shutdown) -> Result<(), Error> {
        Self::bind(config).await?.serve(shutdown).await
    }
}

/// Renews what can be renewed in a serving server.
#[derive(Clone)]
pub struct Reloader {
    inner: Arc<Inner>,
    descriptors: Option<Descriptors>,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reloader")
    }
}

impl Reloader {
    /// The same for a process that has so many descriptors: new caps are lowered to what fits, as those at the start were.
    pub(crate) fn within(self, descriptors: Descriptors) -> Self {
        Self { descriptors: Some(descriptors), ..self }
    }

    /// Takes certificates, identities, grants and limits as they are now. What has lost its right is cut, and resets what it
    /// carried: connections whose identity is not let in any more, was revoked or no longer chains to the CA, and streams to
    /// destinations that are no longer open. Limits count for what is asked from now on.
    ///
    /// # Errors
    /// What is wrong with the new ones; the old ones stay in use, and nothing is cut.
    pub fn reload(&self) -> Result<(), Error> {
        let Inner { config, tls, access, own, .. } = &*self.inner;
        let mut fresh = config.reload()?;
        if let Some(tls) = tls {
            tls.reload()?;
        }
        let needs_restart = config.restart_warning(&fresh);
        let lowered = self.descriptors.and_then(|few| few.fit_reloaded(&mut fresh, config));
        for warning in fresh.warnings.iter().chain(&needs_restart).chain(&lowered) {
            event::config_warning(warning);
        }
        access.replace(fresh, own);
        self.review();
        Ok(())
    }

    /// Lets these in from now on instead of those of before, for a program that keeps its own list; as [`Reloader::reload`]
    /// otherwise. A file named in the settings takes their place again at the next reload.
    pub fn set_identities(&self, identities: config::Identities) {
        self.inner.access.replace_identities(identities, &self.inner.own);
        self.review();
    }

    fn review(&self) {
        if let Some(tls) = &self.inner.tls {
            tls.review();
        }
    }
}

impl Papers for Reloader {
    fn renew(&self) -> Result<(), Error> {
        self.reload()
    }

    fn certificate(&self) -> Option<(PathBuf, SystemTime)> {
        let file = self.inner.config.tls.as_ref()?.cert.clone();
        Some((file, self.inner.tls.as_ref()?.certificate().not_after))
    }

    fn stale_list(&self) -> Option<PathBuf> {
        let file = self.inner.config.tls.as_ref()?.crl.clone()?;
        let now = SystemTime::now();
        self.inner.tls.as_ref()?.revocation_lists().iter().any(|list| list.is_stale(now)).then_some(file)
    }
}

fn tls_settings(config: &config::Server, tls: &config::ServerTls, access: Arc<Policy>) -> TlsSettings {
    let files = TlsFiles { ca: tls.client_ca.clone(), certificate: tls.cert.clone(), key: tls.key.clone() };
    TlsSettings {
        deadline: config.handshake_timeout,
        crl: tls.crl.clone(),
        admission: Some(access),
        cut_expired: tls.cut_expired,
        ..TlsSettings::new(files, carrier::alpn(config.carrier))
    }
}

/// One accepted transport: authenticated first, then a connection of streams or one eager request.
async fn serve_connection(inner: &Arc<Inner>, incoming: Incoming, shutdown: &Shutdown) {
    let (remote, from) = (incoming.remote().to_owned(), incoming.remote_addr().map(|address| address.ip()));
    let unproven = inner.budget.charge(memory::HANDSHAKE);
    let doorkeeper = incoming.doorkeeper();
    let stream = match &inner.tls {
        Some(tls) => match incoming.handshake(tls).await {
            Ok(stream) => stream,
            Err(error) => return carrier::refused(&remote, &error),
        },
        None => incoming.into_stream(),
    };
    drop(unproven);
    let facts = carrier::facts(&stream);
    let name = facts.identity.as_deref().unwrap_or(ANYONE);
    let identity = facts.identity.as_deref();
    if let Some(left) = inner.penalties.running(std::time::Instant::now(), name, from) {
        doorkeeper.turn_away();
        let left = left.as_secs();
        let what = format!(
            "{} its connections keep being cut for what they do → read why (conn_close in this log), mend that client; it may \
             come again in {left} s",
            sla::code::LIMIT_PENALTY
        );
        return event::limit_reached(&what, &remote, identity, left);
    }
    let terms = inner.access.terms(name);
    let held = match inner.registry.connection(name, &terms.limits()) {
        Ok(held) => held,
        Err(full) => {
            doorkeeper.turn_away();
            return event::limit_reached(&full.to_string(), &remote, identity, full.limit() as u64);
        }
    };
    match inner.config.carrier {
        config::Carrier::Remux(wire) => {
            let wire = carrier::wire(wire, &stream);
            let connection = inner.listener.serve(carrier::accepted(stream, wire));
            let cause = connection.closed().await;
            // Without a certificate all peers are one, and would be punished for one of them.
            if cause.is_misconduct() && identity.is_some() {
                inner.penalties.add(std::time::Instant::now(), name, from);
            }
        }
        config::Carrier::Eager => serve_eager(inner, stream, terms, shutdown).await,
    }
    drop(held);
}

/// A transport without mux: one eager request, answered by nothing but bytes.
async fn serve_eager(inner: &Inner, mut stream: transport::Stream, mut terms: Terms, shutdown: &Shutdown) {
    let began = Instant::now();
    let remote = stream.socket().remote();
    // An end of this process is a reset for the client.
    let armed = stream.arm_reset();
    let account = inner.budget.account(carrier::facts(&stream).identity.as_deref());
    let Some(_charge) = memory::take(&account, memory::EAGER) else {
        let who = Some(terms.identity());
        return event::limit_reached(&memory::short(), &remote, who, inner.budget.limit());
    };
    let asked = eagersocks::accept_eager(&mut stream, inner.config.handshake_timeout).await;
    let (target, early) = match (armed, asked) {
        (Ok(()), Ok(asked)) => asked,
        (Err(error), _) => {
            let why = refused::explain(&error.into());
            return event::request_refused(&remote, Some(terms.identity()), &why);
        }
        (_, Err(error)) => {
            return event::request_refused(&remote, Some(terms.identity()), &refused::explain(&error));
        }
    };
    let alone = Alone::open(Role::Server, &stream);
    let story = Story {
        began,
        source: remote,
        target: target.to_string(),
        identity: terms.identity().to_owned(),
        connection: Some(alone.id()),
        stream: None,
    };
    let mut forbidden = pin!(carrier::forbidden(&stream, Role::Server));
    let vigil = Vigil::over(&stream);
    let near = Plain::new(stream, "client").watched(vigil);
    let dialled = async {
        keep_pace(inner, terms.identity(), &story.source)
            .map_err(|fast| Broken::new("refused", Code::LIMIT, fast.to_string()))?;
        let held = place(inner, &terms, &story.source)?;
        let dials = held.identity.dials(terms.limits().dials_per_identity);
        Ok((inner.destinations.dial(&mut terms, &dials, &target).await?, held))
    };
    let dialled = tokio::select! {
        biased;
        dialled = dialled => dialled,
        broken = &mut forbidden => Err(broken),
    };
    let (sock, report) = match dialled {
        Err(broken) => (None, Report::of(broken)),
        Ok((socket, _held)) => {
            let sock = Sock::open(&target, &socket.remote());
            let stop = stop(shutdown, &mut terms, &story.target, socket.remote_addr());
            let stop = async {
                tokio::select! {
                    biased;
                    broken = stop => broken,
                    broken = forbidden => broken,
                }
            };
            let far = Plain::new(socket, "destination");
            (Some(sock), relay(near, far, early, inner.quiet(), stop).await)
        }
    };
    story.tell(sock, &report);
    alone.close(report.cause(), report.up, report.down);
}

/// One stream of a connection: judged, dialled, relayed.
async fn serve_stream(inner: &Inner, mut stream: remux::Stream, shutdown: &Shutdown) {
    let identity = stream.peer().identity.clone();
    let _charge = inner.budget.account(identity.as_deref()).charge(memory::FLOW);
    let name = identity.as_deref().unwrap_or(ANYONE);
    let request = stream.request();
    let (command, want_opened) = (request.command, request.want_opened);
    let Some(target) = request.target.clone() else {
        return stream.reset(Code::COMMAND_UNKNOWN, "a stream without a target can't be served here");
    };
    #[cfg(feature = "planted")]
    remux::planted::panic_at(remux::planted::Bug::PanicInStream, target.port);
    let story = Story {
        began: Instant::now(),
        source: stream.peer().remote.clone(),
        target: target.to_string(),
        identity: name.to_owned(),
        connection: Some(stream.connection_id()),
        stream: Some(stream.id().0),
    };
    if let Err(fast) = keep_pace(inner, name, &story.source) {
        return stream.refuse(Code::REFUSED, &fast.to_string());
    }
    let mut terms = inner.access.terms(name);
    let dialled = tokio::select! {
        dialled = dial_for(inner, &mut stream, &mut terms, command, &target) => dialled,
        () = shutdown.reached(Phase::Stopped) => Err(Broken::stopped()),
    };
    let (sock, report) = match dialled {
        Err(broken) => {
            Muxed::new(stream).reset(&broken);
            (None, Report::of(broken))
        }
        Ok((held, socket, took)) => {
            let sock = Sock::open(&target, &socket.remote());
            if want_opened {
                stream.answer_opened(framing::remux2::Opened {
                    dial_us: u32::try_from(took.as_micros()).unwrap_or(u32::MAX),
                    bound: socket.local_addr().map(Target::from),
                });
            }
            let stop = stop(shutdown, &mut terms, &story.target, socket.remote_addr());
            let far = Plain::new(socket, "destination");
            let report = relay(Muxed::new(stream), far, Bytes::new(), inner.quiet(), stop).await;
            drop(held);
            (Some(sock), report)
        }
    };
    story.tell(sock, &report);
}

/// Dials for a stream; a stream that the client resets meanwhile takes its dial along.
async fn dial_for(
    inner: &Inner,
    stream: &mut remux::Stream,
    terms: &mut Terms,
    command: Command,
    target: &Target,
) -> Result<(Held, transport::Socket, Duration), Broken> {
    if command != Command::Connect {
        return Err(Broken::new("refused", Code::COMMAND_UNKNOWN, "only connect is served here"));
    }
    let held = place(inner, terms, &stream.peer().remote)?;
    let dials = held.identity.dials(terms.limits().dials_per_identity);
    let began = Instant::now();
    let socket = tokio::select! {
        biased;
        dialled = inner.destinations.dial(terms, &dials, target) => dialled?,
        error = std::future::poll_fn(|cx| stream.poll_closed(cx)) => {
            if matches!(error, StreamError::Reset { .. }) {
                inner.paces.give_up(std::time::Instant::now(), terms.identity());
            }
            return Err(crate::relay::stream_broken(&error));
        }
    };
    Ok((held, socket, began.elapsed()))
}

/// Whether the identity begins no more than it may at a time; the log is told where it does.
fn keep_pace(inner: &Inner, name: &str, source: &str) -> Result<(), TooFast> {
    inner.paces.open(std::time::Instant::now(), name).inspect_err(|fast| {
        event::limit_reached(&fast.to_string(), source, Some(name), fast.limit());
    })
}

fn place(inner: &Inner, terms: &Terms, source: &str) -> Result<Held, Broken> {
    inner.registry.stream(terms.identity(), &terms.limits()).map_err(|full| {
        event::limit_reached(&full.to_string(), source, Some(terms.identity()), full.limit() as u64);
        Broken::new("refused", Code::LIMIT, full.to_string())
    })
}

/// Why a running flow has to end before its time: this process does, or its destination is no longer open.
async fn stop(shutdown: &Shutdown, terms: &mut Terms, target: &str, address: Option<SocketAddr>) -> Broken {
    tokio::select! {
        biased;
        () = shutdown.reached(Phase::Stopped) => Broken::stopped(),
        broken = terms.closed(target, address) => broken,
    }
}

impl Inner {
    fn quiet(&self) -> Quiet {
        Quiet { open: self.config.stream.idle, half_closed: self.config.stream.half_closed }
    }
}

/// What the access line will say.
struct Story {
    began: Instant,
    source: String,
    target: String,
    identity: String,
    connection: Option<sla::ConnectionId>,
    stream: Option<u32>,
}

impl Story {
    fn tell(&self, sock: Option<Sock>, report: &Report) {
        match sock {
            Some(sock) => sock.close(report.cause()),
            None => event::target_failed(&self.target, report.cause()),
        }
        event::access(&Access {
            connection_id: self.connection,
            stream_id: self.stream,
            role: Role::Server,
            inbound: "eager",
            source: &self.source,
            target: &self.target,
            identity: Some(&self.identity),
            bytes_up: report.up,
            bytes_down: report.down,
            duration: self.began.elapsed(),
            first_byte: report.first_byte.map(|at| at.saturating_duration_since(self.began)),
            end: report.end(),
            error: report.broken.as_ref().map(|(_, broken)| broken.text.as_str()),
        });
    }
}

/// The identity of a peer on a plain transport, which proves none.
pub(crate) const ANYONE: &str = "anyone";

#[cfg(test)]
mod tests;
