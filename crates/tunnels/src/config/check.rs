//! What a configuration points to: certificates, keys, CAs and the log, looked at before anything starts.

use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use nix::unistd::{AccessFlags, User, access};
use sla::code;
use sla::subscriber::LogPath;
use transport::{Certificate, LoadError, LoadFault, TlsFiles, TlsSettings};

use super::Role;
use super::error::{CONFIG, Error};
use super::file::File;
use super::identity::Identities;
use super::later::closed_log;
use super::model::{Carrier, Client, Memory, Server, Wire};
use super::setting::Setting;
use super::source::Source;
use super::value::Complaint;
use crate::descriptors::{Descriptors, needs_of_client, needs_of_server};

impl Client {
    /// Reads the certificate, key and CA files and applies every check of [`transport::ClientTls::load`]; gives
    /// the certificate we would show, `None` on a plain transport. Looks whether the log file can be opened, too, without
    /// making it.
    ///
    /// # Errors
    /// The first file that can't be used, at the place where it is named.
    pub fn check_files(&self) -> Result<Option<Arc<Certificate>>, Error> {
        check_user(&self.source, self.user.as_deref())?;
        check_log(&self.source, &self.log.path)?;
        let Some(tls) = &self.tls else { return Ok(None) };
        let files =
            TlsFiles { ca: tls.server_ca.clone(), certificate: tls.cert.clone(), key: tls.key.clone() };
        let ca = if self.source.is_given("tls.server.ca") { "tls.server.ca" } else { "tls.client.ca" };
        let mut named =
            vec![(ca, &files.ca), ("tls.client.cert", &files.certificate), ("tls.client.key", &files.key)];
        named.extend(tls.crl.iter().map(|crl| ("tls.server.crl", crl)));
        let mut settings = TlsSettings::new(files.clone(), &[]);
        settings.server_name.clone_from(&tls.server_name);
        settings.crl.clone_from(&tls.crl);
        match transport::ClientTls::load(settings) {
            Ok(loaded) => Ok(Some(loaded.certificate())),
            Err(error) => Err(blame(&self.source, &named, &error)),
        }
    }
}

impl Server {
    /// Reads the certificate, key and CA files and applies every check of [`transport::ServerTls::load`]; gives
    /// the certificate we would show, `None` on a plain transport. Looks whether the log file can be opened, too, without
    /// making it.
    ///
    /// # Errors
    /// The first file that can't be used, at the place where it is named.
    pub fn check_files(&self) -> Result<Option<Arc<Certificate>>, Error> {
        check_user(&self.source, self.user.as_deref())?;
        check_log(&self.source, &self.log.path)?;
        let Some(tls) = &self.tls else { return Ok(None) };
        let files =
            TlsFiles { ca: tls.client_ca.clone(), certificate: tls.cert.clone(), key: tls.key.clone() };
        let mut named = vec![
            ("tls.client.ca", &files.ca),
            ("tls.server.cert", &files.certificate),
            ("tls.server.key", &files.key),
        ];
        named.extend(tls.crl.iter().map(|crl| ("tls.client.crl", crl)));
        let settings = TlsSettings { crl: tls.crl.clone(), ..TlsSettings::new(files.clone(), &[]) };
        match transport::ServerTls::load(settings) {
            Ok(loaded) => Ok(Some(loaded.certificate())),
            Err(error) => Err(blame(&self.source, &named, &error)),
        }
    }
}

