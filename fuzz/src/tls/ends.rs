//! Our server and our client, with certificates made for this process.

use std::cell::LazyCell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use transport::{ALPN_REMUX1, ALPN_REMUX2, ClientTls, ServerTls, TlsFiles, TlsSettings};

pub(super) struct Ends {
    pub(super) runtime: Runtime,
    pub(super) server: ServerTls,
    /// A server with the same files that waits for nobody.
    pub(super) hasty: ServerTls,
    pub(super) client: ClientTls,
    /// The files, for reloads.
    _folder: TempDir,
}

thread_local! {
    pub(super) static ENDS: LazyCell<Ends> = const { LazyCell::new(Ends::new) };
}

/// What the server's certificate bears.
pub(super) const SERVER: &str = "a.example";
/// What the client's does.
pub(super) const CLIENT: &str = "laptop-7";

impl Ends {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Root");
        let key = KeyPair::generate().expect("key");
        let ca = params.self_signed(&key).expect("certificate").pem();
        let issuer = Issuer::from_params(&params, &key);
        let folder = tempfile::tempdir().expect("folder");
        let files = |name, usage| write(folder.path(), &ca, &issuer, name, usage);

        let alpn = [ALPN_REMUX2, ALPN_REMUX1];
        let settings = TlsSettings::new(files(SERVER, ExtendedKeyUsagePurpose::ServerAuth), &alpn);
        let server = ServerTls::load(settings.clone()).expect("server");
        let hasty = ServerTls::load(TlsSettings { deadline: Duration::ZERO, ..settings }).expect("server");
        let settings = TlsSettings::new(files(CLIENT, ExtendedKeyUsagePurpose::ClientAuth), &alpn[..1]);
        let client = ClientTls::load(settings).expect("client");
        let runtime = Builder::new_current_thread().enable_time().build().expect("runtime");
        Self { runtime, server, hasty, client, _folder: folder }
    }
}

fn write(
    folder: &Path,
    ca: &str,
    issuer: &Issuer<'_, &KeyPair>,
    name: &str,
    usage: ExtendedKeyUsagePurpose,
) -> TlsFiles {
    let mut leaf = CertificateParams::new([name.to_owned()]).expect("name");
    leaf.distinguished_name.push(DnType::CommonName, name);
    leaf.extended_key_usages = vec![usage];
    let own = KeyPair::generate().expect("key");
    let certificate = leaf.signed_by(&own, issuer).expect("certificate").pem();
    let [ca_at, certificate_at, key_at] =
        ["ca", "crt", "key"].map(|end| folder.join(format!("{name}.{end}")));
    for (path, text) in [(&ca_at, ca), (&certificate_at, &certificate), (&key_at, &own.serialize_pem())] {
        fs::write(path, text).expect("write");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("mode");
    }
    TlsFiles { ca: ca_at, certificate: certificate_at, key: key_at }
}
