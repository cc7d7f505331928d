//! `portcullis revoke` and `portcullis revocations`.

use crate::ask::{ask, understood};
use crate::cli::{Revocable, Revoke};
use crate::output::Output;
use portcullis_control_admin::{RevocationInfo, RevokeRequest, RevokeWhat, revoke_operation};
use std::path::Path;

/// Asks the gateway behind the socket to revoke something, or to lift that.
///
/// # Errors
/// A text for the operator, when nobody answers or the gateway refuses.
pub fn revoke(asked: Revoke, output: Output) -> Result<(), String> {
    let Revoke { kind, id, provider, issued_until, until, reason, lift, socket } = asked;
    let provider = provider.unwrap_or_default();
    let what = match kind {
        Revocable::Token => RevokeWhat::Token { provider, id },
        Revocable::Subject => RevokeWhat::Subject { provider, id },
        Revocable::Key => RevokeWhat::Key { provider, id },
        Revocable::Certificate if !provider.is_empty() => {
            return Err("a certificate has no provider; leave `--provider` out".to_owned());
        }
        Revocable::Certificate => RevokeWhat::Certificate { fingerprint: id },
    };
    let request = RevokeRequest { what, lifts: lift, issued_until, until, reason };
    let answer = ask(&socket, hyper::Method::POST, &revoke_operation(&request))?;
    if output.is_json() {
        output.json(&answer);
        return Ok(());
    }
    let revocation: RevocationInfo = understood(answer)?;
    let what = &request.what;
    output.line(&match (lift, revocation.until) {
        (true, _) => format!("no longer revoked: {what}"),
        (false, Some(until)) => format!("revoked until {until} (Unix seconds): {what}"),
        (false, None) => format!("revoked for ever: {what}"),
    });
    if revocation.shared == Some(false) {
        output
            .line("the shared store is away: other nodes hear of it when it is there again; until then revoke it on each of them");
    }
    Ok(())
}

/// Shows what is revoked at the gateway behind `socket`.
///
/// # Errors
/// A text for the operator, when nobody answers.
pub fn list(socket: &Path, output: Output) -> Result<(), String> {
    let answer = ask(socket, hyper::Method::GET, "/v1/revocations")?;
    if output.is_json() {
        output.json(&answer);
        return Ok(());
    }
    let all: Vec<RevocationInfo> = understood(answer)?;
    if all.is_empty() {
        output.line("nothing is revoked");
        return Ok(());
    }
    let time = |seconds: Option<u64>, none: &str| seconds.map_or_else(|| none.to_owned(), |seconds| seconds.to_string());
    let row = |one: RevocationInfo| {
        let (issued, until) = (time(one.issued_until, "all"), time(one.until, "for ever"));
        let reason = one.reason.unwrap_or_default();
        vec![one.kind, one.id, one.issuer.unwrap_or_default(), issued, until, one.uid.to_string(), reason]
    };
    let rows: Vec<Vec<String>> = all.into_iter().map(row).collect();
    output.table(&["kind", "id", "issuer", "issued until", "in force until", "by user", "reason"], &rows);
    Ok(())
}
