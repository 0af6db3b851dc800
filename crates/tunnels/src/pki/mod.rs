//! Certificates: a CA with one server and one client below it, made in process.
//!
//! ```text
//!            CA (10 years, ca.key)
//!            ├── server  serverAuth, SAN = the name or address clients dial   (2 years)
//!            └── client  clientAuth, SAN = its identity                       (2 years)
//! ```
//! Keys are P-256, serials random, and everything is valid since yesterday, for clocks that run late. The two
//! leaves have one use each: a server's certificate is no client's.

mod authority;
mod init;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::SanType;
use sla::code;

use crate::config::{CONFIG, Error};
use authority::{Authority, Use};
pub use init::{Made, init};

/// Certificates that live as long as their folder does: for the demo and for tests.
///
/// Dropping it removes the folder.
#[derive(Debug)]
pub struct Throwaway {
    /// The CA of both.
    pub ca: PathBuf,
    /// The server's certificate, for 127.0.0.1, ::1 and localhost.
    pub server_cert: PathBuf,
    /// The server's key.
    pub server_key: PathBuf,
    /// The client's certificate.
    pub client_cert: PathBuf,
    /// The client's key.
    pub client_key: PathBuf,
    folder: PathBuf,
}

/// Makes certificates for a server on loopback in a new private folder under the system's temporary one.
///
/// # Errors
/// The temporary folder cannot be written.
pub fn throwaway() -> Result<Throwaway, Error> {
    let folder = std::env::temp_dir().join(format!("tunnels-{}", authority::random_hex(8)));
    // Somebody else's folder of that name is an error: create() takes none that exists.
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .map_err(|error| failed(&folder, "create this folder", &error))?;
    let papers = Throwaway {
        ca: folder.join("ca.crt"),
        server_cert: folder.join("server.crt"),
        server_key: folder.join("server.key"),
        client_cert: folder.join("client.crt"),
        client_key: folder.join("client.key"),
        folder: folder.clone(),
    };
    let authority = Authority::new().map_err(rcgen_failed)?;
    let names = vec![
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        authority::dns("localhost").map_err(rcgen_failed)?,
    ];
    let server = authority.issue("localhost", names, Use::Server).map_err(rcgen_failed)?;
    let client_name = vec![authority::dns("demo").map_err(rcgen_failed)?];
    let client = authority.issue("demo", client_name, Use::Client).map_err(rcgen_failed)?;
    for (path, text) in [
        (&papers.ca, authority.certificate()),
        (&papers.server_cert, server.certificate),
        (&papers.server_key, server.key),
        (&papers.client_cert, client.certificate),
        (&papers.client_key, client.key),
    ] {
        init::create(path, &text, 0o600).map_err(|error| failed(path, "create this file", &error))?;
    }
    Ok(papers)
}

/// Explains every certificate of a PEM file: names, use, validity and days left, some lines each.
///
/// # Errors
/// The file can't be read or holds no readable certificate.
pub fn show(path: &Path) -> Result<String, Error> {
    let now = SystemTime::now();
    let certificates = transport::describe(path).map_err(|error| {
        let message = error.to_string();
        let message = code::split(&message).map_or(message.as_str(), |(_, rest)| rest);
        let (why, fix) = message.split_once(" → ").unwrap_or((message, ""));
        Error::new(CONFIG, "", "", why, fix).coded(error.code())
    })?;
    let texts = certificates
        .iter()
        .map(|certificate| format!("{certificate}\nleft      {}\n", certificate.left(now)));
    Ok(texts.collect::<Vec<_>>().join("\n"))
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        // Left behind it would hold nothing that anybody trusts any more.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Something could not be written: `action` says what.
fn failed(path: &Path, action: &str, error: &io::Error) -> Error {
    let cause = match error.kind() {
        io::ErrorKind::PermissionDenied => "this user may not write here".to_owned(),
        io::ErrorKind::NotADirectory => "a part of this path is a file".to_owned(),
        // The words for reading a file.
        io::ErrorKind::NotFound => "a folder of this path is not there".to_owned(),
        _ => crate::config::explain(error),
    };
    let fix = "choose a folder that this user may write";
    Error::new(FAILED, path.display(), "", format!("cannot {action}: {cause}"), fix).coded(code::PKI_WRITE)
}

fn rcgen_failed(error: rcgen::Error) -> Error {
    Error::new(INTERNAL, "", "", format!("the certificate can't be made: {error}"), "")
        .coded(code::PKI_FAILED)
}

/// Exit code of a tool that could not do its work.
const FAILED: u8 = 1;
/// Exit code of a fault of ours (sysexits `EX_SOFTWARE`).
const INTERNAL: u8 = 70;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Client, Server};

    #[test]
    fn failed_write_is_not_called_a_failed_read() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = failed(Path::new("/root/x"), "create this folder", &denied);
        assert_eq!(error.exit_code(), FAILED);
        assert_eq!(
            error.to_string(),
            "/root/x: cannot create this folder: this user may not write here → choose a folder that this user may write"
        );
    }

    #[test]
    fn certificate_out_of_its_period_is_shown_as_such() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("c.crt");
        let shown = |from: i32, to: i32| {
            let mut params = rcgen::CertificateParams::new(vec!["a".to_owned()]).expect("params");
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(to, 1, 1);
            let key = rcgen::KeyPair::generate().expect("key");
            std::fs::write(&path, params.self_signed(&key).expect("certificate").pem()).expect("write");
            show(&path).expect("shown")
        };
        assert!(shown(2020, 2021).contains("\nleft      none, it expired "));
        assert!(shown(2999, 3000).contains("\nleft      not valid yet, it begins in "));
        assert!(shown(2020, 3000).ends_with(" days\n"));
    }

    #[test]
    fn throwaway_papers_pass_every_check_and_vanish() {
        let papers = throwaway().expect("papers");
        let text = |path: &Path| path.display().to_string();
        let server = Server::from_pairs([
            ("server.addr", "127.0.0.1:0"),
            ("tls.client.ca", text(&papers.ca).as_str()),
            ("tls.server.cert", text(&papers.server_cert).as_str()),
            ("tls.server.key", text(&papers.server_key).as_str()),
        ]);
        let certificate = server.and_then(|server| server.check_files()).expect("server").expect("TLS");
        assert_eq!(certificate.name_list(), "127.0.0.1, ::1, localhost");
        let client = Client::from_pairs([
            ("server.addr", "127.0.0.1:1"),
            ("client.addr", "127.0.0.1:0"),
            ("tls.client.ca", text(&papers.ca).as_str()),
            ("tls.client.cert", text(&papers.client_cert).as_str()),
            ("tls.client.key", text(&papers.client_key).as_str()),
        ]);
        assert!(client.and_then(|client| client.check_files()).is_ok());
        let folder = papers.folder.clone();
        drop(papers);
        assert!(!folder.exists());
    }
}
