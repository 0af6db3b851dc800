//! The relay's one source of chance: same seed, same faults.

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        let span = high.saturating_sub(low).saturating_add(1);
        if span == 0 { self.bits() } else { low.saturating_add(self.bits() % span) }
    }

    /// True in `share` of a million cases.
    pub(crate) fn chance(&mut self, share: Millionths) -> bool {
        share.0 > 0 && self.bits() % 1_000_000 < u64::from(share.0)
    }
}

/// A share: 10,000 is one per cent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Millionths(pub(crate) u32);
