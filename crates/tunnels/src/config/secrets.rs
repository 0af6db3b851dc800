//! Secrets: written in place, or in a file of their own, and closed to others either way.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use eagersocks::{Password, Users, UsersError};
use sla::code;

use super::error::Error;
use super::file::explain;
use super::reader::Reader;
use super::source::Origin;

/// The secret a setting holds, if any: itself, or the first line of the file behind `file:`.
pub(super) fn secret(read: &Reader<'_>, name: &str) -> Result<Option<String>, Error> {
    let text = read.text(name);
    if text.is_empty() {
        return Ok(None);
    }
    let Some(path) = text.strip_prefix("file:") else {
        check_place(read, name)?;
        return Ok(Some(text));
    };
    let path = read.resolved(name, Path::new(path));
    let secret = read_closed(read, name, &path)?;
    match secret.lines().next().map(str::trim).filter(|line| !line.is_empty()) {
        Some(line) => Ok(Some(line.to_owned())),
        None => {
            let why = format!("{} is empty", path.display());
            Err(read.clash(name, None, why, "write the secret into it").coded(code::SECRET_FILE))
        }
    }
}

/// All users, from the list and from the file.
pub(super) fn users(read: &Reader<'_>) -> Result<Users, Error> {
    const LIST: &str = "client.users.list";
    const FILE: &str = "client.users.file";
    let mut users = Vec::new();
    let listed = read.list(LIST);
    if !listed.is_empty() {
        check_place(read, LIST)?;
    }
    for (item, text) in listed.iter().enumerate() {
        let user = parse(text).map_err(|why| read.bad_value(LIST, Some(item), why, "write name:password"))?;
        users.push(user);
    }
    let path = read.text(FILE);
    let path = (!path.is_empty()).then(|| read.resolved(FILE, Path::new(&path)));
    if let Some(path) = &path {
        let text = read_closed(read, FILE, path)?;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_end_matches('\r');
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let user = parse(line).map_err(|why| {
                let why = format!("{}:{}: {why}", path.display(), number.saturating_add(1));
                read.clash(FILE, None, why, "write name:password on each line").coded(code::SECRET_FILE)
            })?;
            users.push(user);
        }
        if users.is_empty() {
            let why = format!("{} lists no user, so the port would be open to everybody", path.display());
            let fix = "write name:password lines into it, or delete this setting";
            return Err(read.clash(FILE, None, why, fix).coded(code::SECRET_FILE));
        }
    }
    Users::new(users).map_err(|error: UsersError| {
        let name = if path.is_some() { FILE } else { LIST };
        read.clash(name, None, error.to_string(), "")
    })
}

/// A file of ours that nobody else may read.
fn read_closed(read: &Reader<'_>, name: &str, path: &Path) -> Result<String, Error> {
    let fault = |error: std::io::Error| {
        let why = format!("{}: {}", path.display(), explain(&error));
        read.clash(name, None, why, "check the path").coded(code::SECRET_FILE)
    };
    let mode = std::fs::metadata(path).map_err(fault)?.permissions().mode() & 0o7777;
    if !transport::is_closed(path, mode) {
        let why =
            format!("{} has mode {mode:04o}; others on this machine can read the secret", path.display());
        let fix = format!("chmod 600 {}", path.display());
        return Err(read.clash(name, None, why, fix).coded(code::SECRET_MODE));
    }
    let bytes = std::fs::read(path).map_err(fault)?;
    let text = String::from_utf8(bytes);
    text.map_err(|_| {
        let why = format!("{} is not UTF-8", path.display());
        read.clash(name, None, why, "save it as UTF-8").coded(code::SECRET_FILE)
    })
}

/// A secret written in place: the file around it must be closed; an argument is seen by all.
fn check_place(read: &Reader<'_>, name: &str) -> Result<(), Error> {
    match read.origin(name) {
        Origin::File { .. } => match read.file_open_to_others() {
            Some((file, bits)) => {
                let why = format!(
                    "others on this machine can read this secret (bits {bits:03o} of the file's mode)"
                );
                let fix = format!("chmod 600 {}", file.display());
                Err(read.clash(name, None, why, fix).coded(code::SECRET_MODE))
            }
            None => Ok(()),
        },
        Origin::Flag => {
            read.warn(format!(
                "{} --{name}: every user of this machine can read arguments → write it as file:PATH, or give it in the \
                 environment",
                code::SECRET_ARGUMENT
            ));
            Ok(())
        }
        Origin::Code | Origin::Default | Origin::Variable => Ok(()),
    }
}

fn parse(text: &str) -> Result<(String, Password), &'static str> {
    let (name, password) = text.split_once(':').ok_or("the colon between name and password is missing")?;
    if name.is_empty() || password.is_empty() {
        return Err("name and password may not be empty");
    }
    Ok((name.to_owned(), Password::new(password)))
}
