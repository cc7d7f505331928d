//! What a charge costs with 1,000,000 live keys: `cargo run --profile dist -p portcullis-engines-limiter --example charge_cost`.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement, run by hand")]

use portcullis_engines_limiter::{Charge, Rate, Table};
use std::hint::black_box;
use std::time::Instant;

const KEYS: u64 = 1_000_000;
const ROUND: u64 = 200_000;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|text| text.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn main() {
    let before = resident_kib();
    let table = Table::new(1 << 20);
    let empty = resident_kib();
    let Ok(rate) = Rate::new(1, 1_000_000_000, 1_000_000) else { return };
    let now = 3_600_000_000_000;
    let mut live = 0_u64;
    for of in 0..KEYS {
        live += u64::from(table.charge(now, &[Charge { key: table.key(1, &of), rate, cost: 1 }]).is_ok());
    }
    let still = (0..KEYS).filter(|of| table.standing(now, table.key(1, of), rate).full_after > 0).count();
    println!(
        "{live} keys charged, {still} of them known; memory: {} MiB for the empty table, {} MiB used, {} bytes a key",
        (empty - before) >> 10,
        (resident_kib() - before) >> 10,
        (resident_kib() - before) * 1024 / KEYS
    );
    for limits in [1_u64, 2, 4, 8] {
        let mut times = Vec::new();
        for round in 0..21_u64 {
            let begin = Instant::now();
            let mut of = round * 7919;
            for _ in 0..ROUND {
                of = (of.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)) % KEYS;
                let charges: [Charge; 8] =
                    std::array::from_fn(|limit| Charge { key: table.key(1 + limit as u64, &of), rate, cost: 1 });
                let charges = charges.get(..limits as usize).unwrap_or_default();
                black_box(table.charge(now + round, charges).is_ok());
            }
            times.push(begin.elapsed().as_nanos() as u64 / ROUND);
        }
        times.sort_unstable();
        let at = |place: usize| times.get(place).copied().unwrap_or_default();
        println!("{limits} limits: {} ns a request (median of 21 rounds, {} to {})", at(10), at(0), at(20));
    }
}
