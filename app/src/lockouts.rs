//! `portcullis lockout`, and what the management API is asked of lockouts.

use crate::ask::{ask, understood};
use crate::cli::LockoutCommand;
use crate::events::{Event, tell};
use crate::output::Output;
use portcullis_control_admin::{Actor, LockoutInfo, UnlockRequest, unlock_operation};
use portcullis_control_reload::LockoutLog;
use portcullis_gateway_policy::{LockedOut, LockoutPer, Whom};

/// How many lockouts are told one by one, of those that were made at about the same time.
const TOLD_MAX: usize = 10;

/// Asks the gateway behind the socket.
///
/// # Errors
/// A text for the operator, when nobody answers or the gateway refuses.
pub fn lockout(asked: LockoutCommand, output: Output) -> Result<(), String> {
    let (per, name, socket) = match asked {
        LockoutCommand::List { socket } => return show(ask(&socket, hyper::Method::GET, "/v1/lockouts")?, output),
        LockoutCommand::Lift { per, name, socket } => (per, name, socket),
    };
    let answer = ask(&socket, hyper::Method::POST, &unlock_operation(&UnlockRequest { per, name }))?;
    if output.is_json() {
        output.json(&answer);
        return Ok(());
    }
    let done: LockoutInfo = understood(answer)?;
    output.line(&format!("{} {} is no longer locked out", done.per, done.name));
    Ok(())
}

fn show(answer: serde_json::Value, output: Output) -> Result<(), String> {
    if output.is_json() {
        output.json(&answer);
        return Ok(());
    }
    let all: Vec<LockoutInfo> = understood(answer)?;
    if all.is_empty() {
        output.line("nobody is locked out");
        return Ok(());
    }
    let row = |one: LockoutInfo| {
        let (until, status, before) = (one.until.to_string(), one.status.to_string(), one.times_before.to_string());
        vec![one.per, one.name, until, status, before]
    };
    let rows: Vec<Vec<String>> = all.into_iter().map(row).collect();
    output.table(&["per", "name", "until", "last status", "times before"], &rows);
    Ok(())
}

/// Lifts a lockout.
///
/// # Errors
/// Why not, for the operator.
pub fn perform(log: &LockoutLog, actor: Actor, asked: &UnlockRequest) -> Result<LockoutInfo, String> {
    let per = LockoutPer::parse(&asked.per).ok_or_else(|| {
        let all: Vec<String> = LockoutPer::ALL.iter().map(|per| format!("`{}`", per.as_str())).collect();
        format!("`{}` is none of {}", asked.per, all.join(", "))
    })?;
    let whom = Whom::parse(per, &asked.name).ok_or_else(|| {
        let form = if per == LockoutPer::ClientIp {
            "an address such as `203.0.113.9`"
        } else {
            "a name as `portcullis lockout list` shows it"
        };
        format!("`{}` is not {form}", asked.name)
    })?;
    let row = log.lift(per, &whom.shown(), actor.uid)?;
    tell(&Event::LockedOut { per: per.as_str(), name: &row.name, lifted: true, until: None });
    Ok(info(&row))
}

/// As the management API shows it.
pub fn info(row: &LockedOut) -> LockoutInfo {
    LockoutInfo {
        per: row.per.as_str().to_owned(),
        name: row.name.to_string(),
        until: row.lockout.until,
        unix_seconds: row.lockout.since,
        status: row.lockout.status,
        times_before: row.lockout.level,
    }
}

/// Tells of lockouts that were made; of very many at once, how many more.
pub fn tell_made(made: &[LockedOut]) {
    for row in made.iter().take(TOLD_MAX) {
        tell(&Event::LockedOut { per: row.per.as_str(), name: &row.name, lifted: false, until: Some(row.lockout.until) });
    }
    if let Some(more) = made.len().checked_sub(TOLD_MAX).filter(|more| *more > 0) {
        tell(&Event::Warning { text: &format!("{more} more were locked out; `portcullis lockout list` shows them") });
    }
}
