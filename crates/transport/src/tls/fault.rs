//! Why TLS failed, in words for the side that can mend it.
//!
//! ```text
//! rustls::Error + what the Judge saw ──classify──▶ Fault ──Display──▶ "TLS-131 client …: cause → do this"
//! alert after the handshake (TLS 1.3) ──Explainer──▶ the same words, as an io::Error or a text
//! ```
//! The words are here; `classify` finds the fault, `alert` has the Explainer.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sla::code;

use crate::cert::{Certificate, Identity, Role, clean};
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
            Fault::Unlisted { certificate, .. } | Fault::Revoked { certificate, proven: true, .. } => {
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
            Fault::Revoked { certificate, reason, .. } => write!(
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
        /// The peer had shown that it holds the certificate's key, and is no mere owner of a copy: those who are let in are
        /// looked up after that, a CA's revocation list before.
        proven: bool,
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
