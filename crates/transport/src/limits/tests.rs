//! The gate, judged by what it lets in.

use super::*;

const A: &str = "198.51.100.7";

#[test]
fn clean_source_meets_no_rate_and_no_per_source_limit() {
    let (mut gate, now) = gate();
    for _ in 0..10_000 {
        let ticket = gate.admit(now, source(A), 0).expect("clean");
        gate.handle_done(now, ticket, Outcome::Authenticated);
    }
    for _ in 0..100 {
        gate.admit(now, source(A), 0).expect("clean");
    }
    assert_eq!(gate.pending(), 100);
    assert_eq!(gate.marked(), 0);
}

#[test]
fn clean_source_may_hold_half_of_the_room() {
    let (mut gate, now) = gate();
    let tickets: Vec<_> = (0..128).map(|_| gate.admit(now, source(A), 0).expect("half")).collect();
    assert_eq!(gate.admit(now, source(A), 0), Err(Refusal::Share));
    assert!(gate.admit(now, source("198.51.100.8"), 0).is_ok());
    gate.handle_done(now, tickets[5], Outcome::Gone);
    assert!(gate.admit(now, source(A), 0).is_ok());
}

#[test]
fn process_never_has_more_pending_than_its_room() {
    let (mut gate, now) = gate();
    for host in 0..64 {
        fail(&mut gate, now, &format!("192.0.2.{host}"), Outcome::Authenticated);
    }
    for host in 0..192_u32 {
        let source = Some(Source::from(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + host))));
        gate.admit(now, source, 0).expect("room");
    }
    let mut last = None;
    for host in 0..64 {
        last = Some(gate.admit(now, source(&format!("192.0.2.{host}")), 0).expect("room"));
    }
    assert_eq!(gate.pending(), 256);
    assert_eq!(gate.admit(now, source(A), u32::MAX), Err(Refusal::Full));
    assert_eq!(gate.admit(now, None, u32::MAX), Err(Refusal::Full), "a Unix socket counts too");
    gate.handle_done(now, last.expect("admitted"), Outcome::Authenticated);
    assert!(gate.admit(now, None, 0).is_ok());
}

#[test]
fn source_that_holds_most_of_a_full_room_gives_up_its_oldest_handshakes_after_their_fair_time() {
    let mut gate = Gate::new(Limits { pending: 13, ..Limits::default() });
    let start = Instant::now();
    let first = gate.admit(start, source("10.0.0.1"), 0).expect("room");
    let crowd: Vec<_> = (0..5).map(|_| gate.admit(start, source(A), 0).expect("room")).collect();
    let rest: Vec<_> =
        (2..6).map(|n| gate.admit(start, source(&format!("10.0.0.{n}")), 0).expect("room")).collect();
    let due = start + Duration::from_millis(500);
    assert!(!gate.has_room(due, source(A)));
    assert_eq!(gate.next_to_go(start, false), Err(Some(due)));
    assert_eq!(gate.next_to_go(due, false), Ok(crowd[0]));
    assert!(!gate.has_room(due, source(A)), "it has room only when that one is gone");
    gate.handle_done(due, crowd[0], Outcome::MadeRoom);
    assert!(gate.has_room(due, source(A)));
    for ticket in &crowd[1..4] {
        assert_eq!(gate.next_to_go(due, false), Ok(*ticket));
        gate.handle_done(due, *ticket, Outcome::MadeRoom);
    }
    assert_eq!(gate.next_to_go(due, false), Ok(first), "all have one now: the oldest goes");
    assert_eq!(gate.marked(), 1, "the crowd's source, which meets the finer limits from now on");
    for _ in 0..5 {
        gate.next_to_go(due, false).expect("one more");
    }
    assert_eq!(gate.next_to_go(due, false), Err(None), "each is named once");
    for ticket in rest {
        gate.handle_done(due, ticket, Outcome::Gone);
    }
    assert_eq!(gate.pending(), 2);
}

#[test]
fn quarter_of_the_room_is_kept_for_sources_that_are_known() {
    let (mut gate, start) = gate();
    fail(&mut gate, start, A, Outcome::Authenticated);
    for host in 0..192_u32 {
        let source = Some(Source::from(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + host))));
        gate.admit(start, source, 0).expect("room for strangers");
    }
    assert_eq!(gate.admit(start, source("198.51.100.8"), 0), Err(Refusal::Full));
    let known = gate.admit(start, source(A), 0).expect("kept for it");
    gate.admit(start, source("127.0.0.1"), 0).expect("no stranger");
    gate.admit(start, None, 0).expect("no stranger either");
    let due = start + Duration::from_millis(500);
    for n in 0..192 {
        assert_eq!(gate.leaving(), n);
        assert_ne!(gate.next_to_go(due, n % 2 == 0), Ok(known), "strangers go first");
    }
    assert_eq!(gate.next_to_go(due, false), Err(None), "no place of a known one is taken for a stranger");
    assert!(gate.next_to_go(due, true).is_ok());
    let later = start + Duration::from_secs(601);
    assert_eq!(gate.admit(later, source(A), 0), Err(Refusal::Full), "in time it is a stranger again");
}

