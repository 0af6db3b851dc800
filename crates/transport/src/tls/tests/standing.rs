//! Who is let in beyond a good certificate, and who loses it again while connected.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::*;
use crate::tls::standing::LOOK;

#[tokio::test]
async fn identity_on_no_list_is_refused_in_the_handshake_and_both_sides_say_what_to_do() {
    let mut world = World::new();
    world.server.admission = Some(Arc::new(List::of(&["laptop-8"])));
    let (server, client) = world.quarrel().await;
    assert_says(&server, &["TLS-138", "client pipe", "identity \"laptop-7\"", "is not in the list → add it"]);
    assert_says(
        &client,
        &["TLS-120", "server pipe", "access_denied", "identity \"laptop-7\"", "server.identities.file"],
    );
}

#[tokio::test]
async fn revoked_identity_is_refused_and_counts_like_any_bad_certificate() {
    let mut world = World::new();
    let list = List::of(&["laptop-7"]);
    list.revoke("laptop-7");
    world.server.admission = Some(Arc::new(list));
    let (server, client) = world.quarrel().await;
    assert_says(&server, &["TLS-139", "identity \"laptop-7\" is revoked", "by the list"]);
    assert_says(&client, &["TLS-120", "certificate_revoked", "\"laptop-7\"", "get a new"]);
    let tls = ServerTls::load(world.server.clone()).expect("server");
    let (refused, _) = meet(&tls, &ClientTls::load(world.client.clone()).expect("client")).await;
    let refused = refused.expect_err("refused");
    assert_eq!(refused.outcome(), Outcome::BadCertificate);
    assert_eq!(refused.identity(), Some(Identity::Dns("laptop-7".to_owned())));
}

#[tokio::test]
async fn list_is_asked_only_about_those_who_hold_the_key_of_their_certificate() {
    let mut world = World::new();
    let list = Arc::new(List::of(&["laptop-7"]));
    world.server.admission = Some(list.clone());
    let server = ServerTls::load(world.server.clone()).expect("server");
    let (victim, thief) = (world.ca.issue(&Leaf::client("laptop-7")), world.ca.issue(&Leaf::client("thief")));
    for (key, asked) in [(thief.key_der(), 0), (victim.key_der(), 1)] {
        let key = rustls_pki_types::PrivateKeyDer::try_from(key).expect("key");
        let key = provider(true).key_provider.load_private_key(key).expect("key");
        let shown = CertifiedKey::new(vec![CertificateDer::from(victim.der().to_vec())], key);
        let config =
            world.foreign().with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::new(shown))));
        let (near, far) = duplex(64 * 1024);
        let connector = TlsConnector::from(Arc::new(config));
        let client = async {
            if let Ok(mut stream) = connector.connect(name(), near).await {
                // The end of whatever the server made of it.
                let _ = stream.read(&mut [0]).await;
            }
        };
        let server = async { server.accept(far, "pipe").await.map(drop) };
        let (accepted, ()) = tokio::join!(server, client);
        assert_eq!((accepted.is_ok(), list.asked.load(Ordering::Relaxed)), (asked == 1, asked));
    }
}

#[tokio::test]
async fn revocation_list_of_the_ca_refuses_its_serials_and_nobody_else() {
    let mut world = World::new();
    for (serials, good) in [(&[7, 8][..], false), (&[8][..], true)] {
        world.client.files = world.keep(&world.ca.issue(&Leaf::client("laptop-7").serial(7)), "c", &world.ca);
        world.server.crl = Some(world.put("crl.pem", &world.ca.crl(serials, 2999)));
        if good {
            world.meet().await.0.expect("let in");
            continue;
        }
        let (server, client) = world.quarrel().await;
        assert_says(&server, &["TLS-139", "\"laptop-7\" is revoked", "crl.pem", "serial 07", "\"Root\""]);
        assert_says(&client, &["TLS-120", "certificate_revoked", "get a new"]);
    }
}

#[tokio::test]
async fn certificate_on_a_revocation_list_says_nothing_of_who_showed_it() {
    let mut world = World::new();
    world.client.files = world.keep(&world.ca.issue(&Leaf::client("laptop-7").serial(7)), "c", &world.ca);
    world.server.crl = Some(world.put("crl.pem", &world.ca.crl(&[7], 2999)));
    let tls = ServerTls::load(world.server.clone()).expect("server");
    let (refused, _) = meet(&tls, &ClientTls::load(world.client.clone()).expect("client")).await;
    // It is refused before the client has to show that it holds the key.
    assert_eq!(refused.expect_err("refused").identity(), None);
}

#[tokio::test]
async fn servers_certificate_can_be_on_a_revocation_list_too() {
    let mut world = World::new();
    world.server.files = world.keep(&world.ca.issue(&Leaf::server(SERVER).serial(9)), "s", &world.ca);
    world.client.crl = Some(world.put("crl.pem", &world.ca.crl(&[9], 2999)));
    let (server, client) = world.quarrel().await;
    assert_says(&client, &["TLS-106", "server pipe", "is revoked", "crl.pem"]);
    assert_says(&server, &["TLS-136", "certificate_revoked"]);
}

