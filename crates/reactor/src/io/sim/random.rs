//! Where a simulated network's choices come from.
//!
//! Everything that a simulation does by chance is drawn from one of these, so that a seed is a whole
//! run. It is not for secrets.

/// SplitMix64: small, good enough for choosing where to cut, the same on every machine.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `bound` - 1; 0 for an empty range.
    #[expect(clippy::cast_possible_truncation, reason = "less than bound, which is a usize")]
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % (bound.max(1) as u64)) as usize
    }

    /// As `below`, but small numbers are as likely as large ones: cuts in headers matter most.
    pub(super) fn skewed(&mut self, bound: usize) -> usize {
        let most = 1 + self.below(bound);
        match self.below(3) {
            0 => bound.saturating_sub(1),
            1 => self.below(most),
            _ => self.below(most.min(16)),
        }
    }
}
