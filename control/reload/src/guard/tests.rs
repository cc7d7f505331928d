use super::{Admitted, Approval, Guard, NONE, PublicKey, Rule};
use aws_lc_rs::signature::Ed25519KeyPair;
use portcullis_control_config::{Plan, load_text};
use portcullis_model::Clock;
use portcullis_testing_kit::TempDir;

fn plan(routes: &str) -> Plan {
    let text = format!(
        "version: 1\nlisteners: {{ p: {{ address: \"127.0.0.1:0\", danger_plaintext: {{ reason: test, owner: test, expires: 2099-01-01 }} }} }}\n\
         upstreams: {{ u: {{ endpoints: [ {{ url: \"http://127.0.0.1:9\" }} ] }} }}\napis: {{ a: {{ hosts: [a.test], upstream: u, routes: [ {routes} ] }} }}\n"
    );
    load_text("a.yaml", text.as_bytes(), &portcullis_policies::settings(), &Clock::System).unwrap()
}

const NARROW: &str = "{ name: r, methods: [GET], path: /r, access: { public: true } }";
const WIDE: &str = "{ name: r, methods: [GET, POST], path: /r, access: { public: true } }";

/// A private key in PEM.
fn key() -> Vec<u8> {
    let pair = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in pair.as_ref().chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            text.push(if place <= chunk.len() { char::from(DIGITS[(bits >> (18 - 6 * place) & 63) as usize]) } else { '=' });
        }
    }
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n").into_bytes()
}

struct World {
    folder: TempDir,
    key: Vec<u8>,
    policies: Vec<portcullis_model_settings::PolicySchema>,
}

impl World {
    fn new() -> Self {
        Self { folder: TempDir::new(), key: key(), policies: portcullis_policies::settings() }
    }

    fn guard(&self) -> Guard {
        let rule = Rule {
            key: PublicKey::of_private(&self.key),
            approval: self.folder.path().join("approval.json"),
            state: self.folder.path().join("state"),
        };
        Guard::new(Clock::System, None, Some(rule))
    }

    fn approve(&self, change: impl FnOnce(&mut Approval), key: &[u8], old: &str, new: &Plan) {
        let until = Clock::System.unix_seconds() + 60;
        let mut approval = Approval::sign(key, old, &new.hash().to_string(), until).unwrap();
        change(&mut approval);
        self.folder.write("approval.json", serde_json::to_vec(&approval).unwrap());
    }
}

#[test]
fn without_a_rule_everything_is_admitted_and_told() {
    let (narrow, wide) = (plan(NARROW), plan(WIDE));
    let guard = Guard::new(Clock::System, None, None);
    assert_eq!(guard.admit_first(&wide, None, &[]), Ok(Admitted::Initial));
    assert_eq!(guard.admit_first(&narrow, Some(&wide), &[]), Ok(Admitted::NotWider));
    let opened = "POST a.test/r: opens to everybody, without a credential".to_owned();
    assert_eq!(guard.admit(&narrow, &wide), Ok(Admitted::Unguarded { widenings: vec![opened] }));
    let guard = Guard::new(Clock::System, Some(plan(WIDE)), None);
    assert_eq!(guard.admit(&narrow, &wide), Ok(Admitted::NotWider), "the baseline has it");
}

#[test]
fn with_a_rule_nothing_widens_without_an_approval_of_that_step_which_is_good_for_once() {
    let world = World::new();
    let (guard, narrow, wide) = (world.guard(), plan(NARROW), plan(WIDE));
    let hash = narrow.hash().to_string();
    let refused = guard.admit_first(&narrow, Some(&wide), &world.policies).unwrap_err();
    assert!(refused.contains("nothing has been accepted before") && refused.contains("approve none NEW"), "{refused}");
    world.approve(|_| (), &world.key, NONE, &narrow);
    assert!(matches!(guard.admit_first(&narrow, None, &world.policies), Ok(Admitted::Approved { .. })));
    assert_eq!(guard.admit_first(&narrow, None, &world.policies), Ok(Admitted::NotWider), "a restart");

    let refused = guard.admit(&narrow, &wide).unwrap_err();
    for told in ["POST a.test/r: opens to everybody", "it is for another configuration", &hash, "portcullis approve OLD NEW"] {
        assert!(refused.contains(told), "{told}: {refused}");
    }
    type Change = fn(&mut Approval);
    let wrong: [(Change, &str); 4] = [
        (|one| one.until_unix_seconds += 1, "not signed"),
        (|one| one.nonce = one.nonce.replace('0', "1") + "00", "not signed"),
        (|one| one.signature = one.signature.to_uppercase() + "A", "not signed"),
        (|one| one.old = NONE.to_owned(), "not signed"),
    ];
    for (change, told) in wrong {
        world.approve(change, &world.key, &hash, &wide);
        assert!(guard.admit(&narrow, &wide).unwrap_err().contains(told));
    }
    world.approve(|_| (), &key(), &hash, &wide);
    assert!(guard.admit(&narrow, &wide).unwrap_err().contains("not signed"), "by another key");
    world.approve(|_| (), &world.key, NONE, &wide);
    assert!(guard.admit(&narrow, &wide).unwrap_err().contains("for another configuration before"));
    let late = Approval::sign(&world.key, &hash, &wide.hash().to_string(), Clock::System.unix_seconds()).unwrap();
    world.folder.write("approval.json", serde_json::to_vec(&late).unwrap());
    assert!(guard.admit(&narrow, &wide).unwrap_err().contains("no longer good"));

    world.approve(|_| (), &world.key, &hash, &wide);
    assert!(matches!(guard.admit(&narrow, &wide), Ok(Admitted::Approved { .. })));
    assert_eq!(guard.admit(&wide, &narrow), Ok(Admitted::NotWider));
    assert!(guard.admit(&narrow, &wide).unwrap_err().contains("used before"));
    assert!(guard.admit_first(&wide, Some(&wide), &world.policies).unwrap_err().contains("used before"), "nor by a restart");
}

#[test]
fn what_the_guard_has_written_down_and_cannot_be_read_admits_nothing() {
    let world = World::new();
    let narrow = plan(NARROW);
    for text in [
        "",
        "# something else\nversion: 1\n",
        "# The configuration that was accepted last, written by the gateway. Do not edit. Hash: ab\nversion: 7\n",
    ] {
        world.folder.write("state/accepted.yaml", text);
        world.approve(|_| (), &world.key, NONE, &narrow);
        assert!(world.guard().admit_first(&narrow, None, &world.policies).is_err(), "{text}");
    }
}
