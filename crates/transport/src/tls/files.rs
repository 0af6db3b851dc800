//! Certificates and keys from files, with every check that can be made before anything starts.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use nix::unistd::{Uid, User};
use rustls::crypto::CryptoProvider;
use rustls::server::VerifierBuilderError;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sla::code;

use super::TlsSettings;
use super::revocation::Revocation;
use crate::cert::{Certificate, Role, Validity};
use crate::date;

/// The three files one end needs, all PEM.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsFiles {
    /// The CA, or several, that the *peer's* certificate must chain to.
    pub ca: PathBuf,
    /// Our certificate first, then the intermediates up to, but without, its root.
    pub certificate: PathBuf,
    /// The key of the first certificate: PKCS#8, SEC1 or PKCS#1, not encrypted, mode 0600 or less.
    pub key: PathBuf,
}

/// What was read, checked, and is in use.
#[derive(Debug)]
pub(super) struct Material {
    pub(super) own: Arc<Certificate>,
    pub(super) key: Arc<CertifiedKey>,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) revocation: Revocation,
    pub(super) trust: Arc<Trust>,
}

/// The names behind the roots, for messages.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) file: PathBuf,
    pub(super) authorities: Vec<Certificate>,
    /// The file of revocation lists.
    pub(super) crl: Option<PathBuf>,
}

impl Material {
    /// Reads the files of the `role` we play and judges them by the clock of the settings.
    pub(super) fn load(
        settings: &TlsSettings,
        role: Role,
        provider: &CryptoProvider,
    ) -> Result<Self, LoadError> {
        let (path, now) = (&settings.files.certificate, settings.clock.now());
        Self::read(settings, provider, |chain| judge_own(path, chain, role, now))
    }

    /// Without judging our own certificate.
    #[cfg(test)]
    pub(super) fn load_unjudged(
        settings: &TlsSettings,
        provider: &CryptoProvider,
    ) -> Result<Self, LoadError> {
        Self::read(settings, provider, |chain| Ok(chain[0].1.clone()))
    }

    fn read(
        settings: &TlsSettings,
        provider: &CryptoProvider,
        judge_own: impl FnOnce(&[(CertificateDer<'static>, Certificate)]) -> Result<Certificate, LoadError>,
    ) -> Result<Self, LoadError> {
        let files = &settings.files;
        let (roots, authorities) = load_authorities(&files.ca)?;
        let revocation = settings.crl.as_deref().map(Revocation::load).transpose()?.unwrap_or_default();
        let chain = read_certificates(&files.certificate)?;
        let key = load_key(&files.key)?;
        let own = judge_own(&chain)?;
        let trust = Trust { file: files.ca.clone(), authorities, crl: settings.crl.clone() };
        let chain = chain.into_iter().map(|(der, _)| der).collect();
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                LoadError::new(&files.key, LoadFault::KeyMismatch { certificate: files.certificate.clone() })
            }
            error => LoadError::new(&files.key, LoadFault::Key { reason: error.to_string() }),
        })?;
        Ok(Self {
            own: Arc::new(own),
            key: Arc::new(key),
            roots: Arc::new(roots),
            revocation,
            trust: Arc::new(trust),
        })
    }
}

/// `1 CA: "TunneLS Root"`.
impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        let count = self.authorities.len();
        write!(f, "{count} CA{}:", if count == 1 { "" } else { "s" })?;
        for (index, authority) in self.authorities.iter().take(SHOWN).enumerate() {
            write!(f, "{} \"{}\"", if index == 0 { "" } else { "," }, authority.subject)?;
        }
        if count > SHOWN { f.write_str(", …") } else { Ok(()) }
    }
}

/// Every certificate of a PEM file with its facts; at least one.
pub(crate) fn read_certificates(
    path: &Path,
) -> Result<Vec<(CertificateDer<'static>, Certificate)>, LoadError> {
    let fault = |fault| LoadError::new(path, fault);
    let (text, _) = read(path)?;
    let (mut certificates, mut others) = (Vec::new(), Vec::new());
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&text) {
        match section.map_err(|error| fault(LoadFault::Pem { reason: pem_reason(&error) }))? {
            (SectionKind::Certificate, der) => {
                let facts =
                    Certificate::from_der(&der).map_err(|reason| fault(LoadFault::Certificate { reason }))?;
                certificates.push((CertificateDer::from(der), facts));
            }
            (kind, _) => others.push(section_name(kind)),
        }
    }
    if certificates.is_empty() {
        return Err(fault(LoadFault::NoBlock { wanted: "CERTIFICATE", found: found(&text, &others) }));
    }
    Ok(certificates)
}

