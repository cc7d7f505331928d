//! A row of the table of policies.

use crate::{
    AuthenticatePlan, CompileAccess, CompileCredentials, CompileLogin, CompileSigner, FileFormat, KeyStorePlan, LiveFiles, Phase,
    Policy,
};
use portcullis_model_settings::PolicySchema;
use std::any::Any;
use std::sync::Arc;

/// Why the settings of a policy could not be made into one; shown to the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileError(pub String);

/// Makes the running policy from the settings of every level, outermost first (each level only tightens), and the files that they name.
pub type Compile = fn(&[Arc<dyn Any + Send + Sync>], &LiveFiles) -> Result<Arc<dyn Policy>, CompileError>;

/// Makes the part of a policy that runs in another phase, as [`Compile`] does; nothing if there is none.
pub type CompilePart = fn(&[Arc<dyn Any + Send + Sync>], &LiveFiles) -> Result<Option<Arc<dyn Policy>>, CompileError>;

/// Makes what a policy of identity does on a route that is for everybody, of an API that asks who is calling on others. Nothing if it does
/// nothing there.
pub type CompilePublic = fn(&AuthenticatePlan, &[Arc<KeyStorePlan>]) -> Option<Arc<dyn Policy>>;

/// How a running policy is made.
#[derive(Clone, Copy)]
pub enum Making {
    /// From the settings that are written under its name.
    Settings(Compile),
    /// From the settings that are written under the name of another policy, for the part of it that runs in another phase. Nothing if they
    /// have no such part.
    SettingsOf(&'static str, CompilePart),
    /// From who may call, for each route that is not for everybody; and for the others, if there is something to do.
    Access(CompileAccess, CompilePublic),
    /// From a login, for its endpoints alone.
    Login(CompileLogin),
    /// From what an API's upstream gets as a credential, for each of its routes; and from a signer, for where its keys are published.
    Credentials(CompileCredentials, CompileSigner),
}

/// A policy as the table of policies lists it: its settings and how they become a running policy.
#[derive(Clone, Copy)]
pub struct PolicyDefinition {
    /// The name, how its settings are read, tightened and documented.
    pub settings: PolicySchema,
    /// When it runs.
    pub phase: Phase,
    /// Whether it also runs, with its defaults, where nothing is configured.
    pub always: bool,
    /// How it is made.
    pub compile: Making,
    /// How the files that its settings name are read, for each kind of them.
    pub files: &'static [FileFormat],
}
