//! One world: what its seed decides, how it runs, and what must be true of it afterwards.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use framing::remux2::Code;
use parking_lot::Mutex;
use remux::{Budget, ByteStream, ConnectError, Connected, Dialer, Listener, PeerFacts, Wire};
use simnet::{Duplex, Fault, Plan, Rng, Trigger};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::actor::{Inbound, Script, Seen, bytes, talk};
use super::socket::{Network, SimSocket, pair};
use crate::client::{self, Inner};
use crate::config;
use crate::outbound::Outbound;
use crate::relay::{Armed, Broken, Muxed, Plain, Quiet, relay};
use crate::shutdown::Shutdown;

/// What may befall a world.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Fate {
    /// A connection breaks, both ends learn of it.
    Cut,
    /// A connection's bytes disappear, in one direction or both, and nobody learns of it.
    Vanish,
    /// A connection stands still for seconds.
    Stall,
    /// A dial fails, or hangs.
    BadDial,
    /// The server dies with everything, and a new one is there at once.
    Kill,
    /// The server drains, and a new one takes the connections.
    Drain,
    /// A destination refuses, resets while it is dialled, is denied, or answers late.
    BadDestination,
    /// An end of a flow resets in the middle.
    Abort,
    /// A reader reads nothing for a long time.
    Deaf,
    /// The server takes fewer streams on a connection than the client opens before it has heard so: a request that is
    /// refused twice fails.
    TightServer,
}

impl Fate {
    pub(super) const ALL: [Self; 10] = [
        Self::Cut,
        Self::Vanish,
        Self::Stall,
        Self::BadDial,
        Self::Kill,
        Self::Drain,
        Self::BadDestination,
        Self::Abort,
        Self::Deaf,
        Self::TightServer,
    ];
}

/// One flow's plan.
#[derive(Clone, Debug)]
struct Flow {
    inbound: Inbound,
    starts: Duration,
    application: Script,
    destination: Script,
    dial: Dial,
}

/// What becomes of the server's dial.
#[derive(Clone, Copy, Debug)]
struct Dial {
    takes: Duration,
    fails: Option<(&'static str, Code)>,
}

/// How a flow went, seen from both ends.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Told {
    application: Seen,
    /// `None` when nobody was dialled.
    destination: Option<Seen>,
    dials: u64,
    may_fail: bool,
    ended: Duration,
}

impl Told {
    pub(super) fn is_complete(&self) -> bool {
        let Some(destination) = &self.destination else { return false };
        let whole = |from: &Seen, to: &Seen| from.finished && to.clean_end && from.sent == to.received;
        whole(&self.application, destination) && whole(destination, &self.application)
    }
}

/// What a world has to tell.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Story {
    pub(super) flows: Vec<Told>,
    pub(super) fates: BTreeSet<Fate>,
    wire: Option<Wire>,
    strict: bool,
    last: Duration,
    left: (usize, usize, u64, u64),
}

