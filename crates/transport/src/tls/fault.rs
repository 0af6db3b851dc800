//! Why TLS failed, in words for the side that can mend it.
//!
//! ```text
//! rustls::Error + what the Judge saw ──classify──▶ Fault ──Display──▶ "TLS-131 client …: cause → do this"
//! alert after the handshake (TLS 1.3) ──Explainer──▶ the same words, as an io::Error or a text
//! ```

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::{AlertDescription, CertificateError, Error};
use sla::code;

use super::TlsSettings;
use super::admission::Inadmissible;
use super::files::Trust;
use super::judge::Seen;
use crate::cert::{Certificate, Identity, Role, Validity, clean};
use crate::date;
use crate::limits::Outcome;

/// A handshake that failed. `Display` is one line: code, peer, cause, what to do.
#[derive(Clone, Debug, thiserror::Error)]
pub struct HandshakeError {
    side: Role,
    peer: String,
    fault: Box<Fault>,
}

impl HandshakeError {
    pub(super) fn new(side: Role, peer: &str, fault: Fault) -> Self {
        Self { side, peer: peer.to_owned(), fault: Box::new(fault) }
    }

    /// A client's handshake was ended so that another one has room.
    pub(crate) fn crowded_out(peer: &str) -> Self {
        Self::new(Role::Server, peer, Fault::CrowdedOut)
    }

    /// What went wrong.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// The side that says so: ours.
    pub fn side(&self) -> Role {
        self.side
    }

