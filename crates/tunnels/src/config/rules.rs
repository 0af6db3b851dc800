//! From settings to a client or a server: the rules that are more than the kind of one value.
//!
//! Rules about one value blame the place it was written in; rules about a combination are always the
//! configuration's fault. No file is opened here but those of users and secrets: certificates are judged
//! by [`super::check_files`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use eagersocks::Reply;
use framing::Host;
use remux::Rate;
use routing::{Grant, GrantError};
use sla::code;
use sla::subscriber::dingtalk::EndpointError;
use sla::subscriber::{LogPath, Rotation};
use transport::{Address, Net};

use super::Role;
use super::address;
use super::error::{Error, quote};
use super::identities::identities;
use super::model::{
    Alert, Carrier, Client, ClientTls, Log, Memory, Server, ServerTls, Sockets, StreamLimits, Wire,
};
use super::reader::Reader;
use super::secrets;
use super::source::{Origin, Source};
use super::value::{Complaint, Value};

/// The client that a source describes.
pub(super) fn client(source: Arc<Source>) -> Result<Client, Error> {
    let read = &Reader::new(&source);
    let server = sockets(read, "server.net", "server.addr", Address::to_dial)?;
    let carrier = carrier(read, &server)?;
    let listen = sockets(read, "client.net", "client.addr", Address::to_listen)?;
    let users = secrets::users(read)?;
    if users.is_empty()
        && let Some(open) = listen.addresses.iter().find(|address| !address::is_local(address))
    {
        let why = format!("{open} would let anyone who can reach this machine use the tunnel");
        let fix = "use 127.0.0.1, or add client.users; refusing to start";
        return Err(read.clash("client.addr", None, why, fix).coded(code::OPEN_PROXY));
    }
    let reply = match read.text("eagersocks.reply").as_str() {
        "strict" => Reply::Strict,
        _ => Reply::Eager,
    };
    strict_is_possible(read, carrier, reply)?;
    Ok(Client {
        tls: if is_plain(read, carrier) { None } else { Some(client_tls(read, &server)?) },
        listen,
        server,
        carrier,
        reply,
        strict_timeout: read.seconds("eagersocks.strict.max.sec"),
        users,
        conn_max: read.size("client.conn.max.cnt"),
        handshake_timeout: read.seconds("client.handshake.max.sec"),
        remux: remux(read, Role::Client)?,
        memory: memory(read),
        stream: stream(read),
        drain: read.seconds("drain.max.sec"),
        user: Some(read.text("process.user")).filter(|name| !name.is_empty()),
        log: log(read)?,
        alert: alert(read)?,
        warnings: read.take_warnings(),
        source: source.clone(),
    })
}

/// The server that a source describes.
pub(super) fn server(source: Arc<Source>) -> Result<Server, Error> {
    let read = &Reader::new(&source);
    let listen = sockets(read, "server.net", "server.addr", Address::to_listen)?;
    let carrier = carrier(read, &listen)?;
    let identities = identities(read)?;
    if is_plain(read, carrier) && identities.file.is_some() {
        let why = "without TLS nobody proves who he is, so the file would say nothing";
        let fix = "set remux.net to tls, or delete this setting";
        return Err(read.clash("server.identities.file", None, why, fix).coded(code::CONFLICT));
    }
    Ok(Server {
        tls: if is_plain(read, carrier) { None } else { Some(server_tls(read)?) },
        identities,
        listen,
        carrier,
        allow: grants(read, "server.allow")?,
        deny: grants(read, "server.deny")?,
        dial_timeout: read.seconds("server.dial.max.sec"),
        dials_per_identity: read.size("server.dial.identity.max.cnt"),
        dials_per_target: read.size("server.dial.target.max.cnt"),
        streams_per_identity: read.size("server.stream.identity.max.cnt"),
        streams_max: read.size("server.stream.max.cnt"),
        identity_share_percent: u8::try_from(read.whole("server.conn.identity.percent")).unwrap_or(100),
        preauth: preauth(read),
        remux: remux(read, Role::Server)?,
        memory: memory(read),
        handshake_timeout: read.seconds("remux.handshake.max.sec"),
        stream: stream(read),
        drain: read.seconds("drain.max.sec"),
        user: Some(read.text("process.user")).filter(|name| !name.is_empty()),
        log: log(read)?,
        alert: alert(read)?,
        warnings: read.take_warnings(),
        source: source.clone(),
    })
}

type ParseAddress = fn(Net, &str) -> Result<Address, transport::AddressError>;

