//! What a certificate says, in words: for `tunnels cert show`, for the log, and for messages about faults.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::SystemTime;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Name;

use crate::date;
use crate::tls::{LoadError, read_certificates};

/// The facts of one X.509 certificate (RFC 5280). Texts are escaped and cut: they may come from a stranger.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// Common name of the subject, or its whole distinguished name where it has none. For display only:
    /// it proves nothing.
    pub subject: String,
    /// The issuer in the same form.
    pub issuer: String,
    /// Subject alternative names in the order of the certificate, at most [`Self::NAMES_MAX`].
    pub names: Vec<Name>,
    /// What it may be used for.
    pub usage: Usage,
    /// May it sign other certificates (basic constraints)?
    pub is_ca: bool,
    /// Is it its own issuer by name?
    pub is_self_issued: bool,
    /// Valid from.
    pub not_before: SystemTime,
    /// Valid until.
    pub not_after: SystemTime,
    /// Serial number in hexadecimal, bytes separated by colons.
    pub serial: String,
    /// Kind and size of the public key, for example `EC 256` or `RSA 2048`.
    pub key: String,
    /// SHA-256 of the subject public key info: the name of the key, whatever certificate bears it.
    pub spki_sha256: [u8; 32],
    /// SHA-256 of the whole certificate: the name of this one alone, what tools call its fingerprint.
    pub sha256: [u8; 32],
}

impl Certificate {
    /// More names than this are not kept.
    pub const NAMES_MAX: usize = 64;

    /// Reads a DER certificate.
    ///
    /// # Errors
    /// A few words about what the parser could not read.
    pub fn from_der(der: &[u8]) -> Result<Self, String> {
        let (rest, parsed) = x509_parser::parse_x509_certificate(der).map_err(|error| error.to_string())?;
        if !rest.is_empty() {
            return Err("bytes follow the certificate".to_owned());
        }
        let names = match parsed.subject_alternative_name().map_err(|error| error.to_string())? {
            Some(extension) => {
                extension.value.general_names.iter().take(Self::NAMES_MAX).map(Name::from).collect()
            }
            None => Vec::new(),
        };
        Ok(Self {
            subject: label(parsed.subject()),
            issuer: label(parsed.issuer()),
            names,
            usage: Usage::from_x509(&parsed)?,
            is_ca: parsed.is_ca(),
            is_self_issued: parsed.subject().as_raw() == parsed.issuer().as_raw(),
            not_before: date::from_unix(parsed.validity().not_before.timestamp()),
            not_after: date::from_unix(parsed.validity().not_after.timestamp()),
            serial: clean(&parsed.raw_serial_as_string()),
            key: key_kind(&parsed),
            spki_sha256: sha256(parsed.public_key().raw),
            sha256: sha256(der),
        })
    }

    /// What the certificate proves about its holder: SAN URI, else SAN DNS, else the key itself. Never the common name.
    pub fn identity(&self) -> Identity {
        let uri = self.names.iter().find_map(|name| match name {
            Name::Uri(uri) => Some(Identity::Uri(uri.clone())),
            _ => None,
        });
        let dns = || {
            self.names.iter().find_map(|name| match name {
                Name::Dns(dns) => Some(Identity::Dns(dns.clone())),
                _ => None,
            })
        };
        uri.or_else(dns).unwrap_or(Identity::Key(self.spki_sha256))
    }

    /// Is it valid at `now`? Both ends belong to the validity (RFC 5280 section 4.1.2.5).
    pub fn validity(&self, now: SystemTime) -> Validity {
        if date::unix(now) < date::unix(self.not_before) {
            Validity::NotYet
        } else if date::unix(now) > date::unix(self.not_after) {
            Validity::Expired
        } else {
            Validity::Now
        }
    }

    /// Whole days until it expires, or, negative, since it did; rounded towards 0.
    pub fn days_left(&self, now: SystemTime) -> i64 {
        (date::unix(self.not_after) - date::unix(now)) / date::DAY
    }

    /// How much of its life is left, in words: `729 days`, `none, it expired 3 days ago`, or when it begins.
    pub fn left(&self, now: SystemTime) -> String {
        let until = |moment| date::span(date::unix(moment) - date::unix(now));
        match self.validity(now) {
            Validity::Now => until(self.not_after),
            Validity::Expired => format!("none, it expired {} ago", until(self.not_after)),
            Validity::NotYet => format!(
                "not valid yet, it begins in {} and ends in {}",
                until(self.not_before),
                until(self.not_after)
            ),
        }
    }

