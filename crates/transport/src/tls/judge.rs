//! The verifier of one handshake: webpki's verdict, our stricter view of the extended key usage, and a memory of
//! whom it judged, so that a refusal can say who was refused.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ExtendedKeyPurpose, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::cert::{Certificate, Role};

/// Judges the peer in one handshake and shows our own certificate to it.
pub(super) struct Judge<V: ?Sized> {
    verifier: Arc<V>,
    key: Arc<CertifiedKey>,
    seen: Mutex<Seen>,
}

/// What a handshake got to see of its peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// A whole ClientHello came (server side).
    pub(super) hello: bool,
    /// The peer's own certificate, if it could be read.
    pub(super) certificate: Option<Arc<Certificate>>,
}

impl<V: ?Sized> Judge<V> {
    pub(super) fn new(verifier: Arc<V>, key: Arc<CertifiedKey>) -> Self {
        Self { verifier, key, seen: Mutex::default() }
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }

    fn read(&self, end_entity: &CertificateDer<'_>) -> Result<Arc<Certificate>, Error> {
        let certificate = Certificate::from_der(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        let certificate = Arc::new(certificate);
        self.seen.lock().certificate = Some(certificate.clone());
        Ok(certificate)
    }
}

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
        let certificate = self.read(end_entity)?;
        let verified = self.verifier.verify_client_cert(end_entity, intermediates, now)?;
        require_usage(&certificate, Role::Client)?;
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

impl ServerCertVerifier for Judge<WebPkiServerVerifier> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = self.read(end_entity)?;
        let verified =
            self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
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
