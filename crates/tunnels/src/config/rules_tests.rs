use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::config::{Invocation, Kind, TABLE, invoke};

const CLIENT: [(&str, &str); 5] = [
    ("server.addr", "server.example:443"),
    ("client.addr", "127.0.0.1:1080"),
    ("tls.client.ca", "ca.crt"),
    ("tls.client.key", "client.key"),
    ("tls.client.cert", "client.crt"),
];
const SERVER: [(&str, &str); 4] = [
    ("server.addr", ":443"),
    ("tls.client.ca", "ca.crt"),
    ("tls.server.key", "server.key"),
    ("tls.server.cert", "server.crt"),
];

fn client_with(pairs: &[(&str, &str)]) -> Result<Client, String> {
    Client::from_pairs(CLIENT.iter().chain(pairs).copied()).map_err(|error| error.to_string())
}

fn server_with(pairs: &[(&str, &str)]) -> Result<Server, String> {
    Server::from_pairs(SERVER.iter().chain(pairs).copied()).map_err(|error| error.to_string())
}

/// Everything a configuration says, secrets too.
fn seen(role: Role, pairs: &[(&str, &str)]) -> String {
    let alert = |alert: &Option<Alert>| alert.as_ref().map(|a| (a.token.clone(), a.secret.clone()));
    let verify = |users: &eagersocks::Users| users.verify(b"laptop", b"correct-horse").is_some();
    match role {
        Role::Client => {
            let client = client_with(pairs).expect("client");
            format!("{client:?} {:?} {}", alert(&client.alert), verify(&client.users))
        }
        Role::Server => {
            let server = server_with(pairs).expect("server");
            format!("{server:?} {:?}", alert(&server.alert))
        }
    }
}

#[test]
fn every_setting_changes_something_where_it_is_used() {
    let folder = tempfile::tempdir().expect("folder");
    let users = folder.path().join("users");
    fs::write(&users, "laptop:correct-horse\n").expect("write");
    fs::set_permissions(&users, fs::Permissions::from_mode(0o600)).expect("chmod");
    let listed = folder.path().join("identities.yaml");
    fs::write(&listed, "identities: {laptop: {}}\n").expect("write");
    let listed = listed.to_str().expect("UTF-8");
    for setting in TABLE {
        for role in [Role::Client, Role::Server].into_iter().filter(|role| setting.used_by(*role)) {
            let users = users.to_str().expect("UTF-8");
            let (value, with): (&str, &[(&str, &str)]) = match setting.name {
                "server.net" | "client.net" => ("tcp4", &[]),
                "remux.net" | "eagersocks.net" => ("tcp", &[("server.addr", "127.0.0.1:9")]),
                "client.addr" => ("127.0.0.1:1081", &[]),
                "client.users.file" => (users, &[]),
                "server.identities.file" => (listed, &[]),
                "tls.cut.expired" => ("false", &[]),
                "sla.dingtalk.token" => ("t", &[]),
                "sla.dingtalk.secret" => ("s", &[("sla.dingtalk.token", "t")]),
                "sla.dingtalk.url" => ("https://other.example/robot", &[("sla.dingtalk.token", "t")]),
                "eagersocks.reply" => ("strict", &[]),
                "remux.window.start.bytes" | "remux.window.max.bytes" => ("300000", &[]),
                "remux.memory.max.bytes" => ("123456789", &[]),
                // The plain rule is what it changes.
                "remux.insecure" => {
                    let plain = [("remux.net", "tcp"), ("server.addr", "192.0.2.1:9")];
                    let open = [plain[0], plain[1], ("remux.insecure", "true")];
                    let (refused, allowed) = match role {
                        Role::Client => (client_with(&plain).is_err(), client_with(&open).is_ok()),
                        Role::Server => (server_with(&plain).is_err(), server_with(&open).is_ok()),
                    };
                    assert!(refused && allowed, "{role:?}");
                    continue;
                }
                _ => match setting.kind {
                    Kind::Choice(words) => (words.last().copied().unwrap_or_default(), &[]),
                    Kind::Whole { min, .. } if min.to_string() == setting.default => ("7", &[]),
                    Kind::Whole { unit: crate::config::Unit::Bytes, .. } => ("70000", &[]),
                    Kind::Whole { .. } => ("7", &[]),
                    Kind::File => ("other.pem", &[]),
                    Kind::Switch => ("true", &[]),
                    Kind::List(_) | Kind::Text(_) => (setting.example, &[]),
                },
            };
            let mut changed = with.to_vec();
            changed.push((setting.name, value));
            assert_ne!(seen(role, with), seen(role, &changed), "{} of the {}", setting.name, role.name());
        }
    }
}

