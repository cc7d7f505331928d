//! The pages of docs/operations, done as they say: every block of shell is run, every whole configuration is served.

use portcullis_testing_kit::{Authority, Gateway, Haproxy, Nginx, TempDir, Witness, binary, free_port, output_of};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the pages, of the clone that cargo runs the tests in.
pub(crate) fn pages() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.join("../../docs/operations")
}

/// A page of docs/operations.
#[track_caller]
fn page(name: &str) -> String {
    let file = pages().join(name);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The blocks of a page in a language, in order.
pub(crate) fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("\n```{language}\n");
    page.split(&fence).skip(1).filter_map(|rest| Some(rest.split_once("\n```")?.0.to_owned() + "\n")).collect()
}

/// A text with the ports of the page replaced by free ones, so that it runs beside others.
pub(crate) fn with_ports(text: &str, ports: &[(u16, u16)]) -> String {
    ports.iter().fold(text.to_owned(), |text, (written, free)| text.replace(&format!(":{written}"), &format!(":{free}")))
}

/// Runs a script in a folder, with the gateway on the path; what it started ends with it.
#[track_caller]
pub(crate) fn run(folder: &Path, script: &str) -> String {
    let beside = binary().parent().map(Path::to_path_buf).expect("a program lies in a folder");
    let path = std::env::var("PATH").expect("a path");
    let script = format!("set -eu -o pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}");
    let mut command = Command::new("timeout");
    command.args(["25", "bash", "-c"]).arg(script).current_dir(folder).env("PATH", format!("{}:{path}", beside.display()));
    let output = output_of(&mut command);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let log = std::fs::read_to_string(folder.join("gateway.log")).unwrap_or_default();
    assert!(output.status.success(), "{}\n{said}\n{log}", output.status);
    said
}

#[test]
fn every_block_of_shell_in_the_pages_is_run_by_a_test() {
    for entry in std::fs::read_dir(pages()).expect("pages") {
        let name = entry.expect("a page").file_name().to_string_lossy().into_owned();
        let blocks = blocks(&page(&name), "sh");
        match name.as_str() {
            "run.md" => assert_eq!(blocks.len(), 5, "the_page_on_running_it_works_as_written runs five"),
            "bans.md" => assert_eq!(blocks.len(), 1, "the_page_of_bans_works_as_written of attack_floods.rs runs one"),
            "lockouts.md" => assert_eq!(blocks.len(), 1, "the_page_of_lockouts_works_as_written of lockouts.rs runs one"),
            "approvals.md" => assert_eq!(blocks.len(), 4, "the_page_works_as_written of approvals.rs runs four"),
            // What Gateway::upgrade of the kit runs, for every test of upgrades; and how the largest of them is run for long.
            "upgrade.md" => {
                assert!(blocks[0].starts_with("portcullis upgrade --socket /") && blocks[0].lines().count() == 1, "{}", blocks[0]);
                assert!(
                    blocks[1..].iter().all(|block| block.contains("cargo test") && block.contains("ten_upgrades")),
                    "{blocks:#?}"
                );
            }
            _ => assert!(blocks.is_empty(), "{name}: no test runs these, or this one does not know of it:\n{}", blocks.concat()),
        }
    }
}

#[test]
fn the_page_on_running_it_works_as_written() {
    let (folder, witness) = (TempDir::new(), Witness::ok());
    let blocks = blocks(&page("run.md"), "sh");
    let ports = [(8443, free_port()), (9464, free_port()), (3000, witness.address().port())];
    // The starter configuration has its ports from the program: there they are changed in the file.
    let change = ports.map(|(written, free)| format!("s/:{written}/:{free}/g")).join(";");
    let script = blocks.concat();
    let (init, rest) = script.split_once('\n').expect("several lines");
    let said = run(folder.path(), &format!("{init}\nsed -i '{change}' gateway/portcullis.yaml\n{}", with_ports(rest, &ports)));
    assert!(said.contains("ok") && said.contains("method_unknown"), "{said}");
    assert_eq!(witness.requests().len(), 1, "{:#?}", witness.texts());
}

