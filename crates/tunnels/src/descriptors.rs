//! How many descriptors this process may have open, and the caps that follow: running out is worse than waiting at a cap.
//! Each stream at a server and each application at a client is one, each connection between them two.

use sla::code;

use crate::config::{Carrier, Client, Server};

/// What there is to share out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptors {
    limit: usize,
}

impl Descriptors {
    #[cfg(test)]
    pub(crate) fn of(limit: usize) -> Self {
        Self { limit }
    }

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
        preauth.pending = preauth.pending.min(budget / 8 / HANDSHAKE).max(1);
        preauth.refuse_from = preauth.refuse_from.min(preauth.pending / 2);
        let share = match server.carrier {
            Carrier::Remux(_) => budget / 4 / CONNECTION,
            Carrier::Eager => budget.saturating_sub(HANDSHAKE * preauth.pending) / FLOW,
        };
        server.remux.conn_max = server.remux.conn_max.min(share).max(1);
        self.fit_streams(server);
        Some(self.warning_for(server, wanted))
    }

    /// The same for settings that a running server is about to take over: its connections and handshakes stay as many as
    /// they are.
    pub(crate) fn fit_reloaded(self, fresh: &mut Server, running: &Server) -> Option<String> {
        let wanted = needs_of_server(fresh);
        fresh.preauth.clone_from(&running.preauth);
        fresh.remux.conn_max = running.remux.conn_max;
        if needs_of_server(fresh) <= self.budget() {
            return None;
        }
        self.fit_streams(fresh);
        Some(self.warning_for(fresh, wanted))
    }

    /// Streams get what handshakes and connections leave.
    fn fit_streams(self, server: &mut Server) {
        let left = match server.carrier {
            Carrier::Remux(_) => self.budget().saturating_sub(needs_of_connections(server)),
            // One each, paid for with its connection.
            Carrier::Eager => server.remux.conn_max,
        };
        server.streams_max = server.streams_max.min(left).max(1);
    }

    fn warning_for(self, server: &Server, wanted: usize) -> String {
        self.warning(
            "remux.conn.max.cnt, server.stream.max.cnt and server.preauth.max.cnt",
            &format!(
                "{} connections, {} streams and {} handshakes at once",
                server.remux.conn_max, server.streams_max, server.preauth.pending
            ),
            wanted,
        )
    }

    /// The same for a client.
    pub(crate) fn fit_client(self, client: &mut Client) -> Option<String> {
        let budget = self.budget();
        let wanted = needs_of_client(client);
        if wanted <= budget {
            return None;
        }
        let share = match client.carrier {
            Carrier::Remux(_) => budget / 3 * 2,
            Carrier::Eager => budget / FLOW,
        };
        client.conn_max = client.conn_max.min(share).max(1);
        let rest = budget.saturating_sub(client.conn_max) / CONNECTION;
        client.remux.conn_max = client.remux.conn_max.min(rest).max(1);
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
        Carrier::Eager => 0,
    };
    needs_of_connections(server).saturating_add(streams)
}

fn needs_of_connections(server: &Server) -> usize {
    let each = match server.carrier {
        Carrier::Remux(_) => CONNECTION,
        Carrier::Eager => FLOW,
    };
    let handshakes = server.preauth.pending.saturating_mul(HANDSHAKE);
    server.remux.conn_max.saturating_mul(each).saturating_add(handshakes)
}

pub(crate) fn needs_of_client(client: &Client) -> usize {
    match client.carrier {
        // A connection carries many streams, but none of them need share one.
        Carrier::Remux(_) => {
            let connections = client.remux.conn_max.min(client.conn_max);
            connections.saturating_mul(CONNECTION).saturating_add(client.conn_max)
        }
        Carrier::Eager => client.conn_max.saturating_mul(FLOW),
    }
}

/// Of a connection between client and server: its socket, and the probe's own view of it.
const CONNECTION: usize = 2;
/// Of a request with a connection to itself: that, and the socket of its application or destination.
const FLOW: usize = CONNECTION + 1;
/// For each handshake under way one, and one for somebody who waits for its place.
const HANDSHAKE: usize = 2;
/// Kept back: for look-ups, which go on when nobody waits for them any more, and for all the rest.
const RESERVE: usize = crate::lookups::AT_ONCE + 64;
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
        let many = Descriptors::of(65_536);
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
            let few = Descriptors::of(limit);
            let told = few.fit_server(&mut server).unwrap();
            assert!(needs_of_server(&server) <= few.budget(), "{limit}: {told}");
            assert!(server.streams_max >= 24 && CONNECTION * server.remux.conn_max >= 12, "{limit}: {told}");
            assert!(told.contains("LimitNOFILE=19264 "), "{told}");
            assert!(told.contains(&format!("{} of {limit} can be used", few.budget())), "{told}");
            let told = few.fit_client(&mut client).unwrap();
            assert!(
                needs_of_client(&client) <= few.budget() && CONNECTION * client.remux.conn_max >= 9,
                "{limit}: {told}"
            );
            assert!(told.contains("LimitNOFILE=6464 "), "{told}");
        }
    }

    #[test]
    fn connection_is_two_descriptors_and_a_request_without_mux_three() {
        let (server, client) = (server(), client());
        assert_eq!(needs_of_server(&server), 2 * 256 + 2 * 1024 + 16_384);
        assert_eq!(needs_of_client(&client), 4096 + 2 * 1024);
        assert_eq!(needs_of_server(&Server { carrier: Carrier::Eager, ..server }), 2 * 256 + 3 * 1024);
        assert_eq!(needs_of_client(&Client { carrier: Carrier::Eager, ..client }), 3 * 4096);
    }

    #[test]
    fn caps_without_mux_are_lowered_to_what_fits_at_either_end() {
        for limit in [64, 256, 1024] {
            let few = Descriptors::of(limit);
            let mut server = Server { carrier: Carrier::Eager, ..server() };
            let mut client = Client { carrier: Carrier::Eager, ..client() };
            let told = few.fit_server(&mut server).zip(few.fit_client(&mut client)).unwrap();
            let needed = (needs_of_server(&server), needs_of_client(&client));
            assert!(needed.0 <= few.budget() && needed.1 <= few.budget(), "{limit}: {needed:?} {told:?}");
            assert!(server.streams_max >= 12 && client.conn_max >= 16, "{limit}: {told:?}");
        }
    }

    #[test]
    fn reload_gives_streams_what_the_connections_of_the_running_server_leave() {
        let few = Descriptors::of(1024);
        let mut running = server();
        few.fit_server(&mut running).unwrap();
        let mut fresh = server();
        few.fit_reloaded(&mut fresh, &running).unwrap();
        let caps = |server: &Server| (server.remux.conn_max, server.streams_max, server.preauth.clone());
        assert_eq!(caps(&fresh), caps(&running));

        let mut wider = Server { streams_max: 100, ..server() };
        (wider.remux.conn_max, wider.preauth.pending) = (200, 32);
        assert_eq!(few.fit_server(&mut wider), None, "all of it fits, more connections than a quarter too");
        let mut fresh = server();
        let told = few.fit_reloaded(&mut fresh, &wider).unwrap();
        assert!(needs_of_server(&fresh) <= few.budget() && fresh.remux.conn_max == 200, "{told}");
        assert!(told.contains("LimitNOFILE=19264 "), "{told}");

        let mut fewer = Server { streams_max: 9, ..server() };
        assert_eq!((few.fit_reloaded(&mut fewer, &running), fewer.streams_max), (None, 9));
    }
}
