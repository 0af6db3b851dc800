//! `tunnels init`: certificates and commented configuration files for a new pair.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use framing::Host;
use rcgen::SanType;
use sla::code;
use transport::{Address, Net};

use super::authority::{self, Authority, Use};
use super::{FAILED, failed, rcgen_failed};
use crate::config::{Error, USAGE};

/// What [`init`] wrote.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Made {
    /// Where.
    pub folder: PathBuf,
    /// The files, by name.
    pub files: Vec<&'static str>,
}

/// Makes a CA, a server and a client certificate and the two configuration files in `folder`, which is created if
/// it is not there. `server` is `NAME:PORT`, as clients will dial it.
///
/// Keys and configuration files are for their owner alone. Nothing is granted and no user is listed. Nothing that
/// exists is changed: if one of the names is taken, or a write fails, none of the files is left.
///
/// # Errors
/// `server` is no address to dial ([`USAGE`]); a file exists, or the folder can't be written.
pub fn init(folder: &Path, server: &str) -> Result<Made, Error> {
    let refused = |message: &str| {
        let (why, fix) = message.split_once(" → ").unwrap_or((message, ""));
        Error::new(USAGE, "--server", "", format!("{}: {why}", crate::config::quote(server)), fix)
    };
    let address = Address::to_dial(Net::Tcp, server).map_err(|error| refused(&error.to_string()))?;
    let Address::Host(target) = &address else {
        return Err(refused("this is no host → write NAME:PORT"));
    };
    if let Some(message) = crate::config::bad_host(&target.host) {
        return Err(refused(message));
    }
    if let Some(name) = NAMES.iter().find(|name| fs::symlink_metadata(folder.join(name)).is_ok()) {
        let path = folder.join(name);
        let why = "this file exists, and init never overwrites";
        let error = Error::new(FAILED, path.display(), "", why, "choose another folder");
        return Err(error.coded(code::PKI_EXISTS));
    }
    let texts = texts(target)?;
    create_folder(folder).map_err(|error| failed(folder, "create this folder", &error))?;
    for (done, (name, text)) in NAMES.iter().zip(&texts).enumerate() {
        let path = folder.join(name);
        let mode = if name.ends_with(".crt") { 0o644 } else { 0o600 };
        if let Err(error) = create(&path, text, mode) {
            for name in NAMES.iter().take(done) {
                // What can't be removed either is at least named by the error below.
                let _ = fs::remove_file(folder.join(name));
            }
            return Err(failed(&path, "create this file", &error));
        }
    }
    Ok(Made { folder: folder.to_owned(), files: NAMES.to_vec() })
}

/// Writes a new file; one that exists, or a link, is an error.
pub(super) fn create(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a key is worse than none.
        let _ = fs::remove_file(path);
    }
    written
}

const NAMES: [&str; 8] = [
    "ca.crt",
    "ca.key",
    "server.crt",
    "server.key",
    "client.crt",
    "client.key",
    "server.yaml",
    "client.yaml",
];

fn texts(target: &framing::Target) -> Result<[String; 8], Error> {
    let authority = Authority::new().map_err(rcgen_failed)?;
    let (subject, name) = match &target.host {
        Host::V4(ip) => (ip.to_string(), SanType::IpAddress(IpAddr::V4(*ip))),
        Host::V6(ip) => (ip.to_string(), SanType::IpAddress(IpAddr::V6(*ip))),
        Host::Name(name) => {
            let name = name.as_str().trim_end_matches('.').to_owned();
            let san = authority::dns(&name).map_err(rcgen_failed)?;
            (name, san)
        }
    };
    let server = authority.issue(&subject, vec![name], Use::Server).map_err(rcgen_failed)?;
    let identity = authority::dns("client").map_err(rcgen_failed)?;
    let client = authority.issue("client", vec![identity], Use::Client).map_err(rcgen_failed)?;
    let listen = match &target.host {
        Host::V4(ip) if ip.is_loopback() => target.to_string(),
        Host::V6(ip) if ip.is_loopback() => target.to_string(),
        _ => format!(":{}", target.port),
    };
    Ok([
        authority.certificate(),
        authority.key(),
        server.certificate,
        server.key,
        client.certificate,
        client.key,
        SERVER_YAML.replace("LISTEN", &listen),
        CLIENT_YAML.replace("SERVER", &target.to_string()),
    ])
}

fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    fs::DirBuilder::new().mode(0o700).create(folder)
}

const SERVER_YAML: &str = "\
# The server. tunnels-server --help and docs/configuration.md have every setting; what is commented out is its
# default, or an example. tunnels check FILE says whether all is well.

server:
  # Where clients connect. A port alone is every address of this machine.
  addr: \"LISTEN\"
  # The public Internet is open, and nothing else: private networks, loopback and this server's own addresses are
  # closed. This opens more, by network and ports; deny closes, and wins.
  # allow: [\"10.2.0.0/16:443\", \"192.168.7.1\"]
  # deny: [\"198.51.100.0/24:25\"]

tls:
  server:
    cert: server.crt
    key: server.key
  client:
    # Whoever shows a certificate of this CA may use the server. Keep ca.key somewhere else, and safe.
    ca: ca.crt

# remux:
#   idle.server.sec: 60     # close a connection without streams after this
#   conn.max.cnt: 1024      # connections at once

# sla:
#   log:
#     level: info           # debug shows sessions
#     path: tunnels.log     # relative to this file; \"-\" is standard error
#     format: text          # json has one access line per stream
#   dingtalk:
#     token: \"file:dingtalk.token\"
#     secret: \"file:dingtalk.secret\"
";

const CLIENT_YAML: &str = "\
# The client. tunnels-client --help and docs/configuration.md have every setting; what is commented out is its
# default, or an example. tunnels check FILE says whether all is well.
# The client's machine needs this file, ca.crt, client.crt and client.key, and nothing else.

server:
  # Where the server is found; of several the first that answers is used.
  addr: \"SERVER\"

client:
  # Where applications connect: SOCKS4, SOCKS4a, SOCKS5 and HTTP CONNECT.
  addr: \"127.0.0.1:1080\"
  # A port that other machines reach needs users, one NAME:PASSWORD a line:
  # users.file: users.txt

tls:
  server:
    ca: ca.crt
  client:
    cert: client.crt
    key: client.key

# eagersocks:
#   reply: eager            # strict waits for the real result of each dial

# remux:
#   reuse.max.sec: 60       # a connection older than this takes no new stream
#   reuse.max.cnt: 16       # nor one that has carried this many
#   idle.max.sec: 10        # one without streams is closed after this

