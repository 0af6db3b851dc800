//! Who may use the front, and how often a source may guess.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hint::black_box;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::request::Credential;

/// The configured users, name and password. Empty means that everyone may come in. Cheap to clone.
#[derive(Clone, Default)]
pub struct Users(Arc<BTreeMap<Arc<str>, Password>>);

impl Users {
    /// Takes the users in.
    ///
    /// # Errors
    /// A name or password that one of the protocols can't carry, or a name given twice.
    pub fn new(users: impl IntoIterator<Item = (String, Password)>) -> Result<Self, UsersError> {
        let mut map = BTreeMap::new();
        for (name, password) in users {
            if !(1..=FIELD_MAX).contains(&name.len()) {
                return Err(UsersError::NameLength { name });
            }
            if name.contains(':') || name.chars().any(char::is_control) {
                return Err(UsersError::NameByte { name });
            }
            if !(1..=FIELD_MAX).contains(&password.0.len()) {
                return Err(UsersError::PasswordLength { name });
            }
            if map.contains_key(name.as_str()) {
                return Err(UsersError::Twice { name });
            }
            map.insert(Arc::from(name), password);
        }
        Ok(Self(Arc::new(map)))
    }

    /// Whether nobody is configured: no password is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The configured user of that name.
    pub(crate) fn named(&self, name: &[u8]) -> Option<&Arc<str>> {
        let (user, _) = self.0.get_key_value(std::str::from_utf8(name).ok()?)?;
        Some(user)
    }

    /// The user these bytes prove, if any. Takes the same time for each password of each user.
    pub fn verify(&self, name: &[u8], password: &[u8]) -> Option<Credential> {
        let found = std::str::from_utf8(name).ok().and_then(|name| self.0.get_key_value(name));
        let nobody = Password(String::new());
        let (user, right) = found.map_or((None, &nobody), |(user, right)| (Some(user), right));
        let same = same(right.0.as_bytes(), password);
        user.filter(|_| same).map(|user| Credential { user: user.clone() })
    }
}

/// Says how many users there are, never who or with what.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.0.len())
    }
}

/// A secret. It can be compared by [`Users::verify`] and not be printed.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "a secret must not reach a log by accident")]
pub struct Password(String);

impl Password {
    /// Takes the secret in.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }
}

/// How often each source gave a wrong password lately, and how fast it may guess on.
///
/// After five wrong passwords within a minute the passwords of that source are judged one by one, 200 ms apart,
/// until it gave no wrong one for a minute. A right one is never refused for the wrong ones before it, only held up:
/// it gets in at its turn and clears the count, since many programs behind one address are mostly one person's. More
/// than 25 that wait at once are not judged at all.
///
/// A source is an IPv4 address or an IPv6 /64. Memory is bounded: 4,096 sources, the one that was quiet longest
/// makes room.
#[derive(Debug, Default)]
pub struct AuthLimit {
    sources: HashMap<IpAddr, Record>,
}

impl AuthLimit {
    /// A limit nobody has hit yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the source's passwords are judged one by one now.
    pub fn is_slowed(&self, now: Instant, source: IpAddr) -> bool {
        self.sources.get(&key(source)).is_some_and(|record| record.is_slowed(now))
    }

    /// Takes the turn of the next password of the source: how long to wait before it is judged.
    ///
    /// # Errors
    /// Too many wait already; no turn was taken.
    pub fn turn(&mut self, now: Instant, source: IpAddr) -> Result<Duration, TooManyGuesses> {
        let record = self.sources.get_mut(&key(source)).filter(|record| record.is_slowed(now));
        let Some(record) = record else { return Ok(Duration::ZERO) };
        let turn = record.next_turn.max(now);
        let wait = turn.saturating_duration_since(now);
        if wait > WAIT_MAX {
            return Err(TooManyGuesses);
        }
        record.next_turn = turn.checked_add(PACE).unwrap_or(turn);
        Ok(wait)
    }

