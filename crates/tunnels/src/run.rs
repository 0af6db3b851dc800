//! A client or server as a process: runtime, log, signals.
//!
//! | signal | effect |
//! |---|---|
//! | SIGTERM, SIGINT | drain: take nothing new, let running streams end within the limit; a second one ends at once |
//! | SIGHUP | renew certificates, users, identities, grants and limits; cut what has lost its right, touch nothing else |
//! | SIGUSR1 | open the log file anew, as after a rename by logrotate |

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use sla::event::{self, Role};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::log::{self, Log};
use crate::shutdown::Shutdown;
use crate::{Client, Error, Server, config};

/// Runs a client until it is told to stop. Everything that can be checked is checked, and the log opened, before it
/// listens.
///
/// # Errors
/// Why it did not start.
pub fn client(config: config::Client) -> Result<(), Error> {
    let runtime = runtime()?;
    runtime.block_on(async {
        config.check_files()?;
        let log = log::start(&config.log, config.alert.as_ref(), &config.source)?;
        let client = Client::bind(config.clone()).await?;
        start(Role::Client, &config.warnings);
        let reloader = client.reloader();
        let shutdown = Shutdown::new();
        let (papers, lists) = (reloader.clone(), reloader.clone());
        let mut tasks = signals(&shutdown, &log, move || reload(reloader.reload()))?;
        tasks.spawn(watch_certificate(move || papers.certificate(), move || lists.stale_list()));
        client.serve(shutdown).await;
        log.finish().await;
        Ok(())
    })
}

/// Runs a server until it is told to stop. Everything that can be checked is checked, and the log opened, before it
/// listens.
///
/// # Errors
/// Why it did not start.
pub fn server(config: config::Server) -> Result<(), Error> {
    let runtime = runtime()?;
    runtime.block_on(async {
        config.check_files()?;
        let log = log::start(&config.log, config.alert.as_ref(), &config.source)?;
        let server = Server::bind(config.clone()).await?;
        start(Role::Server, &config.warnings);
        let reloader = server.reloader();
        let shutdown = Shutdown::new();
        let (papers, lists) = (reloader.clone(), reloader.clone());
        let mut tasks = signals(&shutdown, &log, move || reload(reloader.reload()))?;
        tasks.spawn(watch_certificate(move || papers.certificate(), move || lists.stale_list()));
        server.serve(shutdown).await;
        log.finish().await;
        Ok(())
    })
}

pub(crate) fn runtime() -> Result<Runtime, Error> {
    raise_descriptor_limit();
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

fn start(role: Role, warnings: &[String]) {
    event::started(role, env!("CARGO_PKG_VERSION"));
    for warning in warnings {
        event::config_warning(warning);
    }
}

/// The tasks beside the serving one; they end with this value.
pub(crate) type Tasks = tokio::task::JoinSet<()>;

fn reload(outcome: Result<(), Error>) {
    match outcome {
        Ok(()) => event::reloaded("certificates, users, identities and grants"),
        Err(error) => event::reload_failed("configuration", &error.to_string()),
    }
}

/// Listens to the signals of the table above; what SIGHUP does is the caller's.
pub(crate) fn signals(
    shutdown: &Shutdown,
    log: &Log,
    hang_up: impl Fn() + Send + 'static,
) -> Result<Tasks, Error> {
    let mut tasks = Tasks::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut stream = signal(kind)?;
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            while stream.recv().await.is_some() {
                shutdown.press();
            }
        });
    }
    let mut hangup = signal(SignalKind::hangup())?;
    tasks.spawn(async move {
        while hangup.recv().await.is_some() {
            hang_up();
        }
    });
    let mut user = signal(SignalKind::user_defined1())?;
    let handle = log.handle();
    tasks.spawn(async move {
        while user.recv().await.is_some() {
            handle.reopen();
        }
    });
    Ok(tasks)
}

/// Says when our own certificate comes near its end, and again at each nearer threshold, and that revocation lists are stale.
async fn watch_certificate(
    certificate: impl Fn() -> Option<(PathBuf, SystemTime)>,
    stale_list: impl Fn() -> Option<PathBuf>,
) {
    let mut told = None;
    while let Some((file, end)) = certificate() {
        if let Some(list) = stale_list() {
            event::crl_stale(&list.display().to_string());
        }
        let now = SystemTime::now();
        let file = file.display().to_string();
        match end.duration_since(now) {
            Err(_) => event::certificate_expired(&file),
            Ok(left) => {
                if let Some(threshold) = transport::expiry_warning(end, now, told) {
                    told = Some(threshold);
                    let days = u32::try_from(left.as_secs() / DAY).unwrap_or(u32::MAX);
                    event::certificate_expiring(&file, days);
                }
            }
        }
        tokio::time::sleep(CERTIFICATE_CHECK).await;
    }
}

/// How often the end of the certificate is looked at.
const CERTIFICATE_CHECK: Duration = Duration::from_hours(1);
const DAY: u64 = 86_400;

/// Each flow is a descriptor at either end: take as many as the hard limit allows.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // Where it is not allowed the old limit stays; running out is told when it happens.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