#[test]
fn every_setting_reads_the_same_from_flag_variable_and_file() {
    let folder = tempfile::tempdir().expect("folder");
    for setting in TABLE {
        for role in [Role::Client, Role::Server].into_iter().filter(|role| setting.taken_by(*role)) {
            let path = folder.path().join("c.yaml");
            let nested = setting.name.replace('.', ": {") + ": ";
            let quoted = match setting.kind {
                Kind::Whole { .. } | Kind::Switch => setting.example.to_owned(),
                Kind::List(_) => format!("[{:?}]", setting.example),
                _ => format!("{:?}", setting.example),
            };
            fs::write(&path, format!("{nested}{quoted}{}\n", "}".repeat(nested.matches('{').count())))
                .expect("write");
            let value = |arguments: &[OsString], variable: Option<(&str, &str)>| {
                let environment = variable.map(|(name, text)| (name.into(), text.into()));
                match invoke(role, arguments.to_vec(), environment) {
                    Ok(Invocation::Run(source)) => source.value(setting).0,
                    other => panic!("{}: {other:?}", setting.name),
                }
            };
            let flag = value(&[format!("-{}={}", setting.name, setting.example).into()], None);
            assert!(flag.is_some(), "{}", setting.name);
            assert_eq!(value(&[], Some((&setting.variable(), setting.example))), flag, "{}", setting.name);
            assert_eq!(value(&["--config".into(), path.into()], None), flag, "{}", setting.name);
        }
    }
}

#[test]
fn defaults_of_the_table_are_those_of_the_engine() {
    let client = client_with(&[]).expect("client");
    assert_eq!(format!("{:?}", client.remux), format!("{:?}", remux::Config::default()));
    let server = server_with(&[]).expect("server");
    assert_eq!(
        format!("{:?}", server.remux),
        format!("{:?}", {
            let mut config = remux::Config::default();
            config.session.limits.max_streams = Some(256);
            config
        })
    );
    assert_eq!((client.log.rotation, client.log.path), (Rotation::default(), LogPath::Default));
    assert_eq!(format!("{:?}", server.preauth), format!("{:?}", transport::Limits::default()));
    let given = client_with(&[("sla.log.path", "/var/log/tunnels.log")]).map(|client| client.log.path);
    assert_eq!(given, Ok(LogPath::File("/var/log/tunnels.log".into())));
    assert_eq!(client.reply, Reply::Eager);
    assert_eq!(client.carrier, Carrier::Remux(Wire::Auto));
}

#[test]
fn ca_for_the_server_is_the_clients_unless_it_is_named() {
    let ca = |pairs: &[(&str, &str)]| client_with(pairs).map(|c| c.tls.map(|tls| tls.server_ca));
    assert_eq!(ca(&[]), Ok(Some("ca.crt".into())));
    assert_eq!(ca(&[("tls.server.ca", "other.crt")]), Ok(Some("other.crt".into())));
}

