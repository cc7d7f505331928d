//! What the management API is asked to revoke, by the configuration in force.

use crate::events::{Event, tell};
use portcullis_control_admin::{Actor, RevocationInfo, RevokeRequest, RevokeWhat};
use portcullis_control_config::Plan;
use portcullis_control_reload::{Revocation, RevocationLog, SharedStore, StoreState, Target};

/// Revokes, or lifts what was revoked.
///
/// # Errors
/// Why not, for the operator.
pub fn revoke(
    (log, shared): (&RevocationLog, &SharedStore),
    plan: &Plan,
    actor: Actor,
    asked: &RevokeRequest,
    now: u64,
) -> Result<RevocationInfo, String> {
    let is_shared = plan.store.is_some();
    if asked.lifts && is_shared && shared.facts().state != StoreState::Reachable {
        return Err(
            "the shared store is away, and what other nodes would not hear of cannot be lifted; see `portcullis status`".to_owned()
        );
    }
    let issuer = |provider: &str| {
        let found = plan.identity.providers.iter().find(|one| *one.name == *provider);
        let unknown = || format!("there is no provider `{provider}`; see `identity.providers` of the configuration in force");
        found.map(|one| one.rules.issuer.to_string()).ok_or_else(unknown)
    };
    let store = |name: &str| {
        let stores = plan.identity.api_keys.iter().map(|one| &one.name);
        let found = stores.chain(plan.identity.signatures.iter().map(|one| &one.name)).find(|one| ***one == *name);
        let see = "see `identity.api_keys` and `identity.signatures` of the configuration in force";
        found.map(ToString::to_string).ok_or_else(|| format!("there is no store of keys `{name}`; {see}"))
    };
    let (target, issued_until) = match &asked.what {
        RevokeWhat::Token { provider, id } => (Target::Token { issuer: issuer(provider)?, id: id.clone() }, None),
        RevokeWhat::Subject { provider, id } => {
            (Target::Subject { issuer: issuer(provider)?, subject: id.clone() }, Some(asked.issued_until.unwrap_or(now)))
        }
        RevokeWhat::Key { provider, id } => (Target::Key { store: store(provider)?, id: id.clone() }, None),
        RevokeWhat::Certificate { fingerprint } => (Target::Certificate { fingerprint: fingerprint.clone() }, None),
    };
    if asked.until.is_some_and(|until| until <= now) {
        return Err("`until` has passed already: it would never be in force".to_owned());
    }
    let (reason, uid) = (asked.reason.clone(), actor.uid);
    let change =
        Revocation { target, lifted: asked.lifts, issued_until, until: asked.until, unix_seconds: now, uid, reason, shared: false };
    log.add(change.clone())?;
    tell(&Event::Revoked { what: &asked.what.to_string(), lifted: asked.lifts, uid });
    let heard = is_shared.then(|| shared.tell(&change));
    if asked.lifts && heard == Some(false) {
        return Err(
            "lifted here, but the shared store was lost meanwhile: it comes back when that is there again; lift it then".to_owned()
        );
    }
    Ok(RevocationInfo { shared: heard, ..info(&change, is_shared) })
}

/// As the management API shows it.
pub fn info(revocation: &Revocation, is_shared: bool) -> RevocationInfo {
    let (kind, issuer, id) = match &revocation.target {
        Target::Token { issuer, id } => ("token", Some(issuer), id),
        Target::Subject { issuer, subject } => ("subject", Some(issuer), subject),
        Target::Key { store, id } => ("key", Some(store), id),
        Target::Certificate { fingerprint } => ("certificate", None, fingerprint),
    };
    RevocationInfo {
        kind: kind.to_owned(),
        issuer: issuer.cloned(),
        id: id.clone(),
        issued_until: revocation.issued_until,
        until: revocation.until,
        unix_seconds: revocation.unix_seconds,
        uid: revocation.uid,
        reason: revocation.reason.clone(),
        shared: is_shared.then_some(revocation.shared),
    }
}
