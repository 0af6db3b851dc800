//! Word to the service manager (sd_notify(3)): one datagram to the socket it names. Without one, nothing happens.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Listening, settled, serving.
pub(crate) fn ready() {
    say("READY=1");
}

/// Draining.
pub(crate) fn stopping() {
    say("STOPPING=1");
}

/// Says again and again that this runtime still runs its tasks, where the manager wants to hear it. Cancel safe.
pub(crate) async fn feed_watchdog() {
    let Some(patience) = patience(std::env::var("WATCHDOG_USEC").ok().as_deref()) else { return };
    let mut beat = tokio::time::interval(patience / 3);
    loop {
        beat.tick().await;
        say("WATCHDOG=1");
    }
}

fn patience(microseconds: Option<&str>) -> Option<Duration> {
    let patience = Duration::from_micros(microseconds?.parse().ok()?);
    (patience >= Duration::from_millis(3)).then_some(patience)
}

fn say(word: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    // A manager that does not listen finds out by itself.
    let _ = tell(&socket, word);
}

fn tell(socket: &OsStr, word: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(word.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_reaches_the_managers_socket_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("notify");
        let name = format!("tunnels-test-{}", std::process::id());
        let by_name = SocketAddr::from_abstract_name(&name).expect("address");
        for (socket, address) in [
            (UnixDatagram::bind(&path).expect("bind"), path.into_os_string()),
            (UnixDatagram::bind_addr(&by_name).expect("bind"), format!("@{name}").into()),
        ] {
            tell(&address, "READY=1").expect("sent");
            let mut heard = [0; 16];
            let n = socket.recv(&mut heard).expect("heard");
            assert_eq!(&heard[..n], b"READY=1");
        }
    }

    #[test]
    fn watchdog_is_fed_only_where_its_patience_is_a_sensible_time() {
        assert_eq!(patience(Some("30000000")), Some(Duration::from_secs(30)));
        for nothing in [None, Some(""), Some("0"), Some("-1"), Some("soon")] {
            assert_eq!(patience(nothing), None);
        }
    }
}
