//! Certificates: a CA with one server and one client below it, made in process, and explained.

use std::path::PathBuf;

use crate::config::Error;

/// Certificates that live as long as their folder does: for the demo and for tests.
#[derive(Debug)]
pub struct Throwaway {
    /// The CA of both.
    pub ca: PathBuf,
    /// The server's certificate.
    pub server_cert: PathBuf,
    /// The server's key.
    pub server_key: PathBuf,
    /// The client's certificate.
    pub client_cert: PathBuf,
    /// The client's key.
    pub client_key: PathBuf,
}

/// Makes certificates for a server on loopback in a new private folder, which is removed when the value is dropped.
///
/// # Errors
/// The temporary folder cannot be written.
pub fn throwaway() -> Result<Throwaway, Error> {
    Err(Error::new(70, "", "", "not made yet", ""))
}