fn sockets(read: &Reader<'_>, net_name: &str, addr: &str, parse: ParseAddress) -> Result<Sockets, Error> {
    let net: Net = read.parse(net_name)?;
    let texts = match read.value(addr) {
        Some(Value::List(items)) => items,
        Some(Value::Text(one)) if !one.is_empty() => vec![one],
        _ => Vec::new(),
    };
    let mut addresses: Vec<Address> = Vec::new();
    let bad = |item: usize, error: &str| {
        let complaint = Complaint::from_message(error);
        let item = (texts.len() > 1).then_some(item);
        let what = texts.get(item.unwrap_or(0)).map_or_else(String::new, |text| format!("{}: ", quote(text)));
        read.bad_value(addr, item, format!("{what}{}", complaint.why), complaint.fix)
    };
    if texts.is_empty() {
        let form = match (addr, read.role()) {
            _ if net == Net::Unix => "a path, for example /run/tunnels/server.sock",
            ("server.addr", Role::Client) => "the server's host:port, for example tunnel.example.net:443",
            ("server.addr", Role::Server) => "host:port, for example 0.0.0.0:443",
            _ => "host:port, for example 127.0.0.1:1080",
        };
        let file = if read.is_without_file() && !read.is_given(addr) {
            ", or name a file with --config (tunnels init writes files for both ends)"
        } else {
            ""
        };
        return Err(bad(0, &format!("the address is empty → give {form}{file}")).coded(code::MISSING));
    }
    for (item, text) in texts.iter().enumerate() {
        if net == Net::Unix && address::looks_like_host_and_port(text) {
            let why = "this looks like host:port, and the socket is a unix one, which has a path";
            return Err(bad(
                item,
                &format!("{why} → set {net_name} to tcp, or write ./{text} if it is a file"),
            ));
        }
        let address = parse(net, text).map_err(|error| bad(item, &error.to_string()))?;
        if let Some(message) = address.host().and_then(address::bad_host) {
            return Err(bad(item, message));
        }
        if let Address::Host(target) = &address
            && target.port == 0
            && !matches!(read.origin(addr), Origin::Code)
        {
            return Err(bad(
                item,
                "port 0 means any free port, which nobody could find → write a port from 1 to 65535",
            ));
        }
        let address = match address {
            Address::Unix(path) => Address::Unix(read.resolved(addr, &path)),
            host => host,
        };
        if let Some(other) = addresses.iter().find(|other| address::overlap(other, &address)) {
            let shown = quote(&other.to_string());
            return Err(bad(
                item,
                &format!("the same place is listed already, as {shown} → keep one of them"),
            ));
        }
        addresses.push(address);
    }
    Ok(Sockets { net, addresses })
}

/// What runs on the sockets between client and server, and whether it may.
fn carrier(read: &Reader<'_>, server: &Sockets) -> Result<Carrier, Error> {
    for name in ["remux.net", "eagersocks.net"] {
        let value = read.text(name);
        if !["tls", "remux", server.net.as_str()].contains(&value.as_str()) {
            let why = format!("{value} is not the socket that server.net names ({})", server.net);
            return Err(read.clash(
                name,
                None,
                why,
                format!("write tls, or {}, or change server.net", server.net),
            ));
        }
    }
    let wire = match read.text("remux.wire").as_str() {
        "classic" => Wire::Classic,
        "remux2" => Wire::Remux2,
        _ => Wire::Auto,
    };
    let carrier = if read.text("eagersocks.net") == "remux" { Carrier::Remux(wire) } else { Carrier::Eager };
    if is_plain(read, carrier)
        && let Some(remote) = server.addresses.iter().find(|address| !address::is_local(address))
    {
        let name = if carrier == Carrier::Eager { "eagersocks.net" } else { "remux.net" };
        let why =
            format!("without TLS everybody on the path to {remote} could read, change and use the tunnel");
        if read.switch("remux.insecure") {
            read.warn(format!(
                "{} remux.insecure: {why} → leave it out and use tls, unless something else protects this path",
                code::NO_TLS
            ));
            return Ok(carrier);
        }
        let fix = "write tls, use loopback or a unix socket, or set remux.insecure if you mean it";
        return Err(read.clash(name, None, why, fix).coded(code::NO_TLS));
    }
    Ok(carrier)
}

fn is_plain(read: &Reader<'_>, carrier: Carrier) -> bool {
    let name = if carrier == Carrier::Eager { "eagersocks.net" } else { "remux.net" };
    read.text(name) != "tls"
}

