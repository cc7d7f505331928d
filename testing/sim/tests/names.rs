//! Answers of the DNS that grow, shrink and swap everything, while latency changes, servers fail and new ones start slowly: no client
//! sees it, nobody is trampled, and shares settle. For many seeds, each printed when something does not hold.

use portcullis_gateway_upstream::Balance;
use portcullis_testing_sim::{Dice, Nature, Second, World, settings};

const WELL: Nature = Nature { millis: 10, failing: 0, capacity: 200 };
const SEEDS: std::ops::Range<u64> = 1..13;
const BALANCES: [Balance; 3] = [Balance::RoundRobin, Balance::LeastRequests, Balance::LeastLatency];

fn sum(seconds: &[Second], count: impl Fn(&Second) -> u64) -> u64 {
    seconds.iter().map(count).sum()
}

/// The share of a server, in per cent.
fn share(seconds: &[Second], server: usize) -> u64 {
    sum(seconds, |second| second.tries.get(server).copied().unwrap_or_default()) * 100 / sum(seconds, Second::all_tries).max(1)
}

/// Runs a scene for every seed and way of balancing.
fn each(scene: impl Fn(u64, Balance, &str)) {
    for seed in SEEDS {
        for balance in BALANCES {
            scene(seed, balance.clone(), &format!("seed {seed}, {balance:?}"));
        }
    }
}

#[test]
fn an_answer_that_grows_tramples_nobody_who_comes() {
    each(|seed, balance, what| {
        let mut world = World::knowing(seed, settings(balance, None), vec![WELL; 5], 4, 2);
        world.run(10);
        world.answer(0..5);
        let seconds = world.run(60);
        // Its fair share is a fifth; it begins with less, and has all of it at the end.
        for second in &seconds[..2] {
            assert!(share(std::slice::from_ref(second), 4) <= 15, "{what}: {second:?}");
        }
        let end = share(&seconds[50..], 4);
        assert!((12..=30).contains(&end), "{what}: {end} % at the end");
        assert_eq!(sum(&seconds, |s| s.failed + s.refused), 0, "{what}");
    });
}

#[test]
fn those_that_stay_carry_what_an_answer_takes_away() {
    each(|seed, balance, what| {
        let mut world = World::new(seed, settings(balance, None), vec![WELL; 6], 2);
        world.run(10);
        world.answer([0, 2, 4]);
        let seconds = world.run(30);
        for gone in [1, 3, 5] {
            assert_eq!(sum(&seconds, |s| s.tries[gone]), 0, "{what}: requests to {gone}, which the answer does not have");
        }
        for stays in [0, 2, 4] {
            let share = share(&seconds, stays);
            assert!((22..=45).contains(&share), "{what}: {share} % to {stays}");
        }
        assert_eq!(sum(&seconds, |s| s.failed + s.refused), 0, "{what}");
    });
}

#[test]
fn an_answer_that_swaps_all_addresses_fails_nobody_and_makes_no_herd() {
    each(|seed, balance, what| {
        // The new ones can carry everything together, but none of them alone.
        let tight = Nature { millis: 20, failing: 0, capacity: 40 };
        let mut world = World::knowing(seed, settings(balance, None), vec![tight; 8], 4, 3);
        world.run(10);
        world.answer(4..8);
        let seconds = world.run(40);
        assert_eq!(sum(&seconds, |s| s.failed + s.refused), 0, "{what}: a cold start is no reason to fail");
        for second in &seconds {
            let most = second.tries.iter().max().copied().unwrap_or_default() * 100 / second.all_tries();
            assert!(most <= 45, "{what}: {most} % to one of four: {second:?}");
        }
    });
}

