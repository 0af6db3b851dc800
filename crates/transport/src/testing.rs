//! Certificates for the tests: an authority, and leaves with one fault each.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};

use crate::tls::TlsFiles;

pub(crate) struct Ca {
    params: CertificateParams,
    key: KeyPair,
    certificate: rcgen::Certificate,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("key");
        let certificate = params.self_signed(&key).expect("certificate");
        Self { params, key, certificate }
    }

    pub(crate) fn der(&self) -> &[u8] {
        self.certificate.der()
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A revocation list, PEM, that was to be renewed in `next_year`.
    pub(crate) fn crl(&self, serials: &[u64], next_year: i32) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 1),
            next_update: date_time_ymd(next_year, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer = Issuer::from_params(&self.params, &self.key);
        list.signed_by(&issuer).expect("list").pem().expect("PEM")
    }

    pub(crate) fn issue(&self, leaf: &Leaf) -> Issued {
        let key = KeyPair::generate().expect("key");
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = leaf.params.signed_by(&key, &issuer).expect("certificate");
        Issued { certificate, key }
    }
}

pub(crate) struct Issued {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Issued {
    pub(crate) fn der(&self) -> &[u8] {
        self.certificate.der()
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub(crate) fn key_der(&self) -> Vec<u8> {
        self.key.serialize_der()
    }

    /// Writes `name.crt`, `name.key` and `name.ca.pem` (of `ca`, whom it trusts), with the modes they should have.
    pub(crate) fn write(&self, folder: &Path, name: &str, ca: &Ca) -> TlsFiles {
        let files = TlsFiles {
            ca: folder.join(format!("{name}.ca.pem")),
            certificate: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        };
        fs::write(&files.ca, ca.pem()).expect("write");
        fs::write(&files.certificate, self.pem()).expect("write");
        write_key(&files.key, &self.key_pem());
        files
    }
}

pub(crate) fn write_key(path: &PathBuf, pem: &str) {
    fs::write(path, pem).expect("write");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("mode");
}

pub(crate) struct Leaf {
    params: CertificateParams,
}

impl Leaf {
    pub(crate) fn server(name: &str) -> Self {
        Self::new(name, ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub(crate) fn client(name: &str) -> Self {
        Self::new(name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    pub(crate) fn uri(mut self, uri: &str) -> Self {
        self.params.subject_alt_names.push(SanType::URI(uri.try_into().expect("uri")));
        self
    }

    pub(crate) fn ip(mut self, ip: impl Into<IpAddr>) -> Self {
        self.params.subject_alt_names.push(SanType::IpAddress(ip.into()));
        self
    }

    pub(crate) fn without_names(mut self) -> Self {
        self.params.subject_alt_names.clear();
        self
    }

    pub(crate) fn without_usage(mut self) -> Self {
        self.params.extended_key_usages.clear();
        self
    }

    pub(crate) fn any_usage(mut self) -> Self {
        self.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
        self
    }

    pub(crate) fn serial(mut self, serial: u64) -> Self {
        self.params.serial_number = Some(SerialNumber::from(serial));
        self
    }

    pub(crate) fn until(mut self, end: SystemTime) -> Self {
        self.params.not_after = end.into();
        self
    }

    pub(crate) fn expired(mut self) -> Self {
        self.params.not_after = date_time_ymd(2021, 1, 1);
        self
    }

    pub(crate) fn not_yet_valid(mut self) -> Self {
        self.params.not_before = date_time_ymd(2999, 1, 1);
        self
    }

    fn new(name: &str, usage: ExtendedKeyUsagePurpose) -> Self {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(3000, 1, 1);
        Self { params }
    }
}
