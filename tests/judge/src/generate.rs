//! The applications: opens flows through a SOCKS5 port, does its part of each plan, writes what it saw.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::check::{Check, Hash};
use crate::flow::{self, Task};
use crate::ledger::{End, Ending, In, Ledger, Line, Out, now};
use crate::mix::Mix;
use crate::pattern::{Direction, Pattern, Place};
use crate::plan::Plan;
use crate::socks;

/// What a generator is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The client's SOCKS5 port; `None` connects to the sink itself.
    pub socks: Option<String>,
    /// The sink's host, as the server shall see it.
    pub host: String,
    /// The sink's port.
    pub port: u16,
    /// What to send.
    pub mix: Mix,
    /// The first flow's number.
    pub first: u64,
    /// How many flows.
    pub flows: u64,
    /// How many at once.
    pub at_once: usize,
    /// No flow begins after this.
    pub during: Option<Duration>,
    /// Where to write.
    pub ledger: PathBuf,
    /// How long nothing may move in a flow.
    pub patience: Duration,
}

/// How many flows ended how.
#[derive(Debug, Default)]
struct Counts {
    ended: AtomicU64,
    refused: AtomicU64,
    bytes: AtomicU64,
}

/// Runs all flows to their end.
///
/// # Errors
///
/// If the ledger can't be opened.
pub async fn run(settings: Settings) -> io::Result<()> {
    let ledger = Arc::new(Ledger::open(&settings.ledger)?);
    ledger.write(&Line::Run { at: now(), who: "generator".to_owned(), seed: settings.mix.seed });
    writeln!(io::stdout(), "generate: ready")?;
    let began = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let counts = Arc::new(Counts::default());
    let mut slots = JoinSet::new();
    for _ in 0..settings.at_once {
        let (settings, ledger, next, counts) =
            (settings.clone(), ledger.clone(), next.clone(), counts.clone());
        slots.spawn(async move {
            while settings.during.is_none_or(|during| began.elapsed() < during) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= settings.flows {
                    break;
                }
                let refused = one(&settings, settings.first + number, &ledger, &counts).await;
                if refused {
                    // A client that is down would be asked thousands of times a second.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        });
    }
    while slots.join_next().await.is_some() {}
    ledger.write(&Line::Done { at: now() });
    let seconds = began.elapsed().as_secs_f64();
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
    writeln!(
        io::stdout(),
        "generate: done flows={} refused={} bytes={} seconds={seconds:.3} mib_per_s={:.2}",
        load(&counts.ended),
        load(&counts.refused),
        load(&counts.bytes),
        load(&counts.bytes) as f64 / seconds / f64::from(1 << 20),
    )
}

/// One flow; says whether it was refused.
async fn one(settings: &Settings, number: u64, ledger: &Ledger, counts: &Counts) -> bool {
    let plan = settings.mix.plan(number);
    let pattern = Pattern::new(settings.mix.seed);
    ledger.write(&Line::Begin { at: now(), plan });
    let began = Instant::now();
    let (out, got, refused) = drive(settings, &plan, pattern).await;
    let ms = began.elapsed().as_millis() as u64;
    counts.ended.fetch_add(1, Ordering::Relaxed);
    counts.bytes.fetch_add(out.bytes + got.bytes, Ordering::Relaxed);
    let is_refused = refused.is_some();
    counts.refused.fetch_add(u64::from(is_refused), Ordering::Relaxed);
    ledger.write(&Line::End(End { at: now(), flow: number, ms, out, r#in: got, refused }));
    is_refused
}

async fn drive(settings: &Settings, plan: &Plan, pattern: Pattern) -> (Out, In, Option<String>) {
    let header = plan.header(&pattern);
    // Every other flow sends its header with the request, as an application that doesn't wait would.
    let early = if plan.flow.is_multiple_of(2) { &header[..] } else { &[] };
    let stream = match tokio::time::timeout(settings.patience, connect(settings, early)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return never(&header[..early.len()], Ending::Refused, error.to_string()),
        Err(_) => {
            return never(&header[..early.len()], Ending::Timeout, "no answer from the proxy".to_owned());
        }
    };
    let place = |direction| Place { flow: plan.flow, direction, offset: 0 };
    let task = Task {
        pattern,
        start: place(Direction::Up),
        written: early.len(),
        header,
        ahead: 0,
        mine: plan.near,
        other: plan.far,
        patience: settings.patience,
    };
    let check = Check::new(pattern, place(Direction::Down), Vec::new());
    let (out, got) = flow::play(stream, task, check).await;
    (out, got, None)
}

async fn connect(settings: &Settings, early: &[u8]) -> io::Result<TcpStream> {
    match &settings.socks {
        Some(socks) => {
            let mut stream = TcpStream::connect(socks).await?;
            stream.set_nodelay(true)?;
            socks::connect(&mut stream, &settings.host, settings.port, early).await?;
            Ok(stream)
        }
        None => {
            let mut stream = TcpStream::connect((settings.host.as_str(), settings.port)).await?;
            tokio::io::AsyncWriteExt::write_all(&mut stream, early).await?;
            Ok(stream)
        }
    }
}

fn never(early: &[u8], end: Ending, why: String) -> (Out, In, Option<String>) {
    let mut hash = Hash::new();
    let nothing = hash.hex();
    hash.add(early);
    let out = Out { bytes: early.len() as u64, sha256: hash.hex(), end };
    (out, In { bytes: 0, sha256: nothing, end, wrong: None }, Some(why))
}
