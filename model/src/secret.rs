//! Values that must not be seen: keys, tokens, passwords.

use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// A secret value. It prints as `[secret]`, is wiped when dropped, and is only readable through [`Secret::reveal`].
///
/// This file is the only place that reveals one (`cargo xtask tidy` checks it).
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Takes a value into custody.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value itself, for the one call that needs it.
    pub fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::new(String::from("hunter2"));
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert_eq!(secret.reveal(), "hunter2");
    }
}
