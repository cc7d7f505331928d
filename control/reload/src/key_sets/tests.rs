use super::{Keeper, Kept, Shared, Turn, lock, origin_of, target_of_keys};
use portcullis_engines_jose::{Json, KeySet};
use portcullis_gateway_policy::{DiscoveryPlan, LiveKeys};
use portcullis_gateway_upstream::{Balance, Origin, RetrySettings, Timeouts, Upstream, UpstreamProtocol, UpstreamSettings};
use portcullis_model::Clock;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

#[test]
fn a_url_is_cut_behind_its_host() {
    assert_eq!(origin_of("https://id.test/realms/a"), ("https://id.test", "/realms/a"));
    assert_eq!(origin_of("https://id.test:8443"), ("https://id.test:8443", ""));
}

#[test]
fn e111_keys_are_looked_for_on_the_issuers_own_host_alone() {
    let target = |issuer: &str, url: &str| {
        let document = format!("{{\"issuer\":\"{issuer}\",\"jwks_uri\":\"{url}\"}}");
        target_of_keys(&Json::parse(document.as_bytes()).unwrap(), "https://id.test/a", "https://id.test").ok()
    };
    assert_eq!(target("https://id.test/a", "https://id.test/keys?v=1").as_deref(), Some("/keys?v=1"));
    for (issuer, url) in [
        ("https://id.test", "https://id.test/keys"),
        ("https://evil.test/a", "https://id.test/keys"),
        ("https://id.test/a", "http://id.test/keys"),
        ("https://id.test/a", "https://id.test.evil.test/keys"),
        ("https://id.test/a", "https://id.test@evil.test/keys"),
        ("https://id.test/a", "https://id.test:8443/keys"),
        ("https://id.test/a", "http://169.254.169.254/latest"),
        ("https://id.test/a", "https://id.test/a b"),
        ("https://id.test/a", "https://id.test/a\\r\\nX: y"),
        ("https://id.test/a", "file:///etc/passwd"),
        ("https://id.test/a", "https://id.test"),
    ] {
        assert_eq!(target(issuer, url), None, "{issuer} {url}");
    }
    let without = Json::parse(b"{\"issuer\":\"https://id.test/a\"}").unwrap();
    assert!(target_of_keys(&without, "https://id.test/a", "https://id.test").is_err());
}

/// An upstream that nobody stands behind.
fn nobody() -> Arc<Upstream> {
    let second = Duration::from_secs(1);
    let settings = UpstreamSettings {
        name: "id".into(),
        protocol: UpstreamProtocol::Http1,
        timeouts: Timeouts { connect: second, first_byte: second, idle: second, total: None, upgraded_idle: second },
        balance: Balance::RoundRobin,
        slow_start: Duration::ZERO,
        health: None,
        outlier: None,
        breaker: None,
        retry: RetrySettings { attempts: 1, budget_share: 2000, on_connect: true, on_reset_before_bytes: true },
        connections_max: 1,
        pending_max: 1,
        gate: None,
        idle_per_worker: 1,
        pooled_idle: second,
        plaintext_expires: None,
    };
    Arc::new(Upstream::new(settings, &[], None, &Arc::new(Origin::default())))
}

#[tokio::test(start_paused = true)]
async fn keys_that_cannot_be_fetched_again_are_used_until_they_are_too_old_and_no_longer() {
    let stale_max = Duration::from_hours(2);
    let keys = Arc::new(LiveKeys::default());
    keys.replace(KeySet::default(), 1_000);
    let kept = Kept {
        provider: "id".into(),
        issuer: "https://id.test".into(),
        plan: DiscoveryPlan { upstream: "id".into(), refresh: Duration::from_mins(10), stale_max },
        upstream: nobody(),
        keys: Arc::clone(&keys),
        endpoints: Arc::default(),
    };
    let begin = Instant::now();
    let mut keeper = Keeper::default();
    let turn = Turn { keys: Arc::clone(&keys), due: begin, good: Some(begin), failures: 0, trouble: None, is_asked: false };
    keeper.turns.insert("id".into(), turn);
    let shared = Shared::default();
    lock(&shared.kept).push(kept);
    let has_keys = || keys.look(KeySet::len).is_some();
    let watch = async {
        sleep_until(begin + stale_max - Duration::from_secs(1)).await;
        let before = (has_keys(), shared.facts(1_000 + 7199));
        sleep_until(begin + stale_max + Duration::from_secs(1)).await;
        (before, has_keys(), shared.facts(1_000 + 7201))
    };
    let clock = Clock::fixed(1_000_000_000);
    let tell: super::Tell = Arc::new(|_: &str| ());
    let ((had, before), has, after) = tokio::select! {
        () = keeper.run(&shared, &clock, &tell) => unreachable!(),
        seen = watch => seen,
    };
    assert_eq!((had, has), (true, false));
    let [(_, before), (_, after)] = [before, after].map(|mut facts| facts.remove(0));
    assert_eq!((before.age_seconds, after.age_seconds, before.fetches.good), (Some(7199), None, 0));
    // From a second to the ordinary interval, doubled each time: ten, and one for each ten minutes.
    assert!((15..=25).contains(&before.fetches.failed), "{before:?}");
}
