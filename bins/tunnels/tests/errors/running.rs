//! Situations in which a program goes on and its log says what is wrong.

use std::io::{Read, Write};

use crate::Situation;
use crate::peers::{ask, listen, send};

pub(crate) const SITUATIONS: &[Situation] = &[
    ("nothing listens where the server should be", |lab| {
        let client = lab.client("");
        ask(lab, "example.org", 443);
        client.says("dial failed")
    }),
    ("the server's certificate is another CA's", |lab| {
        lab.pair().other_pair();
        let _server = lab.server("-tls.server.cert other/server.crt -tls.server.key other/server.key");
        let client = lab.client("");
        ask(lab, "example.org", 443);
        client.says("dial failed")
    }),
    ("the server's certificate bears another name", |lab| {
        let _server = lab.server("");
        let client = lab.client("-tls.server.name vpn.example.org");
        ask(lab, "example.org", 443);
        client.says("dial failed")
    }),
    ("the server does not know the client's CA", |lab| {
        lab.pair().other_pair();
        let _server = lab.server("-tls.client.ca other/ca.crt");
        let client = lab.client("");
        ask(lab, "example.org", 443);
        client.says("dial failed")
    }),
    ("a client's certificate is another CA's", |lab| {
        lab.pair().other_pair();
        let server = lab.server("-tls.client.ca other/ca.crt");
        let _client = lab.client("");
        ask(lab, "example.org", 443);
        server.says("handshake failed")
    }),
    ("a web browser or a scanner comes to the server", |lab| {
        let server = lab.server("");
        send(lab.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        server.says("handshake failed")
    }),
    ("a web server is where the server should be", |lab| {
        listen(lab, |mut socket| {
            let _ = socket.read(&mut [0; 100]);
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        });
        let client = lab.client("");
        ask(lab, "example.org", 443);
        client.says("dial failed")
    }),
    ("SIGHUP finds a mistake in the file", |lab| {
        let server = lab.server("");
        lab.add("server.yaml", "server.deny: [10.0.0.0/33]");
        server.signal("HUP");
        server.says("reload failed")
    }),
];
