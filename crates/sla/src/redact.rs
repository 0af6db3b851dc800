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
        show(&self.0, at_least_domain(), f)
    }
}

fn at_least_domain() -> Redaction {
    match redaction() {
        Redaction::Full => Redaction::Full,
        Redaction::Domain | Redaction::Hash | Redaction::None => Redaction::Domain,
    }
}

/// A sentence about a destination, which may repeat it or name an address it stands for: what is hidden in one field
/// must not return in another.
///
/// The name that was asked for and every IP address are shown as the destination itself is. Networks stay, they are
/// of a rule. The network of a single address, which is a line to copy into a setting, becomes the word ADDRESS: an
/// address of which half is hidden would be wrong advice.
pub(crate) struct Scrubbed<'a> {
    text: &'a str,
    target: &'a str,
    mode: Redaction,
}

impl<'a> Scrubbed<'a> {
    /// In a line of everyday traffic.
    pub(crate) fn new(text: &'a str, target: &'a str) -> Self {
        Self { text, target, mode: redaction() }
    }

    /// In a refusal, beside a target that is [`Named`].
    pub(crate) fn named(text: &'a str, target: &'a str) -> Self {
        Self { text, target, mode: at_least_domain() }
    }
}

impl Display for Scrubbed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mode == Redaction::Full {
            return f.write_str(self.text);
        }
        f.write_str(&without_addresses(&without_name(self.text, self.target, self.mode), self.mode))
    }
}

struct Shown<'a>(&'a str, Redaction);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(&self.0, self.1, f)
    }
}

/// Replaces the host of `target` where it stands as a whole word.
fn without_name(text: &str, target: &str, mode: Redaction) -> String {
    let (host, _) = split(target);
    let is_address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    if host.is_empty() || is_address {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = find_ignoring_case(rest, host) {
        let (before, hit) = rest.split_at(at);
        let (hit, after) = hit.split_at(host.len());
        out.push_str(before);
        let inside_a_word =
            out.chars().next_back().is_some_and(is_word) || after.chars().next().is_some_and(is_word);
        out.push_str(&if inside_a_word { hit.to_owned() } else { Shown(host, mode).to_string() });
        rest = after;
    }
    out + rest
}

/// Replaces IP addresses, each with its port left in place.
fn without_addresses(text: &str, mode: Redaction) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_of_address) {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        let (token, after) = tail.split_at(tail.find(|c| !is_of_address(c)).unwrap_or(tail.len()));
        let inside_a_word =
            out.chars().next_back().is_some_and(is_word) || after.chars().next().is_some_and(is_word);
        rest = after;
        let Some((address, behind)) = address(token).filter(|_| !inside_a_word) else {
            out.push_str(token);
            continue;
        };
        let prefix = after.strip_prefix('/').filter(|_| behind.is_empty());
        let digits =
            prefix.map(|rest| &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())]);
        match digits {
            Some("32" | "128") => out.push_str("ADDRESS"),
            Some(bits) if !bits.is_empty() => out.push_str(token),
            _ => {
                // A hidden IPv6 address brings its own brackets, or needs none.
                let bracketed = address.is_ipv6() && out.ends_with('[') && after.starts_with(']');
                if bracketed {
                    out.pop();
                    rest = &after[1..];
                }
                out.push_str(&Shown(&address.to_string(), mode).to_string());
                out.push_str(behind);
            }
        }
    }
    out + rest
}

/// The address at the front of a token, and what is behind it: a port, or the end of a sentence.
fn address(token: &str) -> Option<(IpAddr, &str)> {
    let trimmed = token.trim_end_matches(['.', ':']);
    let at = [Some(trimmed.len()), trimmed.find(':')];
    let found =
        at.into_iter().flatten().find_map(|at| Some((trimmed[..at].parse::<IpAddr>().ok()?, &token[at..])));
    // "::" is punctuation more often than an address.
    found.filter(|(address, _)| !address.is_unspecified() || address.is_ipv4())
}

fn is_of_address(c: char) -> bool {
    c.is_ascii_hexdigit() || c == '.' || c == ':'
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '-' || c == '_'
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
        Shown(text, mode).to_string()
    }

    fn scrubbed(text: &str, target: &str, mode: Redaction) -> String {
        Scrubbed { text, target, mode }.to_string()
    }

    #[test]
    fn sentence_shows_names_and_addresses_no_clearer_than_the_destination() {
        let target = "www.example.org:443";
        let text = "WWW.Example.org:443: 203.0.113.77:443 refused, [2001:db8:1:2::3]:443 and 2001:db8:1:2::4 too. Not www.example.organic, 5.8 s or a::b!";
        assert_eq!(scrubbed(text, target, Redaction::Full), text);
        assert_eq!(
            scrubbed(text, target, Redaction::Domain),
            "example.org:443: 203.0.113.0/24:443 refused, [2001:db8:1::/48]:443 and [2001:db8:1::/48] too. Not www.example.organic, 5.8 s or [a:0:0::/48]!"
        );
        assert_eq!(
            scrubbed(text, target, Redaction::None),
            "-:443: -:443 refused, -:443 and - too. Not www.example.organic, 5.8 s or -!"
        );
        let hashed = scrubbed(text, target, Redaction::Hash);
        for hidden in ["xample.org:", "203.0", "2001"] {
            assert!(!hashed.contains(hidden), "{hashed}");
        }
        assert!(hashed.starts_with('~') && hashed.contains(":443 refused, ~"), "{hashed}");
    }

    #[test]
    fn short_name_is_hidden_as_a_word_only() {
        assert_eq!(
            scrubbed("db refused feedback of db.", "db:1", Redaction::None),
            "- refused feedback of -."
        );
    }

    #[test]
    fn rule_keeps_its_network_and_advice_holds_no_address_that_is_half_hidden() {
        let rule = "10.2.3.4:80 denied: private network 10.0.0.0/8 is closed by default → to open it add server.allow: [\"10.2.3.4/32:80\"]";
        assert_eq!(
            scrubbed(rule, "intern.example:80", Redaction::Domain),
            "10.2.3.0/24:80 denied: private network 10.0.0.0/8 is closed by default → to open it add server.allow: [\"ADDRESS/32:80\"]"
        );
        assert_eq!(
            scrubbed(rule, "10.2.3.4:80", Redaction::None),
            "-:80 denied: private network 10.0.0.0/8 is closed by default → to open it add server.allow: [\"ADDRESS/32:80\"]"
        );
        let six = "[fd00::1]:80 denied: unique local fc00::/7 is closed → add server.allow: [\"[fd00::1/128]:80\", \"[fd00::1]/128:80\"]";
        let hidden = scrubbed(six, "a.example:80", Redaction::Domain);
        assert!(
            !hidden.contains("fd00::1") && hidden.contains("fc00::/7") && hidden.contains("ADDRESS/128"),
            "{hidden}"
        );
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
