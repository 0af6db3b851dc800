//! Certificates: one CA that the server trusts, its honest and its evil members, and those with one fault each.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// Writes `ca.crt`, `server.*`, and for each of [`CLIENTS`] a certificate and key. `name` is what clients dial.
pub(crate) fn write(folder: &Path, name: &str) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let (ca, other) = (Authority::new("the CA of the tests")?, Authority::new("a CA nobody trusts")?);
    put(folder, "ca.crt", &ca.pem)?;
    ca.issue(folder, "server", name, ExtendedKeyUsagePurpose::ServerAuth, 3000)?;
    for client in CLIENTS {
        let authority = if client == STRANGER { &other } else { &ca };
        let until = if client == EXPIRED { 2021 } else { 3000 };
        authority.issue(folder, client, client, ExtendedKeyUsagePurpose::ClientAuth, until)?;
    }
    Ok(())
}

struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Result<Self, String> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let pem = params.self_signed(&key).map_err(|error| error.to_string())?.pem();
        Ok(Self { params, key, pem })
    }

    fn issue(
        &self,
        folder: &Path,
        file: &str,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
        until: i32,
    ) -> Result<(), String> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(|error| error.to_string())?;
        params.distinguished_name.push(DnType::CommonName, file);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(|error| error.to_string())?;
        put(folder, &format!("{file}.crt"), &certificate.pem())?;
        put(folder, &format!("{file}.key"), &key.serialize_pem())
    }
}

fn put(folder: &Path, name: &str, text: &str) -> Result<(), String> {
    let path = folder.join(name);
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    fs::write(&path, text).map_err(told)?;
    let mode = if name.ends_with(".key") { 0o600 } else { 0o644 };
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(told)
}

/// The well-behaved client.
pub(crate) const GOOD: &str = "good";
/// The client with a valid certificate that means harm.
pub(crate) const EVIL: &str = "evil";
/// Valid once.
pub(crate) const EXPIRED: &str = "expired";
/// Of another CA.
pub(crate) const STRANGER: &str = "stranger";
const CLIENTS: [&str; 4] = [GOOD, EVIL, EXPIRED, STRANGER];
