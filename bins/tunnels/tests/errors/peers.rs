//! Peers that are not ours, and certificates that are not right.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

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
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
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
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(3000, 1, 1);
        change(&mut params);
        let key = KeyPair::generate().expect("key");
        let certificate =
            params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).expect("certificate");
        lab.write(&format!("{name}.crt"), certificate.pem(), 0o644);
        lab.write(&format!("{name}.key"), key.serialize_pem(), 0o600);
        lab.write(&format!("{name}.ca.crt"), &self.pem, 0o644);
    }
}

/// A server at the lab's port that treats each connection so.
pub(crate) fn listen(lab: &Lab, handle: impl Fn(TcpStream) + Send + 'static) {
    let listener = TcpListener::bind(("127.0.0.1", lab.port)).expect("bind");
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(handle));
}

/// Asks the client's port for `host:port` as a SOCKS5 application, and waits for its end.
pub(crate) fn ask(lab: &Lab, host: &str, port: u16) {
    let mut socket = TcpStream::connect(("127.0.0.1", lab.socks)).expect("connect");
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
