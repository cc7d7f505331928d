//! Whom a route lets in, as the least that each of them must have.

use portcullis_control_config::{Access, IdentityPlan};
use portcullis_engines_authz::{Allow, Line, Vocabulary};
use portcullis_gateway_policy::{ConsumerFits, RouteAccess};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// What somebody shows to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Credential {
    /// A token of a provider.
    Token,
    /// The certificate of the connection.
    Certificate,
    /// The session of a browser that has logged in.
    Session,
    /// An API key.
    Key,
    /// A signature of the request.
    Signature,
}

impl Credential {
    /// What those whom `provider` vouches for show.
    #[must_use]
    pub fn of(identity: &IdentityPlan, provider: &str) -> Self {
        if identity.client_certificates.iter().any(|known| *known.name == *provider) {
            Self::Certificate
        } else if identity.logins.iter().any(|known| *known.name == *provider) {
            Self::Session
        } else if identity.api_keys.iter().any(|known| *known.name == *provider) {
            Self::Key
        } else if identity.signatures.iter().any(|known| *known.name == *provider) {
            Self::Signature
        } else {
            Self::Token
        }
    }

    /// In a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Certificate => "certificate",
            Self::Session => "session",
            Self::Key => "key",
            Self::Signature => "signature",
        }
    }
}

/// The least that somebody must have; who has more is let in as well.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Caller {
    /// Nothing: everybody is let in, without a credential.
    Anonymous,
    /// A credential, and what it grants.
    Known {
        /// What they show.
        credential: Credential,
        /// Who vouches for them.
        provider: Arc<str>,
        /// Whom a token must be for.
        audience: Option<Arc<str>>,
        /// A role of the provider.
        role: Option<Arc<str>>,
        /// All of these scopes.
        scopes: BTreeSet<Arc<str>>,
        /// To be a consumer: what tells who that is, and the name. By the name alone somebody else may be meant in another configuration.
        consumer: Option<(ConsumerFits, Arc<str>)>,
    },
}

impl Caller {
    /// Whether whoever is `other` is let in where this one is.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Anonymous, _) => true,
            (Self::Known { .. }, Self::Anonymous) => false,
            (
                Self::Known { credential, provider, audience, role, scopes, consumer },
                Self::Known { credential: c, provider: p, audience: a, role: r, scopes: s, consumer: who },
            ) => {
                let fits = |one: &Option<(ConsumerFits, Arc<str>)>| one.as_ref().map(|(fits, _)| fits.clone());
                let is_who = consumer.is_none() || fits(consumer) == fits(who);
                let has = (role.is_none() || role == r) && scopes.is_subset(s) && is_who;
                credential == c && provider == p && audience == a && has
            }
        }
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Anonymous => json!({ "everybody": true }),
            Self::Known { credential, provider, audience, role, scopes, consumer } => json!({
                "everybody": false, "credential": credential.as_str(), "provider": **provider, "audience": audience.as_deref(),
                "role": role.as_deref(), "scopes": scopes.iter().map(|scope| &**scope).collect::<Vec<_>>(),
                "consumer": consumer.as_ref().map(|(_, name)| &**name),
            }),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Known { credential, provider, audience, role, scopes, consumer } = self else {
            return f.write_str("everybody, without a credential");
        };
        write!(f, "{} of {provider}", credential.as_str())?;
        if let Some(audience) = audience {
            write!(f, " for {audience}")?;
        }
        if let Some((_, name)) = consumer {
            write!(f, " who is consumer {name}")?;
        }
        match role {
            Some(role) => write!(f, " with role {role}")?,
            None if scopes.is_empty() && consumer.is_some() => {}
            None if scopes.is_empty() => f.write_str(", whatever it grants")?,
            None => {}
        }
        if !scopes.is_empty() {
            let scopes: Vec<&str> = scopes.iter().map(|scope| &**scope).collect();
            write!(f, "{} scope {}", if role.is_some() { "," } else { " with" }, scopes.join(" and "))?;
        }
        Ok(())
    }
}

