//! The real toolbox, from its command line to its exit code.

#[path = "../../../tests/program.rs"]
mod program;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = program::command(env!("CARGO_BIN_EXE_tunnels"));
    program::shown(command.args(arguments).current_dir(folder).output().expect("run"))
}

fn here() -> tempfile::TempDir {
    tempfile::tempdir().expect("folder")
}

#[test]
fn three_commands_make_a_pair() {
    let here = here();
    let (exit, out, err) = run(here.path(), &["init", "--dir", "d", "--server", "tunnel.example.net:443"]);
    assert_eq!((exit, err.as_str()), (0, ""));
    for line in ["tunnels-server --config d/server.yaml\n", "tunnels-client --config d/client.yaml\n"] {
        assert!(out.contains(line), "{out}");
    }
    let mode = |name: &str| fs::metadata(here.path().join(name)).expect("made").permissions().mode() & 0o777;
    assert_eq!(mode("d"), 0o700);
    for key in ["d/ca.key", "d/server.key", "d/client.key"] {
        assert_eq!(mode(key), 0o600, "{key}");
    }
    let (exit, out, err) = run(here.path(), &["check", "d/server.yaml"]);
    assert_eq!((exit, err.as_str()), (0, ""));
    assert!(out.starts_with("d/server.yaml: good: a server on [::]:443 by remux over tls"), "{out}");
    let (exit, out, _) = run(here.path(), &["check", "d/client.yaml"]);
    assert_eq!(exit, 0);
    assert!(out.starts_with("d/client.yaml: good: a client on 127.0.0.1:1080"), "{out}");
}

#[test]
fn next_steps_can_be_copied_into_a_shell() {
    let here = here();
    let folder = here.path().join("my programs");
    fs::create_dir(&folder).expect("folder");
    let tool = folder.join("tunnels");
    fs::copy(env!("CARGO_BIN_EXE_tunnels"), &tool).expect("copy");
    let script = |name: &str| {
        fs::write(folder.join(name), format!("#!/bin/sh\necho {name} \"$2\"\n")).expect("write");
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).expect("chmod");
    };
    script("tunnels-server");
    script("tunnels-client");
    let steps = |dir: &str, path: &str| -> Vec<String> {
        let arguments = ["init", "--server", "h:1", &format!("--dir={dir}")];
        let mut command = Command::new(&tool);
        let output =
            command.args(arguments).env("PATH", path).current_dir(here.path()).output().expect("run");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().filter_map(|line| line.strip_prefix("  ")).map(str::to_owned).collect()
    };
    // Not in PATH, or another one is: by the folder of the program that was run. Each line does what it says.
    let apart = steps("with space", "/usr/bin:/bin");
    assert_eq!(apart.len(), 2);
    for (step, (name, file)) in
        apart.iter().zip([("tunnels-server", "server.yaml"), ("tunnels-client", "client.yaml")])
    {
        let mut shell = Command::new("/bin/sh");
        let output = shell.args(["-c", step]).current_dir(here.path()).output().expect("shell");
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{name} with space/{file}\n"), "{step}");
    }
    let found = steps("-d", &format!("/usr/bin:{}", folder.display()));
    assert_eq!(
        found,
        ["tunnels-server --config ./-d/server.yaml", "tunnels-client --config ./-d/client.yaml"]
    );
}

#[test]
fn init_never_overwrites() {
    let here = here();
    let arguments = ["init", "-dir=d", "-server", "127.0.0.1:8443"];
    assert_eq!(run(here.path(), &arguments).0, 0);
    let before = fs::read(here.path().join("d/ca.key")).expect("read");
    let (exit, out, err) = run(here.path(), &arguments);
    assert_eq!((exit, out.as_str()), (1, ""));
    assert_eq!(
        err,
        "tunnels: d/ca.crt: this file exists, and init never overwrites → choose another folder\n"
    );
    assert_eq!(fs::read(here.path().join("d/ca.key")).expect("read"), before);
}

#[test]
fn cert_show_explains_names_use_and_days() {
    let here = here();
    assert_eq!(run(here.path(), &["init", "--dir", ".", "--server", "192.0.2.7:443"]).0, 0);
    let (exit, out, _) = run(here.path(), &["cert", "show", "server.crt"]);
    assert_eq!(exit, 0);
    assert!(out.contains("names     192.0.2.7\n"), "{out}");
    assert!(out.contains("use       server"), "{out}");
    assert!(out.contains("left      729 days\n") || out.contains("left      730 days\n"), "{out}");
    let (exit, out, _) = run(here.path(), &["cert", "show", "ca.crt"]);
    assert_eq!(exit, 0);
    assert!(out.contains("use       CA\n"), "{out}");
    let (exit, out, err) = run(here.path(), &["cert", "show", "client.key"]);
    assert_eq!((exit, out.as_str()), (78, ""));
    assert!(err.starts_with("tunnels: client.key: "), "{err}");
}

