//! The policies of each route, made from what the plan says and shared where it says the same.

use aws_lc_rs::digest::{Context, SHA256};
use portcullis_control_config::{Access, ApiPlan, IdentityPlan, Plan, PolicyLevels};
use portcullis_engines_authz::{Belongs, ConsumerRow, Consumers, Vocabulary};
use portcullis_gateway_policy::{
    AccessContext, AuthenticatePlan, CertificatesPlan, ConsumerFits, CredentialsContext, CredentialsPlan, KeyStorePlan, LiveFiles,
    LoginEndpoint, LoginPlan, Making, Pipeline, PipelineStep, PolicyDefinition, ProviderPlan, Revocations, RouteAccess,
    SignaturesPlan, SignerPlan, StatePool,
};
use portcullis_model::PolicyId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The words that the lines of all routes speak of.
///
/// # Errors
/// When there are more than can be told apart.
pub fn vocabulary(plan: &Plan) -> Result<Arc<Vocabulary>, String> {
    let routes = plan.apis.iter().flat_map(|api| &api.routes);
    let lines = routes.filter_map(|route| match &route.access {
        Access::Public => None,
        Access::Allow { access, .. } => Some(access.lines.iter().chain(access.policy.as_ref().map(|policy| &policy.words))),
    });
    let names = plan.identity.consumers.iter().map(|one| &one.name);
    let words = Vocabulary::of(lines.flatten(), names).map(|words| words.knowing(consumers(&plan.identity)));
    words.map(Arc::new).map_err(|_| "the `allow` lines name more than 4096 different roles and scopes".to_owned())
}

fn consumers(identity: &IdentityPlan) -> Consumers {
    let mut digest = Context::new(&SHA256);
    let mut add = |text: &str| {
        digest.update(&(text.len() as u64).to_le_bytes());
        digest.update(text.as_bytes());
    };
    let all = identity.consumers.iter().map(|one| {
        let (provider, belongs) = match &one.fits {
            ConsumerFits::Caller { provider, name } => (provider, Belongs::Subject(name)),
            ConsumerFits::Claim { provider, claim, value } => (provider, Belongs::Claim(claim, value)),
        };
        ConsumerRow { name: &one.name, provider, belongs, plan: one.plan.as_ref() }
    });
    all.clone().for_each(|one| add(&format!("{one:?}")));
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(digest.finish().as_ref()).for_each(|(slot, byte)| *slot = *byte);
    Consumers::new(all, bytes)
}

/// Pipelines, made once for all routes with the same policies and the same access.
pub(crate) struct Pipelines<'b> {
    definitions: &'static [PolicyDefinition],
    /// The files of each policy, by its row.
    files: Vec<LiveFiles>,
    providers: &'b [Arc<ProviderPlan>],
    client_certificates: &'b [Arc<CertificatesPlan>],
    logins: &'b [Arc<LoginPlan>],
    api_keys: &'b [Arc<KeyStorePlan>],
    signatures: &'b [Arc<SignaturesPlan>],
    words: Arc<Vocabulary>,
    states: &'b StatePool,
    revocations: &'b Arc<Revocations>,
    made: HashMap<[usize; 3], Pipeline>,
    /// How old what is known of other nodes may be where it must be fresh.
    pub(crate) stale_max: Option<Duration>,
}

/// What an API says of who is calling, and of what its upstream is told of that.
#[derive(Clone, Copy)]
pub(crate) struct Asks<'a> {
    authenticate: Option<&'a Arc<AuthenticatePlan>>,
    credentials: Option<&'a Arc<CredentialsPlan>>,
}

impl<'a> Asks<'a> {
    /// What is no API's.
    pub(crate) const NOBODY: Self = Self { authenticate: None, credentials: None };

    pub(crate) fn of(api: &'a ApiPlan) -> Self {
        Self { authenticate: api.authenticate.as_ref(), credentials: api.credentials.as_ref() }
    }
}

fn address<T>(shared: Option<&Arc<T>>) -> usize {
    shared.map_or(0, |shared| Arc::as_ptr(shared).addr())
}

impl<'b> Pipelines<'b> {
    /// None yet.
    ///
    /// # Errors
    /// When the lines of the plan name more than can be told apart.
    pub(crate) fn new(
        definitions: &'static [PolicyDefinition],
        files: Vec<LiveFiles>,
        plan: &'b Plan,
        states: &'b StatePool,
        revocations: &'b Arc<Revocations>,
    ) -> Result<Self, String> {
        let IdentityPlan { providers, client_certificates, logins, api_keys, signatures, .. } = &plan.identity;
        let (words, made) = (vocabulary(plan)?, HashMap::new());
        let stale_max = plan.store.as_ref().map(|store| store.stale_max);
        Ok(Self {
            definitions,
            files,
            providers,
            client_certificates,
            logins,
            api_keys,
            signatures,
            words,
            states,
            revocations,
            made,
            stale_max,
        })
    }