/// Everybody whom this lets in: none covers another. Nobody when there is no route. Policies in Cedar are not asked: they may let in fewer.
#[must_use]
pub fn callers(identity: &IdentityPlan, access: Option<&Access>) -> Vec<Caller> {
    let access = match access {
        None => return Vec::new(),
        Some(Access::Public) => return vec![Caller::Anonymous],
        Some(Access::Allow { access, .. }) => access,
    };
    let mut all = BTreeSet::new();
    for provider in &access.authenticate.any_of {
        let credential = Credential::of(identity, provider);
        for audience in audiences(credential, access) {
            // Where policies alone decide they may permit anybody: what they refuse is not known here.
            let anybody = (access.lines.is_empty() && access.policy.is_some()).then(|| Caller::Known {
                credential,
                provider: Arc::clone(provider),
                audience: audience.clone(),
                role: None,
                scopes: BTreeSet::new(),
                consumer: None,
            });
            all.extend(anybody);
            for line in &access.lines {
                all.extend(least(line, provider, identity).into_iter().map(|(role, scopes, consumer)| Caller::Known {
                    credential,
                    provider: Arc::clone(provider),
                    audience: audience.clone(),
                    role,
                    scopes,
                    consumer,
                }));
            }
        }
    }
    let is_least = |one: &&Caller| !all.iter().any(|other| other != *one && other.covers(one));
    all.iter().filter(is_least).cloned().collect()
}

/// Whom a credential must be for: only tokens say it.
fn audiences(credential: Credential, access: &RouteAccess) -> Vec<Option<Arc<str>>> {
    match credential {
        Credential::Token => access.authenticate.audiences.iter().cloned().map(Some).collect(),
        Credential::Certificate | Credential::Session | Credential::Key | Credential::Signature => vec![None],
    }
}

/// What a caller must have: a role or none, scopes, and to be a consumer or not.
type Least = (Option<Arc<str>>, BTreeSet<Arc<str>>, Option<(ConsumerFits, Arc<str>)>);

/// The least that a caller of `provider` must have to be let in by a line.
fn least(line: &Line, provider: &str, identity: &IdentityPlan) -> Vec<Least> {
    // One that names nothing lets nobody in.
    if line.roles.is_empty() && line.scopes.is_empty() && line.consumers.is_empty() {
        return Vec::new();
    }
    let scopes: BTreeSet<Arc<str>> = line.scopes.iter().cloned().collect();
    let own = line.roles.iter().filter(|(of, _)| **of == *provider).map(|(_, role)| Some(Arc::clone(role)));
    let roles: Vec<Option<Arc<str>>> = if line.roles.is_empty() { vec![None] } else { own.collect() };
    let named = line.consumers.iter().filter_map(|name| identity.consumers.iter().find(|one| one.name == *name));
    let theirs = named.filter(|one| one.fits.provider() == provider).map(|one| Some((one.fits.clone(), Arc::clone(&one.name))));
    let consumers: Vec<Option<(ConsumerFits, Arc<str>)>> = if line.consumers.is_empty() { vec![None] } else { theirs.collect() };
    let with =
        |role: &Option<Arc<str>>| consumers.iter().map(|one| (role.clone(), scopes.clone(), one.clone())).collect::<Vec<_>>();
    roles.iter().flat_map(with).collect()
}

/// Those of `callers` whom `access` does not let in, as the compiled lines decide.
///
/// Whom a route lets in is closed upwards: more roles and scopes never close what fewer open. So it is enough to ask about the least.
pub(crate) fn refused(callers: &[Caller], identity: &IdentityPlan, access: Option<&Access>) -> Vec<Caller> {
    let access = match access {
        None => return callers.to_vec(),
        Some(Access::Public) => return Vec::new(),
        Some(Access::Allow { access, .. }) => access,
    };
    // A line is of its own configuration, whose words the vocabulary holds; what a caller has beyond them is worth nothing there.
    let names = identity.consumers.iter().map(|one| &one.name);
    let Ok(words) = Vocabulary::of(&access.lines, names) else { return callers.to_vec() };
    let lines = Allow::compile(&access.lines, &words);
    let is_refused = |caller: &&Caller| match caller {
        Caller::Anonymous => true,
        Caller::Known { credential, provider, audience, role, scopes, consumer } => {
            let vouches = access.authenticate.any_of.contains(provider) && Credential::of(identity, provider) == *credential;
            let is_meant = audience.as_ref().is_none_or(|audience| access.authenticate.audiences.contains(audience));
            // SECURITY: by what tells who it is, not by the name, which may be somebody else's here.
            let is_same = |fits: &ConsumerFits| (0..).zip(&identity.consumers).find(|(_, one)| one.fits == *fits);
            let number = consumer.as_ref().and_then(|(fits, _)| is_same(fits)).map(|(number, _)| number);
            let grants = words.grants(provider, role.iter().map(|role| &**role), scopes.iter().map(|scope| &**scope));
            let is_let_in = (access.lines.is_empty() && access.policy.is_some()) || lines.decide(&grants, number).is_some();
            !vouches || !is_meant || !is_let_in
        }
    };
    callers.iter().filter(is_refused).cloned().collect()
}