    /// Does it bear a name that a client could look for in a server's certificate: a DNS name or an address?
    pub(crate) fn names_a_server(&self) -> bool {
        self.names.iter().any(|name| matches!(name, Name::Dns(_) | Name::Ip(_)))
    }

    /// `"laptop-7" (names laptop-7, 10.0.0.9; issuer "Old Root")`, for messages.
    pub fn summary(&self) -> String {
        let names =
            if self.names.is_empty() { "no names".to_owned() } else { format!("names {}", self.name_list()) };
        format!("\"{}\" ({names}; issuer \"{}\")", self.title(), self.issuer)
    }

    /// The names, separated by commas; at most eight, then how many more.
    pub fn name_list(&self) -> String {
        const SHOWN: usize = 8;
        let mut list: Vec<String> = self.names.iter().take(SHOWN).map(Name::to_string).collect();
        if self.names.len() > SHOWN {
            list.push(format!("and {} more", self.names.len() - SHOWN));
        }
        list.join(", ")
    }

    /// `valid 2026-11-19 08:00 UTC to 2027-11-20 08:00 UTC`.
    pub fn period(&self) -> String {
        format!("valid {} to {}", date::utc(self.not_before), date::utc(self.not_after))
    }

    pub(crate) fn title(&self) -> String {
        self.names.first().map_or_else(|| self.subject.clone(), Name::to_string)
    }
}

/// The lines of `tunnels cert show`.
impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "subject   {}", self.subject)?;
        writeln!(f, "issuer    {}{}", self.issuer, if self.is_self_issued { " (itself)" } else { "" })?;
        writeln!(
            f,
            "names     {}",
            if self.names.is_empty() { "none".to_owned() } else { self.name_list() }
        )?;
        writeln!(f, "use       {}", if self.is_ca { "CA".to_owned() } else { self.usage.to_string() })?;
        writeln!(f, "valid     {} to {}", date::utc(self.not_before), date::utc(self.not_after))?;
        writeln!(f, "key       {}", self.key)?;
        writeln!(f, "serial    {}", self.serial)?;
        writeln!(f, "sha256    {}", Hex(&self.sha256))?;
        write!(f, "identity  {}", self.identity())
    }
}

/// Who the peer is, by its verified certificate.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Identity {
    /// First URI among the subject alternative names.
    Uri(String),
    /// First DNS name among them, where there is no URI.
    Dns(String),
    /// SHA-256 of the subject public key info, where there is neither.
    Key([u8; 32]),
}

/// The URI or the name; a key as `sha256:` and 64 hexadecimal digits.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Uri(text) | Identity::Dns(text) => f.write_str(text),
            Identity::Key(digest) => write!(f, "sha256:{}", Hex(digest)),
        }
    }
}

/// One subject alternative name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Name {
    /// A URI.
    Uri(String),
    /// A DNS name, perhaps with a wildcard label.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
    /// Another kind, as text.
    Other(String),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Uri(text) | Name::Dns(text) | Name::Other(text) => f.write_str(text),
            Name::Ip(ip) => ip.fmt(f),
        }
    }
}

impl From<&GeneralName<'_>> for Name {
    fn from(name: &GeneralName<'_>) -> Self {
        match name {
            GeneralName::URI(uri) => whole_or_other(clean(uri), Name::Uri),
            GeneralName::DNSName(dns) => whole_or_other(clean(&dns.to_ascii_lowercase()), Name::Dns),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
                let v6 = || <[u8; 16]>::try_from(*bytes).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
                v4.or_else(|_| v6()).map_or_else(|_| Name::Other("malformed IP address".to_owned()), Name::Ip)
            }
            GeneralName::RFC822Name(mail) => Name::Other(clean(mail)),
            _ => Name::Other("a name of another kind".to_owned()),
        }
    }
}

/// A text that was cut is nobody's name: two names could become one identity.
fn whole_or_other(text: String, name: fn(String) -> Name) -> Name {
    // The mark of a cut is no character of these names (IA5String).
    if text.ends_with(CUT) { Name::Other(text) } else { name(text) }
}

/// The extended key usage of a certificate (RFC 5280 section 4.2.1.12).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Is there an extended key usage at all? Without one we accept the certificate for no role.
    pub present: bool,
    /// `id-kp-serverAuth`.
    pub server: bool,
    /// `id-kp-clientAuth`.
    pub client: bool,
    /// The other uses it names; `anyExtendedKeyUsage` is one of these and stands for no role.
    pub other: Vec<String>,
}