    /// The source gave a wrong password.
    pub fn handle_failure(&mut self, now: Instant, source: IpAddr) {
        let source = key(source);
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            self.make_room(now);
        }
        let record = self.sources.entry(source).or_insert(Record {
            since: now,
            last: now,
            failures: 0,
            slowed_until: None,
            next_turn: now,
        });
        if now.saturating_duration_since(record.since) >= WINDOW {
            record.since = now;
            record.failures = 0;
        }
        record.last = now;
        record.failures = record.failures.saturating_add(1);
        let was_slowed = record.is_slowed(now);
        if was_slowed || record.failures >= FAILURES_MAX {
            record.slowed_until = now.checked_add(SLOWED);
        }
        if !was_slowed {
            record.next_turn = now.checked_add(PACE).unwrap_or(now);
        }
    }

    /// The source gave a right password: nothing is held against it any more. Whether it had been slowed.
    pub fn handle_success(&mut self, now: Instant, source: IpAddr) -> bool {
        self.sources.remove(&key(source)).is_some_and(|record| record.is_slowed(now))
    }

    fn make_room(&mut self, now: Instant) {
        self.sources.retain(|_, record| now.saturating_duration_since(record.last) < WINDOW.max(SLOWED));
        while self.sources.len() >= SOURCES_MAX {
            let Some(quietest) = self.sources.iter().min_by_key(|(_, record)| record.last).map(|(ip, _)| *ip)
            else {
                return;
            };
            self.sources.remove(&quietest);
        }
    }
}

#[derive(Debug)]
struct Record {
    since: Instant,
    last: Instant,
    failures: u32,
    slowed_until: Option<Instant>,
    /// When the next password is judged while slowed.
    next_turn: Instant,
}

impl Record {
    fn is_slowed(&self, now: Instant) -> bool {
        self.slowed_until.is_some_and(|until| now < until)
    }
}

/// More passwords of one source wait to be judged than may.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("too many wrong passwords from this source, and too many more wait to be judged")]
pub struct TooManyGuesses;

/// Why users can't be configured as written. No message holds a password.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UsersError {
    /// HTTP's Basic scheme separates name and password by a colon; a control byte is never meant.
    #[error("user name {name:?} holds a colon or a control character, which HTTP can't carry")]
    NameByte {
        /// The name as written.
        name: String,
    },
    /// SOCKS5 gives a name one length byte.
    #[error("user name {name:?} must have 1 to 255 bytes")]
    NameLength {
        /// The name as written.
        name: String,
    },
    /// SOCKS5 gives a password one length byte.
    #[error("the password of user {name:?} must have 1 to 255 bytes")]
    PasswordLength {
        /// Whose.
        name: String,
    },
    /// A name stands twice.
    #[error("user {name:?} is given twice")]
    Twice {
        /// The name.
        name: String,
    },
}

/// The longest name and password: one length byte (RFC 1929 section 2).
const FIELD_MAX: usize = 255;
const FAILURES_MAX: u32 = 5;
const WINDOW: Duration = Duration::from_secs(60);
/// How long a source is slowed after a wrong password.
const SLOWED: Duration = Duration::from_secs(60);
/// Between two passwords of a slowed source.
const PACE: Duration = Duration::from_millis(200);
/// A longer wait than this is refused at once.
const WAIT_MAX: Duration = Duration::from_secs(5);
const SOURCES_MAX: usize = 4096;

/// One household or cloud customer holds a whole IPv6 /64.
fn key(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from(u128::from(ip) & (u128::MAX << 64))),
        v4 => v4,
    }
}

/// Compares in a time that depends on neither: both are laid over 256 bytes first.
fn same(a: &[u8], b: &[u8]) -> bool {
    let (left, right) = (padded(a), padded(b));
    let differing = left.iter().zip(&right).fold(0u8, |sum, (a, b)| black_box(sum | (a ^ b)));
    // An absent user's password is empty and must match nothing, least of all an empty one.
    black_box(differing) == 0 && a.len() == b.len() && !a.is_empty()
}

