//! What is said before a request is whole: early data of TLS, halves of other protocols.

use portcullis_testing_kit::{Authority, Gateway, Plain, RawClient, Witness, output_of};
use std::process::Command;
use std::time::Duration;

#[test]
fn c64_early_data_is_not_taken() {
    let (authority, witness) = (Authority::new(), Witness::ok());
    let leaf = authority.leaf(&["a.test"]);
    let files =
        [("tls/a.crt", leaf.certificate.as_str()), ("tls/a.key", leaf.key.as_str()), ("ca.crt", authority.certificate.as_str())];
    let listener = "listeners:\n  secure:\n    address: 127.0.0.1:@tls@\n    tls: { certificates: [ { hosts: [a.test], \
                    files: { certificate: tls/a.crt, key: tls/a.key } } ] }\n";
    let mut gateway = Gateway::start_with(&files, &Plain::to(witness.address()).yaml().replacen("listeners:\n", listener, 1));
    let request = "GET /early HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    gateway.write("request", request);
    // A whole exchange first, so that the client has its ticket; then early data with that ticket.
    let client = |more: &str| {
        let line = format!(
            "openssl s_client -connect {} -servername a.test -CAfile ca.crt -tls1_3 -ign_eof {more} < request",
            gateway.address("tls")
        );
        let output = output_of(Command::new("sh").args(["-c", &line]).current_dir(gateway.folder()));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let first = client("-sess_out session");
    assert!(first.contains("HTTP/1.1 200") && gateway.folder().join("session").exists(), "{first}");
    let before = witness.requests().len();
    let second = client("-sess_in session -early_data request");
    assert!(second.contains("Early data was not sent") || second.contains("Early data was rejected"), "{second}");
    // What came in the ordinary way afterwards is served, once.
    assert!(witness.requests().len() <= before + 1, "{:#?}", witness.texts());
    gateway.is_well();
}

#[test]
fn d87_half_an_http_2_preface_has_the_deadline_of_a_head() {
    let witness = Witness::ok();
    let mut plain = Plain::to(witness.address());
    plain.listener = "limits: { header_deadline: 1s }";
    let gateway = plain.start();
    for half in ["P", "PRI * HT", "PRI * HTTP/2.0\r\n\r", "PRI * HTTP/2.0\r\n\r\nSM"] {
        let mut client = RawClient::connect(gateway.http());
        client.send(half);
        assert!(client.ends_within(Duration::from_secs(20)), "{half:?} holds a place for ever");
    }
    assert_eq!(witness.bytes(), 0);
}