    /// The stable code of the message, as the manual lists it.
    pub fn code(&self) -> &'static str {
        let by_side = |client, server| if self.side == Role::Client { client } else { server };
        match &*self.fault {
            Fault::WrongName { .. } => code::TLS_WRONG_NAME,
            Fault::UnknownIssuer { .. } => by_side(code::TLS_SERVER_ISSUER, code::TLS_CLIENT_ISSUER),
            Fault::Expired { .. } => by_side(code::TLS_SERVER_EXPIRED, code::TLS_CLIENT_EXPIRED),
            Fault::NotYetValid { .. } => by_side(code::TLS_NOT_YET, code::TLS_CLIENT_NOT_YET),
            Fault::WrongUse { .. } => by_side(code::TLS_SERVER_USE, code::TLS_CLIENT_USE),
            Fault::BadCertificate { .. } => by_side(code::TLS_SERVER_BAD, code::TLS_CLIENT_BAD),
            Fault::Alert { .. } => by_side(code::TLS_REFUSED_US, code::TLS_CLIENT_REFUSED),
            Fault::Revoked { .. } => by_side(code::TLS_SERVER_REVOKED, code::TLS_CLIENT_REVOKED),
            Fault::Unlisted { .. } => code::TLS_CLIENT_UNLISTED,
            Fault::NoCertificate => code::TLS_NO_CERTIFICATE,
            Fault::Deadline { .. } => code::TLS_DEADLINE,
            Fault::Closed { .. } => code::TLS_CLOSED,
            Fault::NotTls { .. } => code::TLS_NOT_TLS,
            Fault::NoCommonProtocol { .. } => code::TLS_NO_PROTOCOL,
            Fault::Incompatible { .. } => code::TLS_INCOMPATIBLE,
            Fault::ServerName { .. } => code::TLS_SERVER_NAME,
            Fault::CrowdedOut => code::TLS_CROWDED,
            Fault::Other { .. } => code::TLS_OTHER,
        }
    }

    /// The same in a few words that may be told to the peer: nothing of our files.
    pub fn told(&self) -> &'static str {
        match &*self.fault {
            Fault::Expired { .. } => "the certificate has expired",
            Fault::Revoked { .. } => "the certificate or its identity is revoked",
            Fault::Unlisted { .. } => "the identity is not let in any more",
            _ => "the certificate is not trusted any more",
        }
    }

    /// Whether it is a word against an identity that was proven: who holds the key of the certificate.
    pub fn identity(&self) -> Option<Identity> {
        match &*self.fault {
            Fault::Unlisted { certificate, .. } | Fault::Revoked { certificate, .. } => {
                Some(certificate.identity())
            }
            _ => None,
        }
    }

    /// How the limits count it.
    pub fn outcome(&self) -> Outcome {
        match &*self.fault {
            Fault::Deadline { .. } => Outcome::Deadline,
            Fault::NotTls { .. } => Outcome::Malformed,
            Fault::CrowdedOut => Outcome::MadeRoom,
            Fault::Closed { hello: true, .. } => Outcome::Abandoned,
            Fault::Closed { hello: false, .. } => Outcome::Gone,
            _ => Outcome::BadCertificate,
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (them, ca) = match self.side {
            Role::Client => (Role::Server, "tls.server.ca"),
            Role::Server => (Role::Client, "tls.client.ca"),
        };
        write!(f, "{} {them} {}", self.code(), self.peer)?;
        match &*self.fault {
            Fault::Alert { text } => f.write_str(text),
            Fault::BadCertificate { certificate: Some(certificate), reason } => {
                write!(f, ": certificate {} is not acceptable: {reason} → reissue it", certificate.summary())
            }
            Fault::BadCertificate { certificate: None, reason } => {
                write!(f, " sent a certificate that cannot be read: {reason} → reissue it")
            }
            Fault::Closed { reason, .. } => {
                let fix = match self.side {
                    Role::Client => "check that a TunneLS server listens there, and read its log",
                    Role::Server => "nothing to do here if it was a port scan or a health check",
                };
                write!(f, " closed the connection in the middle of the TLS handshake ({reason}) → {fix}")
            }
            Fault::CrowdedOut => write!(
                f,
                " made room for others: all places for handshakes were taken, and its source held most → nothing to do \
                 here if it was a port scan; raise server.preauth.max.cnt if honest clients are told this"
            ),
            Fault::Deadline { after } => {
                let fix = match self.side {
                    Role::Client => "check that it speaks TLS, and the path to it",
                    Role::Server => "nothing to do here if it was a port scan",
                };
                write!(f, " did not finish the TLS handshake in {} s → {fix}", after.as_secs_f32())
            }
            Fault::Expired { certificate, now } => write!(
                f,
                ": certificate {} expired {} ago ({}); the clock here says {} → renew the {them}'s certificate, or set \
                 this clock (NTP) if it is wrong",
                certificate.summary(),
                date::span(date::unix(*now) - date::unix(certificate.not_after)),
                date::utc(certificate.not_after),
                date::utc(*now),
            ),
            Fault::Incompatible { reason } => write!(
                f,
                " and we have no TLS in common: {reason} → use a version of the {them} that speaks TLS 1.3"
            ),
            Fault::NoCertificate => write!(
                f,
                " sent no certificate → set tls.client.cert and tls.client.key there, to a certificate from a CA in our \
                 {ca}"
            ),
            Fault::NoCommonProtocol { ours } => {
                write!(
                    f,
                    " speaks none of our protocols ({ours}) → check that eagersocks.net and remux.wire agree on both sides"
                )
            }
            Fault::NotTls { said } => {
                let fix = if said.starts_with("HTTP/") || said.starts_with("GET ") {
                    "an HTTP program is at that end: check address and port, and that remux.net is tls on both sides"
                } else {
                    "check that remux.net is tls on both sides and the port is right"
                };
                write!(f, " does not speak TLS: it said \"{said}\" → {fix}")
            }
            Fault::NotYetValid { certificate, now } => write!(
                f,
                ": certificate {} is not valid before {} but the clock here says {} → set the clock (NTP) that is \
                 wrong; certificates cannot be checked until then",
                certificate.summary(),
                date::utc(certificate.not_before),
                date::utc(*now),
            ),
            Fault::Other { reason } => {
                write!(f, ": TLS failed: {reason} → read the other side's log as well")
            }
            Fault::Revoked { certificate, reason } => write!(
                f,
                ": certificate {} of the identity \"{}\" is revoked: {reason}",
                certificate.summary(),
                certificate.identity()
            ),
            Fault::ServerName { name: None } => write!(
                f,
                " has no host name to check its certificate against → set tls.server.name to a name in the certificate"
            ),
            Fault::ServerName { name: Some(name) } => write!(
                f,
                ": \"{}\" cannot be a name in a certificate → set tls.server.name to a DNS name or IP address",
                clean(name)
            ),
            Fault::UnknownIssuer { certificate, trusted, file, same_name: true } => write!(
                f,
                ": certificate {} names a CA of ours as issuer, but that CA's key did not sign it ({} has {trusted}) → \
                 a CA was made again under the same name: use the CA file that belongs to this certificate in {ca}, \
                 or reissue the certificate",
                certificate.summary(),
                file.display(),
            ),
            Fault::UnknownIssuer { certificate, trusted, file, same_name: false } => {
                let fix = match self.side {
                    Role::Client => format!(
                        "if you expected your own server, something between is intercepting TLS; otherwise point {ca} \
                         at the right file"
                    ),
                    Role::Server => format!(
                        "give the client a certificate from a CA in that file, or add the CA \"{}\" to {ca}",
                        certificate.issuer
                    ),
                };
                write!(
                    f,
                    ": certificate {} is signed by \"{}\", which is not in {} ({trusted}) → {fix}",
                    certificate.summary(),
                    certificate.issuer,
                    file.display(),
                )
            }
            Fault::Unlisted { certificate, reason } => write!(
                f,
                ": the identity \"{}\" of certificate {} {reason}",
                certificate.identity(),
                certificate.summary()
            ),
            Fault::WrongName { certificate, expected } => {
                let names = match certificate.names.as_slice() {
                    [] => "that bears no name at all".to_owned(),
                    _ => format!("for {}", certificate.name_list()),
                };
                write!(f, " presented a certificate {names}, not for {expected} → ")?;
                if let [first, ..] = certificate.names.as_slice() {
                    write!(f, "set tls.server.name to {first} if that is the right server, or ")?;
                }
                write!(f, "reissue the certificate with {expected} among its names (SAN)")
            }
            Fault::WrongUse { certificate } => write!(
                f,
                ": certificate {} is not for a {them}: its extended key usage is {}, {} is needed → use a {them}'s \
                 certificate there, or reissue it with that usage",
                certificate.summary(),
                certificate.usage,
                them.usage(),
            ),
        }
    }
}

