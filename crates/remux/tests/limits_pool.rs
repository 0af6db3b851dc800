//! Requests that wait are bounded in number.

use std::time::{Duration, Instant};

use remux::pool::{Action, Config, Pool, RequestError, Waiter};

#[test]
fn request_beyond_those_that_may_wait_fails_at_once_with_limit() {
    let now = Instant::now();
    let mut pool = Pool::new(Config::default(), 1);
    for waiter in 0..4096 {
        pool.request(now, Waiter(waiter));
    }
    assert_eq!(failed(&mut pool), []);
    assert_eq!(pool.stats().waiting, 4096);
    pool.request(now, Waiter(9999));
    assert_eq!(failed(&mut pool), [(Waiter(9999), RequestError::Limit)]);
    pool.cancel(Waiter(7));
    pool.request(now, Waiter(10_000));
    assert_eq!(failed(&mut pool), [], "one gave up and made room");
    pool.handle_timeout(now + Duration::from_secs(10));
    assert_eq!(failed(&mut pool).len(), 4096, "nobody waits longer than the request's time");
}

/// The requests that failed since the last call.
fn failed(pool: &mut Pool<&'static str>) -> Vec<(Waiter, RequestError<&'static str>)> {
    std::iter::from_fn(|| pool.poll_action())
        .filter_map(|action| match action {
            Action::Fail { waiter, error } => Some((waiter, error)),
            _ => None,
        })
        .collect()
}
