//! How much memory this process may take, and what is done as it runs short.
//!
//! The stages are those of [`remux::Budget`]; windows, streams and connections are its own affair. Here new connections
//! are held back, the log is told, and the ceiling is summed up.

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::ready;
use std::time::Duration;

use remux::{Account, Budget, Charge, Stage};
use sla::{code, event};
use tokio::time::Instant;

use crate::config::Memory;
use crate::server::ANYONE;

/// The budget as configured; what was left open is a share of the memory this process may use.
pub(crate) fn budget(memory: Memory) -> Budget {
    memory.max.map_or_else(|| Budget::for_memory(available()), Budget::new)
}

/// The most memory this process will take: the budget, and what is outside of it.
pub(crate) fn ceiling(budget: u64) -> u64 {
    budget.saturating_add(budget / SLACK).saturating_add(BUFFERS).saturating_add(PROGRAM)
}

/// The ceiling and its parts, for people.
pub(crate) fn describe(memory: Memory) -> String {
    let budget = budget(memory).limit();
    let whose = if memory.max.is_some() {
        "remux.memory.max.bytes"
    } else {
        "a quarter of the memory, 4 GiB at most"
    };
    format!(
        "memory: at most {} MiB = {} for connections and streams ({whose}) + {} for spare buffers and log lines + {} for \
         the program + {} lost between blocks; streams are refused from {} MiB on; the kernel's socket buffers come on top",
        mib(ceiling(budget)),
        mib(budget),
        mib(BUFFERS),
        mib(PROGRAM),
        mib(budget / SLACK),
        mib(budget / 100 * Stage::NoOpens.percent()),
    )
}

/// What one identity may have of it, for people.
pub(crate) fn describe_share(memory: Memory) -> String {
    let budget = budget(memory).limit();
    // An identity has its line where what it holds is to what is free as these two are, whoever is beside it.
    let (taken, free) = (Stage::NoOpens.percent(), 100 - Stage::NoOpens.percent());
    format!(
        "memory of one client: {} times what is free, so {} MiB alone, {} MiB beside another that wants all",
        taken / free,
        mib(budget / (taken + free) * taken),
        mib(budget / (2 * taken + free) * taken),
    )
}

/// What `accept` yields, which is asked only while there is memory for another connection. Cancel safe if that is.
pub(crate) async fn with_room<F: Future>(budget: &Budget, accept: F) -> F::Output {
    let mut accept = pin!(accept);
    poll_fn(|cx| {
        loop {
            let stage = budget.stage();
            if stage < Stage::NoAccept {
                return accept.as_mut().poll(cx);
            }
            ready!(budget.poll_stage(cx, stage));
        }
    })
    .await
}

/// Charges a request that has a connection to itself; `None` where no stream would be opened either.
pub(crate) fn take(account: &Account, bytes: u64) -> Option<Charge> {
    (account.stage() < Stage::NoOpens).then(|| account.charge(bytes))
}

/// Why a request is refused for want of memory, and what to do.
pub(crate) fn short() -> String {
    format!(
        "{} memory is short → wait, or raise remux.memory.max.bytes where the machine has more",
        code::LIMIT_MEMORY
    )
}

/// Tells the log how memory runs short, each stage at most once a minute, and when it is free again.
pub(crate) async fn watch(budget: Arc<Budget>) {
    let mut told: [Option<Instant>; 5] = [None; 5];
    let mut seen = Stage::Plenty;
    loop {
        let stage = poll_fn(|cx| budget.poll_stage(cx, seen)).await;
        let Some((word, last)) = word(stage).zip(told.get_mut(stage as usize)) else {
            event::memory_free(budget.used(), budget.limit());
            seen = stage;
            continue;
        };
        if stage > seen && last.is_none_or(|last| last.elapsed() >= AGAIN) {
            *last = Some(Instant::now());
            let heaviest = budget.heaviest();
            let heaviest =
                heaviest.as_ref().map(|(name, held)| (if name.is_empty() { ANYONE } else { name }, *held));
            event::memory_short(word, budget.used(), budget.limit(), heaviest);
        }
        seen = stage;
    }
}

fn word(stage: Stage) -> Option<&'static str> {
    match stage {
        Stage::Plenty => None,
        Stage::NoGrowth => Some("no_growth"),
        Stage::NoOpens => Some("no_opens"),
        Stage::NoAccept => Some("no_accept"),
        Stage::Shed => Some("shed"),
    }
}

/// Bytes of memory of the machine, or of the tightest of the control groups we are in.
fn available() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let group = std::fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| group_limit(&text));
    machine.unwrap_or(ASSUMED).min(group.unwrap_or(u64::MAX))
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1024))
}

/// The least limit from our own group up to the root: a unit's `MemoryMax=` stands in its own, a container's above.
fn group_limit(own: &str) -> Option<u64> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = Path::new("/sys/fs/cgroup").join(path);
    let limit =
        |folder: &Path| std::fs::read_to_string(folder.join("memory.max")).ok()?.trim().parse::<u64>().ok();
    folder.ancestors().take_while(|folder| folder.starts_with("/sys/fs/cgroup")).filter_map(limit).min()
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// A small machine, where none can be asked.
const ASSUMED: u64 = 2 << 30;
/// What a peer takes before it has proven who it is: its task and the handshake's buffers.
pub(crate) const HANDSHAKE: u64 = 96 << 10;
/// What a flow takes beside its stream: its task, its socket, what it says in the log.
pub(crate) const FLOW: u64 = 12 << 10;
/// What a request takes that has a connection to itself: TLS on one side, a buffer for each direction.
pub(crate) const EAGER: u64 = 288 << 10;
/// Buffers that are kept for the next use, lines and alerts that wait to be written.
const BUFFERS: u64 = 16 << 20;
/// The program itself, its threads and tables.
const PROGRAM: u64 = 24 << 20;
/// The part of what is in use that allocators lose between blocks: an eighth.
const SLACK: u64 = 8;
/// A stage is told of this often.
const AGAIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    #[test]
    fn machine_and_group_are_read() {
        assert_eq!(total("MemTotal:       24683716 kB\nMemFree: 1 kB\n"), Some(24_683_716 << 10));
        assert_eq!(group_limit("1:name=systemd:/\n"), None, "the first version of groups is not asked");
    }

    #[tokio::test]
    async fn nothing_is_accepted_from_95_percent_until_it_is_90_again() {
        let budget = Arc::new(Budget::new(100 << 20));
        assert_eq!(with_room(&budget, async { 1 }).await, 1);
        let most = budget.charge(89 << 20);
        let some = budget.charge(6 << 20);
        let mut waiting = pin!(with_room(&budget, async { 2 }));
        assert!(poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await);
        drop(some);
        assert_eq!(waiting.await, 2);
        drop(most);
    }
}
