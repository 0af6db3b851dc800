//! From the configuration's words to those of the parts.

use std::net::{IpAddr, SocketAddr};

use framing::{Host, Target};
use remux::{Rate, Role};

use crate::config;

/// The pool's configuration, for one role.
pub(crate) fn pool(from: &config::Remux, role: Role) -> remux::Config {
    let mut session = remux::SessionConfig::default();
    session.window.initial = from.window_start;
    session.window.min = from.window_min;
    session.window.max = from.window_max;
    session.window.growth = from.growth_connection;
    session.sending.queue = from.send_queue;
    match role {
        Role::Client => session.liveness.ping_client = from.ping_quiet,
        Role::Server => session.liveness.ping_server = from.ping_quiet,
    }
    session.liveness.answer_max = from.ping_answer;
    session.liveness.stall = from.stall;
    session.liveness.settings = from.settings_timeout;
    session.classic.queue = from.classic_queue;
    session.classic.full = from.classic_full;
    session.limits.max_streams = (role == Role::Server).then_some(from.streams_max);
    session.limits.opens = Rate::per_second(from.open_burst, from.open_rate);
    session.limits.resets = Rate::per_second(from.reset_burst, from.reset_rate);
    session.limits.pings = Rate::per_second(from.ping_rate.saturating_mul(2), from.ping_rate);
    session.server_idle = from.server_idle;
    remux::Config {
        reuse_max_age: from.reuse_max_age,
        reuse_max_count: from.reuse_max_count,
        idle_max: from.idle_max,
        conn_max: from.conn_max,
        dial_timeout: from.dial_timeout,
        backoff_min: from.backoff_min,
        backoff_max: from.backoff_max,
        session,
    }
}

/// The address of a target that needs no name service.
pub(crate) fn socket_address(target: &Target) -> Option<SocketAddr> {
    let ip: IpAddr = match &target.host {
        Host::V4(ip) => (*ip).into(),
        Host::V6(ip) => (*ip).into(),
        Host::Name(_) => return None,
    };
    Some(SocketAddr::new(ip, target.port))
}
