//! What decides on access beside the routes, compared: who vouches for callers and how, listeners, weakenings, clients' addresses.

use super::Weighed;
use portcullis_control_config::{Access, ListenerMode, ListenerPlan, Plan};
use portcullis_gateway_policy::{KeyStorePlan, LoginPlan, ProviderPlan, SignatureKeyPlan, SignaturesPlan};
use portcullis_model_settings::Decode;
use std::sync::Arc;
use std::time::Duration;

/// Compares what is not of a route.
pub(crate) fn weigh(old: &Plan, new: &Plan) -> Weighed {
    let mut weighed = Weighed::default();
    for provider in &new.identity.providers {
        if let Some(before) = old.identity.providers.iter().find(|one| one.name == provider.name) {
            weigh_provider(before, provider, &mut weighed);
        }
    }
    for login in &new.identity.logins {
        if let Some(before) = old.identity.logins.iter().find(|one| one.name == login.name) {
            weigh_login(before, login, &mut weighed);
        }
    }
    for known in &new.identity.client_certificates {
        let before = old.identity.client_certificates.iter().find(|one| one.name == known.name);
        if before.is_some_and(|before| before != known) {
            weighed.relaxes.insert(format!("whom certificates of `{}` prove has changed", known.name));
        }
    }
    for store in &new.identity.api_keys {
        let before = old.identity.api_keys.iter().find(|one| one.name == store.name);
        let Some(before) = before else { continue };
        let idle = |store: &KeyStorePlan| store.idle_after.unwrap_or(Duration::MAX);
        weighed.more(&format!("`idle_after` of the keys of `{}`", store.name), &idle(before), &idle(store));
        if **before != (KeyStorePlan { idle_after: before.idle_after, ..KeyStorePlan::clone(store) }) {
            weighed.relaxes.insert(format!("which keys `{}` knows, or how they are shown, has changed", store.name));
        }
    }
    for senders in &new.identity.signatures {
        if let Some(before) = old.identity.signatures.iter().find(|one| one.name == senders.name) {
            weigh_signatures(before, senders, &mut weighed);
        }
    }
    weigh_plans(old, new, &mut weighed);
    let is_asked = new.apis.iter().flat_map(|api| &api.routes).any(|route| match &route.access {
        Access::Public => false,
        Access::Allow { access, .. } => access.policy.is_some(),
    });
    if is_asked && old.identity.consumers != new.identity.consumers {
        weighed.relaxes.insert("`consumers` have changed: who is which, as policies ask".to_owned());
    }
    weigh_weakenings(old, new, &mut weighed);
    weigh_store(old, new, &mut weighed);
    for listener in &new.listeners {
        if let Some(before) = old.listeners.iter().find(|one| one.name == listener.name) {
            weigh_listener(before, listener, &mut weighed);
        }
    }
    if old.client_ip.encode() != new.client_ip.encode() {
        weighed.relaxes.insert("`defend.client_ip` has changed: whose word on a client's address counts".to_owned());
    }
    weighed
}

/// What other nodes have revoked, and how old what is known of it may be.
fn weigh_store(old: &Plan, new: &Plan, weighed: &mut Weighed) {
    match (&old.store, &new.store) {
        (Some(before), Some(after)) => {
            weighed.more("`cluster.store.stale_max`", &before.stale_max, &after.stale_max);
            if (&before.url, &before.prefix) != (&after.url, &after.prefix) {
                weighed.relaxes.insert("`cluster.store` is another: what nodes revoke there does not count any more".to_owned());
            }
        }
        (Some(_), None) => {
            weighed.relaxes.insert("`cluster.store` is gone: what other nodes revoke does not count any more".to_owned());
        }
        (None, _) => {}
    }
}

/// SECURITY: a change of what a token must be counts as one that lets more in, unless it is one of those that certainly do not.
fn weigh_provider(old: &Arc<ProviderPlan>, new: &Arc<ProviderPlan>, weighed: &mut Weighed) {
    weighed.more(&format!("`leeway` of the provider `{}`", new.name), &old.rules.leeway, &new.rules.leeway);
    weighed.more(&format!("`lifetime_max` of the provider `{}`", new.name), &old.rules.lifetime_max, &new.rules.lifetime_max);
    let mut same = ProviderPlan::clone(old);
    same.rules.leeway = new.rules.leeway;
    same.rules.lifetime_max = new.rules.lifetime_max;
    if same != **new {
        weighed.relaxes.insert(format!("whose tokens the provider `{}` vouches for, or what they must be, has changed", new.name));
    }
}

/// What consumers may use where a limit says `use: plan`; who has no plan is held to the limit itself, which is not known here.
fn weigh_plans(old: &Plan, new: &Plan, weighed: &mut Weighed) {
    for consumer in &new.identity.consumers {
        let Some(before) = old.identity.consumers.iter().find(|one| one.name == consumer.name) else { continue };
        if before.plan == consumer.plan {
            continue;
        }
        let is_less = before.plan.as_ref().zip(consumer.plan.as_ref()).is_some_and(|(old, new)| {
            // count / period, compared crosswise.
            let (old_rate, new_rate) =
                (u128::from(old.count) * u128::from(new.period_nanos), u128::from(new.count) * u128::from(old.period_nanos));
            new_rate <= old_rate && new.burst <= old.burst
        });
        let words = format!("the plan of the consumer `{}`", consumer.name);
        let _is_new = if is_less {
            weighed.tightens.insert(format!("{words} allows less, or the same"))
        } else {
            weighed.relaxes.insert(format!("{words} is another one, or allows more"))
        };
    }
}

