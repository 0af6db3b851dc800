//! How a server reaches destinations: resolve once, judge every address, dial only what was permitted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use framing::{Host, Target};
use routing::Permitted;
use sla::event;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use transport::{DialOptions, Socket};

use crate::access::Terms;
use crate::config;
use crate::lookups::Lookups;
use crate::outbound::socket_address;
use crate::relay::Broken;
use crate::turns::Turns;
use crate::unreached;

/// Dials destinations within the policy and the limits on dials in progress.
pub(crate) struct Destinations {
    timeout: Duration,
    dialling: Arc<Turns<Target>>,
    lookups: Lookups,
}

impl Destinations {
    pub(crate) fn new(config: &config::Server) -> Self {
        let dialling = Turns::new(config.dials_per_target);
        Self { timeout: config.dial_timeout, dialling, lookups: Lookups::new() }
    }

    /// Dials `target` by `terms`; too many dials of their identity (`dials`) at once wait, within the time there is.
    ///
    /// Cancel safety: dropping the future ends the dial; a name look-up under way goes on, see [`Lookups`].
    pub(crate) async fn dial(
        &self,
        terms: &mut Terms,
        dials: &Arc<Semaphore>,
        target: &Target,
    ) -> Result<Socket, Broken> {
        if target.port == 0 {
            return Err(Broken { end: "refused", ..unreached::failed(target, "port 0 can't be dialled") });
        }
        let deadline = Instant::now() + self.timeout;
        let late = |behind, setting| unreached::queued(target, behind, setting, self.timeout);
        let Ok(Ok(_place)) = timeout_at(deadline, dials.acquire()).await else {
            return Err(late("of this identity", "server.dial.identity.max.cnt"));
        };
        let Ok(_turn) = timeout_at(deadline, self.dialling.take(target.clone())).await else {
            return Err(late("to this destination", "server.dial.target.max.cnt"));
        };
        let found = self.resolve(terms.identity(), target, deadline).await?;
        let permitted = judge(terms, target, &found)?;
        let left = deadline.saturating_duration_since(Instant::now());
        // Armed: neither a dead process nor a stream given up meanwhile must look like a clean end to the destination.
        let options = DialOptions { total: left, ..DialOptions::default() };
        let addresses: Vec<SocketAddr> = permitted.into_iter().map(Permitted::address).collect();
        let socket = transport::connect(target, &addresses, &options).await;
        socket.map_err(|error| unreached::unconnected(target, &error))
    }

