//! The real program, from its command line to its exit code. Nothing here listens or connects.

#[path = "../../../tests/program.rs"]
mod program;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use program::shown;

const GOOD: &str = "server:\n  addr: 127.0.0.1:8443\nclient:\n  addr: 127.0.0.1:1080\ntls:\n  server: {ca: ca.crt}\n  client: {cert: client.crt, key: client.key}\n";

fn program() -> Command {
    program::command(env!("CARGO_BIN_EXE_tunnels-client"))
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    shown(program().args(arguments).output().expect("run"))
}

/// A folder with certificates, and a configuration file of those bytes.
fn folder(config: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    tunnels::pki::init(folder.path(), "127.0.0.1:8443").expect("init");
    fs::write(folder.path().join("c.yaml"), config).expect("write");
    mode(folder.path(), "c.yaml", 0o600);
    folder
}

fn mode(folder: &Path, name: &str, mode: u32) {
    fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).expect("chmod");
}

/// What `--check` says about a file of those bytes, with the folder's name taken out.
fn check(config: &[u8]) -> (i32, String) {
    let folder = folder(config);
    check_in(folder.path(), &[])
}

fn check_in(folder: &Path, more: &[&str]) -> (i32, String) {
    let name = format!("{}/", folder.display());
    let file = format!("{name}c.yaml");
    let mut arguments = vec!["--check", "--config", &file];
    arguments.extend(more);
    let (exit, out, err) = run(&arguments);
    let text = if exit == 0 { out } else { err };
    (exit, text.replace(&name, ""))
}

#[test]
fn help_and_version_come_without_reading_anything() {
    for flag in ["--help", "-h", "-help"] {
        let (exit, out, err) = run(&["--config", "/nonexistent", flag]);
        assert_eq!((exit, err.as_str()), (0, ""));
        assert!(out.contains("--remux.reuse.max.sec <SECONDS>"), "{out}");
    }
    for flag in ["--version", "-V", "-version"] {
        let (exit, out, _) = run(&["--config", "/nonexistent", flag]);
        assert_eq!((exit, out), (0, format!("tunnels-client {}\n", env!("CARGO_PKG_VERSION"))));
    }
}

#[test]
fn wrong_command_line_is_64_with_one_line() {
    let long = format!("-tls.server.name={}", "x ".repeat(1 << 15));
    for (arguments, message) in [
        (&["-server.adr", "x"][..], "unknown flag \"--server.adr\" → did you mean --server.addr?"),
        (
            &["-server.addr"],
            "--server.addr: the value is missing → write it behind the flag, after a space or =",
        ),
        (&["-server.addr", "--x"], "unknown flag \"--x\" → --help lists all flags"),
        (
            &["-client.addr=a:1", "--client.addr", "b:1"],
            "--client.addr: this flag is given twice → give it once; only lists may be repeated",
        ),
        (&["client.yaml"], "unexpected argument \"client.yaml\" → --help shows what can be said here"),
        (
            &["-remux.idle.max.sec", "1e3"],
            "--remux.idle.max.sec: \"1e3\" is no whole decimal number → write a whole number of seconds from 1 to 315360000, in digits only",
        ),
        (
            &["-server.net", "unixpacket"],
            "--server.net: \"unixpacket\" keeps message boundaries and cuts what does not fit; the tunnel needs a byte stream → use unix",
        ),
        (
            &[],
            "--server.addr: the address is empty → give the server's host:port, for example tunnel.example.net:443, or name a file with --config (tunnels init writes files for both ends)\n",
        ),
        (&["version"], "unexpected argument \"version\" → did you mean --version?"),
        (&["-remux.reuse.max.sec", "-5"], "--remux.reuse.max.sec: \"-5\" is no whole decimal number → "),
        (
            &["-server.allow", "10.0.0.0/8"],
            "--server.allow: this is a setting of the server, and this is the client → ",
        ),
        (&["-server.addr", "h:65536", "-client.addr", "127.0.0.1:1080"], "--server.addr: \"h:65536\": "),
        (
            &["-server.addr", "h:1", "-client.addr", "127.0.0.1:0"],
            "--client.addr: \"127.0.0.1:0\": port 0 means",
        ),
        (
            &["-server.addr", "h:1", "-client.addr", "127.0.0.1:1080"],
            "--tls.client.ca: no file is named for the CA that the server's certificate chains to → ",
        ),
        (&["-server.addr", "h:1", "-client.addr", "127.0.0.1:1080", &long], "--tls.server.name: \"x x x x"),
    ] {
        let (exit, out, err) = run(arguments);
        assert_eq!((exit, out.as_str()), (64, ""), "{err}");
        assert!(err.starts_with(&format!("tunnels-client: {message}")), "{err}");
        assert!(err.ends_with('\n') && err.lines().count() == 1 && err.len() < 600, "{err}");
    }
}