pub(super) struct World {
    rng: Rng,
    wire: Wire,
    strict: bool,
    flows: Vec<Flow>,
    fates: BTreeSet<Fate>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let wire = if rng.one_in(3) { Wire::Classic } else { Wire::Remux2 };
        let strict = wire == Wire::Remux2 && rng.one_in(3);
        let mut wanted = BTreeSet::new();
        for _ in 0..rng.between(0, 3) {
            wanted.extend(rng.pick(&Fate::ALL));
        }
        if wire == Wire::Classic {
            // It has no sign of life: a black hole is for the kernel's time-outs, which nobody simulates here.
            wanted.remove(&Fate::Vanish);
        }
        let count = if rng.one_in(10) { rng.size(20, 60) } else { rng.size(1, 12) };
        let flows = (0..count).map(|_| Flow::plan(&wanted, &mut rng)).collect();
        Self { rng, wire, strict, flows, fates: wanted }
    }

    pub(super) fn run(self) -> Story {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("runtime");
        runtime.block_on(self.live())
    }

    async fn live(mut self) -> Story {
        let began = Instant::now();
        let budgets = [Arc::new(Budget::default()), Arc::new(Budget::default())];
        let ground = Arc::new(Ground {
            wire: self.wire,
            fates: self.fates.clone(),
            budget: budgets[1].clone(),
            state: Mutex::new(GroundState { rng: self.rng.fork(), server: None, networks: Vec::new() }),
            flows: self.flows.clone(),
            seen: self.flows.iter().map(|_| Mutex::default()).collect(),
            struck: Mutex::default(),
        });
        ground.start_server();
        let config = client_config(self.wire, self.strict);
        let dialer = Dialer::builder(remux_config(&mut self.rng)).budget(budgets[0].clone());
        let dialling = ground.clone();
        let dialer = dialer.build(move || dial(dialling.clone()));
        let client = Arc::new(Inner::new(config, Outbound::Pool(dialer.clone()), None, budgets[0].clone()));
        let mut flows = JoinSet::new();
        for index in 0..self.flows.len() {
            flows.spawn(application(index, ground.clone(), client.clone(), began));
        }
        let fate = tokio::spawn(upheaval(ground.clone(), self.rng.fork()));
        let mut told: Vec<Told> = self.flows.iter().map(|_| Told::default()).collect();
        let all = async {
            while let Some(ended) = flows.join_next().await {
                let (index, application, ended) = ended.expect("a flow panicked");
                told[index] = Told { application, ended, ..Told::default() };
            }
        };
        timeout(PATIENCE, all).await.expect("a flow hangs");
        let last = began.elapsed();
        fate.abort();
        // The other ends learn of the last ends.
        sleep(LONGEST).await;
        dialer.drain(Duration::ZERO).await;
        let listener = ground.state.lock().server.clone().expect("a server");
        listener.drain(Duration::ZERO).await;
        // What was dropped is noticed by the tasks that owned it.
        sleep(Duration::from_secs(60)).await;
        for (index, told) in told.iter_mut().enumerate() {
            let server = ground.seen[index].lock();
            (told.destination, told.dials) = (server.destination.clone(), server.dials);
            let plan = &self.flows[index];
            told.may_fail = plan.dial.fails.is_some()
                || plan.application.aborts_at.is_some()
                || plan.destination.aborts_at.is_some();
        }
        let mut fates = ground.struck.lock().clone();
        fates.extend(self.planned());
        let held = |budget: &Budget| budget.used();
        Story {
            flows: told,
            fates,
            wire: Some(self.wire),
            strict: self.strict,
            last,
            left: (dialer.stats().pool.open, listener.connections(), held(&budgets[0]), held(&budgets[1])),
        }
    }

    /// What the plans of the flows make sure to happen.
    fn planned(&self) -> impl Iterator<Item = Fate> + '_ {
        self.flows.iter().flat_map(|flow| {
            let aborts = flow.application.aborts_at.or(flow.destination.aborts_at).is_some();
            let deaf = flow.application.deaf.max(flow.destination.deaf) > Duration::ZERO;
            let bad = flow.dial.fails.is_some();
            [(aborts, Fate::Abort), (deaf, Fate::Deaf), (bad, Fate::BadDestination)]
                .into_iter()
                .filter_map(|(is, fate)| is.then_some(fate))
        })
    }
}

impl Story {
    /// Every promise, of every flow.
    pub(super) fn check(&self, seed: u64) {
        let peaceful =
            self.fates.iter().all(|fate| matches!(fate, Fate::Abort | Fate::BadDestination | Fate::Deaf));
        for (index, flow) in self.flows.iter().enumerate() {
            let what =
                |text: &str| format!("seed {seed}, flow {index}: {text}\n{flow:#?}\nin {:?}", self.fates);
            let nobody = Seen::default();
            let (application, destination) =
                (&flow.application, flow.destination.as_ref().unwrap_or(&nobody));
            for (to, from) in [(application, destination), (destination, application)] {
                assert_eq!(to.wrong_at, None, "{}", what("a byte that was never sent there"));
                assert!(to.received <= from.sent, "{}", what("more bytes than were sent"));
                // The classic wire can't tell an end from an abort.
                if to.clean_end && self.wire == Some(Wire::Remux2) {
                    assert!(
                        from.finished && to.received == from.sent,
                        "{}",
                        what("a clean end that is not true")
                    );
                }
            }
            assert!(flow.dials <= 1, "{}", what("the request was carried out twice"));
            if peaceful && !flow.may_fail && (self.wire == Some(Wire::Remux2)) {
                assert!(flow.is_complete(), "{}", what("nothing befell it and it is not complete"));
            }
            if self.strict && application.granted {
                assert_eq!(flow.dials, 1, "{}", what("success was told and nobody dialled"));
            }
        }
        assert_eq!(self.left, (0, 0, 0, 0), "seed {seed}: connections at client and server, budgets of both");
        let bound = LONGEST + Duration::from_secs(60);
        assert!(
            self.last <= bound,
            "seed {seed}: the last flow ended after {:?}: {:?}",
            self.last,
            self.flows
        );
    }
}

