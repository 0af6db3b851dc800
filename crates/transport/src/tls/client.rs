//! The connecting end.

use std::sync::Arc;

use framing::Host;
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::VerifierBuilderError;
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::{ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::ahead::ReadAhead;
use super::end::{End, Handshake, Verifier};
use super::fault::{Fault, HandshakeError};
use super::files::{LoadError, Material};
use super::judge::Judge;
use super::revocation::RevocationList;
use super::standing::Shown;
use super::stream::TlsStream;
use super::{SEND_BUFFER, TlsSettings};
use crate::cert::{Certificate, Role};

/// TLS of a client: judges the server's certificate and name, and shows its own certificate.
///
/// In TLS 1.3 a client is "connected" before the server has judged its certificate: a refusal arrives with the first
/// read, as an error that says so in full (see [`Explainer`](crate::Explainer)).
#[derive(Debug)]
pub struct ClientTls(Arc<End<WebPkiServerVerifier>>);

impl ClientTls {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// [`LoadError`] names the first file that can't be used, and what to do about it.
    pub fn load(settings: TlsSettings) -> Result<Self, LoadError> {
        End::load(settings).map(Self)
    }

    #[cfg(test)]
    pub(crate) fn load_unjudged(settings: TlsSettings) -> Result<Self, LoadError> {
        End::load_unjudged(settings).map(Self)
    }

    /// Reads the same files again. Handshakes that begin afterwards use them, and the server of every live connection is
    /// judged by them: see [`Standing::lost`](crate::Standing::lost).
    ///
    /// # Errors
    /// [`LoadError`] as at the start; then everything stays as it was.
    pub fn reload(&self) -> Result<(), LoadError> {
        self.0.reload()
    }

    /// Our certificate in use now.
    pub fn certificate(&self) -> Arc<Certificate> {
        self.0.certificate()
    }

    /// The CAs that the server's certificate must chain to, in use now.
    pub fn authorities(&self) -> Vec<Certificate> {
        self.0.authorities()
    }

    /// The revocation lists in use now.
    pub fn revocation_lists(&self) -> Vec<RevocationList> {
        self.0.revocation_lists()
    }

    /// Shakes hands with a server. Its certificate must bear the settings' `server_name`, or else `host`; `peer` is its
    /// address, for messages. Ends within the settings' deadline.
    ///
    /// Cancel safety: dropping the future closes `io`.
    ///
    /// # Errors
    /// [`HandshakeError`] says what is wrong with the server's certificate, or why the server broke off.
    pub async fn connect<S>(
        &self,
        io: S,
        host: Option<&Host>,
        peer: &str,
    ) -> Result<TlsStream<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let end = &self.0;
        let handshake = end.begin(peer);
        let name = name(&end.settings, host).map_err(|fault| handshake.fail(fault))?;
        let config = config(end, &handshake)
            .map_err(|error| handshake.fail(Fault::Other { reason: error.to_string() }))?;
        let connect = TlsConnector::from(Arc::new(config))
            .connect_with(name.clone(), ReadAhead::new(io), |session| {
                session.set_buffer_limit(Some(SEND_BUFFER))
            })
            .into_fallible();
        let deadline = end.settings.deadline;
        match tokio::time::timeout(deadline, connect).await {
            Err(_) => Err(handshake.fail(Fault::Deadline { after: deadline })),
            Ok(Ok(stream)) => handshake.succeed(stream.into(), Some(name)),
            Ok(Err((error, mut io))) => {
                let fault = handshake.fault(&error, io.last_read());
                // Our alert is on its way; FIN after it, so that the server reads it in full.
                let _ = tokio::time::timeout(deadline, io.shutdown()).await;
                Err(handshake.fail(fault))
            }
        }
    }
}

impl Verifier for WebPkiServerVerifier {
    const ROLE: Role = Role::Client;

    fn build(material: &Material, provider: &Arc<CryptoProvider>) -> Result<Arc<Self>, VerifierBuilderError> {
        Self::builder_with_provider(material.roots.clone(), provider.clone())
            .with_crls(material.revocation.lists.iter().cloned())
            .build()
    }

    fn judge(judge: &Judge<Self>, shown: &Shown, now: UnixTime) -> Result<(), rustls::Error> {
        let (end_entity, intermediates) = shown.split()?;
        let name = shown.name.as_ref().ok_or(rustls::CertificateError::NotValidForName)?;
        judge.verify_server_cert(end_entity, intermediates, name, &[], now).map(drop)
    }
}

fn name(settings: &TlsSettings, host: Option<&Host>) -> Result<ServerName<'static>, Fault> {
    let text = match (&settings.server_name, host) {
        (Some(name), _) => name.clone(),
        (None, Some(Host::V4(ip))) => ip.to_string(),
        (None, Some(Host::V6(ip))) => ip.to_string(),
        // A final dot is for resolvers; no certificate has it.
        (None, Some(Host::Name(name))) => name.as_str().trim_end_matches('.').to_owned(),
        (None, None) => return Err(Fault::ServerName { name: None }),
    };
    ServerName::try_from(text.clone()).map_err(|_| Fault::ServerName { name: Some(text) })
}

fn config(
    end: &End<WebPkiServerVerifier>,
    handshake: &Handshake<'_, WebPkiServerVerifier>,
) -> Result<ClientConfig, rustls::Error> {
    let clock = Arc::new(end.settings.clock.clone());
    let key = handshake.loaded.material.key.clone();
    let mut config = ClientConfig::builder_with_details(end.provider.clone(), clock)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(handshake.judge.clone())
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols.clone_from(&end.settings.alpn);
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}
