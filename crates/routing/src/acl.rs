//! The destination policy: which resolved addresses a server may dial.
//!
//! ```text
//!  address ──▶ mapped IPv4 unwrapped ──▶ judge it, and the IPv4 address embedded in it, if any; both must pass
//!
//!  judge:  in a deny? ──▶ own listener? ──▶ outside of only? ──▶ in an allow? ──▶ own address? ──▶ closed range? ──▶ Permitted
//!             │ yes          │ yes             │ yes               │ yes            │ yes            │ yes
//!             ▼              ▼                 ▼                   ▼                ▼                ▼
//!           Denied         Denied            Denied            Permitted          Denied           Denied
//! ```
//! Lists of the server and of the one identity count alike; `only` is an identity's, and opens what it holds.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use framing::remux2::Code;

use crate::grant::Grant;
use crate::ranges::{CLOSED, embedded};

/// A destination policy. Cheap to clone; a reload makes a new one.
///
/// Without any grant it permits the public Internet: everything outside of the closed ranges and the server itself.
/// The default is that, without knowledge of the server's own addresses.
#[derive(Clone, Debug, Default)]
pub struct Acl {
    server: Arc<Policy>,
    identity: Option<Arc<Own>>,
}

/// What one identity has beside the server's grants.
#[derive(Clone, Debug, Default)]
struct Own {
    allow: Vec<Grant>,
    deny: Vec<Grant>,
    only: Option<Vec<Grant>>,
}

#[derive(Clone, Debug, Default)]
struct Policy {
    allow: Vec<Grant>,
    deny: Vec<Grant>,
    addresses: BTreeSet<IpAddr>,
    listeners: Vec<SocketAddr>,
}

impl Acl {
    /// A policy: `allow` opens closed ranges on top of the public Internet, `deny` closes and wins.
    pub fn new(allow: &[Grant], deny: &[Grant]) -> Self {
        let policy = Policy { allow: allow.to_vec(), deny: deny.to_vec(), ..Policy::default() };
        Self { server: Arc::new(policy), identity: None }
    }

    /// The same policy, told who the server is: the addresses on its interfaces, which neighbours trust more than
    /// strangers and which are closed until granted, and where it listens, which no grant opens. A listener on an
    /// unspecified address is one on each of `addresses` and on loopback.
    pub fn with_own(
        self,
        addresses: impl IntoIterator<Item = IpAddr>,
        listeners: impl IntoIterator<Item = SocketAddr>,
    ) -> Self {
        let mut policy = Arc::unwrap_or_clone(self.server);
        policy.addresses = addresses.into_iter().map(|ip| ip.to_canonical()).collect();
        policy.listeners = listeners.into_iter().collect();
        Self { server: Arc::new(policy), ..self }
    }

    /// The same policy for one identity: `allow` opens and `deny` closes more for it, and with `only` it reaches what that
    /// holds and nothing else. The server's `deny` and its own listeners stay closed.
    #[must_use]
    pub fn for_identity(&self, allow: &[Grant], deny: &[Grant], only: Option<&[Grant]>) -> Self {
        let own = Own { allow: allow.to_vec(), deny: deny.to_vec(), only: only.map(<[Grant]>::to_vec) };
        Self { server: self.server.clone(), identity: Some(Arc::new(own)) }
    }

    /// Judges one resolved address.
    ///
    /// # Errors
    /// The rule that denies it.
    pub fn check(&self, address: SocketAddr) -> Result<Permitted, Denied> {
        let canonical = canonical(address);
        let denied = |inner, (rule, range)| Denied { address: canonical, embedded: inner, rule, range };
        self.judge(canonical).map_err(|found| denied(None, found))?;
        if let IpAddr::V6(ip) = canonical.ip()
            && let Some(inner) = embedded(ip)
        {
            self.judge(SocketAddr::new(inner.into(), canonical.port()))
                .map_err(|found| denied(Some(inner), found))?;
        }
        Ok(Permitted(canonical))
    }

    /// Judges all addresses a name resolved to: those that may be dialled, in the order given, and the first denial.
    ///
    /// A denied address does not deny its neighbours. The request is denied when nothing is permitted.
    pub fn filter(&self, addresses: &[SocketAddr]) -> (Vec<Permitted>, Option<Denied>) {
        let mut permitted = Vec::with_capacity(addresses.len());
        let mut first = None;
        for address in addresses {
            match self.check(*address) {
                Ok(address) => permitted.push(address),
                Err(denied) => first = first.or(Some(denied)),
            }
        }
        (permitted, first)
    }
}

