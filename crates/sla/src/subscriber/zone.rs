//! Local time from the machine's own time zone file, without C's `localtime` (which needs `unsafe` here, and is
//! not safe beside threads that change the environment).
//!
//! A zone file (RFC 9636) lists the changes of the past and ends with a rule in the form of POSIX's `TZ` for the
//! time after the last of them. Anything that can't be read is UTC: a log line with the wrong hour is better
//! than none.

mod rule;

use std::path::{Path, PathBuf};

use rule::Rule;

/// How far local time is from UTC, at any moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Zone {
    /// Seconds east of UTC before the first change.
    before: i32,
    /// Moments (seconds since 1970, UTC) and the offset from then on; ascending.
    changes: Vec<(i64, i32)>,
    /// For the time after the last change.
    rule: Option<Rule>,
}

impl Zone {
    /// UTC.
    pub(crate) const UTC: Self = Self { before: 0, changes: Vec::new(), rule: None };

    /// What `TZ` says, else `/etc/localtime`, else UTC.
    pub(crate) fn local() -> Self {
        match std::env::var("TZ") {
            Ok(tz) => Self::from_tz(&tz, Path::new(ZONES)),
            Err(_) => Self::from_file(Path::new(LOCALTIME)),
        }
        .unwrap_or(Self::UTC)
    }

    /// Seconds to add to UTC at the moment `at`, in seconds since 1970.
    pub(crate) fn offset(&self, at: i64) -> i32 {
        let next = self.changes.partition_point(|&(from, _)| from <= at);
        match (&self.rule, next.checked_sub(1).and_then(|last| self.changes.get(last))) {
            (Some(rule), _) if next == self.changes.len() => rule.offset(at),
            (_, Some(&(_, offset))) => offset,
            (_, None) => self.before,
        }
    }

    /// `TZ` names a file (after a colon, or where it is no rule), or is the rule itself.
    fn from_tz(tz: &str, zones: &Path) -> Option<Self> {
        let name = tz.strip_prefix(':').unwrap_or(tz);
        if name.is_empty() {
            return Some(Self::UTC);
        }
        if name.starts_with('/') {
            return Self::from_file(Path::new(name));
        }
        let file: PathBuf = zones.join(name);
        Self::from_file(&file).or_else(|| {
            let rule = Rule::parse(name)?;
            Some(Self { before: 0, changes: Vec::new(), rule: Some(rule) })
        })
    }

    fn from_file(path: &Path) -> Option<Self> {
        let small = std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() <= MAX_FILE);
        if !small {
            return None;
        }
        Self::parse(&std::fs::read(path).ok()?)
    }

    /// Reads the whole of a zone file, version 2 or later (version 1 ends in 2038 and is nowhere any more).
    fn parse(file: &[u8]) -> Option<Self> {
        let (counts, rest) = Counts::parse(file)?;
        let (counts, rest) = Counts::parse(rest.get(counts.size(4)..)?)?;
        let (times, rest) = rest.split_at_checked(counts.times * 8)?;
        let (kinds, rest) = rest.split_at_checked(counts.times)?;
        let (types, _) = rest.split_at_checked(counts.types * 6)?;
        let after = counts.size(8) - counts.times * 9 - counts.types * 6;
        let footer = rest.get(counts.types * 6 + after..)?;

        let offset = |kind: usize| {
            let bytes = types.get(kind * 6..)?.first_chunk()?;
            Some(i32::from_be_bytes(*bytes))
        };
        let mut changes = Vec::with_capacity(counts.times);
        for (time, kind) in times.chunks_exact(8).zip(kinds) {
            changes.push((i64::from_be_bytes(*time.first_chunk()?), offset(usize::from(*kind))?));
        }
        let rule = footer.strip_prefix(b"\n").and_then(|text| text.strip_suffix(b"\n"));
        let rule = rule.and_then(|text| Rule::parse(std::str::from_utf8(text).ok()?));
        Some(Self { before: offset(0)?, changes, rule })
    }
}

/// The six counts of a zone file's header.
struct Counts {
    times: usize,
    types: usize,
    chars: usize,
    leaps: usize,
    standards: usize,
    universals: usize,
}

