//! The manual's chapter on settings, made from the table.

use std::fmt::Write as _;

use super::Role;
use super::setting::{Kind, Setting};
use super::table::TABLE;

/// `docs/configuration.md`.
pub fn manual() -> String {
    let mut page = INTRODUCTION.to_owned();
    for (group, title, text) in GROUPS {
        // Writing to a String does not fail.
        let _ = write!(page, "\n## {title}\n\n{text}\n\n");
        page.push_str("| setting | value | default | used by | what it does |\n|---|---|---|---|---|\n");
        for setting in TABLE.iter().filter(|setting| setting.name.split('.').next() == Some(group)) {
            row(&mut page, setting);
        }
    }
    page
}

fn row(page: &mut String, setting: &Setting) {
    let value = setting.kind.placeholder().replace('|', "\\|");
    let value = match setting.kind {
        Kind::Whole { unit, min, max } => format!("{} {min} to {max}", unit.name()),
        Kind::Choice(_) | Kind::Switch => value.replace("\\|", ", "),
        _ => format!("`{value}`, as `{}`", setting.example),
    };
    let default = match (setting.default_value(Role::Client), setting.by_role) {
        (Some(""), _) => "none".to_owned(),
        (Some(value), None) => format!("`{value}`"),
        _ => setting.default.to_owned(),
    };
    let used_by = match (setting.roles.client, setting.roles.server) {
        (true, true) => "both",
        (true, false) => "client",
        _ => "server",
    };
    let mut notes = String::new();
    if setting.reloadable {
        notes.push_str("; renewed by SIGHUP");
    }
    if setting.secret {
        notes.push_str("; secret");
    }
    let _ =
        writeln!(page, "| `{}` | {value} | {default} | {used_by} | {}{notes} |", setting.name, setting.help);
}

const GROUPS: [(&str, &str, &str); 9] = [
    (
        "server",
        "server",
        "Where the server listens, or is found, and what it allows. A grant is a network with optional ports, \
         `10.2.0.0/16:443`, `10.0.0.0/8:80-90`, `[fd00::]/8:443`, `127.0.0.0/8`; without ports it opens all of them. \
         `server.allow` adds to the public Internet, `server.deny` wins over it. A name is judged by each address it \
         resolves to.\n\n\
         `server.identities.file` is a YAML file of its own ([example](examples/identities.yaml)): its keys are names of people and \
         machines, with dots and slashes in them, which are no settings. Below `identities` stands each identity that is let in, as \
         `tunnels cert show` prints it (SAN URI, else DNS name, else `sha256:` and the key), with nothing behind it or with `allow`, \
         `deny`, `only` (destinations), `streams`, `connections`, `dials` (numbers); `\"*\"` is everybody else, who is refused without \
         it. `revoked` lists identities, `sha256:` of a certificate or of its key, and `serial:`; it wins. After SIGHUP, connections of \
         those who are not let in any more are cut within 5 s, and so are streams to destinations that are not open any more, also \
         those that `server.allow` or `server.deny` closed. A file with a mistake changes nothing.",
    ),
    (
        "client",
        "client",
        "Where applications connect. A port that other machines can reach must have users, else the client refuses \
         to start.",
    ),
    (
        "remux",
        "remux",
        "Pooled connections: when a connection is made, reused and retired, how much memory streams may take, and \
         what a peer may do.",
    ),
    (
        "eagersocks",
        "eagersocks",
        "What requests run on and when they are answered. `strict` needs the remux2 wire: the classic wire and \
         requests without remux carry no result.",
    ),
    (
        "tls",
        "tls",
        "TLS 1.3 with certificates on both sides. Keys may be readable by their owner only. `tunnels init` makes a \
         CA and both certificates. SIGHUP reads the same files again, and cuts connections whose peer they refuse; a new path \
         needs a restart.",
    ),
    ("stream", "stream", "One relayed stream, on either side."),
    ("drain", "drain", "Stopping: the first SIGTERM drains, a second one ends at once."),
    (
        "process",
        "process",
        "The process itself. Files are read and sockets opened as whoever starts it, which takes root for ports below \
         1024; everything after that, the log and a reload too, is `process.user`.",
    ),
    (
        "sla",
        "sla",
        "The log, and the DingTalk robot that hears of errors. A path that is given and can't be opened stops the \
         start; the default path falls back to standard error.",
    ),
];

const INTRODUCTION: &str = "\
# Configuration

