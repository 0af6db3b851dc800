//! A client or server as a process: runtime, log, signals.
//!
//! | signal | effect |
//! |---|---|
//! | SIGTERM, SIGINT | drain: take nothing new, let running streams end within the limit; a second one ends at once |
//! | SIGHUP | renew certificates, users, identities, grants and limits; cut what has lost its right, touch nothing else |
//! | SIGUSR1 | open the log file anew, as after a rename by logrotate |

use std::sync::Arc;

use remux::Budget;
use sla::event::{self, Area, Role};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::cell;
use crate::descriptors::Descriptors;
use crate::log::{self, Log};
use crate::notify;
use crate::panics::Panics;
use crate::papers::{self, Papers};
use crate::shutdown::Shutdown;
use crate::{Client, Error, Server, config, lookups, memory, tasks};

/// Runs a client until it is told to stop. Everything that can be checked is checked before it listens; once it listens it
/// becomes the user it is to be, who then opens the log.
///
/// # Errors
/// Why it did not start.
pub fn client(mut config: config::Client) -> Result<(), Error> {
    let (descriptors, panics) = (Descriptors::raise(), Panics::watch());
    let lowered = descriptors.fit_client(&mut config);
    config.warnings.extend(lowered);
    to_its_end(async {
        config.check_files()?;
        let client = Client::bind(config.clone()).await?;
        let warning = cell::settle(config.user.as_deref(), &config.source)?;
        let log = log::start(&config.log, config.alert.as_ref(), &config.source)?;
        start(Role::Client, config.warnings.iter().chain(&warning));
        let (budget, papers) = (client.budget().clone(), client.reloader());
        event::resources(memory::ceiling(budget.limit()), descriptors.budget() as u64);
        live(log, panics, budget, papers, |shutdown| client.serve(shutdown)).await
    })
}

/// Runs a server until it is told to stop. Everything that can be checked is checked before it listens; once it listens it
/// becomes the user it is to be, who then opens the log.
///
/// # Errors
/// Why it did not start.
pub fn server(mut config: config::Server) -> Result<(), Error> {
    let (descriptors, panics) = (Descriptors::raise(), Panics::watch());
    let lowered = descriptors.fit_server(&mut config);
    config.warnings.extend(lowered);
    to_its_end(async {
        config.check_files()?;
        let server = Server::bind(config.clone()).await?;
        let warning = cell::settle(config.user.as_deref(), &config.source)?;
        let log = log::start(&config.log, config.alert.as_ref(), &config.source)?;
        start(Role::Server, config.warnings.iter().chain(&warning));
        let (budget, papers) = (server.budget().clone(), server.reloader().within(descriptors));
        event::resources(memory::ceiling(budget.limit()), descriptors.budget() as u64);
        live(log, panics, budget, papers, |shutdown| server.serve(shutdown)).await
    })
}

/// Runs a program in a runtime of its own. A look-up that still hangs then is left behind: nothing could end it, and nothing
/// waits for it any more.
pub(crate) fn to_its_end<T>(program: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    #[cfg(feature = "planted")]
    plant_bug()?;
    let runtime = Builder::new_multi_thread().enable_all().max_blocking_threads(THREADS).build()?;
    let outcome = runtime.block_on(program);
    runtime.shutdown_timeout(tasks::GOODBYE);
    outcome
}

/// Chooses the bug that the tests are to find.
#[cfg(feature = "planted")]
fn plant_bug() -> std::io::Result<()> {
    match std::env::var("PLANTED_BUG") {
        Ok(name) if !remux::planted::plant(&name) => {
            Err(std::io::Error::other(format!("PLANTED_BUG: there is no bug {name:?}")))
        }
        _ => Ok(()),
    }
}

fn start<'a>(role: Role, warnings: impl Iterator<Item = &'a String>) {
    event::started(role, env!("CARGO_PKG_VERSION"));
    for warning in warnings {
        event::config_warning(warning);
    }
}

/// Serves until told to stop, with all that a process does beside it.
async fn live<F: Future<Output = Result<(), Error>>>(
    log: Log,
    panics: Arc<Panics>,
    budget: Arc<Budget>,
    papers: impl Papers,
    serve: impl FnOnce(Shutdown) -> F,
) -> Result<(), Error> {
    let shutdown = Shutdown::new();
    let renewed = papers.clone();
    let mut tasks = signals(&shutdown, &log, move || papers::renew(&renewed))?;
    tasks.spawn(papers::watch(papers));
    tasks.spawn(memory::watch(budget));
    tasks.spawn(notify::feed_watchdog());
    notify::ready();
    tasks.spawn(end_after_panics(panics.clone(), shutdown.clone()));
    let outcome = serve(shutdown).await;
    log.finish().await;
    if panics.are_enough() { Err(Error::Panicked) } else { outcome }
}

/// A fault that comes again and again is not lived with.
async fn end_after_panics(panics: Arc<Panics>, shutdown: Shutdown) {
    panics.enough().await;
    event::error(Area::Main, &Error::Panicked.to_string());
    shutdown.force();
}

/// The tasks beside the serving one; they end with this value.
pub(crate) type Tasks = tokio::task::JoinSet<()>;

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
                notify::stopping();
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

/// For what blocks: the look-ups of destinations, and room for those that client and robot need.
const THREADS: usize = lookups::AT_ONCE + 32;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn program_ends_though_a_look_up_hangs() {
        let (answer, waits) = mpsc::channel::<()>();
        let (tell, ended) = mpsc::channel();
        thread::spawn(move || {
            let program = async {
                tokio::task::spawn_blocking(move || waits.recv());
                Ok(())
            };
            tell.send(to_its_end(program).is_ok()).unwrap();
        });
        let outcome = ended.recv_timeout(Duration::from_secs(20));
        drop(answer);
        assert_eq!(outcome, Ok(true));
    }
}
