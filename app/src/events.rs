//! What the operator is told while the gateway runs: on standard error, one line each, JSON unless people watch.

use portcullis_model::Clock;
use portcullis_model_settings::sorted;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Something that happened to the gateway itself.
pub enum Event<'a> {
    /// It serves.
    Started { generation: u64, addresses: &'a [String] },
    /// Another configuration is in force.
    Reloaded { generation: u64, hash: &'a str },
    /// A configuration is in force that there was none before to compare with.
    AccessInitial { hash: &'a str },
    /// The configuration in force opens more than the one before.
    AccessWidened { old: Option<&'a str>, new: &'a str, approved: bool, widenings: &'a [String] },
    /// A configuration was refused; the old one serves.
    ReloadRefused { problem: &'a str },
    /// A file that a policy names was read again, and is in force.
    FileInForce { path: &'a Path },
    /// Something to know that stops nothing.
    Warning { text: &'a str },
    /// Health checks have changed their mind about an endpoint.
    Health { upstream: &'a str, endpoint: SocketAddr, problem: Option<String> },
    /// Another process serves now.
    HandedOver { pid: u32 },
    /// The next version does not serve; this one goes on.
    UpgradeRefused { problem: &'a str },
    /// Clients are asked to go elsewhere, or no longer.
    Draining { draining: bool },
    /// Something was revoked, or a revocation lifted.
    Revoked { what: &'a str, lifted: bool, uid: u32 },
    /// A key was refused, for the first time, because nobody had used it for too long.
    KeyIdle { store: &'a str, id: &'a str, name: &'a str, used: Option<u64> },
    /// A client is kept out, or no longer.
    Banned { network: &'a str, lifted: bool, cause: &'a str, until: Option<u64> },
    /// Somebody is locked out, or no longer.
    LockedOut { per: &'a str, name: &'a str, lifted: bool, until: Option<u64> },
    /// Other work is refused than before: what, and why; nothing when it is over.
    Overload { state: &'static str, words: Option<&'a str> },
    /// It is going away, and stops accepting after a delay.
    Stopping { delay: Duration },
    /// It has gone.
    Stopped,
}

/// Tells it.
pub fn tell(event: &Event<'_>) {
    let mut err = io::stderr().lock();
    let _nobody_reads =
        if err.is_terminal() { writeln!(err, "{}", for_people(event)) } else { writeln!(err, "{}", sorted(for_programs(event))) };
}

fn for_people(event: &Event<'_>) -> String {
    match event {
        Event::Started { generation, addresses } => format!("serving on {} (generation {generation})", addresses.join(", ")),
        Event::Reloaded { generation, .. } => format!("configuration in force: generation {generation}"),
        Event::AccessInitial { .. } => "there was no configuration before: what this one opens has not been compared".to_owned(),
        Event::AccessWidened { approved, widenings, .. } => {
            let how = if *approved { "as it was approved" } else { "and nobody had to approve it (`run --approval-key`)" };
            format!("access widens, {how}:\n  {}", widenings.join("\n  "))
        }
        Event::ReloadRefused { problem } => format!("configuration refused, the one before serves on\n{problem}"),
        Event::FileInForce { path } => format!("in force as it is now: {}", path.display()),
        Event::Warning { text } => format!("warning: {text}"),
        Event::Health { upstream, endpoint, problem: Some(problem) } => {
            format!("unhealthy: {endpoint} of upstream {upstream}: {problem}")
        }
        Event::Health { upstream, endpoint, problem: None } => format!("healthy again: {endpoint} of upstream {upstream}"),
        Event::HandedOver { pid } => format!("process {pid} serves now"),
        Event::UpgradeRefused { problem } => format!("the next version does not serve, this one goes on\n{problem}"),
        Event::Draining { draining: true } => "draining: not ready, clients are asked to go elsewhere".to_owned(),
        Event::Draining { draining: false } => "no longer draining".to_owned(),
        Event::Revoked { what, lifted: false, uid } => format!("revoked by user {uid}: {what}"),
        Event::Revoked { what, lifted: true, uid } => format!("no longer revoked, by user {uid}: {what}"),
        Event::KeyIdle { store, id, name, .. } => {
            format!("key {id} of {name} ({store}) is refused: nobody has used it for `idle_after`")
        }
        Event::Banned { network, lifted: true, .. } => format!("no longer banned: {network}"),
        Event::Banned { network, cause, until: Some(until), .. } => {
            format!("banned until {until} (Unix seconds): {network} ({cause})")
        }
        Event::Banned { network, cause, until: None, .. } => format!("banned: {network} ({cause})"),
        Event::LockedOut { per, name, lifted: true, .. } => format!("no longer locked out: {per} {name}"),
        Event::LockedOut { per, name, until, .. } => {
            format!("locked out until {} (Unix seconds): {per} {name}", until.unwrap_or_default())
        }
        Event::Overload { words: Some(words), .. } => format!("overload: {words}"),
        Event::Overload { words: None, .. } => "overload is over".to_owned(),
        Event::Stopping { delay } if delay.is_zero() => "stopping: no new connections, exchanges under way are finished".to_owned(),
        Event::Stopping { delay } => {
            format!("stopping: not ready; new connections are accepted for {} s more", delay.as_secs_f32())
        }
        Event::Stopped => "stopped".to_owned(),
    }
}

fn for_programs(event: &Event<'_>) -> serde_json::Value {
    let at = Clock::System.unix_seconds();
    match event {
        Event::Started { generation, addresses } => {
            serde_json::json!({ "unix_seconds": at, "event": "started", "generation": generation, "addresses": addresses })
        }
        Event::Reloaded { generation, hash } => {
            serde_json::json!({ "unix_seconds": at, "event": "reloaded", "generation": generation, "configuration_hash": hash })
        }
        Event::AccessInitial { hash } => {
            serde_json::json!({ "unix_seconds": at, "event": "access_initial", "configuration_hash": hash })
        }
        Event::AccessWidened { old, new, approved, widenings } => serde_json::json!({
            "unix_seconds": at, "event": "access_widened", "configuration_hash_before": old, "configuration_hash": new,
            "approved": approved, "widens": widenings,
        }),
        Event::ReloadRefused { problem } => {
            serde_json::json!({ "unix_seconds": at, "event": "reload_refused", "problem": problem })
        }
        Event::FileInForce { path } => {
            serde_json::json!({ "unix_seconds": at, "event": "file_in_force", "path": path.display().to_string() })
        }
        Event::Overload { state, words } => {
            serde_json::json!({ "unix_seconds": at, "event": "overload", "state": state, "text": words })
        }
        Event::Warning { text } => serde_json::json!({ "unix_seconds": at, "event": "warning", "text": text }),
        Event::Health { upstream, endpoint, problem } => serde_json::json!({
            "unix_seconds": at, "event": if problem.is_some() { "endpoint_unhealthy" } else { "endpoint_healthy" },
            "upstream": upstream, "endpoint": endpoint.to_string(), "problem": problem,
        }),
        Event::HandedOver { pid } => serde_json::json!({ "unix_seconds": at, "event": "handed_over", "pid": pid }),
        Event::UpgradeRefused { problem } => {
            serde_json::json!({ "unix_seconds": at, "event": "upgrade_refused", "problem": problem })
        }
        Event::Draining { draining } => {
            serde_json::json!({ "unix_seconds": at, "event": "draining", "draining": draining })
        }
        Event::Revoked { what, lifted, uid } => {
            serde_json::json!({ "unix_seconds": at, "event": "revoked", "what": what, "lifted": lifted, "uid": uid })
        }
        Event::KeyIdle { store, id, name, used } => serde_json::json!({
            "unix_seconds": at, "event": "key_idle", "store": store, "id": id, "name": name, "used": used,
        }),
        Event::Banned { network, lifted, cause, until } => serde_json::json!({
            "unix_seconds": at, "event": if *lifted { "ban_lifted" } else { "banned" }, "network": network, "cause": cause, "until": until,
        }),
        Event::LockedOut { per, name, lifted, until } => serde_json::json!({
            "unix_seconds": at, "event": if *lifted { "lockout_lifted" } else { "locked_out" }, "per": per, "name": name, "until": until,
        }),
        Event::Stopping { delay } => {
            serde_json::json!({ "unix_seconds": at, "event": "stopping", "delay_seconds": delay.as_secs_f32() })
        }
        Event::Stopped => serde_json::json!({ "unix_seconds": at, "event": "stopped" }),
    }
}