<!-- Made from the table of settings (crates/tunnels/src/config/table.rs) by its test: TUNNELS_BLESS=1 cargo test -p tunnels manual -->

Every setting has one dotted name, and four ways to give it. The first that is given wins:

| way | looks like |
|---|---|
| flag | `-remux.reuse.max.sec 60`, `--remux.reuse.max.sec=60`: one dash or two, a space or `=` |
| environment | `TUNNELS_REMUX_REUSE_MAX_SEC=60`: upper case, dots become underscores |
| file (`--config FILE` or `TUNNELS_CONFIG`) | YAML, where dots nest |
| default | the tables below |

```yaml
remux:
  reuse:
    max: {sec: 60, cnt: 16}     # the same as  remux.reuse.max.sec: 60  and  remux.reuse.max.cnt: 16
server.addr: [\"a.example.net:443\", \"b.example.net:443\"]
```

* **Lists** are YAML lists; in flags and environment they are split at commas, and a flag may be repeated. A flag replaces the file's
  list, it does not add to it.
* **Numbers** are decimal digits; the unit is the end of the name (`.sec`, `.msec`, `.cnt`, `.bytes`, `.percent`).
* **Paths** in a file are relative to that file, paths in flags and environment to the working directory.
* **Secrets** may be written as `file:PATH`. A file with a secret in it, and a file named by `file:`, must be closed to others
  (`chmod 600`). Arguments are visible to every user of a machine: a secret there is taken with a warning.
* **Both programs** take all flags of the original TunneLS, also those they don't use; other settings of the other program are
  refused in files and flags, and ignored in the environment.
* A file has at most 1 MiB, one document, no merge keys, no tags of its own (`!x` is refused; YAML's, as in `!!str 60`, mean what they
  mean there). A setting given twice is an error.
* **Variables** that begin with `TUNNELS_` and are no setting are refused, as misspelt. Let alone are `TUNNELS_CONFIG`, those of the
  repository's scripts (`TUNNELS_BIN`, `TUNNELS_BLESS`, `TUNNELS_CHECK_INSTALL`), and those that Kubernetes sets for a service of that
  name (`TUNNELS_SERVER_SERVICE_HOST`, `TUNNELS_SERVER_PORT=tcp://…`). An empty variable counts as not given: what the file says stays.
* **SIGHUP** reads file, users and certificates again. Settings that need a restart keep their old values; the log names those that
  have changed (`config_warning`).

`--print-config` prints every value and where it comes from (secrets as `***`), `--check` and `tunnels check FILE` say whether all of it
is good, certificates included, as far as that can be known without a start: not whether the port is free, and of what `process.user` may
do what permission bits tell of its log. Neither starts anything.

Whatever is wrong is one line, `place: setting: cause → what to do`, and an exit code:

| exit code | meaning |
|---|---|
| 0 | ended well |
| 1 | a tool of `tunnels` could not do its work |
| 64 | the command line is wrong: unknown flag, bad or missing value, a flag given twice, something needed was not given |
| 69 | an address can't be listened on |
| 70 | a fault of ours |
| 71 | the system refuses what every process needs |
| 78 | file, environment, certificate, key or a combination of settings is wrong; a missing file, wherever it was named |
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_in_the_repository_is_that_of_the_table() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
        if std::env::var_os("TUNNELS_BLESS").is_some() {
            std::fs::write(&path, manual()).expect("write the manual");
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        let differing = manual()
            .lines()
            .zip(found.lines())
            .find(|(right, found)| right != found)
            .map(|(right, _)| right.to_owned());
        assert!(
            manual() == found,
            "docs/configuration.md is stale at {differing:?}; TUNNELS_BLESS=1 rewrites it"
        );
    }

    #[test]
    fn every_variable_that_is_let_alone_is_in_the_manual() {
        for name in super::super::environment::OTHERS {
            assert!(manual().contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn every_setting_is_in_the_manual_and_in_the_help_once() {
        let page = manual();
        for setting in TABLE {
            assert_eq!(page.matches(&format!("| `{}` |", setting.name)).count(), 1, "{}", setting.name);
            for role in [Role::Client, Role::Server].into_iter().filter(|role| setting.taken_by(*role)) {
                let help = super::super::flags::command(role).render_long_help().to_string();
                assert_eq!(
                    help.matches(&format!("--{} ", setting.name)).count()
                        + help.matches(&format!("--{}[", setting.name)).count(),
                    1,
                    "{} of the {}",
                    setting.name,
                    role.name()
                );
            }
        }
    }
}
