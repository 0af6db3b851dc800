//! What both ends of TLS have in common: the files in use now, and a handshake that is judged by them.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::VerifierBuilderError;
use rustls_pki_types::{ServerName, UnixTime};
use tokio::sync::watch;

use super::TlsSettings;
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
use crate::cert::{Certificate, Role};

/// One end of TLS; `V` verifies what the other one shows.
#[derive(Debug)]
pub(super) struct End<V: ?Sized> {
    pub(super) settings: TlsSettings,
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) rounds: Rounds,
    current: ArcSwap<Loaded<V>>,
}

/// What the files held when they were last read.
#[derive(Debug)]
pub(super) struct Loaded<V: ?Sized> {
    pub(super) material: Material,
    verifier: Arc<V>,
}

/// In what the two ends differ.
pub(super) trait Verifier: fmt::Debug + Send + Sync + 'static {
    /// The end that verifies with it: ours.
    const ROLE: Role;

    /// A verifier that trusts the CAs and lists of `material`.
    fn build(material: &Material, provider: &Arc<CryptoProvider>) -> Result<Arc<Self>, VerifierBuilderError>;

    /// Judges what a peer showed as in a handshake at `now`.
    fn judge(judge: &Judge<Self>, shown: &Shown, now: UnixTime) -> Result<(), rustls::Error>;
}

impl<V: Verifier + ?Sized> End<V> {
    /// Reads and checks the files.
    pub(super) fn load(settings: TlsSettings) -> Result<Arc<Self>, LoadError> {
        let provider = provider(settings.post_quantum);
        let material = Material::load(&settings, V::ROLE, &provider)?;
        Self::new(settings, provider, material)
    }

    /// As [`Self::load`], but shows whatever certificate it is given: the tests' way past our own checks.
    #[cfg(test)]
    pub(super) fn load_unjudged(settings: TlsSettings) -> Result<Arc<Self>, LoadError> {
        let provider = provider(settings.post_quantum);
        let material = Material::load_unjudged(&settings, &provider)?;
        Self::new(settings, provider, material)
    }

    fn new(
        settings: TlsSettings,
        provider: Arc<CryptoProvider>,
        material: Material,
    ) -> Result<Arc<Self>, LoadError> {
        let current = ArcSwap::from_pointee(Loaded::new(material, &settings, &provider)?);
        let rounds = Rounds::new(settings.clock.clone(), settings.cut_expired);
        Ok(Arc::new(Self { settings, provider, rounds, current }))
    }

    /// Reads the files again; if they are no good, everything stays as it was.
    pub(super) fn reload(&self) -> Result<(), LoadError> {
        let material = Material::load(&self.settings, V::ROLE, &self.provider)?;
        self.current.store(Arc::new(Loaded::new(material, &self.settings, &self.provider)?));
        self.rounds.announce();
        Ok(())
    }

    pub(super) fn certificate(&self) -> Arc<Certificate> {
        self.current.load().material.own.clone()
    }

    pub(super) fn authorities(&self) -> Vec<Certificate> {
        self.current.load().material.trust.authorities.clone()
    }

    pub(super) fn revocation_lists(&self) -> Vec<RevocationList> {
        self.current.load().material.revocation.facts.clone()
    }

    /// A handshake that begins now, with the files of this moment; `peer` is for messages.
    pub(super) fn begin<'a>(self: &'a Arc<Self>, peer: &'a str) -> Handshake<'a, V> {
        // Before anything is judged: a change from here on is looked at again.
        let changed = self.rounds.subscribe();
        let loaded = self.current.load_full();
        let judge = Arc::new(self.judge(&loaded));
        let explainer = Explainer::new(V::ROLE, peer, loaded.material.own.clone());
        Handshake { end: self, peer, loaded, judge, explainer, changed }
    }

    fn judge(&self, loaded: &Loaded<V>) -> Judge<V> {
        Judge::new(loaded.verifier.clone(), loaded.material.key.clone())
            .with_admission(self.settings.admission.clone())
    }
}

impl<V: Verifier + ?Sized> Recheck for End<V> {
    fn recheck(&self, shown: &Shown, now: SystemTime) -> Result<(), Fault> {
        let loaded = self.current.load_full();
        let judge = self.judge(&loaded);
        let judged = judge.recheck(shown, now);
        judged.map_err(|error| classify_verdict(&error, &judge.seen(), &loaded.material.trust, now))
    }

    fn side(&self) -> Role {
        V::ROLE
    }

    fn rounds(&self) -> &Rounds {
        &self.rounds
    }
}

impl<V: Verifier + ?Sized> Loaded<V> {
    fn new(
        material: Material,
        settings: &TlsSettings,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, LoadError> {
        let verifier =
            V::build(&material, provider).map_err(|error| LoadError::of_verifier(settings, &error))?;
        Ok(Self { material, verifier })
    }
}

/// One handshake: what it began with, and what it gets to see.
pub(super) struct Handshake<'a, V: ?Sized> {
    end: &'a Arc<End<V>>,
    peer: &'a str,
    pub(super) loaded: Arc<Loaded<V>>,
    pub(super) judge: Arc<Judge<V>>,
    explainer: Explainer,
    changed: watch::Receiver<()>,
}

impl<V: Verifier + ?Sized> Handshake<'_, V> {
    /// The stream of a handshake that is done; `name` is what the peer's certificate had to bear.
    pub(super) fn succeed<S>(
        self,
        stream: tokio_rustls::TlsStream<ReadAhead<S>>,
        name: Option<ServerName<'static>>,
    ) -> Result<TlsStream<S>, HandshakeError> {
        let at = self.end.settings.clock.now();
        let shown =
            Shown::from_seen(self.judge.seen(), name, at).ok_or_else(|| self.fail(Fault::NoCertificate))?;
        let standing = Standing::new(self.end.clone(), shown, self.peer, self.changed);
        Ok(TlsStream::new(stream, standing, self.explainer))
    }

    /// What `error` means; `heard` is what the peer said last.
    pub(super) fn fault(&self, error: &io::Error, heard: &[u8]) -> Fault {
        let trust = &self.loaded.material.trust;
        classify(error, &self.judge.seen(), trust, &self.explainer, &self.end.settings, heard)
    }

    pub(super) fn fail(&self, fault: Fault) -> HandshakeError {
        HandshakeError::new(V::ROLE, self.peer, fault)
    }
}
