//! A client and a server in this process, and what stands at either end of them.
#![expect(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tunnels::{Client, Server, ServerReloader, Shutdown, config, pki};

/// How client and server are joined, as the settings say it.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub server_net: &'static str,
    pub remux_net: &'static str,
    pub eagersocks_net: &'static str,
    pub wire: &'static str,
}

impl Way {
    pub const fn new(
        server_net: &'static str,
        remux_net: &'static str,
        eagersocks_net: &'static str,
        wire: &'static str,
    ) -> Self {
        Self { server_net, remux_net, eagersocks_net, wire }
    }

    /// A FIN of the application reaches the destination while the answer is still to come.
    pub fn has_half_close(&self) -> bool {
        !self.is_classic()
    }

    /// A reset at one end is a reset at the other. Unix sockets have none, and neither has the classic wire.
    pub fn has_reset(&self) -> bool {
        !self.is_classic() && self.eagersocks_net != "unix"
    }

    fn is_classic(&self) -> bool {
        self.eagersocks_net == "remux" && self.wire == "classic"
    }

    /// Every socket, with and without TLS, with and without mux, on both wires; IPv6 where this machine has it.
    pub fn all() -> Vec<Self> {
        let mut nets = vec!["tcp", "tcp4", "unix"];
        if std::net::TcpListener::bind("[::1]:0").is_ok() {
            nets.push("tcp6");
        }
        let mut ways = Vec::new();
        for net in nets {
            for wire in ["auto", "remux2", "classic"] {
                ways.extend([Self::new(net, "tls", "remux", wire), Self::new(net, net, "remux", wire)]);
            }
            ways.extend([Self::new(net, "tls", "tls", "auto"), Self::new(net, "tls", net, "auto")]);
        }
        ways
    }
}

/// The default: remux2 over TLS over TCP.
pub const POOL: Way = Way::new("tcp", "tls", "remux", "auto");
/// A TLS connection for each request.
pub const SINGLE: Way = Way::new("tcp", "tls", "tls", "auto");

/// A running pair. Dropping it ends both at once.
pub struct Tunnel {
    /// Where applications connect.
    pub socks: String,
    /// Where the server listens.
    pub address: String,
    pub client: Shutdown,
    pub server: Shutdown,
    /// Renews the server.
    pub reloader: ServerReloader,
    pub papers: pki::Throwaway,
    _folder: tempfile::TempDir,
}

impl Tunnel {
    /// Destinations on loopback are open; `server` and `client` are further settings of each.
    pub async fn over(way: Way, server: &[(&str, &str)], client: &[(&str, &str)]) -> Self {
        let open = [("server.allow", "127.0.0.0/8")];
        Self::strict_policy(way, &[&open[..], server].concat(), client).await
    }

    /// The same with the policy as it is by default: no destination on this machine.
    pub async fn strict_policy(way: Way, server: &[(&str, &str)], client: &[(&str, &str)]) -> Self {
        let papers = pki::throwaway().expect("papers");
        let folder = tempfile::tempdir().expect("a folder");
        let paths =
            [&papers.ca, &papers.server_cert, &papers.server_key, &papers.client_cert, &papers.client_key]
                .map(|path| path.display().to_string());
        let [ca, server_cert, server_key, client_cert, client_key] = paths.each_ref().map(String::as_str);
        let place = match way.server_net {
            "unix" => folder.path().join("s.sock").display().to_string(),
            "tcp6" => "[::1]:0".to_owned(),
            _ => "127.0.0.1:0".to_owned(),
        };
        let common = [
            ("server.net", way.server_net),
            ("remux.net", way.remux_net),
            ("eagersocks.net", way.eagersocks_net),
            ("remux.wire", way.wire),
        ];
        let mut pairs = vec![("server.addr", place.as_str()), ("tls.client.ca", ca)];
        pairs.extend([("tls.server.cert", server_cert), ("tls.server.key", server_key)]);
        let pairs = common.into_iter().chain(pairs).chain(server.iter().copied());
        let bound =
            Server::bind(config::Server::from_pairs(pairs).expect("settings")).await.expect("a server");
        let address = bound.address();
        let (ending, reloader) = (Shutdown::new(), bound.reloader());
        tokio::spawn(bound.serve(ending.clone()));

        let mut pairs = vec![("server.addr", address.as_str()), ("client.addr", "127.0.0.1:0")];
        pairs.extend([
            ("tls.client.ca", ca),
            ("tls.client.cert", client_cert),
            ("tls.client.key", client_key),
        ]);
        pairs.push(("tls.server.name", "localhost"));
        let pairs = common.into_iter().chain(pairs).chain(client.iter().copied());
        let bound =
            Client::bind(config::Client::from_pairs(pairs).expect("settings")).await.expect("a client");
        let socks = bound.address();
        let leaving = Shutdown::new();
        tokio::spawn(bound.serve(leaving.clone()));
        Self { socks, address, client: leaving, server: ending, reloader, papers, _folder: folder }
    }

    /// An application's connection, asked for by SOCKS5 with `first` right behind the request, and the reply's code.
    pub async fn connect(&self, target: SocketAddr, first: &[u8]) -> (TcpStream, u8) {
        let mut application = TcpStream::connect(&self.socks).await.expect("the client listens");
        application.write_all(&conversation(target, first)).await.expect("sent");
        let code = reply(&mut application).await;
        (application, code)
    }

    /// The same by HTTP CONNECT: what the client answers, up to the end of the head.
    pub async fn connect_http(&self, target: SocketAddr) -> (TcpStream, String) {
        let mut application = TcpStream::connect(&self.socks).await.expect("the client listens");
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        application.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(application.read_u8().await.expect("a whole head"));
        }
        (application, String::from_utf8(answer).expect("text"))
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.client.force();
        self.server.force();
    }
}

/// Greeting, request and first data in one piece.
pub fn conversation(target: SocketAddr, first: &[u8]) -> Vec<u8> {
    let SocketAddr::V4(target) = target else { panic!("destinations of these tests are on 127.0.0.1") };
    let mut bytes = vec![5, 1, 0, 5, 1, 0, 1];
    bytes.extend(target.ip().octets());
    bytes.extend(target.port().to_be_bytes());
    bytes.extend_from_slice(first);
    bytes
}

/// The code of the reply, after the choice of a method.
pub async fn reply(application: &mut TcpStream) -> u8 {
    let mut bytes = [0; 12];
    application.read_exact(&mut bytes).await.expect("a reply");
    assert_eq!(bytes[..3], [5, 0, 5]);
    bytes[3]
}

/// A destination that listens on loopback.
pub async fn destination() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// A destination that gives every byte back, and the end, on any number of connections.
pub async fn echo() -> SocketAddr {
    let (listener, address) = destination().await;
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                if tokio::io::copy(&mut read, &mut write).await.is_ok() {
                    // Who has gone meanwhile misses nothing.
                    let _ = write.shutdown().await;
                }
            });
        }
    });
    address
}

/// Sends and gets back a few bytes.
pub async fn exchange(application: &mut TcpStream) {
    application.write_all(b"ping").await.expect("sent");
    let mut heard = [0; 4];
    application.read_exact(&mut heard).await.expect("heard");
    assert_eq!(&heard, b"ping");
}

/// Closes with a reset.
pub fn reset(socket: TcpStream) {
    socket2::SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO)).expect("an option");
}

/// How the next read fails.
pub async fn read_error(socket: &mut TcpStream) -> std::io::ErrorKind {
    socket.read(&mut [0; 16]).await.expect_err("neither bytes nor a clean end").kind()
}