#[test]
fn marked_source_may_have_sixteen_pending() {
    let (mut gate, now) = gate();
    fail(&mut gate, now, A, Outcome::BadCertificate);
    for _ in 0..16 {
        gate.admit(now, source(A), u32::MAX).expect("sixteen");
    }
    assert_eq!(gate.admit(now, source(A), u32::MAX), Err(Refusal::PendingPerSource));
}

#[test]
fn marked_source_gets_its_burst_and_then_its_rate() {
    let (mut gate, start) = gate();
    fail(&mut gate, start, A, Outcome::BadCertificate);
    let mut come = |now| {
        let verdict = gate.admit(now, source(A), u32::MAX);
        verdict.map(|ticket| gate.handle_done(now, ticket, Outcome::Gone))
    };
    for _ in 0..40 {
        assert_eq!(come(start), Ok(()));
    }
    assert_eq!(come(start), Err(Refusal::Rate));
    let later = start + Duration::from_secs(1);
    for _ in 0..20 {
        assert_eq!(come(later), Ok(()));
    }
    assert_eq!(come(later), Err(Refusal::Rate));
}

#[test]
fn marked_sources_are_refused_at_random_when_many_are_pending_and_clean_ones_are_not() {
    let (mut gate, now) = gate();
    fail(&mut gate, now, A, Outcome::BadCertificate);
    for host in 0..160_u32 {
        gate.admit(now, Some(Source::from(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + host)))), 0)
            .expect("room");
    }
    let mut refused = 0;
    for dice in 0..64 {
        match gate.admit(now, source(A), dice) {
            Ok(ticket) => gate.handle_done(now, ticket, Outcome::Gone),
            Err(Refusal::Early) => refused += 1,
            // The bucket holds 40 and does not fill: time stands still here.
            Err(other) => assert_eq!(other, Refusal::Rate),
        }
    }
    assert_eq!(refused, 33, "half way to the room, half are refused");
    assert!(gate.admit(now, source("198.51.100.8"), 0).is_ok());
}

#[test]
fn source_that_has_authenticated_is_not_shut_out_for_handshakes_that_a_dead_path_left_behind() {
    let (mut gate, start) = gate();
    fail(&mut gate, start, A, Outcome::Authenticated);
    let back = start + Duration::from_secs(120);
    for _ in 0..20 {
        fail(&mut gate, back, A, Outcome::Deadline);
        fail(&mut gate, back, A, Outcome::Abandoned);
    }
    let ticket = gate.admit(back, source(A), 0).expect("not its doing");
    gate.handle_done(back, ticket, Outcome::Gone);
    // What it does itself counts, and in time it is a stranger again.
    for _ in 0..3 {
        fail(&mut gate, back, A, Outcome::BadCertificate);
    }
    assert!(matches!(gate.admit(back, source(A), 0), Err(Refusal::Penalty { .. })));
    let (mut gate, start) = self::gate();
    fail(&mut gate, start, A, Outcome::Authenticated);
    let later = start + Duration::from_secs(601);
    fail(&mut gate, later, A, Outcome::Deadline);
    fail(&mut gate, later, A, Outcome::Deadline);
    assert!(matches!(gate.admit(later, source(A), 0), Err(Refusal::Penalty { .. })));
}

#[test]
fn source_whose_proven_peers_are_turned_away_gets_its_rate_whatever_it_proves_meanwhile() {
    let (mut gate, start) = gate();
    let mut served = 0;
    for _ in 0..100 {
        let Ok(ticket) = gate.admit(start, source(A), u32::MAX) else { continue };
        served += 1;
        gate.handle_done(start, ticket, Outcome::Authenticated);
        gate.handle_turned_away(start, Source::from(A.parse::<IpAddr>().expect("address")));
    }
    assert_eq!(served, 41, "the first one, and the burst of a marked source");
    let later = start + Duration::from_secs(10);
    let ticket = gate.admit(later, source(A), u32::MAX).expect("its rate");
    gate.handle_done(later, ticket, Outcome::Authenticated);
    assert_eq!(gate.marked(), 0, "ten seconds later success forgives");
}

