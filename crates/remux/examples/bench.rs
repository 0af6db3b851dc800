//! Throughput and CPU of streams beside raw tokio-rustls: one process, loopback TCP, mutual TLS 1.3, one direction.
//!
//! ```text
//! cargo run --release -p remux --example bench -- [MiB per run, default 512] [rounds, default 7] [case, …]
//! ```
//! `ahead-…`: the socket is read 256 KiB at a time under TLS, and rustls takes 256 KiB of plaintext before it must write.
//! Cases take turns within a round, so that a busy machine hits all of them alike; the medians of the per-round ratios to
//! `raw` are the figures to trust, and CPU per byte (both ends, user + system) more than GB/s.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use remux::session::{Open, PathInfo};
use remux::{
    BufStream, ByteStream, Config, ConnectError, Connected, Dialer, Listener, PeerFacts, Probe, Stream, Wire,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mib: usize = arguments.next().map_or(Ok(512), |text| text.parse())?;
    let rounds: usize = arguments.next().map_or(Ok(7), |text| text.parse())?;
    let wanted: Vec<String> = arguments.collect();
    let cases: Vec<&Case> = CASES
        .iter()
        .filter(|case| wanted.is_empty() || wanted.iter().any(|name| name == case.name))
        .collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let tls = Tls::new()?;
    let mut figures = vec![Vec::new(); cases.len()];
    for round in 0..=rounds {
        for (case, figures) in cases.iter().zip(&mut figures) {
            let figure = runtime.block_on(run(case, &tls, mib << 20))?;
            // The first round warms caches and the allocator.
            if round > 0 {
                figures.push(figure);
            }
        }
    }
    report(&cases, &figures);
    Ok(())
}

/// One way to move bytes.
struct Case {
    name: &'static str,
    wire: Option<Wire>,
    streams: usize,
    /// Whole chunks instead of copies in and out.
    chunks: bool,
    /// Bytes read from the socket at a time, and taken by rustls before a write; 0: as they are by default.
    ahead: usize,
}

const CASES: &[Case] = &[
    Case { name: "raw", wire: None, streams: 1, chunks: false, ahead: 0 },
    Case { name: "remux2-1", wire: Some(Wire::Remux2), streams: 1, chunks: false, ahead: 0 },
    Case { name: "remux2-8", wire: Some(Wire::Remux2), streams: 8, chunks: false, ahead: 0 },
    Case { name: "remux2-64", wire: Some(Wire::Remux2), streams: 64, chunks: false, ahead: 0 },
    Case { name: "ahead-1", wire: Some(Wire::Remux2), streams: 1, chunks: false, ahead: AHEAD },
    Case { name: "ahead-8", wire: Some(Wire::Remux2), streams: 8, chunks: false, ahead: AHEAD },
    Case { name: "ahead-64", wire: Some(Wire::Remux2), streams: 64, chunks: false, ahead: AHEAD },
    Case { name: "chunks-1", wire: Some(Wire::Remux2), streams: 1, chunks: true, ahead: 0 },
    Case { name: "chunks-8", wire: Some(Wire::Remux2), streams: 8, chunks: true, ahead: 0 },
    Case { name: "classic-1", wire: Some(Wire::Classic), streams: 1, chunks: false, ahead: 0 },
    Case { name: "classic-8", wire: Some(Wire::Classic), streams: 8, chunks: false, ahead: 0 },
];

/// What one run took.
#[derive(Clone, Copy)]
struct Figure {
    gigabytes_per_second: f64,
    cpu_nanoseconds_per_byte: f64,
}

async fn run(case: &Case, tls: &Tls, bytes: usize) -> Result<Figure, Failure> {
    let each = bytes / case.streams;
    let (flows, mut senders, mut receivers) = prepare(case, tls).await?;
    let (start, cpu) = (Instant::now(), cpu_time()?);
    let mut work = JoinSet::new();
    for sender in senders.drain(..) {
        work.spawn(send(sender, each, case.chunks));
    }
    for receiver in receivers.drain(..) {
        work.spawn(receive(receiver, each, case.chunks));
    }
    while let Some(done) = work.join_next().await {
        done??;
    }
    let (wall, cpu) = (start.elapsed(), cpu_time()?.saturating_sub(cpu));
    drop(flows);
    let bytes = (each * case.streams) as f64;
    Ok(Figure {
        gigabytes_per_second: bytes / wall.as_secs_f64() / 1e9,
        cpu_nanoseconds_per_byte: cpu.as_secs_f64() * 1e9 / bytes,
    })
}