#[test]
fn combination_that_cannot_work_is_refused_with_cause_and_advice() {
    for (pairs, message) in [
        (
            &[("remux.net", "unix")][..],
            "remux.net: unix is not the socket that server.net names (tcp) → write tls, or tcp, or change server.net",
        ),
        (
            &[("eagersocks.net", "tcp4")],
            "eagersocks.net: tcp4 is not the socket that server.net names (tcp) → write tls, or tcp, or change server.net",
        ),
        (
            &[("remux.net", "tcp")],
            "remux.net: without TLS everybody on the path to server.example:443 could read, change and use the tunnel → write tls, use loopback or a unix socket, or set remux.insecure if you mean it",
        ),
        (
            &[("eagersocks.net", "tcp"), ("server.addr", "127.0.0.1:1,10.0.0.1:1")],
            "eagersocks.net: without TLS everybody on the path to 10.0.0.1:1 could read, change and use the tunnel → write tls, use loopback or a unix socket, or set remux.insecure if you mean it",
        ),
        (
            &[("remux.wire", "classic"), ("eagersocks.reply", "strict")],
            "eagersocks.reply: the classic wire carries no result of a dial → use eagersocks.reply: eager, or the remux2 wire",
        ),
        (
            &[("eagersocks.net", "tls"), ("eagersocks.reply", "strict")],
            "eagersocks.reply: a request without remux gets no result of its dial → use eagersocks.reply: eager, or the remux2 wire",
        ),
        (
            &[("server.addr", "")],
            "server.addr: the address is empty → give the server's host:port, for example tunnel.example.net:443",
        ),
        (
            &[("client.addr", "")],
            "client.addr: the address is empty → give host:port, for example 127.0.0.1:1080",
        ),
        (
            &[("server.net", "unix"), ("server.addr", "127.0.0.1:33")],
            "server.addr: \"127.0.0.1:33\": this looks like host:port, and the socket is a unix one, which has a path → set server.net to tcp, or write ./127.0.0.1:33 if it is a file",
        ),
        (
            &[("client.net", "unix"), ("client.addr", ":1080")],
            "client.addr: \":1080\": this looks like host:port, and the socket is a unix one, which has a path → set client.net to tcp, or write ./:1080 if it is a file",
        ),
        (
            &[("server.addr", "good:1,*.foo:443")],
            "server.addr: \"*.foo:443\": a wildcard stands for many hosts, one is needed → write the name of the one machine",
        ),
        (
            &[("server.addr", "a..b:1")],
            "server.addr: \"a..b:1\": the name has an empty part between its dots → write a host name or an address",
        ),
        (
            &[("server.addr", "300.1.1.1:443")],
            "server.addr: \"300.1.1.1:443\": this ends in a number, so it is no name, and it is no IPv4 address → write four numbers from 0 to 255, or a name",
        ),
        (
            &[("tls.server.name", "*.example.net")],
            "tls.server.name: \"*.example.net\": a wildcard stands for many hosts, one is needed → write the name of the one machine",
        ),
        (
            &[("server.addr", ":443")],
            "server.addr: \":443\": the host is missing or unspecified → name the machine to connect to, for example example.net:8443",
        ),
        (
            &[("server.addr", "a:1,b:2,a:1")],
            "server.addr: \"a:1\": the same place is listed already, as \"a:1\" → keep one of them",
        ),
        (
            &[("client.addr", "0.0.0.0:1080")],
            "client.addr: 0.0.0.0:1080 would let anyone who can reach this machine use the tunnel → use 127.0.0.1, or add client.users; refusing to start",
        ),
        (
            &[("tls.client.cert", "")],
            "tls.client.cert: no file is named for the certificate this client shows → name the PEM file; tunnels init makes certificates for both ends",
        ),
        (
            &[("server.net", "unix"), ("server.addr", "/run/s")],
            "tls.server.name: a unix socket has no host name that the server's certificate could carry → set tls.server.name to a name in the certificate",
        ),
        (
            &[("tls.server.name", "a b")],
            "tls.server.name: \"a b\" is neither a host name nor an address → write it without a port, as it stands in the certificate",
        ),
        (
            &[("sla.dingtalk.secret", "s")],
            "sla.dingtalk.secret: there is a secret but no sla.dingtalk.token → add the robot's token, or delete the secret",
        ),
        (
            &[("remux.window.max.bytes", "20000")],
            "remux.window.max.bytes: a window would start outside of its bounds → make it at least remux.window.start.bytes",
        ),
        (
            &[("client.users.list", "laptop")],
            "client.users.list: the colon between name and password is missing → write name:password",
        ),
        (&[("server.allow", "10.0.0.0/8")], "server.allow: the client has no such setting → "),
    ] {
        let error = client_with(pairs).expect_err(message);
        assert!(
            error == message
                || error.starts_with(message.trim_end_matches(" → ")) && message.ends_with(" → "),
            "{error}"
        );
    }
    let error = server_with(&[("server.addr", "")]).expect_err("empty");
    assert_eq!(error, "server.addr: the address is empty → give host:port, for example 0.0.0.0:443");
    let error = server_with(&[("server.allow", "10.0.0.0/33")]).expect_err("prefix");
    assert_eq!(
        error,
        "server.allow: \"10.0.0.0/33\": prefix \"33\" is not a number from 0 to 32 → write /32 or nothing for one address, less for a network"
    );
    let error = server_with(&[("server.addr", ":443,127.0.0.1:443")]).expect_err("overlap");
    assert_eq!(
        error,
        "server.addr: \"127.0.0.1:443\": the same place is listed already, as \"[::]:443\" → keep one of them"
    );
}

#[test]
fn users_make_a_routable_port_lawful() {
    let users = [("client.addr", ":1080"), ("client.users.list", "laptop:correct-horse")];
    assert_eq!(client_with(&users).map(|client| client.users.len()), Ok(1));
}

