//! The relay's state that everybody watches, and the socket over which it is changed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use crate::command::{Command, Kind, Way};
use crate::plan::Plan;

/// What is in force now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Now {
    pub(crate) plan: Plan,
    /// Connections that began before this many resets are to be reset.
    pub(crate) resets: u64,
    /// The same for half-closes of each direction.
    pub(crate) half_closes_up: u64,
    pub(crate) half_closes_down: u64,
}

/// What has happened.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connections: AtomicU64,
    pub(crate) bytes_up: AtomicU64,
    pub(crate) bytes_down: AtomicU64,
    pub(crate) lost: AtomicU64,
}

#[derive(Clone, Debug)]
pub(crate) struct Control {
    kind: Kind,
    now: Arc<watch::Sender<Now>>,
    pub(crate) counts: Arc<Counts>,
}

impl Control {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, now: Arc::new(watch::Sender::new(Now::default())), counts: Arc::default() }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Now> {
        self.now.subscribe()
    }

    /// Carries out one line; the answer is `ok`, or `ok` and figures.
    pub(crate) fn obey(&self, line: &str) -> Result<String, String> {
        match Command::parse(line, self.kind)? {
            Command::Set(fault, way) => self.now.send_modify(|now| now.plan.set(fault, way)),
            Command::Heal => self.now.send_modify(|now| now.plan = Plan::default()),
            Command::Reset => self.now.send_modify(|now| now.resets = now.resets.wrapping_add(1)),
            Command::HalfClose(way) => self.now.send_modify(|now| {
                if way != Way::Down {
                    now.half_closes_up = now.half_closes_up.wrapping_add(1);
                }
                if way != Way::Up {
                    now.half_closes_down = now.half_closes_down.wrapping_add(1);
                }
            }),
            Command::Stats => {
                let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
                let counts = &self.counts;
                return Ok(format!(
                    "ok connections={} bytes_up={} bytes_down={} lost={}",
                    read(&counts.connections),
                    read(&counts.bytes_up),
                    read(&counts.bytes_down),
                    read(&counts.lost),
                ));
            }
        }
        Ok("ok".to_owned())
    }

    /// Answers commands for ever, any number of lines on any number of connections.
    pub(crate) async fn serve(self, path: &Path) -> std::io::Result<()> {
        let listener = UnixListener::bind(path)?;
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let control = self.clone();
                tokio::spawn(async move { control.converse(socket).await });
            }
        });
        Ok(())
    }

    async fn converse(&self, mut socket: UnixStream) {
        let (read, mut write) = socket.split();
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let answer = self.obey(&line).unwrap_or_else(|error| format!("err {error}"));
            if write.write_all(format!("{answer}\n").as_bytes()).await.is_err() {
                return;
            }
        }
    }
}
