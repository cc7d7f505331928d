use super::compile;
use crate::limits::Limits;
use crate::testing::{exchange, settings};
use portcullis_gateway_policy::{LiveFiles, Policy, Scheme, Step, Verdict};
use portcullis_model::{Grants, Principal, Reason};
use std::sync::Arc;

const BOTH: &str = r#"[{"per":"principal","rate":"1/h","burst":2},{"per":"client_ip","rate":"1/h"}]"#;

fn passes(policy: &Arc<dyn Policy>, client: &str, caller: Option<(&str, &str)>) -> bool {
    let mut exchange = exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Scheme::Https);
    exchange.client = client.parse().unwrap();
    if let Some((provider, subject)) = caller {
        exchange.identify(Arc::new(Principal {
            provider: provider.into(),
            subject: subject.into(),
            client: None,
            consumer: None,
            grants: Grants::default(),
            expires_unix_seconds: 0,
            ends_unix_seconds: 0,
            issued_unix_seconds: 0,
            marks: Box::default(),
        }));
    }
    match policy.on_request(&mut exchange) {
        Step::Ready(Verdict::Continue) => true,
        Step::Ready(Verdict::Reject(rejection)) if rejection.reason == Reason::RateLimited => false,
        _ => panic!("neither continues nor refuses for the rate"),
    }
}

#[test]
fn a_caller_is_one_from_every_address_and_namesakes_of_two_providers_are_two() {
    let policy = compile(&[settings::<Limits>(BOTH)], &LiveFiles::default()).unwrap().unwrap();
    let (alice, namesake) = (Some(("corp", "alice")), Some(("partner", "alice")));
    assert!(passes(&policy, "192.0.2.1", alice) && passes(&policy, "192.0.2.2", alice));
    assert!(!passes(&policy, "192.0.2.3", alice), "counted together");
    assert!(passes(&policy, "192.0.2.3", namesake) && passes(&policy, "192.0.2.3", Some(("corp", "bob"))));
}

#[test]
fn who_need_not_say_who_they_are_count_by_address() {
    let policy = compile(&[settings::<Limits>(BOTH)], &LiveFiles::default()).unwrap().unwrap();
    assert!(passes(&policy, "192.0.2.1", None) && passes(&policy, "192.0.2.1", None));
    assert!(!passes(&policy, "192.0.2.1", None));
    assert!(passes(&policy, "192.0.2.2", None));
}

#[test]
fn without_a_line_by_caller_there_is_nothing_to_run() {
    let settings = settings::<Limits>(r#"[{"per":"client_ip","rate":"1/h"}]"#);
    assert!(compile(&[settings], &LiveFiles::default()).unwrap().is_none());
}
