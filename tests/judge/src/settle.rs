//! The predicate give-back: after a run a program holds no more than before it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What a process holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Holds {
    /// Open descriptors.
    pub descriptors: u64,
    /// Resident memory.
    pub rss_kib: u64,
}

impl Holds {
    /// Of a running process.
    ///
    /// # Errors
    ///
    /// If there is no such process, or it is someone else's.
    pub fn of(pid: u32) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss_kib = rss.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        Ok(Self {
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64,
            rss_kib: rss_kib.ok_or_else(|| io::Error::other(format!("process {pid} has no VmRSS")))?,
        })
    }

    /// Whether this is no more than `before`: no descriptor more, memory within a tenth and 8 MiB.
    pub fn is_back_at(&self, before: &Self) -> bool {
        self.descriptors <= before.descriptors
            && self.rss_kib <= before.rss_kib + before.rss_kib / 10 + (8 << 10)
    }
}

/// Writes what the processes hold to `baseline`, or, if that is there, waits until they are back at it. Returns a line for
/// each process, and whether all are.
///
/// # Errors
///
/// If a process or the file can't be read.
pub fn settle(pids: &[u32], baseline: &Path, within: Duration) -> io::Result<(Vec<String>, bool)> {
    let now =
        || pids.iter().map(|pid| Ok((*pid, Holds::of(*pid)?))).collect::<io::Result<BTreeMap<u32, Holds>>>();
    let Ok(text) = fs::read_to_string(baseline) else {
        let holds = now()?;
        fs::write(baseline, serde_json::to_vec(&holds)?)?;
        let lines = holds.iter().map(|(pid, holds)| format!("settle: process {pid} holds {holds:?}"));
        return Ok((lines.collect(), true));
    };
    let before: BTreeMap<u32, Holds> = serde_json::from_str(&text)?;
    let end = Instant::now() + within;
    loop {
        let holds = now()?;
        let back = |pid: &u32, held: &Holds| before.get(pid).is_some_and(|before| held.is_back_at(before));
        let good = holds.iter().all(|(pid, held)| back(pid, held));
        if good || Instant::now() >= end {
            let line = |(pid, held): (&u32, &Holds)| {
                let word = if back(pid, held) { "settle" } else { "broken: give-back" };
                format!("{word}: process {pid} holds {held:?}, held {:?}", before.get(pid))
            };
            return Ok((holds.iter().map(line).collect(), good));
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}