fn strict_is_possible(read: &Reader<'_>, carrier: Carrier, reply: Reply) -> Result<(), Error> {
    let why = match (carrier, reply) {
        (Carrier::Remux(Wire::Classic), Reply::Strict) => "the classic wire carries no result of a dial",
        (Carrier::Eager, Reply::Strict) => "a request without remux gets no result of its dial",
        _ => return Ok(()),
    };
    Err(read.clash("eagersocks.reply", None, why, "use eagersocks.reply: eager, or the remux2 wire"))
}

fn client_tls(read: &Reader<'_>, server: &Sockets) -> Result<ClientTls, Error> {
    let server_name = Some(read.text("tls.server.name")).filter(|name| !name.is_empty());
    if let Some(name) = &server_name {
        check_server_name(read, name)?;
    } else if server.net == Net::Unix {
        let why = "a unix socket has no host name that the server's certificate could carry";
        return Err(read.clash(
            "tls.server.name",
            None,
            why,
            "set tls.server.name to a name in the certificate",
        ));
    }
    let ca = if read.text("tls.server.ca").is_empty() { "tls.client.ca" } else { "tls.server.ca" };
    Ok(ClientTls {
        server_ca: read.file(ca, "the CA that the server's certificate chains to")?,
        cert: read.file("tls.client.cert", "the certificate this client shows")?,
        key: read.file("tls.client.key", "the key of its certificate")?,
        crl: read.maybe_file("tls.server.crl"),
        cut_expired: read.switch("tls.cut.expired"),
        server_name,
    })
}

fn server_tls(read: &Reader<'_>) -> Result<ServerTls, Error> {
    Ok(ServerTls {
        client_ca: read.file("tls.client.ca", "the CA that clients' certificates chain to")?,
        cert: read.file("tls.server.cert", "the certificate this server shows")?,
        key: read.file("tls.server.key", "the key of its certificate")?,
        crl: read.maybe_file("tls.client.crl"),
        cut_expired: read.switch("tls.cut.expired"),
    })
}

fn check_server_name(read: &Reader<'_>, name: &str) -> Result<(), Error> {
    const NAME: &str = "tls.server.name";
    if name.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let Some(host) = framing::Name::new(name).map(Host::Name) else {
        let why = format!("{} is neither a host name nor an address", quote(name));
        let fix = "write it without a port, as it stands in the certificate";
        return Err(read.bad_value(NAME, None, why, fix));
    };
    match address::bad_host(&host).map(Complaint::from_message) {
        None => Ok(()),
        Some(complaint) => {
            let why = format!("{}: {}", quote(name), complaint.why);
            Err(read.bad_value(NAME, None, why, complaint.fix))
        }
    }
}

fn grants(read: &Reader<'_>, name: &str) -> Result<Vec<Grant>, Error> {
    let parse = |(item, text): (usize, String)| {
        grant(&text).map_err(|complaint| read.bad_value(name, Some(item), complaint.why, complaint.fix))
    };
    read.list(name).into_iter().enumerate().map(parse).collect()
}

/// One grant, of a setting or of an identity.
pub(super) fn grant(text: &str) -> Result<Grant, Complaint> {
    text.parse::<Grant>().map_err(|error| {
        let mut complaint = Complaint::from_message(&error.to_string());
        if let GrantError::Prefix { max, .. } = &error {
            complaint.fix = format!("write /{max} or nothing for one address, less for a network");
        }
        complaint
    })
}

