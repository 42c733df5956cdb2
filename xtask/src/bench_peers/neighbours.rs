//! What one broker's figure is of another's, taken from runs right beside each other.
//!
//! A machine that others use has another speed minutes later: what is compared ought to have seen the same of it.

/// Pairs of runs from which a comparison is made.
pub(crate) const PAIRS: u32 = 5;

/// What each figure of `one` has of that of `other` beside it: the middle one, and the range. Runs without a figure, or with
/// nothing to compare with, do not count.
pub(crate) fn ratio(
    one: impl Iterator<Item = Option<f64>>,
    other: impl Iterator<Item = Option<f64>>,
) -> Option<String> {
    let mut ratios: Vec<f64> = one
        .zip(other)
        .filter_map(|(one, other)| Some(one? / other.filter(|other| *other > 0.0)?))
        .collect();
    ratios.sort_by(f64::total_cmp);
    let (low, high) = (ratios.first()?, ratios.last()?);
    let middle = ratios.get((ratios.len() - 1) / 2)?;
    let count = ratios.len();
    Some(format!(
        "{middle:.2} ({low:.2} to {high:.2}, {count} pairs)"
    ))
}

#[cfg(test)]
mod tests {
    use super::ratio;

    #[test]
    fn a_ratio_is_that_of_neighbours() {
        let memory = [Some(100.0), Some(50.0), None, Some(200.0), Some(0.0)];
        let fsync = [Some(50.0), Some(45.0), Some(1.0), Some(120.0), Some(2.0)];
        let shown = ratio(fsync.into_iter(), memory.into_iter());
        assert_eq!(shown.as_deref(), Some("0.60 (0.50 to 0.90, 3 pairs)"));
        assert_eq!(ratio([None].into_iter(), [Some(1.0)].into_iter()), None);
    }
}
