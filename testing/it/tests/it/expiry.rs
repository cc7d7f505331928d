//! What runs out is told before it does: by `check`, on standard error, in the status and as a metric.

use portcullis_testing_kit::{Authority, Gateway, Plain, Witness, binary, eventually, output_of};
use std::process::Command;
use std::time::SystemTime;

const DAY: u64 = 86_400;

const YAML: &str = "listeners:
  fresh:
    address: 127.0.0.1:@tls@
    tls: { certificates: [ { hosts: [a.test], files: { certificate: fresh.crt, key: fresh.key } } ] }
  stale:
    address: 127.0.0.1:@other@
    tls:
      certificates: [ { hosts: [a.test], files: { certificate: stale.crt, key: stale.key } } ]
      client_certificates: { mode: required, trust: ca.crt, revocation: { crl: [ca.crl] } }
";

#[test]
fn what_runs_out_is_told_in_time() {
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("the clock is right").as_secs();
    let (authority, witness) = (Authority::new(), Witness::ok());
    let fresh = authority.leaf_until(&["a.test"], now + 100 * DAY);
    let stale = authority.leaf_until(&["a.test"], now + 3 * DAY + 3600);
    let shown = authority.leaf_until(&["a.test"], now + DAY / 2);
    let list = authority.revoked_until(&[1], now + 2 * DAY + 3600);
    let files = [
        ("fresh.crt", &fresh.certificate),
        ("fresh.key", &fresh.key),
        ("stale.crt", &stale.certificate),
        ("stale.key", &stale.key),
        ("shown.crt", &shown.certificate),
        ("shown.key", &shown.key),
        ("ca.crt", &authority.certificate),
        ("ca.crl", &list),
    ];
    let secure = "\n  secure:\n    endpoints: [ { url: 'https://127.0.0.1:9' } ]\n    \
                  tls: { trust: ca.crt, client_certificate: { certificate: shown.crt, key: shown.key } }";
    let yaml = Plain::to(witness.address()).yaml().replacen("listeners:\n", YAML, 1);
    let yaml = yaml.replacen("upstreams:", &format!("upstreams:{secure}"), 1);
    let gateway = Gateway::start_with(&files.map(|(name, text)| (name, text.as_str())), &yaml);
    let expected = [
        ("listener `stale`: the certificate in `", "stale.crt` runs out on ", ", in 3 days"),
        ("listener `stale`: the revocation list in `", "ca.crl` runs out on ", ", in 2 days"),
        ("upstream `secure`: the client certificate in `", "shown.crt` runs out on ", ", within 12 h"),
    ];
    let tells = |text: &str| expected.iter().all(|(one, two, three)| [one, two, three].iter().all(|part| text.contains(*part)));
    eventually("the warnings", || tells(&gateway.stderr()).then_some(()));
    let status = gateway.status()["expiring"].to_string();
    assert!(tells(&status) && !status.contains("fresh"), "{status}");
    for (kind, name, least, most) in [
        ("listener_certificate", "fresh", 99 * DAY, 100 * DAY),
        ("listener_certificate", "stale", 3 * DAY, 3 * DAY + 3600),
        ("revocation_list", "stale", 2 * DAY, 2 * DAY + 3600),
        ("upstream_certificate", "secure", DAY / 3, DAY / 2),
    ] {
        let seconds = gateway.metric(&format!("portcullis_expires_in_seconds{{kind=\"{kind}\",name=\"{name}\"}}"));
        assert!((least as f64..=most as f64).contains(&seconds), "{kind} {name}: {seconds}");
    }
    let mut check = Command::new(binary());
    let told = output_of(check.args(["check", "--format", "text", "--config", "portcullis.yaml"]).current_dir(gateway.folder()));
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(tells(&told) && told.contains("sound"), "{told}");

    // Once it is renewed nothing is told of it any more.
    let next = gateway.generation() + 1;
    gateway.write("stale.crt", &fresh.certificate);
    gateway.write("stale.key", &fresh.key);
    gateway.reaches_generation(next);
    let status = gateway.status()["expiring"].to_string();
    assert!(!status.contains("stale.crt") && status.contains("ca.crl"), "{status}");
}