/// The gateway of the page on load balancers before an upstream, with lines added to its listener, and its authority.
fn gateway_of_the_page(page: &str, listener: &str, witness: &Witness) -> (Gateway, Authority) {
    let authority = Authority::new();
    let leaf = authority.leaf(&["api.example.com"]);
    let files = [("tls/api.crt", leaf.certificate.as_str()), ("tls/api.key", &leaf.key), ("ca.crt", &authority.certificate)];
    let yaml = blocks(page, "yaml").remove(0).replace(":8443", ":@tls@").replace(":9464", ":@probes@");
    let yaml = yaml.replacen("    protocols: [h1]\n", &format!("    protocols: [h1]\n{listener}"), 1);
    (Gateway::start_with(&files, &with_ports(&yaml, &[(3000, witness.address().port())])), authority)
}

/// The gateway and the nginx of the page.
fn behind_nginx(witness: &Witness) -> (Gateway, Nginx) {
    let page = page("load-balancer.md");
    let (gateway, authority) = gateway_of_the_page(&page, "", witness);
    let front = free_port();
    let server = with_ports(&blocks(&page, "nginx").remove(0), &[(8443, gateway.address("tls").port()), (8000, front)]);
    (gateway, Nginx::start_as(&server, front, &[("tls/ca.crt", authority.certificate.as_bytes())]))
}

#[test]
fn c61_behind_a_balancer_that_passes_bytes_as_the_page_has_it_the_client_is_known() {
    let (page, witness) = (page("load-balancer.md"), Witness::ok());
    let (gateway, _authority) = gateway_of_the_page(&page, &blocks(&page, "yaml")[1], &witness);
    let front = free_port();
    let text = with_ports(&blocks(&page, "haproxy")[0], &[(8443, gateway.address("tls").port()), (8000, front)]);
    let _haproxy = Haproxy::start_as(&text, front);
    let mut command = Command::new("curl");
    command.args(["-sS", "--interface", "127.0.0.7", "--connect-to", &format!("::127.0.0.1:{front}"), "--cacert"]);
    command.arg(gateway.folder().join("ca.crt")).args(["-H", "X-Forwarded-For: 198.51.100.66"]);
    let output = output_of(command.arg("https://api.example.com/x"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok", "{}", String::from_utf8_lossy(&output.stderr));
    let record = &gateway.records_when(1)[0];
    let starts = |field: &str, address: &str| record[field].as_str().is_some_and(|text| text.starts_with(address));
    assert!(starts("client", "127.0.0.7") && starts("peer", "127.0.0.7:") && starts("balancer", "127.0.0.1"), "{record}");
    assert!(witness.sole_text().contains("x-forwarded-for: 127.0.0.7\r\n"), "{}", witness.sole_text());
}

#[test]
fn c61_behind_a_balancer_as_the_page_has_it_the_client_is_known_and_cannot_lie() {
    let witness = Witness::ok();
    let (gateway, nginx) = behind_nginx(&witness);
    for lines in [
        &[][..],
        &["-H", "X-Forwarded-For: 198.51.100.66"],
        &["-H", "X_Forwarded_For: 198.51.100.66", "-H", "Forwarded: for=198.51.100.66"],
    ] {
        let mut command = Command::new("curl");
        command.args(["-sS", "--interface", "127.0.0.7", "-H", "Host: api.example.com"]).args(lines);
        let output = output_of(command.arg(format!("http://{}/x", nginx.address())));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "ok", "{}", String::from_utf8_lossy(&output.stderr));
    }
    for record in gateway.records_when(3) {
        assert_eq!(
            (&record["client"], record["peer"].as_str().map(|peer| peer.starts_with("127.0.0.1"))),
            (&"127.0.0.7".into(), Some(true)),
            "{record}"
        );
    }
    for seen in witness.texts() {
        assert!(seen.contains("x-forwarded-for: 127.0.0.7\r\n") && !seen.contains("198.51.100.66"), "{seen}");
    }
}
