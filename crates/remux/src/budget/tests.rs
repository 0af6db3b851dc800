use std::sync::atomic::AtomicUsize;
use std::task::Wake;

use super::*;

/// Enough for round lines: 80 %, 90 %, 95 % and 98 % of it are whole MiB.
const LIMIT: u64 = 100 << 20;
const MIB: u64 = 1 << 20;

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn ledger(budget: &Arc<Budget>, held: u64) -> Ledger {
    let mut ledger = Ledger::open(budget.clone().into());
    ledger.change_held(0, held);
    ledger
}

#[test]
fn stages_begin_at_their_lines_in_order_and_end_five_points_below() {
    let budget = Arc::new(Budget::new(LIMIT));
    let mut charges = Vec::new();
    let mut seen = vec![(0, Stage::Plenty)];
    let note = |seen: &mut Vec<(u64, Stage)>, at: u64| {
        if seen.last().unwrap().1 != budget.stage() {
            seen.push((at, budget.stage()));
        }
    };
    for n in 1..=100 {
        charges.push(budget.charge(MIB));
        note(&mut seen, n);
    }
    let up = [Stage::NoGrowth, Stage::NoOpens, Stage::NoAccept, Stage::Shed];
    assert_eq!(seen[1..], [(80, up[0]), (90, up[1]), (95, up[2]), (98, up[3])]);
    seen.clear();
    seen.push((100, Stage::Shed));
    for n in (0..100).rev() {
        charges.pop();
        note(&mut seen, n);
    }
    assert_eq!(seen[1..], [(92, up[2]), (89, up[1]), (84, up[0]), (74, Stage::Plenty)]);
}

#[test]
fn use_that_sways_around_a_line_does_not_make_the_stage_flap() {
    let budget = Arc::new(Budget::new(LIMIT));
    let _most = budget.charge(88 * MIB);
    let mut changes = 0;
    for _ in 0..100 {
        let before = budget.stage();
        let sway = budget.charge(3 * MIB);
        changes += u32::from(before != budget.stage());
        drop(sway);
    }
    assert_eq!((changes, budget.stage()), (1, Stage::NoOpens));
}

#[test]
fn dropped_ledger_gives_everything_back() {
    let budget = Arc::new(Budget::new(LIMIT));
    let mut ledger = ledger(&budget, 100 << 10);
    ledger.change_held(100 << 10, 99 << 10);
    assert!(budget.used() > 99 << 10, "a connection costs something by itself");
    ledger.change_growth(0, 5);
    drop(ledger);
    assert_eq!(budget.used(), 0);
    assert!(budget.book().entries.is_empty());
}

#[test]
fn account_is_never_below_what_is_held_whatever_the_steps() {
    let budget = Arc::new(Budget::new(LIMIT));
    let mut ledger = ledger(&budget, 0);
    let mut held = 0;
    for n in 0..10_000_u64 {
        let next = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44;
        ledger.change_held(held, next);
        held = next;
        assert!(budget.used() >= held, "{} of {held}", budget.used());
    }
}

#[test]
fn heaviest_connection_is_chosen_alone_woken_and_followed_by_the_next_only_if_need_be() {
    let budget = Arc::new(Budget::new(LIMIT));
    let light = ledger(&budget, 10 * MIB);
    let mut heavy = ledger(&budget, 50 * MIB);
    let mut middle = ledger(&budget, 30 * MIB);
    let woken = Arc::new(Woken::default());
    heavy.set_waker(&woken.clone().into());
    assert_eq!((light.doomed(), middle.doomed(), heavy.doomed()), (None, None, None));
    // It is another one's growth that leads beyond the line.
    middle.change_held(30 * MIB, 38 * MIB);
    assert!(heavy.doomed().is_some_and(|bytes| bytes >= 50 * MIB));
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    middle.change_held(38 * MIB, 49 * MIB);
    assert_eq!(middle.doomed(), None, "one at a time");
    heavy.change_held(50 * MIB, 45 * MIB);
    heavy.close();
    assert!(middle.doomed().is_some(), "what the first gave back was too little");
    drop(heavy);
    middle.close();
    assert_eq!(light.doomed(), None, "enough is free");
}