/// What can go wrong in a handshake.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The peer broke off with an alert; `text` follows its address in the message.
    Alert {
        /// ` refused our certificate "…" (alert: …) → …`, or another alert's words.
        text: String,
    },
    /// The peer's certificate can't be accepted for a rarer reason.
    BadCertificate {
        /// Which, if it could be read.
        certificate: Option<Arc<Certificate>>,
        /// Why.
        reason: String,
    },
    /// The peer went away in the middle.
    Closed {
        /// It had made us work: a whole ClientHello had come (server side).
        hello: bool,
        /// What the system said.
        reason: String,
    },
    /// There was no room for another handshake, and this one was the oldest of the source that held most.
    CrowdedOut,
    /// The peer was too slow.
    Deadline {
        /// The time it had.
        after: Duration,
    },
    /// The peer's certificate is past its end.
    Expired {
        /// Which.
        certificate: Arc<Certificate>,
        /// Our clock.
        now: SystemTime,
    },
    /// No common version, suite or group.
    Incompatible {
        /// What rustls said.
        reason: String,
    },
    /// The client showed none.
    NoCertificate,
    /// Both sides named application protocols, and none in common.
    NoCommonProtocol {
        /// Ours, separated by commas.
        ours: String,
    },
    /// What came was not TLS.
    NotTls {
        /// Its first bytes, escaped and cut.
        said: String,
    },
    /// The peer's certificate is not valid yet.
    NotYetValid {
        /// Which.
        certificate: Arc<Certificate>,
        /// Our clock.
        now: SystemTime,
    },
    /// Anything else that rustls found.
    Other {
        /// What it said.
        reason: String,
    },
    /// The peer's certificate, or its identity, was revoked.
    Revoked {
        /// Which.
        certificate: Arc<Certificate>,
        /// By what, and what to do: `… → …`.
        reason: String,
    },
    /// There is no usable name to check the server's certificate against.
    ServerName {
        /// The text that is no name, if there was one.
        name: Option<String>,
    },
    /// The peer's certificate does not chain to a CA of ours.
    UnknownIssuer {
        /// Which.
        certificate: Arc<Certificate>,
        /// The CAs we have, in words.
        trusted: String,
        /// Their file.
        file: PathBuf,
        /// We do have a CA of its issuer's name, with another key.
        same_name: bool,
    },
    /// The peer's certificate is good, and its identity is not let in.
    Unlisted {
        /// Which.
        certificate: Arc<Certificate>,
        /// The words of [`Admission`](crate::Admission): `is not … → …`.
        reason: String,
    },
    /// The server's certificate bears other names.
    WrongName {
        /// Which.
        certificate: Arc<Certificate>,
        /// The name we looked for.
        expected: String,
    },
    /// The peer's certificate lacks the extended key usage of its role.
    WrongUse {
        /// Which.
        certificate: Arc<Certificate>,
    },
}

