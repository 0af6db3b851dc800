//! Who has the port that we want: the table of listening sockets, then the process that holds the socket.
//!
//! Both are files of Linux under /proc, read only after a bind has failed. Another user's processes show their sockets to
//! root alone; then nobody is named.

use std::fs;
use std::path::Path;

use crate::cert::clean;

/// `process 4312 (ssh)`, where the system tells us.
pub(crate) fn of_port(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let sockets: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let own = std::process::id().to_string();
    let process = fs::read_dir("/proc").ok()?.filter_map(Result::ok).find(|process| {
        let name = process.file_name();
        let is_process = name.to_string_lossy().bytes().all(|b| b.is_ascii_digit());
        is_process && name.to_string_lossy() != own && holds(&process.path(), &sockets)
    })?;
    let name = fs::read_to_string(process.path().join("comm")).ok()?;
    Some(format!("process {} ({})", process.file_name().to_string_lossy(), clean(name.trim_end())))
}

/// Inodes of the sockets that listen on `port`, of a table as Linux prints it.
fn listening(table: &str, port: u16) -> Vec<String> {
    let of_line = |line: &str| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, state) = (columns.next()?, columns.nth(1)?);
        let inode = columns.nth(5)?;
        let (_, at) = local.rsplit_once(':')?;
        (u16::from_str_radix(at, 16).ok()? == port && state == LISTEN).then(|| inode.to_owned())
    };
    table.lines().skip(1).filter_map(of_line).collect()
}

fn holds(process: &Path, sockets: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    descriptors.filter_map(Result::ok).any(|descriptor| {
        fs::read_link(descriptor.path())
            .is_ok_and(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
    })
}

/// TCP_LISTEN.
const LISTEN: &str = "0A";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listening_sockets_of_that_port_are_found() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 x 100 0 0 10 0
   1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 12346 1 x 20 4 30 10 -1
   2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12347 1 x 100 0 0 10 0
";
        assert_eq!(listening(table, 8080), ["12345"]);
        assert!(listening("garbage\nin\nlines 1 2", 8080).is_empty());
    }

    #[test]
    fn our_own_listener_is_nobody_elses() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        assert_eq!(of_port(listener.local_addr().expect("address").port()), None);
    }
}