#[test]
fn change_of_stage_wakes_who_waits_for_it() {
    let budget = Arc::new(Budget::new(LIMIT));
    let woken = Arc::new(Woken::default());
    let waker = woken.clone().into();
    let cx = Context::from_waker(&waker);
    assert_eq!(budget.poll_stage(&cx, Stage::NoOpens), Poll::Ready(Stage::Plenty));
    for _ in 0..3 {
        assert_eq!(budget.poll_stage(&cx, Stage::Plenty), Poll::Pending);
    }
    let _charge = budget.charge(80 * MIB);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1, "once, however often it asked");
    assert_eq!(budget.poll_stage(&cx, Stage::Plenty), Poll::Ready(Stage::NoGrowth));
}

#[test]
fn stage_fits_the_sum_after_changes_side_by_side() {
    for _ in 0..200 {
        let budget = Arc::new(Budget::new(LIMIT));
        std::thread::scope(|scope| {
            for n in 0..2 {
                let budget = budget.clone();
                scope.spawn(move || {
                    for _ in 0..50 {
                        drop(budget.charge((45 + n) * MIB));
                    }
                });
            }
        });
        assert_eq!((budget.used(), budget.stage()), (0, Stage::Plenty));
    }
}

#[test]
fn window_may_grow_up_to_the_first_line_and_one_connection_to_an_eighth() {
    let budget = Arc::new(Budget::new(LIMIT));
    let mut ledger = ledger(&budget, 0);
    assert!(ledger.allows_growth(12 * MIB, u64::MAX) && !ledger.allows_growth(13 * MIB, u64::MAX));
    assert!(!ledger.allows_growth(2 * MIB, MIB), "its own limit");
    ledger.change_growth(0, 12 * MIB);
    assert!(!ledger.allows_growth(MIB, u64::MAX));
    let other = Ledger::open(budget.clone().into());
    let _charge = budget.charge(70 * MIB);
    assert!(other.allows_growth(9 * MIB, u64::MAX) && !other.allows_growth(10 * MIB, u64::MAX));
}

/// A connection of an identity that holds so much.
fn ledger_of(account: &Account, held: u64) -> Ledger {
    let mut ledger = Ledger::open(account.clone());
    ledger.change_held(0, held);
    ledger
}

#[test]
fn identity_that_is_alone_has_the_stages_of_the_process() {
    let budget = Arc::new(Budget::new(LIMIT));
    let account = budget.account(Some("alone"));
    let _charges: Vec<_> = (1..=100)
        .map(|_| {
            let charge = account.charge(MIB);
            assert_eq!(account.stage(), budget.stage());
            assert_eq!(account.allows_growth(MIB), budget.allows_growth(MIB));
            charge
        })
        .collect();
    assert_eq!(account.held(), (LIMIT, LIMIT));
}

#[test]
fn identity_over_its_share_is_short_of_memory_while_another_has_plenty() {
    let budget = Arc::new(Budget::new(LIMIT));
    let (heavy, light) = (budget.account(Some("heavy")), budget.account(Some("light")));
    let _most = heavy.charge(90 * MIB);
    assert_eq!((heavy.stage(), light.stage()), (Stage::NoOpens, Stage::Plenty));
    let _some = light.charge(5 * MIB);
    assert_eq!((heavy.stage(), light.stage()), (Stage::NoOpens, Stage::Plenty));
    assert!(light.allows_growth(3 * MIB) && !light.allows_growth(4 * MIB), "up to 80 % of its room");
    assert!(!heavy.allows_growth(1));
    assert_eq!(budget.heaviest(), Some(("heavy".into(), 90 * MIB)));
}

#[test]
fn however_many_identities_take_all_they_get_something_is_left_for_the_next() {
    const PIECE: u64 = 8 << 10;
    for n in 1..=12 {
        let budget = Arc::new(Budget::new(LIMIT));
        let greedy: Vec<_> = (0..n).map(|n| budget.account(Some(&format!("greedy {n}")))).collect();
        let mut charges = Vec::new();
        loop {
            let before = charges.len();
            let served = greedy.iter().filter(|account| account.stage() < Stage::NoOpens);
            charges.extend(served.map(|account| account.charge(PIECE)));
            if charges.len() == before {
                break;
            }
        }
        let free = LIMIT - budget.used();
        assert!(free >= LIMIT / (9 * n + 1) - n * PIECE, "{n} of them leave {free}");
        assert!(greedy.iter().all(|account| account.held().0.abs_diff(greedy[0].held().0) <= PIECE));
        assert_eq!(budget.account(Some("next")).stage(), Stage::Plenty, "beside {n}");
    }
}

