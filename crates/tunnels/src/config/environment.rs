//! Settings in the environment.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use sla::code;

use super::error::Error;
use super::flags::utf8;
use super::setting::{Setting, nearest};
use super::table::TABLE;
use super::value::Value;
use super::{CONFIG, Role};

pub(super) type Variables = Vec<(&'static Setting, Value)>;

/// Settings in the environment, and the file it names. Settings of the other program are none of our business
/// there, as both may run from one shell; misspelt ones are. An empty variable is none: what a script or a container's
/// manifest had no value for must not undo what the file says.
pub(super) fn variables(
    role: Role,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(Variables, Option<PathBuf>), Error> {
    let mut settings = Vec::new();
    let mut file = None;
    for (name, text) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        if name == FILE_VARIABLE {
            file = Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty());
            continue;
        }
        let Some(setting) = TABLE.iter().find(|setting| setting.variable() == name) else {
            if OTHERS.contains(&name) || is_service_link(name, &text) {
                continue;
            }
            return Err(stray(name));
        };
        if !setting.taken_by(role) || text.is_empty() {
            continue;
        }
        let text = utf8(name, text).map_err(|error| error.with_exit(CONFIG))?;
        let value = Value::from_text(setting.kind, &text)
            .map_err(|complaint| Error::new(CONFIG, name, setting.name, complaint.why, complaint.fix))?;
        settings.push((setting, value));
    }
    settings.sort_by_key(|(setting, _)| setting.name);
    Ok((settings, file))
}

/// What Kubernetes (and Docker before it) sets in every container for a service called `tunnels` or `tunnels-server`:
/// nobody misspelt that, and nobody can unset it.
fn is_service_link(name: &str, text: &OsStr) -> bool {
    let is_url = || text.to_string_lossy().contains("://");
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && is_url())
        || name.split_once("_PORT_").is_some_and(|(_, port)| port.starts_with(|c: char| c.is_ascii_digit()))
}

/// A variable that begins like ours and is none was misspelt.
fn stray(name: &str) -> Error {
    let variables: Vec<String> = TABLE.iter().map(Setting::variable).collect();
    let known = variables.iter().map(String::as_str).chain([FILE_VARIABLE]);
    let fix = match nearest(name, known) {
        Some(near) => format!("did you mean {near}?"),
        None => "unset it; --help lists all settings".to_owned(),
    };
    Error::new(CONFIG, name, "", "no setting belongs to this environment variable", fix)
        .coded(code::UNKNOWN_NAME)
}

/// The variable that names the file, as `--config` does.
const FILE_VARIABLE: &str = "TUNNELS_CONFIG";

/// Every variable that begins so is ours.
const PREFIX: &str = "TUNNELS_";

/// Those that scripts and tests of this repository use; the manual lists them.
pub(super) const OTHERS: [&str; 3] = ["TUNNELS_BIN", "TUNNELS_BLESS", "TUNNELS_CHECK_INSTALL"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Invocation, invoke};

    #[test]
    fn misspelt_variable_is_refused_and_one_of_another_program_is_not() {
        let error = |name: &str, value: &str| {
            invoke(Role::Client, [], [(name.into(), value.into())])
                .map_or_else(|error| (error.exit_code(), error.to_string()), |_| (0, String::new()))
        };
        assert_eq!(
            error("TUNNELS_SERVER_ADR", "x"),
            (78, "TUNNELS_SERVER_ADR: no setting belongs to this environment variable → did you mean TUNNELS_SERVER_ADDR?".into())
        );
        assert_eq!(
            error("TUNNELS_SERVER_NET", "udp6").1.split(" → ").next(),
            Some(
                "TUNNELS_SERVER_NET: server.net: \"udp6\" carries datagrams, which may be lost or reordered; the tunnel needs a byte stream"
            )
        );
        assert_eq!(
            error("TUNNELS_FOO", "7"),
            (78, "TUNNELS_FOO: no setting belongs to this environment variable → unset it; --help lists all settings".into())
        );
        assert!(error("TUNNELS_CONFG", "c.yaml").1.ends_with("did you mean TUNNELS_CONFIG?"));
        for harmless in ["TUNNELS_SERVER_ALLOW", "TUNNELS_BLESS", "TUNNELS_BIN", "TUNNELS", "TUNNELSX"] {
            assert_eq!(error(harmless, "not a network").0, 0, "{harmless}");
        }
    }

    #[test]
    fn empty_variable_takes_nothing_away_that_the_file_says() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("server.yaml");
        let text =
            "server: {deny: [198.51.100.0/24], identities: {file: who.yaml}}\ntls.client.crl: clients.crl\n";
        std::fs::write(&file, text).expect("write");
        let shown = |variables: Vec<(OsString, OsString)>| {
            let arguments = ["--config".into(), file.clone().into(), "--print-config".into()];
            match invoke(Role::Server, arguments, variables) {
                Ok(Invocation::PrintConfig(source)) => source.to_string(),
                other => panic!("{other:?}"),
            }
        };
        let empty = TABLE.iter().map(|setting| (setting.variable().into(), OsString::new())).collect();
        let shown_without = shown(Vec::new());
        assert!(shown_without.contains("who.yaml"), "{shown_without}");
        assert_eq!(shown(empty), shown_without);
    }

    #[test]
    fn variables_that_kubernetes_sets_for_a_service_are_no_misspelt_settings() {
        let exit = |name: &str, value: &str| {
            invoke(Role::Server, [], [(name.into(), value.into())])
                .map_or_else(|error| error.exit_code(), |_| 0)
        };
        for (name, value) in [
            ("TUNNELS_SERVICE_HOST", "10.0.0.11"),
            ("TUNNELS_SERVER_SERVICE_PORT", "443"),
            ("TUNNELS_SERVER_SERVICE_PORT_TLS", "443"),
            ("TUNNELS_SERVER_PORT", "tcp://10.0.0.11:443"),
            ("TUNNELS_PORT_443_TCP", "tcp://10.0.0.11:443"),
            ("TUNNELS_SERVER_PORT_443_TCP_ADDR", "10.0.0.11"),
        ] {
            assert_eq!(exit(name, value), 0, "{name}");
        }
        assert_eq!(exit("TUNNELS_SERVER_PORT", "443"), 78, "somebody meant server.addr");
    }
}