impl Acl {
    fn judge(&self, address: SocketAddr) -> Result<(), (Rule, Grant)> {
        const NONE: &[Grant] = &[];
        let (server, own) = (&self.server, self.identity.as_deref());
        let (own_allow, own_deny) = own.map_or((NONE, NONE), |own| (&own.allow, &own.deny));
        let among = |grants: &[Grant]| grants.iter().find(|grant| grant.contains(address)).copied();
        if let Some(grant) = among(&server.deny) {
            return Err((Rule::Deny, grant));
        }
        if let Some(grant) = among(own_deny) {
            return Err((Rule::IdentityDeny, grant));
        }
        if server.listeners.iter().any(|listener| server.reaches(address, *listener)) {
            return Err((Rule::OwnListener, Grant::single(address)));
        }
        if let Some(only) = own.and_then(|own| own.only.as_deref()) {
            return among(only).map(|_| ()).ok_or((Rule::NotInOnly, Grant::single(address)));
        }
        if among(&server.allow).or_else(|| among(own_allow)).is_some() {
            return Ok(());
        }
        if server.addresses.contains(&address.ip()) {
            return Err((Rule::OwnAddress, Grant::network(address.ip().into())));
        }
        match CLOSED.iter().find(|(network, _)| network.contains(&address.ip())) {
            Some((network, what)) => Err((Rule::Closed { what }, Grant::network(*network))),
            None => Ok(()),
        }
    }
}

impl Policy {
    /// Whether dialling `address` would end at `listener`.
    fn reaches(&self, address: SocketAddr, listener: SocketAddr) -> bool {
        let (ip, at) = (address.ip(), listener.ip().to_canonical());
        let own = || ip.is_loopback() || ip.is_unspecified() || self.addresses.contains(&ip);
        address.port() == listener.port()
            && match at {
                // Dialling the unspecified address ends on loopback.
                _ if ip == at || (ip.is_unspecified() && at.is_loopback()) => true,
                IpAddr::V4(at) => at.is_unspecified() && ip.is_ipv4() && own(),
                IpAddr::V6(at) => at.is_unspecified() && own(),
            }
    }
}

/// An address the policy lets through. Only [`Acl`] makes one, so a function that takes it can't be called with an
/// address nobody judged.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Permitted(SocketAddr);

impl Permitted {
    /// The address to dial: this one, never the name again.
    pub const fn address(self) -> SocketAddr {
        self.0
    }
}

impl fmt::Display for Permitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An address the policy holds back. Its text names the rule and the line that would open it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{address} denied: {}{}", Inside(*embedded), Reason(self))]
pub struct Denied {
    /// The address, mapped forms unwrapped.
    pub address: SocketAddr,
    /// The IPv4 address inside, when that one is denied and not the address itself.
    pub embedded: Option<Ipv4Addr>,
    /// What kind of rule denies it.
    pub rule: Rule,
    /// The network and ports the rule is about.
    pub range: Grant,
}

impl Denied {
    /// The code for the peer: [`Code::RULE_REFUSED`], SOCKS 0x02.
    pub const fn code(&self) -> Code {
        Code::RULE_REFUSED
    }
}

/// The kinds of rules that deny.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Rule {
    /// A range that is closed by default.
    Closed {
        /// What it is, such as "private range".
        what: &'static str,
    },
    /// A grant of `server.deny`.
    Deny,
    /// A grant of the identity's own `deny`.
    IdentityDeny,
    /// The identity has an `only`, and this is not in it.
    NotInOnly,
    /// An address on the server's interfaces.
    OwnAddress,
    /// Where the server itself listens.
    OwnListener,
}

impl Rule {
    /// One word for logs and counters: `closed`, `deny`, `identity_deny`, `not_in_only`, `own_address`, `own_listener`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Deny => "deny",
            Self::IdentityDeny => "identity_deny",
            Self::NotInOnly => "not_in_only",
            Self::OwnAddress => "own_address",
            Self::OwnListener => "own_listener",
        }
    }
}

struct Inside(Option<Ipv4Addr>);

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ip) => write!(f, "it carries {ip}, and "),
            None => Ok(()),
        }
    }
}