#[test]
fn plain_transport_is_for_this_machine_or_for_those_who_mean_it() {
    for pairs in [
        &[("remux.net", "tcp"), ("server.addr", "127.0.0.1:1")][..],
        &[("eagersocks.net", "tcp"), ("server.addr", "[::1]:1")],
        &[("server.net", "unix"), ("remux.net", "unix"), ("server.addr", "/run/s")],
        &[("remux.net", "tcp"), ("remux.insecure", "true")],
        // Not what requests run on.
        &[("eagersocks.net", "tls"), ("remux.net", "tcp")],
    ] {
        assert!(client_with(pairs).is_ok(), "{pairs:?}: {:?}", client_with(pairs).err());
    }
    let plain = client_with(&[("remux.net", "tcp"), ("server.addr", "localhost:1")]).expect("client");
    assert_eq!(plain.tls, None);
    assert!(plain.warnings.is_empty(), "{:?}", plain.warnings);
    let path = [("server.net", "unix"), ("remux.net", "unix"), ("server.addr", "./127.0.0.1:33")];
    assert!(client_with(&path).is_ok(), "a path that says it is one");
}

#[test]
fn insecure_transport_is_warned_of_where_it_makes_a_difference() {
    let open = client_with(&[("remux.net", "tcp"), ("remux.insecure", "true")]).expect("client");
    assert_eq!(
        open.warnings,
        [
            "CFG-311 remux.insecure: without TLS everybody on the path to server.example:443 could read, change and use the tunnel → leave it out and use tls, unless something else protects this path"
        ]
    );
    assert!(client_with(&[("remux.insecure", "true")]).expect("client").warnings.is_empty());
}

#[test]
fn robots_address_that_could_not_be_used_is_refused_where_it_stands() {
    for (url, safe) in [
        ("https://oapi.dingtalk.com/robot/send", true),
        ("http://127.0.0.1:8080/robot", true),
        ("http://[::1]:8080/robot", true),
        ("http://localhost/robot", true),
        ("http://[::1]/robot", true),
        ("http://oapi.dingtalk.com/robot/send", false),
        ("http://127.0.0.1.evil.example/", false),
        ("http://127.0.0.1@evil.example/", false),
        ("http://evil.example#127.0.0.1", false),
        ("http://localhost\\@evil.example/", false),
        ("ftp://127.0.0.1/", false),
        ("https:///x", false),
        ("https://a b/", false),
        ("https://robot.example:0/x", false),
        ("https://user@robot.example/x", false),
        ("https://robot.example/x#y", false),
        ("", false),
    ] {
        let client = client_with(&[("sla.dingtalk.url", url)]);
        assert_eq!(client.is_ok(), safe, "{url}: {client:?}");
        let told = client.err().unwrap_or_default();
        assert!(safe || told.starts_with("sla.dingtalk.url: ") && told.contains(" → write https"), "{told}");
    }
}

#[test]
fn server_tells_clients_only_what_it_was_told() {
    assert_eq!(server_with(&[]).map(|s| s.remux.session.announce.max_reuse), Ok(None));
    let told = server_with(&[("remux.reuse.max.cnt", "4")]);
    assert_eq!(told.map(|s| s.remux.session.announce.max_reuse), Ok(Some(4)));
}

#[test]
fn file_blames_the_item_and_flags_replace_its_list() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("server.yaml");
    let text = "server:\n  addr: [\":443\", \":444\"]\n  allow:\n    - 10.0.0.0/8\n    - 10.2.3.4/16\ntls:\n  client: {ca: ca.crt}\n  server: {key: k, cert: c}\n";
    fs::write(&path, text).expect("write");
    let server = |arguments: &[&str]| {
        let mut all: Vec<OsString> = vec!["-config".into(), path.clone().into()];
        all.extend(arguments.iter().map(OsString::from));
        match invoke(Role::Server, all, []) {
            Ok(Invocation::Run(source)) => {
                source.server().map_err(|error| (error.exit_code(), error.to_string()))
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err((error.exit_code(), error.to_string())),
        }
    };
    let (exit, message) = server(&[]).expect_err("host bits");
    assert_eq!(exit, 78);
    assert_eq!(
        message,
        format!(
            "{}:5:7: server.allow: 10.2.3.4/16 has bits set behind its prefix → write 10.2.0.0/16 for the network, or 10.2.3.4/32 for the one address",
            path.display()
        )
    );
    let config = server(&["-server.allow", "192.168.0.0/16:80-90", "-server.addr", ":9"]).expect("server");
    assert_eq!(config.allow.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.168.0.0/16:80-90"]);
    assert_eq!(config.listen.addresses.len(), 1);
    assert_eq!(config.tls.map(|tls| tls.key), Some(folder.path().join("k")));
    let (exit, message) = server(&["-server.allow", "10.0.0.0/8,name:80"]).expect_err("a name");
    assert_eq!(exit, 64);
    assert!(message.starts_with("--server.allow: \"name:80\": \"name\" is not an IP address"), "{message}");
}

#[test]
fn secret_in_a_file_open_to_others_is_refused_and_printed_never() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("c.yaml");
    let text = "client:\n  addr: 127.0.0.1:1080\n  users:\n    list: [\"laptop:correct-horse\"]\nserver.addr: h:1\ntls.client: {ca: a, cert: b, key: c}\nsla.dingtalk: {token: tok, secret: \"file:s\"}\n";
    fs::write(&path, text).expect("write");
    fs::write(folder.path().join("s"), "hush\n").expect("write");
    let mode = |name: &str, mode| {
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode)).expect("chmod");
    };
    let client = || Source::from_file(Role::Client, &path).and_then(Source::client);
    let shown = path.display();
    mode("c.yaml", 0o644);
    mode("s", 0o600);
    assert_eq!(
        client().map(|_| ()).map_err(|error| error.to_string()),
        Err(format!(
            "{shown}:4:11: client.users.list: others on this machine can read this secret (bits 044 of the file's mode) → chmod 600 {shown}"
        ))
    );
    mode("c.yaml", 0o600);
    mode("s", 0o640);
    let error = client().map(|_| ()).map_err(|error| error.to_string()).expect_err("open secret");
    assert!(
        error.starts_with(&format!(
            "{shown}:7:36: sla.dingtalk.secret: {}/s has mode 0640;",
            folder.path().display()
        )),
        "{error}"
    );
    mode("s", 0o600);
    let client = client().expect("client");
    assert_eq!(client.alert.as_ref().and_then(|alert| alert.secret.as_deref()), Some("hush"));
    let printed = format!("{} {client:?}", client.source);
    assert!(printed.contains("client.users.list: [\"***\"]  # file"), "{printed}");
    for secret in ["correct-horse", "\"tok\"", "hush"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}

