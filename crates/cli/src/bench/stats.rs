//! Few numbers, honestly: minimum, median, maximum, and ratios round by round.

/// The middle and the ends of some numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Of at least one number; none gives NaN.
    pub(super) fn of(numbers: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else {
            return Self { min: f64::NAN, median: f64::NAN, max: f64::NAN };
        };
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Self { min: *min, median, max: *max }
    }
}

/// The numbers from 0 to `count - 1` in a random order.
pub(super) fn shuffled(count: usize) -> Result<Vec<usize>, getrandom::Error> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        // The bias of a remainder of 64 random bits is far below what could be seen.
        let other = getrandom::u64()? % (last as u64 + 1);
        order.swap(last, usize::try_from(other).unwrap_or(last));
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0]), Spread { min: 1.0, median: 2.5, max: 4.0 });
        assert!(Spread::of([]).median.is_nan());
    }

    #[test]
    fn a_shuffle_keeps_every_number_and_differs() {
        let mut orders = std::collections::HashSet::new();
        for _ in 0..100 {
            let order = shuffled(6).unwrap();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5]);
            orders.insert(order);
        }
        assert!(orders.len() > 50);
    }
}
