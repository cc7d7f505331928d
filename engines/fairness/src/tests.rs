use crate::simulation::{Asker, MILLI, Run, SECOND, Server, jain, quantile, run, shares};
use crate::{Baseline, Class, Concurrency, Flow, Queue, Settings};
use std::collections::HashSet;

const SERVER: Server = Server { places: 10, micros: 50 * MILLI, slower: None };
const SEEDS: u64 = 20;

fn askers(count: usize, per_second: f64, class: Class, weight: u32) -> Vec<Asker> {
    vec![Asker { per_second, class, weight }; count]
}

fn served(run: &Run, of: std::ops::Range<usize>) -> f64 {
    run.told.get(of).unwrap().iter().map(|told| told.served as f64).sum()
}

/// What fifty get beside one who asks for ten times what there is, and alone with the upstream as busy.
fn with_and_without_one(per_second: f64, seed: u64) -> (Run, Run, f64) {
    let normal = askers(50, per_second, Class::Known, 1);
    let with = [normal, askers(1, 2000.0, Class::Known, 1)].concat();
    let alone = run(&askers(50, 3.8, Class::Known, 1), SERVER, 260, 20, seed);
    let beside = run(&with, SERVER, 260, 20, seed);
    let parts = beside.told.iter().zip(shares(&with, 200.0)).map(|(told, share)| told.served as f64 / 240.0 / share);
    let parts: Vec<f64> = parts.collect();
    (alone, beside, jain(&parts))
}

fn lost(run: &Run) -> f64 {
    run.told[..50].iter().map(|told| told.refused).sum::<u64>() as f64 / served(run, 0..50)
}

#[test]
fn one_who_asks_for_ten_times_what_there_is_takes_nothing_from_fifty_others() {
    for (per_second, lost_max) in [(3.0, 0.002), (3.8, 0.04)] {
        for seed in 0..8 {
            let (alone, beside, jain) = with_and_without_one(per_second, seed);
            assert!(beside.utilisation >= 0.95, "seed {seed}: {}", beside.utilisation);
            assert!(jain >= 0.95, "seed {seed}: {jain}");
            let (before, after) = (quantile(&alone.told, 99), quantile(&beside.told[..50], 99));
            assert!(after * 10 <= before * 12, "seed {seed}: {before} and {after} us");
            assert!(lost(&beside) <= lost_max, "seed {seed}: {}", lost(&beside));
            assert!(beside.waiting_max <= 1024);
        }
    }
}

#[test]
fn without_overload_nobody_is_refused_and_nobody_waits_for_long() {
    for seed in 0..SEEDS {
        let run = run(&askers(20, 5.0, Class::Anonymous, 1), SERVER, 40, 5, seed);
        assert_eq!(run.told.iter().map(|told| told.refused).sum::<u64>(), 0, "seed {seed}");
        assert!(quantile(&run.told, 99) < 100 * MILLI, "seed {seed}: {}", quantile(&run.told, 99));
    }
}

#[test]
fn the_limit_finds_what_the_upstream_can_do_and_follows_it() {
    for seed in 0..SEEDS {
        for places in [4, 10, 300] {
            let server = Server { places, slower: Some((60 * SECOND, 3)), ..SERVER };
            let run = run(&askers(20, places as f64 * 3.0, Class::Known, 1), server, 200, 20, seed);
            let places = places as u32;
            for (second, limit) in run.limits.iter().enumerate().filter(|(second, _)| *second > 15) {
                // The shortest time is looked for now and then, with half of the limit.
                assert!((places / 3..=places * 2).contains(limit), "seed {seed}, {places} places, second {second}: {limit}");
            }
        }
    }
}

#[test]
fn weights_share_what_there_is_when_all_want_more() {
    for seed in 0..SEEDS {
        let all = [askers(1, 300.0, Class::Known, 4), askers(3, 300.0, Class::Known, 1)].concat();
        let run = run(&all, SERVER, 60, 10, seed);
        let ratio = served(&run, 0..1) / (served(&run, 1..4) / 3.0);
        assert!((3.7..4.3).contains(&ratio), "seed {seed}: {ratio}");
    }
}