/// Finds the fault behind an error of the handshake.
pub(super) fn classify(
    error: &io::Error,
    seen: &Seen,
    trust: &Trust,
    explainer: &Explainer,
    settings: &TlsSettings,
    heard: &[u8],
) -> Fault {
    let Some(tls) = tls_error(error) else {
        return Fault::Closed { hello: seen.hello, reason: words(error) };
    };
    match tls {
        Error::AlertReceived(alert) => Fault::Alert { text: explainer.alert_text(*alert) },
        Error::InvalidCertificate(fault) => judge_certificate(fault, seen, trust, settings.clock.now()),
        // The peer's first bytes are no TLS record.
        Error::InvalidMessage(_) if !seen.hello && seen.certificate.is_none() => {
            Fault::NotTls { said: first_words(heard) }
        }
        Error::NoApplicationProtocol => Fault::NoCommonProtocol { ours: protocols(&settings.alpn) },
        Error::NoCertificatesPresented => Fault::NoCertificate,
        Error::PeerIncompatible(reason) => {
            let name = format!("{reason:?}");
            let is_version = name.contains("Version") || name.contains("Tls1");
            let reason = if is_version { "it offers no TLS 1.3".to_owned() } else { spoken(&name) };
            Fault::Incompatible { reason }
        }
        Error::PeerMisbehaved(reason) => {
            Fault::Other { reason: format!("it broke the rules of TLS ({})", spoken(&format!("{reason:?}"))) }
        }
        error => Fault::Other { reason: clean(&error.to_string()) },
    }
}

/// The fault behind a judgement without a handshake.
pub(super) fn classify_verdict(error: &Error, seen: &Seen, trust: &Trust, now: SystemTime) -> Fault {
    match error {
        Error::InvalidCertificate(fault) => judge_certificate(fault, seen, trust, now),
        error => Fault::Other { reason: clean(&error.to_string()) },
    }
}

