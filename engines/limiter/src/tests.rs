use crate::{Charge, Rate, RateError, Refusal, Standing, Table};
use std::collections::HashMap;

const SECOND: u64 = 1_000_000_000;

/// A small generator (xorshift), so that a seed tells all.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

fn rate(count: u32, period: u64, burst: u32) -> Rate {
    Rate::new(count, period, burst).unwrap()
}

fn charge(table: &Table, now: u64, of: u64, rate: Rate) -> Result<crate::Grant, Refusal> {
    table.charge(now, &[Charge { key: table.key(1, &of), rate, cost: 1 }])
}

#[test]
fn a_burst_is_granted_at_once_and_then_the_rate() {
    let (table, rate) = (Table::new(1000), rate(10, SECOND, 3));
    let now = 5 * SECOND;
    for left in [2, 1, 0] {
        assert_eq!(charge(&table, now, 7, rate).unwrap().standing.remaining, left);
    }
    let refused = charge(&table, now, 7, rate).unwrap_err();
    assert_eq!((refused.retry_after, refused.standing), (SECOND / 10, Standing { remaining: 0, full_after: 3 * SECOND / 10 }));
    // A refusal costs nothing: exactly when it said, the next is granted, and no sooner.
    assert!(charge(&table, now + SECOND / 10 - 1, 7, rate).is_err());
    assert!(charge(&table, now + SECOND / 10, 7, rate).is_ok());
    assert!(charge(&table, now + SECOND / 10, 8, rate).is_ok(), "another key has its own");
    assert_eq!(charge(&table, now + 60 * SECOND, 7, rate).unwrap().standing.remaining, 2, "a burst is never more than written");
}

#[test]
fn rates_that_cannot_be_are_refused() {
    assert_eq!(Rate::new(0, SECOND, 1), Err(RateError::Zero));
    assert_eq!(Rate::new(1, 0, 1), Err(RateError::Zero));
    assert_eq!(Rate::new(1, SECOND, 0), Err(RateError::Zero));
    assert_eq!(Rate::new(2_000_000_000, SECOND, 1), Err(RateError::TooFast));
    assert_eq!(Rate::new(1, 100 * 24 * 3600 * SECOND, 2), Err(RateError::TooSlow));
    assert_eq!(Rate::new(1, u64::MAX, u32::MAX), Err(RateError::TooSlow));
    assert_eq!(rate(3, SECOND, 1).interval(), 333_333_334, "rounded so that never more is granted than written");
}

#[test]
fn a_cost_counts_as_so_many_and_one_above_the_burst_is_never_granted() {
    let (table, rate) = (Table::new(10), rate(10, SECOND, 5));
    let key = table.key(1, &"a");
    assert_eq!(table.charge(0, &[Charge { key, rate, cost: 4 }]).unwrap().standing.remaining, 1);
    assert_eq!(table.charge(0, &[Charge { key, rate, cost: 4 }]).unwrap_err().retry_after, 3 * SECOND / 10);
    assert_eq!(table.charge(90 * SECOND, &[Charge { key, rate, cost: 6 }]).unwrap_err().retry_after, u64::MAX);
    table.reset(key);
    assert_eq!(table.standing(0, key, rate).remaining, 5);
}

#[test]
fn several_limits_are_charged_together_or_not_at_all() {
    let table = Table::new(100_000);
    let (wide, narrow) = (rate(100, SECOND, 100), rate(1, SECOND, 1));
    for of in 0..500_u64 {
        let charges = [
            Charge { key: table.key(1, &of), rate: wide, cost: 1 },
            Charge { key: table.key(2, &of), rate: narrow, cost: 1 },
            Charge { key: table.key(3, &of), rate: wide, cost: 1 },
        ];
        let granted = table.charge(SECOND, &charges).unwrap();
        assert_eq!((granted.tightest, granted.standing.remaining), (1, 0));
        let refused = table.charge(SECOND, &charges).unwrap_err();
        assert_eq!((refused.charge, refused.retry_after), (1, SECOND));
        for (number, left) in [(1, 99), (2, 0), (3, 99)] {
            let rate = if number == 2 { narrow } else { wide };
            assert_eq!(table.standing(SECOND, table.key(number, &of), rate).remaining, left, "limit {number}");
        }
    }
    let many = [Charge { key: table.key(9, &0), rate: wide, cost: 1 }; 17];
    assert_eq!(table.charge(SECOND, &many).unwrap_err().retry_after, u64::MAX, "more limits than can be charged are refused");
}

