//! How long loading takes: `cargo run --release -p portcullis-control-config --example load`.
//!
//! Prints milliseconds for 100,000 routes in one file, and for a reload of 10,000 routes in 100 files when one changed and when all did.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a program for people at a terminal")]
#![allow(clippy::disallowed_methods, reason = "measures elapsed time")]

use portcullis_control_config::Loader;
use portcullis_model::Clock;
use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

const HEAD: &str = "version: 1
listeners:
  public:
    address: 127.0.0.1:8443
    danger_plaintext: { reason: measuring, owner: bench, expires: 2100-01-01 }
upstreams:
  orders: { endpoints: [{ url: \"http://127.0.0.1:9000\" }] }
";

fn apis(names: std::ops::Range<usize>, routes: usize, salt: &str) -> String {
    let mut out = String::from("apis:\n");
    for api in names {
        write!(
            out,
            "  api-{api}:\n    hosts: [\"api-{api}.example.com\"]\n    base_path: /base-{api}\n    upstream: orders\n    owner: team-{api}{salt}\n    routes:\n"
        )
        .expect("writing to a String");
        for route in 0..routes {
            writeln!(
                out,
                "      - {{ name: route-{route}, methods: [GET, POST], path: \"/items-{route}/{{id}}\", access: {{ public: true }} }}"
            )
            .expect("writing to a String");
        }
    }
    out
}

fn timed(what: &str, loader: &mut Loader) {
    let start = Instant::now();
    let plan = loader.load().expect("loads");
    let routes: usize = plan.apis.iter().map(|api| api.routes.len()).sum();
    let elapsed = start.elapsed().as_secs_f64() * 1000.0;
    println!("{what}: {elapsed:.1} ms, {routes} routes, {} KiB resident", resident());
}

/// Memory of this process in KiB, where the system says so.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn main() {
    let folder = std::env::temp_dir().join(format!("portcullis-load-{}", std::process::id()));
    let many = folder.join("many");
    std::fs::create_dir_all(&many).expect("a folder");
    let write = |path: &Path, text: &str| std::fs::write(path, text).expect("written");

    let one = folder.join("one.yaml");
    let text = format!("{HEAD}{}", apis(0..1000, 100, ""));
    println!("one file: {} bytes", text.len());
    write(&one, &text);
    let mut loader = Loader::new(&one, &[], Clock::System);
    timed("100,000 routes in one file, first load", &mut loader);
    timed("100,000 routes in one file, nothing changed", &mut loader);

    write(&many.join("00-head.yaml"), HEAD);
    let files = |salt: &str| {
        for file in 0..100 {
            write(&many.join(format!("api-{file:03}.yaml")), &apis(file..file + 1, 100, salt));
        }
    };
    files("");
    let mut loader = Loader::new(&many, &[], Clock::System);
    timed("10,000 routes in 100 files, first load", &mut loader);
    timed("10,000 routes in 100 files, nothing changed", &mut loader);
    write(&many.join("api-050.yaml"), &apis(50..51, 100, "-changed"));
    timed("10,000 routes in 100 files, one changed", &mut loader);
    files("-again");
    timed("10,000 routes in 100 files, all changed", &mut loader);
    std::fs::remove_dir_all(&folder).expect("removed");
}