    /// The pipeline of these policies and this access, on an API that asks so.
    ///
    /// # Errors
    /// When a policy cannot be made.
    pub(crate) fn of(&mut self, levels: &PolicyLevels, access: &Access, asks: Asks<'_>) -> Result<Pipeline, String> {
        let access = match access {
            Access::Public => None,
            Access::Allow { access, .. } => Some(access),
        };
        // The plan holds all of them for as long as this map is there.
        let who = if access.is_some() { address(access) } else { address(asks.authenticate) };
        let key = [levels.key(), who, address(asks.credentials)];
        if let Some(pipeline) = self.made.get(&key) {
            return Ok(pipeline.clone());
        }
        let mut steps = Vec::new();
        for (index, definition) in self.definitions.iter().enumerate() {
            let name = definition.settings.name;
            let none = LiveFiles::default();
            let files = self.files.get(index).unwrap_or(&none);
            let made = match definition.compile {
                Making::Settings(compile) => {
                    let settings = levels.iter().find(|(policy, _)| *policy == index).map(|(_, settings)| settings);
                    if settings.is_none() && !definition.always {
                        continue;
                    }
                    compile(settings.unwrap_or_default(), files)
                }
                Making::SettingsOf(other, compile) => {
                    let row = self.definitions.iter().position(|definition| definition.settings.name == other);
                    let settings = levels.iter().find(|(policy, _)| Some(*policy) == row).map(|(_, settings)| settings);
                    let Some(part) = settings.map(|settings| compile(settings, files)).and_then(Result::transpose) else {
                        continue;
                    };
                    part
                }
                Making::Access(compile, public) => match access {
                    Some(access) => compile(&self.context(access, files)),
                    None => {
                        let Some(policy) = asks.authenticate.and_then(|plan| public(plan, self.api_keys)) else { continue };
                        Ok(policy)
                    }
                },
                Making::Credentials(compile, _) => {
                    let Some(plan) = asks.credentials else { continue };
                    let (words, pool) = (&self.words, self.states);
                    compile(&CredentialsContext { plan, is_public: access.is_none(), words, files, pool })
                }
                Making::Login(_) => continue,
            };
            let policy = made.map_err(|error| format!("policy `{name}`: {}", error.0))?;
            steps.push(PipelineStep { id: PolicyId(u8::try_from(index).unwrap_or(u8::MAX)), name, policy });
        }
        let pipeline = Pipeline::new(steps);
        self.made.insert(key, pipeline.clone());
        Ok(pipeline)
    }

    /// The endpoints of a login: what answers each, behind the policies that apply where no route matches.
    ///
    /// # Errors
    /// When one cannot be made.
    pub(crate) fn of_login(
        &mut self,
        defaults: &PolicyLevels,
        login: &Arc<LoginPlan>,
    ) -> Result<Vec<(LoginEndpoint, Pipeline)>, String> {
        let mut made = Vec::new();
        for (index, definition) in self.definitions.iter().enumerate() {
            let Making::Login(compile) = definition.compile else { continue };
            let endpoints = compile(login, self.states, self.revocations).map_err(|error| error.0)?;
            let id = PolicyId(u8::try_from(index).unwrap_or(u8::MAX));
            for endpoint in endpoints {
                let step = PipelineStep { id, name: definition.settings.name, policy: Arc::clone(&endpoint.policy) };
                made.push((endpoint, self.of(defaults, &Access::Public, Asks::NOBODY)?.with(step)));
            }
        }
        Ok(made)
    }

    /// What answers with the keys of a signer, behind the policies that apply where no route matches; nothing where they are not told.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn of_signer(&mut self, defaults: &PolicyLevels, signer: &SignerPlan) -> Result<Option<Pipeline>, String> {
        for (index, definition) in self.definitions.iter().enumerate() {
            let Making::Credentials(_, publish) = definition.compile else { continue };
            let files = self.files.get(index).cloned().unwrap_or_default();
            let policy = publish(signer, &files).map_err(|error| error.0)?;
            let id = PolicyId(u8::try_from(index).unwrap_or(u8::MAX));
            let step = PipelineStep { id, name: definition.settings.name, policy };
            return self.of(defaults, &Access::Public, Asks::NOBODY).map(|pipeline| Some(pipeline.with(step)));
        }
        Ok(None)
    }

    fn context<'c>(&'c self, access: &'c RouteAccess, files: &'c LiveFiles) -> AccessContext<'c> {
        AccessContext {
            access,
            providers: self.providers,
            client_certificates: self.client_certificates,
            logins: self.logins,
            api_keys: self.api_keys,
            signatures: self.signatures,
            words: &self.words,
            files,
            pool: self.states,
        }
    }
}