/// The table says what a map without bounds says, as long as it is large enough.
#[test]
fn it_decides_as_a_map_of_all_keys_does() {
    for seed in 1..=20_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let table = Table::new(4096);
        let mut map: HashMap<(u64, u64), u64> = HashMap::new();
        let rates = [rate(5, SECOND, 2), rate(100, SECOND, 10), rate(1, 10 * SECOND, 1)];
        let mut now = 0;
        for _ in 0..5_000 {
            now += random.below(SECOND / 50);
            let of = random.below(300);
            let wanted: Vec<usize> = (0..3).filter(|_| random.below(2) == 0).collect();
            let cost = u32::try_from(random.below(3)).unwrap();
            let charges: Vec<Charge> =
                wanted.iter().map(|which| Charge { key: table.key(*which as u64, &of), rate: rates[*which], cost }).collect();
            if charges.is_empty() {
                continue;
            }
            let times: Vec<Result<u64, u64>> = wanted
                .iter()
                .map(|which| rates[*which].charge(map.get(&(*which as u64, of)).copied().unwrap_or(0), now, cost))
                .collect();
            let granted = table.charge(now, &charges);
            assert_eq!(granted.is_ok(), times.iter().all(Result::is_ok), "seed {seed}");
            match granted {
                Ok(_) => map.extend(wanted.iter().zip(&times).map(|(which, time)| ((*which as u64, of), time.unwrap()))),
                Err(refusal) => {
                    assert_eq!(Some(refusal.retry_after), times.iter().filter_map(|time| time.err()).max(), "seed {seed}")
                }
            }
        }
    }
}

/// However requests come, a key is never granted more than its burst and what has come back since.
#[test]
fn never_more_than_the_rate_and_the_burst() {
    for seed in 1..=50_u64 {
        let mut random = Random(seed);
        let (table, rate) = (Table::new(100), rate(7, SECOND, 4));
        let (mut now, mut granted) = (0, 0_u64);
        for _ in 0..2_000 {
            now += if random.below(10) == 0 { random.below(3 * SECOND) } else { random.below(SECOND / 20) };
            granted += u64::from(charge(&table, now, 1, rate).is_ok());
            assert!(granted <= 4 + now * 7 / SECOND, "seed {seed}: {granted} in {now} ns");
        }
    }
}

#[test]
fn a_flood_of_new_keys_takes_no_used_bucket_from_a_busy_client() {
    let table = Table::new(1024);
    let rate = rate(1, SECOND, 20);
    let now = 100 * SECOND;
    for of in 0..50_u64 {
        (0..20).for_each(|_| assert!(charge(&table, now, of, rate).is_ok()));
    }
    // A hundred times as many keys as there are places, each charged once, all at once.
    for of in 0..200_000_u64 {
        assert!(charge(&table, now, 1_000_000 + of, rate).is_ok(), "new clients are served");
    }
    let forgotten = (0..50_u64).filter(|of| charge(&table, now, *of, rate).is_ok()).count();
    assert_eq!(forgotten, 0, "those who have used their share do not get it again");
}

#[test]
fn workers_that_charge_at_once_grant_exactly_the_burst() {
    let table = Table::new(1000);
    let (one, other) = (rate(1, 1000 * SECOND, 300), rate(1, 1000 * SECOND, 500));
    let granted: usize = std::thread::scope(|scope| {
        let work = |_| {
            scope.spawn(|| {
                // In both orders, so that a wrong order of locks would hang.
                (0..400)
                    .filter(|turn| {
                        let mut charges = [
                            Charge { key: table.key(1, &"k"), rate: one, cost: 1 },
                            Charge { key: table.key(2, &"k"), rate: other, cost: 1 },
                        ];
                        if turn % 2 == 0 {
                            charges.reverse();
                        }
                        table.charge(SECOND, &charges).is_ok()
                    })
                    .count()
            })
        };
        let workers: Vec<_> = (0..4).map(work).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(granted, 300);
    assert_eq!(
        table.standing(SECOND, table.key(2, &"k"), other).remaining,
        200,
        "what was refused by one was not charged to the other"
    );
}