/// Client, server and the network between them.
struct Ground {
    wire: Wire,
    fates: BTreeSet<Fate>,
    budget: Arc<Budget>,
    state: Mutex<GroundState>,
    flows: Vec<Flow>,
    seen: Vec<Mutex<ServerSeen>>,
    struck: Mutex<BTreeSet<Fate>>,
}

struct GroundState {
    rng: Rng,
    server: Option<Arc<Listener>>,
    networks: Vec<Network>,
}

#[derive(Debug, Default)]
struct ServerSeen {
    dials: u64,
    destination: Option<Seen>,
}

impl Ground {
    /// A new server takes connections from now on.
    fn start_server(self: &Arc<Self>) -> Option<Arc<Listener>> {
        let mut state = self.state.lock();
        let mut config = remux_config(&mut state.rng);
        if self.is(Fate::TightServer) {
            config.session.limits.max_streams = Some(u32::try_from(state.rng.between(1, 4)).expect("small"));
            self.strikes(Fate::TightServer);
        }
        let listener = Arc::new(Listener::with_budget(config, self.budget.clone()));
        let (ground, accepting) = (self.clone(), listener.clone());
        tokio::spawn(async move {
            while let Some(stream) = accepting.accept().await {
                let ground = ground.clone();
                tokio::spawn(async move { serve(&ground, stream).await });
            }
        });
        state.server.replace(listener)
    }

    fn is(&self, fate: Fate) -> bool {
        self.fates.contains(&fate)
    }

    fn strikes(&self, fate: Fate) {
        self.struck.lock().insert(fate);
    }

    /// The network of a new connection, with what will befall it.
    fn network(&self, rng: &mut Rng) -> Duplex {
        let delay = Duration::from_millis(rng.between(0, 150));
        let capacity = rng.size(4_000, 300_000);
        let mut plans = [0, 1].map(|_| Plan {
            delay,
            jitter: Duration::from_micros(rng.between(0, 20_000)),
            split: if rng.one_in(2) { usize::MAX } else { rng.size(1, 3_000) },
            merge_one_in: rng.between(0, 4),
            capacity,
            ..Plan::default()
        });
        let trigger = |rng: &mut Rng| match rng.one_in(2) {
            true => Trigger::AtByte(rng.log_size(200_000) as u64),
            false => Trigger::At(Instant::now().into_std() + Duration::from_millis(rng.between(0, 4_000))),
        };
        for (fate, fault) in [(Fate::Cut, Fault::Cut), (Fate::Vanish, Fault::Vanish)] {
            if self.is(fate) && rng.one_in(3) {
                let (at, side) = (trigger(rng), rng.size(0, 1));
                plans[side].faults.push((at, fault));
                self.strikes(fate);
            }
        }
        if self.is(Fate::Stall) && rng.one_in(2) {
            let stall = Fault::Stall(Duration::from_millis(rng.between(10, 20_000)));
            let (at, side) = (trigger(rng), rng.size(0, 1));
            plans[side].faults.push((at, stall));
            self.strikes(Fate::Stall);
        }
        let [up, down] = plans;
        Duplex::new(up, down, rng)
    }
}

