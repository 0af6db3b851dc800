//! Situations in which a program does not start.

use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use crate::Situation;
use crate::lab::{Lab, Said, with_descriptors};
use crate::peers::Ca;

const CLIENT: &str = "tunnels-client";
const SERVER: &str = "tunnels-server";
const TOOL: &str = "tunnels";

pub(crate) const SITUATIONS: &[Situation] = &[
    // The command line.
    ("a flag is misspelt", |lab| lab.ends(CLIENT, "-server.adr h:443")),
    ("a command is misspelt", |lab| lab.ends(TOOL, "chekc client.yaml")),
    ("a flag has no value", |lab| lab.ends(CLIENT, "-server.addr")),
    ("a flag is given twice", |lab| {
        lab.ends(CLIENT, "-client.addr=127.0.0.1:1080 -client.addr=127.0.0.1:1081")
    }),
    ("a number has a unit or is none", |lab| lab.ends(CLIENT, "-remux.idle.max.sec 10s")),
    ("a number is out of range", |lab| lab.ends(CLIENT, "-remux.reuse.max.cnt 0")),
    ("a net is not one of those there are", |lab| lab.ends(SERVER, "-server.net udp")),
    ("an address has no port", |lab| lab.ends(CLIENT, "-server.addr tunnel.example.net")),
    ("the client is not told where its server is", |lab| lab.ends(CLIENT, "")),
    ("the server is not told where to listen", |lab| lab.ends(SERVER, "")),
    ("a flag is one of the other program", |lab| lab.ends(CLIENT, "-server.allow 10.0.0.0/8")),
    ("no certificate is named", |lab| lab.ends(CLIENT, "-server.addr h:443 -client.addr 127.0.0.1:1080")),
    // The environment.
    ("an environment variable is misspelt", |lab| {
        let mut command = lab.command(CLIENT, "-server.addr h:443");
        command.env("TUNNELS_CLIENT_ADR", "127.0.0.1:1080");
        lab.ends_as(CLIENT, command)
    }),
    // The file.
    ("the configuration file is missing", |lab| lab.ends(CLIENT, "--config client.yml")),
    ("the configuration file is a folder", |lab| lab.ends(CLIENT, "--config .")),
    ("a tab is used for indentation", |lab| client_file(lab, "server:\n\taddr: h:443\n")),
    ("the YAML is broken", |lab| client_file(lab, "server: {addr: \"h:443\"\nclient: {}\n")),
    ("a setting is misspelt", |lab| client_file(lab, "server:\n  adr: h:443\n")),
    ("a setting does not exist", |lab| client_file(lab, "remux:\n  turbo: true\n")),
    ("a setting stands twice", |lab| client_file(lab, "server.addr: h:443\nserver:\n  addr: h:444\n")),
    ("a setting is the other program's", |lab| client_file(lab, "server.allow: [10.0.0.0/8]\n")),
    ("a network has bits behind its prefix", |lab| {
        lab.pair().add("server.yaml", "server.deny: [10.2.3.4/16]");
        lab.ends(SERVER, "--config server.yaml")
    }),
    ("the file of identities is missing", |lab| {
        lab.pair()
            .ends(SERVER, "--config server.yaml -server.addr :443 -server.identities.file identities.yaml")
    }),
    ("a right in the file of identities is misspelt", |lab| {
        lab.pair().write("i.yaml", "identities:\n  laptop-7:\n    stream: 5\n", 0o644);
        lab.ends(SERVER, "--config server.yaml -server.addr :443 -server.identities.file i.yaml")
    }),
    ("the file of identities lists a common name", |lab| {
        lab.pair().write("i.yaml", "identities:\n  CN=laptop-7: {}\n", 0o644);
        lab.ends(SERVER, "--config server.yaml -server.addr :443 -server.identities.file i.yaml")
    }),
    ("others can change who is let in", |lab| {
        lab.pair().write("i.yaml", "identities: {laptop-7: {}}\n", 0o666);
        lab.ends(SERVER, "--config server.yaml -server.addr :443 -server.identities.file i.yaml")
    }),
    ("a revocation list is damaged", |lab| {
        lab.pair().write("clients.crl", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", 0o644);
        lab.ends(SERVER, "--config server.yaml -server.addr :443 -tls.client.crl clients.crl")
    }),
    ("settings contradict each other", |lab| {
        lab.pair().add("client.yaml", "remux.wire: classic\neagersocks.reply: strict");
        lab.ends(CLIENT, "--config client.yaml")
    }),
    ("applications of other machines could use the client", |lab| {
        lab.pair().ends(CLIENT, "--config client.yaml -client.addr 0.0.0.0:1080")
    }),
    ("the tunnel would run without TLS", |lab| {
        lab.pair().ends(SERVER, "--config server.yaml -server.addr :443 -remux.net tcp")
    }),
    // Secrets.
    ("others can read the key", |lab| {
        lab.pair().write("client.key", std::fs::read(lab.path().join("client.key")).expect("key"), 0o644);
        lab.ends(CLIENT, "--config client.yaml")
    }),
    ("others can read a file with a secret in it", |lab| {
        lab.pair().add("client.yaml", "sla.dingtalk.token: hush-token").write(
            "client.yaml",
            std::fs::read(lab.path().join("client.yaml")).expect("file"),
            0o644,
        );
        lab.ends(CLIENT, "--config client.yaml")
    }),
    ("the users' file is missing", |lab| {
        lab.pair().ends(CLIENT, "--config client.yaml -client.users.file users.txt")
    }),
    ("a line of the users' file has no colon", |lab| {
        lab.pair().write("users.txt", "# people\nlaptop:hush-password\nphone\n", 0o600);
        lab.ends(CLIENT, "--config client.yaml -client.users.file users.txt")
    }),
    ("the robot's address has no port that there is", |lab| {
        lab.pair().ends(CLIENT, "--config client.yaml -sla.dingtalk.url https://robot.example.net:0/send")
    }),
    // Certificates and keys.
    ("the certificate's file is missing", |lab| {
        lab.pair().ends(CLIENT, "--config client.yaml -tls.client.cert gone.crt")
    }),
    ("the client is given the server's certificate", |lab| {
        lab.pair().ends(CLIENT, "--config client.yaml -tls.client.cert server.crt -tls.client.key server.key")
    }),
    ("the key is another certificate's", |lab| {
        lab.pair().ends(CLIENT, "--config client.yaml -tls.client.key server.key")
    }),
    ("the CA file holds a certificate that is no CA", |lab| {
        lab.pair().ends(CLIENT, "--config client.yaml -tls.server.ca client.crt")
    }),
    ("the key's file holds a certificate", |lab| {
        let text = std::fs::read(lab.pair().path().join("client.crt")).expect("certificate");
        lab.write("mixed.key", text, 0o600).ends(CLIENT, "--config client.yaml -tls.client.key mixed.key")
    }),
    ("our own certificate has expired", |lab| {
        Ca::new("Root").issue(lab.pair(), "old-client", "laptop", |params| {
            params.not_after = rcgen::date_time_ymd(2021, 1, 1)
        });
        lab.ends(
            CLIENT,
            "--config client.yaml -tls.client.cert old-client.crt -tls.client.key old-client.key",
        )
    }),
    ("our own certificate is not valid yet", |lab| {
        Ca::new("Root").issue(lab.pair(), "new-client", "laptop", |params| {
            params.not_before = rcgen::date_time_ymd(2999, 1, 1)
        });
        lab.ends(
            CLIENT,
            "--config client.yaml -tls.client.cert new-client.crt -tls.client.key new-client.key",
        )
    }),
    ("the server's certificate bears no name", |lab| {
        Ca::new("Root").issue(lab.pair(), "bare-server", "x", |params| params.subject_alt_names.clear());
        lab.ends(
            SERVER,
            "--config server.yaml -tls.server.cert bare-server.crt -tls.server.key bare-server.key",
        )
    }),
    ("the key has a passphrase", |lab| {
        let pem = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        lab.pair()
            .write("locked.key", pem, 0o600)
            .ends(CLIENT, "--config client.yaml -tls.client.key locked.key")
    }),
    // The process.
    ("the user to become does not exist", |lab| {
        lab.pair().ends(SERVER, "--config server.yaml -process.user tunnelz")
    }),
    ("the user to become is root", |lab| lab.pair().ends(SERVER, "--config server.yaml -process.user root")),
    ("the process may open hardly a file", |lab| {
        let command = lab.pair().command(CLIENT, "--config client.yaml");
        lab.ends_as(CLIENT, with_descriptors(4, &command))
    }),
    // The log and the sockets.
    ("the log's folder is not there", |lab| {
        lab.pair().ends(CLIENT, "--config client.yaml -sla.log.path gone/t.log")
    }),
    ("the log's path is a folder", |lab| lab.pair().ends(CLIENT, "--config client.yaml -sla.log.path .")),
    ("no log can be made where it is asked for", |lab| {
        lab.pair().ends(TOOL, "check client.yaml");
        lab.add("client.yaml", "sla.log.path: /proc/tunnels.log").ends(TOOL, "check client.yaml")
    }),
    ("the log's disk is full or takes no files", |lab| {
        lab.pair().ends(CLIENT, "--config client.yaml -sla.log.path /sys/tunnels.log")
    }),
    ("another program has the port", |lab| {
        let _server = lab.server("-server.addr 127.0.0.1:SOCKS");
        lab.ends(CLIENT, "--config client.yaml -client.addr 127.0.0.1:SOCKS -sla.log.path -")
    }),
    ("this machine does not have the address", |lab| {
        lab.pair().ends(SERVER, "--config server.yaml -server.addr 192.0.2.1:443 -sla.log.path -")
    }),
    ("the port needs a right that this user does not have", |lab| {
        let lowest =
            std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
        if lowest.trim().parse::<u16>().is_ok_and(|lowest| lowest <= 443) {
            return Said::Impossible("every user may listen on every port here");
        }
        let command =
            lab.pair().command(SERVER, "--config server.yaml -server.addr 127.0.0.1:443 -sla.log.path -");
        lab.ends_as(SERVER, without_right("net_bind_service", command))
    }),
    // The toolbox.
    ("init finds a file of an earlier pair", |lab| {
        lab.pair().ends(TOOL, "init --dir . --server tunnel.example.net:443")
    }),
    ("init is told a folder that can't be made", |lab| {
        lab.ends(TOOL, "init --dir /proc/pair --server tunnel.example.net:443")
    }),
];

fn client_file(lab: &Lab, text: &str) -> Said {
    lab.write("client.yaml", text, 0o600).ends(CLIENT, "--config client.yaml")
}

/// The same command for a process that lacks a capability, should we have it.
fn without_right(capability: &str, command: Command) -> Command {
    let mut less = Command::new("setpriv");
    less.arg(format!("--bounding-set=-{capability}")).arg(command.get_program()).args(command.get_args());
    if std::fs::metadata("/proc/self").is_ok_and(|ours| ours.uid() != 0) {
        return command;
    }
    less.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    less.current_dir(command.get_current_dir().expect("a folder")).stdin(Stdio::null());
    less
}
