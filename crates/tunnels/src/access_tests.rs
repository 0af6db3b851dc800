use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::config::Revoked;

#[test]
fn listed_identity_has_its_own_limits_and_destinations_beside_the_servers() {
    let mut settings = settings(&[("server.allow", "10.1.0.0/16"), ("server.stream.identity.max.cnt", "9")]);
    let rights = Rights {
        allow: vec!["10.2.0.0/16".parse().unwrap()],
        connections: Some(2),
        streams: Some(3),
        dials: Some(4),
        ..Rights::default()
    };
    settings.identities = listed([("laptop-7", rights), ("phone", Rights::default())]);
    let policy = Policy::new(&settings, &[]).unwrap();
    let limits = policy.terms("laptop-7").limits();
    assert_eq!(
        (limits.connections_per_identity, limits.streams_per_identity, limits.dials_per_identity),
        (2, 3, 4)
    );
    let limits = policy.terms("phone").limits();
    assert_eq!((limits.connections_per_identity, limits.streams_per_identity), (768, 9));
    let open =
        |name: &str, address: &str| policy.terms(name).acl().unwrap().check(address.parse().unwrap()).is_ok();
    assert!(open("laptop-7", "10.1.0.1:80") && open("laptop-7", "10.2.0.1:80"));
    assert!(open("phone", "10.1.0.1:80") && !open("phone", "10.2.0.1:80"));
    let broken = policy.terms("stranger").acl().unwrap_err();
    assert_eq!((broken.end, broken.code), ("denied", Code::AUTH));
}

#[tokio::test(start_paused = true)]
async fn running_stream_ends_when_a_reload_closes_its_destination_and_only_then() {
    let with = |allow: &str| settings(&[("server.allow", allow)]);
    let policy = Policy::new(&with("10.1.0.0/16,10.2.0.0/16"), &[]).unwrap();
    let mut terms = policy.terms("laptop-7");
    terms.acl().unwrap();
    let mut closed = std::pin::pin!(terms.closed("a.example:80", Some("10.2.0.1:80".parse().unwrap())));
    policy.replace(with("10.2.0.0/24"), &[]);
    assert!(tokio::time::timeout(Duration::from_secs(60), &mut closed).await.is_err(), "it is open still");
    policy.replace(with("10.1.0.0/16"), &[]);
    let broken = closed.await;
    assert_eq!((broken.end, broken.code), ("denied", Code::RULE_REFUSED));
    assert!(broken.text.contains("private range 10.0.0.0/8 is closed"), "{}", broken.text);
}

#[tokio::test(start_paused = true)]
async fn reload_between_judgement_and_first_wait_is_not_missed() {
    let policy = Policy::new(&settings(&[("server.allow", "10.2.0.0/16")]), &[]).unwrap();
    let mut terms = policy.terms("laptop-7");
    terms.acl().unwrap();
    policy.replace(settings(&[]), &[]);
    let broken = terms.closed("a.example:80", Some("10.2.0.1:80".parse().unwrap())).await;
    assert_eq!(broken.code, Code::RULE_REFUSED);
}

#[tokio::test(start_paused = true)]
async fn stream_of_an_identity_that_is_listed_no_more_ends() {
    let policy = Policy::new(&settings(&[]), &[]).unwrap();
    let mut terms = policy.terms("laptop-7");
    policy.replace_identities(listed([("phone", Rights::default())]), &[]);
    assert_eq!(terms.closed("a.example:80", None).await.code, Code::AUTH);
}

#[test]
fn list_given_by_a_program_stays_through_a_reload_of_settings_that_name_none() {
    let policy = Policy::new(&settings(&[]), &[]).unwrap();
    policy.replace_identities(listed([("phone", Rights::default())]), &[]);
    policy.replace(settings(&[("server.allow", "10.0.0.0/8")]), &[]);
    assert!(policy.terms("laptop-7").acl().is_err());
    assert!(policy.terms("phone").acl().unwrap().check("10.0.0.1:80".parse().unwrap()).is_ok());
    // One that a file gave goes with the file.
    let mut with_file = settings(&[]);
    with_file.identities = Identities { file: Some("i.yaml".into()), ..listed([("nas", Rights::default())]) };
    policy.replace(with_file, &[]);
    assert!(policy.terms("phone").acl().is_err());
    policy.replace(settings(&[]), &[]);
    assert!(policy.terms("phone").acl().is_ok());
}

