//! The accepting end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls_pki_types::UnixTime;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

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

/// TLS of a server: shows its certificate, and demands and judges every client's.
///
/// No session is ever resumed and no early data taken: a resumed session would not be judged again.
#[derive(Debug)]
pub struct ServerTls(Arc<End<dyn ClientCertVerifier>>);

impl ServerTls {
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

    /// Reads the same files again. Handshakes that begin afterwards use them, and every live connection's peer is judged by
    /// them: see [`Standing::lost`](crate::Standing::lost).
    ///
    /// # Errors
    /// [`LoadError`] as at the start; then everything stays as it was.
    pub fn reload(&self) -> Result<(), LoadError> {
        self.0.reload()
    }

    /// Has every live connection's peer judged again: for when what stands behind
    /// [`TlsSettings::admission`] has changed.
    pub fn review(&self) {
        self.0.rounds.announce();
    }

    /// Our certificate in use now.
    pub fn certificate(&self) -> Arc<Certificate> {
        self.0.certificate()
    }

    /// The CAs that clients' certificates must chain to, in use now.
    pub fn authorities(&self) -> Vec<Certificate> {
        self.0.authorities()
    }

    /// The revocation lists in use now.
    pub fn revocation_lists(&self) -> Vec<RevocationList> {
        self.0.revocation_lists()
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
        let end = &self.0;
        let handshake = end.begin(peer);
        let config = config(end, &handshake)
            .map_err(|error| handshake.fail(Fault::Other { reason: error.to_string() }))?;
        let accept = TlsAcceptor::from(Arc::new(config))
            .accept_with(ReadAhead::new(io), |session| session.set_buffer_limit(Some(SEND_BUFFER)))
            .into_fallible();
        let deadline = end.settings.deadline;
        match tokio::time::timeout(deadline, accept).await {
            Err(_) => Err(handshake.fail(Fault::Deadline { after: deadline })),
            Ok(Ok(stream)) => handshake.succeed(stream.into(), None),
            Ok(Err((error, io))) => {
                let fault = handshake.fault(&error, io.last_read());
                if !matches!(fault, Fault::Closed { .. }) {
                    let _ = tokio::time::timeout(LINGER, linger(io.into_inner())).await;
                }
                Err(handshake.fail(fault))
            }
        }
    }
}

impl Verifier for dyn ClientCertVerifier {
    const ROLE: Role = Role::Server;

    fn build(material: &Material, provider: &Arc<CryptoProvider>) -> Result<Arc<Self>, VerifierBuilderError> {
        WebPkiClientVerifier::builder_with_provider(material.roots.clone(), provider.clone())
            .clear_root_hint_subjects()
            .with_crls(material.revocation.lists.iter().cloned())
            .build()
    }

    fn judge(judge: &Judge<Self>, shown: &Shown, now: UnixTime) -> Result<(), rustls::Error> {
        let (end_entity, intermediates) = shown.split()?;
        judge.verify_client_cert(end_entity, intermediates, now)?;
        judge.admit()
    }
}

fn config(
    end: &End<dyn ClientCertVerifier>,
    handshake: &Handshake<'_, dyn ClientCertVerifier>,
) -> Result<ServerConfig, rustls::Error> {
    let clock = Arc::new(end.settings.clock.clone());
    let mut config = ServerConfig::builder_with_details(end.provider.clone(), clock)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(handshake.judge.clone())
        .with_cert_resolver(handshake.judge.clone());
    config.alpn_protocols.clone_from(&end.settings.alpn);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
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
