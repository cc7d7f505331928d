//! `portcullis ban`, and what the management API is asked to ban.

use crate::ask::{ask, understood};
use crate::cli::BanCommand;
use crate::events::{Event, tell};
use crate::keys::duration;
use crate::output::Output;
use portcullis_control_admin::{Actor, BanInfo, BanRequest, ban_operation};
use portcullis_control_reload::BanLog;
use portcullis_gateway_policy::{Ban, ClientNetwork};
use portcullis_gateway_proxy::{ClientAddressRule, Snapshot};
use portcullis_model::Clock;
use std::net::IpAddr;
use std::sync::Arc;

/// How many bans are told one by one, of those that were made at about the same time.
const TOLD_MAX: usize = 10;

/// Asks the gateway behind the socket.
///
/// # Errors
/// A text for the operator, when nobody answers or the gateway refuses.
pub fn ban(asked: BanCommand, clock: &Clock, output: Output) -> Result<(), String> {
    let (request, socket) = match asked {
        BanCommand::List { socket } => {
            let answer = ask(&socket, hyper::Method::GET, "/v1/bans")?;
            return show(answer, output);
        }
        BanCommand::Add { network, r#for, reason, socket } => {
            let seconds = r#for.as_deref().map(duration).transpose()?;
            let until = seconds.map(|seconds| clock.unix_seconds().saturating_add(seconds));
            (BanRequest { network, lifts: false, until, reason }, socket)
        }
        BanCommand::Lift { network, socket } => (BanRequest { network, lifts: true, until: None, reason: None }, socket),
    };
    let answer = ask(&socket, hyper::Method::POST, &ban_operation(&request))?;
    if output.is_json() {
        output.json(&answer);
        return Ok(());
    }
    let done: BanInfo = understood(answer)?;
    output.line(&match (request.lifts, done.until) {
        (true, _) => format!("{} is no longer banned", done.network),
        (false, None) => format!("{} is banned until that is lifted", done.network),
        (false, Some(until)) => format!("{} is banned until {until} (Unix seconds)", done.network),
    });
    Ok(())
}

fn show(answer: serde_json::Value, output: Output) -> Result<(), String> {
    if output.is_json() {
        output.json(&answer);
        return Ok(());
    }
    let all: Vec<BanInfo> = understood(answer)?;
    if all.is_empty() {
        output.line("nobody is banned");
        return Ok(());
    }
    let row = |one: BanInfo| {
        let until = one.until.map_or_else(|| "it is lifted".to_owned(), |until| until.to_string());
        let (uid, reason) = (one.uid.map_or_else(String::new, |uid| uid.to_string()), one.reason.unwrap_or_default());
        vec![one.network, until, one.cause, one.times_before.to_string(), uid, reason]
    };
    let rows: Vec<Vec<String>> = all.into_iter().map(row).collect();
    output.table(&["network", "until", "cause", "times before", "by user", "reason"], &rows);
    Ok(())
}

/// Bans, or lifts a ban, by the configuration in force.
///
/// # Errors
/// Why not, for the operator.
pub fn perform(log: &BanLog, running: &Snapshot, actor: Actor, asked: &BanRequest, now: u64) -> Result<BanInfo, String> {
    let network = ClientNetwork::parse(&asked.network).ok_or_else(|| {
        format!("`{}` is no address such as `203.0.113.9` and no network such as `203.0.113.0/24`", asked.network)
    })?;
    let shown = network.to_string();
    if asked.lifts {
        let before = log.list().into_iter().find(|(known, _)| *known == network).map(|(_, ban)| ban);
        log.lift(network, actor.uid)?;
        tell(&Event::Banned { network: &shown, lifted: true, cause: "operator", until: None });
        return before.map(|ban| info(network, &ban)).ok_or_else(|| format!("`{shown}` is not banned"));
    }
    if asked.until.is_some_and(|until| until <= now) {
        return Err("the ban would be over before it begins".to_owned());
    }
    let spared = &running.spared.trusted;
    let lies_in = |(first, length): &(IpAddr, u8)| {
        let one = ClientAddressRule { trusted: vec![(*first, *length)] };
        network.network().contains(first) || one.trusts(network.network().network())
    };
    if let Some((first, length)) = spared.iter().find(|one| lies_in(one)) {
        let what = "is a balancer, a trusted proxy, or on `defend.bans.allow`, and nobody there is ever banned";
        return Err(format!("`{shown}` holds or lies in `{first}/{length}`, which {what}"));
    }
    let reason = asked.reason.as_deref().map(Arc::from);
    let until = asked.until.unwrap_or(u64::MAX);
    let ban = Ban { until, remembered_until: until, level: 0, cause: None, since: now, uid: Some(actor.uid), reason };
    log.add(network, ban.clone())?;
    tell(&Event::Banned { network: &shown, lifted: false, cause: "operator", until: asked.until });
    Ok(info(network, &ban))
}

/// As the management API shows it.
pub fn info(network: ClientNetwork, ban: &Ban) -> BanInfo {
    BanInfo {
        network: network.to_string(),
        until: (ban.until != u64::MAX).then_some(ban.until),
        unix_seconds: ban.since,
        cause: ban.cause.map_or("operator", |cause| cause.code()).to_owned(),
        times_before: ban.level,
        uid: ban.uid,
        reason: ban.reason.as_deref().map(str::to_owned),
    }
}

/// Tells of bans that offences have made; of very many at once, how many more.
pub fn tell_made(made: &[(ClientNetwork, Ban)]) {
    for (network, ban) in made.iter().take(TOLD_MAX) {
        let cause = ban.cause.map_or("operator", |cause| cause.code());
        tell(&Event::Banned { network: &network.to_string(), lifted: false, cause, until: Some(ban.until) });
    }
    if let Some(more) = made.len().checked_sub(TOLD_MAX).filter(|more| *more > 0) {
        tell(&Event::Warning { text: &format!("{more} more clients were banned; `portcullis ban list` shows them") });
    }
}