# sla:
#   log:
#     level: info           # debug shows sessions
#     path: tunnels.log     # relative to this file; \"-\" is standard error
#     format: text          # json has one access line per stream
";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::{Role, Source};
    use transport::{Certificate, describe};

    fn made(server: &str) -> (tempfile::TempDir, PathBuf) {
        let parent = tempfile::tempdir().expect("folder");
        let folder = parent.path().join("a/b");
        init(&folder, server).expect("init");
        (parent, folder)
    }

    fn certificate(path: PathBuf) -> Certificate {
        let mut all = describe(&path).expect("certificate");
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    #[test]
    fn pair_passes_every_check_as_it_is() {
        let (_parent, folder) = made("tunnel.example.net:443");
        let source = Source::from_file(Role::Server, &folder.join("server.yaml")).expect("file");
        let server = source.server().expect("server");
        assert!(server.allow.is_empty() && server.deny.is_empty());
        assert!(server.check_files().expect("files").is_some());
        assert_eq!(server.listen.addresses[0].to_string(), "[::]:443");
        let source = Source::from_file(Role::Client, &folder.join("client.yaml")).expect("file");
        let client = source.client().expect("client");
        assert!(client.users.is_empty());
        assert!(client.check_files().expect("files").is_some());
        assert_eq!(client.server.addresses[0].to_string(), "tunnel.example.net:443");
    }

    #[test]
    fn modes_are_closed_where_it_matters() {
        let (_parent, folder) = made("h:1");
        let mode = |path: &Path| fs::metadata(path).expect("file").permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        for name in NAMES {
            let bits = mode(&folder.join(name));
            let expected = if name.ends_with(".crt") { 0o600..=0o644 } else { 0o600..=0o600 };
            assert!(expected.contains(&bits), "{name}: {bits:o}");
        }
        assert_eq!(fs::read_dir(&folder).expect("folder").count(), NAMES.len());
    }

    #[test]
    fn leaves_have_one_use_and_the_name_clients_dial() {
        let (_parent, folder) = made("[2001:db8::7]:443");
        let ca = certificate(folder.join("ca.crt"));
        let server = certificate(folder.join("server.crt"));
        let client = certificate(folder.join("client.crt"));
        assert!(ca.is_ca && !server.is_ca && !client.is_ca);
        assert_eq!(server.names, [transport::Name::Ip("2001:db8::7".parse().expect("address"))]);
        assert!(server.usage.server && !server.usage.client);
        assert!(client.usage.client && !client.usage.server);
        assert_eq!(client.identity().to_string(), "client");
        let serials = [&ca.serial, &server.serial, &client.serial];
        assert!(serials.iter().all(|serial| serial.len() >= 32), "{serials:?}");
        assert!(serials[0] != serials[1] && serials[1] != serials[2]);
        let now = std::time::SystemTime::now();
        assert!((3640..=3650).contains(&ca.days_left(now)));
        assert!((720..=730).contains(&server.days_left(now)));
        assert!(now.duration_since(client.not_before).is_ok_and(|age| age.as_secs() >= 86_000));
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_half_done_is_left() {
        let parent = tempfile::tempdir().expect("folder");
        let folder = parent.path();
        fs::write(folder.join("other"), "mine").expect("write");
        std::os::unix::fs::symlink("/nowhere", folder.join("client.yaml")).expect("link");
        let error = init(folder, "h:1").expect_err("taken").to_string();
        assert!(
            error.ends_with(
                "client.yaml: this file exists, and init never overwrites → choose another folder"
            ),
            "{error}"
        );
        assert_eq!(fs::read_dir(folder).expect("folder").count(), 2);
        fs::remove_file(folder.join("client.yaml")).expect("remove");
        assert!(init(folder, "h:1").is_ok(), "a folder with other files is fine");
        let before = fs::read(folder.join("ca.key")).expect("key");
        assert!(init(folder, "h:1").is_err());
        assert_eq!(fs::read(folder.join("ca.key")).expect("key"), before);
    }

    #[test]
    fn folder_that_cannot_be_made_is_named_with_what_failed() {
        let parent = tempfile::tempdir().expect("folder");
        fs::write(parent.path().join("file"), "mine").expect("write");
        let error = |name: &str| init(&parent.path().join(name), "h:1").expect_err(name).to_string();
        assert!(error("file/d").contains("/file/d: cannot create this folder: "), "{}", error("file/d"));
        assert!(
            error("file").ends_with(
                "/file: cannot create this folder: file exists → choose a folder that this user may write"
            ),
            "{}",
            error("file")
        );
    }

    #[test]
    fn server_without_name_or_port_is_refused_as_usage() {
        for server in [
            "",
            "h",
            ":443",
            "0.0.0.0:443",
            "h:0",
            "a b:1",
            "h:1,i:1",
            "*.foo:443",
            "a..b:1",
            "300.1.1.1:443",
            "127.1:44",
        ] {
            let parent = tempfile::tempdir().expect("folder");
            let error = init(parent.path(), server).expect_err(server);
            assert_eq!(error.exit_code(), USAGE, "{server}: {error}");
            assert!(error.to_string().starts_with("--server: "), "{error}");
            assert_eq!(fs::read_dir(parent.path()).expect("folder").count(), 0);
        }
    }
}
