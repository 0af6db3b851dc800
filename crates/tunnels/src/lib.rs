//! Skeleton.

pub mod config;
pub mod pki;