#[test]
fn secret_on_the_command_line_is_taken_with_a_warning() {
    let arguments = CLIENT.iter().chain(&[("sla.dingtalk.token", "tok")]);
    let arguments = arguments.map(|(name, value)| OsString::from(format!("-{name}={value}")));
    let Ok(Invocation::Run(source)) = invoke(Role::Client, arguments, []) else { panic!("flags") };
    let client = source.client().expect("client");
    assert_eq!(client.warnings.len(), 1, "{:?}", client.warnings);
    assert!(
        client.warnings[0]
            .starts_with("SEC-332 --sla.dingtalk.token: every user of this machine can read arguments → "),
        "{:?}",
        client.warnings
    );
}

#[test]
fn reload_reads_the_file_again_and_keeps_the_flags() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("c.yaml");
    let write = |text: &str| fs::write(&path, text).expect("write");
    write("server.allow: [10.0.0.0/8]\ntls: {client.ca: a, server: {key: k, cert: c}}\n");
    let arguments = ["-config".into(), path.clone().into(), "-server.addr=:9".into()];
    let Ok(Invocation::Run(source)) = invoke(Role::Server, arguments, []) else { panic!("flags") };
    let server = source.server().expect("server");
    assert_eq!(server.allow.len(), 1);
    write("server.allow: [10.0.0.0/8, 127.0.0.0/8]\ntls: {client.ca: a, server: {key: k, cert: c}}\n");
    let again = server.reload().expect("reload");
    assert_eq!((again.allow.len(), &again.listen), (2, &server.listen));
    assert_eq!(server.restart_warning(&again), None);
    write("server.allow: [10.0.0.0/8, 127.0");
    assert!(server.reload().is_err());
    write("tls: {client.ca: b, server: {key: k, cert: c}}\nsla.log.level: debug\nserver.addr: :10\n");
    let again = server.reload().expect("reload");
    assert_eq!(
        server.restart_warning(&again).as_deref(),
        Some(
            "RUN-901 changed, but not in effect yet: tls.client.ca, sla.log.level → restart this program when it suits"
        ),
        "the flag -server.addr still wins"
    );
}

#[test]
fn secret_that_changed_behind_its_file_needs_a_restart_too() {
    let folder = tempfile::tempdir().expect("folder");
    let token = folder.path().join("token");
    let write = |text: &str| {
        fs::write(&token, text).expect("write");
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("chmod");
    };
    write("one\n");
    let named = format!("file:{}", token.display());
    let client = client_with(&[("sla.dingtalk.token", &named)]).expect("client");
    assert_eq!(client.restart_warning(&client.reload().expect("reload")), None);
    write("two\n");
    assert_eq!(
        client.restart_warning(&client.reload().expect("reload")).as_deref(),
        Some(
            "RUN-901 changed, but not in effect yet: the secrets of sla.dingtalk → restart this program when it suits"
        )
    );
}
