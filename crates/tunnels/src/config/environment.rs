//! Settings in the environment.

use std::ffi::OsString;
use std::path::PathBuf;

use super::error::Error;
use super::flags::utf8;
use super::setting::{Setting, nearest};
use super::table::TABLE;
use super::value::Value;
use super::{CONFIG, Role};

pub(super) type Variables = Vec<(&'static Setting, Value)>;

/// Settings in the environment, and the file it names. Settings of the other program are none of our business
/// there, as both may run from one shell; misspelt ones are.
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
            check_stray(name)?;
            continue;
        };
        if !setting.taken_by(role) {
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

/// A variable that begins like a setting of ours and is none was misspelt.
fn check_stray(name: &str) -> Result<(), Error> {
    let group = |setting: &Setting| {
        let group = setting.name.split('.').next().unwrap_or_default().to_uppercase();
        name.strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_prefix(&group))
            .is_some_and(|rest| rest.starts_with('_'))
    };
    if !TABLE.iter().any(group) {
        return Ok(());
    }
    let variables: Vec<String> = TABLE.iter().map(Setting::variable).collect();
    let fix = match nearest(name, variables.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None => "unset it; --help lists all settings".to_owned(),
    };
    Err(Error::new(CONFIG, name, "", "no setting belongs to this environment variable", fix))
}

/// The variable that names the file, as `--config` does.
const FILE_VARIABLE: &str = "TUNNELS_CONFIG";

const PREFIX: &str = "TUNNELS_";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::invoke;

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
        for harmless in ["TUNNELS_SERVER_ALLOW", "TUNNELS_BLESS", "TUNNELS", "TUNNELSX"] {
            assert_eq!(error(harmless, "not a network").0, 0, "{harmless}");
        }
    }
}