#[test]
fn argument_that_is_not_utf8_is_64() {
    let output = program().arg(OsStr::from_bytes(b"-client.addr=\xff\x1b[31m")).output().expect("run");
    let (exit, _, err) = shown(output);
    assert_eq!(exit, 64);
    assert_eq!(
        err,
        "tunnels-client: --client.addr: \"\u{fffd}\\u{1b}[31m\" is not UTF-8 → write it in UTF-8\n"
    );
}

#[test]
fn wrong_file_is_78_with_line_and_column() {
    let replace = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        GOOD.replace(from, to).into_bytes()
    };
    let bomb: String = (1..40).map(|i| format!("a{i}: &a{i} [*a{0}, *a{0}, *a{0}]\n", i - 1)).collect();
    for (config, message) in [
        (Vec::new(), "c.yaml:1:1: the file holds no settings → "),
        (b"# nothing\n".to_vec(), "c.yaml:1:1: the file holds no settings → "),
        (b"[]\n".to_vec(), "c.yaml:1:1: the file is not a map of settings → "),
        (replace("  addr: 127.0.0.1:8443", "\taddr: x"), "c.yaml:2:1: a tab is used for indentation"),
        (
            replace("  addr: 127.0.0.1:8443", "  addr: a:1\n  addr: a:1"),
            "c.yaml:3:3: server.addr: it stands here a second time, first on line 2 → ",
        ),
        (
            replace("  addr: 127.0.0.1:8443", "  adr: a:1"),
            "c.yaml:2:3: unknown setting \"server.adr\" → did you mean server.addr?",
        ),
        (
            replace("  addr: 127.0.0.1:8443", "  addr: 1e3"),
            "c.yaml:2:9: server.addr: 1e3 was read as the number 1000 → put it in quotes: \"1e3\"",
        ),
        (
            replace("  addr: 127.0.0.1:8443", "  addr: [a:1, true]"),
            "c.yaml:2:15: server.addr: true was read as true",
        ),
        (replace("  addr: 127.0.0.1:8443", "  addr: h"), "c.yaml:2:9: server.addr: \"h\": "),
        (
            replace("  addr: 127.0.0.1:8443", "  addr: [\"a:1\", \"b:0\"]"),
            "c.yaml:2:17: server.addr: \"b:0\": ",
        ),
        (
            replace("  addr: 127.0.0.1:8443", "  addr: \"\""),
            "c.yaml:2:9: server.addr: the address is empty → ",
        ),
        (replace("server:\n  addr: 127.0.0.1:8443\n", ""), "c.yaml: server.addr: the address is empty → "),
        (
            replace("127.0.0.1:1080", "0.0.0.0:1080"),
            "c.yaml:4:9: client.addr: 0.0.0.0:1080 would let anyone who can reach this machine use the tunnel → use 127.0.0.1, or add client.users; refusing to start",
        ),
        (
            replace("  addr: 127.0.0.1:1080", "  addr: 127.0.0.1:1080\n  users.list: [\"a:b\", \"c\"]"),
            "c.yaml:5:23: client.users.list: the colon between name and password is missing → write name:password",
        ),
        (replace("tls:", "--- # next\ntls:"), "c.yaml:6:1: a second document begins here"),
        (replace("tls:", "<<: *x\ntls:"), "c.yaml:5:5: unknown anchor → "),
        (
            replace("tls:", "tls: !mutual"),
            "c.yaml:5:6: tags (words that begin with !) have no meaning here → ",
        ),
        (
            replace("tls:", "remux: {net: tcp}\neagersocks: {reply: strict, net: unix}\ntls:"),
            "c.yaml:6:34: eagersocks.net: unix is not the socket that server.net names (tcp) → ",
        ),
        (
            replace("tls:", "remux: {wire: classic}\neagersocks.reply: strict\ntls:"),
            "c.yaml:6:19: eagersocks.reply: the classic wire carries no result of a dial → ",
        ),
        (
            replace("tls:", "remux.idle.max.sec: 999999999\ntls:"),
            "c.yaml:5:21: remux.idle.max.sec: 999999999 is out of range → ",
        ),
        (
            replace("tls:", "server.allow: [10.0.0.0/8]\ntls:"),
            "c.yaml:5:1: server.allow: this is a setting of the server, and this is the client's file → ",
        ),
        (
            replace("client.key}", "client.key"),
            "c.yaml:8:1: did not find expected ',' or '}', while parsing a flow mapping at 7:11 → ",
        ),
        (replace("client.crt", "gone.crt"), "c.yaml:7:18: tls.client.cert: gone.crt: no such file → "),
        (
            replace("cert: client.crt", "cert: server.crt"),
            "c.yaml:7:18: tls.client.cert: server.crt: is not for a client: ",
        ),
        (
            replace("key: client.key", "key: server.key"),
            "c.yaml:7:35: tls.client.key: server.key: is not the key of the certificate in client.crt → ",
        ),
        (replace("ca: ca.crt", "ca: client.crt"), "c.yaml:6:16: tls.server.ca: client.crt: holds "),
        (replace("key: client.key", "key: client.crt"), "c.yaml:7:35: tls.client.key: "),
        (b"server: \xff\n".to_vec(), "c.yaml:1:9: these bytes are not UTF-8 → save the file as UTF-8"),
        (b"server: \0\n".to_vec(), "c.yaml:1:9: this character may not be in YAML"),
        ([b"#".repeat(1 << 20), GOOD.into()].concat(), "c.yaml:1:1: the file is larger than 1 MiB → "),
        (b"[".repeat(10_000), "c.yaml:1:65: lists and maps are nested deeper than 64 → "),
        (format!("a0: &a0 [x]\n{bomb}").into_bytes(), "c.yaml:"),
    ] {
        let (exit, message_found) = check(&config);
        assert_eq!(exit, 78, "{message}: {message_found}");
        assert!(
            message_found.starts_with(&format!("tunnels-client: {message}")),
            "{message}: {message_found}"
        );
        assert!(message_found.ends_with('\n') && message_found.lines().count() == 1, "{message_found}");
        assert!(message_found.contains(" → ") && message_found.len() < 600, "{message_found}");
    }
}

