//! Refuses what is off, and requests that a rule describes.

use super::config::{Disabled, RefuseRule};
use super::pattern::Pattern;
use portcullis_gateway_policy::{CompileError, Exchange, LiveFiles, Policy, Step, Verdict};
use portcullis_model::{Reason, Rejection};
use portcullis_wire::{RequestHead, is_same_field, query_pairs, unescape};
use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

/// Makes the running policy: what any level turns off is off, and the rules of every level hold.
///
/// # Errors
/// None; the signature is that of every policy.
pub fn compile(settings: &[Arc<dyn Any + Send + Sync>], _: &LiveFiles) -> Result<Arc<dyn Policy>, CompileError> {
    let levels: Vec<&Disabled> = settings.iter().filter_map(|level| level.downcast_ref()).collect();
    let named =
        |level: &&Disabled| (level.routes.iter().map(|name| name.shared()).collect(), level.reason.clone().unwrap_or_default());
    Ok(Arc::new(DisabledPolicy {
        all: levels.iter().find_map(|level| level.reason_for_all().cloned()),
        routes: levels.iter().filter(|level| !level.routes.is_empty()).map(named).collect(),
        rules: levels.iter().flat_map(|level| level.refuse.iter().cloned()).collect(),
    }))
}

/// Names of routes that are off, and why.
type Switch = (Box<[Arc<str>]>, Arc<str>);

/// The running policy.
#[derive(Debug)]
struct DisabledPolicy {
    /// Why everything is off, if it is.
    all: Option<Arc<str>>,
    /// Names of routes that are off, and why.
    routes: Vec<Switch>,
    rules: Box<[RefuseRule]>,
}

impl DisabledPolicy {
    fn judge(&self, exchange: &Exchange) -> Result<(), Rejection> {
        if let Some(reason) = self.all.as_ref().or_else(|| self.reason_for(exchange)) {
            return Err(Rejection::new(Reason::Disabled, format!("disabled: {reason}")));
        }
        match self.rules.iter().find(|rule| rule.describes(&exchange.request)) {
            Some(rule) => Err(Rejection::new(Reason::RequestRefused, format!("disabled.refuse: {}", rule.reason))),
            None => Ok(()),
        }
    }

    fn reason_for(&self, exchange: &Exchange) -> Option<&Arc<str>> {
        // SECURITY: an exchange whose route is not known is not let past a switch that names routes.
        let is_off = |names: &[Arc<str>]| exchange.record.route.as_ref().is_none_or(|route| names.contains(route));
        self.routes.iter().find(|(names, _)| is_off(names)).map(|(_, reason)| reason)
    }
}

impl Policy for DisabledPolicy {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        Step::Ready(match self.judge(exchange) {
            Ok(()) => Verdict::Continue,
            Err(rejection) => Verdict::Reject(rejection),
        })
    }
}

impl RefuseRule {
    /// Whether everything that the rule says applies to the request.
    fn describes(&self, request: &RequestHead) -> bool {
        let of_method = |methods: portcullis_model_settings::Methods| {
            methods.iter().any(|method| method.as_str().as_bytes() == request.method_bytes())
        };
        self.methods.is_none_or(of_method)
            && self.path.as_ref().is_none_or(|pattern| occurs_in_text(pattern, request.path(), false))
            && self.query.0.iter().all(|(name, pattern)| occurs_in_parameter(name, pattern, request.query().unwrap_or_default()))
            && self.header.0.iter().all(|(name, pattern)| occurs_in_field(name, pattern, request))
    }
}

/// Looks in canonical text and in what it decodes to: the two spellings an operator may have meant. In a query `+` is a space to many.
fn occurs_in_text(pattern: &Pattern, text: &str, in_query: bool) -> bool {
    if pattern.occurs_in(text.as_bytes()) {
        return true;
    }
    let has_plus = in_query && text.contains('+');
    if !has_plus && !text.contains('%') {
        return false;
    }
    let spaced = if has_plus { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) };
    pattern.occurs_in(&unescape(&spaced))
}

/// Looks in every value of a parameter. Names are compared without case, since some upstreams do.
fn occurs_in_parameter(name: &str, pattern: &Pattern, query: &str) -> bool {
    let is_it = |found: &str| {
        found.eq_ignore_ascii_case(name)
            || (found.contains(['%', '+']) && unescape(&found.replace('+', " ")).eq_ignore_ascii_case(name.as_bytes()))
    };
    query_pairs(query).any(|(found, value)| is_it(found) && occurs_in_text(pattern, value, true))
}

/// Looks in every value of a field, in every element of it as a list, and in all of them joined: an upstream may read it either way.
fn occurs_in_field(name: &str, pattern: &Pattern, request: &RequestHead) -> bool {
    let values = || request.fields().iter().filter(|(found, _)| is_same_field(found, name.as_bytes())).map(|(_, value)| value);
    let mut count = 0_usize;
    for value in values() {
        count += 1;
        let mut elements = value.split(|byte| *byte == b',');
        if pattern.occurs_in(value) || (value.contains(&b',') && elements.any(|one| pattern.occurs_in(one.trim_ascii()))) {
            return true;
        }
    }
    count > 1 && pattern.occurs_in(&values().collect::<Vec<_>>().join(&b", "[..]))
}
