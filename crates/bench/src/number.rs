//! Conversions that lose nothing that matters here, and numbers as people read them.

/// For ratios and rates: counts stay far below 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts and nanoseconds of a run stay far below 2^53"
)]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// A length as a count.
pub(crate) fn count(length: usize) -> u64 {
    length as u64
}

/// A count as a length; what does not fit is as long as anything can be.
pub(crate) fn length(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Rounded down, never below 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and negative values are cut off first"
)]
pub(crate) fn whole(value: f64) -> u64 {
    value.max(0.0) as u64
}

/// `part / whole`, 0 where there is nothing to divide by.
pub(crate) fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// 1234567 as "1,234,567".
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes as "5.3 MiB".
pub(crate) fn bytes(count: u64) -> String {
    let kibibytes = float(count) / 1_024.0;
    if kibibytes < 1_024.0 {
        format!("{kibibytes:.1} KiB")
    } else {
        format!("{:.1} MiB", kibibytes / 1_024.0)
    }
}

/// A small generator of numbers from a seed (`SplitMix64`): which topic comes next, nothing secret.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        length(self.next() % count(bound.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Random, bytes, grouped, ratio, whole};

    #[test]
    fn people_read_groups_of_three() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(bytes(5_557_453), "5.3 MiB");
        assert_eq!(bytes(2_048), "2.0 KiB");
    }

    #[test]
    fn nothing_divided_by_nothing_is_nothing() {
        assert!(ratio(1.0, 0.0).abs() < f64::EPSILON);
        assert_eq!(whole(-1.5), 0);
        assert_eq!(whole(2.9), 2);
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..8).map(|_| random.below(1_000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
