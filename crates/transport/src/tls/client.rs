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
use super::alert::Explainer;
use super::classify::{classify, classify_verdict};
use super::fault::{Fault, HandshakeError};
use super::files::{LoadError, Material};
use super::judge::Judge;
use super::provider::provider;
use super::revocation::RevocationList;
use super::standing::{Recheck, Rounds, Shown, Standing};
use super::stream::TlsStream;
use super::{SEND_BUFFER, TlsSettings};
use crate::cert::{Certificate, Role};

/// TLS of a client: judges the server's certificate and name, and shows its own certificate.
///
/// In TLS 1.3 a client is "connected" before the server has judged its certificate: a refusal arrives with the first
/// read, as an error that says so in full (see [`Explainer`]).
#[derive(Debug)]
pub struct ClientTls(Arc<State>);

#[derive(Debug)]
struct State {
    settings: TlsSettings,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<Loaded>,
    rounds: Rounds,
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
        let loaded = Loaded::load(&settings, &provider)?;
        Ok(Self::new(settings, provider, loaded))
    }

    /// As [`Self::load`], but shows whatever certificate it is given: the tests' way past our own checks.
    #[cfg(test)]
    pub(crate) fn load_unjudged(settings: TlsSettings) -> Result<Self, LoadError> {
        let provider = provider(settings.post_quantum);
        let material = Material::load_unjudged(&settings, &provider)?;
        let loaded = Loaded::new(material, &settings, &provider)?;
        Ok(Self::new(settings, provider, loaded))
    }

    fn new(settings: TlsSettings, provider: Arc<CryptoProvider>, loaded: Loaded) -> Self {
        let rounds = Rounds::new(settings.clock.clone(), settings.cut_expired);
        Self(Arc::new(State { settings, provider, current: ArcSwap::from_pointee(loaded), rounds }))
    }

    /// Reads the same files again. Handshakes that begin afterwards use them, and the server of every live connection is
    /// judged by them: see [`Standing::lost`].
    ///
    /// # Errors
    /// [`LoadError`] as at the start; then everything stays as it was.
    pub fn reload(&self) -> Result<(), LoadError> {
        self.0.current.store(Arc::new(Loaded::load(&self.0.settings, &self.0.provider)?));
        self.0.rounds.announce();
        Ok(())
    }

    /// Our certificate in use now.
    pub fn certificate(&self) -> Arc<Certificate> {
        self.0.current.load().material.own.clone()
    }

    /// The CAs that the server's certificate must chain to, in use now.
    pub fn authorities(&self) -> Vec<Certificate> {
        self.0.current.load().material.trust.authorities.clone()
    }

    /// The revocation lists in use now.
    pub fn revocation_lists(&self) -> Vec<RevocationList> {
        self.0.current.load().material.revocation.facts.clone()
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
        let state = &self.0;
        // Before anything is judged: a change from here on is looked at again.
        let changed = state.rounds.subscribe();
        let loaded = state.current.load_full();
        let judge = Arc::new(Judge::new(loaded.verifier.clone(), loaded.material.key.clone()));
        let fail = |fault| HandshakeError::new(Role::Client, peer, fault);
        let name = state.name(host).map_err(fail)?;
        let config = state
            .config(&loaded, &judge)
            .map_err(|error| fail(Fault::Other { reason: error.to_string() }))?;
        let explainer = Explainer::new(Role::Client, peer, loaded.material.own.clone());
        let connect = TlsConnector::from(Arc::new(config))
            .connect_with(name.clone(), ReadAhead::new(io), |session| {
                session.set_buffer_limit(Some(SEND_BUFFER))
            })
            .into_fallible();
        match tokio::time::timeout(state.settings.deadline, connect).await {
            Err(_) => Err(fail(Fault::Deadline { after: state.settings.deadline })),
            Ok(Ok(stream)) => {
                let at = state.settings.clock.now();
                let shown = Shown::from_seen(judge.seen(), Some(name), at)
                    .ok_or_else(|| fail(Fault::NoCertificate))?;
                let standing = Standing::new(state.clone(), shown, peer, changed);
                Ok(TlsStream::new(stream.into(), standing, explainer))
            }
            Ok(Err((error, mut io))) => {
                let fault = classify(
                    &error,
                    &judge.seen(),
                    &loaded.material.trust,
                    &explainer,
                    &state.settings,
                    io.last_read(),
                );
                // Our alert is on its way; FIN after it, so that the server reads it in full.
                let _ = tokio::time::timeout(state.settings.deadline, io.shutdown()).await;
                Err(fail(fault))
            }
        }
    }
}

impl State {
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
        let clock = Arc::new(self.settings.clock.clone());
        let mut config = ClientConfig::builder_with_details(self.provider.clone(), clock)
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

impl Recheck for State {
    fn recheck(&self, shown: &Shown, now: SystemTime) -> Result<(), Fault> {
        let loaded = self.current.load_full();
        let judge = Judge::new(loaded.verifier.clone(), loaded.material.key.clone());
        let judged = judge.recheck(shown, now);
        judged.map_err(|error| classify_verdict(&error, &judge.seen(), &loaded.material.trust, now))
    }

    fn side(&self) -> Role {
        Role::Client
    }

    fn rounds(&self) -> &Rounds {
        &self.rounds
    }
}

impl Loaded {
    fn load(settings: &TlsSettings, provider: &Arc<CryptoProvider>) -> Result<Self, LoadError> {
        Self::new(Material::load(settings, Role::Client, provider)?, settings, provider)
    }

    fn new(
        material: Material,
        settings: &TlsSettings,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, LoadError> {
        let verifier = WebPkiServerVerifier::builder_with_provider(material.roots.clone(), provider.clone())
            .with_crls(material.revocation.lists.iter().cloned())
            .build()
            .map_err(|error| LoadError::of_verifier(settings, &error))?;
        Ok(Self { material, verifier })
    }
}
