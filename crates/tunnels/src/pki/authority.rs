//! A CA in memory, and what it signs.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, Error, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};

/// A CA whose key is at hand.
pub(super) struct Authority {
    certificate: String,
    key: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate is good for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Use {
    Client,
    Server,
}

/// A certificate and its key, both PEM.
pub(super) struct Issued {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Authority {
    /// Makes a CA. Its name ends with random digits, so that messages can tell two CAs of one operator apart.
    pub(super) fn new() -> Result<Self, Error> {
        let mut params = params(&format!("TunneLS CA {}", random_hex(4)), CA_DAYS);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, key: key.serialize_pem(), issuer: Issuer::new(params, key) })
    }

    /// PEM.
    pub(super) fn certificate(&self) -> String {
        self.certificate.clone()
    }

    /// PEM.
    pub(super) fn key(&self) -> String {
        self.key.clone()
    }

    /// Signs a certificate for those names and that use alone.
    pub(super) fn issue(&self, subject: &str, names: Vec<SanType>, purpose: Use) -> Result<Issued, Error> {
        let mut params = params(subject, LEAF_DAYS);
        params.subject_alt_names = names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match purpose {
            Use::Client => ExtendedKeyUsagePurpose::ClientAuth,
            Use::Server => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { certificate, key: key.serialize_pem() })
    }
}

/// A DNS name for a certificate.
pub(super) fn dns(name: &str) -> Result<SanType, Error> {
    Ok(SanType::DnsName(name.try_into()?))
}

/// Random bytes as lower-case hex digits.
pub(super) fn random_hex(bytes: usize) -> String {
    random(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

const DAY: Duration = Duration::from_hours(24);
const CA_DAYS: u32 = 3650;
const LEAF_DAYS: u32 = 730;
/// RFC 5280 wants at most 20 octets and a positive number; 16 random ones are never guessed.
const SERIAL_BYTES: usize = 16;
/// RFC 5280, ub-common-name.
const COMMON_NAME_MAX: usize = 64;

fn params(subject: &str, days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let cut = subject.floor_char_boundary(COMMON_NAME_MAX);
    params.distinguished_name.push(DnType::CommonName, subject.get(..cut).unwrap_or_default());
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * days).into();
    let mut serial = random(SERIAL_BYTES);
    if let Some(first) = serial.first_mut() {
        // Positive, and of full length.
        *first = *first & 0x7f | 0x40;
    }
    params.serial_number = Some(SerialNumber::from(serial));
    params
}

fn random(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| rand::random()).collect()
}
