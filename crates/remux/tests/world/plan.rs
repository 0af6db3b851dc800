//! What a seed decides before a world begins.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::DefaultHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use remux::pool::{self, Pool};
use remux::{Budget, ClassicConfig, SendConfig, SessionConfig, Wire};
use simnet::Rng;

use super::flow::Flow;
use super::{Kind, World};

impl World {
    /// The world of this seed.
    pub(crate) fn new(seed: u64, wire: Wire) -> Self {
        let mut rng = Rng::new(seed.wrapping_mul(2).wrapping_add(u64::from(wire == Wire::Classic)));
        let start = Instant::now();
        let mut wanted = BTreeSet::new();
        for _ in 0..rng.between(1, 4) {
            wanted.extend(rng.pick(&Kind::ALL));
        }
        let limits = pool::Config {
            limits: pool::Limits {
                max_age: Duration::from_millis(rng.between(50, 20_000)),
                max_count: u32::try_from(rng.between(1, 40)).unwrap(),
                max_streams: 256,
            },
            idle_max: Duration::from_millis(rng.between(10, 10_000)),
            max_connections: rng.size(8, 200),
            ..pool::Config::default()
        };
        // Small worlds are fast and find most; a few are large.
        let count = if rng.one_in(12) { rng.size(40, 200) } else { rng.size(1, 24) };
        let spread = Duration::from_millis(if rng.one_in(3) { 200 } else { 3_000 });
        let flows = (0..count).map(|index| Flow::plan(index, wire, spread, &wanted, &mut rng)).collect();
        let tight = wanted.contains(&Kind::TightMemory);
        let budgets = [0, 1].map(|_| {
            let limit = rng.between(512 << 10, 3 << 20);
            Arc::new(if tight { Budget::new(limit) } else { Budget::default() })
        });
        Self {
            seed,
            wire,
            start,
            now: start,
            pool: Pool::new(limits, rng.bits()),
            limits,
            configs: configs(&wanted, &mut rng),
            conns: BTreeMap::new(),
            gone: Vec::new(),
            flows,
            late: Duration::from_micros(rng.between(0, 20_000)),
            suspend_at: wanted
                .contains(&Kind::Suspend)
                .then(|| start + Duration::from_millis(rng.between(0, 5_000))),
            trouble: tight,
            wanted,
            fired: BTreeSet::new(),
            budgets,
            telling: false,
            trace: DefaultHasher::new(),
            steps: 0,
            rng,
        }
    }
}

/// The client's and the server's configurations: mostly the default, with small queues and odd sizes now and then.
fn configs(wanted: &BTreeSet<Kind>, rng: &mut Rng) -> [SessionConfig; 2] {
    let mut draw = || {
        let mut config = SessionConfig::default();
        if rng.one_in(3) {
            let usual = SendConfig::default();
            config.sending = SendConfig {
                queue: rng.size(1_000, 256 << 10),
                small_record: rng.size(1_400, 16_384),
                quantum: rng.size(1_000, 64 << 10),
                batch_records: rng.size(1, 8),
                ..usual
            };
            config.classic = ClassicConfig {
                queue: rng.size(4 << 10, 256 << 10),
                max_payload: rng.size(1_000, 65_535),
                ..ClassicConfig::default()
            };
        }
        config
    };
    let [mut client, mut server] = [draw(), draw()];
    if wanted.contains(&Kind::SafeRetry) {
        server.limits.max_streams = Some(u32::try_from(rng.between(1, 4)).unwrap());
        server.announce.max_reuse = rng.one_in(2).then(|| u32::try_from(rng.between(1, 20)).unwrap());
    }
    if wanted.contains(&Kind::ServerStream) {
        client.limits.max_streams = Some(u32::try_from(rng.between(1, 8)).unwrap());
    }
    [client, server]
}
