//! A decision: the policies of an operation, asked about one request.

use crate::parse::One;
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request, RestrictedExpression,
};
use portcullis_model::civil_date;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

/// Who is calling.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'q> {
    /// Who vouches for them.
    pub provider: &'q str,
    /// Who they are there.
    pub subject: &'q str,
    /// What they showed: `token`, `certificate`, `session`, `key` or `signature`.
    pub credential: &'q str,
    /// The client that acts for them, if that is told.
    pub client: Option<&'q str>,
    /// The consumer they are, if they are one.
    pub consumer: Option<&'q str>,
    /// The roles they have, of those that policies name.
    pub roles: &'q [&'q str],
    /// The scopes they have, of those that policies name.
    pub scopes: &'q [&'q str],
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// Who is calling.
    pub caller: Caller<'q>,
    /// The parameters of the path, decoded.
    pub path: &'q [(&'q str, String)],
    /// The parameters of the query, decoded; a name may come more than once.
    pub query: &'q [(String, String)],
    /// The method.
    pub method: &'q str,
    /// The client's address.
    pub address: IpAddr,
    /// When it came, in seconds since the Unix epoch.
    pub unix_seconds: u64,
}

/// What policies say. Those that made it are named by file and line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is permitted by these, and nothing forbids it.
    Permitted(Vec<String>),
    /// It is forbidden by these.
    Forbidden(Vec<String>),
    /// No policy permits it.
    Unmatched,
    /// It could not be told, so it is not permitted.
    Failed(String),
}

/// The policies that can apply to one operation.
pub struct Bucket {
    set: PolicySet,
    authorizer: Authorizer,
    types: Types,
    action: EntityUid,
    resource: EntityUid,
    route: Entity,
    /// What each says, and whether it forbids.
    texts: Vec<(Arc<str>, bool)>,
    api: Box<str>,
}

struct Types {
    caller: EntityTypeName,
    role: EntityTypeName,
    scope: EntityTypeName,
    query: EntityUid,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({}, {:?})", self.action, self.texts)
    }
}

impl PartialEq for Bucket {
    fn eq(&self, other: &Self) -> bool {
        self.action == other.action && self.texts == other.texts
    }
}

impl Eq for Bucket {}

fn type_name(name: &str) -> Result<EntityTypeName, String> {
    EntityTypeName::from_str(name).map_err(|error| error.to_string())
}

fn uid(of: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(of.clone(), EntityId::new(id))
}

