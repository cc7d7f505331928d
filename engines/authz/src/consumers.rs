//! Which consumer a caller is.

use portcullis_model::{Consumer, UsagePlan};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// What is a consumer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belongs<'m> {
    /// Callers of a provider that have this name there.
    Subject(&'m str),
    /// Callers of a provider whose tokens have this text in this claim. All consumers of a provider look at one claim: so no caller is two.
    Claim(&'m str, &'m str),
}

/// A consumer, as it is written.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerRow<'m> {
    /// The name.
    pub name: &'m Arc<str>,
    /// Who vouches for its callers.
    pub provider: &'m Arc<str>,
    /// What is its own there.
    pub belongs: Belongs<'m>,
    /// Its plan.
    pub plan: Option<&'m Arc<UsagePlan>>,
}

#[derive(Default)]
struct OfProvider {
    subjects: HashMap<Box<str>, Consumer>,
    claim: Option<Box<str>>,
    values: HashMap<Box<str>, Consumer>,
}

/// All consumers, found by what is theirs: however many there are, a look-up each.
#[derive(Default)]
pub struct Consumers {
    providers: HashMap<Arc<str>, OfProvider>,
    digest: [u8; 32],
}

impl Consumers {
    /// Consumers; of equal things the first counts. `digest` is of all of that.
    pub fn new<'m>(all: impl IntoIterator<Item = ConsumerRow<'m>>, digest: [u8; 32]) -> Self {
        let mut providers: HashMap<Arc<str>, OfProvider> = HashMap::new();
        for (number, ConsumerRow { name, provider, belongs, plan }) in (0..).zip(all) {
            let consumer = Consumer { name: Arc::clone(name), number, plan: plan.cloned() };
            let of_provider = providers.entry(Arc::clone(provider)).or_default();
            match belongs {
                Belongs::Subject(subject) => drop(of_provider.subjects.entry(subject.into()).or_insert(consumer)),
                Belongs::Claim(claim, value) => {
                    of_provider.claim.get_or_insert_with(|| claim.into());
                    of_provider.values.entry(value.into()).or_insert(consumer);
                }
            }
        }
        Self { providers, digest }
    }

    /// The consumer that a provider's caller of this name is.
    #[must_use]
    pub fn of_subject(&self, provider: &str, subject: &str) -> Option<Consumer> {
        self.providers.get(provider)?.subjects.get(subject).cloned()
    }

    /// The claim of a provider's tokens that says which consumer their holder is.
    #[must_use]
    pub fn claim(&self, provider: &str) -> Option<&str> {
        self.providers.get(provider)?.claim.as_deref()
    }

    /// The consumer whom a text in that claim stands for.
    #[must_use]
    pub fn of_claim(&self, provider: &str, value: &str) -> Option<Consumer> {
        self.providers.get(provider)?.values.get(value).cloned()
    }
}

impl PartialEq for Consumers {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Consumers {}

impl fmt::Debug for Consumers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Consumers({:?})", self.digest)
    }
}
