//! Changes header fields as the rules of every level say.

use super::config::{FieldRules, HeaderRules};
use super::template::Template;
use portcullis_gateway_policy::{CompileError, Exchange, LiveFiles, Policy, Step, TrailerNames, Verdict};
use portcullis_model::{Reason, Rejection};
use portcullis_wire::{Fields, ResponseHead, WireError};
use std::any::Any;
use std::sync::Arc;

/// Makes the running policy: the rules of every level, which are for different fields.
///
/// # Errors
/// None; the signature is that of every policy.
pub fn compile(settings: &[Arc<dyn Any + Send + Sync>], _: &LiveFiles) -> Result<Arc<dyn Policy>, CompileError> {
    let levels: Vec<&HeaderRules> = settings.iter().filter_map(|level| level.downcast_ref()).collect();
    let rules = |of: fn(&HeaderRules) -> &FieldRules| {
        let all = || levels.iter().map(|level| of(level));
        Rules {
            remove: all().flat_map(|rules| rules.remove.0.iter().cloned()).collect(),
            set: all().flat_map(|rules| rules.set.0.iter().cloned()).collect(),
            add: all().flat_map(|rules| rules.add.0.iter().cloned()).collect(),
        }
    };
    Ok(Arc::new(HeaderRulesPolicy { request: rules(|level| &level.request), response: rules(|level| &level.response) }))
}

/// The rules of one direction.
#[derive(Debug)]
struct Rules {
    remove: Box<[Arc<str>]>,
    set: Box<[(Arc<str>, Template)]>,
    add: Box<[(Arc<str>, Template)]>,
}

/// A change that is ready to be made: a name, and whether what is there under it goes.
type Change<'r> = (&'r str, Vec<u8>, bool);

impl Rules {
    /// The values, made before anything is changed.
    fn changes(&self, exchange: &Exchange) -> Vec<Change<'_>> {
        let mut changes = Vec::with_capacity(self.set.len() + self.add.len());
        for (rules, replaces) in [(&self.set, true), (&self.add, false)] {
            for (name, template) in rules {
                let mut value = Vec::with_capacity(64);
                template.write(&mut value, exchange);
                changes.push((&**name, value, replaces));
            }
        }
        changes
    }

    /// The names of which nothing is left but what is said here.
    fn decided(&self) -> TrailerNames {
        self.remove.iter().chain(self.set.iter().map(|(name, _)| name)).cloned().collect()
    }

    /// Removes what is to go, then sets and adds. Values are checked once more as they are written.
    fn apply(&self, fields: &mut Fields, changes: &[Change<'_>]) -> Result<(), WireError> {
        for name in &self.remove {
            fields.remove_alike(name);
        }
        for (name, value, replaces) in changes {
            if *replaces {
                fields.remove_alike(name);
            }
            fields.append_named(name, value)?;
        }
        Ok(())
    }
}

/// The running policy.
#[derive(Debug)]
struct HeaderRulesPolicy {
    request: Rules,
    response: Rules,
}

impl Policy for HeaderRulesPolicy {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let changes = self.request.changes(exchange);
        Step::Ready(match self.request.apply(exchange.request.fields_mut(), &changes) {
            Ok(()) => Verdict::Continue,
            Err(error) => Verdict::Reject(Rejection::new(Reason::Internal, error.detail)),
        })
    }

    fn trailers_dropped(&self) -> (TrailerNames, TrailerNames) {
        (self.request.decided(), self.response.decided())
    }

    fn on_response(&self, exchange: &Exchange, response: &mut ResponseHead) {
        let changes = self.response.changes(exchange);
        let applied = self.response.apply(response.fields_mut(), &changes);
        // INVARIANT: names and the written parts of values were checked when they were loaded, and variables stand for harmless text. What
        // could not be written is left out.
        debug_assert!(applied.is_ok(), "values that were checked can be written");
    }
}