fn judge_certificate(error: &CertificateError, seen: &Seen, trust: &Trust, now: SystemTime) -> Fault {
    let Some(certificate) = seen.certificate.clone() else {
        return Fault::BadCertificate { certificate: None, reason: "it is not well-formed X.509".to_owned() };
    };
    match &seen.inadmissible {
        Some(Inadmissible::Unlisted(reason)) => {
            return Fault::Unlisted { certificate, reason: reason.clone() };
        }
        Some(Inadmissible::Revoked(reason)) => {
            return Fault::Revoked { certificate, reason: reason.clone() };
        }
        None => {}
    }
    match error {
        CertificateError::Revoked => Fault::Revoked {
            reason: format!(
                "a list in {} has serial {} of \"{}\" → nothing to do if that is meant; otherwise give it a new \
                 certificate",
                trust.crl.as_deref().unwrap_or(Path::new("")).display(),
                certificate.serial,
                certificate.issuer
            ),
            certificate,
        },
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            // An intermediate can be the one that is out of date.
            match certificate.validity(now) {
                Validity::Expired => Fault::Expired { certificate, now },
                _ => Fault::BadCertificate {
                    certificate: Some(certificate),
                    reason: "an intermediate certificate that came with it has expired".to_owned(),
                },
            }
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            match certificate.validity(now) {
                Validity::NotYet => Fault::NotYetValid { certificate, now },
                _ => Fault::BadCertificate {
                    certificate: Some(certificate),
                    reason: "an intermediate certificate that came with it is not valid yet".to_owned(),
                },
            }
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Fault::WrongUse { certificate }
        }
        CertificateError::NotValidForNameContext { expected, .. } => {
            Fault::WrongName { certificate, expected: expected.to_str().into_owned() }
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Fault::UnknownIssuer {
            same_name: trust.authorities.iter().any(|authority| authority.subject == certificate.issuer),
            trusted: trust.to_string(),
            file: trust.file.clone(),
            certificate,
        },
        error => Fault::BadCertificate { certificate: Some(certificate), reason: certificate_words(error) },
    }
}

/// Knows who talks to whom, and so turns a late error of a connection into words. Cheap to clone; keep one beside a
/// connection whose first byte has not come yet.
#[derive(Clone, Debug)]
pub struct Explainer {
    side: Role,
    peer: Arc<str>,
    own: Arc<Certificate>,
}

impl Explainer {
    pub(super) fn new(side: Role, peer: &str, own: Arc<Certificate>) -> Self {
        Self { side, peer: peer.into(), own }
    }

    /// The alert behind `error`, as a full message; `None` if there is none.
    pub fn explain(&self, error: &io::Error) -> Option<String> {
        if let Some(explained) = find::<PeerAlert>(error) {
            return Some(explained.text.clone());
        }
        let Some(Error::AlertReceived(alert)) = tls_error(error) else { return None };
        Some(self.alert_message(*alert))
    }

    /// Whether `error` is the alert by which a peer refuses our certificate. As the first thing read from it, it also
    /// says that the handshake was never done there: not one byte of ours was taken.
    pub fn is_refusal(&self, error: &io::Error) -> bool {
        let refusal = |alert: &AlertDescription| {
            matches!(
                alert,
                AlertDescription::AccessDenied
                    | AlertDescription::BadCertificate
                    | AlertDescription::CertificateExpired
                    | AlertDescription::CertificateRequired
                    | AlertDescription::CertificateRevoked
                    | AlertDescription::CertificateUnknown
                    | AlertDescription::DecryptError
                    | AlertDescription::NoCertificate
                    | AlertDescription::UnknownCA
                    | AlertDescription::UnsupportedCertificate
            )
        };
        match (find::<PeerAlert>(error), tls_error(error)) {
            (Some(explained), _) => refusal(&explained.alert),
            (None, Some(Error::AlertReceived(alert))) => refusal(alert),
            _ => false,
        }
    }

    /// A full message for a connection that died before the peer's first byte: the alert's, if one came, else what an
    /// end without one most likely means.
    pub fn early_death(&self, error: Option<&io::Error>) -> String {
        if let Some(message) = error.and_then(|error| self.explain(error)) {
            return message;
        }
        let reason = error.map_or_else(|| ENDED.to_owned(), words);
        match self.side {
            Role::Client => format!(
                "{} server {} closed the connection right after the TLS handshake ({reason}) → it may have \
                 refused our certificate \"{}\" or be over a limit: its log says which",
                code::TLS_CLOSED_US,
                self.peer,
                self.own.title()
            ),
            Role::Server => format!(
                "{} client {} closed the connection right after the TLS handshake ({reason}) → its log says why",
                code::TLS_CLIENT_CLOSED,
                self.peer
            ),
        }
    }

    /// Puts the words for an alert into the error itself, so that they reach whoever logs it.
    pub(super) fn enrich(&self, error: io::Error) -> io::Error {
        match tls_error(&error) {
            Some(Error::AlertReceived(alert)) => {
                io::Error::new(error.kind(), PeerAlert { alert: *alert, text: self.alert_message(*alert) })
            }
            _ => error,
        }
    }