enum Flow {
    Raw(Box<dyn Raw>),
    Mux(Stream),
}

trait Raw: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Raw for T {}

/// What TCP_INFO says of a loopback socket, more or less; without it windows grow as for a path of 100 ms.
struct Loopback(OwnedFd);

impl Probe for Loopback {
    fn path(&self) -> Option<PathInfo> {
        let rtt = Duration::from_micros(100);
        Some(PathInfo {
            rtt,
            min_rtt: rtt,
            delivery_rate: 1_500_000_000,
            cwnd: 1 << 20,
            ..PathInfo::default()
        })
    }

    fn set_notsent_lowat(&self, bytes: u32) {
        // A kernel without the option still moves bytes.
        let _ = SockRef::from(&self.0).set_tcp_notsent_lowat(bytes);
    }
}

/// What must live as long as the streams.
type Keep = Option<(Dialer, Arc<Listener>)>;

async fn prepare(case: &Case, tls: &Tls) -> Result<(Keep, Vec<Flow>, Vec<Flow>), Failure> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = socket.local_addr()?;
    let (acceptor, ahead) = (tls.acceptor.clone(), case.ahead);
    let accept = async move {
        let (tcp, _) = socket.accept().await?;
        tcp.set_nodelay(true)?;
        // A buffer of one byte is passed by.
        let mut far = acceptor.accept(BufReader::with_capacity(ahead.max(1), tcp)).await?;
        if ahead > 0 {
            far.get_mut().1.set_buffer_limit(Some(ahead));
        }
        Ok::<_, Failure>(far)
    };
    let Some(wire) = case.wire else {
        let (near, far) = tokio::try_join!(tls.connect(address, ahead), accept)?;
        return Ok((None, vec![Flow::Raw(Box::new(near))], vec![Flow::Raw(Box::new(far))]));
    };
    let mut config = Config { reuse_max_count: u32::MAX, reuse_max_age: Duration::MAX, ..Config::default() };
    config.session.limits.opens.burst = 1000;
    let listener = Arc::new(Listener::new(config.clone()));
    let serving = listener.clone();
    let server = tokio::spawn(async move {
        let far = accept.await?;
        let probe = Loopback(far.get_ref().0.get_ref().as_fd().try_clone_to_owned()?);
        serving.serve(Connected::new(BufStream::new(far), wire, PeerFacts::default()).with_probe(probe));
        Ok::<_, Failure>(())
    });
    let tls = tls.clone();
    let connect = move || {
        let tls = tls.clone();
        async move {
            let failed = |error: Failure| ConnectError::new(error.to_string());
            let near = tls.connect(address, ahead).await.map_err(failed)?;
            let socket = near.get_ref().0.get_ref().as_fd().try_clone_to_owned();
            let probe = Loopback(socket.map_err(|error| failed(error.into()))?);
            Ok(Connected::new(ByteStream::new(near), wire, PeerFacts::default()).with_probe(probe))
        }
    };
    let dialer = Dialer::new(connect, config);
    let (mut senders, mut receivers) = (Vec::new(), Vec::new());
    for _ in 0..case.streams {
        let mut near = dialer.open(Open::connect("bench.example:1".parse()?)).await?;
        near.write_all(b"!").await?;
        let mut far = listener.accept().await.ok_or("listener is closed")?;
        far.read_exact(&mut [0]).await?;
        senders.push(Flow::Mux(near));
        receivers.push(Flow::Mux(far));
    }
    server.await??;
    Ok((Some((dialer, listener)), senders, receivers))
}

async fn send(flow: Flow, bytes: usize, chunks: bool) -> Result<(), Failure> {
    let mut left = bytes;
    let block = vec![7_u8; BLOCK];
    match flow {
        Flow::Mux(mut stream) if chunks => {
            let block = bytes::Bytes::from(block);
            while left > 0 {
                let room = std::future::poll_fn(|cx| stream.poll_write_room(cx)).await?;
                let size = room.min(left).min(BLOCK);
                stream.write_chunk(block.slice(..size))?;
                left -= size;
            }
            stream.finish();
            // Dropping it now would cut what is queued; the receiver ends first.
            let _ = stream.read(&mut [0]).await;
        }
        Flow::Mux(mut stream) => {
            write(&mut stream, &block, left).await?;
            stream.finish();
            let _ = stream.read(&mut [0]).await;
        }
        Flow::Raw(mut stream) => {
            write(&mut stream, &block, left).await?;
            stream.flush().await?;
            let _ = stream.read(&mut [0]).await;
        }
    }
    Ok(())
}

