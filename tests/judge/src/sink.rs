//! The destination: reads a flow's header, does what it says, writes what it saw.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::check::{Check, Hash};
use crate::damage::{self, Wrong};
use crate::flow::{self, Task};
use crate::ledger::{End, Ending, In, Ledger, Line, Out, now};
use crate::pattern::{Direction, Pattern, Place};
use crate::plan::{HEADER, Plan};

/// What a sink is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: String,
    /// The run's seed.
    pub seed: u64,
    /// Where to write.
    pub ledger: PathBuf,
    /// How long nothing may move in a flow.
    pub patience: Duration,
}

/// Serves until `stop` is ready; flows that are open then are written as such.
///
/// # Errors
///
/// If it can't listen or open its ledger.
pub async fn run(settings: Settings, stop: impl Future<Output = ()>) -> io::Result<()> {
    let ledger = Arc::new(Ledger::open(&settings.ledger)?);
    let listener = TcpListener::bind(&settings.listen).await?;
    ledger.write(&Line::Run { at: now(), who: "sink".to_owned(), seed: settings.seed });
    writeln!(io::stdout(), "sink: ready on {}", listener.local_addr()?)?;
    let (stopping, stopped) = watch::channel(());
    let mut flows = tokio::task::JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = flows.join_next(), if !flows.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (ledger, settings, stopped) = (ledger.clone(), settings.clone(), stopped.clone());
                    flows.spawn(async move { serve(stream, &settings, &ledger, stopped).await });
                }
                Err(error) => {
                    writeln!(io::stderr(), "sink: can't accept: {error}")?;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(stopping);
    while flows.join_next().await.is_some() {}
    ledger.write(&Line::Done { at: now() });
    writeln!(io::stdout(), "sink: done")
}

async fn serve(stream: TcpStream, settings: &Settings, ledger: &Ledger, mut stopped: watch::Receiver<()>) {
    let began = Instant::now();
    let pattern = Pattern::new(settings.seed);
    let mut head = Vec::new();
    let header = tokio::time::timeout(settings.patience, header(&stream, &mut head));
    let end = tokio::select! {
        end = header => end.unwrap_or(Some(Ending::Timeout)),
        _ = stopped.changed() => Some(Ending::Open),
    };
    let plan = match end {
        None => Plan::of_header(&pattern, &head),
        Some(_) => None,
    };
    let Some(plan) = plan else {
        let seen = headless(&stream, &pattern, head, end).await;
        ledger.write(&Line::Headless { at: now(), r#in: seen });
        return;
    };
    ledger.write(&Line::Begin { at: now(), plan });
    let mut check = Check::new(pattern, place(plan.flow, Direction::Up), plan.header(&pattern));
    check.take(&head);
    let task = Task {
        pattern,
        start: place(plan.flow, Direction::Down),
        header: Vec::new(),
        written: 0,
        ahead: HEADER as u64,
        mine: plan.far,
        other: plan.near,
        patience: settings.patience,
    };
    let (out, r#in) = tokio::select! {
        ends = flow::play(stream, task, check) => ends,
        _ = stopped.changed() => (open_out(), open_in()),
    };
    let ms = began.elapsed().as_millis() as u64;
    ledger.write(&Line::End(End { at: now(), flow: plan.flow, ms, out, r#in, refused: None }));
}

/// Reads a header; `Some` if the connection ended before it was whole.
async fn header(stream: &TcpStream, head: &mut Vec<u8>) -> Option<Ending> {
    let mut buffer = [0; HEADER];
    while head.len() < HEADER {
        match flow::read_some(stream, &mut buffer[..HEADER - head.len()]).await {
            Ok(0) => return Some(Ending::Fin),
            Ok(count) => head.extend_from_slice(&buffer[..count]),
            Err(_) => return Some(Ending::Rst),
        }
    }
    None
}

/// Looks closer at what came instead of a header.
async fn headless(stream: &TcpStream, pattern: &Pattern, mut head: Vec<u8>, end: Option<Ending>) -> In {
    let mut hash = Hash::new();
    hash.add(&head);
    let here = Place { flow: u64::MAX, direction: Direction::Up, offset: 0 };
    let wrong = match end {
        None => {
            let mut more = [0; 4096];
            if let Ok(Ok(count)) =
                tokio::time::timeout(Duration::from_secs(1), flow::read_some(stream, &mut more)).await
            {
                head.extend_from_slice(&more[..count]);
            }
            Some(Wrong { at: 0, damage: damage::name(pattern, here, &[], &head) })
        }
        Some(_) => None,
    };
    In { bytes: head.len() as u64, sha256: hash.hex(), end: end.unwrap_or(Ending::Open), wrong }
}

fn place(flow: u64, direction: Direction) -> Place {
    Place { flow, direction, offset: 0 }
}

fn open_out() -> Out {
    Out { bytes: 0, sha256: Hash::new().hex(), end: Ending::Open }
}

fn open_in() -> In {
    In { bytes: 0, sha256: Hash::new().hex(), end: Ending::Open, wrong: None }
}
