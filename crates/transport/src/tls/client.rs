//! The connecting end.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use framing::Host;
use rustls::ClientConfig;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::ahead::ReadAhead;
use super::fault::{Explainer, Fault, HandshakeError, classify};
use super::files::{LoadError, LoadFault, Material};
use super::judge::Judge;
use super::provider::provider;
use super::stream::TlsStream;
use super::{SEND_BUFFER, TlsSettings};
use crate::cert::{Certificate, Role};

/// TLS of a client: judges the server's certificate and name, and shows its own certificate.
///
/// In TLS 1.3 a client is "connected" before the server has judged its certificate: a refusal arrives with the first
/// read, as an error that says so in full (see [`Explainer`]).
#[derive(Debug)]
pub struct ClientTls {
    settings: TlsSettings,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    material: Material,
    verifier: Arc<WebPkiServerVerifier>,
}

impl ClientTls {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// [`LoadError`] names the first file that can't be used, and what to do about it.
    pub fn load(settings: TlsSettings) -> Result<Self, LoadError> {
        let provider = provider(settings.post_quantum);
        let current = ArcSwap::from_pointee(Loaded::load(&settings, &provider)?);
        Ok(Self { settings, provider, current })
    }

    /// As [`Self::load`], but shows whatever certificate it is given: the tests' way past our own checks.
    #[cfg(test)]
    pub(crate) fn load_unjudged(settings: TlsSettings) -> Result<Self, LoadError> {
        let provider = provider(settings.post_quantum);
        let material = Material::load_unjudged(&settings.files, &provider)?;
        let current = ArcSwap::from_pointee(Loaded::new(material, &settings, &provider)?);
        Ok(Self { settings, provider, current })
    }

    /// Reads the same files again. Handshakes that begin afterwards use them; live streams are not touched.
    ///
    /// # Errors
    /// [`LoadError`] as at the start; then everything stays as it was.
    pub fn reload(&self) -> Result<(), LoadError> {
        self.current.store(Arc::new(Loaded::load(&self.settings, &self.provider)?));
        Ok(())
    }

    /// Our certificate in use now.
    pub fn certificate(&self) -> Arc<Certificate> {
        self.current.load().material.own.clone()
    }

    /// The CAs that the server's certificate must chain to, in use now.
    pub fn authorities(&self) -> Vec<Certificate> {
        self.current.load().material.trust.authorities.clone()
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
        let loaded = self.current.load_full();
        let judge = Arc::new(Judge::new(loaded.verifier.clone(), loaded.material.key.clone()));
        let fail = |fault| HandshakeError::new(Role::Client, peer, fault);
        let name = self.name(host).map_err(fail)?;
        let config =
            self.config(&loaded, &judge).map_err(|error| fail(Fault::Other { reason: error.to_string() }))?;
        let explainer = Explainer::new(Role::Client, peer, loaded.material.own.clone());
        let connect = TlsConnector::from(Arc::new(config))
            .connect_with(name, ReadAhead::new(io), |session| session.set_buffer_limit(Some(SEND_BUFFER)))
            .into_fallible();
        match tokio::time::timeout(self.settings.deadline, connect).await {
            Err(_) => Err(fail(Fault::Deadline { after: self.settings.deadline })),
            Ok(Ok(stream)) => match judge.seen().certificate {
                Some(certificate) => Ok(TlsStream::new(stream.into(), certificate, explainer)),
                None => Err(fail(Fault::NoCertificate)),
            },
            Ok(Err((error, mut io))) => {
                let fault =
                    classify(&error, &judge.seen(), &loaded.material.trust, &explainer, &self.settings.alpn);
                // Our alert is on its way; FIN after it, so that the server reads it in full.
                let _ = tokio::time::timeout(self.settings.deadline, io.shutdown()).await;
                Err(fail(fault))
            }
        }
    }

    fn name(&self, host: Option<&Host>) -> Result<ServerName<'static>, Fault> {
        let text = match (&self.settings.server_name, host) {
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
        &self,
        loaded: &Loaded,
        judge: &Arc<Judge<WebPkiServerVerifier>>,
    ) -> Result<ClientConfig, rustls::Error> {
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(judge.clone())
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(loaded.material.key.clone())));
        config.alpn_protocols.clone_from(&self.settings.alpn);
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        Ok(config)
    }
}

impl Loaded {
    fn load(settings: &TlsSettings, provider: &Arc<CryptoProvider>) -> Result<Self, LoadError> {
        Self::new(
            Material::load(&settings.files, Role::Client, provider, SystemTime::now())?,
            settings,
            provider,
        )
    }

    fn new(
        material: Material,
        settings: &TlsSettings,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, LoadError> {
        let verifier = WebPkiServerVerifier::builder_with_provider(material.roots.clone(), provider.clone())
            .build()
            .map_err(|error| LoadError {
                path: settings.files.ca.clone(),
                fault: LoadFault::Certificate { reason: error.to_string() },
            })?;
        Ok(Self { material, verifier })
    }
}
