use crate::{Algorithm, Delivery, SignatureKey, WebhookFault, encode};

/// The example of the specification's reference libraries.
const SECRET: &[u8] = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
const ID: &[u8] = b"msg_p5jXN8AQM9LWM0D4loKWxJek";
const BODY: &[u8] = b"{\"test\": 2432232314}";
const SIGNED: &[u8] = b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn refused(id: &[u8], time: &[u8], signatures: &[u8]) -> Option<WebhookFault> {
    Delivery::read(id, time, signatures).err()
}

#[test]
fn the_example_of_the_specification_is_signed_by_its_key_alone() {
    let key = SignatureKey::read(SECRET).unwrap();
    assert_eq!(key.algorithm(), Algorithm::HmacSha256);
    let delivery = Delivery::read(ID, b"1614265330", SIGNED).unwrap();
    assert!(delivery.is_signed_by(&key, BODY));
    let other = SignatureKey::read(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx").unwrap();
    assert!(!delivery.is_signed_by(&other, BODY) && !delivery.is_signed_by(&key, b"{\"test\": 2432232315}"));
    for (id, time) in [(&b"msg_p5jXN8AQM9LWM0D4loKWxJeK"[..], &b"1614265330"[..]), (ID, b"1614265331")] {
        assert!(!Delivery::read(id, time, SIGNED).unwrap().is_signed_by(&key, BODY));
    }
    // Several, of which one is by the key; those of another version are passed over.
    let several = [b"v1,AAAA v2,?? ", SIGNED].concat();
    assert!(Delivery::read(ID, b"1614265330", &several).unwrap().is_signed_by(&key, BODY));
}

#[test]
fn what_could_be_read_in_two_ways_is_not_read() {
    let time = b"1614265330";
    let ids: [&[u8]; 6] = [b"", b"a.b", b"a b", b"a\x7f", "a\u{e9}".as_bytes(), &[b'a'; 257]];
    for id in ids {
        assert_eq!(refused(id, time, SIGNED), Some(WebhookFault::IdMalformed), "{id:?}");
    }
    for time in ["", "-1", "+1", "1.5", "01", "0", " 1", "1e9", "9999999999999999", "1614265330.a"] {
        assert_eq!(refused(ID, time.as_bytes(), SIGNED), Some(WebhookFault::TimeMalformed), "{time:?}");
    }
    let nine = [SIGNED; 9].join(&b' ');
    let odd: [&[u8]; 9] = [b"", b"v1", b"v1,", b"v2,AAAA", b"v1,AAA", b"v1,!", b"v1,AAAA  v1,AAAA", b"V1,AAAA", &nine];
    for signatures in odd {
        let told = refused(ID, time, signatures);
        let is_empty = signatures == b"v1,";
        assert_eq!(told, (!is_empty).then_some(WebhookFault::SignaturesMalformed), "{:?}", String::from_utf8_lossy(signatures));
    }
    let key = SignatureKey::read(SECRET).unwrap();
    assert!(!Delivery::read(ID, time, b"v1,").unwrap().is_signed_by(&key, BODY), "an empty tag is no tag");
}

#[test]
fn a_message_is_taken_within_its_window() {
    let delivery = Delivery::read(ID, b"1000", SIGNED).unwrap();
    let at = |now| delivery.check_time(now, 300, 5);
    assert_eq!(
        [994, 995, 1000, 1300, 1301, u64::MAX].map(at),
        [Err(WebhookFault::Early), Ok(()), Ok(()), Ok(()), Err(WebhookFault::Stale), Err(WebhookFault::Stale)]
    );
}

#[test]
fn a_key_is_what_its_file_says_and_nothing_weak() {
    let secret = |text: &str| SignatureKey::read(text.as_bytes()).map(|key| key.algorithm());
    assert_eq!(secret("0123456789abcdef01234567\r\n"), Ok(Algorithm::HmacSha256));
    let ed25519 = format!("whpk_{}", encode(&[1; 32]));
    assert!(secret(&ed25519).is_ok() || secret(&ed25519).unwrap_err().contains("not one of its kind"));
    let (long, line) = ("a".repeat(513), "a".repeat(24) + "\n\n");
    for (bad, said) in [
        ("", "0 bytes"),
        ("0123456789abcdef0123456", "23 bytes"),
        (&*long, "513 bytes"),
        (&*line, "one line"),
        ("whsec_!", "no base64"),
        ("whsec_AAAA", "3 bytes"),
        ("whpk_AAAA", "not one of its kind"),
        ("whsk_AAAA", "private key"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private key"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no `PUBLIC KEY`"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "not well-formed"),
    ] {
        let told = secret(bad).expect_err(bad);
        assert!(told.contains(said), "{bad}: {told}");
    }
}
