//! Who may use a server, and for what.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use routing::Grant;
use transport::Certificate;

use super::setting::nearest;

/// Everybody a server lets in, with what each may do, and everybody it has shut out.
///
/// An identity is what the client's certificate proves: its SAN URI, else its first SAN DNS name in lower case, else
/// `sha256:` and the digits of its key. The default lets everybody in who has a certificate of the server's CA.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identities {
    /// By identity.
    pub listed: BTreeMap<String, Rights>,
    /// Everybody else; `None` = they are refused.
    pub others: Option<Rights>,
    /// Refused in any case, whatever the other two say.
    pub revoked: BTreeSet<Revoked>,
    /// Where it was read, for messages.
    pub file: Option<PathBuf>,
}

impl Default for Identities {
    fn default() -> Self {
        let (listed, revoked) = (BTreeMap::new(), BTreeSet::new());
        Self { listed, others: Some(Rights::default()), revoked, file: None }
    }
}

/// What one identity may do beside, or less than, what the server's own settings say.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rights {
    /// Destinations open for it, beside the public Internet and `server.allow`.
    pub allow: Vec<Grant>,
    /// Destinations closed for it, beside `server.deny`.
    pub deny: Vec<Grant>,
    /// All the destinations it may reach.
    pub only: Option<Vec<Grant>>,
    /// Connections at once, instead of `server.conn.identity.percent`.
    pub connections: Option<usize>,
    /// Dials in progress, instead of `server.dial.identity.max.cnt`.
    pub dials: Option<usize>,
    /// Streams at once, instead of `server.stream.identity.max.cnt`.
    pub streams: Option<usize>,
}

/// One entry of those who are shut out.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Revoked {
    /// Whoever proves this identity.
    Identity(String),
    /// SHA-256 of a certificate, or of its key (subject public key info): then of every certificate with that key.
    Sha256([u8; 32]),
    /// Serial number in lower-case hexadecimal without leading zeros, of any CA.
    Serial(String),
}

impl Identities {
    /// What this identity may do; `None` = it is not let in.
    pub fn rights(&self, identity: &str) -> Option<&Rights> {
        self.listed.get(identity).or(self.others.as_ref())
    }

    /// The entry that shuts this certificate out.
    pub fn revocation(&self, certificate: &Certificate) -> Option<&Revoked> {
        if self.revoked.is_empty() {
            return None;
        }
        let names = [
            Revoked::Identity(certificate.identity().to_string()),
            Revoked::Sha256(certificate.sha256),
            Revoked::Sha256(certificate.spki_sha256),
            Revoked::Serial(plain_serial(&certificate.serial)),
        ];
        names.iter().find_map(|name| self.revoked.get(name))
    }

    /// The name on the list that was meant by `identity`, if one is much like it.
    pub(crate) fn nearest(&self, identity: &str) -> Option<&str> {
        nearest(identity, self.listed.keys().map(String::as_str))
    }
}

/// As in the file.
impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(name) => f.write_str(name),
            Self::Sha256(digest) => {
                f.write_str("sha256:")?;
                digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Serial(digits) => write!(f, "serial:{digits}"),
        }
    }
}

/// Tools write serials with and without colons, zeros in front, and capitals.
pub(super) fn plain_serial(text: &str) -> String {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    digits.trim_start_matches('0').to_ascii_lowercase()
}