#[tokio::test]
async fn certificate_of_a_ca_without_a_list_is_refused_where_there_are_lists() {
    let mut world = World::new();
    world.server.crl = Some(world.put("crl.pem", &Ca::new("Other").crl(&[], 2999)));
    let (server, client) = world.quarrel().await;
    assert_says(&server, &["TLS-135", "\"laptop-7\"", "issuer \"Root\"", "lists have none of its issuer"]);
    assert_says(&client, &["TLS-120", "certificate_unknown", "log says why"]);
}

#[tokio::test]
async fn stale_list_goes_on_to_count_and_says_that_it_is_stale() {
    let mut world = World::new();
    world.client.files = world.keep(&world.ca.issue(&Leaf::client("laptop-7").serial(7)), "c", &world.ca);
    world.server.crl = Some(world.put("crl.pem", &world.ca.crl(&[7], 2022)));
    assert_says(&world.quarrel().await.0, &["TLS-139"]);
    let lists = ServerTls::load(world.server.clone()).expect("server").revocation_lists();
    assert_eq!((lists.len(), lists[0].issuer.as_str(), lists[0].revoked), (1, "Root", 1));
    assert!(lists[0].is_stale(SystemTime::now()));
}

#[tokio::test]
async fn damaged_or_mixed_up_revocation_list_is_refused_by_name() {
    let mut world = World::new();
    let block = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n".to_owned();
    for (text, code, words) in [
        (block, "TLS-119", "openssl ca -gencrl"),
        (world.ca.pem(), "TLS-114", "no X509 CRL block, it holds CERTIFICATE"),
    ] {
        world.server.crl = Some(world.put("crl.pem", &text));
        let error = ServerTls::load(world.server.clone()).expect_err("refused");
        assert_eq!((error.code(), Some(&error.path)), (code, world.server.crl.as_ref()));
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn more_than_16_kib_of_certificates_are_refused() {
    let mut world = World::new();
    let junk: String = std::iter::repeat_n(world.ca.pem(), 64).collect();
    let leaf = world.ca.issue(&Leaf::client("laptop-7")).write(world.folder.path(), "client", &world.ca);
    let mut chain = std::fs::read_to_string(&leaf.certificate).expect("read");
    chain.push_str(&junk);
    std::fs::write(&leaf.certificate, chain).expect("write");
    world.client.files = leaf;
    let (server, client) = world.quarrel().await;
    assert_says(&server, &["TLS-135", "bytes, 16384 are taken"]);
    assert_says(&client, &["TLS-120", "certificate_unknown"]);
}

#[tokio::test(start_paused = true)]
async fn peer_whose_certificate_ends_loses_its_standing_within_one_look() {
    let (clock, set) = clock();
    let end = at(1000);
    for ends_at_server in [true, false] {
        set(0);
        let mut world = World::new();
        if ends_at_server {
            let leaf = Leaf::client("laptop-7").until(end);
            world.client.files = world.keep(&world.ca.issue(&leaf), "client", &world.ca);
        } else {
            let leaf = Leaf::server(SERVER).until(end);
            world.server.files = world.keep(&world.ca.issue(&leaf), "server", &world.ca);
        }
        (world.server.clock, world.client.clock) = (clock.clone(), clock.clone());
        let (server, client) = world.meet().await;
        let (server, client) = (server.expect("server"), client.expect("client"));
        let mut standing = if ends_at_server { server.standing() } else { client.standing() };
        let mut lost = pin!(standing.lost());
        set(1000);
        assert!(tokio::time::timeout(LOOK * 10, &mut lost).await.is_err(), "the end is part of its life");
        set(1001);
        let began = Instant::now();
        let error = lost.await;
        assert!(began.elapsed() <= LOOK, "{:?}", began.elapsed());
        assert_eq!(error.code(), if ends_at_server { "TLS-132" } else { "TLS-103" });
        assert_eq!(error.told(), "the certificate has expired");
    }
}

#[tokio::test(start_paused = true)]
async fn clock_that_is_set_back_cuts_nobody_and_one_that_is_set_ten_years_ahead_does() {
    let mut world = World::new();
    let (clock, set) = clock();
    let leaf = Leaf::client("laptop-7").until(at(365 * 86_400));
    world.client.files = world.keep(&world.ca.issue(&leaf), "client", &world.ca);
    (world.server.clock, world.client.clock) = (clock.clone(), clock);
    let (server, _client) = world.meet().await;
    let mut standing = server.expect("server").standing();
    let mut lost = pin!(standing.lost());
    set(-10 * 365 * 86_400);
    assert!(tokio::time::timeout(LOOK * 10, &mut lost).await.is_err());
    set(10 * 365 * 86_400);
    assert_eq!(lost.await.code(), "TLS-132");
}

#[tokio::test(start_paused = true)]
async fn connection_outlives_its_certificate_where_that_is_asked_for() {
    let mut world = World::new();
    let (clock, set) = clock();
    world.client.files =
        world.keep(&world.ca.issue(&Leaf::client("laptop-7").until(at(1000))), "client", &world.ca);
    (world.server.clock, world.client.clock) = (clock.clone(), clock);
    world.server.cut_expired = false;
    let server = ServerTls::load(world.server.clone()).expect("server");
    let client = ClientTls::load(world.client.clone()).expect("client");
    let (stream, _client) = meet(&server, &client).await;
    let mut standing = stream.expect("server").standing();
    let mut lost = pin!(standing.lost());
    set(2000);
    server.reload().expect("reload");
    assert!(tokio::time::timeout(LOOK * 10, &mut lost).await.is_err(), "also after a reload");
    // Another reason still counts.
    std::fs::write(&world.server.files.ca, Ca::new("Other").pem()).expect("write");
    server.reload().expect("reload");
    assert_eq!(lost.await.code(), "TLS-131");
}

#[tokio::test(start_paused = true)]
async fn reload_ends_the_standing_of_those_whose_ca_is_gone_and_of_nobody_else() {
    let mut world = World::new();
    let other = Ca::new("Other");
    std::fs::write(&world.server.files.ca, world.ca.pem() + &other.pem()).expect("write");
    let server = ServerTls::load(world.server.clone()).expect("server");
    let mut standings = Vec::new();
    for ca in [&world.ca, &other] {
        world.client.files = world.keep(&ca.issue(&Leaf::client("laptop-7")), "client", &world.ca);
        let client = ClientTls::load(world.client.clone()).expect("client");
        let (stream, _) = meet(&server, &client).await;
        standings.push(stream.expect("server").standing());
    }
    std::fs::write(&world.server.files.ca, other.pem()).expect("write");
    server.reload().expect("reload");
    let began = Instant::now();
    let error = standings[0].lost().await;
    assert_eq!((error.code(), began.elapsed()), ("TLS-131", Duration::ZERO), "at once");
    assert!(tokio::time::timeout(LOOK * 10, standings[1].lost()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn change_of_the_list_during_a_handshake_is_not_missed() {
    let mut world = World::new();
    let list = Arc::new(List::of(&["laptop-7"]));
    world.server.admission = Some(list.clone());
    let server = ServerTls::load(world.server.clone()).expect("server");
    let client = ClientTls::load(world.client.clone()).expect("client");
    let (stream, _client) = meet(&server, &client).await;
    // Nobody waits yet.
    list.revoke("laptop-7");
    server.review();
    let mut standing = stream.expect("let in before").standing();
    assert_eq!(standing.lost().await.code(), "TLS-139");
}

#[tokio::test(start_paused = true)]
async fn client_leaves_a_server_whose_ca_it_no_longer_trusts() {
    let world = World::new();
    let server = ServerTls::load(world.server.clone()).expect("server");
    let client = ClientTls::load(world.client.clone()).expect("client");
    let (_server, stream) = meet(&server, &client).await;
    let mut standing = stream.expect("client").standing();
    std::fs::write(&world.client.files.ca, Ca::new("Other").pem()).expect("write");
    client.reload().expect("reload");
    let error = standing.lost().await;
    assert_eq!((error.code(), error.told()), ("TLS-102", "the certificate is not trusted any more"));
}

impl World {
    fn put(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("write");
        path
    }
}

/// Seconds from now; whole, as certificates have no others.
fn at(seconds: i64) -> SystemTime {
    crate::date::from_unix(crate::date::unix(SystemTime::now()) + seconds)
}

/// A clock that stands until it is set, to so many seconds from now.
fn clock() -> (Clock, impl Fn(i64)) {
    let shown = Arc::new(AtomicU64::new(0));
    let now = crate::date::unix(SystemTime::now());
    let set = {
        let shown = shown.clone();
        move |seconds: i64| shown.store((now + seconds).unsigned_abs(), Ordering::Relaxed)
    };
    set(0);
    let clock =
        Clock::new(move || SystemTime::UNIX_EPOCH + Duration::from_secs(shown.load(Ordering::Relaxed)));
    (clock, set)
}

#[derive(Debug)]
struct List {
    listed: Vec<&'static str>,
    revoked: Mutex<Vec<&'static str>>,
    asked: AtomicUsize,
}

impl List {
    fn of(listed: &[&'static str]) -> Self {
        Self { listed: listed.to_vec(), revoked: Mutex::default(), asked: AtomicUsize::new(0) }
    }

    fn revoke(&self, name: &'static str) {
        self.revoked.lock().push(name);
    }
}

impl Admission for List {
    fn admit(&self, certificate: &crate::Certificate) -> Result<(), Inadmissible> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let identity = certificate.identity().to_string();
        if self.revoked.lock().iter().any(|name| *name == identity) {
            return Err(Inadmissible::Revoked("by the list → get a new one".to_owned()));
        }
        if !self.listed.iter().any(|name| *name == identity) {
            return Err(Inadmissible::Unlisted("is not in the list → add it".to_owned()));
        }
        Ok(())
    }
}