#[test]
fn server_does_not_start_when_the_system_hides_this_machines_own_addresses() {
    let error = Policy::looking(|| Err(io::ErrorKind::Unsupported.into()), &settings(&[]), &[]).unwrap_err();
    let error = crate::Error::from(error);
    assert_eq!(error.exit_code(), 71);
    assert!(error.to_string().contains("own addresses, which are closed to clients"), "{error}");
}

#[test]
fn own_addresses_stay_closed_when_a_reload_can_not_see_them() {
    static HIDDEN: AtomicBool = AtomicBool::new(false);
    let look = || match HIDDEN.load(Ordering::Relaxed) {
        true => Err(io::ErrorKind::Unsupported.into()),
        false => Ok(vec!["198.41.0.4".parse().unwrap()]),
    };
    let policy = Policy::looking(look, &settings(&[]), &[]).unwrap();
    let is_open = || policy.terms("laptop-7").acl().unwrap().check("198.41.0.4:22".parse().unwrap()).is_ok();
    assert!(!is_open());
    HIDDEN.store(true, Ordering::Relaxed);
    policy.replace(settings(&[("server.allow", "10.0.0.0/8")]), &[]);
    assert!(!is_open());
    policy.replace_identities(listed([("laptop-7", Rights::default())]), &[]);
    assert!(!is_open());
}

#[test]
fn certificate_is_let_in_by_its_identity_and_kept_out_by_any_of_its_marks() {
    let papers = crate::pki::throwaway().unwrap();
    let certificate = transport::describe(&papers.client_cert).unwrap().remove(0);
    let name = certificate.identity().to_string();
    let judge = |listed_name: &str, revoked: Option<Revoked>| {
        let mut settings = settings(&[]);
        settings.identities = listed([(listed_name, Rights::default())]);
        settings.identities.revoked.extend(revoked);
        settings.identities.file = Some("/etc/tunnels/identities.yaml".into());
        Policy::new(&settings, &[]).unwrap().admit(&certificate)
    };
    assert_eq!(judge(&name, None), Ok(()));
    let Err(Inadmissible::Unlisted(text)) = judge(&format!("{name}x"), None) else { panic!("let in") };
    assert_eq!(
        text,
        format!(
            "is not in /etc/tunnels/identities.yaml (\"{name}x\" is much like it) → if it is to be let in, add it below \
             identities and send SIGHUP"
        )
    );
    let serial: String = certificate.serial.replace(':', "").trim_start_matches('0').to_owned();
    for mark in [
        Revoked::Identity(name.clone()),
        Revoked::Sha256(certificate.sha256),
        Revoked::Sha256(certificate.spki_sha256),
        Revoked::Serial(serial),
    ] {
        let Err(Inadmissible::Revoked(text)) = judge(&name, Some(mark.clone())) else { panic!("{mark}") };
        assert!(text.contains(&format!("has {mark} under revoked")), "{text}");
    }
    assert_eq!(judge(&name, Some(Revoked::Identity("other".into()))), Ok(()));
}

fn listed<const N: usize>(entries: [(&str, Rights); N]) -> Identities {
    let listed = entries.into_iter().map(|(name, rights)| (name.to_owned(), rights)).collect();
    Identities { listed, others: None, ..Identities::default() }
}

fn settings(pairs: &[(&str, &str)]) -> config::Server {
    let place = [("server.net", "unix"), ("server.addr", "/run/never.sock"), ("remux.net", "unix")];
    config::Server::from_pairs(place.into_iter().chain(pairs.iter().copied())).unwrap()
}
