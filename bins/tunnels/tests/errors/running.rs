//! Situations in which a program goes on and its log says what is wrong.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::Situation;
use crate::lab::{Lab, Said, free_port, with_descriptors};
use crate::peers::{Ca, ask, ask_at, listen, robot, send, silent, tls_client, tls_client_says, tls_server};

pub(crate) const SITUATIONS: &[Situation] = &[
    // The way to the server.
    ("nothing listens where the server should be", |lab| no_way(lab, "")),
    ("the server does not answer at all", |lab| {
        let _silent = silent(lab.port);
        no_way(lab, "")
    }),
    ("the server's name does not exist", |lab| no_way(lab, "-server.addr no-such-host.invalid:443")),
    ("the server's name has no address of the net that is set", |lab| {
        if ("localhost", 1).to_socket_addrs().is_ok_and(|mut found| found.any(|address| address.is_ipv6())) {
            return Said::Impossible("localhost has an IPv6 address here");
        }
        no_way(lab, "-server.net tcp6 -server.addr localhost:PORT")
    }),
    ("there is no route to the server", |lab| no_way(lab, "-server.addr 224.0.0.1:443")),
    ("the server's Unix socket is not there", |lab| {
        no_way(lab, "-server.net unix -server.addr gone.sock -tls.server.name 127.0.0.1")
    }),
    ("the first of two servers is too slow", |lab| {
        let _silent = silent(lab.socks + 1);
        let _server = lab.server("");
        let servers =
            format!("-server.addr 127.0.0.1:{},127.0.0.1:{} -remux.dial.max.sec 2", lab.socks + 1, lab.port);
        no_way(lab, &servers)
    }),
    ("the server is down for the third time in a row", |lab| {
        let client = lab.client("-remux.backoff.min.msec 10 -remux.backoff.max.sec 1");
        (0..4).for_each(|_| ask(lab, "example.org", 443));
        client.says("server down")
    }),
    // TLS, as the client sees it.
    ("the server's certificate is another CA's", |lab| {
        lab.pair().other_pair();
        let _server = lab.server("-tls.server.cert other/server.crt -tls.server.key other/server.key");
        no_way(lab, "")
    }),
    ("the server's certificate is of a CA that was made again", |lab| {
        let first = Ca::new("Root");
        first.issue(lab.pair(), "old-server", "127.0.0.1", |_| {});
        Ca::new("Root").issue(lab, "new-server", "127.0.0.1", |_| {});
        tls_server(lab, "old-server");
        no_way(lab, "-tls.server.ca new-server.ca.crt")
    }),
    ("the server's certificate bears another name", |lab| {
        let _server = lab.server("");
        no_way(lab, "-tls.server.name vpn.example.org")
    }),
    ("the server's certificate has expired", |lab| {
        odd_server(lab, |params| params.not_after = rcgen::date_time_ymd(2021, 1, 1))
    }),
    ("this machine's clock is wrong", |lab| {
        odd_server(lab, |params| params.not_before = rcgen::date_time_ymd(2999, 1, 1))
    }),
    ("the server shows a client's certificate", |lab| {
        odd_server(lab, |params| {
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth]
        })
    }),
    ("the server shows the CA's certificate itself", |lab| {
        odd_server(lab, |params| params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained))
    }),
    ("the server's certificate is on a revocation list", |lab| {
        let ca = Ca::new("Root");
        ca.issue(lab.pair(), "lost-server", "a.example", |params| params.serial_number = Some(7_u64.into()));
        ca.revoke(lab, "servers", 7);
        tls_server(lab, "lost-server");
        no_way(
            lab,
            "-tls.server.name a.example -tls.server.ca lost-server.ca.crt -tls.server.crl servers.crl",
        )
    }),
    ("the server does not know the client's CA", |lab| {
        lab.pair().other_pair();
        let _server = lab.server("-tls.client.ca other/ca.crt");
        no_way(lab, "")
    }),
    ("the server has as many connections as it may", |lab| {
        let _server = lab.server("-remux.conn.max.cnt 1");
        let _first = lab.client("");
        ask(lab, "127.0.0.1", lab.port);
        let client = lab.client(&format!("-client.addr 127.0.0.1:{}", lab.socks + 1));
        ask_at(lab.socks + 1, "127.0.0.1", lab.port);
        client.says("dial failed")
    }),
    ("a web server is where the server should be", |lab| {
        listen(lab, |mut socket| {
            let _ = socket.read(&mut [0; 100]);
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        });
        no_way(lab, "")
    }),
    ("something else is where the server should be", |lab| {
        listen(lab, |mut socket| {
            let _ = socket.write_all(b"SSH-2.0-OpenSSH_9.9\r\n");
            let _ = socket.read(&mut [0; 1000]);
        });
        no_way(lab, "")
    }),
    ("the server closes in the middle of the handshake", |lab| {
        listen(lab, |mut socket| drop(socket.read(&mut [0; 1])));
        no_way(lab, "")
    }),
    ("the server says nothing in the handshake", |lab| {
        listen(lab, std::mem::forget);
        no_way(lab, "-remux.dial.max.sec 2")
    }),
    ("the server speaks an older TLS only", |lab| {
        listen(lab, |mut socket| {
            let _ = socket.read(&mut [0; 2000]);
            let _ = socket.write_all(&[21, 3, 3, 0, 2, 2, 70]);
        });
        no_way(lab, "")
    }),
    ("the server breaks the rules of TLS", |lab| {
        listen(lab, |mut socket| {
            let _ = socket.read(&mut [0; 2000]);
            let mut hello = vec![22, 3, 3, 0, 50, 2, 0, 0, 46, 3, 3];
            hello.extend([7; 32]);
            hello.extend([0, 0x13, 0x99, 0, 0, 6, 0, 43, 0, 2, 3, 4]);
            let _ = socket.write_all(&hello);
            let _ = socket.read(&mut [0; 2000]);
        });
        no_way(lab, "")
    }),
    // TLS, as the server sees it.
    ("a client's certificate is another CA's", |lab| {
        lab.pair().other_pair();
        let server = lab.server("-tls.client.ca other/ca.crt");
        let _client = lab.client("");
        ask(lab, "example.org", 443);
        server.says("handshake failed")
    }),
    ("a client does not trust the server's CA", |lab| {
        lab.pair().other_pair();
        let server = lab.server("");
        let _client = lab.client("-tls.server.ca other/ca.crt");
        ask(lab, "example.org", 443);
        server.says("handshake failed")
    }),
    ("a client without a certificate comes", |lab| {
        let server = lab.server("");
        tls_client(lab, None);
        server.says("handshake failed")
    }),
    ("a client's certificate has expired", |lab| {
        odd_client(lab, |params| params.not_after = rcgen::date_time_ymd(2021, 1, 1))
    }),
    ("a client's certificate is not valid yet", |lab| {
        odd_client(lab, |params| params.not_before = rcgen::date_time_ymd(2999, 1, 1))
    }),
    ("a client shows a server's certificate", |lab| {
        odd_client(lab, |params| {
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth]
        })
    }),
    ("a client shows a CA's certificate", |lab| {
        odd_client(lab, |params| params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained))
    }),
    ("a client's certificate is on a revocation list", |lab| {
        let ca = Ca::new("Root");
        ca.issue(lab.pair(), "lost-client", "laptop", |params| params.serial_number = Some(7_u64.into()));
        ca.revoke(lab, "clients", 7);
        let server = lab.server("-tls.client.ca lost-client.ca.crt -tls.client.crl clients.crl");
        tls_client(lab, Some("lost-client"));
        server.says("handshake failed")
    }),
    ("a web browser or a scanner comes to the server", |lab| {
        let server = lab.server("");
        send(lab.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        server.says("handshake failed")
    }),
    ("a client with an older TLS comes", |lab| {
        let server = lab.server("");
        let mut hello = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
        hello.extend([7; 32]);
        hello.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]);
        send(lab.port, &hello);
        server.says("handshake failed")
    }),
    ("a client says nothing in the handshake", |lab| {
        let server = lab.server("-remux.handshake.max.sec 1");
        send(lab.port, b"");
        server.says("handshake failed")
    }),
    ("a client goes away in the middle of the handshake", |lab| {
        let server = lab.server("");
        drop(TcpStream::connect(("127.0.0.1", lab.port)).expect("connect").write_all(&[22, 3, 1]));
        server.says("handshake failed")
    }),
    ("others wait for the place of a client that says nothing in the handshake", |lab| {
        let server = lab.server("-server.preauth.max.cnt 1");
        let port = lab.port;
        for _ in 0..2 {
            std::thread::spawn(move || send(port, b""));
        }
        server.says("handshake failed")
    }),
    // Settings of the two ends.
    ("one end has remux, the other not", |lab| {
        let _server = lab.server("-eagersocks.net tls");
        no_way(lab, "")
    }),
    ("the server speaks only the classic wire, the client only remux2", |lab| {
        let _server = lab.server("-remux.wire classic");
        no_way(lab, "-remux.wire remux2")
    }),
    ("a client speaks none of the server's wires", |lab| {
        let server = lab.server("-remux.wire classic");
        let _client = lab.client("-remux.wire remux2");
        ask(lab, "example.org", 443);
        server.says("handshake failed")
    }),
    ("strict replies are asked for, and the server speaks the classic wire", |lab| {
        let _server = lab.server("-remux.wire classic");
        no_way(lab, "-eagersocks.reply strict")
    }),
    ("one end has TLS, the other not", |lab| {
        let _server = lab.server("-remux.net tcp");
        no_way(lab, "")
    }),
    ("the client has no TLS and the server has", |lab| {
        let _server = lab.server("");
        no_way(lab, "-remux.net tcp")
    }),
    ("the wires differ without TLS", |lab| {
        let _server = lab.server("-remux.net tcp -remux.wire classic");
        no_way(lab, "-remux.net tcp")
    }),
    ("without TLS, something else is where the server should be", |lab| {
        listen(lab, |mut socket| {
            let _ = socket.write_all(b"SSH-2.0-OpenSSH_9.9\r\n");
            let _ = socket.read(&mut [0; 1000]);
        });
        no_way(lab, "-remux.net tcp")
    }),
    ("without TLS, the path resets the connection", |lab| {
        listen(lab, |mut socket| {
            let _ = socket.read(&mut [0; 1]);
            socket2::SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO)).expect("linger");
        });
        no_way(lab, "-remux.net tcp")
    }),
    // Destinations.
    ("the destination is denied", |lab| {
        let server = lab.server("");
        let _client = lab.client("");
        ask(lab, "10.1.2.3", 443);
        server.says("destination denied")
    }),
    ("a rule of the server's denies the destination", |lab| {
        let server = lab.server("-server.deny 127.0.0.1");
        let _client = lab.client("");
        ask(lab, "127.0.0.1", 443);
        server.says("destination denied")
    }),
    ("the destination is the server itself", |lab| {
        let server = lab.server("");
        let _client = lab.client("");
        ask(lab, "127.0.0.1", lab.port);
        server.says("destination denied")
    }),
    ("the client learns that a destination is denied", |lab| destination(lab, "10.1.2.3", 443)),
    ("nothing listens at the destination", |lab| destination(lab, "127.0.0.1", free_port())),
    ("the destination does not answer", |lab| {
        let port = free_port();
        let _silent = silent(port);
        destination(lab, "127.0.0.1", port)
    }),
    ("there is no route to the destination", |lab| {
        let _server = lab.server("-server.allow 224.0.0.0/4");
        let client = lab.client("");
        ask(lab, "224.0.0.1", 443);
        client.says("[sock] -")
    }),
    ("the server has no descriptor left for the destination", |lab| {
        let server = lab.server("");
        let client = lab.client("");
        ask(lab, "127.0.0.1", free_port());
        let limited =
            Command::new("prlimit").args(["--nofile=1", "--pid", &server.id().to_string()]).status();
        assert!(limited.expect("prlimit").success());
        ask(lab, "127.0.0.1", free_port());
        client.says("DST-419")
    }),
    ("the destination's name does not exist", |lab| destination(lab, "no-such-host.invalid", 443)),
    ("the destination resets the connection", |lab| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("accept");
            socket.read_exact(&mut [0; 5]).expect("read");
            socket2::SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO)).expect("linger");
        });
        destination(lab, "127.0.0.1", port)
    }),
    // Applications.
    ("an application speaks neither SOCKS nor HTTP CONNECT", |lab| {
        application(lab, "", b"\x16\x03\x01\x00\x05hello")
    }),
    ("a browser takes the proxy's port for a web server", |lab| {
        application(lab, "", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    }),
    ("a browser sends plain HTTP through the proxy", |lab| {
        application(lab, "", b"GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n")
    }),
    ("a web page tries to use the proxy", |lab| {
        application(lab, "", b"CONNECT h:1 HTTP/1.1\r\nOrigin: https://evil.example\r\n\r\n")
    }),
    ("an application asks for UDP", |lab| {
        application(lab, "", b"\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00")
    }),
    ("an application asks for BIND", |lab| application(lab, "", b"\x04\x02\x00\x50\x0a\x00\x00\x01\x00")),
    ("an application asks for port 0", |lab| {
        application(lab, "", b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x00")
    }),
    ("an application names a host that is none", |lab| {
        application(lab, "", b"\x05\x01\x00\x05\x01\x00\x03\x03a/b\x00\x50")
    }),
    ("an application breaks off its request", |lab| {
        application(lab, "-client.handshake.max.sec 1", b"\x05\x01")
    }),
    ("an application offers no password", |lab| with_users(lab, b"\x05\x01\x00", "request refused")),
    ("an application speaks SOCKS4, which has no password", |lab| {
        with_users(lab, b"\x04\x01\x00\x50\x0a\x00\x00\x01\x00", "request refused")
    }),
    ("a browser was given no password", |lab| {
        with_users(lab, b"CONNECT h:1 HTTP/1.1\r\n\r\n", "request refused")
    }),
    ("an application shows a wrong password", |lab| {
        with_users(lab, b"\x05\x01\x02\x01\x06laptop\x05wrong", "wrong user or password")
    }),
    ("an application shows a user that does not exist", |lab| {
        with_users(lab, b"\x05\x01\x02\x01\x05other\x05wrong", "wrong user or password")
    }),
    ("an address has shown more wrong passwords than are judged", |lab| {
        lab.write("users.txt", "laptop:hush-password\n", 0o600);
        let client = lab.client("-client.users.file users.txt");
        let socks = lab.socks;
        for _ in 0..60 {
            std::thread::spawn(move || send(socks, b"\x05\x01\x02\x01\x06laptop\x05wrong"));
        }
        client.says("APP-509")
    }),
    // Limits.
    ("the server has no place for another connection", |lab| {
        let server = lab.server("-remux.conn.max.cnt 1");
        let _first = lab.client("");
        ask(lab, "127.0.0.1", lab.port);
        let _second = lab.client(&format!("-client.addr 127.0.0.1:{}", lab.socks + 1));
        ask_at(lab.socks + 1, "127.0.0.1", lab.port);
        server.says("limit reached")
    }),
    ("an identity has as many streams as it may", |lab| {
        let server = lab.server("-server.stream.identity.max.cnt 1");
        let _client = lab.client("");
        let port = free_port();
        let _silent = silent(port);
        let socks = lab.socks;
        for _ in 0..2 {
            std::thread::spawn(move || ask_at(socks, "127.0.0.1", port));
        }
        server.says("limit reached")
    }),
    ("a client's connections keep being cut for what they do", |lab| {
        let server = lab.server("");
        for _ in 0..5 {
            tls_client_says(lab, Some("client"), &[0xff; 64]);
        }
        server.says("limit reached")
    }),
    ("there is no memory for another request", |lab| {
        let server = lab.server("-eagersocks.net tls -remux.memory.max.bytes 8388608");
        let _client = lab.client("-eagersocks.net tls");
        let (socks, port) = (lab.socks, held());
        for _ in 0..40 {
            std::thread::spawn(move || ask_at(socks, "127.0.0.1", port));
        }
        server.says("limit reached")
    }),
    ("there are fewer descriptors than the caps ask for", |lab| {
        let server = "--config server.yaml -server.addr 127.0.0.1:PORT -sla.log.path -";
        let command = lab.pair().command("tunnels-server", server);
        lab.running("tunnels-server", with_descriptors(64, &command)).says("RES-701")
    }),
    ("a flow is quiet for too long", |lab| {
        let _server = lab.server("-stream.idle.max.sec 1");
        let client = lab.client("");
        let port = held();
        ask(lab, "127.0.0.1", port);
        client.says("[sock] -")
    }),
    ("the server is stopped while a flow goes on", |lab| {
        let server = lab.server("-drain.max.sec 1");
        let client = lab.client("");
        let (socks, port) = (lab.socks, held());
        std::thread::spawn(move || ask_at(socks, "127.0.0.1", port));
        server.line("[sock] +");
        server.signal("TERM");
        client.says("[sock] -")
    }),
    // The program itself.
    ("a client's identity is not on the list", |lab| {
        lab.write("identities.yaml", "identities: {clients: {}}\n", 0o644);
        let server = lab.server("-server.identities.file identities.yaml");
        let _client = lab.client("");
        ask(lab, "example.org", 443);
        server.says("peer refused")
    }),
    ("the server's list does not have the client", |lab| {
        lab.write("identities.yaml", "identities: {clients: {}}\n", 0o644);
        let _server = lab.server("-server.identities.file identities.yaml");
        let client = lab.client("");
        ask(lab, "example.org", 443);
        client.says("dial failed")
    }),
    ("a client that was revoked comes back", |lab| {
        lab.write("identities.yaml", "revoked: [client]\n", 0o644);
        let server = lab.server("-server.identities.file identities.yaml");
        let _client = lab.client("");
        ask(lab, "example.org", 443);
        server.says("peer refused")
    }),
    ("the server has revoked the client", |lab| {
        lab.write("identities.yaml", "revoked: [client]\n", 0o644);
        let _server = lab.server("-server.identities.file identities.yaml");
        let client = lab.client("");
        ask(lab, "example.org", 443);
        client.says("dial failed")
    }),
    ("SIGHUP finds a mistake in the file of identities", |lab| {
        lab.write("identities.yaml", "identities: {client: {}}\n", 0o644);
        let server = lab.server("-server.identities.file identities.yaml");
        lab.write("identities.yaml", "identities:\n  client:\n    stream: 5\n", 0o644);
        server.signal("HUP");
        server.says("reload failed")
    }),
    ("SIGHUP finds a mistake in the file", |lab| {
        let server = lab.server("");
        lab.add("server.yaml", "server.deny: [10.0.0.0/33]");
        server.signal("HUP");
        server.says("reload failed")
    }),
    ("SIGHUP finds a half-replaced certificate", |lab| {
        let server = lab.server("");
        Ca::new("Root").issue(lab, "server", "127.0.0.1", |_| {});
        std::fs::copy(lab.path().join("client.key"), lab.path().join("server.key")).expect("copy");
        server.signal("HUP");
        server.says("reload failed")
    }),
    ("SIGHUP finds a setting that needs a restart", |lab| {
        let server = lab.server("");
        lab.add("server.yaml", "remux.reuse.max.cnt: 3");
        server.signal("HUP");
        server.says("RUN-901")
    }),
    ("root stays root", |lab| {
        if std::fs::metadata("/proc/self").is_ok_and(|ours| ours.uid() != 0) {
            return Said::Impossible("only root can stay root");
        }
        lab.server("").says("SEC-333")
    }),
    ("a certificate ends soon", |lab| {
        Ca::new("Root").issue(lab.pair(), "short-server", "127.0.0.1", |params| {
            params.not_after =
                (std::time::SystemTime::now() + std::time::Duration::from_secs(5 * 86_400)).into();
        });
        lab.server("-tls.server.cert short-server.crt -tls.server.key short-server.key")
            .says("certificate ends soon")
    }),
    ("a secret is given as an argument", |lab| {
        let client = lab.client("-sla.dingtalk.token hush-token");
        client.says("SEC-332")
    }),
    ("the tunnel runs without TLS because somebody said so", |lab| {
        lab.server("-server.addr 0.0.0.0:PORT -remux.net tcp -remux.insecure").says("CFG-311")
    }),
    ("the log's disk is full", |lab| {
        let flags = "--config server.yaml -server.addr 127.0.0.1:PORT -sla.log.path /dev/full";
        let command = lab.pair().command("tunnels-server", flags);
        lab.running("tunnels-server", command).says_bare("RUN-903")
    }),
    ("another process writes the log file", |lab| {
        let server = "--config server.yaml -server.addr 127.0.0.1:PORT -sla.log.path t.log";
        let _first = lab.pair().running("tunnels-server", lab.command("tunnels-server", server));
        lab.wait("t.log", "listening");
        lab.client("-sla.log.path t.log").says("logging to stderr")
    }),
    // Alerts.
    ("the robot rejects the signature", |lab| {
        alert(lab, 200, r#"{"errcode":310000,"errmsg":"sign not match"}"#)
    }),
    ("the robot wants a keyword", |lab| {
        alert(lab, 200, r#"{"errcode":310000,"errmsg":"keywords not in content"}"#)
    }),
    ("the robot does not take our address", |lab| {
        alert(lab, 200, r#"{"errcode":310000,"errmsg":"ip 192.0.2.1 not in whitelist"}"#)
    }),
    ("the robot does not know the token", |lab| {
        alert(lab, 200, r#"{"errcode":300001,"errmsg":"token is not exist"}"#)
    }),
    ("the robot gets too many messages", |lab| {
        alert(lab, 200, r#"{"errcode":130101,"errmsg":"send too fast"}"#)
    }),
    ("the robot answers with an error", |lab| alert(lab, 500, "")),
    ("the robot's address is no robot", |lab| alert(lab, 200, "<html>")),
    ("nothing listens where the robot should be", |lab| {
        let client = alerted(lab);
        client.says("[hook]")
    }),
];

/// The port of a destination that takes a connection and then does nothing.
fn held() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    std::thread::spawn(move || listener.incoming().for_each(std::mem::forget));
    port
}

/// What the client's log says of its way to the server.
fn no_way(lab: &Lab, more: &str) -> Said {
    let client = lab.client(more);
    ask(lab, "example.org", 443);
    client.says("dial failed")
}

fn odd_server(lab: &Lab, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Said {
    Ca::new("Root").issue(lab.pair(), "odd-server", "127.0.0.1", change);
    tls_server(lab, "odd-server");
    no_way(lab, "-tls.server.ca odd-server.ca.crt")
}

fn odd_client(lab: &Lab, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Said {
    Ca::new("Root").issue(lab.pair(), "odd-client", "laptop", change);
    let server = lab.server("-tls.client.ca odd-client.ca.crt");
    tls_client(lab, Some("odd-client"));
    server.says("handshake failed")
}

/// What the client's log says of a destination.
fn destination(lab: &Lab, host: &str, port: u16) -> Said {
    let _server = lab.server("");
    let client = lab.client("");
    ask(lab, host, port);
    client.says("[sock] -")
}

fn application(lab: &Lab, more: &str, bytes: &[u8]) -> Said {
    let client = lab.client(more);
    send(lab.socks, bytes);
    client.says("request refused")
}

fn with_users(lab: &Lab, bytes: &[u8], event: &str) -> Said {
    lab.write("users.txt", "laptop:hush-password\n", 0o600);
    let client = lab.client("-client.users.file users.txt");
    send(lab.socks, bytes);
    client.says(event)
}

/// What the log says of a robot that answers so.
fn alert(lab: &Lab, status: u16, body: &'static str) -> Said {
    robot(lab, status, body);
    alerted(lab).says("[hook]")
}

/// A client that has something to tell its robot at the lab's port.
fn alerted(lab: &Lab) -> crate::lab::Running {
    lab.write("token", "hush-token\n", 0o600).write("secret", "hush-secret\n", 0o600);
    let more = "-sla.dingtalk.url http://127.0.0.1:PORT/robot/send -sla.dingtalk.token file:token \
                -sla.dingtalk.secret file:secret";
    let client = lab.client(more);
    lab.add("client.yaml", "remux.idle.max.sec: 0");
    client.signal("HUP");
    client
}
