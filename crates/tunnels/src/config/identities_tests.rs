use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::config::Server;

#[test]
fn file_says_who_is_let_in_what_each_may_do_and_who_is_shut_out() {
    let identities = read(
        "identities:\n\
         \x20 Laptop-7:\n\
         \x20   allow: [\"10.2.0.0/16:443\"]\n\
         \x20   deny: 198.51.100.0/24\n\
         \x20   streams: 512\n\
         \x20   connections: 4\n\
         \x20   dials: 16\n\
         \x20 phone:\n\
         \x20 spiffe://corp/Build: {only: [\"192.0.2.7/32:443\"]}\n\
         \x20 \"*\": {streams: 8}\n\
         revoked:\n\
         \x20 - Old-Laptop\n\
         \x20 - sha256:AB:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:CD\n\
         \x20 - serial:00:1A:2b\n",
    )
    .unwrap();
    let names: Vec<&str> = identities.listed.keys().map(String::as_str).collect();
    assert_eq!(names, ["laptop-7", "phone", "spiffe://corp/Build"]);
    let laptop = identities.rights("laptop-7").unwrap();
    assert_eq!(
        (laptop.allow[0].to_string(), laptop.deny[0].to_string()),
        ("10.2.0.0/16:443".to_owned(), "198.51.100.0/24".to_owned())
    );
    assert_eq!((laptop.streams, laptop.connections, laptop.dials), (Some(512), Some(4), Some(16)));
    assert_eq!(identities.rights("phone"), Some(&Rights::default()));
    assert_eq!(identities.rights("spiffe://corp/Build").unwrap().only.as_ref().map(Vec::len), Some(1));
    assert_eq!(identities.rights("anybody").unwrap().streams, Some(8));
    let mut digest = [0; 32];
    (digest[0], digest[31]) = (0xab, 0xcd);
    for entry in
        [Revoked::Identity("old-laptop".into()), Revoked::Sha256(digest), Revoked::Serial("1a2b".into())]
    {
        assert!(identities.revoked.contains(&entry), "{entry}");
    }
}

#[test]
fn without_the_file_everybody_is_let_in_and_with_a_list_only_those_on_it() {
    assert!(Identities::default().rights("anybody").is_some());
    let listed = read("identities: {phone: {}}").unwrap();
    assert!(listed.rights("phone").is_some() && listed.rights("anybody").is_none());
    let revoked_only = read("revoked: [old]").unwrap();
    assert!(revoked_only.rights("anybody").is_some(), "the rest is let in");
    let shared = read("identities:\n  a: &small {streams: 4}\n  b: *small\n").unwrap();
    assert_eq!(shared.rights("b").unwrap().streams, Some(4));
}

#[test]
fn each_mistake_is_one_line_with_its_place_and_what_to_write() {
    for (text, message) in [
        ("", "i.yaml: it is empty → list names below identities"),
        ("# nothing\n", "it is empty"),
        ("- laptop\n", "i.yaml:1:1: the file is not a map → write identities:"),
        ("identites: {a: {}}\n", "i.yaml:1:1: there is no \"identites\" → did you mean identities?"),
        ("identities:\n", "identities: nobody is listed, so nobody would be let in → list names"),
        ("identities: [laptop]\n", "i.yaml:1:13: identities: this is not a map of names"),
        (
            "identities:\n  laptop: yes please\n",
            "i.yaml:2:11: laptop: this is not a map of rights → write nothing, or a map of allow,",
        ),
        (
            "identities:\n  laptop:\n    stream: 5\n",
            "i.yaml:3:5: laptop: there is no \"stream\" → did you mean streams?",
        ),
        (
            "identities:\n  laptop:\n    bandwidth: 5\n",
            "→ known here: allow, deny, only, connections, dials, streams",
        ),
        (
            "identities:\n  laptop:\n    streams: many\n",
            "i.yaml:3:14: laptop.streams: \"many\" was read as text",
        ),
        (
            "identities:\n  laptop:\n    streams: 0\n",
            "i.yaml:3:14: laptop.streams: 0 is out of range → write a whole number from 1 to",
        ),
        (
            "identities:\n  laptop:\n    streams: -1\n",
            "i.yaml:3:14: laptop.streams: \"-1\" is no whole decimal number",
        ),
        (
            "identities:\n  laptop:\n    allow: [\"10.0.0.0/8\", \"10.2.3.4/16\"]\n",
            "i.yaml:3:27: laptop.allow: 10.2.3.4/16 has bits set behind its prefix → write 10.2.0.0/16",
        ),
        (
            "identities:\n  laptop: {only: []}\n",
            "laptop.only: nothing is listed, so nothing could be reached",
        ),
        (
            "identities:\n  laptop: {only: [\"10.0.0.0/8\"], allow: [\"10.1.0.0/16\"]}\n",
            "i.yaml:2:18: laptop.only: only says all that is open, so allow adds nothing",
        ),
        (
            "identities:\n  laptop: {}\n  laptop: {}\n",
            "i.yaml:3:3: \"laptop\" stands above already → keep one",
        ),
        (
            "identities:\n  laptop: {}\n  Laptop: {}\n",
            "i.yaml:3:3: identities: \"Laptop\" stands above already, in another spelling",
        ),
        (
            "identities:\n  \"CN=laptop\": {}\n",
            "is no identity: that is a URI, a DNS name or sha256:…, never a common name",
        ),
        ("identities:\n  \"my laptop\": {}\n", "i.yaml:2:3: identities: \"my laptop\" is no identity"),
        ("identities:\n  \"sha256:12\": {}\n", "\"12\" is no SHA-256 in hexadecimal"),
        ("revoked: [\"*\"]\n", "i.yaml:1:11: revoked: this would shut out everybody"),
        ("revoked: [a, \"serial:xyz\"]\n", "i.yaml:1:14: revoked: \"xyz\" is no serial number"),
        ("revoked: [12]\n", "i.yaml:1:11: revoked: 12 was read as a number → put it in quotes"),
        ("revoked: {old: {}}\n", "revoked: a map was read"),
        ("identities:\n\tlaptop: {}\n", "i.yaml:2:1: a tab is used for indentation"),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.contains(message), "{text:?} gave {error:?}");
        assert!(!error.contains('\n'), "{error}");
    }
    let fingerprint = "ab".repeat(32);
    let error = read(&format!("revoked: [{fingerprint}]\n")).expect_err("bare");
    assert!(error.contains(&format!("looks like a fingerprint → write sha256:{fingerprint}")), "{error}");
}