#[test]
fn good_file_is_good_with_crlf_and_a_byte_order_mark() {
    let (exit, text) = check(GOOD.as_bytes());
    assert_eq!(exit, 0, "{text}");
    let first = "good: a client on 127.0.0.1:1080 (no users, open to this machine), to 127.0.0.1:8443 by remux over tls\n";
    assert!(text.starts_with(&format!("{first}certificate \"client\" (names client; issuer ")), "{text}");
    let windows = format!("\u{feff}{}", GOOD.replace('\n', "\r\n"));
    assert_eq!(check(windows.as_bytes()).0, 0);
}

#[test]
fn missing_file_is_78_wherever_it_is_named() {
    let (exit, _, err) = run(&["--config", "/nonexistent/c.yaml"]);
    assert_eq!(exit, 78);
    assert_eq!(
        err,
        "tunnels-client: /nonexistent/c.yaml: cannot open the configuration file: there is no such file → check --config\n"
    );
    let (exit, _, err) = shown(program().env("TUNNELS_CONFIG", "/nonexistent/c.yaml").output().expect("run"));
    assert_eq!(exit, 78, "{err}");
    let folder = folder(GOOD.as_bytes());
    let (exit, err) = check_in(folder.path(), &["-tls.client.key", "/nonexistent/k"]);
    assert_eq!(exit, 78);
    assert!(err.starts_with("tunnels-client: --tls.client.key: /nonexistent/k: no such file → "), "{err}");
}

