//! The real program, from its command line to its exit code. Nothing here listens or connects.

#[path = "../../../tests/program.rs"]
mod program;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = program::command(env!("CARGO_BIN_EXE_tunnels-server"));
    program::shown(command.args(arguments).current_dir(folder).output().expect("run"))
}

fn pair() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    tunnels::pki::init(folder.path(), "tunnel.example.net:443").expect("init");
    folder
}

const FLAGS: &[&str] =
    &["-tls.server.key", "server.key", "-tls.server.cert=server.crt", "--tls.client.ca", "ca.crt", "--check"];

fn with(more: &[&'static str]) -> Vec<&'static str> {
    [FLAGS, more].concat()
}

#[test]
fn server_needs_no_file() {
    let folder = pair();
    let (exit, out, err) = run(folder.path(), &with(&["-server.addr", ":443,:444", "--server.addr", ":445"]));
    assert_eq!((exit, err.as_str()), (0, ""));
    assert!(
        out.starts_with(
            "good: a server on [::]:443, [::]:444, [::]:445 by remux over tls; beside the public Internet open: nothing; closed: nothing\ncertificate \"tunnel.example.net\" (names tunnel.example.net; issuer "
        ),
        "{out}"
    );
    assert!(out.contains(" days left\nmemory: at most "), "{out}");
    assert!(out.contains("\nmemory of one client: 9 times what is free, so "), "{out}");
    assert!(out.contains("\ndescriptors: "), "{out}");
}

#[test]
fn every_flag_of_the_seed_is_taken_by_both_ends() {
    let folder = pair();
    let mut arguments = vec!["--check"];
    arguments.extend([
        "-server.net",
        "tcp",
        "-server.addr",
        "127.0.0.1:8443",
        "-client.net",
        "tcp",
        "-client.addr",
        "127.0.0.1:1080",
        "-remux.reuse.max.sec",
        "60",
        "-remux.reuse.max.cnt",
        "16",
        "-remux.idle.max.sec",
        "10",
        "-remux.conn.max.cnt",
        "1024",
        "-remux.net",
        "tls",
        "-eagersocks.net",
        "remux",
        "-tls.server.key",
        "server.key",
        "-tls.server.cert",
        "server.crt",
        "-tls.client.ca",
        "ca.crt",
        "-tls.client.key",
        "client.key",
        "-tls.client.cert",
        "client.crt",
        "-sla.log.level",
        "info",
        "-sla.log.path",
        // The default, but asked for: this test may run as a user who can't write there.
        "tunnels.log",
        "-sla.dingtalk.token",
        "",
        "-sla.dingtalk.secret",
        "",
    ]);
    let (exit, _, err) = run(folder.path(), &arguments);
    assert_eq!((exit, err.as_str()), (0, ""));
}

#[test]
fn what_is_wrong_with_flags_and_with_what_they_mean_has_its_own_exit_code() {
    let folder = pair();
    let addr = ["-server.addr", ":443"];
    for (more, exit, message) in [
        (&["-server.addr", ""][..], 64, "--server.addr: the address is empty → give host:port"),
        (
            &["-server.addr", ":443,127.0.0.1:443"],
            64,
            "--server.addr: \"127.0.0.1:443\": the same place is listed already",
        ),
        (
            &[addr[0], addr[1], "-server.allow", "10.2.3.4/16"],
            64,
            "--server.allow: 10.2.3.4/16 has bits set behind its prefix → write 10.2.0.0/16",
        ),
        (&[addr[0], addr[1], "-server.deny", "example.org"], 64, "--server.deny: \"example.org\": "),
        (
            &[addr[0], addr[1], "-client.users.list", "a:b"],
            64,
            "--client.users.list: this is a setting of the client, and this is the server → give it to tunnels-client",
        ),
        (
            &[addr[0], addr[1], "-remux.net", "tcp"],
            78,
            "--remux.net: without TLS everybody on the path to [::]:443 could",
        ),
        (
            &[addr[0], addr[1], "-eagersocks.net", "unix"],
            78,
            "--eagersocks.net: unix is not the socket that server.net names (tcp) → ",
        ),
        (&[addr[0], addr[1], "-tls.client.ca=gone"], 64, "--tls.client.ca: this flag is given twice"),
        (
            &[addr[0], addr[1], "--config", "gone.yaml"],
            78,
            "gone.yaml: cannot open the configuration file: there is no such file",
        ),
        (&[addr[0], addr[1], "--config", "."], 78, ".: this is a folder → name the YAML file in it"),
    ] {
        let (found, out, err) = run(folder.path(), &with(more));
        assert_eq!((found, out.as_str()), (exit, ""), "{err}");
        assert!(err.starts_with(&format!("tunnels-server: {message}")), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
}

#[test]
fn insecure_transport_is_good_with_a_warning() {
    let folder = pair();
    let (exit, out, err) =
        run(folder.path(), &with(&["-server.addr", ":443", "-remux.net", "tcp", "-remux.insecure"]));
    assert_eq!((exit, err.as_str()), (0, ""));
    assert!(out.contains("\nwarning: CFG-311 remux.insecure: without TLS everybody on the path to [::]:443 could read, change and use the tunnel → "), "{out}");
}

#[test]
fn certificate_of_a_client_is_no_servers() {
    let folder = pair();
    let arguments = [
        "--check",
        "-server.addr",
        ":1",
        "-tls.client.ca",
        "ca.crt",
        "-tls.server.cert",
        "client.crt",
        "-tls.server.key",
        "client.key",
    ];
    let (exit, _, err) = run(folder.path(), &arguments);
    assert_eq!(exit, 78);
    assert!(err.starts_with("tunnels-server: --tls.server.cert: client.crt: is not for a server: "), "{err}");
}

#[test]
fn flag_replaces_the_list_of_the_file() {
    let folder = pair();
    let path = folder.path().join("server.yaml");
    let text = fs::read_to_string(&path).expect("read").replace("  # allow:", "  allow:");
    fs::write(&path, text).expect("write");
    let open = |more: &[&str]| {
        let (exit, out, err) = run(folder.path(), &[&["--check", "--config", "server.yaml"], more].concat());
        assert_eq!(exit, 0, "{err}");
        let line = out.lines().next().unwrap_or_default().to_owned();
        line.split("open: ").nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(open(&[]), "10.2.0.0/16:443, 192.168.7.1/32; closed: nothing");
    assert_eq!(open(&["-server.allow", "127.0.0.0/8"]), "127.0.0.0/8; closed: nothing");
    assert_eq!(open(&["-server.allow="]), "nothing; closed: nothing");
}

#[test]
fn paths_in_a_file_start_at_that_file() {
    let folder = pair();
    let elsewhere = tempfile::tempdir().expect("folder");
    let config = folder.path().join("server.yaml");
    let config = config.to_str().expect("UTF-8");
    assert_eq!(run(elsewhere.path(), &["--check", "--config", config]).0, 0);
    fs::set_permissions(folder.path().join("server.key"), fs::Permissions::from_mode(0o640)).expect("chmod");
    let (exit, _, err) = run(elsewhere.path(), &["--check", "--config", config]);
    assert_eq!(exit, 78);
    let key = folder.path().join("server.key");
    let start = format!("tunnels-server: {config}:15:10: tls.server.key: {}: has mode 0640;", key.display());
    assert!(err.starts_with(&start), "{err}");
}

#[test]
fn log_file_that_was_asked_for_and_cannot_be_opened_is_refused_before_anything_listens() {
    let folder = pair();
    fs::write(folder.path().join("file"), "").expect("write");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("address").to_string();
    let here = folder.path().canonicalize().expect("path");
    for (path, why) in [
        ("gone/t.log", "its folder is not there → make that folder, or name another file (- is stderr)"),
        ("file/t.log", "a part of this path is a file → mend the path, or name another file (- is stderr)"),
        (".", "it is a folder → name a file in it"),
    ] {
        for check in [true, false] {
            let mut arguments: Vec<&str> = FLAGS[..FLAGS.len() - 1].to_vec();
            arguments.extend(["-server.addr", &addr, "-sla.log.path", path]);
            arguments.extend(check.then_some("--check"));
            let (exit, out, err) = run(&here, &arguments);
            assert_eq!((exit, out.as_str()), (78, ""), "{path}: {err}");
            let err = err.replace(&format!("{}/", here.display()), "");
            assert_eq!(err, format!("tunnels-server: --sla.log.path: can't log to {path}: {why}\n"));
        }
    }
    let mut arguments: Vec<&str> = FLAGS.to_vec();
    arguments.extend(["-server.addr", &addr, "-sla.log.path", "t.log"]);
    assert_eq!(run(&here, &arguments).0, 0);
    assert!(!here.join("t.log").exists(), "a check makes nothing");
}
