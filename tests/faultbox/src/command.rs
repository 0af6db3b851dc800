//! What can be asked of the relay, one command a line; the same words set it up at the start.
//!
//! | command | on | effect |
//! |---|---|---|
//! | `delay 50ms`, `jitter 10ms` | both | each piece or datagram waits so long, give or take |
//! | `rate 1mbit` | both | bits per second of each connection and direction |
//! | `slice 7` | tcp | writes of 1 to 7 bytes |
//! | `limit 10000` | tcp | each connection is closed after so many bytes |
//! | `blackhole` | both | nothing passes and nothing is answered; nothing is closed either |
//! | `reset`, `halfclose` | tcp | now, to every connection: RST to both ends; FIN in that direction, the other goes on |
//! | `loss 5%`, `reorder 10%`, `duplicate 1%`, `corrupt 1%`, `truncate 1%` | udp | of the datagrams |
//! | `heal` | both | every fault ends |
//! | `stats` | both | what has passed and what was done to it |
//!
//! `up` (towards the server) or `down` after it means that direction alone. A value of 0 ends a fault.

use std::time::Duration;

use crate::rng::Millionths;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Command {
    Set(Fault, Way),
    Heal,
    Reset,
    HalfClose(Way),
    Stats,
}

/// One fault and how much of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    BlackHole,
    Corrupt(Millionths),
    Delay(Duration),
    Duplicate(Millionths),
    Jitter(Duration),
    Limit(u64),
    Loss(Millionths),
    /// Bytes a second.
    Rate(u64),
    Reorder(Millionths),
    Slice(u64),
    Truncate(Millionths),
}

/// Which direction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    Both,
    Up,
    Down,
}

/// What is relayed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Tcp,
    Udp,
}

impl Command {
    pub(crate) fn parse(line: &str, kind: Kind) -> Result<Self, String> {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let way = match words.last() {
            Some(&"up") => Way::Up,
            Some(&"down") => Way::Down,
            _ => Way::Both,
        };
        if way != Way::Both {
            words.pop();
        }
        let command = match words.as_slice() {
            ["heal"] => Self::Heal,
            ["stats"] => Self::Stats,
            ["reset"] => Self::Reset,
            ["halfclose"] => Self::HalfClose(way),
            ["blackhole"] => Self::Set(Fault::BlackHole, way),
            [name, value] => Self::Set(Fault::parse(name, value)?, way),
            _ => return Err(format!("can't make sense of `{line}`")),
        };
        let fits = match command {
            Self::Reset | Self::HalfClose(_) | Self::Set(Fault::Slice(_) | Fault::Limit(_), _) => {
                kind == Kind::Tcp
            }
            Self::Set(
                Fault::Loss(_)
                | Fault::Reorder(_)
                | Fault::Duplicate(_)
                | Fault::Corrupt(_)
                | Fault::Truncate(_),
                _,
            ) => kind == Kind::Udp,
            Self::Heal | Self::Stats | Self::Set(..) => true,
        };
        match (fits, kind) {
            (true, _) => Ok(command),
            (false, Kind::Tcp) => Err(format!("`{line}` needs packets: the kernel mends those of TCP")),
            (false, Kind::Udp) => Err(format!("`{line}` needs a connection, and UDP has none")),
        }
    }
}

impl Fault {
    fn parse(name: &str, value: &str) -> Result<Self, String> {
        Ok(match name {
            "corrupt" => Self::Corrupt(share(value)?),
            "delay" => Self::Delay(time(value)?),
            "duplicate" => Self::Duplicate(share(value)?),
            "jitter" => Self::Jitter(time(value)?),
            "limit" => Self::Limit(number(value, &[("", 1), ("k", 1000), ("kb", 1000), ("mb", 1_000_000)])?),
            "loss" => Self::Loss(share(value)?),
            "rate" => {
                let bits = number(value, &[("bit", 1), ("kbit", 1000), ("mbit", 1_000_000)])?;
                // A rate too small to carry a byte a second would never end.
                Self::Rate(if bits == 0 { 0 } else { bits.div_ceil(8) })
            }
            "reorder" => Self::Reorder(share(value)?),
            "slice" => Self::Slice(number(value, &[("", 1)])?),
            "truncate" => Self::Truncate(share(value)?),
            _ => return Err(format!("no fault is called `{name}`")),
        })
    }
}

fn time(value: &str) -> Result<Duration, String> {
    number(value, &[("", 1), ("us", 1), ("ms", 1000), ("s", 1_000_000)]).and_then(|micros| {
        match value.parse::<u64>() {
            Ok(unitless) if unitless > 0 => Err(format!("`{value}` has no unit: us, ms or s")),
            _ => Ok(Duration::from_micros(micros)),
        }
    })
}

fn share(value: &str) -> Result<Millionths, String> {
    let percent: f64 = value
        .strip_suffix('%')
        .unwrap_or(value)
        .parse()
        .map_err(|_| format!("`{value}` is no share: write 5%"))?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(format!("`{value}` is not between 0% and 100%"));
    }
    let text = format!("{:.0}", percent * 10_000.0);
    Ok(Millionths(text.parse().unwrap_or(0)))
}

fn number(value: &str, units: &[(&str, u64)]) -> Result<u64, String> {
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (digits, unit) = value.split_at(end);
    let known: Vec<&str> = units.iter().map(|(name, _)| *name).filter(|name| !name.is_empty()).collect();
    let wrong = || format!("`{value}` is not a number with one of the units {known:?}");
    let scale = units.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale);
    let digits: u64 = digits.parse().map_err(|_| wrong())?;
    if digits == 0 && unit.is_empty() {
        return Ok(0);
    }
    scale.and_then(|scale| digits.checked_mul(scale)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_say_what_they_mean() {
        let tcp = |line| Command::parse(line, Kind::Tcp).unwrap();
        assert_eq!(tcp("delay 50ms"), Command::Set(Fault::Delay(Duration::from_millis(50)), Way::Both));
        assert_eq!(tcp("blackhole up"), Command::Set(Fault::BlackHole, Way::Up));
        assert_eq!(tcp("halfclose down"), Command::HalfClose(Way::Down));
        assert_eq!(tcp("rate 1mbit"), Command::Set(Fault::Rate(125_000), Way::Both));
        assert_eq!(tcp("rate 0"), Command::Set(Fault::Rate(0), Way::Both));
        assert_eq!(tcp("limit 10k"), Command::Set(Fault::Limit(10_000), Way::Both));
        let udp = |line| Command::parse(line, Kind::Udp).unwrap();
        assert_eq!(udp("loss 0.5%"), Command::Set(Fault::Loss(Millionths(5_000)), Way::Both));
        assert_eq!(udp("reorder 10% down"), Command::Set(Fault::Reorder(Millionths(100_000)), Way::Down));
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        for (line, word) in [
            ("loss 5%", "kernel"),
            ("delay 50", "unit"),
            ("delay soon", "number"),
            ("rate 5", "units"),
            ("explode 1", "explode"),
            ("", "sense"),
            ("up", "sense"),
        ] {
            let error = Command::parse(line, Kind::Tcp).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        }
        assert!(Command::parse("reset", Kind::Udp).is_err());
        assert!(Command::parse("loss 101%", Kind::Udp).is_err());
    }
}
