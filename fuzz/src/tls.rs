//! TLS accept as our server does it, and hellos nobody sends.
//!
//! What lies behind the handshake's keys can't be reached by guessing: no input gets in, and each ends in one line.

use std::cell::LazyCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::{fs, os::unix::fs::PermissionsExt};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};
use transport::{ALPN_REMUX1, ALPN_REMUX2, ServerTls, TlsFiles, TlsSettings};

/// Judges one input: how long its pieces are, and what a prober sends.
pub fn run(input: &[u8]) {
    let Some((&size, input)) = input.split_first() else { return };
    SERVER.with(|server| {
        let mut prober = Prober { rest: input, size: usize::from(size).max(1), told: 0 };
        let mut outcome = None;
        let memory = allocation_counter::measure(|| {
            outcome = Some(server.runtime.block_on(server.tls.accept(&mut prober, "fuzz")));
        });
        let most = HELD + 8 * input.len();
        assert!(memory.bytes_max <= most as u64, "{memory:?} for {} bytes", input.len());
        let error = outcome.expect("an outcome").expect_err("somebody without a key was let in").to_string();
        assert!(error.starts_with("TLS-1") && error.contains('→'), "no remedy: {error}");
        assert!(error.len() < 1000 && !error.contains(char::is_control), "not one line: {error:?}");
        assert!(prober.told <= FLIGHT, "{} bytes for a stranger", prober.told);
    });
}

struct Server {
    runtime: Runtime,
    tls: ServerTls,
}

thread_local! {
    static SERVER: LazyCell<Server> = const { LazyCell::new(Server::new) };
}

impl Server {
    /// With certificates made for this process.
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("key");
        let ca = params.self_signed(&key).expect("certificate").pem();
        let issuer = Issuer::from_params(&params, &key);
        let mut leaf = CertificateParams::new(["a.example".to_owned()]).expect("name");
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let own = KeyPair::generate().expect("key");
        let certificate = leaf.signed_by(&own, &issuer).expect("certificate").pem();

        let folder = tempfile::tempdir().expect("folder");
        let [ca_at, certificate_at, key_at] = ["ca", "crt", "key"].map(|name| folder.path().join(name));
        for (path, text) in [(&ca_at, ca), (&certificate_at, certificate), (&key_at, own.serialize_pem())] {
            fs::write(path, text).expect("write");
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("mode");
        }
        let files = TlsFiles { ca: ca_at, certificate: certificate_at, key: key_at };
        let tls = ServerTls::load(TlsSettings::new(files, &[ALPN_REMUX2, ALPN_REMUX1])).expect("server");
        Self { runtime: Builder::new_current_thread().enable_time().build().expect("runtime"), tls }
    }
}

/// One who has all it will say at hand, hears nothing, and then is gone.
#[derive(Debug)]
struct Prober<'a> {
    rest: &'a [u8],
    size: usize,
    told: usize,
}

impl AsyncRead for Prober<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n = self.rest.len().min(self.size).min(buf.remaining());
        let (piece, rest) = self.rest.split_at(n);
        buf.put_slice(piece);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prober<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.told += bytes.len();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A server's whole answer to a hello: certificates and all.
const FLIGHT: usize = 8 << 10;
/// What a handshake may allocate at a time beside its input.
const HELD: usize = 128 << 10;
