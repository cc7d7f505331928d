//! Whether the time that it takes to look a key up tells how much of it is right: a t-test as dudect has it (Reparaz, Balasch, Verbauwhede, "Dude,
//! is my code constant time?", 2017) between keys that differ from a known one in the first character of their secret, in the last, or everywhere.
//! All are well-formed. Below 4.5 the test finds no difference.
//!
//! `cargo run --profile dist -p portcullis-engines-keys --example key_time`
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement, run by hand")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a measurement fails loudly")]

use portcullis_engines_keys::{Entry, HashKey, KeyFile, KeyTable, NewKey, RANDOM_BYTES, Unknown};
use std::hint::black_box;
use std::time::Instant;

const KEYS: usize = 100_000;
const ROUNDS: usize = 1_500_000;
/// Bytes of the public id, which the secret follows: a byte makes a character.
const ID: usize = 12;
const SECRET: usize = 32;
/// Keys of each kind that are shown.
const SHOWN: usize = 8192;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Bytes that each make a character.
    fn bytes(&mut self) -> [u8; RANDOM_BYTES] {
        std::array::from_fn(|_| (self.next() % 62) as u8)
    }
}

/// Mean and variance, one value at a time (Welford).
#[derive(Clone, Copy, Default)]
struct Values {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Values {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let off = value - self.mean;
        self.mean += off / self.count;
        self.squares += off * (value - self.mean);
    }

    /// Welch's t.
    fn t(&self, other: &Self) -> f64 {
        let error = |one: &Self| one.squares / (one.count - 1.0) / one.count;
        (self.mean - other.mean) / (error(self) + error(other)).sqrt()
    }
}

fn key(bytes: &[u8; RANDOM_BYTES], hash_key: &HashKey) -> NewKey {
    NewKey::from_random(bytes, hash_key).unwrap()
}

/// A file that knows these keys.
fn file_of(known: &[[u8; RANDOM_BYTES]], hash_key: &HashKey) -> KeyFile {
    let mut file = KeyFile::new(hash_key.clone());
    for bytes in known {
        let made = key(bytes, hash_key);
        file.entries.push(Entry {
            id: made.id.clone(),
            name: "a".into(),
            hash: made.hash,
            roles: Box::default(),
            scopes: Box::default(),
            created: 1,
            expires: None,
            revoked: None,
            foreign: false,
        });
    }
    file
}

fn main() {
    let (mut random, hash_key) = (Random(0x9e37_79b9_7f4a_7c15), HashKey::new([7; 32]));
    let known: Vec<[u8; RANDOM_BYTES]> = (0..KEYS).map(|_| random.bytes()).collect();
    let table = KeyTable::new(file_of(&known, &hash_key));
    let names = ["wrong in the first character", "wrong in the last character", "wrong everywhere"];
    // Many of each, and each beside a known key of its own: texts that are like each other would be told by what the processor has learnt
    // of them, whatever the table has.
    let mut beside = known.iter();
    let mut shown: [Vec<String>; 3] = std::array::from_fn(|_| Vec::with_capacity(SHOWN));
    for _ in 0..SHOWN {
        for (class, texts) in shown.iter_mut().enumerate() {
            let mut bytes = *beside.next().unwrap();
            match class {
                0 => bytes[ID] = (bytes[ID] + 1 + (random.next() % 61) as u8) % 62,
                1 => bytes[ID + SECRET - 1] = (bytes[ID + SECRET - 1] + 1 + (random.next() % 61) as u8) % 62,
                _ => bytes = random.bytes(),
            }
            texts.push(key(&bytes, &hash_key).text.reveal().clone());
        }
    }
    let mut times: [Vec<(u32, u32)>; 3] = std::array::from_fn(|_| Vec::with_capacity(ROUNDS));
    for round in 0..3 * ROUNDS {
        let (class, one) = ((random.next() % 3) as usize, random.next() as usize % SHOWN);
        // All are copied to one place, where the key of a request lies too.
        let text = black_box(shown[class][one].clone());
        let begin = Instant::now();
        let found = table.find(black_box(text.as_bytes()), 5).map(|entry| entry.created);
        let took = begin.elapsed().as_nanos() as u32;
        assert_eq!(found, Err(Unknown::Unlisted));
        if round > 10_000 {
            times[class].push((one as u32, took));
        }
    }
    // As dudect does: all, and without what interrupts have made long.
    let mut all: Vec<u32> = times.iter().flatten().map(|(_, time)| *time).collect();
    all.sort_unstable();
    for percent in [100, 99, 95, 90] {
        let crop = all[(all.len() * percent / 100).min(all.len() - 1)];
        // What a key costs depends on where its hash leads in memory: so a key is one value, its mean, and not each time that it was shown.
        let of = |class: &Vec<(u32, u32)>| {
            let mut keys = vec![(0_u64, 0_u64); SHOWN];
            for (key, time) in class.iter().filter(|(_, time)| *time <= crop) {
                let (sum, count) = &mut keys[*key as usize];
                (*sum, *count) = (*sum + u64::from(*time), *count + 1);
            }
            let mut values = Values::default();
            keys.iter().filter(|(_, count)| *count > 0).for_each(|(sum, count)| values.add(*sum as f64 / *count as f64));
            values
        };
        let values = times.each_ref().map(of);
        let means = values.map(|one| format!("{:.1}", one.mean)).join(", ");
        println!("up to the {percent}th percentile ({crop} ns): means {means} ns");
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            println!("  {} / {}: t = {:.2}", names[a], names[b], values[a].t(&values[b]));
        }
    }
}
