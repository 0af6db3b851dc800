//! How much of a destination a log line shows.
//!
//! Two words are kept apart: [`Redacted`] is for lines of everyday traffic and obeys the operator's choice to
//! the end; [`Named`] is for refusals and errors, which nobody can mend without at least the domain.

use std::collections::hash_map::RandomState;
use std::fmt::{self, Display};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// A destination (`host` or `host:port`) on its way into a log line.
///
/// Its `Display` obeys [`redaction`], so that every subscriber sees the same.
#[derive(Clone, Copy)]
pub struct Redacted<T>(pub T);

impl<T: Display> Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(&self.0, redaction(), f)
    }
}

impl<T: Display> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// How much of a destination's name the log shows; one choice for the whole process.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Redaction {
    /// `www.example.org:443`: as it is. The default.
    #[default]
    Full,
    /// `example.org:443`: the registrable part of a name; of an address its /24 or /48 network.
    Domain,
    /// `~5c1f09aa:443`: equal within one run of the process for equal hosts, and meaningless outside it.
    Hash,
    /// `-`: nothing.
    None,
}

impl FromStr for Redaction {
    type Err = UnknownRedaction;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "full" => Ok(Self::Full),
            "domain" => Ok(Self::Domain),
            "hash" => Ok(Self::Hash),
            "none" => Ok(Self::None),
            _ => Err(UnknownRedaction),
        }
    }
}

/// The text names no redaction.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("not one of full, domain, hash, none")]
pub struct UnknownRedaction;

/// Chooses how destinations are shown from now on, in the whole process.
pub fn set_redaction(mode: Redaction) {
    MODE.store(mode as u8, Ordering::Relaxed);
}

/// How destinations are shown now.
pub fn redaction() -> Redaction {
    match MODE.load(Ordering::Relaxed) {
        1 => Redaction::Domain,
        2 => Redaction::Hash,
        3 => Redaction::None,
        _ => Redaction::Full,
    }
}

/// A destination in a refusal or an error: shown at least as its domain.
pub(crate) struct Named<T>(pub(crate) T);

impl<T: Display> Display for Named<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match redaction() {
            Redaction::Full => Redaction::Full,
            Redaction::Domain | Redaction::Hash | Redaction::None => Redaction::Domain,
        };
        show(&self.0, mode, f)
    }
}

/// A cause that may repeat the destination: a destination hidden in one field must not return in another.
pub(crate) struct Scrubbed<'a> {
    pub(crate) text: &'a str,
    pub(crate) target: &'a str,
}

impl Display for Scrubbed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, _) = split(self.target);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if redaction() == Redaction::Full || bare.is_empty() {
            return f.write_str(self.text);
        }
        let mut rest = self.text;
        while let Some(at) = find_ignoring_case(rest, bare) {
            let (before, hit) = rest.split_at(at);
            f.write_str(before)?;
            Display::fmt(&Redacted(host), f)?;
            rest = &hit[bare.len()..];
        }
        f.write_str(rest)
    }
}

/// Byte offset of the first `needle` in `text`, letters compared as ASCII without case.
fn find_ignoring_case(text: &str, needle: &str) -> Option<usize> {
    (0..=text.len().checked_sub(needle.len())?)
        .find(|&at| text.get(at..at + needle.len()).is_some_and(|part| part.eq_ignore_ascii_case(needle)))
}

fn show(target: &dyn Display, mode: Redaction, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if mode == Redaction::Full {
        return target.fmt(f);
    }
    if mode == Redaction::None {
        return f.write_str("-");
    }
    let text = target.to_string();
    let (host, port) = split(&text);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match (mode, bare.parse()) {
        (Redaction::Hash, _) => write!(f, "~{:08x}", hash(&bare.to_ascii_lowercase()))?,
        (_, Ok(IpAddr::V4(v4))) => {
            let [a, b, c, _] = v4.octets();
            write!(f, "{a}.{b}.{c}.0/24")?;
        }
        (_, Ok(IpAddr::V6(v6))) => {
            let [a, b, c, ..] = v6.segments();
            write!(f, "[{a:x}:{b:x}:{c:x}::/48]")?;
        }
        (_, Err(_)) => f.write_str(registrable(bare))?,
    }
    match port {
        Some(port) => write!(f, ":{port}"),
        None => Ok(()),
    }
}

