//! How much memory all connections together may take.

use remux::Budget;

use crate::config::Memory;

/// The budget as configured; what was left open is a share of the memory this process may use.
pub(crate) fn budget(memory: &Memory) -> Budget {
    memory.max.map_or_else(|| Budget::for_memory(available()), Budget::new)
}

/// Bytes of memory of the machine or of our control group, whichever is less.
fn available() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kib.saturating_mul(1024))
    });
    let group =
        std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    machine.unwrap_or(ASSUMED).min(group.unwrap_or(u64::MAX))
}

/// A small machine, where none can be asked.
const ASSUMED: u64 = 2 << 30;
