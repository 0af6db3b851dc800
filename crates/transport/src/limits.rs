//! Skeleton.
#![expect(missing_docs, clippy::todo, reason = "signatures first")]
use std::net::IpAddr;
use std::time::Instant;
#[derive(Clone, Debug, Default)]
pub struct Limits {}
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Source(IpAddr);
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    Authenticated,
    BadCertificate,
    Deadline,
    Malformed,
    Abandoned,
    Gone,
}
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("x")]
    Full,
}
#[derive(Debug)]
pub struct Gate {}
impl Gate {
    pub fn new(_limits: Limits) -> Self {
        todo!()
    }
    pub fn admit(&mut self, _now: Instant, _source: Option<Source>, _dice: u32) -> Result<(), Refusal> {
        todo!()
    }
    pub fn handle_done(&mut self, _now: Instant, _source: Option<Source>, _outcome: Outcome) {
        todo!()
    }
}
