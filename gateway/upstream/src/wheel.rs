//! Weighted turns: a short sequence in which each of several things comes as often as its weight says, spread evenly.

/// The longest sequence; weights beyond that are scaled down.
const SLOTS_MAX: u64 = 4096;

/// The sequence. Made once, then read by all workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wheel(Box<[u16]>);

impl Wheel {
    /// A sequence of the numbers `0..weights.len()`. A weight of 0 never has its turn.
    #[must_use]
    pub fn new(weights: &[u32]) -> Self {
        let divisor = weights.iter().copied().fold(0, gcd).max(1);
        let total: u64 = weights.iter().map(|weight| u64::from(weight / divisor)).sum();
        let scaled = |weight: u32| match u64::from(weight / divisor) {
            0 => 0,
            weight if total > SLOTS_MAX => (weight * SLOTS_MAX / total).max(1),
            weight => weight,
        };
        let weights: Vec<i64> = weights.iter().map(|weight| i64::try_from(scaled(*weight)).unwrap_or(1)).collect();
        let total: i64 = weights.iter().sum();
        let mut credit = vec![0_i64; weights.len()];
        let mut slots = Vec::with_capacity(usize::try_from(total).unwrap_or(0));
        for _ in 0..total {
            credit.iter_mut().zip(&weights).for_each(|(credit, weight)| *credit += weight);
            let most = credit.iter().enumerate().max_by_key(|(at, credit)| (**credit, std::cmp::Reverse(*at)));
            let Some(at) = most.map(|(at, _)| at) else { break };
            credit.iter_mut().skip(at).take(1).for_each(|credit| *credit -= total);
            slots.push(u16::try_from(at).unwrap_or(u16::MAX));
        }
        Self(slots.into())
    }

    /// Whose turn it is.
    #[must_use]
    pub fn at(&self, turn: u64) -> Option<usize> {
        let len = self.0.len() as u64;
        let slot = turn.checked_rem(len)?;
        self.0.get(usize::try_from(slot).ok()?).map(|at| usize::from(*at))
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::Wheel;

    #[test]
    fn shares_are_exact_and_spread() {
        let wheel = Wheel::new(&[5, 1, 1]);
        let turns: Vec<usize> = (0..7).filter_map(|turn| wheel.at(turn)).collect();
        assert_eq!(turns, [0, 0, 1, 0, 2, 0, 0]);
        let equal = Wheel::new(&[7, 7]);
        assert_eq!((0..4).filter_map(|turn| equal.at(turn)).collect::<Vec<_>>(), [0, 1, 0, 1]);
        let canary = Wheel::new(&[95, 5]);
        assert_eq!((0..1000).filter(|turn| canary.at(*turn) == Some(1)).count(), 50);
        assert!((0..1000).collect::<Vec<u64>>().windows(2).all(|two| two.iter().any(|turn| canary.at(*turn) == Some(0))));
    }

    #[test]
    fn nothing_and_weights_of_nothing_have_no_turn() {
        assert_eq!(Wheel::new(&[]).at(3), None);
        assert_eq!(Wheel::new(&[0, 2]).at(3), Some(1));
        assert_eq!(Wheel::new(&[0, 0]).at(0), None);
    }

    #[test]
    fn many_great_weights_stay_a_short_sequence() {
        let weights: Vec<u32> = (1..=1000).collect();
        let wheel = Wheel::new(&weights);
        assert!(wheel.0.len() <= 6000, "{}", wheel.0.len());
        assert!((0..1000).all(|one| wheel.0.contains(&one)));
    }
}
