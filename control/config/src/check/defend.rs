//! Checks of `defend`, beyond the address of clients.

use super::Checker;
use crate::plan::BanPlan;
use crate::settings::BanSettings;
use portcullis_gateway_policy::BanRules;
use portcullis_model_settings::{IpNetwork, Spanned, quoted};

/// How many networks a list of those may have who are spared; a client that is about to be banned is compared with them.
const ALLOWED_MAX: usize = 256;

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