    fn alert_message(&self, alert: AlertDescription) -> String {
        let fault = Fault::Alert { text: self.alert_text(alert) };
        HandshakeError::new(self.side, &self.peer, fault).to_string()
    }

    fn alert_text(&self, alert: AlertDescription) -> String {
        let name = alert_name(alert);
        let (them, their_ca) = match self.side {
            Role::Client => (Role::Server, "tls.client.ca"),
            Role::Server => (Role::Client, "tls.server.ca"),
        };
        let own = &self.own;
        let (title, issuer) = (own.title(), &own.issuer);
        let now = SystemTime::now();
        let fix = match alert {
            AlertDescription::UnknownCA => format!(
                "the {them}'s {their_ca} does not contain our issuer \"{issuer}\"; use a certificate from a CA it \
                 trusts, or add that CA there"
            ),
            AlertDescription::DecryptError => format!(
                "the {them}'s {their_ca} has a CA named \"{issuer}\" with another key, most likely made again under \
                 the same name; use the certificate and the CA that belong together"
            ),
            AlertDescription::CertificateExpired => match own.validity(now) {
                Validity::Now => format!(
                    "by the clock here ({}) it is {}: one of the two clocks is wrong, or an intermediate has expired",
                    date::utc(now),
                    own.period()
                ),
                _ => format!("it is {}, and the clock here says {}: renew it", own.period(), date::utc(now)),
            },
            AlertDescription::UnsupportedCertificate => {
                format!("its extended key usage is {}; the {them} wants {}", own.usage, self.side.usage())
            }
            AlertDescription::BadCertificate if self.side == Role::Server => format!(
                "the client looks for a name that it does not bear (it bears {}); set tls.server.name there, or \
                 reissue it with that name",
                own.name_list()
            ),
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
                format!("the {them} saw no certificate from us")
            }
            AlertDescription::CertificateRevoked => format!(
                "the {them} has it, or the identity \"{}\", on a list of those that were revoked; ask there, or get a new \
                 certificate",
                own.identity()
            ),
            AlertDescription::AccessDenied => format!(
                "the {them} does not let the identity \"{}\" in; have it added to the {them}'s \
                 server.identities.file and the {them} reloaded",
                own.identity()
            ),
            AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
                format!("the {them}'s log says why")
            }
            _ => {
                let fix = match alert {
                    AlertDescription::NoApplicationProtocol => {
                        "check that eagersocks.net and remux.wire agree on both sides"
                    }
                    AlertDescription::ProtocolVersion => "use a version of it that speaks TLS 1.3",
                    AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
                        "it has no cipher suite or key exchange in common with us"
                    }
                    AlertDescription::UnrecognisedName => "it serves no such name: check tls.server.name",
                    _ => "read its log",
                };
                return format!(" broke off TLS (alert: {name}) → {fix}");
            }
        };
        format!(" refused our certificate \"{title}\" (alert: {name}) → {fix}")
    }
}

/// Why a connection ended, in words; the library's own of an early end are a link to its manual.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ENDED.to_owned(),
        _ => clean(&sla::plain(error)),
    }
}

/// The first line of what a peer said, as far as it is text.
fn first_words(heard: &[u8]) -> String {
    let line = heard.split(|b| matches!(b, b'\r' | b'\n')).next().unwrap_or_default();
    // What is no text tells nothing beyond its first bytes.
    let most = if line.iter().take(BINARY_MAX).all(u8::is_ascii_graphic) { HEARD_MAX } else { BINARY_MAX };
    let (start, more) = line.split_at(line.len().min(most));
    let mark = if more.is_empty() { "" } else { "…" };
    format!("{}{mark}", start.escape_ascii())
}

/// Bytes of a stranger's first line that a message shows.
const HEARD_MAX: usize = 40;
const BINARY_MAX: usize = 3;

/// A peer that ends without an alert or an error.
const ENDED: &str = "end of input";

