//! The one source of chance in a simulated world: same seed, same world, in every build.

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and good enough to choose faults with.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator whose whole future is `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 even bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        let span = high.saturating_sub(low).saturating_add(1);
        if span == 0 { self.bits() } else { low + self.bits() % span }
    }

    /// [`Rng::between`] for sizes.
    pub fn size(&mut self, low: usize, high: usize) -> usize {
        usize::try_from(self.between(low as u64, high as u64)).unwrap_or(low)
    }

    /// A size whose logarithm is even: as many small ones as large ones.
    pub fn log_size(&mut self, high: usize) -> usize {
        let bits = u64::from(usize::BITS - high.leading_zeros());
        let top = 1usize << self.between(0, bits.saturating_sub(1)).min(62);
        self.size(top / 2, top).min(high)
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        n != 0 && self.bits().is_multiple_of(n)
    }

    /// One of the choices; the first when there is nothing to choose.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.size(0, choices.len().saturating_sub(1)))
    }

    /// An independent generator for one part of the world, so that parts don't disturb each other's chances.
    pub const fn fork(&mut self) -> Self {
        Self(self.bits())
    }
}
