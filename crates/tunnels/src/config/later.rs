//! What a check does not run into, as it is somebody else: the user that a process becomes once it listens.

use std::ffi::CString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Uid, User, getgrouplist};
use sla::code;
use sla::subscriber::LogPath;

use super::error::quote;

/// A log that this user will not be let open.
pub(super) fn closed_log(user: Option<&str>, path: &LogPath) -> Option<String> {
    let (Some(name), LogPath::File(path)) = (user, path) else { return None };
    let user = User::from_name(name).ok()??;
    // A warning, as bits are not all there is: lists of rights (ACLs) may open more.
    (!may_log(&user, path).ok()?).then(|| {
        format!(
            "{} sla.log.path: {} may not write {}, by its permission bits, and is who will open it (process.user) → let that \
             user write there, or name another file (- is stderr)",
            code::LOG_FILE,
            quote(name),
            path.display()
        )
    })
}

/// Whether permission bits let this user append to a file, or make it.
fn may_log(user: &User, path: &Path) -> io::Result<bool> {
    let groups = getgrouplist(&CString::new(user.name.as_str())?, user.gid)?;
    let may = |place: &Path, wanted: u32| {
        std::fs::metadata(place).map(|meta| {
            let owner = Uid::from_raw(meta.uid()) == user.uid;
            let group = groups.contains(&Gid::from_raw(meta.gid()));
            let whose = if owner { 6 } else { 3 * u32::from(group) };
            (meta.mode() >> whose) & wanted == wanted
        })
    };
    let path = std::path::absolute(path)?;
    let folder = path.parent().unwrap_or(Path::new("/")).canonicalize()?;
    for above in folder.ancestors() {
        if !may(above, PASS)? {
            return Ok(false);
        }
    }
    match may(&path, WRITE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => may(&folder, WRITE),
        known => known,
    }
}

const PASS: u32 = 0o1;
const WRITE: u32 = 0o2;

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn log_that_the_later_user_may_not_write_is_known_by_its_permission_bits() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, file) = (folder.path().join("log"), folder.path().join("log/t.log"));
        std::fs::create_dir(&inner).unwrap();
        let mode = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let owner = User::from_uid(Uid::effective()).unwrap().unwrap();
        let nobody = User::from_name("nobody").unwrap().unwrap();

        mode(&inner, 0o777);
        assert!(may_log(&owner, &file).unwrap(), "it can be made");
        mode(folder.path(), 0o700);
        assert!(!may_log(&nobody, &file).unwrap(), "a folder above is closed");
        mode(&inner, 0o577);
        assert!(!may_log(&owner, &file).unwrap(), "an owner has the owner's bits only");
        mode(&inner, 0o777);
        std::fs::write(&file, "").unwrap();
        mode(&inner, 0o555);
        mode(&file, 0o600);
        assert!(may_log(&owner, &file).unwrap(), "it is there");
        mode(&file, 0o466);
        assert!(!may_log(&owner, &file).unwrap());
        mode(&inner, 0o755);
        let told = closed_log(Some("nobody"), &LogPath::File(file)).unwrap();
        assert!(told.contains("\"nobody\" may not write ") && told.contains("process.user"), "{told}");
    }
}