#[test]
fn answers_that_go_back_and_forth_do_not_swing_the_load() {
    each(|seed, balance, what| {
        let mut world = World::new(seed, settings(balance, None), vec![WELL; 6], 2);
        world.run(5);
        // A server comes and goes each second, as with a registry that is not sure. Those that are always there share the rest.
        for turn in 0..30 {
            world.answer(0..if turn % 2 == 0 { 5 } else { 6 });
            let second = &world.run(1)[0];
            for server in 0..5 {
                let share = share(std::slice::from_ref(second), server);
                assert!((9..=34).contains(&share), "{what}: {share} % to {server}: {second:?}");
            }
            assert!(share(std::slice::from_ref(second), 5) <= 12, "{what}: it is always new: {second:?}");
            assert_eq!(second.failed + second.refused, 0, "{what}");
        }
    });
}

#[test]
fn latency_that_changes_under_answers_that_change_is_followed_without_swinging() {
    for seed in SEEDS {
        let what = format!("seed {seed}");
        let slow = Nature { millis: 60, ..WELL };
        let mut world = World::knowing(seed, settings(Balance::LeastLatency, None), vec![WELL, slow, WELL, slow, WELL], 3, 2);
        let before = world.run(20);
        assert!(share(&before[5..], 1) < 20, "{what}: the slow one has {} %", share(&before[5..], 1));
        // A slow and a quick one come, and the slow one of before becomes quick.
        world.answer(0..5);
        world.natures[1] = WELL;
        let after = world.run(90);
        let late = &after[60..];
        assert!(share(late, 3) < 15, "{what}: the new slow one has {} %", share(late, 3));
        for quick in [0, 1, 2, 4] {
            let share = share(late, quick);
            assert!((14..=36).contains(&share), "{what}: {share} % to {quick}");
            // Second by second as well: no turn from one to the other.
            for second in late {
                let share = second.tries[quick] * 100 / second.all_tries();
                assert!((8..=45).contains(&share), "{what}: {share} % to {quick} in a second: {second:?}");
            }
        }
        assert_eq!(sum(&after, |s| s.failed + s.refused), 0, "{what}");
    }
}

#[test]
fn an_answer_with_dead_servers_costs_next_to_nothing() {
    each(|seed, balance, what| {
        let dead = Nature { failing: 1000, ..WELL };
        let mut world = World::knowing(seed, settings(balance, None), vec![WELL, WELL, WELL, dead, dead], 3, 2);
        world.run(10);
        world.answer(0..5);
        let seconds = world.run(60);
        let (failed, asked) = (sum(&seconds, |s| s.failed + s.refused), sum(&seconds, |s| s.asked));
        assert!(failed <= 60, "{what}: {failed} of {asked} failed");
        let wasted = sum(&seconds[2..], |s| s.tries[3] + s.tries[4]);
        assert!(wasted <= 400, "{what}: {wasted} tries at dead servers");
        let tried = sum(&seconds, Second::all_tries);
        assert!(tried * 10 <= asked * 12 + 100, "{what}: {tried} tries for {asked} requests");
    });
}

#[test]
fn whatever_comes_in_whatever_order_clients_are_served() {
    for seed in SEEDS {
        for balance in BALANCES {
            let what = format!("seed {seed}, {balance:?}");
            let mut dice = Dice::new(seed);
            let mut world = World::knowing(seed, settings(balance, None), vec![WELL; 12], 6, 2);
            let (mut failed, mut asked) = (0, 0);
            for _ in 0..40 {
                // Six of twelve, one of which may be dead; the others answer in 5 to 40 ms.
                let first = usize::try_from(dice.roll() % 12).unwrap_or_default();
                world.answer((0..6).map(|at| (first + at) % 12));
                for nature in &mut world.natures {
                    *nature = Nature { millis: 5 + dice.roll() % 36, ..WELL };
                }
                if dice.happens(500) {
                    world.natures[first].failing = 1000;
                }
                let seconds = world.run(3);
                failed += sum(&seconds, |s| s.failed + s.refused);
                asked += sum(&seconds, |s| s.asked);
            }
            assert!(failed * 500 <= asked, "{what}: {failed} of {asked} failed");
        }
    }
}