struct Reason<'a>(&'a Denied);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Denied { address, embedded, rule, range } = self.0;
        let inner = embedded.map_or(*address, |ip| SocketAddr::new(ip.into(), address.port()));
        let opened_by = Grant::single(inner);
        match rule {
            Rule::Closed { what } => {
                write!(
                    f,
                    "{what} {range} is closed by default → to open it add server.allow: [\"{opened_by}\"]"
                )
            }
            Rule::Deny => write!(f, "server.deny holds {range} → take it out there, no grant wins over it"),
            Rule::IdentityDeny => {
                write!(f, "deny of this identity holds {range} → take it out there, no grant wins over it")
            }
            Rule::NotInOnly => {
                write!(f, "only of this identity does not hold it → to open it add \"{opened_by}\" to that")
            }
            Rule::OwnAddress => {
                let ip = inner.ip();
                write!(f, "{ip} is this server itself → to open it add server.allow: [\"{opened_by}\"]")
            }
            Rule::OwnListener => {
                write!(f, "this server listens there → no grant opens it, a tunnel into itself loops")
            }
        }
    }
}

/// The same destination with a mapped IPv4 address unwrapped: the kernel dials IPv4 for it.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(texts: &[&str]) -> Vec<Grant> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn acl(allow: &[&str], deny: &[&str]) -> Acl {
        Acl::new(&grants(allow), &grants(deny))
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn rule(acl: &Acl, address: &str) -> Option<&'static str> {
        acl.check(at(address)).err().map(|denied| denied.rule.as_str())
    }

    #[test]
    fn identity_has_more_open_and_more_closed_than_the_server_and_the_servers_deny_wins() {
        let server = acl(&["10.1.0.0/16"], &["10.1.1.0/24", "192.0.2.0/24"]);
        let identity = server.for_identity(
            &grants(&["10.2.0.0/16:443", "10.1.1.1"]),
            &grants(&["10.1.2.0/24", "8.8.8.8:53"]),
            None,
        );
        for (address, of_server, of_identity) in [
            ("10.1.0.1:80", None, None),
            ("10.1.1.1:80", Some("deny"), Some("deny")),
            ("10.1.2.1:80", None, Some("identity_deny")),
            ("10.2.0.1:443", Some("closed"), None),
            ("10.2.0.1:80", Some("closed"), Some("closed")),
            ("8.8.8.8:53", None, Some("identity_deny")),
            ("8.8.8.8:443", None, None),
        ] {
            assert_eq!(rule(&server, address), of_server, "{address}");
            assert_eq!(rule(&identity, address), of_identity, "{address}");
        }
    }

    #[test]
    fn identity_with_only_reaches_what_that_holds_and_nothing_else() {
        let server = acl(&["10.1.0.0/16"], &["10.9.0.0/16"])
            .with_own(["192.0.2.1".parse().unwrap()], [at("192.0.2.1:443")]);
        let only = grants(&["10.2.0.5:443", "10.9.0.1", "192.0.2.1", "93.184.216.34"]);
        let identity = server.for_identity(&[], &[], Some(&only));
        for (address, denied) in [
            ("10.2.0.5:443", None),
            ("[::ffff:10.2.0.5]:443", None),
            ("10.2.0.5:80", Some("not_in_only")),
            ("10.1.0.1:80", Some("not_in_only")),
            ("8.8.8.8:443", Some("not_in_only")),
            ("10.9.0.1:80", Some("deny")),
            ("192.0.2.1:443", Some("own_listener")),
            ("192.0.2.1:80", None),
            ("93.184.216.34:80", None),
            ("[64:ff9b::5db8:d822]:80", Some("not_in_only")),
        ] {
            assert_eq!(rule(&identity, address), denied, "{address}");
        }
        let denied = identity.check(at("8.8.8.8:443")).unwrap_err().to_string();
        assert!(
            denied.ends_with(
                "only of this identity does not hold it → to open it add \"8.8.8.8/32:443\" to that"
            ),
            "{denied}"
        );
        let nothing = server.for_identity(&[], &[], Some(&[]));
        assert_eq!(rule(&nothing, "8.8.8.8:443"), Some("not_in_only"));
    }

    #[test]
    fn the_public_internet_is_open_without_any_grant() {
        for address in [
            "1.1.1.1:53",
            "93.184.216.34:25",
            "[2606:4700::1]:443",
            "[2002:101:101::]:80",
            "[64:ff9b::8.8.8.8]:53",
        ] {
            assert_eq!(acl(&[], &[]).check(at(address)).map(Permitted::address), Ok(at(address)));
        }
    }

    #[test]
    fn metadata_service_of_most_clouds_is_closed() {
        assert_eq!(rule(&Acl::default(), "169.254.169.254:80"), Some("closed"));
    }

    #[test]
    fn metadata_service_of_aws_over_ipv6_is_closed() {
        assert_eq!(rule(&Acl::default(), "[fd00:ec2::254]:80"), Some("closed"));
    }

    #[test]
    fn metadata_service_of_alibaba_is_closed() {
        assert_eq!(rule(&Acl::default(), "100.100.100.200:80"), Some("closed"));
    }

    #[test]
    fn platform_address_of_azure_is_closed_though_its_range_is_public() {
        assert_eq!(rule(&Acl::default(), "168.63.129.16:32526"), Some("closed"));
        assert_eq!(rule(&Acl::default(), "168.63.129.15:80"), None);
        assert_eq!(rule(&Acl::default(), "168.63.129.17:80"), None);
    }

    #[test]
    fn wrapping_a_closed_address_in_ipv6_opens_nothing() {
        for address in [
            "[::ffff:169.254.169.254]:80",
            "[::169.254.169.254]:80",
            "[64:ff9b::169.254.169.254]:80",
            "[2002:a9fe:a9fe::1]:80",
            "[::ffff:127.0.0.1]:80",
            "[2002:7f00:1::]:80",
        ] {
            assert_eq!(rule(&Acl::default(), address), Some("closed"), "{address}");
        }
    }

    #[test]
    fn mapped_address_is_dialled_as_the_ipv4_address_it_is() {
        let permitted = Acl::default().check(at("[::ffff:1.1.1.1]:53")).unwrap();
        assert_eq!(permitted.address(), at("1.1.1.1:53"));
        assert_eq!(rule(&acl(&["10.0.0.0/8"], &[]), "[::ffff:10.1.2.3]:80"), None);
    }

    #[test]
    fn embedded_form_needs_a_grant_for_the_inner_address_too() {
        assert_eq!(rule(&acl(&["64:ff9b::/96"], &[]), "[64:ff9b::10.0.0.1]:80"), Some("closed"));
        assert_eq!(rule(&acl(&["10.0.0.0/8"], &[]), "[64:ff9b::10.0.0.1]:80"), None);
        assert_eq!(rule(&acl(&["10.0.0.0/8"], &["64:ff9b::/96"]), "[64:ff9b::10.0.0.1]:80"), Some("deny"));
        assert_eq!(rule(&acl(&[], &["8.8.8.8"]), "[64:ff9b::8.8.8.8]:53"), Some("deny"));
    }

    #[test]
    fn grant_opens_its_network_and_ports_and_nothing_beside() {
        let acl = acl(&["10.2.0.0/16:443"], &[]);
        assert_eq!(rule(&acl, "10.2.3.4:443"), None);
        assert_eq!(rule(&acl, "10.2.3.4:444"), Some("closed"));
        assert_eq!(rule(&acl, "10.3.0.0:443"), Some("closed"));
        assert_eq!(rule(&acl, "1.1.1.1:80"), None);
    }

    #[test]
    fn ipv6_loopback_grant_opens_loopback() {
        assert_eq!(rule(&acl(&["::1/128"], &[]), "[::1]:8080"), None);
    }

    #[test]
    fn deny_wins_over_allow_and_over_the_default() {
        let acl = acl(&["10.0.0.0/8"], &["10.1.0.0/16", "1.1.1.1:25"]);
        assert_eq!(rule(&acl, "10.2.0.1:80"), None);
        assert_eq!(rule(&acl, "10.1.0.1:80"), Some("deny"));
        assert_eq!(rule(&acl, "1.1.1.1:25"), Some("deny"));
        assert_eq!(rule(&acl, "1.1.1.1:26"), None);
    }

    #[test]
    fn denied_ipv6_loopback_does_not_deny_an_allowed_ipv4_one() {
        let acl = acl(&["127.0.0.0/8"], &[]);
        let (permitted, denied) = acl.filter(&[at("[::1]:80"), at("127.0.0.1:80"), at("10.0.0.1:80")]);
        assert_eq!(permitted.iter().map(|p| p.address()).collect::<Vec<_>>(), [at("127.0.0.1:80")]);
        assert_eq!(
            denied.map(|denied| denied.address),
            Some(at("[::1]:80")),
            "the first denial is the one told"
        );
        assert_eq!(acl.filter(&[at("127.0.0.1:80")]).1, None);
        assert_eq!(acl.filter(&[]), (vec![], None));
    }

    #[test]
    fn own_public_address_is_closed_until_granted() {
        let own = |acl: Acl| acl.with_own(["198.41.0.4".parse().unwrap()], []);
        assert_eq!(rule(&own(acl(&[], &[])), "198.41.0.4:22"), Some("own_address"));
        assert_eq!(rule(&own(acl(&[], &[])), "[::ffff:198.41.0.4]:22"), Some("own_address"));
        assert_eq!(rule(&own(acl(&[], &[])), "[64:ff9b::198.41.0.4]:22"), Some("own_address"));
        assert_eq!(rule(&own(acl(&["198.41.0.4:22"], &[])), "198.41.0.4:22"), None);
        assert_eq!(rule(&own(acl(&["198.41.0.4:22"], &[])), "198.41.0.4:23"), Some("own_address"));
    }

    #[test]
    fn own_listener_is_reached_by_no_grant_and_by_no_other_spelling() {
        let everything = acl(&["0.0.0.0/0", "::/0"], &[]);
        let own = ["198.41.0.4", "2606::1"].map(|ip| ip.parse().unwrap());
        let case = |listener: &str, address: &str| {
            rule(&everything.clone().with_own(own, [at(listener)]), address) == Some("own_listener")
        };
        for (listener, address, same) in [
            ("198.41.0.4:443", "198.41.0.4:443", true),
            ("198.41.0.4:443", "198.41.0.4:444", false),
            ("198.41.0.4:443", "127.0.0.1:443", false),
            ("127.0.0.1:1080", "0.0.0.0:1080", true),
            ("127.0.0.1:1080", "[::ffff:127.0.0.1]:1080", true),
            ("127.0.0.1:1080", "127.0.0.2:1080", false),
            ("0.0.0.0:443", "198.41.0.4:443", true),
            ("0.0.0.0:443", "127.0.0.9:443", true),
            ("0.0.0.0:443", "[2606::1]:443", false),
            ("0.0.0.0:443", "1.1.1.1:443", false),
            ("[::]:443", "[2606::1]:443", true),
            ("[::]:443", "198.41.0.4:443", true),
            ("[::]:443", "[::1]:443", true),
        ] {
            assert_eq!(case(listener, address), same, "{listener} {address}");
        }
    }

    #[test]
    fn denial_says_which_rule_and_how_to_open_it() {
        for (allow, deny, address, want) in [
            (
                "11.0.0.0/8",
                "11.0.0.0/8",
                "10.2.3.4:443",
                r#"10.2.3.4:443 denied: private range 10.0.0.0/8 is closed by default → to open it add server.allow: ["10.2.3.4/32:443"]"#,
            ),
            (
                "10.0.0.0/8",
                "10.2.0.0/16:443",
                "10.2.3.4:443",
                "10.2.3.4:443 denied: server.deny holds 10.2.0.0/16:443 → take it out there, no grant wins over it",
            ),
            (
                "11.0.0.0/8",
                "11.0.0.0/8",
                "[64:ff9b::10.2.3.4]:443",
                r#"[64:ff9b::a02:304]:443 denied: it carries 10.2.3.4, and private range 10.0.0.0/8 is closed by default → to open it add server.allow: ["10.2.3.4/32:443"]"#,
            ),
            (
                "11.0.0.0/8",
                "11.0.0.0/8",
                "198.41.0.4:22",
                r#"198.41.0.4:22 denied: 198.41.0.4 is this server itself → to open it add server.allow: ["198.41.0.4/32:22"]"#,
            ),
            (
                "11.0.0.0/8",
                "11.0.0.0/8",
                "198.41.0.4:443",
                "198.41.0.4:443 denied: this server listens there → no grant opens it, a tunnel into itself loops",
            ),
        ] {
            let acl =
                acl(&[allow], &[deny]).with_own(["198.41.0.4".parse().unwrap()], [at("198.41.0.4:443")]);
            assert_eq!(acl.check(at(address)).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn the_line_a_denial_shows_does_open_it() {
        for address in [
            "10.2.3.4:443",
            "[fd00::1]:22",
            "[64:ff9b::10.2.3.4]:443",
            "198.41.0.4:22",
            "127.0.0.1:1",
            "[::1]:80",
        ] {
            let own = ["198.41.0.4".parse().unwrap()];
            let message = Acl::default().with_own(own, []).check(at(address)).unwrap_err().to_string();
            let line = message.split('"').nth(1).unwrap();
            assert_eq!(rule(&acl(&[line], &[]).with_own(own, []), address), None, "{line}");
        }
    }
}
