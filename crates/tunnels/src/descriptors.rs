//! How many descriptors this process may have open, and the caps that follow: each connection, each stream at a server and
//! each application at a client is one, and running out is worse than waiting at a cap.

use sla::code;

use crate::config::{Carrier, Client, Server};

/// What there is to share out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptors {
    limit: usize,
}

impl Descriptors {
    /// Takes as many as the hard limit allows.
    pub(crate) fn raise() -> Self {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((ASSUMED, ASSUMED));
        // Where it is not allowed the old limit stays.
        let raised = soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
        Self { limit: usize::try_from(if raised { hard } else { soft }).unwrap_or(usize::MAX) }
    }

    /// Those for connections and streams: the rest is for the log, look-ups, listeners and what nobody thought of.
    pub(crate) fn budget(self) -> usize {
        self.limit - RESERVE.min(self.limit / 4)
    }

    /// Lowers a server's caps to what fits; says so if it had to.
    pub(crate) fn fit_server(self, server: &mut Server) -> Option<String> {
        let budget = self.budget();
        let wanted = needs_of_server(server);
        if wanted <= budget {
            return None;
        }
        let preauth = &mut server.preauth;
        preauth.pending = preauth.pending.min(budget / 8).max(1);
        preauth.refuse_from = preauth.refuse_from.min(preauth.pending / 2);
        let rest = budget.saturating_sub(preauth.pending);
        let (connections, streams) = match server.carrier {
            Carrier::Remux(_) => (server.remux.conn_max.min(budget / 4), server.streams_max),
            Carrier::Eager => (server.remux.conn_max.min(rest / 2), server.streams_max),
        };
        server.remux.conn_max = connections.max(1);
        server.streams_max = streams.min(rest.saturating_sub(connections)).max(1);
        Some(self.warning(
            "remux.conn.max.cnt, server.stream.max.cnt and server.preauth.max.cnt",
            &format!(
                "{} connections, {} streams and {} handshakes at once",
                server.remux.conn_max, server.streams_max, server.preauth.pending
            ),
            wanted,
        ))
    }

    /// The same for a client.
    pub(crate) fn fit_client(self, client: &mut Client) -> Option<String> {
        let budget = self.budget();
        let wanted = needs_of_client(client);
        if wanted <= budget {
            return None;
        }
        let share = match client.carrier {
            Carrier::Remux(_) => budget / 5 * 4,
            Carrier::Eager => budget / 2,
        };
        client.conn_max = client.conn_max.min(share).max(1);
        client.remux.conn_max = client.remux.conn_max.min(budget.saturating_sub(client.conn_max)).max(1);
        Some(self.warning(
            "client.conn.max.cnt and remux.conn.max.cnt",
            &format!("{} applications and {} connections at once", client.conn_max, client.remux.conn_max),
            wanted,
        ))
    }

    fn warning(self, settings: &str, now: &str, wanted: usize) -> String {
        format!(
            "{} too few descriptors for {settings}: {} of {} can be used, so at most {now} → for what is configured put \
             LimitNOFILE={} into the unit file, or raise ulimit -Hn",
            code::DESCRIPTORS,
            self.budget(),
            self.limit,
            wanted.saturating_add(RESERVE)
        )
    }

    /// For `check`: what there is, and what is needed.
    pub(crate) fn describe(self, wanted: usize) -> String {
        format!("descriptors: {} of {} can be used, and {wanted} may be needed", self.budget(), self.limit)
    }
}

pub(crate) fn needs_of_server(server: &Server) -> usize {
    let streams = match server.carrier {
        Carrier::Remux(_) => server.streams_max,
        Carrier::Eager => server.remux.conn_max,
    };
    server.preauth.pending.saturating_add(server.remux.conn_max).saturating_add(streams)
}

pub(crate) fn needs_of_client(client: &Client) -> usize {
    let connections = match client.carrier {
        // A connection carries many streams, but none of them need share one.
        Carrier::Remux(_) => client.remux.conn_max.min(client.conn_max),
        Carrier::Eager => client.conn_max,
    };
    client.conn_max.saturating_add(connections)
}

/// Kept back.
const RESERVE: usize = 64;
/// What most systems give, where none tells.
const ASSUMED: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        Server::from_pairs([("server.net", "unix"), ("server.addr", "/run/t.sock"), ("remux.net", "unix")])
            .unwrap()
    }

    fn client() -> Client {
        Client::from_pairs([
            ("server.net", "unix"),
            ("server.addr", "/run/t.sock"),
            ("remux.net", "unix"),
            ("client.addr", "127.0.0.1:1080"),
        ])
        .unwrap()
    }

    #[test]
    fn caps_that_fit_stay_and_nothing_is_said() {
        let (mut server, mut client) = (server(), client());
        let before = (server.streams_max, server.remux.conn_max, client.conn_max, client.remux.conn_max);
        let many = Descriptors { limit: 65_536 };
        assert_eq!((many.fit_server(&mut server), many.fit_client(&mut client)), (None, None));
        assert_eq!(
            (server.streams_max, server.remux.conn_max, client.conn_max, client.remux.conn_max),
            before
        );
    }

    #[test]
    fn caps_that_do_not_fit_are_lowered_together_and_the_line_for_the_unit_file_is_told() {
        for limit in [64, 128, 256, 1024, 4096] {
            let (mut server, mut client) = (server(), client());
            let few = Descriptors { limit };
            let told = few.fit_server(&mut server).unwrap();
            assert!(needs_of_server(&server) <= few.budget(), "{limit}: {told}");
            assert!(server.streams_max >= 24 && server.remux.conn_max >= 12, "{limit}: {told}");
            assert!(told.contains("LimitNOFILE=17728 "), "{told}");
            assert!(told.contains(&format!("{} of {limit} can be used", few.budget())), "{told}");
            let told = few.fit_client(&mut client).unwrap();
            assert!(
                needs_of_client(&client) <= few.budget() && client.remux.conn_max >= 9,
                "{limit}: {told}"
            );
            assert!(told.contains("LimitNOFILE=5184 "), "{told}");
        }
    }
}