fn remux(read: &Reader<'_>, role: Role) -> Result<remux::Config, Error> {
    let mut config = remux::Config {
        reuse_max_age: read.seconds("remux.reuse.max.sec"),
        reuse_max_count: read.count("remux.reuse.max.cnt"),
        idle_max: read.seconds("remux.idle.max.sec"),
        conn_max: read.size("remux.conn.max.cnt"),
        ..remux::Config::default()
    };
    let session = &mut config.session;
    session.window.initial = read.count("remux.window.start.bytes");
    session.window.min = read.count("remux.window.min.bytes");
    session.window.max = read.count("remux.window.max.bytes");
    session.window.growth = read.whole("remux.growth.conn.bytes");
    session.sending.queue = read.size("remux.stream.send.bytes");
    session.liveness.answer_max = read.seconds("remux.ping.answer.sec");
    session.liveness.answer_min = session.liveness.answer_min.min(session.liveness.answer_max);
    session.liveness.stall = read.seconds("remux.stall.max.sec");
    session.classic.queue = read.size("remux.classic.queue.bytes");
    session.classic.full = read.seconds("remux.classic.full.sec");
    let quiet = read.seconds("remux.ping.quiet.sec");
    session.liveness.ping_quiet = session.liveness.ping_quiet.max(quiet);
    if role == Role::Client {
        session.liveness.ping_client = quiet;
        config.dial_timeout = read.seconds("remux.dial.max.sec");
        config.backoff_min = Duration::from_millis(read.whole("remux.backoff.min.msec"));
        config.backoff_max = read.seconds("remux.backoff.max.sec");
    } else {
        session.liveness.ping_server = quiet;
        session.liveness.settings = read.seconds("remux.settings.max.sec");
        session.server_idle = read.seconds("remux.idle.server.sec");
        session.limits.max_streams = Some(read.count("remux.stream.max.cnt"));
        session.limits.opens =
            Rate::per_second(read.count("remux.open.burst.cnt"), read.count("remux.open.rate.cnt"));
        session.limits.resets =
            Rate::per_second(read.count("remux.reset.burst.cnt"), read.count("remux.reset.rate.cnt"));
        let pings = read.count("remux.ping.rate.cnt");
        session.limits.pings = Rate::per_second(pings.saturating_mul(2), pings);
        // The seed's defaults are the client's to keep; only what this server was told does it ask of others.
        session.announce.max_age = read.is_given("remux.reuse.max.sec").then_some(config.reuse_max_age);
        session.announce.max_reuse = read.is_given("remux.reuse.max.cnt").then_some(config.reuse_max_count);
    }
    let window = &config.session.window;
    for (name, low, high, order) in [
        ("remux.window.min.bytes", window.min, window.initial, "at most remux.window.start.bytes"),
        ("remux.window.max.bytes", window.initial, window.max, "at least remux.window.start.bytes"),
    ] {
        if low > high {
            return Err(read.clash(
                name,
                None,
                "a window would start outside of its bounds",
                format!("make it {order}"),
            ));
        }
    }
    if config.backoff_min > config.backoff_max {
        let why = "the first pause is longer than the longest";
        return Err(read.clash("remux.backoff.min.msec", None, why, "make it at most remux.backoff.max.sec"));
    }
    Ok(config)
}

fn preauth(read: &Reader<'_>) -> transport::Limits {
    let pending = read.size("server.preauth.max.cnt");
    transport::Limits {
        pending,
        refuse_from: pending.div_ceil(2),
        pending_per_source: read.size("server.preauth.source.max.cnt"),
        rate: read.count("server.preauth.fail.rate.cnt"),
        burst: read.count("server.preauth.fail.burst.cnt"),
        ..transport::Limits::default()
    }
}

fn memory(read: &Reader<'_>) -> Memory {
    Memory { max: read.maybe("remux.memory.max.bytes") }
}

fn stream(read: &Reader<'_>) -> StreamLimits {
    StreamLimits {
        idle: read.seconds("stream.idle.max.sec"),
        half_closed: read.seconds("stream.half.max.sec"),
    }
}

fn log(read: &Reader<'_>) -> Result<Log, Error> {
    const PATH: &str = "sla.log.path";
    let path = match read.text(PATH) {
        _ if !read.is_given(PATH) => LogPath::Default,
        path => match LogPath::from(path.as_str()) {
            LogPath::File(path) => LogPath::File(read.resolved(PATH, &path)),
            other => other,
        },
    };
    Ok(Log {
        level: read.parse("sla.log.level")?,
        path,
        format: read.parse("sla.log.format")?,
        rotation: Rotation {
            max_bytes: read.whole("sla.log.max.bytes"),
            max_age: read.seconds("sla.log.max.age.sec"),
            max_files: read.count("sla.log.max.files.cnt"),
        },
        redaction: read.parse("sla.log.redact")?,
    })
}

fn alert(read: &Reader<'_>) -> Result<Option<Alert>, Error> {
    const URL: &str = "sla.dingtalk.url";
    let text = read.text(URL);
    let url = text.parse().map_err(|error: EndpointError| {
        let fix = "write https://host/path; a token must not travel in the clear";
        read.bad_value(URL, None, format!("{}: {error}", quote(&text)), fix)
    })?;
    let secret = secrets::secret(read, "sla.dingtalk.secret")?;
    match secrets::secret(read, "sla.dingtalk.token")? {
        Some(token) => Ok(Some(Alert { token, secret, url })),
        None if secret.is_some() => {
            let why = "there is a secret but no sla.dingtalk.token";
            Err(read.clash("sla.dingtalk.secret", None, why, "add the robot's token, or delete the secret"))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
