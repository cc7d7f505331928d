//! Whose word on addresses is taken, and who is never banned.

use portcullis_control_config::Plan;
use portcullis_gateway_proxy::ClientAddressRule;

/// Who may tell us who the client is.
pub(crate) fn client_address(plan: &Plan) -> ClientAddressRule {
    let trusted = plan.client_ip.trusted_proxies.iter().map(|network| (network.network(), network.prefix_len())).collect();
    ClientAddressRule { trusted }
}

/// Who is never banned: those who speak for others, and those that the operator names.
pub(crate) fn spared(plan: &Plan) -> ClientAddressRule {
    let balancers = plan.listeners.iter().flat_map(|listener| &listener.balancers);
    let proxies = plan.client_ip.trusted_proxies.iter().map(|network| &network.value);
    let allowed = plan.bans.iter().flat_map(|bans| &bans.allow);
    let all = proxies.chain(balancers).chain(allowed);
    ClientAddressRule { trusted: all.map(|network| (network.network(), network.prefix_len())).collect() }
}

/// From where nobody is locked out: the same, and those whom the operator names for that.
pub(crate) fn lockout_spared(plan: &Plan) -> ClientAddressRule {
    let mut all = spared(plan);
    let allowed = plan.lockout.iter().flat_map(|lockout| &lockout.allow);
    all.trusted.extend(allowed.map(|network| (network.network(), network.prefix_len())));
    all
}
