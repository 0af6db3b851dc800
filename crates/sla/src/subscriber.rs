//! The log itself: formats, file, alerts.
//!
//! ```text
//!  any thread                       one thread               one thread
//!  event ─▶ Log (layer) ─▶ line ─▶ queue ─▶ writer ─▶ file or stderr
//!                      └─▶ alert ─▶ inbox ─▶ dingtalk::Alerts ─▶ Post
//! ```
//!
//! A full disk, a lost file, a dead webhook or a stuck pipe costs lines (counted) and alerts, never a wait in
//! the threads that carry traffic.
//!
//! ```
//! use sla::subscriber::{Config, LogPath};
//!
//! let folder = std::env::temp_dir().join(format!("sla-example-{}", std::process::id()));
//! std::fs::create_dir_all(&folder)?;
//! let mut config = Config::default();
//! config.path = LogPath::File(folder.join("tunnels.log"));
//! let guard = sla::subscriber::init(config)?;
//! sla::info("hello");
//! drop(guard); // everything is written
//! assert!(std::fs::read_to_string(folder.join("tunnels.log"))?.ends_with("[info] [main] hello\n"));
//! # std::fs::remove_dir_all(folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod alerts;
mod civil;
mod config;
pub mod dingtalk;
mod escape;
mod fold;
mod json;
mod layer;
mod queue;
mod record;
mod rotate;
mod text;
mod writer;
mod zone;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::Subscriber;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

pub use config::{Config, DEFAULT_PATH, Format, Level, LogPath, Rotation, UnknownFormat, UnknownLevel};

use alerts::Inbox;
use layer::{Lines, Log, Wanted};
use queue::Queue;
use rotate::{LogFile, OpenError};
use writer::{Sink, Writer};

/// Makes this the log of the process, until it ends.
///
/// Keep the guard: dropping it writes out what is pending, at most five seconds long.
///
/// # Errors
///
/// The file that was asked for can't be opened, or the process has a subscriber already.
pub fn init(config: Config) -> Result<Guard, InitError> {
    if tracing::dispatcher::has_been_set() {
        return Err(InitError::Taken);
    }
    let is_quiet = config.level > Level::Warn;
    let (log, guard, fallback) = build(config)?;
    tracing::subscriber::set_global_default(alone(log)).map_err(|_| InitError::Taken)?;
    // A second log can't come this far.
    let _ = INSTALLED.set(guard.handle.clone());
    crate::flush::set(|limit| {
        if let Some(handle) = INSTALLED.get() {
            handle.flush(limit);
        }
    });
    match fallback {
        // It must be said once, whatever the level.
        Some(fallback) if is_quiet => complain(&fallback),
        Some((path, cause)) => crate::event::log_fallback(&path.display().to_string(), &cause),
        None => {}
    }
    Ok(guard)
}

/// The log as a `tracing` subscriber that is not yet anybody's: for one scope or one test.
///
/// # Errors
///
/// The file that was asked for can't be opened.
pub fn scoped(config: Config) -> Result<(impl Subscriber + Send + Sync, Guard), InitError> {
    let (log, guard, fallback) = build(config)?;
    fallback.iter().for_each(complain);
    Ok((alone(log), guard))
}

/// The log as a layer, for a program that has a `tracing` registry with other layers.
///
/// # Errors
///
/// The file that was asked for can't be opened.
pub fn layer<S>(config: Config) -> Result<(impl Layer<S> + Send + Sync, Guard), InitError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let (log, guard, fallback) = build(config)?;
    fallback.iter().for_each(complain);
    let wanted = log.wanted;
    Ok((log.with_filter(wanted), guard))
}

fn alone(log: Log) -> impl Subscriber + Send + Sync {
    Registry::default().with(log.wanted).with(log)
}

/// A path that could not be used though nobody need stop for it, and why.
type Fallback = (PathBuf, String);

/// For when no log can tell it.
fn complain((path, cause): &Fallback) {
    eprintln!("log: {}: {cause}; logging to stderr", path.display());
}

fn build(config: Config) -> Result<(Log, Guard, Option<Fallback>), InitError> {
    let Config { level, path, format, rotation, redaction, alerts } = config;
    let (sink, fallback) = open(path, rotation)?;
    crate::set_redaction(redaction);

    let queue = Arc::new(Queue::default());
    let writer = Writer::new(sink, Box::new(io::stderr()));
    let thread = std::thread::Builder::new().name("sla-writer".to_owned());
    let lines = Arc::new(Lines::new(format, zone::Zone::local()));
    let (own, own_lines) = (Arc::clone(&queue), Arc::clone(&lines));
    let writer = thread.spawn(move || writer::run(&own, &own_lines, writer)).map_err(InitError::Thread)?;

    let mut inbox = None;
    if let Some(robot) = alerts {
        let own = Arc::new(Inbox::default());
        inbox = Some(Arc::clone(&own));
        let thread = std::thread::Builder::new().name("sla-alerts".to_owned());
        thread.spawn(move || alerts::run(&own, robot)).map_err(InitError::Thread)?;
    }

    let wanted = Wanted { level, format, alerts: inbox.is_some() };
    let handle = Handle { queue: Arc::clone(&queue), inbox: inbox.clone() };
    let log = Log { wanted, lines, queue, inbox };
    Ok((log, Guard { handle, writer: Some(writer) }, fallback))
}