impl Counts {
    /// The counts, and what follows the header.
    fn parse(file: &[u8]) -> Option<(Self, &[u8])> {
        let (header, rest) = file.split_first_chunk::<44>()?;
        let version = *header.get(4)?;
        if !header.starts_with(b"TZif") || version < b'2' {
            return None;
        }
        let mut counts = header.get(20..)?.chunks_exact(4).map(|bytes| {
            let count = u32::from_be_bytes(*bytes.first_chunk()?);
            (u64::from(count) <= MAX_FILE).then_some(count as usize)
        });
        let mut next = || counts.next().flatten();
        let (universals, standards, leaps) = (next()?, next()?, next()?);
        let (times, types, chars) = (next()?, next()?, next()?);
        Some((Self { times, types, chars, leaps, standards, universals }, rest))
    }

    /// Bytes of the body, where a moment takes `time` bytes.
    fn size(&self, time: usize) -> usize {
        let changes = self.times * (time + 1) + self.types * 6 + self.chars;
        changes + self.leaps * (time + 4) + self.standards + self.universals
    }
}

/// The machine's zone.
const LOCALTIME: &str = "/etc/localtime";
/// Where named zones live.
const ZONES: &str = "/usr/share/zoneinfo";
/// Real ones have 4 KiB at most.
const MAX_FILE: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// A zone file with two changes and a rule, as `zic` would write it for Berlin.
    fn berlin() -> Vec<u8> {
        let mut file = Vec::new();
        let header = |file: &mut Vec<u8>, counts: [u32; 6]| {
            file.extend(b"TZif2");
            file.extend([0; 15]);
            counts.iter().for_each(|count| file.extend(count.to_be_bytes()));
        };
        header(&mut file, [0, 0, 0, 0, 1, 1]);
        file.extend([0; 7]);
        header(&mut file, [2, 2, 0, 2, 2, 9]);
        for time in [828_234_000_i64, 846_378_000] {
            file.extend(time.to_be_bytes());
        }
        file.extend([1, 0]);
        for (offset, summer) in [(3600_i32, 0), (7200, 1)] {
            file.extend(offset.to_be_bytes());
            file.extend([summer, summer * 4]);
        }
        file.extend(b"CET\0CEST\0");
        file.extend([1, 1, 1, 1]);
        file.extend(b"\nCET-1CEST,M3.5.0,M10.5.0/3\n");
        file
    }

    #[test]
    fn past_comes_from_the_changes_and_the_future_from_the_rule() {
        let zone = Zone::parse(&berlin()).expect("a zone");
        let cases = [
            (0, 3600),
            (828_233_999, 3600),
            (828_234_000, 7200),
            (846_377_999, 7200),
            (846_378_000, 3600),
            // 2026-03-29 01:00 UTC and 2026-10-25 01:00 UTC
            (1_774_745_999, 3600),
            (1_774_746_000, 7200),
            (1_792_889_999, 7200),
            (1_792_890_000, 3600),
        ];
        for (at, offset) in cases {
            assert_eq!(zone.offset(at), offset, "at {at}");
        }
    }

    #[test]
    fn file_cut_anywhere_is_refused_or_loses_only_its_rule() {
        let whole = berlin();
        for length in 0..whole.len() {
            if let Some(zone) = Zone::parse(&whole[..length]) {
                assert_eq!(zone.rule, None, "cut at {length}");
            }
        }
    }

    #[test]
    fn counts_beyond_the_file_are_refused() {
        let mut file = berlin();
        file[20..44].fill(0xff);
        assert_eq!(Zone::parse(&file), None);
    }

    #[test]
    fn tz_is_a_file_or_a_rule_or_utc() {
        let zones = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(zones.path().join("Europe")).expect("a folder");
        std::fs::write(zones.path().join("Europe/Berlin"), berlin()).expect("a file");
        let offset = |tz| Zone::from_tz(tz, zones.path()).map(|zone| zone.offset(1_780_000_000));
        assert_eq!(offset("Europe/Berlin"), Some(7200));
        assert_eq!(offset(":Europe/Berlin"), Some(7200));
        assert_eq!(offset("EST5EDT,M3.2.0,M11.1.0"), Some(-4 * 3600));
        assert_eq!(offset(""), Some(0));
        assert_eq!(offset("Nowhere/Land"), None);
    }
}
