//! Few numbers, honestly: medians, spreads, and ratios round by round with an interval.

use fastrand::Rng;

/// The middle and the ends of some numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

impl Spread {
    /// `None` of no numbers.
    pub(super) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        let median = median(&mut sorted)?;
        Some(Self { min: *sorted.first()?, median, max: *sorted.last()? })
    }
}

/// Sorts `numbers` and returns their median.
fn median(numbers: &mut [f64]) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    if numbers.len() % 2 == 1 {
        numbers.get(middle).copied()
    } else {
        Some(f64::midpoint(*numbers.get(middle.checked_sub(1)?)?, *numbers.get(middle)?))
    }
}

/// A ratio with its confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ratio {
    /// Of the ratios of each round.
    pub(super) median: f64,
    /// 95 % bootstrap interval of that median.
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Ratio {
    /// Returns the ratio of `ours` to `base`, round by round: a disturbance affects both rows of a
    /// round, so rounds are compared and not sums. `None` unless every round has both.
    pub(super) fn of(ours: &[f64], base: &[f64]) -> Option<Self> {
        if ours.len() != base.len() || base.iter().any(|base| *base <= 0.0) {
            return None;
        }
        let ratios: Vec<f64> = ours.iter().zip(base).map(|(ours, base)| ours / base).collect();
        let (low, high) = bootstrap(&ratios)?;
        Some(Self { median: median(&mut ratios.clone())?, low, high })
    }
}

/// Number of resamples of the bootstrap: enough that the interval changes by less than its printed
/// precision.
const RESAMPLES: usize = 10_000;

/// Returns the percentile bootstrap interval of the median, 95 %; deterministic.
fn bootstrap(numbers: &[f64]) -> Option<(f64, f64)> {
    let mut random = Rng::with_seed(0x616e_7970_6f72_7421);
    let mut medians = Vec::with_capacity(RESAMPLES);
    let mut resample = vec![0.0; numbers.len()];
    for _ in 0..RESAMPLES {
        for place in &mut resample {
            *place = *numbers.get(random.usize(..numbers.len()))?;
        }
        medians.push(median(&mut resample)?);
    }
    medians.sort_by(f64::total_cmp);
    let tail = RESAMPLES / 40;
    Some((*medians.get(tail)?, *medians.get(RESAMPLES - 1 - tail)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        let spread = |numbers: &[f64]| Spread::of(numbers.iter().copied());
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0]), Some(Spread { min: 1.0, median: 2.5, max: 4.0 }));
        assert_eq!(spread(&[7.0]), Some(Spread { min: 7.0, median: 7.0, max: 7.0 }));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_and_not_the_ratio_of_medians() {
        // The medians 4 and 2 would give 2; the rounds give 1, 1 and 4.
        let ratio = Ratio::of(&[1.0, 4.0, 8.0], &[1.0, 4.0, 2.0]).unwrap();
        assert_eq!(ratio.median, 1.0);
        assert_eq!((ratio.low, ratio.high), (1.0, 4.0));
    }

    #[test]
    fn a_round_that_only_one_of_two_has_gives_no_ratio() {
        assert_eq!(Ratio::of(&[1.0, 2.0], &[1.0]), None);
        assert_eq!(Ratio::of(&[], &[]), None);
        assert_eq!(Ratio::of(&[1.0], &[0.0]), None);
    }

    #[test]
    fn a_bootstrap_of_equal_numbers_is_that_number() {
        assert_eq!(bootstrap(&[1.5; 9]), Some((1.5, 1.5)));
        assert_eq!(bootstrap(&[2.0]), Some((2.0, 2.0)));
        assert_eq!(bootstrap(&[]), None);
    }

    /// The median of 3 resampled from 3 different numbers is the smallest in 7 of 27 cases, and
    /// equally often the largest: both far beyond 2.5 %. Of 9 numbers, the median lies below the
    /// second smallest in 0.02 % of the cases and below the third in 1.3 % (5 of 9 draws from the
    /// smallest k: a sum of binomials), and in 6.5 % below the fourth.
    #[test]
    fn a_bootstrap_interval_ends_where_the_binomials_say() {
        assert_eq!(bootstrap(&[1.0, 2.0, 3.0]), Some((1.0, 3.0)));
        let nine: Vec<f64> = (1..=9).map(f64::from).collect();
        let below = |k: i32| -> f64 {
            let p = f64::from(k) / 9.0;
            let choose = [126.0, 84.0, 36.0, 9.0, 1.0];
            (5..=9).zip(choose).map(|(i, c)| c * p.powi(i) * (1.0 - p).powi(9 - i)).sum()
        };
        let lowest = (1..=9).find(|k| below(*k) > 0.025).unwrap();
        let interval = bootstrap(&nine).unwrap();
        assert_eq!(interval, (f64::from(lowest), f64::from(10 - lowest)));
        assert_eq!(bootstrap(&nine), Some(interval), "repeatable");
    }
}
