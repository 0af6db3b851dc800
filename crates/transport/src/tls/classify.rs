//! Which fault is behind what the libraries say of a handshake or a certificate.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use rustls::{CertificateError, Error};

use super::TlsSettings;
use super::admission::Inadmissible;
use super::alert::{Explainer, tls_error, words};
use super::fault::Fault;
use super::files::Trust;
use super::judge::Seen;
use crate::cert::{Validity, clean};

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
            return Fault::Revoked { certificate, reason: reason.clone(), proven: true };
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
            proven: false,
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

fn protocols(alpn: &[Vec<u8>]) -> String {
    let names: Vec<_> = alpn.iter().map(|name| String::from_utf8_lossy(name)).collect();
    names.join(", ")
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