/// SECURITY: whose keys are known, and what they may, is written in the configuration itself: a key more, a role more and a field less let more in.
fn weigh_signatures(old: &SignaturesPlan, new: &SignaturesPlan, weighed: &mut Weighed) {
    let name = &new.name;
    weighed.more(&format!("`age_max` of the signatures of `{name}`"), &old.age_max, &new.age_max);
    weighed.more(&format!("`leeway` of the signatures of `{name}`"), &old.leeway, &new.leeway);
    let has_all = |all: &[Arc<str>], some: &[Arc<str>]| some.iter().all(|one| all.contains(one));
    let is_tag_other = old.tag.is_some() && old.tag != new.tag;
    if old.form != new.form || !has_all(&new.covers, &old.covers) || is_tag_other {
        weighed.relaxes.insert(format!("what the signatures of `{name}` must be or cover has changed"));
    } else if old.covers != new.covers || old.tag != new.tag {
        weighed.tightens.insert(format!("the signatures of `{name}` must cover more, or have a tag"));
    }
    for key in &new.keys {
        let before = old.keys.iter().find(|one| one.id == key.id);
        let words = format!("the key `{}` of `{name}`", key.id);
        let Some(before) = before else {
            weighed.relaxes.insert(format!("{words} is new"));
            continue;
        };
        let grants = |key: &SignatureKeyPlan| SignatureKeyPlan { roles: Vec::new(), scopes: Vec::new(), ..key.clone() };
        if grants(before) != grants(key) {
            weighed.relaxes.insert(format!("{words} is another one, or somebody else's"));
        }
        if !has_all(&before.roles, &key.roles) || !has_all(&before.scopes, &key.scopes) {
            weighed.relaxes.insert(format!("{words} has more roles or scopes"));
        } else if !has_all(&key.roles, &before.roles) || !has_all(&key.scopes, &before.scopes) {
            weighed.tightens.insert(format!("{words} has fewer roles or scopes"));
        }
    }
    for gone in old.keys.iter().filter(|before| !new.keys.iter().any(|one| one.id == before.id)) {
        weighed.tightens.insert(format!("the key `{}` of `{name}` is gone", gone.id));
    }
}

fn weigh_login(old: &Arc<LoginPlan>, new: &Arc<LoginPlan>, weighed: &mut Weighed) {
    weighed.more(&format!("`idle` of the login `{}`", new.name), &old.idle, &new.idle);
    weighed.more(&format!("`lifetime` of the login `{}`", new.name), &old.lifetime, &new.lifetime);
    let same = LoginPlan { idle: new.idle, lifetime: new.lifetime, provider: Arc::clone(&new.provider), ..LoginPlan::clone(old) };
    // What has changed of the provider is told once, with the provider.
    if same != **new || old.provider.name != new.provider.name {
        weighed.relaxes.insert(format!("how people log in by `{}` has changed", new.name));
    }
}

fn weigh_weakenings(old: &Plan, new: &Plan, weighed: &mut Weighed) {
    for one in &new.weakenings {
        match old.weakenings.iter().find(|before| before.path == one.path) {
            None => weighed.relaxes.insert(format!("`{}` weakens: {}", one.path, one.reason)),
            Some(before) => {
                weighed.more(
                    &format!("`{}`, until when it weakens", one.path),
                    &before.expires_unix_seconds,
                    &one.expires_unix_seconds,
                );
                false
            }
        };
    }
    for gone in old.weakenings.iter().filter(|before| !new.weakenings.iter().any(|one| one.path == before.path)) {
        weighed.tightens.insert(format!("`{}` weakens no longer", gone.path));
    }
}

fn weigh_listener(old: &ListenerPlan, new: &ListenerPlan, weighed: &mut Weighed) {
    let clients = |listener: &ListenerPlan| match &listener.mode {
        ListenerMode::Tls(tls) => tls.client_certificates.clone(),
        ListenerMode::RedirectToHttps | ListenerMode::DangerPlaintext(_) => None,
    };
    let what = format!("which client certificates the listener `{}` takes", new.name);
    match (clients(old), clients(new)) {
        (None, None) => {}
        (None, Some(_)) => {
            weighed.tightens.insert(format!("{what}: it asks for them now"));
        }
        (Some(_), None) => {
            weighed.relaxes.insert(format!("{what}: it asks for none any more"));
        }
        (Some(mine), Some(others)) => {
            weighed.flag(&format!("{what}: clients without one may come"), !mine.is_required, !others.is_required);
            if mine.trust != others.trust || mine.crl != others.crl || mine.stale != others.stale {
                weighed.relaxes.insert(format!("{what} has changed"));
            }
        }
    }
    if old.balancers != new.balancers {
        weighed.relaxes.insert(format!("who may tell the listener `{}` of clients' addresses has changed", new.name));
    }
}