impl Usage {
    /// May a holder play this role?
    pub fn allows(&self, role: Role) -> bool {
        match role {
            Role::Server => self.server,
            Role::Client => self.client,
        }
    }

    fn from_x509(parsed: &X509Certificate<'_>) -> Result<Self, String> {
        let Some(extension) = parsed.extended_key_usage().map_err(|error| error.to_string())? else {
            return Ok(Self::default());
        };
        let eku = extension.value;
        let mut other = Vec::new();
        for (set, name) in [
            (eku.any, "any"),
            (eku.code_signing, "code signing"),
            (eku.email_protection, "e-mail"),
            (eku.time_stamping, "time stamping"),
            (eku.ocsp_signing, "OCSP signing"),
        ] {
            if set {
                other.push(name.to_owned());
            }
        }
        other.extend(eku.other.iter().take(8).map(|oid| clean(&oid.to_id_string())));
        Ok(Self { present: true, server: eku.server_auth, client: eku.client_auth, other })
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut uses = Vec::new();
        if self.server {
            uses.push("server");
        }
        if self.client {
            uses.push("client");
        }
        uses.extend(self.other.iter().map(String::as_str));
        if uses.is_empty() { f.write_str("none") } else { f.write_str(&uses.join(", ")) }
    }
}

/// Which end of a connection a certificate is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    /// Opens connections: `clientAuth`.
    Client,
    /// Accepts them: `serverAuth`.
    Server,
}

impl Role {
    /// The name of the extended key usage, as tools write it.
    pub fn usage(self) -> &'static str {
        match self {
            Role::Client => "clientAuth",
            Role::Server => "serverAuth",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Client => "client",
            Role::Server => "server",
        })
    }
}

/// Where a moment lies against a certificate's period.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Validity {
    /// Before its first moment.
    NotYet,
    /// Inside.
    Now,
    /// After its last moment.
    Expired,
}

/// Reads every certificate of a PEM file, in file order; the first is the one a server or client shows.
///
/// # Errors
/// [`LoadError`] when the file can't be read or holds no readable certificate.
pub fn describe(path: &Path) -> Result<Vec<Certificate>, LoadError> {
    Ok(read_certificates(path)?.into_iter().map(|(_, certificate)| certificate).collect())
}

/// Is a warning about the end of a certificate due? Gives the threshold in days (30, 14, 7 or 1) that `not_after` is
/// now within, unless the caller has warned at it (`last`) already. From 7 days on it deserves an alert.
pub fn expiry_warning(not_after: SystemTime, now: SystemTime, last: Option<u32>) -> Option<u32> {
    let left = date::unix(not_after) - date::unix(now);
    let threshold = THRESHOLDS.into_iter().find(|days| left <= i64::from(*days) * date::DAY)?;
    last.is_none_or(|last| threshold < last).then_some(threshold)
}

/// Days before the end at which to warn, least first.
const THRESHOLDS: [u32; 4] = [1, 7, 14, 30];

/// Longer texts from certificates are cut.
const TEXT_MAX: usize = 256;
/// Their mark.
const CUT: char = '…';

/// A stranger's text, fit for one line of a log.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() >= TEXT_MAX {
            out.push(CUT);
            break;
        }
        // Quotes would end the quoted text early; bidirectional and other format marks are not printable.
        if c == '"' || c == '\\' || c.is_control() || c.escape_debug().len() > 1 {
            out.extend(c.escape_debug());
        } else {
            out.push(c);
        }
    }
    out
}