#[test]
fn a_higher_class_goes_first_and_the_lowest_is_not_starved() {
    for seed in 0..SEEDS {
        let all = [askers(1, 500.0, Class::Planned, 1), askers(1, 500.0, Class::Known, 1), askers(40, 100.0, Class::Anonymous, 1)]
            .concat();
        let run = run(&all, SERVER, 60, 10, seed);
        let [planned, known, anonymous] = [0..1, 1..2, 2..42].map(|of| served(&run, of));
        assert!((3.5..4.5).contains(&(planned / known)), "seed {seed}: {planned} {known}");
        assert!((3.5..4.5).contains(&(known / anonymous)), "seed {seed}: {known} {anonymous}");
    }
}

#[test]
fn kinds_of_requests_are_not_compared_with_each_other() {
    let settings = Settings { min: 4, max: 1000, first: 100, tolerance: 18 };
    let limit = Concurrency::new(&settings);
    let (quick, slow) = (Baseline::default(), Baseline::default());
    for step in 0..10_000_u64 {
        let (kind, micros) = if step % 3 == 0 { (&slow, SECOND) } else { (&quick, MILLI) };
        let begun = step * MILLI;
        limit.note(&settings, kind, begun, micros, 100);
    }
    assert_eq!(limit.limit(), 100);
}

/// Numbers that come from a seed.
fn dice(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

#[test]
fn whoever_comes_leaves_once_and_the_queue_has_a_bound() {
    for seed in 0..200 {
        let (mut state, mut now, mut next) = (seed, 0, 0_u64);
        let (max, mut queue) = (32, Queue::new(32, 50));
        let (mut inside, mut tickets) = (HashSet::new(), Vec::new());
        for _ in 0..2_000 {
            now += dice(&mut state) % 20;
            match dice(&mut state) % 5 {
                0..3 => {
                    let class = Class::ALL[dice(&mut state) as usize % 3];
                    let flow = Flow { key: dice(&mut state) % 40, class, weight: dice(&mut state) as u32 % 5 };
                    next += 1;
                    match queue.push(flow, now, next) {
                        Ok((ticket, displaced)) => {
                            tickets.push((ticket, next));
                            assert!(inside.insert(next));
                            displaced.into_iter().for_each(|gone| assert!(inside.remove(&gone)));
                        }
                        Err((_, refused)) => assert_eq!(refused, next),
                    }
                }
                3 => {
                    let taken = queue.pop(now);
                    assert_eq!(taken.next.is_none(), inside.is_empty());
                    taken.next.into_iter().chain(taken.dropped).for_each(|gone| assert!(inside.remove(&gone)));
                }
                _ => {
                    if let Some((ticket, value)) = tickets.pop() {
                        assert_eq!(queue.remove(ticket).is_some(), inside.remove(&value), "seed {seed}");
                    }
                }
            }
            assert_eq!(queue.len(), inside.len(), "seed {seed}");
            assert!(queue.len() <= max && queue.flows() <= 3 * (2 * max + 1), "seed {seed}");
        }
        while let Some(gone) = queue.pop(now).next {
            inside.remove(&gone);
        }
        assert!(queue.is_empty());
    }
}

#[test]
fn a_full_queue_gives_the_place_of_the_longest_flow_of_the_lowest_class_to_who_comes() {
    let flow = |key, class| Flow { key, class, weight: 1 };
    let mut queue = Queue::new(3, SECOND);
    for value in 0..2 {
        queue.push(flow(1, Class::Anonymous), 0, value).unwrap();
    }
    queue.push(flow(2, Class::Known), 0, 2).unwrap();
    assert_eq!(queue.push(flow(1, Class::Anonymous), 0, 3).unwrap_err().1, 3, "its own flow is the longest");
    assert_eq!(queue.push(flow(3, Class::Anonymous), 0, 4).unwrap().1, Some(1));
    for (key, value) in [(4, 5), (5, 6)] {
        assert!(queue.push(flow(key, Class::Planned), 0, value).unwrap().1.is_some());
    }
    assert_eq!(queue.push(flow(6, Class::Planned), 0, 7).unwrap().1, Some(2));
    assert!(queue.push(flow(7, Class::Known), 0, 8).is_err(), "all who wait are of a higher class");
}
