use crate::{Algorithm, MessageFault, MessageSignature, RequestParts, SignatureKey, check_content_digest};

/// The keys of appendix B.1.
const RSA_PSS: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr4tmm3r20Wd/PbqvP1s2
+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+Lh1GH45x28Rw3Ry53mm+
oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHq
gDsznjPFmTOtCEcN2Z1FpWgchwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUAAN5W
Utzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4
aOT9v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oyc6XI
2wIDAQAB
-----END PUBLIC KEY-----
";
const P256: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf
w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==
-----END PUBLIC KEY-----
";
const ED25519: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----
";
const SECRET: &str = "whsec_uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";

const DIGEST: &str = "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";
const CERTIFICATE: &str = ":MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyBBdXRoZW50aWNhdGUxGzAZBgNVBAMMEkxBIEludGVybWVkaWF0ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAxMjMyMjU1MzNaMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8YnXXfaUgmnMtOXU/IncWalRhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo9M6NyMHAwCQYDVR0TBAIwADAfBgNVHSMEGDAWgBRm3WjLa38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAwwCgYIKwYBBQUHAwIwHQYDVR0RAQH/BBMwEYEPYmRjQGV4YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIBHda/r1vaL6G3VliL4/Di6YK0Q6bMjeSkC3dFCOOB8TAiEAx/kHSB4urmiZ0NX5r5XarmPk0wmuydBVoU4hBVZ1yhk=:";
const BODY: &[u8] = b"{\"hello\": \"world\"}";

/// The request of appendix B.2; with another authority that of B.3.
fn field(name: &str) -> Option<Vec<u8>> {
    let value = match name {
        "date" => "Tue, 20 Apr 2021 02:07:55 GMT",
        "content-type" => "application/json",
        "content-digest" => DIGEST,
        "content-length" => "18",
        "client-cert" => CERTIFICATE,
        _ => return None,
    };
    Some(value.as_bytes().to_vec())
}

fn request(authority: &str) -> RequestParts<'_> {
    RequestParts { method: b"POST", is_https: true, authority, path: "/foo", query: Some("param=Value&Pet=dog"), field: &field }
}

fn read(input: &str, signature: &str) -> Result<MessageSignature, MessageFault> {
    MessageSignature::read(input.as_bytes(), signature.as_bytes(), |id| id.starts_with("test-"), None)
}

/// Label, authority, key, what is signed, signature.
const VECTORS: [(&str, &str, &str, &str); 6] = [
    (
        "example.com",
        RSA_PSS,
        "sig-b21=();created=1618884473;keyid=\"test-key-rsa-pss\";nonce=\"b3k2pp5k7z-50gnwp.yemd\"",
        "sig-b21=:d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4cRAtx31Iq786U7it++wgGxbtRxf8Udx7zFZsckzXaJMkA7ChG52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2cOGdCbzR72rgFWhzx2VjBqJzsPLMIQKhO4DGezXehhWwE56YCE+O6c0mKZsfxVrogUvA4HELjVKWmAvtl6UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9mhho8K3+7EPYTU8IU1bLhdxO5Nyt8C8ssinQ98Xw9Q==:",
    ),
    (
        "example.com",
        RSA_PSS,
        "sig-b22=(\"@authority\" \"content-digest\" \"@query-param\";name=\"Pet\");created=1618884473;keyid=\"test-key-rsa-pss\";tag=\"header-example\"",
        "sig-b22=:LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQEdJzgI9qHxICagShLRiLMlAJjtq6N4CDfKtjvuJyE5qH7KT8UCMkSowOB4+ECxCmT8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS/2YyFYXEu4TRJQzRw1rLEuEfY17SARYhpTlaqwZVtR8NV7+4UKkjqpcAoFqWFQh62s7Cl+H2fjBSpqfZUJcsIk4N6wiKYd4je2U/lankenQ99PZfB4jY3I5rSV2DSBVkSFsURIjYErOs0tFTQosMTAoxk//0RoKUqiYY8Bh0aaUEb0rQl3/XaVe4bXTugEjHSw==:",
    ),
    (
        "example.com",
        RSA_PSS,
        "sig-b23=(\"date\" \"@method\" \"@path\" \"@query\" \"@authority\" \"content-type\" \"content-digest\" \"content-length\");created=1618884473;keyid=\"test-key-rsa-pss\"",
        "sig-b23=:bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yBiMIRGOnMYwZ/5MR6fb0Kh1rIRASVxFkeGt683+qRpRRU5p2voTp768ZrCUb38K0fUxN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbMFkl+V5B1TP/yPViV7KsLNmvKiLJH1pFkh/aYA2HXXZzNBXmIkoQoLd7YfW91kE9o/CCoC1xMy7JA1ipwvKvfrs65ldmlu9bpG6A9BmzhuzF8Eim5f8ui9eH8LZH896+QIF61ka39VBrohr9iyMUJpvRX2Zbhl5ZJzSRxpJyoEZAFL2FUo5fTIztsDZKEgM4cUA==:",
    ),
    (
        "example.com",
        SECRET,
        "sig-b25=(\"date\" \"@authority\" \"content-type\");created=1618884473;keyid=\"test-shared-secret\"",
        "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:",
    ),
    (
        "example.com",
        ED25519,
        "sig-b26=(\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \"content-length\");created=1618884473;keyid=\"test-key-ed25519\"",
        "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
    ),
    (
        "service.internal.example",
        P256,
        "ttrp=(\"@path\" \"@query\" \"@method\" \"@authority\" \"client-cert\");created=1618884473;keyid=\"test-key-ecc-p256\"",
        "ttrp=:xVMHVpawaAC/0SbHrKRs9i8I3eOs5RtTMGCWXm/9nvZzoHsIg6Mce9315T6xoklyy0yzhD9ah4JHRwMLOgmizw==:",
    ),
];