async fn write(to: &mut (impl AsyncWrite + Unpin), block: &[u8], mut left: usize) -> Result<(), Failure> {
    while left > 0 {
        let size = left.min(block.len());
        to.write_all(&block[..size]).await?;
        left -= size;
    }
    Ok(())
}

async fn receive(flow: Flow, bytes: usize, chunks: bool) -> Result<(), Failure> {
    match flow {
        Flow::Mux(mut stream) if chunks => {
            let mut left = bytes;
            while left > 0 {
                let chunk = std::future::poll_fn(|cx| stream.poll_read_chunk(cx, usize::MAX)).await?;
                left -= chunk.ok_or("early end")?.len();
            }
            stream.finish();
        }
        Flow::Mux(mut stream) => {
            read(&mut stream, bytes).await?;
            stream.finish();
        }
        Flow::Raw(mut stream) => {
            read(&mut stream, bytes).await?;
            stream.shutdown().await?;
        }
    }
    Ok(())
}

async fn read(from: &mut (impl AsyncRead + Unpin), mut left: usize) -> Result<(), Failure> {
    let mut block = vec![0_u8; BLOCK];
    while left > 0 {
        let count = from.read(&mut block).await?;
        if count == 0 {
            return Err("early end".into());
        }
        left -= count;
    }
    Ok(())
}

fn report(cases: &[&Case], figures: &[Vec<Figure>]) {
    println!("{:<12}{:>8}{:>12}{:>12}{:>12}", "case", "GB/s", "CPU ns/B", "GB/s : raw", "CPU : raw");
    let raw = &figures[0];
    for (case, figures) in cases.iter().zip(figures) {
        let speed = figures.iter().map(|figure| figure.gigabytes_per_second);
        let cost = figures.iter().map(|figure| figure.cpu_nanoseconds_per_byte);
        let faster = figures.iter().zip(raw).map(|(a, b)| a.gigabytes_per_second / b.gigabytes_per_second);
        let dearer =
            figures.iter().zip(raw).map(|(a, b)| a.cpu_nanoseconds_per_byte / b.cpu_nanoseconds_per_byte);
        println!(
            "{:<12}{:>8.2}{:>12.3}{:>12.2}{:>12.2}",
            case.name,
            median(speed),
            median(cost),
            median(faster),
            median(dearer)
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// User and system time of this process.
fn cpu_time() -> Result<Duration, Failure> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let of =
        |time: nix::sys::time::TimeVal| Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000);
    Ok(of(usage.user_time()) + of(usage.system_time()))
}

/// Both ends' TLS, each with a certificate the other one checks.
#[derive(Clone)]
struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl Tls {
    fn new() -> Result<Self, Failure> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate()?;
        let root = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(root.der().clone())?;
        let roots = Arc::new(roots);
        let leaf = |purpose| -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Failure> {
            let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
            params.extended_key_usages = vec![purpose];
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &issuer)?;
            Ok((vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
        };
        let (chain, key) = leaf(ExtendedKeyUsagePurpose::ServerAuth)?;
        let server = rustls::ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
            .with_client_cert_verifier(WebPkiClientVerifier::builder(roots.clone()).build()?)
            .with_single_cert(chain, key)?;
        let (chain, key) = leaf(ExtendedKeyUsagePurpose::ClientAuth)?;
        let client = rustls::ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
        })
    }

    async fn connect(
        &self,
        to: SocketAddr,
        ahead: usize,
    ) -> Result<TlsStream<BufReader<TcpStream>>, Failure> {
        let tcp = TcpStream::connect(to).await?;
        tcp.set_nodelay(true)?;
        let tcp = BufReader::with_capacity(ahead.max(1), tcp);
        let mut near = self.connector.connect(ServerName::try_from("localhost")?, tcp).await?;
        if ahead > 0 {
            near.get_mut().1.set_buffer_limit(Some(ahead));
        }
        Ok(near)
    }
}

const BLOCK: usize = 64 * 1024;
const AHEAD: usize = 256 * 1024;
