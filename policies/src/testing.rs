//! What the tests of policies share: an exchange from the bytes of a request, and settings from JSON.

use portcullis_engines_authz::{Line, Vocabulary};
use portcullis_gateway_policy::{AuthenticatePlan, ConnectionFacts, Credentials, Exchange, RouteAccess, Scheme};
use portcullis_model::{DecisionRecord, RecordGuard, RecordSink};
use portcullis_model_settings::{Decode, Diagnostics, FileId, Tree, TreeBuilder};
use portcullis_wire::{HeadLimits, RequestHead};
use serde_json::Value;
use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

struct Forget;

impl RecordSink for Forget {
    fn fresh(&self) -> Box<DecisionRecord> {
        Box::default()
    }
    fn emit(&self, record: Box<DecisionRecord>) {
        drop(record);
    }
}

/// An exchange that has just been read.
pub(crate) fn exchange(head: &str, scheme: Scheme) -> Exchange {
    let mut request = Box::new(RequestHead::default());
    request.parse(head.as_bytes(), &HeadLimits::default()).unwrap();
    let sink: Rc<dyn RecordSink> = Rc::new(Forget);
    let mut facts = ConnectionFacts::new("l".into(), "192.0.2.1:5".parse().unwrap(), None);
    facts.scheme = scheme;
    Exchange::new(request, RecordGuard::begin(&sink), Rc::new(facts), "192.0.2.1".parse().unwrap(), u64::MAX)
}

/// Settings as the configuration gives them to a policy, from JSON.
pub(crate) fn settings<T: Decode + Any + Send + Sync>(json: &str) -> Arc<dyn Any + Send + Sync> {
    let mut diagnostics = Diagnostics::default();
    let decoded = T::decode(&tree(json).root(), &mut diagnostics);
    assert!(!diagnostics.has_errors(), "{json}: {:?}", diagnostics.found());
    Arc::new(decoded.unwrap())
}

fn tree(json: &str) -> Arc<Tree> {
    fn add(builder: &mut TreeBuilder, value: &Value) {
        match value {
            Value::Object(entries) => {
                builder.begin_map(1, 1).unwrap();
                for (key, value) in entries {
                    builder.scalar(key, false, 1, 1).unwrap();
                    add(builder, value);
                }
                builder.end();
            }
            Value::Array(items) => {
                builder.begin_list(1, 1).unwrap();
                items.iter().for_each(|item| add(builder, item));
                builder.end();
            }
            Value::String(text) => builder.scalar(text, false, 1, 1).unwrap(),
            other => builder.scalar(&other.to_string(), true, 1, 1).unwrap(),
        }
    }
    let mut builder = TreeBuilder::new(FileId(0), 10_000, 32);
    add(&mut builder, &serde_json::from_str(json).unwrap());
    builder.finish().unwrap()
}

/// Who may call a route of an API with these providers, by one line, and the words of it.
pub(crate) fn access(any_of: &[&str], roles: &[&str], scopes: &[&str]) -> (RouteAccess, Arc<Vocabulary>) {
    let role = |role: &&str| role.split_once('/').map(|(provider, role)| (provider.into(), role.into())).unwrap();
    let line = Line {
        roles: roles.iter().map(role).collect(),
        scopes: scopes.iter().map(|scope| (*scope).into()).collect(),
        consumers: Vec::new(),
    };
    let words = Vocabulary::of([&line], []).unwrap();
    let authenticate = AuthenticatePlan {
        any_of: any_of.iter().map(|name| (*name).into()).collect(),
        audiences: vec!["https://api.test".into()],
        credentials: Credentials::Remove,
        stream_age_max: std::time::Duration::MAX,
    };
    (RouteAccess { authenticate: Arc::new(authenticate), lines: vec![line], is_fresh: false, policy: None }, Arc::new(words))
}
