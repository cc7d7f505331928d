//! A gateway that speaks HTTP/2 before an upstream that remembers everything.

use portcullis_testing_kit::http2::{Http2Client, Outcome};
use portcullis_testing_kit::{Authority, Gateway, Plain, Witness};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// How much more memory than before a flood may have led to. Far below what any of them could ask for.
const GROWTH_KIB_MAX: u64 = 48 * 1024;

/// A gateway with a TLS listener, and its upstream.
pub struct SecureSite {
    pub gateway: Gateway,
    pub witness: Witness,
    pub authority: Authority,
}

/// Everything goes to an upstream that answers 200 and `ok`.
pub fn secure_site() -> SecureSite {
    secure_site_with(Witness::ok(), "", |_| {})
}

/// With this upstream, more for the listener (`limits: …`), and a changed configuration.
pub fn secure_site_with(witness: Witness, listener: &str, change: impl FnOnce(&mut Plain)) -> SecureSite {
    let authority = Authority::new();
    let leaf = authority.leaf(&["a.test"]);
    let files =
        [("tls/a.crt", leaf.certificate.as_str()), ("tls/a.key", leaf.key.as_str()), ("ca.crt", authority.certificate.as_str())];
    let listener = format!(
        "listeners:\n  secure:\n    address: 127.0.0.1:@tls@\n    tls: {{ certificates: [ {{ hosts: [a.test], \
         files: {{ certificate: tls/a.crt, key: tls/a.key }} }} ] }}\n    {listener}\n"
    );
    let mut plain = Plain::to(witness.address());
    change(&mut plain);
    let gateway = Gateway::start_with(&files, &plain.yaml().replacen("listeners:\n", &listener, 1));
    SecureSite { gateway, witness, authority }
}

/// Sets its flag when it is dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl SecureSite {
    /// A client that has said hello.
    #[track_caller]
    pub fn client(&self) -> Http2Client {
        Http2Client::connect(self.gateway.address("tls"), &self.authority.certificate)
    }

    /// A client with settings of its own.
    #[track_caller]
    pub fn client_with(&self, settings: &[(u16, u32)]) -> Http2Client {
        Http2Client::with_settings(self.gateway.address("tls"), &self.authority.certificate, settings)
    }

    /// A client that has said nothing.
    #[track_caller]
    pub fn silent(&self) -> Http2Client {
        Http2Client::silent(self.gateway.address("tls"), &self.authority.certificate)
    }

    /// A new client is served.
    #[track_caller]
    pub fn serves(&self) {
        assert_eq!(self.client().get(1, "/other").outcome(1), Outcome::Answered(200));
    }

    /// Runs an attack while another client goes on being served; afterwards the gateway is well and has not grown.
    #[track_caller]
    pub fn withstands(&mut self, what: &str, attack: impl FnOnce(&Self)) {
        self.serves();
        let before = self.gateway.process().resident_kib();
        let (done, served, most) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let mut client = self.client();
                    client.wait_at_most(Duration::from_secs(10));
                    assert_eq!(client.get(1, "/other").outcome(1), Outcome::Answered(200), "another client, during: {what}");
                    served.fetch_add(1, Ordering::AcqRel);
                    // Whoever behaves opens no hundreds of connections a second.
                    std::thread::sleep(Duration::from_millis(4));
                    most.fetch_max(self.gateway.resident_kib() as usize, Ordering::AcqRel);
                }
            });
            // Also when the attack's own assertions fail, the other client ends.
            let ends = Ends(&done);
            attack(self);
            // At least one request of the other client's lies wholly behind the begin of the attack.
            while served.load(Ordering::Acquire) < 2 && !other.is_finished() {
                std::thread::yield_now();
            }
            drop(ends);
            other.join().expect("the other client is served");
        });
        let grown = (most.into_inner() as u64).max(self.gateway.resident_kib()).saturating_sub(before);
        assert!(grown < GROWTH_KIB_MAX, "{what}: {grown} KiB more than before");
        self.gateway.is_well();
    }

    /// How many requests of a path have reached the upstream.
    pub fn reached(&self, path: &str) -> usize {
        let begin = format!("GET {path} ");
        self.witness.requests().iter().filter(|request| request.starts_with(begin.as_bytes())).count()
    }
}