    /// The addresses of a target: its own, or those of its name, which `identity` asks for.
    async fn resolve(
        &self,
        identity: &str,
        target: &Target,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, Broken> {
        if let Some(address) = socket_address(target) {
            return Ok(vec![address]);
        }
        let Host::Name(name) = &target.host else { return Ok(Vec::new()) };
        let Ok(places) = timeout_at(deadline, self.lookups.wait(identity)).await else {
            return Err(unreached::unasked(target, self.timeout));
        };
        let name = name.as_str().trim_end_matches('.');
        match timeout_at(deadline, self.lookups.find(places, name, target.port)).await {
            Ok(Ok(found)) if found.is_empty() => Err(unreached::nameless(target, "it has none")),
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(unreached::unresolved(target, &error)),
            Err(_) => Err(unreached::unanswered(target, self.timeout)),
        }
    }
}

/// The addresses that may be dialled, by the rules of this moment.
fn judge(terms: &mut Terms, target: &Target, found: &[SocketAddr]) -> Result<Vec<Permitted>, Broken> {
    let (permitted, denied) = terms.acl()?.filter(found);
    if !permitted.is_empty() {
        return Ok(permitted);
    }
    let Some(denied) = denied else { return Err(unreached::nameless(target, "it has none")) };
    let broken = unreached::denied(&denied);
    event::acl_denied(Some(terms.identity()), &target.to_string(), &broken.text);
    Err(broken)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::Ipv4Addr;

    use framing::remux2::Code;

    use super::*;
    use crate::access::Policy;

    #[tokio::test(start_paused = true)]
    async fn dial_beyond_those_of_its_identity_waits_for_one_to_end() {
        let destinations = destinations();
        let (dials, asked) = (dials(1), target("127.0.0.1:1"));
        let earlier = dials.clone().acquire_owned().await.unwrap();
        let began = Instant::now();
        let broken = destinations.dial(&mut laptop(), &dials, &asked).await.unwrap_err();
        assert_eq!((broken.code, began.elapsed().as_secs()), (Code::DIAL_TIMEOUT, 10));
        assert!(broken.text.contains("earlier dials of this identity"), "{}", broken.text);

        let mut terms = laptop();
        let waiting = destinations.dial(&mut terms, &dials, &asked);
        let (outcome, ()) = tokio::join!(waiting, async {
            tokio::time::sleep(Duration::from_secs(9)).await;
            drop(earlier);
        });
        assert_eq!(outcome.unwrap_err().code, Code::RULE_REFUSED, "it went on, up to the policy");
    }

    #[tokio::test(start_paused = true)]
    async fn dial_beyond_those_to_its_target_waits_and_other_targets_go_on() {
        let destinations = destinations();
        let busy = target("127.0.0.1:1");
        let earlier =
            [destinations.dialling.take(busy.clone()).await, destinations.dialling.take(busy.clone()).await];
        let began = Instant::now();
        let broken = destinations.dial(&mut laptop(), &dials(9), &busy).await.unwrap_err();
        assert_eq!((broken.code, began.elapsed().as_secs()), (Code::DIAL_TIMEOUT, 10));
        assert!(broken.text.contains("earlier dials to this destination"), "{}", broken.text);
        let other = destinations.dial(&mut laptop(), &dials(9), &target("127.0.0.1:2")).await.unwrap_err();
        assert_eq!(other.code, Code::RULE_REFUSED);
        drop(earlier);
        assert_eq!(
            destinations.dial(&mut laptop(), &dials(9), &busy).await.unwrap_err().code,
            Code::RULE_REFUSED
        );
        assert!(destinations.dialling.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn name_behind_look_ups_that_hang_is_given_up_at_its_dial_time_out_and_an_address_goes_on() {
        let destinations = destinations();
        let mut hanging = Vec::new();
        for _ in 0..crate::lookups::SHARE {
            hanging.push(destinations.lookups.wait("laptop").await);
        }
        let began = Instant::now();
        let asked = target("late.example:80");
        let broken = destinations.dial(&mut laptop(), &dials(1), &asked).await.unwrap_err();
        assert_eq!((broken.code, began.elapsed().as_secs()), (Code::DIAL_TIMEOUT, 10));
        assert!(broken.text.contains("earlier look-ups"), "{}", broken.text);
        let literal = destinations.dial(&mut laptop(), &dials(1), &target("127.0.0.1:1")).await.unwrap_err();
        assert_eq!(literal.code, Code::RULE_REFUSED, "it needs no look-up");
    }

    #[tokio::test(start_paused = true)]
    async fn destination_that_never_answers_ends_at_the_dial_time_out() {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        // Room for one connection that nobody accepts; the kernel drops every further SYN.
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let _full = std::net::TcpStream::connect(address).unwrap();
        let destinations = within("2");
        let began = Instant::now();
        let broken = destinations.dial(&mut favourite(), &dials(1), &address.into()).await.unwrap_err();
        assert_eq!((broken.code, broken.end), (Code::DIAL_TIMEOUT, "refused"), "{}", broken.text);
        assert_eq!(began.elapsed().as_secs(), 2);
    }

    #[tokio::test]
    async fn denied_destination_is_refused_by_its_rule_before_anything_is_dialled() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let broken = destinations().dial(&mut laptop(), &dials(1), &address.into()).await.unwrap_err();
        assert_eq!((broken.code, broken.end), (Code::RULE_REFUSED, "denied"));
        assert!(broken.text.contains("is this server itself"), "{}", broken.text);
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        within("10").dial(&mut favourite(), &dials(1), &address.into()).await.unwrap();
    }

    #[tokio::test]
    async fn refusal_of_the_destination_and_a_wrong_port_have_their_codes() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let destinations = within("10");
        let broken = destinations.dial(&mut favourite(), &dials(1), &closed.into()).await.unwrap_err();
        assert_eq!(broken.code, Code::DEST_REFUSED, "{}", broken.text);
        let broken =
            destinations.dial(&mut favourite(), &dials(1), &target("127.0.0.1:0")).await.unwrap_err();
        assert_eq!(broken.code, Code::SERVER_ERROR);
    }

    /// Two dials to a target at a time.
    fn destinations() -> Destinations {
        Destinations::new(&settings(&[("server.dial.target.max.cnt", "2")]))
    }

    /// An identity to whom nothing of this machine is granted.
    fn laptop() -> Terms {
        Policy::new(&settings(&[]), &[]).unwrap().terms("laptop")
    }

    /// One to whom all of it is.
    fn favourite() -> Terms {
        Policy::new(&settings(&[("server.allow", "127.0.0.0/8")]), &[]).unwrap().terms("favourite")
    }

    fn within(seconds: &str) -> Destinations {
        Destinations::new(&settings(&[("server.dial.max.sec", seconds)]))
    }

    fn settings(pairs: &[(&str, &str)]) -> config::Server {
        let place = [("server.net", "unix"), ("server.addr", "/run/never.sock"), ("remux.net", "unix")];
        config::Server::from_pairs(place.into_iter().chain(pairs.iter().copied())).unwrap()
    }

    fn dials(count: usize) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(count))
    }

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }
}
