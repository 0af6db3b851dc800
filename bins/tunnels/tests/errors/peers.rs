//! Peers that are not ours, and certificates that are not right.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::lab::Lab;

/// A CA of these tests.
pub(crate) struct Ca {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) pem: String,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("key");
        let pem = params.self_signed(&key).expect("certificate").pem();
        Self { params, key, pem }
    }

    /// Writes `NAME.crt` and `NAME.key` for `host`, changed by `change`, and `NAME.ca.crt` with this CA.
    pub(crate) fn issue(
        &self,
        lab: &Lab,
        name: &str,
        host: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("name");
        params.distinguished_name.push(DnType::CommonName, host);
        params.extended_key_usages = vec![if name.contains("client") {
            ExtendedKeyUsagePurpose::ClientAuth
        } else {
            ExtendedKeyUsagePurpose::ServerAuth
        }];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(3000, 1, 1);
        change(&mut params);
        let key = KeyPair::generate().expect("key");
        let certificate =
            params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).expect("certificate");
        lab.write(&format!("{name}.crt"), certificate.pem(), 0o644);
        lab.write(&format!("{name}.key"), key.serialize_pem(), 0o600);
        lab.write(&format!("{name}.ca.crt"), &self.pem, 0o644);
    }

    /// Writes `NAME.crl`, on which this CA has the certificate of that serial number.
    pub(crate) fn revoke(&self, lab: &Lab, name: &str, serial: u64) {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 1),
            next_update: date_time_ymd(2999, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: date_time_ymd(2021, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&Issuer::from_params(&self.params, &self.key)).expect("list");
        lab.write(&format!("{name}.crl"), list.pem().expect("PEM"), 0o644);
    }
}

/// A server at the lab's port that treats each connection so.
pub(crate) fn listen(lab: &Lab, handle: impl Fn(TcpStream) + Send + 'static) {
    let listener = TcpListener::bind(("127.0.0.1", lab.port)).expect("bind");
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(handle));
}

/// Asks the client's port for `host:port` as a SOCKS5 application, and waits for its end.
pub(crate) fn ask(lab: &Lab, host: &str, port: u16) {
    ask_at(lab.socks, host, port);
}

/// The same at another client's port.
pub(crate) fn ask_at(proxy: u16, host: &str, port: u16) {
    let mut socket = TcpStream::connect(("127.0.0.1", proxy)).expect("connect");
    let mut request = vec![5, 1, 0, 5, 1, 0, 3, u8::try_from(host.len()).expect("short")];
    request.extend(host.as_bytes());
    request.extend(port.to_be_bytes());
    request.extend(b"hello");
    let _ = socket.write_all(&request);
    let _ = socket.read_to_end(&mut Vec::new());
}

/// Sends `bytes` to a port and waits for the end.
pub(crate) fn send(port: u16, bytes: &[u8]) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    let _ = socket.write_all(bytes);
    let _ = socket.read_to_end(&mut Vec::new());
}

/// A TLS server at the lab's port with the certificate NAME, which asks for none, and says nothing behind the handshake.
pub(crate) fn tls_server(lab: &Lab, name: &str) {
    let (chain, key) = papers(lab, name);
    let config =
        rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).expect("config");
    let config = Arc::new(config);
    listen(lab, move |socket| {
        let connection = rustls::ServerConnection::new(config.clone()).expect("connection");
        let _ = rustls::StreamOwned::new(connection, socket).read(&mut [0; 1]);
    });
}

/// A TLS client at our server, with the certificate NAME or none, until the end.
pub(crate) fn tls_client(lab: &Lab, name: Option<&str>) {
    tls_client_says(lab, name, b"");
}

/// The same with something to say.
pub(crate) fn tls_client_says(lab: &Lab, name: Option<&str>, bytes: &[u8]) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(lab.path().join("ca.crt")).expect("CA")).expect("CA");
    let config = rustls::ClientConfig::builder().with_root_certificates(roots);
    let mut config = match name.map(|name| papers(lab, name)) {
        Some((chain, key)) => config.with_client_auth_cert(chain, key).expect("config"),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"remux/2".to_vec()];
    let server = ServerName::try_from("127.0.0.1").expect("name");
    let connection = rustls::ClientConnection::new(Arc::new(config), server).expect("connection");
    let socket = TcpStream::connect(("127.0.0.1", lab.port)).expect("connect");
    let mut stream = rustls::StreamOwned::new(connection, socket);
    let _ = stream.write_all(bytes);
    let _ = stream.read_to_end(&mut Vec::new());
}

fn papers(lab: &Lab, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let certificate =
        CertificateDer::from_pem_file(lab.path().join(format!("{name}.crt"))).expect("certificate");
    (vec![certificate], PrivateKeyDer::from_pem_file(lab.path().join(format!("{name}.key"))).expect("key"))
}

/// A listener whose queue is full: the kernel answers no further connection.
pub(crate) fn silent(port: u16) -> impl Drop {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
    listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()).expect("bind");
    listener.listen(0).expect("listen");
    let first = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    Held(listener, first)
}

struct Held(
    #[expect(dead_code, reason = "held open")] socket2::Socket,
    #[expect(dead_code, reason = "held open")] TcpStream,
);

impl Drop for Held {
    fn drop(&mut self) {}
}

/// A robot at the lab's port that answers each message so.
pub(crate) fn robot(lab: &Lab, status: u16, body: &'static str) {
    listen(lab, move |mut socket| {
        let mut seen = Vec::new();
        let mut chunk = [0; 4096];
        while !seen.ends_with(b"}") {
            match socket.read(&mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(n) => seen.extend_from_slice(&chunk[..n]),
            }
        }
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let _ = socket.write_all(answer.as_bytes());
    });
}
