//! Callers that are known by API keys.

use portcullis_engines_authz::Vocabulary;
use portcullis_engines_keys::{Entry, FILE_BYTES_MAX, KeyFile, KeyTable, KeyUses, Unknown};
use portcullis_gateway_policy::{
    AccessContext, AuthenticatePlan, CompileError, Exchange, FileContent, FileFormat, FileProblem, KeyStorePlan, LiveFile, Policy,
    Revocable, Step, Verdict,
};
use portcullis_model::{Principal, Reason, Rejection};
use std::sync::Arc;

/// How files of API keys are read.
pub const API_KEYS: FileFormat = FileFormat {
    bytes_max: FILE_BYTES_MAX as u64,
    read: |bytes| {
        let told = |fault: portcullis_engines_keys::Fault| FileProblem { line: fault.line, what: fault.what };
        match KeyFile::read(bytes) {
            Ok(file) => Ok(FileContent::new(KeyTable::new(file))),
            Err(faults) => Err(faults.into_iter().map(told).collect()),
        }
    },
};

/// On a route that everybody may call nobody is asked for a key; one that comes all the same is not for the upstream to see.
pub fn compile_public(plan: &AuthenticatePlan, stores: &[Arc<KeyStorePlan>]) -> Option<Arc<dyn Policy>> {
    let headers = headers_of(stores.iter().filter(|store| plan.any_of.contains(&store.name)));
    if headers.is_empty() { None } else { Some(Arc::new(Unseen { headers })) }
}

fn headers_of<'s>(stores: impl Iterator<Item = &'s Arc<KeyStorePlan>>) -> Box<[Arc<str>]> {
    let mut headers: Vec<Arc<str>> = stores.map(|store| Arc::clone(&store.header)).collect();
    headers.sort_unstable();
    headers.dedup();
    headers.into()
}

fn remove(headers: &[Arc<str>], exchange: &mut Exchange) {
    for header in headers {
        exchange.request.fields_mut().remove_alike(header);
    }
}

/// Keeps keys from the upstream.
struct Unseen {
    headers: Box<[Arc<str>]>,
}

impl Policy for Unseen {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        remove(&self.headers, exchange);
        Step::Ready(Verdict::Continue)
    }
}

/// The keys of one name.
struct Store {
    plan: Arc<KeyStorePlan>,
    live: Arc<LiveFile>,
    uses: Arc<KeyUses>,
    words: Arc<Vocabulary>,
}

/// All stores whose keys an API takes.
pub(super) struct KeyStores {
    stores: Box<[Store]>,
    headers: Box<[Arc<str>]>,
}

/// A key as it was shown.
pub(super) struct Shown<'e> {
    header: &'e str,
    key: &'e [u8],
}

impl KeyStores {
    /// Those of the API, in its order.
    ///
    /// # Errors
    /// When control has not read the file of one.
    pub(super) fn of(context: &AccessContext<'_>) -> Result<Self, CompileError> {
        let names = context.access.authenticate.any_of.iter();
        let plans = names.filter_map(|name| context.api_keys.iter().find(|plan| plan.name == *name));
        let store = |plan: &Arc<KeyStorePlan>| {
            let live = context.files.of(&plan.file).cloned();
            let live = live.ok_or_else(|| CompileError(format!("the keys of `{}` have not been read", plan.name)))?;
            Ok(Store { plan: Arc::clone(plan), live, uses: plan.uses(context.pool), words: Arc::clone(context.words) })
        };
        Ok(Self { headers: headers_of(plans.clone()), stores: plans.map(store).collect::<Result<_, CompileError>>()? })
    }

    /// What a caller without a credential is asked for, beside others: a scheme for each header field (RFC 9110 section 11.6.1).
    pub(super) fn challenges(&self) -> impl Iterator<Item = String> {
        self.headers.iter().map(|header| format!("ApiKey realm=\"api\", header=\"{header}\""))
    }

    /// The one key of a request, if it brings one.
    ///
    /// # Errors
    /// When it brings more than one: nobody says which of them counts.
    pub(super) fn shown<'e>(&'e self, exchange: &'e Exchange) -> Result<Option<Shown<'e>>, Rejection> {
        let of_header = |name: &[u8]| self.headers.iter().find(|header| header.as_bytes() == name);
        let mut shown = exchange.request.fields().iter().filter_map(|(name, key)| Some(Shown { header: of_header(name)?, key }));
        let first = shown.next();
        match shown.next() {
            Some(_) => Err(invalid("the request shows more than one key")),
            None => Ok(first),
        }
    }

    /// Whose a key is.
    ///
    /// # Errors
    /// When it is nobody's.
    pub(super) fn judge(&self, shown: &Shown<'_>, now: u64) -> Result<Arc<Principal>, Rejection> {
        let mut why = "the key is not in the key file";
        for store in self.stores.iter().filter(|store| *store.plan.header == *shown.header) {
            let found = store.live.look(|table: &KeyTable| store.find(table, shown.key, now));
            match found {
                Some(Ok(principal)) => return Ok(Arc::new(principal)),
                Some(Err(Unknown::Unopened)) => return Err(Rejection::new(Reason::KeysUnavailable, Unknown::Unopened.as_str())),
                Some(Err(unknown)) => why = unknown.as_str(),
                // SECURITY: only a fault of the gateway leads here: then nothing can be said about a key.
                None => return Err(Rejection::new(Reason::KeysUnavailable, "the key file is not there")),
            }
        }
        Err(invalid(why))
    }

    /// Keeps keys from the upstream.
    pub(super) fn remove(&self, exchange: &mut Exchange) {
        remove(&self.headers, exchange);
    }
}

impl Store {
    fn find(&self, table: &KeyTable, shown: &[u8], now: u64) -> Result<Principal, Unknown> {
        let idle_after = self.plan.idle_after.map(|time| time.as_secs());
        table.find_used(shown, now, &self.uses, idle_after).map(|entry| self.principal(entry))
    }

    fn principal(&self, entry: &Entry) -> Principal {
        let roles = entry.roles.iter().map(|role| &**role);
        let ends = entry.expires.unwrap_or(u64::MAX);
        Principal {
            provider: Arc::clone(&self.plan.name),
            subject: entry.name.clone(),
            client: Some(entry.id.clone()),
            consumer: self.words.consumers().of_subject(&self.plan.name, &entry.name),
            grants: self.words.grants(&self.plan.name, roles, entry.scopes.iter().map(|scope| &**scope)),
            expires_unix_seconds: ends,
            issued_unix_seconds: entry.created,
            marks: [Revocable::Key { store: &self.plan.name, id: &entry.id }.mark()].into(),
            ends_unix_seconds: ends,
        }
    }
}

fn invalid(detail: &'static str) -> Rejection {
    Rejection::new(Reason::CredentialsInvalid, detail)
}