#[test]
fn every_request_of_the_rfcs_appendix_is_signed_by_its_key_and_no_other() {
    for (authority, key, input, signature) in VECTORS {
        let key = SignatureKey::read(key.as_bytes()).unwrap();
        let signed = read(input, signature).unwrap();
        let base = signed.base(&request(authority)).unwrap();
        assert!(signed.is_by(&key, &base), "{input}: {}", String::from_utf8_lossy(&base));
        assert!(
            base.ends_with(format!("\n\"@signature-params\": {}", input.split_once('=').unwrap().1).trim_start().as_bytes())
                || base.starts_with(b"\"@sig")
        );
        for (_, other, ..) in
            VECTORS.iter().filter(|(_, other, ..)| SignatureKey::read(other.as_bytes()).unwrap().algorithm() != key.algorithm())
        {
            assert!(!signed.is_by(&SignatureKey::read(other.as_bytes()).unwrap(), &base), "{input}");
        }
        let mut other = base.clone();
        other[1] ^= 1;
        assert!(!signed.is_by(&key, &other));
        if input.contains("@authority") {
            assert!(!signed.is_by(&key, &signed.base(&request("example.org")).unwrap()), "{input}");
        }
    }
}

#[test]
fn the_response_of_the_rfcs_appendix_is_signed_by_its_key() {
    let digest = "sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:";
    let base = format!(
        "\"@status\": 200\n\"content-type\": application/json\n\"content-digest\": {digest}\n\"content-length\": 23\n\"@signature-params\": \
         (\"@status\" \"content-type\" \"content-digest\" \"content-length\");created=1618884473;keyid=\"test-key-ecc-p256\""
    );
    let signature = "wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==";
    let key = SignatureKey::read(P256.as_bytes()).unwrap();
    assert!(key.has_signed(&[base.as_bytes()], &crate::decode(signature.as_bytes()).unwrap()));
    assert_eq!(check_content_digest(digest.as_bytes(), b"{\"message\": \"good dog\"}"), Ok(()));
}