fn load_authorities(path: &Path) -> Result<(RootCertStore, Vec<Certificate>), LoadError> {
    let mut roots = RootCertStore::empty();
    let mut authorities = Vec::new();
    for (der, facts) in read_certificates(path)? {
        if !facts.is_ca {
            return Err(LoadError::new(path, LoadFault::NotCa { certificate: facts.summary() }));
        }
        roots
            .add(der)
            .map_err(|error| LoadError::new(path, LoadFault::Certificate { reason: error.to_string() }))?;
        authorities.push(facts);
    }
    Ok((roots, authorities))
}

fn load_key(path: &Path) -> Result<PrivateKeyDer<'static>, LoadError> {
    let fault = |fault| LoadError::new(path, fault);
    let (text, mode) = read(path)?;
    if !is_closed(path, mode) {
        return Err(fault(LoadFault::KeyMode { mode }));
    }
    let mut others = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&text) {
        let (kind, der) = section.map_err(|error| fault(LoadFault::Pem { reason: pem_reason(&error) }))?;
        match PrivateKeyDer::from_pem(kind, der) {
            Some(key) => return Ok(key),
            None => others.push(section_name(kind)),
        }
    }
    if text.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED) {
        return Err(fault(LoadFault::KeyEncrypted));
    }
    Err(fault(LoadFault::NoBlock { wanted: "PRIVATE KEY", found: found(&text, &others) }))
}

/// The first certificate must be ours to use now; an intermediate that is out of date fails the chain as surely.
fn judge_own(
    path: &Path,
    chain: &[(CertificateDer<'static>, Certificate)],
    role: Role,
    now: SystemTime,
) -> Result<Certificate, LoadError> {
    let fault = |fault| LoadError::new(path, fault);
    let mut own = None;
    for (_, certificate) in chain {
        match certificate.validity(now) {
            Validity::Now => {}
            Validity::Expired => {
                return Err(fault(LoadFault::Expired {
                    subject: certificate.title(),
                    not_after: certificate.not_after,
                    now,
                }));
            }
            Validity::NotYet => {
                return Err(fault(LoadFault::NotYetValid {
                    subject: certificate.title(),
                    not_before: certificate.not_before,
                    now,
                }));
            }
        }
        own.get_or_insert(certificate);
    }
    let own =
        own.ok_or_else(|| fault(LoadFault::NoBlock { wanted: "CERTIFICATE", found: "nothing".to_owned() }))?;
    if !own.usage.allows(role) {
        return Err(fault(LoadFault::WrongUse { role, usage: own.usage.to_string() }));
    }
    // Clients look for the name they dial among these; the common name is no longer anybody's (RFC 9525).
    if role == Role::Server && !own.names_a_server() {
        return Err(fault(LoadFault::Nameless { subject: own.subject.clone() }));
    }
    Ok(own.clone())
}

/// Text and permission bits of the very file that was opened.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, u32), LoadError> {
    let fault = |error: &io::Error| LoadError::new(path, unreadable(error));
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| fault(&error))?;
    let mode = file.metadata().map_err(|error| fault(&error))?.mode() & 0o777;
    file.take(FILE_MAX + 1).read_to_end(&mut text).map_err(|error| fault(&error))?;
    if text.len() as u64 > FILE_MAX {
        return Err(LoadError::new(path, LoadFault::TooLong));
    }
    Ok((text, mode))
}

/// Whether a file with these permission bits is closed to other users of this machine.
///
/// A service manager's copy for one user (`LoadCredential=` of systemd) is closed by its folder, and has the mask of its
/// access list where others have the group's bits.
pub fn is_closed(path: &Path, mode: u32) -> bool {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    let by_manager = credentials.is_some_and(|folder| !folder.is_empty() && path.starts_with(folder));
    mode & if by_manager { 0o037 } else { 0o077 } == 0
}

/// A file that can't be used, and why. `Display` is one line: code, file, cause, what to do.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{} {}: {fault}", .fault.code(), .path.display())]
pub struct LoadError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: LoadFault,
}

impl LoadError {
    pub(super) fn new(path: &Path, fault: LoadFault) -> Self {
        Self { path: path.to_owned(), fault }
    }

    /// What rustls says of the roots and revocation lists together.
    pub(super) fn of_verifier(settings: &TlsSettings, error: &VerifierBuilderError) -> Self {
        let reason = error.to_string();
        match (error, &settings.crl) {
            (VerifierBuilderError::InvalidCrl(_), Some(crl)) => {
                Self::new(crl, LoadFault::RevocationList { reason })
            }
            _ => Self::new(&settings.files.ca, LoadFault::Certificate { reason }),
        }
    }