#[test]
fn heaviest_identity_is_shed_though_each_of_its_connections_is_light() {
    let budget = Arc::new(Budget::new(LIMIT));
    let (evil, good) = (budget.account(Some("evil")), budget.account(Some("good")));
    let honest = ledger_of(&good, 30 * MIB);
    let hostile: Vec<_> = (0..60).map(|_| ledger_of(&evil, MIB)).collect();
    assert_eq!(budget.stage(), Stage::Shed);
    assert_eq!(honest.doomed(), None);
    assert_eq!(hostile.iter().filter(|ledger| ledger.doomed().is_some()).count(), 1);
}

#[test]
fn what_an_ended_connection_left_counts_for_its_identity_and_may_be_shed_itself() {
    let budget = Arc::new(Budget::new(LIMIT));
    let (evil, good) = (budget.account(Some("evil")), budget.account(Some("good")));
    let mut left = ledger_of(&evil, 50 * MIB);
    left.close();
    let mut small = ledger_of(&evil, 2 * MIB);
    let mut honest = ledger_of(&good, 46 * MIB);
    assert!(small.doomed().is_some() && honest.doomed().is_none() && left.doomed().is_none());
    #[cfg(feature = "io")]
    {
        left.reopen();
        small.close();
        drop(small);
        honest.change_held(46 * MIB, 49 * MIB);
        assert!(left.doomed().is_some() && honest.doomed().is_none());
    }
}

#[test]
fn from_95_percent_identity_over_its_share_is_shed_until_connections_are_accepted_again() {
    let budget = Arc::new(Budget::new(LIMIT));
    let (evil, good) = (budget.account(Some("evil")), budget.account(Some("good")));
    let mut hostile: Vec<_> = (0..60).map(|_| ledger_of(&evil, 1300 << 10)).collect();
    assert_eq!((budget.stage(), evil.stage()), (Stage::NoGrowth, Stage::NoGrowth));
    let most = evil.charge(4 * MIB);
    let honest = ledger_of(&good, 5 * MIB);
    assert_eq!(budget.stage(), Stage::NoAccept);
    let mut shed = 0;
    while let Some(at) = hostile.iter().position(|ledger| ledger.doomed().is_some()) {
        drop(hostile.swap_remove(at));
        shed += 1;
    }
    assert_eq!((budget.stage(), honest.doomed()), (Stage::NoOpens, None), "after {shed}");
    assert!((3..10).contains(&shed), "{shed}");
    drop(most);
}

#[test]
fn from_95_percent_nobody_is_shed_where_no_identity_is_over_its_share() {
    let budget = Arc::new(Budget::new(LIMIT));
    let accounts = ["a", "b", "c"].map(|name| budget.account(Some(name)));
    let ledgers = accounts.each_ref().map(|account| ledger_of(account, 3150 * LIMIT / 10_000));
    assert_eq!(budget.stage(), Stage::NoAccept);
    assert!(ledgers.iter().all(|ledger| ledger.doomed().is_none()));
}

#[test]
fn peers_without_an_identity_are_one_and_connections_dialled_here_are_nobodys() {
    let budget = Arc::new(Budget::new(LIMIT));
    let ours = ledger(&budget, 50 * MIB);
    let strangers = [(); 2].map(|()| ledger_of(&budget.account(None), 20 * MIB));
    assert!(budget.heaviest().is_some_and(|(name, held)| name.is_empty() && held >= 40 * MIB));
    let _more = budget.charge(9 * MIB);
    assert_eq!(budget.stage(), Stage::Shed);
    assert!(ours.doomed().is_none() && strangers.iter().any(|ledger| ledger.doomed().is_some()));
}

#[test]
fn identity_that_holds_nothing_is_forgotten() {
    let budget = Arc::new(Budget::new(LIMIT));
    let account = budget.account(Some("a"));
    let charge = account.charge(MIB);
    drop(account);
    assert_eq!(budget.account(Some("a")).held().0, MIB, "the same one");
    drop(charge);
    assert!(budget.book().holders.is_empty());
    for _ in 0..2_000 {
        let both = [(); 2].map(|()| budget.account(Some("a")));
        std::thread::scope(|scope| {
            for account in both {
                scope.spawn(move || drop(account.charge(1)));
            }
        });
        assert!(budget.book().holders.is_empty());
    }
}
