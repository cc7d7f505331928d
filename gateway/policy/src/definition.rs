//! A row of the table of policies.

use crate::{CompileAccess, CompileLogin, FileFormat, LiveFiles, Phase, Policy};
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

/// How a running policy is made.
#[derive(Clone, Copy)]
pub enum Making {
    /// From the settings that are written under its name.
    Settings(Compile),
    /// From the settings that are written under the name of another policy, for the part of it that runs in another phase. Nothing if they
    /// have no such part.
    SettingsOf(&'static str, CompilePart),
    /// From who may call, for each route that is not for everybody.
    Access(CompileAccess),
    /// From a login, for its endpoints alone.
    Login(CompileLogin),
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
    /// How the files that its settings name are read, if it has any.
    pub files: Option<FileFormat>,
}