/// `host:port` in its two parts; a bare IPv6 address has no port.
fn split(text: &str) -> (&str, Option<&str>) {
    if text.parse::<IpAddr>().is_ok() {
        return (text, None);
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            (host, Some(port))
        }
        _ => (text, None),
    }
}

/// The part of a name that someone registered, guessed without a list of public suffixes: two labels, or three
/// where a two-letter country puts a short word of its own (`co.uk`, `com.cn`) in between.
fn registrable(name: &str) -> &str {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut dots = name.rmatch_indices('.').map(|(at, _)| at);
    let (last, second, third) = (dots.next(), dots.next(), dots.next());
    let (Some(last), Some(second)) = (last, second) else { return name };
    let country = name.len() - last == 3;
    if country && SHARED_WORDS.contains(&&name[second + 1..last]) {
        return third.map_or(name, |at| &name[at + 1..]);
    }
    &name[second + 1..]
}

/// Keyed with a secret of this run, so that a list of hosts can't be hashed and compared with the log.
fn hash(host: &str) -> u32 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    let full = KEY.get_or_init(RandomState::new).hash_one(host);
    (full >> 32) as u32
}

static MODE: AtomicU8 = AtomicU8::new(Redaction::Full as u8);

const SHARED_WORDS: [&str; 10] = ["ac", "co", "com", "edu", "gob", "gov", "ne", "net", "or", "org"];

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, mode: Redaction) -> String {
        struct In<'a>(&'a str, Redaction);
        impl Display for In<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                show(&self.0, self.1, f)
            }
        }
        In(text, mode).to_string()
    }

    #[test]
    fn domain_keeps_the_registrable_part_and_the_port() {
        let cases = [
            ("www.mail.example.org:443", "example.org:443"),
            ("a.b.example.co.uk:80", "example.co.uk:80"),
            ("co.uk:80", "co.uk:80"),
            ("localhost:1", "localhost:1"),
            ("203.0.113.77:443", "203.0.113.0/24:443"),
            ("[2001:db8:1:2::3]:443", "[2001:db8:1::/48]:443"),
            ("2001:db8:1:2::3", "[2001:db8:1::/48]"),
        ];
        for (target, want) in cases {
            assert_eq!(shown(target, Redaction::Domain), want);
        }
    }

    #[test]
    fn hash_is_equal_for_equal_hosts_and_hides_them() {
        let one = shown("www.example.org:443", Redaction::Hash);
        assert_eq!(one, shown("WWW.example.org:443", Redaction::Hash));
        assert_ne!(one, shown("ftp.example.org:443", Redaction::Hash));
        assert!(!one.contains("example") && one.starts_with('~') && one.ends_with(":443"));
    }

    #[test]
    fn none_shows_nothing() {
        assert_eq!(shown("www.example.org:443", Redaction::None), "-");
    }

    #[test]
    fn split_leaves_a_bare_address_whole() {
        assert_eq!(split("::1"), ("::1", None));
        assert_eq!(split("[::1]:80"), ("[::1]", Some("80")));
        assert_eq!(split("host"), ("host", None));
    }

    #[test]
    fn host_is_found_in_any_case_and_beside_wide_letters() {
        assert_eq!(find_ignoring_case("dial Example.ORG: refused", "example.org"), Some(5));
        assert_eq!(find_ignoring_case("é", "example.org"), None);
        assert_eq!(find_ignoring_case("ééx", "x"), Some(4));
    }
}