#[test]
fn penalties_accrue_and_are_enforced_from_fifteen_seconds() {
    let (mut gate, now) = gate();
    fail(&mut gate, now, A, Outcome::BadCertificate);
    fail(&mut gate, now, A, Outcome::BadCertificate);
    fail(&mut gate, now, A, Outcome::BadCertificate);
    let left = Duration::from_secs(15);
    assert_eq!(gate.admit(now, source(A), u32::MAX), Err(Refusal::Penalty { left }));
    let (mut gate, now) = self::gate();
    fail(&mut gate, now, A, Outcome::Deadline);
    let ticket = gate.admit(now, source(A), u32::MAX).expect("ten seconds are not enforced");
    gate.handle_done(now, ticket, Outcome::Gone);
    let (mut gate, now) = self::gate();
    fail(&mut gate, now, A, Outcome::Malformed);
    assert!(gate.admit(now, source(A), u32::MAX).is_err());
    assert!(gate.admit(now + left, source(A), u32::MAX).is_ok(), "it has lapsed");
}

#[test]
fn penalty_never_lasts_longer_than_its_cap() {
    let (mut gate, now) = gate();
    let tickets: Vec<_> =
        (0..41).map(|_| gate.admit(now, source(A), u32::MAX).expect("all at once")).collect();
    for ticket in tickets {
        gate.handle_done(now, ticket, Outcome::Malformed);
    }
    let left = Duration::from_secs(600);
    assert_eq!(gate.admit(now, source(A), u32::MAX), Err(Refusal::Penalty { left }));
    assert!(gate.admit(now + left, source(A), u32::MAX).is_ok());
}

#[test]
fn table_is_bounded_and_forgets_the_oldest_failure() {
    let mut gate = Gate::new(Limits { table: 3, ..Limits::default() });
    let now = Instant::now();
    for host in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
        fail(&mut gate, now, host, Outcome::Malformed);
    }
    // The first fails again, so the second is now the oldest.
    let first = Ticket { number: u64::MAX, source: source("10.0.0.1"), is_known: false, since: now };
    gate.handle_done(now, first, Outcome::Malformed);
    fail(&mut gate, now, "10.0.0.4", Outcome::Malformed);
    assert_eq!(gate.marked(), 3);
    assert!(gate.admit(now, source("10.0.0.2"), u32::MAX).is_ok());
    assert!(gate.admit(now, source("10.0.0.1"), u32::MAX).is_err());
}

#[test]
fn default_table_holds_65536_sources_and_no_more() {
    let (mut gate, now) = gate();
    for host in 0..70_000_u32 {
        let source = Some(Source::from(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + host))));
        let ticket = gate.admit(now, source, 0).expect("clean");
        gate.handle_done(now, ticket, Outcome::Malformed);
    }
    assert_eq!(gate.marked(), 65_536);
    assert_eq!(gate.order.len(), 65_536);
    assert!(gate.pending_by.is_empty());
}

#[test]
fn success_forgives_and_so_does_time() {
    let (mut gate, now) = gate();
    fail(&mut gate, now, A, Outcome::BadCertificate);
    let ticket = gate.admit(now, source(A), u32::MAX).expect("not enforced");
    gate.handle_done(now, ticket, Outcome::Authenticated);
    assert_eq!(gate.marked(), 0);
    fail(&mut gate, now, A, Outcome::Malformed);
    gate.admit(now + Duration::from_secs(601), source(A), 0).expect("long ago");
    assert_eq!(gate.marked(), 0);
    assert!(gate.order.is_empty());
}

#[test]
fn visitor_who_asked_for_nothing_is_not_marked() {
    let (mut gate, now) = gate();
    for _ in 0..1_000 {
        fail(&mut gate, now, A, Outcome::Gone);
    }
    assert_eq!(gate.marked(), 0);
}

#[test]
fn ipv6_neighbours_in_a_64_are_one_source_and_mapped_addresses_are_ipv4() {
    assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:2"));
    assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
    assert_eq!(source("::ffff:198.51.100.7"), source(A));
    assert_eq!(source("::1"), source("127.0.0.1"));
}

#[test]
fn loopback_is_exempt_unless_told_otherwise() {
    let (mut gate, now) = gate();
    for _ in 0..100 {
        fail(&mut gate, now, "127.0.0.1", Outcome::Malformed);
    }
    let mut strict = Gate::new(Limits { exempt_loopback: false, ..Limits::default() });
    fail(&mut strict, now, "127.0.0.1", Outcome::Malformed);
    assert!(strict.admit(now, source("127.0.0.1"), u32::MAX).is_err());
}

fn gate() -> (Gate, Instant) {
    (Gate::new(Limits::default()), Instant::now())
}

fn source(ip: &str) -> Option<Source> {
    Some(Source::from(ip.parse::<IpAddr>().expect("address")))
}

fn fail(gate: &mut Gate, now: Instant, ip: &str, outcome: Outcome) {
    let ticket = gate.admit(now, source(ip), u32::MAX).expect("admitted");
    gate.handle_done(now, ticket, outcome);
}
