//! A client and a server over mutual TLS in one program: `cargo run -p transport --example tls_echo`.
//!
//! Then the same client with a certificate from another CA, to see what each side says about it.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use transport::{
    ALPN_REMUX2, Acceptor, Address, ClientTls, Connector, DialOptions, ListenOptions, Net, ServerTls,
    TlsFiles, TlsSettings,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let ours = authority("Echo Root")?;
    let other = authority("Other Root")?;
    let server = write(folder.path(), "localhost", ExtendedKeyUsagePurpose::ServerAuth, &ours, &ours)?;
    let client = write(folder.path(), "laptop-7", ExtendedKeyUsagePurpose::ClientAuth, &ours, &ours)?;
    let stranger = write(folder.path(), "stranger", ExtendedKeyUsagePurpose::ClientAuth, &other, &ours)?;

    let tls = ServerTls::load(TlsSettings::new(server, &[ALPN_REMUX2]))?;
    let listen = Address::to_listen(Net::Tcp, "127.0.0.1:0")?;
    let acceptor = Acceptor::bind(Net::Tcp, &listen, ListenOptions::tunnel()).await?;
    println!("listening on {}", acceptor.local());
    let port = acceptor.local_addr().ok_or("no address")?.port();
    let dial = Address::to_dial(Net::Tcp, &format!("localhost:{port}"))?;

    for files in [client, stranger] {
        let (served, called) = tokio::join!(echo(&acceptor, &tls), call(dial.clone(), files));
        println!("server: {}", served.unwrap_or_else(|error| error.to_string()));
        println!("client: {}", called.unwrap_or_else(|error| error.to_string()));
    }
    Ok(())
}

async fn echo(acceptor: &Acceptor, tls: &ServerTls) -> Result<String, Box<dyn Error>> {
    let mut stream = acceptor.accept().await?.handshake(tls).await?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await?;
    stream.write_all(&text).await?;
    stream.shutdown().await?;
    let who = stream.identity().map(ToString::to_string).unwrap_or_default();
    Ok(format!("echoed {} bytes to {who}", text.len()))
}

async fn call(address: Address, files: TlsFiles) -> Result<String, Box<dyn Error>> {
    let tls = Arc::new(ClientTls::load(TlsSettings::new(files, &[ALPN_REMUX2]))?);
    let mut stream =
        Connector::new(Net::Tcp, vec![address], Some(tls), DialOptions::tunnel()).connect().await?;
    stream.write_all(b"hello").await?;
    stream.shutdown().await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(format!("heard {text:?} over {}", stream.transport()))
}

type Authority = (CertificateParams, KeyPair);

fn authority(name: &str) -> Result<Authority, Box<dyn Error>> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok((params, KeyPair::generate()?))
}

fn write(
    folder: &Path,
    name: &str,
    usage: ExtendedKeyUsagePurpose,
    issuer: &Authority,
    trusts: &Authority,
) -> Result<TlsFiles, Box<dyn Error>> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &Issuer::from_params(&issuer.0, &issuer.1))?;
    let files = TlsFiles {
        ca: folder.join(format!("{name}.ca.crt")),
        certificate: folder.join(format!("{name}.crt")),
        key: folder.join(format!("{name}.key")),
    };
    fs::write(&files.ca, trusts.0.self_signed(&trusts.1)?.pem())?;
    fs::write(&files.certificate, certificate.pem())?;
    fs::write(&files.key, key.serialize_pem())?;
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600))?;
    Ok(files)
}
