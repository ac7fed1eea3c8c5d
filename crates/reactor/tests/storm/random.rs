//! Where a storm's choices come from: SplitMix64, the same numbers on every machine.
//!
//! Invariant: each part of a storm that chooses has a source of its own, so that one more choice in
//! one part changes nothing in the others. It is not for secrets.

/// A stream of numbers from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `bound` - 1.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("less than a usize")
    }

    pub(crate) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A length of a message: mostly short, sometimes just at a length where headers change, rarely
    /// long.
    pub(crate) fn length(&mut self, longest: usize) -> usize {
        let length = match self.below(20) {
            0 => self.below(longest + 1),
            1 => self.below(4_000),
            2 => 120 + self.below(12),
            3 => 252 + self.below(8),
            _ => self.below(120),
        };
        length.min(longest)
    }
}
