//! Who may do what, while it runs: rights that are given, narrowed and taken away, over every carrier.

mod common;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tunnels::config::{Identities, Revoked, Rights};

const STRICT: &[(&str, &str)] = &[("eagersocks.reply", "strict")];
const CLASSIC: Way = Way::new("tcp", "tls", "remux", "classic");
const CARRIERS: [Way; 3] = [POOL, CLASSIC, SINGLE];

#[tokio::test]
async fn identity_that_is_listed_no_more_is_cut_at_once_and_not_let_in_again() {
    for way in CARRIERS {
        let list = List::of("identities: {demo: {}}\n");
        let tunnel = Tunnel::over(way, &[list.setting()], &[]).await;
        let (destination, address) = destination().await;
        let (mut application, _) = tunnel.connect(address, b"x").await;
        let mut far = arrival(&destination).await;
        far.read_exact(&mut [0]).await.unwrap();

        list.write("identities: {somebody-else: {}}\n");
        tunnel.reloader.reload().unwrap();
        assert_eq!(
            cut_of(&mut application, &mut far, way).await,
            Some(ErrorKind::ConnectionReset),
            "{way:?}"
        );
        let (mut second, _) = tunnel.connect(address, b"x").await;
        assert_eq!(read_error(&mut second).await, ErrorKind::ConnectionReset, "{way:?}");

        list.write("identities: {somebody-else: {}, demo: {}}\n");
        tunnel.reloader.reload().unwrap();
        let back = async {
            loop {
                let (mut third, _) = tunnel.connect(address, b"y").await;
                if timeout(Duration::from_secs(5), third.read(&mut [0])).await.is_err() {
                    return;
                }
            }
        };
        timeout(Duration::from_secs(20), back).await.expect("let in again");
    }
}

#[tokio::test]
async fn revoked_certificate_is_cut_by_each_of_its_marks() {
    for mark in ["identity", "sha256", "key", "serial"] {
        let list = List::of("revoked: [\"serial:ff\"]\n");
        let tunnel = Tunnel::over(POOL, &[list.setting()], &[]).await;
        let (destination, address) = destination().await;
        let (mut application, _) = tunnel.connect(address, b"x").await;
        let mut far = arrival(&destination).await;
        let certificate = transport::describe(&tunnel.papers.client_cert).unwrap().remove(0);
        let entry = match mark {
            "identity" => Revoked::Identity(certificate.identity().to_string()),
            "sha256" => Revoked::Sha256(certificate.sha256),
            "key" => Revoked::Sha256(certificate.spki_sha256),
            _ => Revoked::Serial(certificate.serial.clone()),
        };
        list.write(&format!("revoked: [\"serial:ff\", \"{entry}\"]\n"));
        tunnel.reloader.reload().unwrap();
        assert_cut(&mut application, &mut far, POOL).await;
    }
}

#[tokio::test]
async fn plain_reload_cuts_nobody_and_neither_does_one_that_fails() {
    for way in CARRIERS {
        let list = List::of("identities: {demo: {}}\n");
        let tunnel = Tunnel::over(way, &[list.setting()], &[]).await;
        let (mut application, _) = tunnel.connect(echo().await, b"").await;
        exchange(&mut application).await;
        tunnel.reloader.reload().unwrap();
        list.write("identities: {demo: {}, more: {streams: 5}}\n");
        tunnel.reloader.reload().unwrap();
        list.write("identities:\n  somebody-else: {}\n  phone: {stream: 5}\n");
        let error = tunnel.reloader.reload().unwrap_err().to_string();
        assert!(
            error.contains("i.yaml:3:11: phone: there is no \"stream\" → did you mean streams?"),
            "{error}"
        );
        std::fs::write(&tunnel.papers.ca, "rubbish").unwrap();
        list.write("identities: {somebody-else: {}}\n");
        assert!(tunnel.reloader.reload().is_err(), "and the new list is not taken either");
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            exchange(&mut application).await;
        }
    }
}

#[tokio::test]
async fn identity_reaches_only_what_its_own_grants_open_and_a_running_stream_ends_with_its_grant() {
    for way in CARRIERS {
        let open = |port: u16| format!("identities: {{demo: {{allow: [\"127.0.0.1:{port}\"]}}}}\n");
        let ((first, one), (_second, two)) = (destination().await, destination().await);
        let list = List::of(&open(one.port()));
        let tunnel = Tunnel::strict_policy(way, &[list.setting()], &[]).await;
        let (mut application, _) = tunnel.connect(one, b"x").await;
        let mut far = arrival(&first).await;
        far.read_exact(&mut [0]).await.unwrap();
        let (mut denied, _) = tunnel.connect(two, b"x").await;
        assert!(ends_early(&mut denied, way).await, "{way:?}");

        list.write(&open(two.port()));
        tunnel.reloader.reload().unwrap();
        assert_cut(&mut application, &mut far, way).await;
        let (mut denied, _) = tunnel.connect(one, b"x").await;
        assert!(ends_early(&mut denied, way).await, "{way:?}");
    }
}

