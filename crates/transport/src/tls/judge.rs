//! The verifier of one handshake: webpki's verdict, our stricter view of the extended key usage, the list of those who are
//! let in, and a memory of whom it judged, so that a refusal can say who was refused.
//!
//! ```text
//!  Certificate ──▶ size ──▶ chain, period, CRL ──▶ use          CertificateVerify ──▶ signature ──▶ admission
//! ```
//! The list comes last: only who holds the key is told, and logged, by the name in the certificate.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ExtendedKeyPurpose, OtherError,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::admission::{Admission, Inadmissible};
use super::clock::unix_time;
use super::end::Verifier;
use super::standing::Shown;
use crate::cert::{Certificate, Role};

/// Judges the peer in one handshake and shows our own certificate to it.
pub(super) struct Judge<V: ?Sized> {
    verifier: Arc<V>,
    key: Arc<CertifiedKey>,
    admission: Option<Arc<dyn Admission>>,
    seen: Mutex<Seen>,
}

/// What a handshake got to see of its peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// A whole ClientHello came (server side).
    pub(super) hello: bool,
    /// The peer's own certificate, if it could be read.
    pub(super) certificate: Option<Arc<Certificate>>,
    /// All that it sent, its own first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// The list's word against it.
    pub(super) inadmissible: Option<Inadmissible>,
}

impl<V: ?Sized> Judge<V> {
    pub(super) fn new(verifier: Arc<V>, key: Arc<CertifiedKey>) -> Self {
        Self { verifier, key, admission: None, seen: Mutex::default() }
    }

    /// The same with a list of those who are let in.
    pub(super) fn with_admission(self, admission: Option<Arc<dyn Admission>>) -> Self {
        Self { admission, ..self }
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }

    fn read(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<Arc<Certificate>, Error> {
        let certificate = Certificate::from_der(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        let certificate = Arc::new(certificate);
        let all = || std::iter::once(end_entity).chain(intermediates);
        let size: usize = all().map(|der| der.len()).sum();
        let mut seen = self.seen.lock();
        seen.certificate = Some(certificate.clone());
        if size > CHAIN_MAX {
            return Err(other(format!(
                "with what was sent along it has {size} bytes, {CHAIN_MAX} are taken"
            )));
        }
        seen.chain = all().map(|der| der.clone().into_owned()).collect();
        Ok(certificate)
    }

    /// Asks the list about the peer whose signature was good.
    pub(super) fn admit(&self) -> Result<(), Error> {
        let Some(admission) = &self.admission else { return Ok(()) };
        let Some(certificate) = self.seen.lock().certificate.clone() else { return Ok(()) };
        admission.admit(&certificate).map_err(|inadmissible| {
            let error = match inadmissible {
                Inadmissible::Unlisted(_) => CertificateError::ApplicationVerificationFailure,
                Inadmissible::Revoked(_) => CertificateError::Revoked,
            };
            self.seen.lock().inadmissible = Some(inadmissible);
            error.into()
        })
    }
}

impl<V: Verifier + ?Sized> Judge<V> {
    /// Would the peer be let in at `now` with what it showed?
    pub(super) fn recheck(&self, shown: &Shown, now: SystemTime) -> Result<(), Error> {
        let now = unix_time(now).ok_or(Error::FailedToGetCurrentTime)?;
        V::judge(self, shown, now)
    }
}

/// A fault that has no name in rustls; the peer is told `certificate_unknown`.
fn other(text: String) -> Error {
    CertificateError::Other(OtherError(Arc::new(std::io::Error::other(text)))).into()
}

/// rustls would tell the peer that its CA is unknown, which is another fault.
fn name_unknown_status(error: Error) -> Error {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownRevocationStatus) => {
            other("the revocation lists have none of its issuer".to_owned())
        }
        error => error,
    }
}

/// What a peer may show in all: kept as long as its connection lives, to be judged again.
const CHAIN_MAX: usize = 16 * 1024;

/// webpki checks an extended key usage only where there is one; a certificate without any would do for both roles.
fn require_usage(certificate: &Certificate, role: Role) -> Result<(), Error> {
    if certificate.usage.allows(role) {
        return Ok(());
    }
    let required = match role {
        Role::Client => ExtendedKeyPurpose::ClientAuth,
        Role::Server => ExtendedKeyPurpose::ServerAuth,
    };
    Err(CertificateError::InvalidPurposeContext { required, presented: Vec::new() }.into())
}

impl ClientCertVerifier for Judge<dyn ClientCertVerifier> {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A stranger learns nothing about our authorities; our clients have one certificate anyway.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let certificate = self.read(end_entity, intermediates)?;
        let verified = self.verifier.verify_client_cert(end_entity, intermediates, now);
        let verified = verified.map_err(name_unknown_status)?;
        require_usage(&certificate, Role::Client)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.verifier.verify_tls12_signature(message, cert, dss)?;
        self.admit()?;
        Ok(verified)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.verifier.verify_tls13_signature(message, cert, dss)?;
        self.admit()?;
        Ok(verified)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

impl ServerCertVerifier for Judge<WebPkiServerVerifier> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = self.read(end_entity, intermediates)?;
        let verified =
            self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let verified = verified.map_err(name_unknown_status)?;
        require_usage(&certificate, Role::Server)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

impl ResolvesServerCert for Judge<dyn ClientCertVerifier> {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.seen.lock().hello = true;
        Some(self.key.clone())
    }
}

impl<V: ?Sized> fmt::Debug for Judge<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").field("seen", &self.seen).finish_non_exhaustive()
    }
}
