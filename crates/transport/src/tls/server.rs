//! The accepting end.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::ahead::ReadAhead;
use super::fault::{Explainer, Fault, HandshakeError, classify};
use super::files::{LoadError, LoadFault, Material};
use super::judge::Judge;
use super::provider::provider;
use super::stream::TlsStream;
use super::{SEND_BUFFER, TlsSettings};
use crate::cert::{Certificate, Role};

/// TLS of a server: shows its certificate, and demands and judges every client's.
///
/// No session is ever resumed and no early data taken: a resumed session would not be judged again.
#[derive(Debug)]
pub struct ServerTls {
    settings: TlsSettings,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    material: Material,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ServerTls {
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

    /// The CAs that clients' certificates must chain to, in use now.
    pub fn authorities(&self) -> Vec<Certificate> {
        self.current.load().material.trust.authorities.clone()
    }

    /// Shakes hands with a client; `peer` is its address, for messages. Ends within the settings' deadline, plus 1 s to
    /// let an alert reach a client that we refused.
    ///
    /// Cancel safety: dropping the future closes `io`.
    ///
    /// # Errors
    /// [`HandshakeError`] says which certificate was refused and why.
    pub async fn accept<S>(&self, io: S, peer: &str) -> Result<TlsStream<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let loaded = self.current.load_full();
        let judge = Arc::new(Judge::new(loaded.verifier.clone(), loaded.material.key.clone()));
        let fail = |fault| HandshakeError::new(Role::Server, peer, fault);
        let config = self.config(&judge).map_err(|error| fail(Fault::Other { reason: error.to_string() }))?;
        let explainer = Explainer::new(Role::Server, peer, loaded.material.own.clone());
        let accept = TlsAcceptor::from(Arc::new(config))
            .accept_with(ReadAhead::new(io), |session| session.set_buffer_limit(Some(SEND_BUFFER)))
            .into_fallible();
        match tokio::time::timeout(self.settings.deadline, accept).await {
            Err(_) => Err(fail(Fault::Deadline { after: self.settings.deadline })),
            Ok(Ok(stream)) => match judge.seen().certificate {
                Some(certificate) => Ok(TlsStream::new(stream.into(), certificate, explainer)),
                None => Err(fail(Fault::NoCertificate)),
            },
            Ok(Err((error, io))) => {
                let fault =
                    classify(&error, &judge.seen(), &loaded.material.trust, &explainer, &self.settings.alpn);
                if !matches!(fault, Fault::Closed { .. }) {
                    let _ = tokio::time::timeout(LINGER, linger(io.into_inner())).await;
                }
                Err(fail(fault))
            }
        }
    }

    fn config(&self, judge: &Arc<Judge<dyn ClientCertVerifier>>) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(judge.clone())
            .with_cert_resolver(judge.clone());
        config.alpn_protocols.clone_from(&self.settings.alpn);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(config)
    }
}

impl Loaded {
    fn load(settings: &TlsSettings, provider: &Arc<CryptoProvider>) -> Result<Self, LoadError> {
        Self::new(
            Material::load(&settings.files, Role::Server, provider, SystemTime::now())?,
            settings,
            provider,
        )
    }

    fn new(
        material: Material,
        settings: &TlsSettings,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, LoadError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(material.roots.clone(), provider.clone())
            .clear_root_hint_subjects()
            .build()
            .map_err(|error| LoadError {
                path: settings.files.ca.clone(),
                fault: LoadFault::Certificate { reason: error.to_string() },
            })?;
        Ok(Self { material, verifier })
    }
}

/// A TLS 1.3 client sends its first data before we have judged it. Closing a socket with data unread is a reset, and
/// a reset may overtake the alert: so say no more, and read until the client has gone.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut io: S) -> io::Result<()> {
    let mut sink = [0; 2048];
    let mut left = LINGER_BYTES;
    io.shutdown().await?;
    while left > 0 {
        match io.read(&mut sink).await? {
            0 => break,
            n => left = left.saturating_sub(n),
        }
    }
    Ok(())
}

/// How long a refused client may take to read its alert.
const LINGER: Duration = Duration::from_secs(1);

/// What is read from it meanwhile, at most.
const LINGER_BYTES: usize = 64 * 1024;
