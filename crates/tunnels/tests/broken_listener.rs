//! A listener that breaks under a running program: nobody could reach it any more, so it ends and says so.

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::Duration;

use nix::sys::socket::{Shutdown as Half, SockaddrStorage, getsockname, shutdown};
use tokio::time::timeout;
use tunnels::{Client, Error, Server, Shutdown, config};

#[tokio::test]
async fn client_whose_listener_breaks_drains_and_ends_with_its_address() {
    let pairs = [("server.net", "unix"), ("server.addr", "/run/never.sock"), ("remux.net", "unix")];
    let pairs = pairs.into_iter().chain([("client.addr", "127.0.0.1:0")]);
    let client = Client::bind(config::Client::from_pairs(pairs).unwrap()).await.unwrap();
    let address = client.address();
    let serving = tokio::spawn(client.serve(Shutdown::new()));
    break_listener(address.parse().unwrap());
    ended(timeout(WAIT, serving).await.unwrap().unwrap(), &address);
}

#[tokio::test]
async fn server_whose_listener_breaks_drains_and_ends_with_its_address() {
    let pairs = [("server.addr", "127.0.0.1:0"), ("remux.net", "tcp")];
    let server = Server::bind(config::Server::from_pairs(pairs).unwrap()).await.unwrap();
    let address = server.address();
    let serving = tokio::spawn(server.serve(Shutdown::new()));
    break_listener(address.parse().unwrap());
    ended(timeout(WAIT, serving).await.unwrap().unwrap(), &address);
}

fn ended(outcome: Result<(), Error>, address: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.exit_code(), 69);
    let text = error.to_string();
    assert!(text.starts_with(&format!("NET-211 cannot listen on {address} any longer: ")), "{text}");
}

/// Takes away what a listening socket listens with.
fn break_listener(address: SocketAddr) {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok());
    let is_it = |fd: &RawFd| {
        getsockname::<SockaddrStorage>(*fd).is_ok_and(|name| name.to_string() == address.to_string())
    };
    let found: Vec<RawFd> = numbers.filter(is_it).collect();
    assert_eq!(found.len(), 1, "{address}");
    shutdown(found[0], Half::Both).unwrap();
}

/// Two programs that have nothing to drain end within it.
const WAIT: Duration = Duration::from_secs(20);