    /// The stable code of the message, as the manual lists it.
    pub fn code(&self) -> &'static str {
        self.fault.code()
    }
}

/// What can be wrong with a certificate, key or CA file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadFault {
    /// A CERTIFICATE block that does not hold one.
    #[error("holds a damaged certificate ({reason}) → make the file again")]
    Certificate {
        /// What the parser said.
        reason: String,
    },
    /// Our own certificate, or an intermediate beside it, is past its end.
    #[error("\"{subject}\" expired {} ago ({}); the clock here says {} → renew it and restart", date::span(date::unix(*.now) - date::unix(*.not_after)), date::utc(*.not_after), date::utc(*.now))]
    Expired {
        /// Whose.
        subject: String,
        /// Its end.
        not_after: SystemTime,
        /// Our clock.
        now: SystemTime,
    },
    /// A key block that does not hold a usable key.
    #[error(
        "holds a key that cannot be used ({reason}) → use an EC P-256, EC P-384, Ed25519 or RSA key of at least 2048 bits"
    )]
    Key {
        /// What the library said.
        reason: String,
    },
    /// The key needs a passphrase.
    #[error(
        "is encrypted with a passphrase, which a service cannot be asked for → decrypt it: openssl pkey -in KEY -out NEW, chmod 600 NEW"
    )]
    KeyEncrypted,
    /// The key is not the certificate's.
    #[error("is not the key of the certificate in {} → give the key that was made with it, and check that its own certificate comes first in that file", .certificate.display())]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// Others on this machine may read the key.
    #[error("has mode {mode:04o}; others on this machine can read the key → chmod 600 it; refusing to start")]
    KeyMode {
        /// Permission bits.
        mode: u32,
    },
    /// There is no such file.
    #[error(
        "no such file → check the path (a relative one starts at the working directory), or make certificates with tunnels init"
    )]
    Missing,
    /// Our own certificate as a server has no subject alternative name that a client could look for.
    #[error(
        "\"{subject}\" bears no DNS name and no address, so no client can accept it (its common name does not count) → reissue it with a subject alternative name: the host that clients dial"
    )]
    Nameless {
        /// Whose.
        subject: String,
    },
    /// PEM, but without the block that is needed.
    #[error("has no {wanted} block, it holds {found} → check that the files are not mixed up")]
    NoBlock {
        /// The block's label.
        wanted: &'static str,
        /// What is there instead.
        found: String,
    },
    /// A certificate among the authorities that is none.
    #[error(
        "holds {certificate}, which is not a CA → give the CA that signed the peer's certificate, not the certificate itself"
    )]
    NotCa {
        /// Which.
        certificate: String,
    },
    /// Our own certificate, or an intermediate beside it, is not valid yet.
    #[error("\"{subject}\" is not valid before {}; the clock here says {} → set the clock (NTP) if it is wrong, else wait or reissue", date::utc(*.not_before), date::utc(*.now))]
    NotYetValid {
        /// Whose.
        subject: String,
        /// Its beginning.
        not_before: SystemTime,
        /// Our clock.
        now: SystemTime,
    },
    /// Not PEM at all, or damaged.
    #[error("is damaged PEM ({reason}) → make the file again")]
    Pem {
        /// What the parser said.
        reason: String,
    },
    /// An X509 CRL block that does not hold a usable one.
    #[error("holds a revocation list that cannot be used ({reason}) → make it again: openssl ca -gencrl")]
    RevocationList {
        /// What the parser said.
        reason: String,
    },
    /// Larger than any such file has to be.
    #[error("is larger than {} KiB → check the path", FILE_MAX / 1024)]
    TooLong,
    /// It is there but can't be read.
    #[error("cannot be read: {reason} → check owner and mode of the file and its folders")]
    Unreadable {
        /// What the system said.
        reason: String,
    },
    /// The extended key usage lacks our role.
    #[error("is not for a {role}: extended key usage is {usage}, {} is needed → use the {role}'s certificate, or reissue it with that usage", .role.usage())]
    WrongUse {
        /// The role we play.
        role: Role,
        /// What the certificate says.
        usage: String,
    },
}

