//! Seeded random numbers: the same seed gives the same people, tokens and thefts on every machine.
//!
//! SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). Good enough to
//! spread simulated people around, and of no use for anything secret. A crate would bring more than these lines.

use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// An independent generator for part `n`, so that what one person does never depends on how many others there are.
    pub fn part(seed: u64, n: u64) -> Self {
        let mut random = Self::new(seed ^ n.wrapping_mul(0xD134_2543_DE82_EF95));
        random.number();
        random
    }

    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, or 0 if that is 0. The bias is below 2^-32 for the small bounds used here.
    pub fn below(&mut self, bound: u32) -> u32 {
        let scaled = (self.number() >> 32) * u64::from(bound);
        u32::try_from(scaled >> 32).unwrap_or(0)
    }

    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let count = u32::try_from(choices.len()).unwrap_or(u32::MAX);
        let at = usize::try_from(self.below(count)).unwrap_or(0);
        choices.get(at).expect("there is something to pick from")
    }

    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let spread = most.saturating_sub(least);
        least + spread * self.below(1000) / 1000
    }

    /// From `least` up to below `most`; `least` if there is nothing between.
    pub fn from_to(&mut self, least: i64, most: i64) -> i64 {
        let spread = u64::try_from(most.saturating_sub(least))
            .unwrap_or(0)
            .max(1);
        // The bias is below 2^-20 for spreads of less than half a year in milliseconds.
        least + i64::try_from(self.number() % spread).unwrap_or(0)
    }

    /// True that many times in a million.
    pub fn happens(&mut self, in_a_million: u32) -> bool {
        self.below(1_000_000) < in_a_million
    }

    /// 128 bits in hexadecimal.
    pub fn hex(&mut self) -> String {
        format!("{:016x}{:016x}", self.number(), self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sequence() {
        // First outputs for seed 1234567, as in the reference implementation's test vector.
        let mut random = Random::new(1_234_567);
        assert_eq!(random.number(), 6_457_827_717_110_365_317);
        assert_eq!(random.number(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn parts_differ_and_bounds_hold() {
        assert_ne!(Random::part(1, 1).number(), Random::part(1, 2).number());
        let mut random = Random::new(7);
        assert!((0..1000).all(|_| random.below(3) < 3));
        let (least, most) = (Duration::from_millis(5), Duration::from_millis(9));
        assert!((0..1000).all(|_| (least..most).contains(&random.between(least, most))));
        assert_eq!(random.between(most, least), most);
        assert!((0..1000).all(|_| (-5..9).contains(&random.from_to(-5, 9))));
        assert_eq!(random.from_to(9, -5), 9);
        assert!(!random.happens(0) && random.happens(1_000_000));
    }
}