/// Why the certificate library would not have a certificate.
fn certificate_words(error: &CertificateError) -> String {
    let name = format!("{error:?}");
    // Checks of our own say it in a sentence.
    if let Some((_, sentence)) = name.split_once('"') {
        return clean(sentence.rsplit_once('"').map_or(sentence, |(sentence, _)| sentence));
    }
    // The innermost name is the reason, those around it are its path.
    let inner = name
        .split(['(', '{', ' '])
        .map(|part| part.trim_end_matches([')', '}', ' ']))
        .rfind(|part| !part.is_empty());
    match inner.unwrap_or_default() {
        "CaUsedAsEndEntity" => "it is a CA's own, which signs others and may not be shown".to_owned(),
        "UnhandledCriticalExtension" => "it has a critical extension that is not known here".to_owned(),
        "BadEncoding" => "it is not well-formed".to_owned(),
        other => spoken(other),
    }
}

/// A name of the library's as words: `SelectedUnofferedCipherSuite` is "selected unoffered cipher suite".
fn spoken(name: &str) -> String {
    let mut words = String::new();
    for c in name.chars() {
        match c {
            'A'..='Z' if !words.is_empty() => words.extend([' ', c.to_ascii_lowercase()]),
            '0'..='9' if words.ends_with(|last: char| last.is_ascii_lowercase()) => words.extend([' ', c]),
            c => words.push(c.to_ascii_lowercase()),
        }
    }
    clean(&words)
}

/// What an alert from the peer means, without knowing the certificates: for an error of any TLS stream. `None` if
/// `error` is no alert.
pub fn explain_alert(error: &io::Error) -> Option<String> {
    if let Some(explained) = find::<PeerAlert>(error) {
        return Some(explained.text.clone());
    }
    let Some(Error::AlertReceived(alert)) = tls_error(error) else { return None };
    let meaning = match alert {
        AlertDescription::UnknownCA => "it does not trust the CA that signed our certificate",
        AlertDescription::DecryptError => {
            "a signature did not verify: certificate and CA do not belong together"
        }
        AlertDescription::CertificateExpired => {
            "our certificate has expired or is not valid yet, by its clock"
        }
        AlertDescription::UnsupportedCertificate => {
            "our certificate is not for this role (extended key usage)"
        }
        AlertDescription::BadCertificate => "our certificate bears another name, or cannot be read",
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => "it demands a certificate",
        AlertDescription::CertificateRevoked => "our certificate was revoked",
        AlertDescription::AccessDenied => "it does not let us in",
        AlertDescription::NoApplicationProtocol => "it speaks none of our protocols",
        AlertDescription::ProtocolVersion => "it speaks no TLS 1.3",
        _ => "its log says why",
    };
    Some(format!("the peer ended TLS with the alert {}: {meaning}", alert_name(*alert)))
}

/// The payload of an io::Error that stands for a peer's alert.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct PeerAlert {
    alert: AlertDescription,
    text: String,
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    find(error)
}

fn find<T: std::error::Error + 'static>(error: &io::Error) -> Option<&T> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(inner) = cause {
        if let Some(found) = inner.downcast_ref::<T>() {
            return Some(found);
        }
        // An io::Error shows its payload's source, not its payload.
        cause = match inner.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as _),
            None => inner.source(),
        };
    }
    None
}

fn protocols(alpn: &[Vec<u8>]) -> String {
    let names: Vec<_> = alpn.iter().map(|name| String::from_utf8_lossy(name)).collect();
    names.join(", ")
}

/// The names of RFC 8446 section 6.
fn alert_name(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => "unknown_ca".to_owned(),
        AlertDescription::UnknownPSKIdentity => "unknown_psk_identity".to_owned(),
        AlertDescription::UnrecognisedName => "unrecognized_name".to_owned(),
        alert => match alert.as_str() {
            None => format!("number {}", u8::from(alert)),
            Some(name) => {
                let mut snake = String::new();
                for c in name.chars() {
                    if c.is_ascii_uppercase() && !snake.is_empty() {
                        snake.push('_');
                    }
                    snake.push(c.to_ascii_lowercase());
                }
                snake
            }
        },
    }
}