fn open(path: LogPath, rotation: Rotation) -> Result<(Sink, Option<Fallback>), InitError> {
    let (path, is_asked_for) = match path {
        LogPath::Stderr => return Ok((Sink::Stream(Box::new(io::stderr())), None)),
        LogPath::File(path) => (path, true),
        LogPath::Default => (PathBuf::from(DEFAULT_PATH), false),
    };
    open_file(path, is_asked_for, rotation)
}

fn open_file(
    path: PathBuf,
    is_asked_for: bool,
    rotation: Rotation,
) -> Result<(Sink, Option<Fallback>), InitError> {
    match LogFile::open(&path, rotation, Instant::now()) {
        Ok(file) => Ok((Sink::File(Box::new(file)), None)),
        Err(error) if is_asked_for && !matches!(error, OpenError::Locked) => {
            Err(InitError::Open { path, source: error.into() })
        }
        Err(error) => Ok((Sink::Stream(Box::new(io::stderr())), Some((path, explain(error))))),
    }
}

/// Why a file can't be the log of this process, and what to do.
fn explain(error: OpenError) -> String {
    let fix = match error {
        OpenError::Locked => "give each program its own sla.log.path",
        _ => "name a file that this user may write with sla.log.path, or - for standard error",
    };
    let words = match error {
        OpenError::Io(error) => crate::plain(&error),
        other => other.to_string(),
    };
    format!("{} {words} → {fix}", crate::code::LOG_SHARED)
}

/// Keeps the log going; made by [`init`]. Dropping it writes out what is pending and closes the file.
#[derive(Debug)]
#[must_use = "dropping it ends the log"]
pub struct Guard {
    handle: Handle,
    writer: Option<JoinHandle<()>>,
}

impl Guard {
    /// For the tasks that look after signals.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Handle { queue, inbox } = &self.handle;
        if let Some(inbox) = inbox {
            inbox.flush(END_LIMIT);
            inbox.close();
        }
        // A writer that hangs in a dead disk must not keep the process: it is only joined when it is done.
        let is_done = queue.flush(END_LIMIT);
        queue.close();
        if let Some(writer) = self.writer.take().filter(|_| is_done) {
            let _ = writer.join();
        }
    }
}

/// Speaks to a running log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    queue: Arc<Queue>,
    inbox: Option<Arc<Inbox>>,
}

impl Handle {
    /// Opens the file anew at its path (SIGUSR1, after a rename by another program). Returns at once; what was
    /// logged before goes into the new file too if it is not written yet.
    pub fn reopen(&self) {
        self.queue.reopen();
    }

    /// Waits until what was logged and alerted before is out, at most `limit`; whether the lines are.
    pub fn flush(&self, limit: Duration) -> bool {
        let start = Instant::now();
        if let Some(inbox) = &self.inbox {
            inbox.flush(limit / 2);
        }
        self.queue.flush(limit.saturating_sub(start.elapsed()))
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The file that was asked for can't be opened.
    #[error("can't log to {}: {source}", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The process has a `tracing` subscriber already.
    #[error("the process has a log already")]
    Taken,
    /// No thread.
    #[error("can't start the log's thread: {0}")]
    Thread(io::Error),
}

/// The log that [`init`] made, for [`crate::event::fatal`].
static INSTALLED: OnceLock<Handle> = OnceLock::new();

/// How long the end waits for a slow disk, and again for a slow robot.
const END_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_nobody_asked_for_may_fail_and_one_that_was_asked_for_may_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("none/t.log");
        let refused = open_file(path.clone(), true, Rotation::default());
        assert!(matches!(refused, Err(InitError::Open { .. })));
        let (sink, fallback) = open_file(path.clone(), false, Rotation::default()).expect("a fallback");
        assert!(matches!(sink, Sink::Stream(_)));
        assert!(fallback.is_some_and(|(at, cause)| at == path && cause.contains("no such file")));
    }

    #[test]
    fn locked_path_is_never_a_reason_to_stop() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t.log");
        let (_first, none) = open_file(path.clone(), true, Rotation::default()).expect("a file");
        assert!(none.is_none());
        let (_, fallback) = open_file(path, true, Rotation::default()).expect("a fallback");
        assert!(fallback.is_some_and(|(_, cause)| cause.contains("another process logs to this file")));
    }
}
