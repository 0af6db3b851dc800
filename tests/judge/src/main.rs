//! The `judge` program. `judge` alone prints what it can do.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use judge::flags::Flags;
use judge::ledger::{self, Ending};
use judge::mix::{Kind, Mix};
use judge::pattern::MAX_FLOWS;
use judge::verdict::Verdict;
use judge::{generate, settle, sink, verdict};

const USAGE: &str = "\
judge sink --listen HOST:PORT --seed N --ledger FILE [--patience SECS]
judge generate --socks HOST:PORT --to HOST:PORT --seed N --ledger FILE [--flows N] [--at-once N] [--bytes N|MIN-MAX]
               [--mix calm|mixed|classic|soak|stalled|bulk|hang] [--for SECS] [--stall SECS] [--first N] [--patience SECS]
               (without --socks straight to the sink)
judge verdict  --sent FILE --received FILE [--faulted] [--wait SECS]
judge settle   --pid PID... --baseline FILE [--within SECS]   (the first call writes the baseline)
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let done = match command.as_str() {
        "sink" => sink(args),
        "generate" => generate(args),
        "verdict" => verdict(args),
        "settle" => settle(args),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            let _ = writeln!(io::stderr(), "judge {command}: {}", text.trim_end());
            ExitCode::from(64)
        }
    }
}

fn sink(args: impl Iterator<Item = String>) -> Result<bool, String> {
    let flags = Flags::read(args, &["listen", "seed", "ledger", "patience"])?;
    let settings = sink::Settings {
        listen: flags.need("listen")?,
        seed: flags.need("seed")?,
        ledger: flags.path("ledger")?,
        patience: patience(&flags)?,
    };
    run(async { sink::run(settings, asked_to_stop()?).await })
}

fn generate(args: impl Iterator<Item = String>) -> Result<bool, String> {
    let known = [
        "socks", "to", "seed", "ledger", "flows", "at-once", "bytes", "mix", "for", "stall", "first",
        "patience",
    ];
    let flags = Flags::read(args, &known)?;
    let to: String = flags.need("to")?;
    let (host, port) = to.rsplit_once(':').ok_or("--to: HOST:PORT")?;
    let name = flags.get("mix")?.unwrap_or_else(|| "calm".to_owned());
    let kind = Kind::named(&name).ok_or_else(|| format!("--mix: there is no {name:?}"))?;
    let during: Option<f64> = flags.get("for")?;
    // Kept flows are kept for the run's time.
    let stall = flags.get("stall")?.or(during.filter(|_| kind == Kind::Hang)).unwrap_or(10.0);
    let first = flags.get("first")?.unwrap_or(0);
    let flows = flags.get("flows")?.unwrap_or(if during.is_some() { MAX_FLOWS } else { 100 });
    let settings = generate::Settings {
        socks: flags.get("socks")?,
        host: host.trim_matches(['[', ']']).to_owned(),
        port: port.parse().map_err(|_| "--to: HOST:PORT")?,
        mix: Mix {
            seed: flags.need("seed")?,
            kind,
            bytes: flags.get::<String>("bytes")?.as_deref().map(range).transpose()?,
            stall_ms: (stall * 1000.0) as u32,
        },
        first,
        flows: flows.min(MAX_FLOWS.saturating_sub(first)),
        at_once: flags.get("at-once")?.unwrap_or(16),
        during: during.filter(|_| kind != Kind::Hang).map(Duration::from_secs_f64),
        ledger: flags.path("ledger")?,
        patience: patience(&flags)?,
    };
    run(generate::run(settings))
}

fn verdict(args: impl Iterator<Item = String>) -> Result<bool, String> {
    let flags = Flags::read(args, &["sent", "received", "faulted", "wait"])?;
    let (sent, received) = (flags.path("sent")?, flags.path("received")?);
    let end = Instant::now() + Duration::from_secs_f64(flags.get("wait")?.unwrap_or(10.0));
    loop {
        let read = |path| ledger::read(path).map_err(|error| error.to_string());
        let verdict = verdict::judge(read(&sent)?, read(&received)?, flags.has("faulted"));
        // The sink may still be writing its last lines.
        if verdict.is_good() || !verdict.may_improve() || Instant::now() >= end {
            return Ok(report(&verdict));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn report(verdict: &Verdict) -> bool {
    let mut out = io::stdout().lock();
    for broken in verdict.broken.iter().take(100) {
        let _ = writeln!(out, "{broken}");
    }
    let ends: Vec<String> =
        verdict.ends.iter().map(|(end, count)| format!("{}={count}", name(*end))).collect();
    let _ = writeln!(
        out,
        "verdict: {} flows={} complete={} up={} down={} {} broken={} sha256={}",
        if verdict.is_good() { "good" } else { "BROKEN" },
        verdict.flows,
        verdict.complete,
        verdict.bytes.0,
        verdict.bytes.1,
        ends.join(" "),
        verdict.broken.len(),
        verdict.sha256,
    );
    verdict.is_good()
}

fn name(end: Ending) -> String {
    format!("{end:?}").to_lowercase()
}

fn settle(args: impl Iterator<Item = String>) -> Result<bool, String> {
    let flags = Flags::read(args, &["pid", "baseline", "within"])?;
    let pids: Result<Vec<u32>, _> = flags.all("pid").iter().map(|pid| pid.parse()).collect();
    let pids = pids.map_err(|_| "--pid: a number")?;
    let within = Duration::from_secs_f64(flags.get("within")?.unwrap_or(90.0));
    let (lines, good) =
        settle::settle(&pids, &flags.path("baseline")?, within).map_err(|error| error.to_string())?;
    let _ = writeln!(io::stdout(), "{}", lines.join("\n"));
    Ok(good)
}

fn patience(flags: &Flags) -> Result<Duration, String> {
    Ok(Duration::from_secs_f64(flags.get("patience")?.unwrap_or(60.0)))
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let number = |part: &str| part.parse::<u64>().map_err(|_| format!("--bytes: can't read {text:?}"));
    let (low, high) = (number(low)?, number(high)?);
    if low > high { Err(format!("--bytes: {low} is more than {high}")) } else { Ok((low, high)) }
}

/// Ready at SIGTERM or SIGINT.
fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

fn run(work: impl Future<Output = io::Result<()>>) -> Result<bool, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.and_then(|runtime| runtime.block_on(work)).map(|()| true).map_err(|error| error.to_string())
}