#[tokio::test]
async fn narrowed_grant_leaves_the_other_streams_of_the_connection_alone() {
    let ((first, one), kept) = (destination().await, echo().await);
    let both = format!(
        "identities: {{demo: {{only: [\"127.0.0.1:{}\", \"127.0.0.1:{}\"]}}}}\n",
        one.port(),
        kept.port()
    );
    let list = List::of(&both);
    let tunnel = Tunnel::over(POOL, &[list.setting()], STRICT).await;
    let (mut stays, code) = tunnel.connect(kept, b"").await;
    assert_eq!(code, 0);
    let (mut goes, _) = tunnel.connect(one, b"x").await;
    let mut far = arrival(&first).await;
    exchange(&mut stays).await;
    list.write(&format!("identities: {{demo: {{only: [\"127.0.0.1:{}\"]}}}}\n", kept.port()));
    tunnel.reloader.reload().unwrap();
    assert_cut(&mut goes, &mut far, POOL).await;
    exchange(&mut stays).await;
    assert_eq!(tunnel.connect(one, b"").await.1, 2, "denied");
}

#[tokio::test]
async fn limit_of_streams_is_the_identitys_own_and_changes_with_a_reload() {
    let list = List::of("identities: {demo: {streams: 1}}\n");
    let tunnel = Tunnel::over(POOL, &[list.setting()], STRICT).await;
    let target = echo().await;
    let (mut first, code) = tunnel.connect(target, b"").await;
    assert_eq!(code, 0);
    assert_eq!(tunnel.connect(target, b"").await.1, 1);
    list.write("identities: {demo: {streams: 2}}\n");
    tunnel.reloader.reload().unwrap();
    let (second, code) = tunnel.connect(target, b"").await;
    assert_eq!(code, 0);
    assert_eq!(tunnel.connect(target, b"").await.1, 1);
    drop(second);
    exchange(&mut first).await;
}

#[tokio::test]
async fn limit_of_connections_is_the_identitys_own() {
    let list = List::of("identities: {demo: {connections: 1}}\n");
    let tunnel = Tunnel::over(SINGLE, &[list.setting()], &[]).await;
    let target = echo().await;
    let (mut first, _) = tunnel.connect(target, b"").await;
    exchange(&mut first).await;
    let (mut second, _) = tunnel.connect(target, b"").await;
    assert_eq!(read_error(&mut second).await, ErrorKind::ConnectionReset);
    list.write("identities: {demo: {connections: 2}}\n");
    tunnel.reloader.reload().unwrap();
    let (mut third, _) = tunnel.connect(target, b"").await;
    exchange(&mut third).await;
    exchange(&mut first).await;
}

#[tokio::test]
async fn program_that_keeps_its_own_list_changes_it_while_the_server_serves() {
    let tunnel = Tunnel::over(POOL, &[], &[]).await;
    let (destination, address) = destination().await;
    let (mut application, _) = tunnel.connect(address, b"x").await;
    let mut far = arrival(&destination).await;
    let only = |name: &str| Identities {
        listed: [(name.to_owned(), Rights::default())].into(),
        others: None,
        revoked: BTreeSet::new(),
        file: None,
    };
    tunnel.reloader.set_identities(only("demo"));
    tunnel.reloader.reload().unwrap();
    exchange_with(&mut application, &mut far).await;
    tunnel.reloader.set_identities(only("somebody-else"));
    assert_cut(&mut application, &mut far, POOL).await;
}

#[tokio::test]
async fn ca_that_is_gone_takes_its_connections_along() {
    let tunnel = Tunnel::over(POOL, &[], &[]).await;
    let (destination, address) = destination().await;
    let (mut application, _) = tunnel.connect(address, b"x").await;
    let mut far = arrival(&destination).await;
    let other = tunnels::pki::throwaway().unwrap();
    std::fs::copy(&other.ca, &tunnel.papers.ca).unwrap();
    tunnel.reloader.reload().unwrap();
    assert_cut(&mut application, &mut far, POOL).await;
}

/// A file of identities.
struct List {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl List {
    fn of(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let list = Self { path: folder.path().join("i.yaml"), _folder: folder };
        list.write(text);
        list
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.path, text).unwrap();
    }

    fn setting(&self) -> (&str, &str) {
        ("server.identities.file", self.path.to_str().unwrap())
    }
}

/// The server's socket to a destination.
async fn arrival(destination: &TcpListener) -> TcpStream {
    timeout(Duration::from_secs(20), destination.accept()).await.expect("the server dials").unwrap().0
}

async fn exchange_with(application: &mut TcpStream, far: &mut TcpStream) {
    far.write_all(b"z").await.unwrap();
    application.read_exact(&mut [0]).await.unwrap();
}

/// Both ends are reset within the five seconds that are promised; neither sees a clean end, but for the classic wire, which
/// has none other for a single stream.
async fn assert_cut(application: &mut TcpStream, far: &mut TcpStream, way: Way) {
    cut_of(application, far, way).await;
}

/// The same, and how the application's socket ended; `None` = cleanly.
async fn cut_of(application: &mut TcpStream, far: &mut TcpStream, way: Way) -> Option<ErrorKind> {
    let limit = Duration::from_secs(5);
    let mut bytes = [0; 64];
    let near = async {
        loop {
            match application.read(&mut bytes).await {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(error.kind()),
            }
        }
    };
    let near = timeout(limit, near).await.expect("the application is cut in time");
    assert!(
        near == Some(ErrorKind::ConnectionReset) || near.is_none() && !way.has_reset(),
        "{way:?}: {near:?}"
    );
    let far = timeout(limit, async {
        loop {
            match far.read(&mut [0; 64]).await {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(error.kind()),
            }
        }
    });
    assert_eq!(
        far.await.expect("the destination is cut in time"),
        Some(ErrorKind::ConnectionReset),
        "{way:?}"
    );
    near
}

/// No byte comes, and an end does.
async fn ends_early(application: &mut TcpStream, way: Way) -> bool {
    match application.read(&mut [0]).await {
        Ok(0) => !way.has_reset(),
        Ok(_) => false,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}