/// Brings up a connection to whatever server there is.
async fn dial(ground: Arc<Ground>) -> Result<Connected, ConnectError> {
    let (takes, fails, hangs) = {
        let rng = &mut ground.state.lock().rng;
        let bad = ground.is(Fate::BadDial);
        (rng.between(0, 300), bad && rng.one_in(3), bad && rng.one_in(6))
    };
    sleep(Duration::from_millis(takes)).await;
    if hangs {
        ground.strikes(Fate::BadDial);
        std::future::pending::<()>().await;
    }
    if fails {
        ground.strikes(Fate::BadDial);
        return Err(ConnectError::new("the world refuses"));
    }
    let mut state = ground.state.lock();
    let mut rng = state.rng.fork();
    let (near, far, network) = pair(ground.network(&mut rng));
    state.networks.push(network);
    let facts = PeerFacts::default();
    let server = state.server.clone().expect("a server");
    drop(server.serve(Connected::new(ByteStream::new(far), ground.wire, facts.clone())));
    Ok(Connected::new(ByteStream::new(near), ground.wire, facts))
}

/// What the server does with a stream: dials, as the flow's plan says it goes, and relays.
async fn serve(ground: &Arc<Ground>, mut stream: remux::Stream) {
    let index =
        stream.request().target.as_ref().map_or(usize::MAX, |target| usize::from(target.port) - FIRST_PORT);
    let flow = &ground.flows[index];
    ground.seen[index].lock().dials += 1;
    let cancelled = tokio::select! {
        biased;
        _ = std::future::poll_fn(|cx| stream.poll_closed(cx)) => true,
        () = sleep(flow.dial.takes) => false,
    };
    if cancelled {
        return;
    }
    if let Some((end, code)) = flow.dial.fails {
        use crate::relay::Endpoint;
        return Muxed::new(stream).reset(&Broken::new(end, code, "as the world has it"));
    }
    if stream.request().want_opened {
        stream.answer_opened(framing::remux2::Opened { dial_us: 0, bound: None });
    }
    let (near, far, _) = pair(local(&mut ground.state.lock().rng));
    near.arm_reset().expect("armed");
    let talking = ground.clone();
    tokio::spawn(async move {
        let mut seen = Seen::default();
        talk(far, index, 1, &talking.flows[index].destination, &mut seen).await;
        talking.seen[index].lock().destination = Some(seen);
    });
    relay(Muxed::new(stream), Plain::new(near, "destination"), Bytes::new(), QUIET, std::future::pending())
        .await;
}

/// One application and the client's flow for it.
async fn application(
    index: usize,
    ground: Arc<Ground>,
    client: Arc<Inner>,
    began: Instant,
) -> (usize, Seen, Duration) {
    let flow = &ground.flows[index];
    sleep(flow.starts).await;
    let (mut socket, accepted, _) = pair(local(&mut ground.state.lock().rng));
    let serving = tokio::spawn(async move {
        client::flow(&client, accepted, "application".to_owned(), None, &Shutdown::new()).await;
    });
    let early = flow.application.early;
    let mut seen = Seen { sent: early, ..Seen::default() };
    let port = u16::try_from(FIRST_PORT + index).expect("a port");
    if let Ok(true) = flow.inbound.ask(&mut socket, port, &bytes(index, 0, 0..early)).await {
        talk(socket, index, 0, &flow.application, &mut seen).await;
    } else {
        drop::<SimSocket>(socket);
    }
    serving.await.expect("the client's flow panicked");
    (index, seen, began.elapsed())
}

/// What befalls the server as a whole.
async fn upheaval(ground: Arc<Ground>, mut rng: Rng) {
    sleep(Duration::from_millis(rng.between(0, 4_000))).await;
    if ground.is(Fate::Kill) {
        ground.strikes(Fate::Kill);
        let networks = std::mem::take(&mut ground.state.lock().networks);
        let old = ground.start_server();
        networks.iter().for_each(Network::cut);
        if let Some(old) = old {
            old.drain(Duration::ZERO).await;
        }
    }
    if ground.is(Fate::Drain) {
        sleep(Duration::from_millis(rng.between(0, 2_000))).await;
        ground.strikes(Fate::Drain);
        if let Some(old) = ground.start_server() {
            old.drain(Duration::from_secs(rng.between(0, 60))).await;
        }
    }
}

