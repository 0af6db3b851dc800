//! Sockets that listen, and why one can't.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use framing::{Host, Target};
use nix::libc;
use nix::sys::stat::{Mode, fchmod};
use sla::code;
use socket2::{Domain, Protocol, SockAddr, Type};
use tokio::net::{TcpListener, UnixListener};

use super::{ListenOptions, Listener};
use crate::holder;
use crate::net::{Address, Net};

/// Listens on `address`; a Unix socket's file goes with the listener.
pub(super) async fn bind(
    net: Net,
    address: &Address,
    options: &ListenOptions,
) -> Result<Listener, BindError> {
    let bound = match address {
        Address::Unix(path) => {
            bind_unix(path, options).await.map(|(listener, file)| Listener::Unix { listener, file })
        }
        Address::Host(target) => bind_tcp(net, target, options).await.map(Listener::Tcp),
    };
    bound.map_err(|error| BindError::new(address, error))
}

async fn bind_tcp(net: Net, target: &Target, options: &ListenOptions) -> io::Result<TcpListener> {
    let address = match &target.host {
        Host::V4(ip) => SocketAddr::from((*ip, target.port)),
        Host::V6(ip) => SocketAddr::from((*ip, target.port)),
        Host::Name(name) => tokio::net::lookup_host((name.as_str(), target.port))
            .await?
            .find(|address| net.takes(address))
            .ok_or_else(|| io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no such address"))?,
    };
    match listen_tcp(net, address, options) {
        // A machine without IPv6: "every address" is every IPv4 address then.
        Err(error)
            if error.raw_os_error() == Some(libc::EAFNOSUPPORT)
                && net == Net::Tcp
                && address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) =>
        {
            listen_tcp(net, SocketAddr::from((Ipv4Addr::UNSPECIFIED, target.port)), options)
        }
        result => result,
    }
}

fn listen_tcp(net: Net, address: SocketAddr, options: &ListenOptions) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(net == Net::Tcp6)?;
    }
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

async fn bind_unix(path: &Path, options: &ListenOptions) -> io::Result<(UnixListener, SocketFile)> {
    remove_stale(path).await?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // Linux gives the file the mode of the socket, so it is never open to others, not even for a moment.
    fchmod(&socket, Mode::from_bits_truncate(options.unix_mode)).map_err(io::Error::from)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::new(path)?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok((UnixListener::from_std(std::os::unix::net::UnixListener::from(socket))?, file))
}

/// A socket file outlives a killed process; it may go if nobody answers on it.
async fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there"));
        }
        Ok(_) => {}
    }
    match tokio::net::UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// Removes the file at the end, if it is still the one we made.
#[derive(Debug)]
pub(super) struct SocketFile {
    pub(super) path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let made = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: made.dev(), inode: made.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Why an address can't be listened on. `Display` is one line: code, address, cause, what to do.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot listen on {address}: {}", code::BIND, explain_bind(.address, .error, .holder.as_deref()))]
pub struct BindError {
    /// Where.
    pub address: Address,
    /// What the system said.
    #[source]
    pub error: io::Error,
    /// Who has it, where it is taken and the system tells.
    pub holder: Option<String>,
}

impl BindError {
    fn new(address: &Address, error: io::Error) -> Self {
        let holder = match address {
            Address::Host(target) if error.kind() == io::ErrorKind::AddrInUse => holder::of_port(target.port),
            _ => None,
        };
        Self { address: address.clone(), error, holder }
    }
}

fn explain_bind(address: &Address, error: &io::Error, holder: Option<&str>) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let (who, it) = match holder {
                Some(holder) => (format!("already used by {holder}"), "it"),
                None => ("already in use".to_owned(), "the other program (as root, ss -ltnp names it)"),
            };
            format!("{who} → stop {it}, or choose another address")
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address → use one of its own (ip address shows them), or 127.0.0.1"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => match address {
            Address::Host(_) => {
                "ports below 1024 need a right that this user does not have → use a port from 1024 up, \
                                     or grant CAP_NET_BIND_SERVICE (AmbientCapabilities= in a systemd unit)"
            }
            Address::Unix(_) => {
                "this user may not make a socket in that folder → change the folder's owner or mode, or \
                                     choose another path"
            }
        }
        .to_owned(),
        io::ErrorKind::NotFound => "the folder does not exist → make it, or choose another path".to_owned(),
        io::ErrorKind::AlreadyExists => format!("{error} → choose another path"),
        _ => format!("{} → check the address", sla::plain(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;
    use tokio::net::UnixStream;

    use super::*;
    use crate::listen::Acceptor;

    #[tokio::test]
    async fn port_in_use_is_said_with_what_to_do() {
        let any = Address::to_listen(Net::Tcp, "127.0.0.1:0").expect("address");
        let first = Acceptor::bind(Net::Tcp, &any, ListenOptions::default()).await.expect("bind");
        let address = Address::Host(first.local_addr().expect("address").into());
        let error = Acceptor::bind(Net::Tcp, &address, ListenOptions::default())
            .await
            .expect_err("taken")
            .to_string();
        assert!(
            error.starts_with(&format!("NET-210 cannot listen on {address}: already in use →")),
            "{error}"
        );
    }

    #[tokio::test]
    async fn foreign_address_is_said_to_be_so() {
        let address = Address::to_listen(Net::Tcp, "192.0.2.1:0").expect("address");
        let error = Acceptor::bind(Net::Tcp, &address, ListenOptions::default()).await.expect_err("foreign");
        assert!(error.to_string().contains("no such address"), "{error}");
    }

    #[tokio::test]
    async fn unix_socket_is_its_owners_and_goes_with_the_listener() {
        let folder = TempDir::new().expect("folder");
        let path = folder.path().join("s");
        let acceptor = listen_unix(&path).await.expect("bind");
        assert_eq!(std::fs::metadata(&path).expect("file").permissions().mode() & 0o777, 0o600);
        let _client = UnixStream::connect(&path).await.expect("connect");
        let incoming = acceptor.accept().await.expect("accept");
        assert_eq!(incoming.remote(), format!("unix:pid={}", std::process::id()));
        drop(acceptor);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn stale_unix_socket_is_replaced_and_a_live_one_is_not() {
        let folder = TempDir::new().expect("folder");
        let path = folder.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a killed process's socket"));
        let _live = listen_unix(&path).await.expect("stale");
        let error = listen_unix(&path).await.expect_err("live").to_string();
        assert!(error.contains("already in use"), "{error}");
    }

    #[tokio::test]
    async fn file_that_is_no_socket_is_never_removed() {
        let folder = TempDir::new().expect("folder");
        let path = folder.path().join("s");
        std::fs::write(&path, "precious").expect("write");
        let error = listen_unix(&path).await.expect_err("a file").to_string();
        assert!(error.contains("no socket"), "{error}");
        assert_eq!(std::fs::read(&path).expect("read"), b"precious");
    }

    #[tokio::test]
    async fn socket_file_of_a_successor_is_left_alone() {
        let folder = TempDir::new().expect("folder");
        let path = folder.path().join("s");
        let old = listen_unix(&path).await.expect("bind");
        std::fs::remove_file(&path).expect("remove");
        let _new = listen_unix(&path).await.expect("bind");
        drop(old);
        assert!(path.exists());
    }

    async fn listen_unix(path: &Path) -> Result<Acceptor, BindError> {
        Acceptor::bind(Net::Unix, &Address::Unix(path.to_owned()), ListenOptions::default()).await
    }
}