#[test]
fn what_a_request_is_must_be_covered() {
    let covers = |components: &str, request: &RequestParts<'_>, has_body: bool, fields: &[&str]| {
        let input = format!("a=({components});created=1;keyid=\"test-a\"");
        read(&input, "a=:AA==:").unwrap().check_covers(request, has_body, fields.iter().copied())
    };
    let (whole, none) = (request("a.test"), RequestParts { query: None, ..request("a.test") });
    let little = Err(MessageFault::CoversLittle);
    assert_eq!(covers(r#""@method" "@target-uri""#, &whole, false, &[]), Ok(()));
    assert_eq!(covers(r#""@method" "@authority" "@path" "@query""#, &whole, false, &[]), Ok(()));
    assert_eq!(covers(r#""@method" "@authority" "@request-target""#, &whole, false, &[]), Ok(()));
    assert_eq!(covers(r#""@method" "@authority" "@path""#, &none, false, &["x-other"]), Ok(()));
    assert_eq!(covers(r#""@method" "@target-uri" "content-digest" "content-type""#, &whole, true, &["content-type"]), Ok(()));
    for components in [
        "",
        r#""@target-uri""#,
        r#""@method" "@path" "@query""#,
        r#""@method" "@authority" "@path""#,
        r#""@method" "@authority" "@path" "@query-param";name="Pet""#,
        r#""@method" "@authority" "@query""#,
        r#""@method" "@request-target""#,
    ] {
        assert_eq!(covers(components, &whole, false, &[]), little, "{components}");
    }
    assert_eq!(covers(r#""@method" "@target-uri""#, &whole, true, &[]), little);
    assert_eq!(covers(r#""@method" "@target-uri" "content-digest""#, &whole, true, &["content-type"]), little);
}

#[test]
fn what_could_be_read_in_two_ways_or_says_too_little_is_not_read() {
    let fault = |input: &str| read(input, "a=:AA==:").map(|_| ()).unwrap_err();
    let good = "a=(\"@method\");created=1;keyid=\"test-a\"";
    assert!(read(good, "a=:AA==:").is_ok());
    for (input, expected) in [
        ("a=(\"@method\");created=1", MessageFault::KeyUnknown),
        ("a=(\"@method\");created=1;keyid=\"other\"", MessageFault::KeyUnknown),
        ("a=(\"@method\");created=1;keyid=test-a", MessageFault::KeyUnknown),
        ("a=(\"@method\");keyid=\"test-a\"", MessageFault::ParameterMalformed),
        ("a=(\"@method\");created=-1;keyid=\"test-a\"", MessageFault::ParameterMalformed),
        ("a=(\"@method\");created=\"1\";keyid=\"test-a\"", MessageFault::ParameterMalformed),
        ("a=(\"@method\");created=1;keyid=\"test-a\";more=1", MessageFault::ParameterMalformed),
        ("a=(\"@method\");created=1;created=2;keyid=\"test-a\"", MessageFault::Malformed),
        ("a=(\"@method\" \"@method\");created=1;keyid=\"test-a\"", MessageFault::ComponentUnknown),
        ("a=(\"@status\");created=1;keyid=\"test-a\"", MessageFault::ComponentUnknown),
        ("a=(\"@query-param\");created=1;keyid=\"test-a\"", MessageFault::ComponentUnknown),
        ("a=(\"@method\";req);created=1;keyid=\"test-a\"", MessageFault::ComponentUnknown),
        ("a=(\"date\";sf);created=1;keyid=\"test-a\"", MessageFault::ComponentUnknown),
        ("a=(\"Date\");created=1;keyid=\"test-a\"", MessageFault::ComponentUnknown),
        ("a=(\"da te\");created=1;keyid=\"test-a\"", MessageFault::ComponentUnknown),
        ("a=(\"@signature-params\");created=1;keyid=\"test-a\"", MessageFault::ComponentUnknown),
        ("b=(\"@method\");created=1;keyid=\"test-a\"", MessageFault::Malformed),
        ("a=(\"@method\");created=1;keyid=\"test-a\", b=()", MessageFault::Malformed),
    ] {
        assert_eq!(fault(input), expected, "{input}");
    }
    let both = format!("{good}, b=(\"@method\");created=1;keyid=\"test-b\"");
    assert_eq!(read(&both, "a=:AA==:, b=:AA==:").unwrap_err(), MessageFault::Several);
    let foreign = format!("{good}, b=(\"date\";sf \"@status\");created=1;keyid=\"proxy\";x=:AA==:");
    assert_eq!(read(&foreign, "b=:AA==:, a=:AA==:").unwrap().key, "test-a");
    let tagged =
        |tag| MessageSignature::read(format!("{good};tag=\"t\"").as_bytes(), b"a=:AA==:", |_| true, Some(tag)).map(|one| one.key);
    assert_eq!((tagged("t").as_deref(), tagged("u").as_deref()), (Ok("test-a"), Err(&MessageFault::KeyUnknown)));
    let long = format!("{good};nonce=\"{}\"", "n".repeat(9000));
    assert_eq!(fault(&long), MessageFault::Malformed);
    let missing = read("a=(\"x-none\");created=1;keyid=\"test-a\"", "a=:AA==:").unwrap();
    assert_eq!(missing.base(&request("a.test")), Err(MessageFault::ComponentMissing));
}

#[test]
fn it_is_taken_within_its_window_for_its_keys_algorithm() {
    let of = |more: &str| read(&format!("a=();created=1000;keyid=\"test-a\"{more}"), "a=:AA==:").unwrap();
    let at = |more: &str, now: u64| of(more).check_time(now, 300, 5);
    assert_eq!([994, 995, 1300, 1301].map(|now| at("", now)), [Err(MessageFault::Early), Ok(()), Ok(()), Err(MessageFault::Stale)]);
    assert_eq!([1010, 1011].map(|now| at(";expires=1010", now)), [Ok(()), Err(MessageFault::Stale)]);
    assert_eq!(at(";expires=9999999999", 1301), Err(MessageFault::Stale), "whoever signs cannot make it last");
    assert_eq!(of("").check_algorithm(Algorithm::Ed25519), Ok(()));
    assert_eq!(of(";alg=\"ed25519\"").check_algorithm(Algorithm::Ed25519), Ok(()));
    for named in ["hmac-sha256", "Ed25519", ""] {
        assert_eq!(of(&format!(";alg=\"{named}\"")).check_algorithm(Algorithm::Ed25519), Err(MessageFault::AlgorithmOther));
    }
}

#[test]
fn a_digest_is_of_this_body_by_an_algorithm_that_is_known() {
    let sha256 = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";
    for good in [DIGEST.to_owned(), sha256.to_owned(), format!("{sha256}, {DIGEST}, md5=:AA==:")] {
        assert_eq!(check_content_digest(good.as_bytes(), BODY), Ok(()), "{good}");
    }
    let other = sha256.replace("X48E", "X48F");
    for (bad, fault) in [
        (&*other, MessageFault::DigestOther),
        (&*format!("{DIGEST}, {other}"), MessageFault::DigestOther),
        ("sha-256=::", MessageFault::DigestOther),
        ("md5=:AA==:", MessageFault::DigestMalformed),
        ("sha-256=X48E", MessageFault::DigestMalformed),
        ("", MessageFault::DigestMalformed),
    ] {
        assert_eq!(check_content_digest(bad.as_bytes(), BODY), Err(fault), "{bad}");
    }
}
