//! No storm, no herd, no oscillation: for many seeds, each printed when something does not hold.

use portcullis_gateway_upstream::{Balance, BreakerSettings};
use portcullis_testing_sim::{Nature, Second, World, settings};
use std::time::Duration;

const WELL: Nature = Nature { millis: 10, failing: 0, capacity: 200 };
const DEAD: Nature = Nature { millis: 10, failing: 1000, capacity: 200 };
const SEEDS: std::ops::Range<u64> = 1..13;
const BALANCES: [Balance; 3] = [Balance::RoundRobin, Balance::LeastRequests, Balance::LeastLatency];

fn sum(seconds: &[Second], count: impl Fn(&Second) -> u64) -> u64 {
    seconds.iter().map(count).sum()
}

#[test]
fn retries_stay_within_their_budget_when_everything_fails_and_when_half_does() {
    for seed in SEEDS {
        for natures in [vec![DEAD; 5], vec![WELL, Nature { failing: 500, ..WELL }, DEAD], vec![Nature { failing: 300, ..WELL }; 4]]
        {
            let mut world = World::new(seed, settings(Balance::RoundRobin, None), natures, 2);
            let seconds = world.run(20);
            let (asked, tried) = (sum(&seconds, |s| s.asked), sum(&seconds, Second::all_tries));
            assert!(tried * 10 <= asked * 12 + 100, "seed {seed}: {tried} tries for {asked} requests");
        }
    }
}

#[test]
fn one_dead_endpoint_is_left_out_and_costs_clients_next_to_nothing() {
    for seed in SEEDS {
        for balance in BALANCES {
            let mut world = World::new(seed, settings(balance.clone(), None), vec![WELL, WELL, DEAD, WELL], 2);
            let seconds = world.run(60);
            let failed = sum(&seconds, |s| s.failed);
            assert!(failed <= 30, "seed {seed}, {balance:?}: {failed} of {} failed", sum(&seconds, |s| s.asked));
            let wasted = sum(&seconds[1..], |s| s.tries[2]);
            assert!(wasted <= 200, "seed {seed}, {balance:?}: {wasted} tries at a dead endpoint");
        }
    }
}

#[test]
fn an_endpoint_that_comes_back_is_not_trampled() {
    for seed in SEEDS {
        for balance in BALANCES {
            let mut world = World::new(seed, settings(balance.clone(), None), vec![WELL, WELL, DEAD, WELL], 2);
            world.run(20);
            world.natures[2] = WELL;
            let back = world.run(60);
            let first = back.iter().position(|s| s.tries[2] > 0).unwrap_or(back.len());
            assert!(first < 40, "seed {seed}, {balance:?}: it never came back");
            // Its fair share is a quarter. In its first two seconds it gets much less; at the end it has all of it.
            for second in &back[first..first + 2] {
                assert!(second.tries[2] * 100 <= second.all_tries() * 20, "seed {seed}, {balance:?}: {second:?}");
            }
            let end = &back[back.len() - 5..];
            let share = sum(end, |s| s.tries[2]) * 100 / sum(end, Second::all_tries);
            assert!((15..=35).contains(&share), "seed {seed}, {balance:?}: {share} % at the end");
            assert_eq!(sum(&back[1..], |s| s.failed), 0, "seed {seed}, {balance:?}: clients saw its return");
        }
    }
}

#[test]
fn those_that_are_left_do_not_fall_like_dominoes() {
    for seed in SEEDS {
        for balance in BALANCES {
            // Two of six die; the others could carry everything, though not twice that.
            let tight = Nature { millis: 20, failing: 0, capacity: 40 };
            let mut world = World::new(seed, settings(balance.clone(), None), vec![tight; 6], 3);
            world.run(10);
            world.natures[0] = Nature { failing: 1000, ..tight };
            world.natures[1] = Nature { failing: 1000, ..tight };
            let after = world.run(60);
            let late = &after[5..];
            assert!(late.iter().all(|s| s.ejected <= 2), "seed {seed}, {balance:?}: healthy ones were left out");
            let (failed, asked) = (sum(late, |s| s.failed), sum(late, |s| s.asked));
            assert!(failed * 1000 <= asked, "seed {seed}, {balance:?}: {failed} of {asked} failed");
        }
    }
}

#[test]
fn shares_do_not_oscillate_between_equal_endpoints() {
    for seed in SEEDS {
        for balance in BALANCES {
            let mut world = World::new(seed, settings(balance.clone(), None), vec![WELL; 4], 2);
            for second in &world.run(30)[2..] {
                for tries in &second.tries {
                    let share = tries * 100 / second.all_tries();
                    assert!((12..=40).contains(&share), "seed {seed}, {balance:?}: {second:?}");
                }
            }
        }
    }
}

#[test]
fn a_slow_endpoint_gets_less_and_is_not_forgotten() {
    for seed in SEEDS {
        let slow = Nature { millis: 100, ..WELL };
        let mut world = World::new(seed, settings(Balance::LeastLatency, None), vec![WELL, slow, WELL], 2);
        let seconds = world.run(30);
        let share = sum(&seconds[2..], |s| s.tries[1]) * 100 / sum(&seconds[2..], Second::all_tries);
        assert!(share < 20, "seed {seed}: {share} % to the slow one");
        world.natures[1] = WELL;
        let after = world.run(60);
        let share = sum(&after[40..], |s| s.tries[1]) * 100 / sum(&after[40..], Second::all_tries);
        assert!(share >= 20, "seed {seed}: {share} % when it is quick again");
    }
}

#[test]
fn the_circuit_spares_a_dead_upstream_closes_when_it_works_and_does_not_flap() {
    let breaker = BreakerSettings {
        failures_percent: 50,
        window: Duration::from_secs(10),
        requests_min: 20,
        open_for: Duration::from_secs(5),
        probes: 3,
    };
    for seed in SEEDS {
        let mut world = World::new(seed, settings(Balance::LeastRequests, Some(breaker)), vec![DEAD; 3], 2);
        let dead = world.run(60);
        let tried = sum(&dead[1..], Second::all_tries);
        assert!(tried <= 200, "seed {seed}: {tried} tries at a dead upstream in a minute");
        world.natures = vec![WELL; 3];
        let well = world.run(120);
        let closed = well.iter().position(|s| !s.open).unwrap_or(well.len());
        assert!(closed <= 55, "seed {seed}: closed after {closed} s");
        assert!(well[closed..].iter().all(|s| !s.open), "seed {seed}: it opens again although everything works");
        // A small share of failures, as is always there, does not break it.
        world.natures = vec![Nature { failing: 200, ..WELL }; 3];
        assert!(world.run(60).iter().all(|s| !s.open), "seed {seed}: broken by a fifth");
    }
}