#[test]
fn every_example_is_good() {
    let here = here();
    assert_eq!(run(here.path(), &["init", "--dir", ".", "--server", "tunnel.example.net:443"]).0, 0);
    for (name, text) in
        [("users.txt", "laptop:correct-horse\n"), ("dingtalk.token", "t\n"), ("dingtalk.secret", "s\n")]
    {
        fs::write(here.path().join(name), text).expect("write");
        fs::set_permissions(here.path().join(name), fs::Permissions::from_mode(0o600)).expect("chmod");
    }
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples");
    let mut seen = 0;
    for example in fs::read_dir(examples).expect("examples") {
        let example = example.expect("example");
        let name = example.file_name();
        let name = name.to_str().expect("UTF-8");
        // The server's example names it.
        if name == "identities.yaml" {
            continue;
        }
        fs::copy(example.path().with_file_name("identities.yaml"), here.path().join("identities.yaml"))
            .expect("copy");
        fs::copy(example.path(), here.path().join(name)).expect("copy");
        let (exit, out, err) = run(here.path(), &["check", name]);
        assert_eq!((exit, err.as_str()), (0, ""), "{name}");
        assert!(out.starts_with(&format!("{name}: good: a ")), "{out}");
        if name == "server.yaml" {
            assert!(out.contains("identities: 4 listed, others are refused; revoked: 3\n"), "{out}");
        }
        seen += 1;
    }
    assert!(seen >= 6, "{seen}");
}

#[test]
fn check_says_what_is_wrong_where() {
    let here = here();
    let config = here.path().join("c.yaml");
    fs::write(
        &config,
        "server:\n  addr: \":443\"\n  allow: [10.2.3.4/16]\ntls: {server: {key: k, cert: c}, client.ca: a}\n",
    )
    .expect("write");
    let (exit, out, err) = run(here.path(), &["check", "c.yaml"]);
    assert_eq!((exit, out.as_str()), (78, ""));
    assert!(
        err.starts_with("tunnels: c.yaml:3:11: server.allow: 10.2.3.4/16 has bits set behind its prefix → "),
        "{err}"
    );
    fs::write(&config, "server.addr: h:1\nclient.net: tcp\ntls.server.key: k\n").expect("write");
    let (exit, _, err) = run(here.path(), &["check", "c.yaml"]);
    assert_eq!(exit, 78);
    assert_eq!(
        err,
        "tunnels: c.yaml:3:1: tls.server.key: only the server has this setting, and only the client has client.net, which stands above → keep a file for each program, or say whose this is with --role client or --role server\n"
    );
    let (exit, _, err) = run(here.path(), &["check", "c.yaml", "--role", "client"]);
    assert_eq!(exit, 78);
    assert!(err.starts_with("tunnels: c.yaml: client.addr: the address is empty → "), "{err}");
}

#[test]
fn wrong_command_line_is_64_with_one_line() {
    let here = here();
    for (arguments, message) in [
        (&[][..], "a command is missing → --help lists them"),
        (&["chekc"], "unexpected argument \"chekc\" → did you mean check?"),
        (&["version"], "unexpected argument \"version\" → did you mean --version?"),
        (&["-dir", "d"], "unknown flag \"--dir\" → write it behind its command, as --help shows"),
        (&["--demo"], "unknown flag \"--demo\" → did you mean demo?"),
        (&["init", "--dir", "d", "--server", "*.foo:443"], "--server: \"*.foo:443\": a wildcard stands for"),
        (&["init", "--dir", "d", "--server", "127.1:44"], "--server: \"127.1:44\": this ends in a number"),
        (&["cert"], "a command is missing → --help lists them"),
        (&["cert", "shwo"], "unexpected argument \"shwo\" → did you mean show?"),
        (&["check"], "FILE is missing → --help shows what belongs there"),
        (&["init", "--dir", "d"], "--server is missing → --help shows what belongs there"),
        (&["init", "--dri", "d"], "unknown flag \"--dri\" → did you mean --dir?"),
        (&["init", "--dir", "", "--server", "h:1"], "--dir: the folder's name is empty → name a folder"),
        (&["init", "--dir", "d", "--server", "h"], "--server: \"h\": "),
        (&["check", "c.yaml", "--role", "x"], "--role: \"x\" is no role → write client or server"),
    ] {
        let (exit, out, err) = run(here.path(), arguments);
        assert_eq!((exit, out.as_str()), (64, ""), "{err}");
        assert!(err.starts_with(&format!("tunnels: {message}")), "{arguments:?}: {err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    assert_eq!(fs::read_dir(here.path()).expect("folder").count(), 0);
}

#[test]
fn help_and_version_end_well() {
    let here = here();
    for arguments in
        [&["--help"][..], &["-help"], &["init", "--help"], &["check", "-h"], &["cert", "show", "--help"]]
    {
        let (exit, out, err) = run(here.path(), arguments);
        assert_eq!((exit, err.as_str()), (0, ""));
        assert!(out.contains("Usage: tunnels"), "{out}");
    }
    assert_eq!(run(here.path(), &["--version"]).1, format!("tunnels {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn check_names_the_place_of_a_log_file_that_cannot_be_opened() {
    let here = here();
    run(here.path(), &["init", "--dir", "d", "--server", "tunnel.example.net:443"]);
    let file = here.path().join("d/server.yaml");
    let text = fs::read_to_string(&file).expect("made");
    fs::write(&file, format!("sla.log.path: gone/t.log\n{text}")).expect("write");
    let (exit, _, err) = run(here.path(), &["check", "d/server.yaml"]);
    assert_eq!(exit, 78);
    assert!(
        err.contains(
            "d/server.yaml:1:15: sla.log.path: can't log to d/gone/t.log: its folder is not there → "
        ),
        "{err}"
    );
}
