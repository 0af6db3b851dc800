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

/// TLS of a server: shows its certificate, and demands and judges every client's.
///
/// No session is ever resumed and no early data taken: a resumed session would not be judged again.
#[derive(Debug)]
pub struct ServerTls(Arc<State>);

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
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ServerTls {
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

    /// Reads the same files again. Handshakes that begin afterwards use them, and every live connection's peer is judged by
    /// them: see [`Standing::lost`].
    ///
    /// # Errors
    /// [`LoadError`] as at the start; then everything stays as it was.
    pub fn reload(&self) -> Result<(), LoadError> {
        self.0.current.store(Arc::new(Loaded::load(&self.0.settings, &self.0.provider)?));
        self.review();
        Ok(())
    }

    /// Has every live connection's peer judged again: for when what stands behind
    /// [`TlsSettings::admission`] has changed.
    pub fn review(&self) {
        self.0.rounds.announce();
    }

    /// Our certificate in use now.
    pub fn certificate(&self) -> Arc<Certificate> {
        self.0.current.load().material.own.clone()
    }

    /// The CAs that clients' certificates must chain to, in use now.
    pub fn authorities(&self) -> Vec<Certificate> {
        self.0.current.load().material.trust.authorities.clone()
    }

    /// The revocation lists in use now.
    pub fn revocation_lists(&self) -> Vec<RevocationList> {
        self.0.current.load().material.revocation.facts.clone()
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
        let state = &self.0;
        // Before anything is judged: a change from here on is looked at again.
        let changed = state.rounds.subscribe();
        let loaded = state.current.load_full();
        let judge = Arc::new(state.judge(&loaded));
        let fail = |fault| HandshakeError::new(Role::Server, peer, fault);
        let config =
            state.config(&judge).map_err(|error| fail(Fault::Other { reason: error.to_string() }))?;
        let explainer = Explainer::new(Role::Server, peer, loaded.material.own.clone());
        let accept = TlsAcceptor::from(Arc::new(config))
            .accept_with(ReadAhead::new(io), |session| session.set_buffer_limit(Some(SEND_BUFFER)))
            .into_fallible();
        match tokio::time::timeout(state.settings.deadline, accept).await {
            Err(_) => Err(fail(Fault::Deadline { after: state.settings.deadline })),
            Ok(Ok(stream)) => {
                let at = state.settings.clock.now();
                let shown =
                    Shown::from_seen(judge.seen(), None, at).ok_or_else(|| fail(Fault::NoCertificate))?;
                let standing = Standing::new(state.clone(), shown, peer, changed);
                Ok(TlsStream::new(stream.into(), standing, explainer))
            }
            Ok(Err((error, io))) => {
                let fault = classify(
                    &error,
                    &judge.seen(),
                    &loaded.material.trust,
                    &explainer,
                    &state.settings,
                    io.last_read(),
                );
                if !matches!(fault, Fault::Closed { .. }) {
                    let _ = tokio::time::timeout(LINGER, linger(io.into_inner())).await;
                }
                Err(fail(fault))
            }
        }
    }
}

impl State {
    fn judge(&self, loaded: &Loaded) -> Judge<dyn ClientCertVerifier> {
        Judge::new(loaded.verifier.clone(), loaded.material.key.clone())
            .with_admission(self.settings.admission.clone())
    }

    fn config(&self, judge: &Arc<Judge<dyn ClientCertVerifier>>) -> Result<ServerConfig, rustls::Error> {
        let clock = Arc::new(self.settings.clock.clone());
        let mut config = ServerConfig::builder_with_details(self.provider.clone(), clock)
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

impl Recheck for State {
    fn recheck(&self, shown: &Shown, now: SystemTime) -> Result<(), Fault> {
        let loaded = self.current.load_full();
        let judge = self.judge(&loaded);
        let judged = judge.recheck(shown, now);
        judged.map_err(|error| classify_verdict(&error, &judge.seen(), &loaded.material.trust, now))
    }

    fn side(&self) -> Role {
        Role::Server
    }

    fn rounds(&self) -> &Rounds {
        &self.rounds
    }
}

impl Loaded {
    fn load(settings: &TlsSettings, provider: &Arc<CryptoProvider>) -> Result<Self, LoadError> {
        Self::new(Material::load(settings, Role::Server, provider)?, settings, provider)
    }

    fn new(
        material: Material,
        settings: &TlsSettings,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, LoadError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(material.roots.clone(), provider.clone())
            .clear_root_hint_subjects()
            .with_crls(material.revocation.lists.iter().cloned())
            .build()
            .map_err(|error| LoadError::of_verifier(settings, &error))?;
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
