//! Certificate revocation lists (RFC 5280 section 5) from a file.

use std::path::Path;
use std::time::SystemTime;

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::{PemObject, SectionKind};

use super::files::{LoadError, LoadFault, found, pem_reason, read, section_name};
use crate::cert::label;
use crate::date;

/// The facts of one list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RevocationList {
    /// Whose certificates it revokes: the common name of a CA.
    pub issuer: String,
    /// How many.
    pub revoked: usize,
    /// When the CA promised a newer one, if it did. A list past that goes on to count.
    pub next_update: Option<SystemTime>,
}

impl RevocationList {
    fn from_der(der: &[u8]) -> Result<Self, &'static str> {
        let (_, list) = x509_parser::parse_x509_crl(der).map_err(|_| "it is not well-formed")?;
        Ok(Self {
            issuer: label(list.issuer()),
            revoked: list.iter_revoked_certificates().count(),
            next_update: list.next_update().map(|time| date::from_unix(time.timestamp())),
        })
    }

    /// Should there be a newer one by now?
    pub fn is_stale(&self, now: SystemTime) -> bool {
        self.next_update.is_some_and(|end| end < now)
    }
}

/// What a file of lists holds, for rustls and for people.
#[derive(Debug, Default)]
pub(super) struct Revocation {
    pub(super) lists: Vec<CertificateRevocationListDer<'static>>,
    pub(super) facts: Vec<RevocationList>,
}

impl Revocation {
    /// Every list of a PEM file; at least one.
    pub(super) fn load(path: &Path) -> Result<Self, LoadError> {
        let fault = |fault| LoadError::new(path, fault);
        let (text, _) = read(path)?;
        let (mut all, mut others) = (Self::default(), Vec::new());
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&text) {
            match section.map_err(|error| fault(LoadFault::Pem { reason: pem_reason(&error) }))? {
                (SectionKind::Crl, der) => {
                    let facts = RevocationList::from_der(&der);
                    all.facts.push(
                        facts.map_err(|reason| fault(LoadFault::RevocationList { reason: reason.into() }))?,
                    );
                    all.lists.push(CertificateRevocationListDer::from(der));
                }
                (kind, _) => others.push(section_name(kind)),
            }
        }
        if all.lists.is_empty() {
            return Err(fault(LoadFault::NoBlock { wanted: "X509 CRL", found: found(&text, &others) }));
        }
        Ok(all)
    }
}
