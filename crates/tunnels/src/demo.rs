//! The whole tunnel in one process on loopback, with certificates that vanish with it: to see it work.

use std::io::Write;

use crate::shutdown::Shutdown;
use crate::{Client, Error, Server, config, log, pki, run};

/// Starts a server and a client on loopback, writes to `out` how to try them, and serves until SIGINT or SIGTERM, or
/// until its terminal goes away (SIGHUP).
///
/// Loopback destinations are open in the demo. Each connection and stream is a log line on standard error. Keys are on
/// the disk until both ends have read them, and no longer.
///
/// # Errors
/// Why it did not start.
pub fn demo(mut out: impl Write) -> Result<(), Error> {
    run::to_its_end(async {
        let papers = pki::throwaway()?;
        let path = |path: &std::path::Path| path.display().to_string();
        let (ca, server_cert, server_key) =
            (path(&papers.ca), path(&papers.server_cert), path(&papers.server_key));
        let (client_cert, client_key) = (path(&papers.client_cert), path(&papers.client_key));
        let server = config::Server::from_pairs([
            ("server.addr", "127.0.0.1:0"),
            ("server.allow", "127.0.0.0/8,::1/128"),
            ("tls.client.ca", &ca),
            ("tls.server.cert", &server_cert),
            ("tls.server.key", &server_key),
            ("sla.log.path", "-"),
            ("sla.log.level", "debug"),
        ])?;
        let server = Server::bind(server).await?;
        let address = server.address();
        let client = config::Client::from_pairs([
            ("server.addr", address.as_str()),
            ("client.addr", "127.0.0.1:0"),
            ("tls.client.ca", &ca),
            ("tls.client.cert", &client_cert),
            ("tls.client.key", &client_key),
            ("sla.log.path", "-"),
            ("sla.log.level", "debug"),
        ])?;
        let log = log::start(&client.log, None, &client.source)?;
        let client = Client::bind(client).await?;
        drop(papers);
        let shutdown = Shutdown::new();
        let orphaned = shutdown.clone();
        let _signals = run::signals(&shutdown, &log, move || orphaned.force())?;
        tell(&mut out, &address, &client.address());
        let (client, server) = tokio::join!(client.serve(shutdown.clone()), server.serve(shutdown));
        log.finish().await;
        client.and(server)
    })
}

fn tell(out: &mut impl Write, server: &str, client: &str) {
    // Nobody reads it where standard output is closed; the demo works all the same.
    let _ = writeln!(
        out,
        "server  {server} (mutual TLS, certificates made for this run)\n\
         SOCKS   {client} (SOCKS4, SOCKS4a, SOCKS5 and HTTP CONNECT)\n\
         open    the public Internet and, in this demo only, loopback: for every program on this machine\n\
         try     curl -x socks5h://{client} http://example.com/\n\
         offline python3 -m http.server 8000 --bind 127.0.0.1    (in another terminal), then\n\
         \x20       curl -x socks5h://{client} http://127.0.0.1:8000/\n\
         stop    Ctrl-C; a second one ends at once\n"
    )
    .and_then(|()| out.flush());
}