#[test]
fn key_open_to_others_is_refused() {
    let folder = folder(GOOD.as_bytes());
    mode(folder.path(), "client.key", 0o644);
    let (exit, err) = check_in(folder.path(), &[]);
    assert_eq!(exit, 78);
    assert!(err.starts_with("tunnels-client: c.yaml:7:35: tls.client.key: client.key: has mode 0644; others on this machine can read the key → chmod 600"), "{err}");
}

#[test]
fn secret_in_a_file_open_to_others_is_refused() {
    let folder = folder(format!("{GOOD}sla.dingtalk.token: hush\n").as_bytes());
    assert_eq!(check_in(folder.path(), &[]).0, 0);
    mode(folder.path(), "c.yaml", 0o640);
    let (exit, err) = check_in(folder.path(), &[]);
    assert_eq!(exit, 78);
    assert_eq!(
        err,
        "tunnels-client: c.yaml:8:21: sla.dingtalk.token: others on this machine can read this secret (bits 040 of the file's mode) → chmod 600 c.yaml\n"
    );
}

#[test]
fn flag_beats_environment_beats_file_and_each_is_named() {
    let folder = folder(
        format!(
            "{GOOD}remux.reuse.max: {{sec: 1, cnt: 2}}\nremux.idle.max.sec: 3\nsla.dingtalk.token: hush\n"
        )
        .as_bytes(),
    );
    let file = folder.path().join("c.yaml");
    let output = program()
        .args(["-remux.reuse.max.sec", "7", "--print-config", "-config"])
        .arg(&file)
        .env("TUNNELS_REMUX_REUSE_MAX_SEC", "5")
        .env("TUNNELS_REMUX_REUSE_MAX_CNT", "6")
        .output();
    let (exit, out, err) = shown(output.expect("run"));
    assert_eq!((exit, err.as_str()), (0, ""));
    for line in [
        "remux.reuse.max.sec: 7  # flag --remux.reuse.max.sec\n",
        "remux.reuse.max.cnt: 6  # environment TUNNELS_REMUX_REUSE_MAX_CNT\n",
        &format!("remux.idle.max.sec: 3  # file {}:9:21\n", file.display()),
        "remux.conn.max.cnt: 1024  # default\n",
        &format!("sla.dingtalk.token: \"***\"  # file {}:10:21\n", file.display()),
        "# tls.server.name: the host of server.addr  # default\n",
    ] {
        assert!(out.contains(line), "{line} in {out}");
    }
    assert!(!out.contains("hush"));
}

#[test]
fn environment_is_78_when_it_is_wrong() {
    for (name, value, message) in [
        ("TUNNELS_SERVER_NET", "udp", "TUNNELS_SERVER_NET: server.net: \"udp\" carries datagrams"),
        (
            "TUNNELS_SERVER_ADR",
            "x",
            "TUNNELS_SERVER_ADR: no setting belongs to this environment variable → did you mean TUNNELS_SERVER_ADDR?",
        ),
        ("TUNNELS_CLIENT_ADDR", "x", "TUNNELS_CLIENT_ADDR: client.addr: \"x\": "),
    ] {
        let output = program().args(["-server.addr", "h:1"]).env(name, value).output().expect("run");
        let (exit, _, err) = shown(output);
        assert_eq!(exit, 78, "{err}");
        assert!(err.starts_with(&format!("tunnels-client: {message}")), "{err}");
    }
}

#[test]
fn closed_output_is_no_panic() {
    for arguments in [&["--help"][..], &["--version"], &["--print-config"]] {
        let (reader, writer) = std::io::pipe().expect("pipe");
        drop(reader);
        let errors = writer.try_clone().expect("clone");
        let status = program().args(arguments).stdout(writer).stderr(errors).status().expect("run");
        assert_eq!(status.code(), Some(0), "{arguments:?}");
    }
    let (reader, writer) = std::io::pipe().expect("pipe");
    drop(reader);
    let status = program().arg("--nonsense").stderr(writer).status().expect("run");
    assert_eq!(status.code(), Some(64));
}
