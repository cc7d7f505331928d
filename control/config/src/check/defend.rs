//! Checks of `defend`, beyond the address of clients.

use super::Checker;
use crate::plan::{BanPlan, LockoutPlan};
use crate::settings::{BanSettings, LockoutBy, LockoutSettings};
use portcullis_gateway_policy::{BanRules, LockoutRules};
use portcullis_model_settings::{IpNetwork, Spanned, quoted};

/// How many networks a list of those may have who are spared; a client that is about to be banned is compared with them.
const ALLOWED_MAX: usize = 256;
/// How many statuses may be failures; each answer is compared with them.
const STATUSES_MAX: usize = 16;

/// Checks `defend.bans`.
pub(super) fn check_bans(written: Option<&Spanned<BanSettings>>, checker: &mut Checker<'_>) -> Option<BanPlan> {
    let written = written?;
    let path = "/defend/bans";
    if written.r#for > written.for_max {
        let help = "lower `for`, or raise `for_max`";
        checker.error(written, format!("{path}/for"), "the first ban would be longer than the longest", help);
    }
    check_allowed(&written.allow, path, checker);
    let rules = BanRules { offences: written.offences, within: written.within, first: written.r#for, longest: written.for_max };
    Some(BanPlan { rules, allow: written.allow.iter().map(|network| network.value).collect(), written: written.value.clone() })
}

/// Checks `defend.lockout`.
pub(super) fn check_lockout(
    written: Option<&Spanned<LockoutSettings>>,
    key_stores: Box<[std::sync::Arc<str>]>,
    checker: &mut Checker<'_>,
) -> Option<LockoutPlan> {
    let written = written?;
    let path = "/defend/lockout";
    if written.r#for > written.for_max {
        let help = "lower `for`, or raise `for_max`";
        checker.error(written, format!("{path}/for"), "the first lockout would be longer than the longest", help);
    }
    let counts = |by| written.per.iter().any(|one| one.value == by);
    if written.per.is_empty() {
        let help = "add `client_ip`, `account` or `key`, or remove the section";
        checker.error(written, format!("{path}/per"), "nothing is counted by", help);
    }
    if let Some((at, account)) = written.per.iter().enumerate().find(|(_, one)| one.value == LockoutBy::Account)
        && !counts(LockoutBy::ClientIp)
    {
        let what = "accounts alone: from an address where one has succeeded, anybody could guess at it for ever";
        checker.error(account, format!("{path}/per/{at}"), what, "add `client_ip` to `per`");
    }
    for (at, status) in written.statuses.iter().enumerate().filter(|(_, status)| !(400..500).contains(&status.value)) {
        let what = format!("`{}` says nothing of what the client has tried", status.value);
        checker.error(status, format!("{path}/statuses/{at}"), what, "write statuses from 400 to 499, such as `401`");
    }
    if written.statuses.is_empty() || written.statuses.len() > STATUSES_MAX {
        let help = "write a few, such as `[401, 403]`";
        checker.error(written, format!("{path}/statuses"), "no statuses, or very many", help);
    }
    check_allowed(&written.allow, path, checker);
    let rules = LockoutRules {
        failures: written.failures,
        within: written.within,
        first: written.r#for,
        longest: written.for_max,
        client_ip: counts(LockoutBy::ClientIp),
        account: counts(LockoutBy::Account),
        key: counts(LockoutBy::Key),
        statuses: written.statuses.iter().map(|status| status.value).collect(),
        spared_after_success: written.spared_after_success,
        key_stores,
    };
    Some(LockoutPlan { rules, allow: written.allow.iter().map(|network| network.value).collect(), written: written.value.clone() })
}

fn check_allowed(allowed: &[Spanned<IpNetwork>], path: &str, checker: &mut Checker<'_>) {
    for (at, network) in allowed.iter().enumerate() {
        let path = format!("{path}/allow/{at}");
        if network.prefix_len() == 0 {
            let help = "list the addresses of your own, or remove the section";
            checker.error(network, path, format!("{} spares everybody", quoted(&network.value.to_string())), help);
        } else if at == ALLOWED_MAX {
            checker.error(network, path, format!("more than {ALLOWED_MAX} networks"), "join neighbours into larger networks");
        }
    }
}