impl Flow {
    fn plan(wanted: &BTreeSet<Fate>, rng: &mut Rng) -> Self {
        let fails = (wanted.contains(&Fate::BadDestination) && rng.one_in(2)).then(|| {
            let codes = [
                ("refused", Code::DEST_REFUSED),
                ("denied", Code::RULE_REFUSED),
                ("timeout", Code::DIAL_TIMEOUT),
                ("reset", Code::DEST_RESET),
                ("refused", Code::DNS_NXDOMAIN),
            ];
            codes[rng.size(0, codes.len() - 1)]
        });
        let mut script = || {
            let most = if rng.one_in(20) { 1_500_000 } else { 100_000 };
            let sends = if rng.one_in(8) { 0 } else { rng.log_size(most) as u64 };
            let aborts_at = (wanted.contains(&Fate::Abort) && rng.one_in(3)).then(|| rng.between(0, sends));
            Script {
                sends,
                early: 0,
                piece: if rng.one_in(6) {
                    rng.size(sends as usize / 64 + 1, 400)
                } else {
                    rng.size(2_000, 60_000)
                },
                pause: Duration::from_millis(if rng.one_in(4) { rng.between(0, 40) } else { 0 }),
                aborts_at,
                ends_last: false,
                deaf: Duration::from_secs(if wanted.contains(&Fate::Deaf) && rng.one_in(2) {
                    rng.between(1, DEAF_MAX)
                } else {
                    0
                }),
            }
        };
        let (mut application, mut destination) = (script(), script());
        if rng.one_in(2) {
            application.early =
                rng.between(0, application.aborts_at.unwrap_or(application.sends).min(EARLY_MAX));
        }
        match rng.between(0, 2) {
            0 => application.ends_last = true,
            1 => destination.ends_last = true,
            _ => {}
        }
        Self {
            inbound: *rng.pick(&Inbound::ALL).expect("one"),
            starts: Duration::from_millis(rng.between(0, 3_000)),
            application,
            destination,
            dial: Dial { takes: Duration::from_millis(rng.between(0, 500)), fails },
        }
    }
}

/// The network of an application or a destination: nothing befalls it, but it may be slow and take little at once.
fn local(rng: &mut Rng) -> Duplex {
    let mut plan = || Plan {
        delay: Duration::from_micros(rng.between(0, 20_000)),
        capacity: rng.size(500, 64_000),
        ..Plan::default()
    };
    let (there, back) = (plan(), plan());
    Duplex::new(there, back, rng)
}

/// Small limits, so that connections are renewed often and streams are refused.
fn remux_config(rng: &mut Rng) -> remux::Config {
    let mut config = remux::Config {
        reuse_max_age: Duration::from_millis(rng.between(200, 20_000)),
        reuse_max_count: u32::try_from(rng.between(1, 20)).expect("small"),
        idle_max: Duration::from_millis(rng.between(50, 10_000)),
        ..remux::Config::default()
    };
    config.session.seed = rng.bits() | 1;
    config
}

fn client_config(wire: Wire, strict: bool) -> config::Client {
    let config = config::Client::from_pairs([
        ("server.addr", "127.0.0.1:1"),
        ("client.addr", "127.0.0.1:0"),
        ("remux.net", "tcp"),
        ("remux.wire", wire.name()),
        ("eagersocks.reply", if strict { "strict" } else { "eager" }),
    ]);
    config.expect("a configuration")
}

const QUIET: Quiet = Quiet { open: Duration::from_secs(7440), half_closed: Duration::from_secs(240) };
const FIRST_PORT: usize = 1_000;
/// More than the front takes along with a request.
const EARLY_MAX: u64 = 100_000;
/// Seconds a reader may read nothing.
const DEAF_MAX: u64 = 60;
/// Stalls, dials and their retries, deaf readers, slow writers.
const LONGEST: Duration = Duration::from_secs(240);
/// A flow that is not over by then never will be.
const PATIENCE: Duration = Duration::from_secs(20_000);