impl Bucket {
    pub(crate) fn new<'o>(api: &str, route: &str, own: impl Iterator<Item = &'o One>) -> Result<Self, String> {
        let own: Vec<&One> = own.collect();
        let set = PolicySet::from_policies(own.iter().map(|one| one.policy.clone())).map_err(|error| error.to_string())?;
        let name = format!("{api}/{route}");
        let resource = uid(&type_name("Route")?, &name);
        let parent = uid(&type_name("Api")?, api);
        let query = uid(&type_name("Query")?, "");
        let types = Types { caller: type_name("Caller")?, role: type_name("Role")?, scope: type_name("Scope")?, query };
        Ok(Self {
            set,
            authorizer: Authorizer::new(),
            types,
            action: uid(&type_name("Action")?, &name),
            route: Entity::new_no_attrs(resource.clone(), HashSet::from([parent])),
            resource,
            texts: own.iter().map(|one| (Arc::clone(one.text()), one.is_forbid())).collect(),
            api: api.into(),
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is none: then nobody is permitted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Whether this says what `other` says, and forbids more at the most. Only for operations of one name: others may be what policies
    /// speak of.
    #[must_use]
    pub fn only_forbids_more_than(&self, other: &Self) -> bool {
        // SECURITY: a policy that is gone may have been the one whose failure refused everything, so none may be missing.
        let kept = other.texts.iter().all(|one| self.texts.contains(one));
        let is_new = |one: &&(Arc<str>, bool)| !other.texts.contains(one);
        self.action == other.action
            && self.api == other.api
            && kept
            && self.texts.iter().filter(is_new).all(|(_, forbids)| *forbids)
    }

    /// What the policies say of a request. Whatever goes wrong is a refusal.
    #[must_use]
    pub fn decide(&self, question: &Question<'_>) -> Answer {
        match self.asked(question) {
            Ok(answer) => answer,
            Err(problem) => Answer::Failed(problem),
        }
    }

    fn asked(&self, question: &Question<'_>) -> Result<Answer, String> {
        let caller = self.caller(&question.caller)?;
        let principal = caller.uid();
        let query =
            Entity::new_with_tags(self.types.query.clone(), [], [], tags(question.query)).map_err(|error| error.to_string())?;
        let entities = Entities::from_entities([caller, query, self.route.clone()], None).map_err(|error| error.to_string())?;
        let context = self.context(question)?;
        let request = Request::new(principal, self.action.clone(), self.resource.clone(), context, None);
        let request = request.map_err(|error| error.to_string())?;
        let response = self.authorizer.is_authorized(&request, &self.set, &entities);
        // SECURITY: Cedar leaves out a policy that fails, also one that forbids; here a failure of any refuses.
        if let Some(error) = response.diagnostics().errors().next() {
            return Err(error.to_string());
        }
        let mut made: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        made.sort_unstable();
        Ok(match response.decision() {
            Decision::Allow => Answer::Permitted(made),
            Decision::Deny if made.is_empty() => Answer::Unmatched,
            Decision::Deny => Answer::Forbidden(made),
        })
    }

    fn caller(&self, caller: &Caller<'_>) -> Result<Entity, String> {
        let mut attributes = HashMap::with_capacity(6);
        let mut add = |name: &str, value: &str| {
            attributes.insert(name.to_owned(), RestrictedExpression::new_string(value.to_owned()));
        };
        add("provider", caller.provider);
        add("subject", caller.subject);
        add("credential", caller.credential);
        caller.client.into_iter().for_each(|client| add("client", client));
        caller.consumer.into_iter().for_each(|consumer| add("consumer", consumer));
        let claims = RestrictedExpression::new_record([]).map_err(|error| error.to_string())?;
        attributes.insert("claims".to_owned(), claims);
        let roles = caller.roles.iter().map(|role| uid(&self.types.role, role));
        let scopes = caller.scopes.iter().map(|scope| uid(&self.types.scope, scope));
        // Two providers may know one name; within a request there is one caller alone.
        let principal = uid(&self.types.caller, caller.subject);
        Entity::new(principal, attributes, roles.chain(scopes).collect()).map_err(|error| error.to_string())
    }

    fn context(&self, question: &Question<'_>) -> Result<Context, String> {
        let text = |value: &str| RestrictedExpression::new_string(value.to_owned());
        let path = question.path.iter().map(|(name, value)| ((*name).to_owned(), text(value)));
        let path = RestrictedExpression::new_record(path).map_err(|error| error.to_string())?;
        let context = Context::from_pairs([
            ("path".to_owned(), path),
            ("query".to_owned(), RestrictedExpression::new_entity_uid(self.types.query.clone())),
            ("method".to_owned(), text(question.method)),
            ("address".to_owned(), RestrictedExpression::new_ip(question.address.to_canonical().to_string())),
            ("time".to_owned(), RestrictedExpression::new_datetime(written(question.unix_seconds))),
        ]);
        context.map_err(|error| error.to_string())
    }
}

/// The values of each parameter of a query.
fn tags(query: &[(String, String)]) -> Vec<(String, RestrictedExpression)> {
    let mut values: BTreeMap<&str, Vec<RestrictedExpression>> = BTreeMap::new();
    for (name, value) in query {
        values.entry(name).or_default().push(RestrictedExpression::new_string(value.clone()));
    }
    values.into_iter().map(|(name, values)| (name.to_owned(), RestrictedExpression::new_set(values))).collect()
}

/// A time as Cedar reads it: RFC 3339, in UTC.
fn written(unix_seconds: u64) -> String {
    // The years that Cedar writes have four digits.
    let seconds = unix_seconds.min(253_402_300_799);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_date(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}