fn padded(bytes: &[u8]) -> [u8; FIELD_MAX + 1] {
    let mut out = [0; FIELD_MAX + 1];
    out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = *byte);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        Users::new([("ann".into(), Password::new("secret")), ("bob".into(), Password::new("other"))]).unwrap()
    }

    #[test]
    fn only_the_right_password_of_that_user_is_accepted() {
        let users = users();
        assert_eq!(users.verify(b"ann", b"secret").unwrap().user.as_ref(), "ann");
        for (name, password) in [
            (&b"ann"[..], &b"other"[..]),
            (b"ann", b""),
            (b"ann", b"secre"),
            (b"ann", b"secret\0"),
            (b"bob", b"secret"),
            (b"", b""),
            (b"eve", b""),
            (b"eve", b"secret"),
            (b"\xff", b"secret"),
        ] {
            assert_eq!(users.verify(name, password), None, "{name:?} {password:?}");
        }
    }

    #[test]
    fn users_no_protocol_can_carry_are_refused() {
        let try_one = |name: &str, password: &str| Users::new([(name.into(), Password::new(password))]).err();
        assert!(matches!(try_one("a:b", "x"), Some(UsersError::NameByte { .. })));
        assert!(matches!(try_one("", "x"), Some(UsersError::NameLength { .. })));
        assert!(matches!(try_one(&"n".repeat(256), "x"), Some(UsersError::NameLength { .. })));
        assert!(matches!(try_one("a", ""), Some(UsersError::PasswordLength { .. })));
        assert!(matches!(try_one("a", &"p".repeat(256)), Some(UsersError::PasswordLength { .. })));
        assert!(try_one(&"n".repeat(255), &"p".repeat(255)).is_none());
        let twice = [("a".into(), Password::new("x")), ("a".into(), Password::new("y"))];
        assert!(matches!(Users::new(twice), Err(UsersError::Twice { .. })));
    }

    #[test]
    fn no_debug_output_holds_a_password_or_name() {
        let text = format!("{:?}", users());
        assert_eq!(text, "Users(2)");
    }

    fn guess(limit: &mut AuthLimit, now: Instant, source: IpAddr) -> Result<Duration, TooManyGuesses> {
        limit.turn(now, source).inspect(|_| limit.handle_failure(now, source))
    }

    #[test]
    fn fifth_failure_within_a_minute_slows_the_source_and_nobody_else() {
        let (mut limit, now) = (AuthLimit::new(), Instant::now());
        let (source, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for n in 0..5 {
            assert_eq!(guess(&mut limit, now, source), Ok(Duration::ZERO), "guess {n}");
        }
        assert!(limit.is_slowed(now, source));
        for n in 1..=25 {
            assert_eq!(guess(&mut limit, now, source), Ok(PACE * n), "guess {n} in the line");
        }
        assert_eq!(limit.turn(now, source), Err(TooManyGuesses));
        assert_eq!(limit.turn(now + PACE, source), Ok(WAIT_MAX), "a place is free again");
        assert_eq!(limit.turn(now, other), Ok(Duration::ZERO));
    }

    #[test]
    fn source_is_slowed_until_a_minute_without_a_wrong_password() {
        let (mut limit, now) = (AuthLimit::new(), Instant::now());
        let source = "192.0.2.1".parse().unwrap();
        (0..5).for_each(|_| limit.handle_failure(now, source));
        let last = now + Duration::from_secs(59);
        limit.handle_failure(last, source);
        assert!(limit.is_slowed(last + SLOWED - Duration::from_millis(1), source));
        assert!(!limit.is_slowed(last + SLOWED, source));
        assert_eq!(limit.turn(last + SLOWED, source), Ok(Duration::ZERO));
    }

    #[test]
    fn right_password_clears_the_count() {
        let (mut limit, now) = (AuthLimit::new(), Instant::now());
        let source = "192.0.2.1".parse().unwrap();
        (0..5).for_each(|_| limit.handle_failure(now, source));
        assert!(limit.handle_success(now, source));
        for n in 0..4 {
            limit.handle_failure(now, source);
            assert!(!limit.is_slowed(now, source), "failure {n} after a right one");
        }
        assert!(!limit.handle_success(now, source));
    }

    #[test]
    fn slow_failures_never_slow_the_source() {
        let (mut limit, mut now) = (AuthLimit::new(), Instant::now());
        let source = "192.0.2.1".parse().unwrap();
        for _ in 0..50 {
            limit.handle_failure(now, source);
            assert!(!limit.is_slowed(now, source));
            now += Duration::from_secs(15);
        }
    }

    #[test]
    fn addresses_of_one_ipv6_network_and_mapped_forms_are_one_source() {
        let (mut limit, now) = (AuthLimit::new(), Instant::now());
        for n in 0..5 {
            limit.handle_failure(now, format!("2001:db8:0:1::{n}").parse().unwrap());
            limit.handle_failure(now, "::ffff:192.0.2.1".parse().unwrap());
        }
        assert!(limit.is_slowed(now, "2001:db8:0:1:ffff::1".parse().unwrap()));
        assert!(!limit.is_slowed(now, "2001:db8:0:2::1".parse().unwrap()));
        assert!(limit.is_slowed(now, "192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn many_sources_take_bounded_memory_and_the_quietest_makes_room() {
        let (mut limit, mut now) = (AuthLimit::new(), Instant::now());
        for n in 0..(SOURCES_MAX as u32 + 10) {
            now += Duration::from_millis(1);
            limit.handle_failure(now, IpAddr::V4((0x0a00_0000 + n).into()));
        }
        assert_eq!(limit.sources.len(), SOURCES_MAX);
        assert!(!limit.sources.contains_key(&IpAddr::V4(0x0a00_0000.into())));
        assert!(limit.sources.contains_key(&IpAddr::V4((0x0a00_0000 + SOURCES_MAX as u32 + 9).into())));
    }
}
