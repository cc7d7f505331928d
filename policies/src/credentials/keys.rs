//! Files of private keys.

use portcullis_engines_jose::SigningKeys;
use portcullis_gateway_policy::{FileContent, FileFormat, FileProblem};

/// How such files are read.
pub const SIGNING_KEYS: FileFormat = FileFormat {
    bytes_max: 64 * 1024,
    read: |bytes| match SigningKeys::read(bytes) {
        Ok(keys) => Ok(FileContent::new(keys)),
        Err(fault) => Err(vec![FileProblem { line: None, what: fault.to_string() }]),
    },
};