impl Source {
    /// Applies every rule and looks at every file; says in a few lines what would run.
    ///
    /// # Errors
    /// The first thing that would keep the program from starting.
    pub fn check(self) -> Result<String, Error> {
        let descriptors = Descriptors::raise();
        let (mut text, certificate, takes, warnings) = match self.role() {
            Role::Client => {
                let mut client = self.client()?;
                let certificate = client.check_files()?;
                let users = match client.users.len() {
                    0 => "no users, open to this machine".to_owned(),
                    some => format!("{some} users"),
                };
                let way = way(client.carrier, client.tls.is_some());
                let text = format!(
                    "good: a client on {} ({users}), to {} by {way}\n",
                    list(&client.listen.addresses),
                    list(&client.server.addresses)
                );
                let takes = takes(client.memory, descriptors, needs_of_client(&client));
                let lowered = descriptors.fit_client(&mut client);
                client.warnings.extend(lowered);
                client.warnings.extend(closed_log(client.user.as_deref(), &client.log.path));
                (text, certificate, takes, client.warnings)
            }
            Role::Server => {
                let mut server = self.server()?;
                let certificate = server.check_files()?;
                let way = way(server.carrier, server.tls.is_some());
                let text = format!(
                    "good: a server on {} by {way}; beside the public Internet open: {}; closed: {}\n{}",
                    list(&server.listen.addresses),
                    list(&server.allow),
                    list(&server.deny),
                    who(&server.identities)
                );
                let share = crate::memory::describe_share(server.memory);
                let takes = takes(server.memory, descriptors, needs_of_server(&server)) + &share + "\n";
                let lowered = descriptors.fit_server(&mut server);
                server.warnings.extend(lowered);
                server.warnings.extend(closed_log(server.user.as_deref(), &server.log.path));
                (text, certificate, takes, server.warnings)
            }
        };
        if let Some(certificate) = certificate {
            let left = certificate.left(SystemTime::now());
            text.push_str(&format!("certificate {}, {left} left\n", certificate.summary()));
        }
        text.push_str(&takes);
        for warning in warnings {
            text.push_str(&format!("warning: {warning}\n"));
        }
        Ok(text)
    }
}

impl Role {
    /// Whose configuration a file is: the client's if it holds a setting that only clients use, which it cannot
    /// do without, else the server's.
    ///
    /// # Errors
    /// The file is no configuration, or holds what only servers use as well.
    pub fn of_file(path: &Path) -> Result<Role, Error> {
        let file = File::read(path)?;
        let entries = file.entries(None)?;
        let first = |role: Role| entries.iter().position(|entry| !entry.setting.used_by(role.other()));
        let (role, at, other) = match (first(Role::Client), first(Role::Server)) {
            (Some(_), None) => return Ok(Role::Client),
            (None, _) => return Ok(Role::Server),
            (Some(client), Some(server)) if client > server => (Role::Client, client, server),
            (Some(client), Some(server)) => (Role::Server, server, client),
        };
        let (Some(here), Some(there)) = (entries.get(at), entries.get(other)) else { return Ok(role) };
        let why = format!(
            "only the {} has this setting, and only the {} has {}, which stands above",
            role.name(),
            role.other().name(),
            there.setting.name
        );
        let fix = "keep a file for each program, or say whose this is with --role client or --role server";
        Err(Error::new(CONFIG, file.key_place(&here.steps), here.setting.name, why, fix)
            .coded(code::WRONG_PROGRAM))
    }
}

/// What the process will take at most.
fn takes(memory: Memory, descriptors: Descriptors, wanted: usize) -> String {
    format!("{}\n{}\n", crate::memory::describe(memory), descriptors.describe(wanted))
}

/// `3 identities are let in, others are refused; 2 entries are revoked`, where there is a file that says so.
fn who(identities: &Identities) -> String {
    if identities.file.is_none() {
        return String::new();
    }
    let others = if identities.others.is_some() { "are let in, too" } else { "are refused" };
    let (listed, revoked) = (identities.listed.len(), identities.revoked.len());
    format!("identities: {listed} listed, others {others}; revoked: {revoked}\n")
}

fn way(carrier: Carrier, tls: bool) -> String {
    let below = if tls { "tls" } else { "a plain socket" };
    match carrier {
        Carrier::Eager => format!("one connection a request over {below}"),
        Carrier::Remux(Wire::Auto) => format!("remux over {below}"),
        Carrier::Remux(Wire::Classic) => format!("remux (classic wire) over {below}"),
        Carrier::Remux(Wire::Remux2) => format!("remux (remux2 wire) over {below}"),
    }
}

fn list(items: &[impl ToString]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    if items.is_empty() { "nothing".to_owned() } else { items.join(", ") }
}

/// Whether there is the user to become.
fn check_user(source: &Source, name: Option<&str>) -> Result<(), Error> {
    name.map_or(Ok(()), |name| source.user(name).map(drop))
}

