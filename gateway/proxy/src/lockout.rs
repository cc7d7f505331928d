//! Parts of steps 2, 5 and 10: who is locked out because too much of what they tried has failed, and what has failed or succeeded.
//!
//! SECURITY: a name counts only where it comes from a verified credential, or from the field that a route declares for logins. A token that
//! is not valid has no name, whatever it says: it counts by address, so nobody can lock out a victim by tokens that name them.

use crate::snapshot::{Published, Snapshot};
use crate::worker::Worker;
use portcullis_gateway_policy::{ClientNetwork, Exchange, LockoutPer, LockoutRules, Stop, Stopped, Whom};
use portcullis_model::{DecisionRecord, LoginAttempt, Reason, Rejection};
use std::net::IpAddr;

fn of_login(login: &LoginAttempt) -> Whom<'_> {
    Whom::Named { per: LockoutPer::Login, realm: &login.api, name: &login.account }
}

impl Worker {
    /// Refuses a request that has just been read, from an address that is locked out.
    pub(crate) fn locked_out_client(&self, exchange: &Exchange) -> Option<Rejection> {
        let view = self.view();
        let rules = view.lockouts.as_ref()?;
        self.locked_out(Whom::Client(ClientNetwork::of(exchange.client)), exchange, rules, &view)
    }

    /// Whether a caller or a login may go on. `true`: it is a login, which is under way from here on until its outcome is known.
    ///
    /// # Errors
    /// When one of them is locked out, or as much is under way as may still fail.
    pub(crate) fn check_lockouts(&self, exchange: &Exchange) -> Result<bool, Rejection> {
        let view = self.view();
        let Some(rules) = view.lockouts.as_ref() else { return Ok(false) };
        let caller = exchange.principal().map(|caller| rules.caller(&caller.provider, &caller.subject));
        let account = exchange.record.login.as_deref().map(of_login);
        let is_out = |whom| self.locked_out(whom, exchange, rules, &view);
        if let Some(rejection) = caller.into_iter().chain(account).find_map(is_out) {
            return Err(rejection);
        }
        let Some(account) = account.filter(|_| !view.lockout_spared.trusts(exchange.client)) else { return Ok(false) };
        let (failures, now) = (&self.published().defence.failures, self.published().nanos());
        if !failures.begin(account, rules, now) {
            return Err(too_many_at_once());
        }
        if !failures.begin(Whom::Client(ClientNetwork::of(exchange.client)), rules, now) {
            failures.end(account);
            return Err(too_many_at_once());
        }
        Ok(true)
    }

    /// The same of an exchange that a policy has refused: who is locked out hears that, and not what they might have done otherwise.
    pub(crate) fn locked_out_refused(&self, mut stopped: Box<Stopped>) -> Box<Stopped> {
        let view = self.view();
        let caller = stopped.exchange.principal().filter(|_| matches!(stopped.stop, Stop::Reject(_)));
        let rejection = view.lockouts.as_ref().zip(caller).and_then(|(rules, caller)| {
            self.locked_out(rules.caller(&caller.provider, &caller.subject), &stopped.exchange, rules, &view)
        });
        if let Some(rejection) = rejection {
            stopped.stop = Stop::Reject(rejection);
        }
        stopped
    }

    fn locked_out(&self, whom: Whom<'_>, exchange: &Exchange, rules: &LockoutRules, view: &Snapshot) -> Option<Rejection> {
        let (published, now) = (self.published(), self.unix_micros() / 1_000_000);
        let failures = &published.defence.failures;
        let until = failures.lockouts.locked_until(whom, now).filter(|_| rules.counts(whom.per()))?;
        if view.lockout_spared.trusts(exchange.client) {
            return None;
        }
        let what = match whom.per() {
            LockoutPer::ClientIp => "the client's address",
            LockoutPer::Key => "the API key",
            // SECURITY: whoever has been in from here lately is not locked out by what others try from elsewhere.
            _ if failures.has_succeeded(whom, exchange.client, rules, published.nanos()) => return None,
            LockoutPer::Account => "the account",
            LockoutPer::Login => "the account of the login",
        };
        let detail = format!("{what} is locked out until {until} (Unix seconds), see `portcullis lockout list`");
        Some(Rejection::new(Reason::LockedOut, detail).retrying(until.saturating_sub(now).max(1)))
    }
}

fn too_many_at_once() -> Rejection {
    let detail = "as many logins of the account or the address are under way as may still fail (`defend.lockout`)";
    Rejection::new(Reason::LockedOut, detail).retrying(1)
}

impl Published {
    /// Looks at what has become of an exchange.
    pub(crate) fn note_outcome(&self, record: &DecisionRecord) {
        let failures = &self.defence.failures;
        if (failures.lockouts.is_counting() || record.login.is_some())
            && let Some(client) = record.client
        {
            let snapshot = self.current();
            if let Some(rules) = snapshot.lockouts.as_ref().filter(|_| !snapshot.lockout_spared.trusts(client)) {
                self.count_outcome(record, client, rules);
            }
            // Behind the failure itself, so that there is no gap for one more.
            if let Some(login) = record.login.as_deref().filter(|login| login.under_way) {
                failures.end(of_login(login));
                failures.end(Whom::Client(ClientNetwork::of(client)));
            }
        }
    }

    fn count_outcome(&self, record: &DecisionRecord, client: IpAddr, rules: &LockoutRules) {
        // Whoever did not wait for the answer has failed or succeeded all the same, where there was one.
        let status = if record.status == 0 { record.reason.map_or(0, Reason::status) } else { record.status };
        let failed = rules.is_failure(status, record.reason);
        let succeeded = record.reason.is_none() && (101..400).contains(&status);
        if !failed && !succeeded {
            return;
        }
        let failures = &self.defence.failures;
        let caller = record.principal.as_ref().map(|caller| rules.caller(&caller.provider, &caller.subject));
        let login = record.login.as_deref().map(of_login);
        if failed {
            for whom in [Some(Whom::Client(ClientNetwork::of(client))), caller, login].into_iter().flatten() {
                failures.fail(whom, status, rules, self.nanos(), self.clock.unix_seconds());
            }
            return;
        }
        for whom in [caller, login].into_iter().flatten().filter(|whom| whom.per() != LockoutPer::Key && rules.account) {
            failures.succeed(whom, client, rules, self.nanos());
        }
    }
}
