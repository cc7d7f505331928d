use super::compile;
use crate::testing::{access, exchange};
use portcullis_gateway_policy::{Exchange, LiveFiles, Scheme, StatePool, Step, Verdict};
use portcullis_model::{Principal, Reason};
use std::sync::Arc;

fn judge(roles: &[&str], scopes: &[&str], caller: Option<(&str, &[&str], &[&str])>) -> (Option<Reason>, Exchange) {
    let (route, words) = access(&["corp", "partner"], roles, scopes);
    let (files, pool) = (LiveFiles::default(), StatePool::default());
    let context = portcullis_gateway_policy::AccessContext {
        access: &route,
        providers: &[],
        client_certificates: &[],
        logins: &[],
        api_keys: &[],
        signatures: &[],
        words: &words,
        files: &files,
        pool: &pool,
    };
    let policy = compile(&context).unwrap();
    let mut exchange = exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Scheme::Https);
    if let Some((provider, roles, scopes)) = caller {
        exchange.identify(Arc::new(Principal {
            provider: provider.into(),
            subject: "alice".into(),
            client: None,
            consumer: None,
            grants: words.grants(provider, roles.iter().copied(), scopes.iter().copied()),
            expires_unix_seconds: 0,
            ends_unix_seconds: 0,
            issued_unix_seconds: 0,
            marks: Box::default(),
        }));
    }
    let reason = match policy.on_request(&mut exchange) {
        Step::Ready(Verdict::Continue) => None,
        Step::Ready(Verdict::Reject(rejection)) => Some(rejection.reason),
        _ => panic!("neither continues nor refuses"),
    };
    (reason, exchange)
}

#[test]
fn a_caller_needs_one_of_the_roles_and_all_of_the_scopes() {
    let (roles, scopes) = (&["corp/reader", "corp/admin"][..], &["orders:read", "orders:list"][..]);
    let decide = |roles_had: &[&str], scopes_had: &[&str]| judge(roles, scopes, Some(("corp", roles_had, scopes_had))).0;
    assert_eq!(decide(&["admin"], &["orders:list", "orders:read", "x"]), None);
    for (roles_had, scopes_had) in
        [(&["admin"][..], &["orders:read"][..]), (&[], &["orders:list", "orders:read"]), (&["Admin"], scopes), (&[], &[])]
    {
        assert_eq!(decide(roles_had, scopes_had), Some(Reason::AccessDenied), "{roles_had:?} {scopes_had:?}");
    }
    // The same role of another provider is another role.
    assert_eq!(judge(roles, &[], Some(("partner", &["admin", "reader"], &[]))).0, Some(Reason::AccessDenied));
}

#[test]
fn who_is_not_known_is_not_allowed_and_the_record_says_by_which_line() {
    assert_eq!(judge(&["corp/reader"], &[], None).0, Some(Reason::CredentialsMissing));
    let (reason, exchange) = judge(&["corp/reader"], &[], Some(("corp", &["reader"], &[])));
    assert_eq!((reason, exchange.record.allowed.as_ref().map(|one| one.line)), (None, Some(1)));
    assert_eq!(judge(&["corp/reader"], &[], Some(("corp", &[], &[]))).1.record.allowed, None);
}