impl LoadFault {
    fn code(&self) -> &'static str {
        match self {
            LoadFault::Expired { .. } => code::TLS_OWN_EXPIRED,
            LoadFault::NotYetValid { .. } => code::TLS_NOT_YET,
            LoadFault::WrongUse { .. } => code::TLS_OWN_USE,
            LoadFault::KeyMismatch { .. } => code::TLS_KEY_MISMATCH,
            LoadFault::Certificate { .. } | LoadFault::NoBlock { .. } | LoadFault::Pem { .. } => {
                code::TLS_NO_PEM
            }
            LoadFault::Missing | LoadFault::TooLong | LoadFault::Unreadable { .. } => code::TLS_FILE,
            LoadFault::NotCa { .. } => code::TLS_NOT_CA,
            LoadFault::Key { .. } | LoadFault::KeyEncrypted => code::TLS_KEY,
            LoadFault::Nameless { .. } => code::TLS_NAMELESS,
            LoadFault::RevocationList { .. } => code::TLS_CRL,
            LoadFault::KeyMode { .. } => code::KEY_MODE,
        }
    }
}

/// A bundle of every public CA is about 220 KiB.
const FILE_MAX: u64 = 1024 * 1024;

const ENCRYPTED: &[u8] = b"ENCRYPTED";

fn unreadable(error: &io::Error) -> LoadFault {
    match error.kind() {
        io::ErrorKind::NotFound => LoadFault::Missing,
        // Often the one this process became after its start.
        io::ErrorKind::PermissionDenied => {
            let uid = Uid::effective();
            let user = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
            LoadFault::Unreadable { reason: format!("permission denied to the user {user}") }
        }
        _ => LoadFault::Unreadable { reason: error.to_string() },
    }
}

pub(super) fn found(text: &[u8], others: &[&str]) -> String {
    match (text.is_empty(), others) {
        (true, _) => "nothing: it is empty".to_owned(),
        (false, []) => "other text".to_owned(),
        (false, others) => others.join(", "),
    }
}

pub(super) fn section_name(kind: SectionKind) -> &'static str {
    match kind {
        SectionKind::Certificate => "CERTIFICATE",
        SectionKind::PublicKey => "PUBLIC KEY",
        SectionKind::RsaPrivateKey => "RSA PRIVATE KEY",
        SectionKind::PrivateKey => "PRIVATE KEY",
        SectionKind::EcPrivateKey => "EC PRIVATE KEY",
        SectionKind::Crl => "X509 CRL",
        SectionKind::Csr => "CERTIFICATE REQUEST",
        _ => "something else",
    }
}

