//! Skeleton.
#![expect(missing_docs, clippy::todo, reason = "signatures first")]
use crate::tls::LoadError;
use std::path::Path;
use std::time::SystemTime;

#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Identity {
    Uri(String),
    Dns(String),
    Key([u8; 32]),
}
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Name {
    Uri(String),
    Dns(String),
    Ip(std::net::IpAddr),
    Other(String),
}
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    pub present: bool,
    pub server: bool,
    pub client: bool,
    pub other: Vec<String>,
}
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Validity {
    NotYet,
    Now,
    Expired,
}
#[derive(Clone, Debug)]
pub struct Certificate {
    pub subject: String,
    pub issuer: String,
    pub names: Vec<Name>,
    pub usage: Usage,
    pub is_ca: bool,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    pub serial: String,
    pub key: String,
    pub spki_sha256: [u8; 32],
}
impl Certificate {
    pub fn identity(&self) -> Identity {
        todo!()
    }
    pub fn days_left(&self, _now: SystemTime) -> i64 {
        todo!()
    }
    pub fn validity(&self, _now: SystemTime) -> Validity {
        todo!()
    }
}
pub fn describe(_path: &Path) -> Result<Vec<Certificate>, LoadError> {
    todo!()
}
pub fn expiry_warning(_not_after: SystemTime, _now: SystemTime, _last: Option<u32>) -> Option<u32> {
    todo!()
}
