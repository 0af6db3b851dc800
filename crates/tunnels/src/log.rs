//! The process's log, as configured, with a sender for its alerts.

use std::thread;

use sla::subscriber::{self, Config, Guard, InitError, dingtalk};
use tokio::sync::oneshot;

use crate::{Error, config, webhook};

/// A running log.
pub(crate) struct Log {
    guard: Guard,
}

/// Starts the log of this process. Must be called within the runtime that is to send its alerts. `source` knows where
/// its file was named.
pub(crate) fn start(
    log: &config::Log,
    alert: Option<&config::Alert>,
    source: &config::Source,
) -> Result<Log, Error> {
    let mut settings = Config::default();
    settings.level = log.level;
    settings.path = log.path.clone();
    settings.format = log.format;
    settings.rotation = log.rotation;
    settings.redaction = log.redaction;
    settings.alerts = alert.map(robot);
    match subscriber::init(settings) {
        Ok(guard) => Ok(Log { guard }),
        Err(InitError::Open { path, source: error }) => Err(source.log_refused(&path, &error).into()),
        Err(error) => Err(error.into()),
    }
}

impl Log {
    /// For the task that looks after SIGUSR1.
    pub(crate) fn handle(&self) -> subscriber::Handle {
        self.guard.handle()
    }

    /// Writes and sends what is pending, for a few seconds at most.
    pub(crate) async fn finish(self) {
        // The guard waits for threads, and one of them for this runtime, whose own may all hang in look-ups.
        let (ended, wait) = oneshot::channel::<()>();
        let guard = self.guard;
        let finish = move || drop((guard, ended));
        // Without a thread the guard is dropped here and now.
        let _ = thread::Builder::new().spawn(finish);
        let _ = wait.await;
    }
}

fn robot(alert: &config::Alert) -> dingtalk::Robot {
    let config = dingtalk::Config {
        endpoint: alert.url.clone(),
        token: dingtalk::Secret::new(&alert.token),
        secret: dingtalk::Secret::new(alert.secret.as_deref().unwrap_or_default()),
        title: "TunneLS".to_owned(),
    };
    let runtime = tokio::runtime::Handle::current();
    let post = move |request: &dingtalk::Request| runtime.block_on(webhook::post(request));
    dingtalk::Robot { config, post: Box::new(post) }
}