pub(super) fn pem_reason(error: &rustls_pki_types::pem::Error) -> String {
    use rustls_pki_types::pem::Error;
    match error {
        Error::MissingSectionEnd { .. } => "a block has no end line".to_owned(),
        Error::IllegalSectionStart { .. } => "a BEGIN line is malformed".to_owned(),
        Error::Base64Decode(_) => "a block is not base64".to_owned(),
        _ => "unreadable".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;
    use crate::testing::{Ca, Leaf, write_key};
    use crate::tls::provider::provider;

    #[test]
    fn good_files_load() {
        let (_folder, files) = client_files(Leaf::client("laptop-7"));
        let material = load(&files, Role::Client).expect("good");
        assert_eq!(material.own.subject, "laptop-7");
        assert_eq!(material.trust.to_string(), "1 CA: \"Root\"");
    }

    #[test]
    fn each_missing_file_is_named() {
        for pick in
            [|f: &TlsFiles| f.ca.clone(), |f: &TlsFiles| f.certificate.clone(), |f: &TlsFiles| f.key.clone()]
        {
            let (_folder, files) = client_files(Leaf::client("c"));
            fs::remove_file(pick(&files)).expect("remove");
            let error = load(&files, Role::Client).expect_err("missing");
            assert_eq!((error.path, error.fault), (pick(&files), LoadFault::Missing));
        }
    }

    #[test]
    fn folder_in_place_of_a_file_is_unreadable() {
        let (folder, mut files) = client_files(Leaf::client("c"));
        files.ca = folder.path().to_owned();
        let error = load(&files, Role::Client).expect_err("folder");
        assert!(matches!(error.fault, LoadFault::Unreadable { .. }), "{error}");
    }

    #[test]
    fn files_mixed_up_are_told_by_what_they_hold() {
        let (_folder, files) = client_files(Leaf::client("c"));
        let swapped = TlsFiles { certificate: files.key.clone(), ..files.clone() };
        let error = load(&swapped, Role::Client).expect_err("key for certificate").to_string();
        assert!(error.contains("no CERTIFICATE block, it holds PRIVATE KEY"), "{error}");
        write_key(&files.key, &fs::read_to_string(&files.certificate).expect("read"));
        let error = load(&files, Role::Client).expect_err("certificate for key").to_string();
        assert!(error.contains("no PRIVATE KEY block, it holds CERTIFICATE"), "{error}");
    }

    #[test]
    fn damaged_pem_is_refused() {
        for (text, words) in [
            ("", "it is empty"),
            ("hello", "other text"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", "no end line"),
            ("-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", "not base64"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged certificate"),
        ] {
            let (_folder, files) = client_files(Leaf::client("c"));
            fs::write(&files.ca, text).expect("write");
            let error = load(&files, Role::Client).expect_err(text).to_string();
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }

    #[test]
    fn key_of_another_certificate_is_refused() {
        let (_folder, files) = client_files(Leaf::client("c"));
        write_key(&files.key, &Ca::new("Other").issue(&Leaf::client("c")).key_pem());
        let error = load(&files, Role::Client).expect_err("mismatch");
        assert_eq!(error.fault, LoadFault::KeyMismatch { certificate: files.certificate });
        assert_eq!(error.path, files.key);
    }

    #[test]
    fn encrypted_key_is_refused_with_the_command_that_decrypts_it() {
        let (_folder, files) = client_files(Leaf::client("c"));
        write_key(
            &files.key,
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        );
        let error = load(&files, Role::Client).expect_err("encrypted").to_string();
        assert!(error.contains("openssl pkey"), "{error}");
    }

    #[test]
    fn key_open_to_group_or_others_is_refused() {
        for mode in [0o640, 0o604, 0o644, 0o620] {
            let (_folder, files) = client_files(Leaf::client("c"));
            fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).expect("mode");
            let error = load(&files, Role::Client).expect_err("open");
            assert_eq!(error.fault, LoadFault::KeyMode { mode });
            assert!(error.to_string().starts_with("SEC-330"), "{error}");
        }
    }

    #[test]
    fn own_certificate_out_of_its_period_is_refused() {
        let (_folder, files) = client_files(Leaf::client("c").expired());
        let error = load(&files, Role::Client).expect_err("expired");
        assert_eq!(error.code(), "TLS-110");
        assert!(error.to_string().contains("(2021-01-01 00:00 UTC)"), "{error}");
        let (_folder, files) = client_files(Leaf::client("c").not_yet_valid());
        let error = load(&files, Role::Client).expect_err("not yet");
        assert_eq!(error.code(), "TLS-111");
        assert!(error.to_string().contains("not valid before 2999-01-01 00:00 UTC"), "{error}");
    }

    #[test]
    fn own_certificate_for_the_other_role_or_for_none_is_refused() {
        for leaf in [Leaf::server("c"), Leaf::client("c").without_usage(), Leaf::client("c").any_usage()] {
            let (_folder, files) = client_files(leaf);
            let error = load(&files, Role::Client).expect_err("use");
            assert_eq!(error.code(), "TLS-112");
            assert!(error.to_string().contains("clientAuth"), "{error}");
        }
    }

    #[test]
    fn servers_certificate_without_a_name_to_dial_is_refused_and_a_clients_is_not() {
        for leaf in [
            Leaf::server("tunnel.example.net").without_names(),
            Leaf::server("x").without_names().uri("spiffe://corp/tunnel"),
        ] {
            let folder = TempDir::new().expect("folder");
            let ca = Ca::new("Root");
            let files = ca.issue(&leaf).write(folder.path(), "server", &ca);
            let error = load(&files, Role::Server).expect_err("nameless");
            assert_eq!((error.code(), &error.path), ("TLS-118", &files.certificate));
            assert!(error.to_string().contains("no client can accept it"), "{error}");
        }
        let folder = TempDir::new().expect("folder");
        let ca = Ca::new("Root");
        let by_address = ca.issue(&Leaf::server("x").without_names().ip([192, 0, 2, 7]));
        assert!(load(&by_address.write(folder.path(), "server", &ca), Role::Server).is_ok());
        let (_folder, files) = client_files(Leaf::client("c").without_names());
        assert!(load(&files, Role::Client).is_ok(), "a client without names is known by its key");
    }

    #[test]
    fn leaf_in_place_of_a_ca_is_refused() {
        let (_folder, files) = client_files(Leaf::client("c"));
        fs::copy(&files.certificate, &files.ca).expect("copy");
        let error = load(&files, Role::Client).expect_err("leaf");
        assert_eq!(error.code(), "TLS-116");
    }

    fn client_files(leaf: Leaf) -> (TempDir, TlsFiles) {
        let folder = TempDir::new().expect("folder");
        let ca = Ca::new("Root");
        let files = ca.issue(&leaf).write(folder.path(), "client", &ca);
        (folder, files)
    }

    fn load(files: &TlsFiles, role: Role) -> Result<Material, LoadError> {
        Material::load(&TlsSettings::new(files.clone(), &[]), role, &provider(true))
    }
}
