//! Refuses by the client's address.

use super::config::{AddressList, IpRules};
use super::set::AddressSet;
use portcullis_gateway_policy::{CompileError, Exchange, LiveFile, LiveFiles, Policy, Step, Verdict};
use portcullis_model::{Reason, Rejection};
use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

/// Makes the running policy: the deny lists of every level, and the allow lists of every level.
///
/// # Errors
/// When control has not read a file that is named.
pub fn compile(settings: &[Arc<dyn Any + Send + Sync>], files: &LiveFiles) -> Result<Arc<dyn Policy>, CompileError> {
    let levels: Vec<&IpRules> = settings.iter().filter_map(|level| level.downcast_ref()).collect();
    let lists = |of: fn(&IpRules) -> Option<&AddressList>| {
        levels.iter().filter_map(|level| of(level)).map(|list| List::new(list, files)).collect::<Result<Box<[_]>, _>>()
    };
    Ok(Arc::new(IpRulesPolicy { deny: lists(|level| level.deny.as_ref())?, allow: lists(|level| level.allow.as_ref())? }))
}

/// A list as it is asked.
struct List {
    written: AddressSet,
    file: Option<Arc<LiveFile>>,
}

impl List {
    fn new(list: &AddressList, files: &LiveFiles) -> Result<Self, CompileError> {
        let open = |path| files.of(path).cloned().ok_or_else(|| CompileError("a list that is named has not been read".to_owned()));
        let file = list.file.as_ref().map(|file| open(file.path())).transpose()?;
        Ok(Self { written: AddressSet::new(list.networks.iter().copied()), file })
    }

    /// Whether an address is on it; nothing when that cannot be told.
    fn has(&self, address: IpAddr) -> Option<bool> {
        match &self.file {
            _ if self.written.contains(address) => Some(true),
            Some(file) => file.look(|set: &AddressSet| set.contains(address)),
            None => Some(false),
        }
    }
}

/// The running policy.
struct IpRulesPolicy {
    deny: Box<[List]>,
    allow: Box<[List]>,
}

impl IpRulesPolicy {
    fn judge(&self, address: IpAddr) -> Result<(), Rejection> {
        // SECURITY: what cannot be told counts against the client.
        if self.deny.iter().any(|list| list.has(address) != Some(false)) {
            return Err(Rejection::new(Reason::AddressRefused, "the client's address is on a list of ip_rules.deny"));
        }
        if self.allow.iter().any(|list| list.has(address) != Some(true)) {
            return Err(Rejection::new(Reason::AddressRefused, "the client's address is not on the list of ip_rules.allow"));
        }
        Ok(())
    }
}

impl Policy for IpRulesPolicy {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        Step::Ready(match self.judge(exchange.client) {
            Ok(()) => Verdict::Continue,
            Err(rejection) => Verdict::Reject(rejection),
        })
    }
}
