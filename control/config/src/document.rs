//! The JSON schema and the reference, from the same definitions that decode.

use crate::settings::ConfigFile;
use portcullis_model_settings::{Decode, PolicySchema, Value};

/// schema
pub fn schema(_policies: &[PolicySchema]) -> Value {
    ConfigFile::schema()
}

/// reference
pub fn reference(_policies: &[PolicySchema]) -> String {
    String::new()
}
