//! The process's cell: its keys stay in its memory, and what only root may do it does first.
//!
//! ```text
//!  main ──confine──▶ read files, bind ──settle──▶ log, serve
//!         no core dumps      as root             as process.user, for good
//! ```

use std::ffi::CString;
use std::io;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, User, getresgid, getresuid, initgroups, setresgid, setresuid, setuid};
use sla::code;

use crate::Error;
use crate::config::Source;

/// No core dump of this process, no look into its memory for others of its user, and no rights by way of another program.
/// To be called before anything secret is read and before there are threads: the last of these is each thread's own.
pub fn confine() {
    // Where the system forbids one there is nothing better to do.
    let _ = prctl::set_no_new_privs();
    keep_keys_in_memory();
}

fn keep_keys_in_memory() {
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let _ = prctl::set_dumpable(false);
}

/// Becomes the user that was asked for. What it says is for the log: there is none yet.
pub(crate) fn settle(user: Option<&str>, source: &Source) -> Result<Option<String>, Error> {
    let Some(name) = user else {
        let why =
            "process.user: this is root and stays root → name a user to become once the sockets are open";
        return Ok(Uid::effective().is_root().then(|| format!("{} {why}", code::ROOT)));
    };
    let user = source.user(name)?;
    if is_nobody_else(&user) {
        return Ok(None);
    }
    if !Uid::effective().is_root() {
        return Err(source
            .user_refused(name, "only root can become another user", "start this as root")
            .into());
    }
    become_for_good(&user)?;
    // The kernel forgets that when ids change.
    keep_keys_in_memory();
    Ok(None)
}

fn is_nobody_else(user: &User) -> bool {
    getresuid().is_ok_and(|ids| [ids.real, ids.effective, ids.saved] == [user.uid; 3])
}

/// All threads, all ids, all groups; then looks whether that can be undone.
fn become_for_good(user: &User) -> io::Result<()> {
    let name = CString::new(user.name.as_str())?;
    initgroups(&name, user.gid)?;
    setresgid(user.gid, user.gid, user.gid)?;
    setresuid(user.uid, user.uid, user.uid)?;
    let groups = getresgid()?;
    let same: [Gid; 3] = [groups.real, groups.effective, groups.saved];
    if !is_nobody_else(user) || same != [user.gid; 3] || setuid(Uid::from_raw(0)).is_ok() {
        return Err(io::Error::other("root's rights could not be given up"));
    }
    Ok(())
}
