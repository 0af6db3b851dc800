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
    pub(crate) fn named(&self, name: &[u8]) -> Option<&str> {
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

/// How often each source gave a wrong password lately: five within a minute close it for a minute.
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

    /// Whether the source may try now.
    ///
    /// # Errors
    /// How long it still has to wait.
    pub fn check(&self, now: Instant, source: IpAddr) -> Result<(), Duration> {
        let Some(until) = self.sources.get(&key(source)).and_then(|record| record.locked_until) else {
            return Ok(());
        };
        match until.checked_duration_since(now) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => Ok(()),
        }
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
            locked_until: None,
        });
        if now.saturating_duration_since(record.since) >= WINDOW {
            record.since = now;
            record.failures = 0;
        }
        record.last = now;
        record.failures = record.failures.saturating_add(1);
        if record.failures >= FAILURES_MAX {
            record.failures = 0;
            record.since = now;
            record.locked_until = now.checked_add(LOCKOUT);
        }
    }

    fn make_room(&mut self, now: Instant) {
        self.sources.retain(|_, record| now.saturating_duration_since(record.last) < WINDOW.max(LOCKOUT));
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
    locked_until: Option<Instant>,
}

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
const LOCKOUT: Duration = Duration::from_secs(60);
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

    #[test]
    fn fifth_failure_within_a_minute_locks_the_source_for_a_minute() {
        let (mut limit, now) = (AuthLimit::new(), Instant::now());
        let (source, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for n in 0..5 {
            assert_eq!(limit.check(now, source), Ok(()), "before failure {n}");
            limit.handle_failure(now, source);
        }
        assert_eq!(limit.check(now, source), Err(LOCKOUT));
        assert_eq!(limit.check(now, other), Ok(()));
        assert_eq!(
            limit.check(now + LOCKOUT - Duration::from_millis(1), source),
            Err(Duration::from_millis(1))
        );
        assert_eq!(limit.check(now + LOCKOUT, source), Ok(()));
    }

    #[test]
    fn slow_failures_never_lock() {
        let (mut limit, mut now) = (AuthLimit::new(), Instant::now());
        let source = "192.0.2.1".parse().unwrap();
        for _ in 0..50 {
            limit.handle_failure(now, source);
            assert_eq!(limit.check(now, source), Ok(()));
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
        assert!(limit.check(now, "2001:db8:0:1:ffff::1".parse().unwrap()).is_err());
        assert!(limit.check(now, "2001:db8:0:2::1".parse().unwrap()).is_ok());
        assert!(limit.check(now, "192.0.2.1".parse().unwrap()).is_err());
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