/// Whether the log file that was asked for can be opened or made; nothing is left behind.
fn check_log(source: &Source, path: &LogPath) -> Result<(), Error> {
    let LogPath::File(path) = path else { return Ok(()) };
    openable(path).map_err(|error| source.log_refused(path, &error))
}

fn openable(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(meta) if meta.file_type().is_fifo() => return Err(io::Error::other("it is a pipe")),
        Ok(_) => return Ok(access(path, AccessFlags::W_OK)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Rights alone do not tell: a folder may take no files at all, as those of /proc, or its disk may be read-only.
    std::fs::OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
    std::fs::remove_file(path)
}

impl Source {
    /// The user to become.
    pub(crate) fn user(&self, name: &str) -> Result<User, Error> {
        match User::from_name(name) {
            Ok(Some(user)) if user.uid.is_root() => {
                Err(self.user_refused(name, "this is root", "name a user without rights of its own"))
            }
            Ok(Some(user)) => Ok(user),
            Ok(None) => {
                let fix = format!("make it: useradd --system --shell /usr/sbin/nologin {name}");
                Err(self.user_refused(name, "there is no such user on this machine", fix))
            }
            Err(error) => Err(self.user_refused(name, error.desc(), "check the user database")),
        }
    }

    /// The process can't become the user that was asked for.
    pub(crate) fn user_refused(&self, name: &str, why: &str, fix: impl Into<String>) -> Error {
        let why = format!("{}: {why}", super::error::quote(name));
        match Setting::find("process.user") {
            Some(setting) => self.clash(setting, None, why, fix.into()),
            None => Error::new(CONFIG, "", "process.user", why, fix),
        }
        .coded(code::USER)
    }

    /// The log file that was asked for can't be opened.
    pub(crate) fn log_refused(&self, path: &Path, error: &io::Error) -> Error {
        const ELSE: &str = "or name another file (- is stderr)";
        let (why, fix) = match error.kind() {
            // What the system says of a folder like /proc.
            io::ErrorKind::NotFound if path.parent().is_some_and(Path::is_dir) => (
                "no file can be made in its folder".to_owned(),
                "name a file elsewhere (- is stderr)".to_owned(),
            ),
            io::ErrorKind::NotFound => {
                ("its folder is not there".to_owned(), format!("make that folder, {ELSE}"))
            }
            io::ErrorKind::NotADirectory => {
                ("a part of this path is a file".to_owned(), format!("mend the path, {ELSE}"))
            }
            io::ErrorKind::IsADirectory => ("it is a folder".to_owned(), "name a file in it".to_owned()),
            io::ErrorKind::PermissionDenied => {
                ("this user may not write there".to_owned(), format!("let this user write there, {ELSE}"))
            }
            _ => (super::explain(error), "name another file (- is stderr)".to_owned()),
        };
        let why = format!("can't log to {}: {why}", path.display());
        match Setting::find("sla.log.path") {
            Some(setting) => self.clash(setting, None, why, fix),
            None => Error::new(CONFIG, "", "sla.log.path", why, fix),
        }
        .coded(code::LOG_FILE)
    }
}

fn blame(source: &Source, named: &[(&str, &PathBuf)], error: &LoadError) -> Error {
    let message = error.to_string();
    // The code comes first in the line, before the place.
    let complaint = Complaint::from_message(code::split(&message).map_or(message.as_str(), |(_, rest)| rest));
    // One file may stand for two settings: then the kind of fault tells which of them meant it.
    let kind = match &error.fault {
        LoadFault::Key { .. }
        | LoadFault::KeyEncrypted
        | LoadFault::KeyMismatch { .. }
        | LoadFault::KeyMode { .. } => ".key",
        LoadFault::NoBlock { wanted, .. } if wanted.contains("KEY") => ".key",
        LoadFault::NoBlock { wanted, .. } if wanted.contains("CRL") => ".crl",
        LoadFault::RevocationList { .. } => ".crl",
        _ => "",
    };
    let meant = named.iter().find(|(name, path)| **path == error.path && name.ends_with(kind));
    let name = meant.or(named.first()).map_or("", |(name, _)| *name);
    match Setting::find(name) {
        Some(setting) => source.clash(setting, None, complaint.why, complaint.fix),
        None => Error::new(CONFIG, "", name, complaint.why, complaint.fix),
    }
    .coded(error.code())
}
