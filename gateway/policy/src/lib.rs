//! What a policy is, and the way an exchange becomes [`Cleared`]. Knows no concrete policy.
//!
//! The type [`Cleared`] is the proof that every policy of the route has been asked: only [`Pipeline::clear`] makes one, and the
//! upstream takes nothing else.

mod answered;
mod body;
mod client_certificates;
mod consumers;
mod credentials;
mod defend;
mod definition;
mod desk;
mod exchange;
mod identity;
mod introspection;
mod key_stores;
mod live;
mod live_keys;
mod login;
mod pipeline;
mod preflight;
mod revocation;
mod signatures;

pub use answered::Answered;
pub use body::{BODY_HELD_MAX, BodyBudget, BodySource, HeldBody, NoBody};
pub use client_certificates::{CertificateClient, CertificateMatch, CertificatesPlan};
pub use consumers::{ConsumerFits, ConsumerPlan};
pub use credentials::{
    ClientTokenPlan, CompileCredentials, CompileSigner, CredentialsContext, CredentialsPlan, ExchangePlan, HeldToken, LiveToken,
    SignPlan, SignerPlan,
};
pub use defend::{
    Ban, BanRules, Bans, ClientNetwork, ConnectionRate, Defence, Failures, LockedOut, Lockout, LockoutPer, LockoutRules, Lockouts,
    OTHERS_MAX, Whom, is_offence,
};
pub use definition::{Compile, CompileError, CompilePart, CompilePublic, Making, PolicyDefinition};
pub use desk::{Desk, DeskFailure, ExchangeDesk, IntrospectionDesk, Question};
pub use exchange::{ConnectionFacts, Exchange, LimitStanding, Scheme};
pub use identity::{
    AccessContext, AuthenticatePlan, CompileAccess, Credentials, DiscoveryPlan, KeySource, PathParameter, ProviderPlan,
    ProviderRoles, RouteAccess, RoutePolicy, StateDigest, StatePool,
};
pub use introspection::{Flights, IntrospectionPlan};
pub use key_stores::KeyStorePlan;
pub use live::{FileContent, FileFormat, FileProblem, LiveFile, LiveFiles};
pub use live_keys::LiveKeys;
pub use login::{
    CompileLogin, LiveEndpoints, LoginDesk, LoginEndpoint, LoginPlan, ProviderEndpoints, SESSION_COOKIE_PREFIX, SecretSource,
    TokenFailure, TokenQuestion,
};
pub use pipeline::{
    Cleared, DroppedTrailers, LocalAnswer, Phase, Pipeline, PipelineStep, Policy, Step, Stop, Stopped, TrailerNames, Verdict,
};
pub use preflight::{ASKED_MAX, Grant, Others, asked_fields, may_bring, preflight_method};
pub use revocation::{Reach, Revocable, Revocations};
pub use signatures::{SignatureForm, SignatureKeyPlan, SignaturesPlan};