#[test]
fn file_that_is_missing_a_folder_or_open_to_others_is_refused_by_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("i.yaml");
    let refused = |path: &Path| server(path).expect_err("refused").to_string();
    assert!(refused(&path).contains("server.identities.file: ") && refused(&path).contains("no such file"));
    assert!(refused(folder.path()).contains("is a directory"), "{}", refused(folder.path()));
    fs::write(&path, "identities: {a: {}}\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o646)).unwrap();
    let error = server(&path).expect_err("open to others");
    assert_eq!(error.code(), code::LIST_MODE);
    assert!(
        error.to_string().contains("others on this machine can change who is let in → chmod o-w"),
        "{error}"
    );
}

#[test]
fn ten_thousand_identities_are_read_at_once() {
    let mut text = "identities:\n".to_owned();
    for number in 0..10_000 {
        text.push_str(&format!("  laptop-{number}: {{streams: {}, connections: 4}}\n", number + 1));
    }
    let identities = read(&text).unwrap();
    assert_eq!(identities.listed.len(), 10_000);
    assert_eq!(identities.rights("laptop-41").unwrap().streams, Some(42));
}

#[test]
fn name_that_is_listed_and_revoked_is_told_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("i.yaml");
    fs::write(&path, "identities: {a: {}, b: {}}\nrevoked: [a]\n").unwrap();
    let warnings = server(&path).unwrap().warnings;
    assert!(warnings[0].ends_with("a is in identities and in revoked: it is refused"), "{warnings:?}");
}

#[test]
fn file_without_tls_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("i.yaml");
    fs::write(&path, "identities: {a: {}}\n").unwrap();
    let place = [("server.net", "unix"), ("server.addr", "/run/never.sock"), ("remux.net", "unix")];
    let file = path.display().to_string();
    let pairs = place.into_iter().chain([("server.identities.file", file.as_str())]);
    let error = Server::from_pairs(pairs).expect_err("plain").to_string();
    assert!(error.contains("server.identities.file: without TLS nobody proves who he is"), "{error}");
}

/// What a file of that text says, or the message without its folder.
fn read(text: &str) -> Result<Identities, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("i.yaml");
    fs::write(&path, text).unwrap();
    let prefix = format!("{}/", folder.path().display());
    server(&path).map(|server| server.identities).map_err(|error| error.to_string().replace(&prefix, ""))
}

fn server(path: &Path) -> Result<Server, Error> {
    let path = path.display().to_string();
    Server::from_pairs([
        ("server.addr", ":443"),
        ("tls.client.ca", "ca.crt"),
        ("tls.server.key", "server.key"),
        ("tls.server.cert", "server.crt"),
        ("server.identities.file", path.as_str()),
    ])
}
