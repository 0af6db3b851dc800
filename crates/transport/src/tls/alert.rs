//! What a late error of a TLS stream means: in TLS 1.3 a peer that refuses us says so after our handshake is done.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::{AlertDescription, Error};
use sla::code;

use super::fault::{Fault, HandshakeError};
use crate::cert::{Certificate, Role, Validity, clean};
use crate::date;

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

    pub(super) fn alert_text(&self, alert: AlertDescription) -> String {
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

/// The error of rustls behind `error`.
pub(super) fn tls_error(error: &io::Error) -> Option<&Error> {
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

/// Why a connection ended, in words; the library's own of an early end are a link to its manual.
pub(super) fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ENDED.to_owned(),
        _ => clean(&sla::plain(error)),
    }
}

/// A peer that ends without an alert or an error.
const ENDED: &str = "end of input";