pub(crate) fn label(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().next().and_then(|attribute| attribute.as_str().ok());
    match common {
        Some(common) => clean(common),
        None => clean(&name.to_string()),
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    sum
}

/// Lower-case hexadecimal digits.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn key_kind(parsed: &X509Certificate<'_>) -> String {
    match parsed.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        Ok(PublicKey::EC(point)) => format!("EC {}", point.key_size()),
        _ => match parsed.public_key().algorithm.algorithm.to_id_string().as_str() {
            "1.3.101.112" => "Ed25519".to_owned(),
            oid => clean(oid),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{Ca, Leaf};

    #[test]
    fn name_too_long_to_be_shown_whole_is_no_identity() {
        let ca = Ca::new("Root");
        let long = |end: &str| {
            Leaf::client("x").without_names().uri(&format!("spiffe://corp/{}{end}", "a".repeat(300)))
        };
        let of = |leaf: Leaf| Certificate::from_der(ca.issue(&leaf).der()).expect("readable").identity();
        let (one, two) = (of(long("1")), of(long("2")));
        assert!(matches!((&one, &two), (Identity::Key(_), Identity::Key(_))), "{one} {two}");
        assert_ne!(one, two);
        let whole = format!("spiffe://corp/{}", "a".repeat(200));
        assert_eq!(of(Leaf::client("x").uri(&whole)), Identity::Uri(whole));
    }

    #[test]
    fn identity_is_the_uri_else_the_dns_name_else_the_key_and_never_the_common_name() {
        let ca = Ca::new("Root");
        let read = |leaf: Leaf| Certificate::from_der(ca.issue(&leaf).der()).expect("readable");
        let both = read(Leaf::client("laptop-7").uri("spiffe://corp/laptop"));
        assert_eq!(both.identity(), Identity::Uri("spiffe://corp/laptop".to_owned()));
        assert_eq!(read(Leaf::client("laptop-7")).identity(), Identity::Dns("laptop-7".to_owned()));
        let nameless = read(Leaf::client("laptop-7").without_names());
        assert_eq!(nameless.subject, "laptop-7");
        let text = nameless.identity().to_string();
        assert!(text.starts_with("sha256:") && text.len() == 7 + 64, "{text}");
    }

    #[test]
    fn facts_of_a_certificate_are_read() {
        let ca = Ca::new("Root");
        let server =
            Certificate::from_der(ca.issue(&Leaf::server("a.example").ip([10, 0, 0, 9])).der()).expect("der");
        assert_eq!(server.issuer, "Root");
        assert!(server.usage.allows(Role::Server) && !server.usage.allows(Role::Client));
        assert!(!server.is_ca && !server.is_self_issued);
        assert_eq!(server.name_list(), "a.example, 10.0.0.9");
        assert_eq!(server.key, "EC 256");
        let root = Certificate::from_der(ca.der()).expect("der");
        assert!(root.is_ca && root.is_self_issued);
        assert!(!root.usage.present);
    }

    #[test]
    fn strangers_text_is_escaped_and_cut() {
        assert_eq!(clean("a\nb\"c\u{202e}d é"), "a\\nb\\\"c\\u{202e}d é");
        assert!(clean(&"x".repeat(10_000)).len() < 300);
    }

    #[test]
    fn warnings_come_once_at_each_threshold() {
        let now = date::from_unix(1_700_000_000);
        let end = |days: u64| now + Duration::from_secs(days * 86_400);
        assert_eq!(expiry_warning(end(31), now, None), None);
        assert_eq!(expiry_warning(end(30), now, None), Some(30));
        assert_eq!(expiry_warning(end(29), now, Some(30)), None);
        assert_eq!(expiry_warning(end(14), now, Some(30)), Some(14));
        assert_eq!(expiry_warning(end(3), now, Some(14)), Some(7));
        assert_eq!(expiry_warning(end(0), now, Some(7)), Some(1));
        assert_eq!(expiry_warning(now - Duration::from_secs(1), now, Some(1)), None);
    }

    #[test]
    fn time_left_is_said_in_the_words_and_the_rounding_of_messages() {
        let ca = Ca::new("Root");
        let certificate = Certificate::from_der(ca.issue(&Leaf::client("c")).der()).expect("der");
        let hours = |count: u64| Duration::from_secs(count * 3600);
        let (begin, end) = (certificate.not_before, certificate.not_after);
        for (now, left, days) in [
            (end - hours(24 * 172 + 23), "172 days".to_owned(), 172),
            (end - hours(47), "47 hours".to_owned(), 1),
            (end + hours(3), "none, it expired 3 hours ago".to_owned(), 0),
            (end + hours(24 * 172 + 5), "none, it expired 172 days ago".to_owned(), -172),
            (
                begin - hours(24 * 41),
                format!(
                    "not valid yet, it begins in 41 days and ends in {} days",
                    certificate.days_left(begin) + 41
                ),
                certificate.days_left(begin) + 41,
            ),
        ] {
            assert_eq!((certificate.left(now), certificate.days_left(now)), (left, days));
        }
    }

    #[test]
    fn last_second_is_valid_and_the_next_is_not() {
        let ca = Ca::new("Root");
        let certificate = Certificate::from_der(ca.issue(&Leaf::client("c")).der()).expect("der");
        let second = Duration::from_secs(1);
        assert_eq!(certificate.validity(certificate.not_after), Validity::Now);
        assert_eq!(certificate.validity(certificate.not_after + second), Validity::Expired);
        assert_eq!(certificate.validity(certificate.not_before), Validity::Now);
        assert_eq!(certificate.validity(certificate.not_before - second), Validity::NotYet);
    }
}
