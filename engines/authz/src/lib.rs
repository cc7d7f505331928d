//! May they: lines that allow, compiled to tests of bits.
//!
//! A [`Vocabulary`] gives each role and scope that any line names a bit. What a credential grants is turned into bits once, when it is
//! verified; each request then compares bits. Roles belong to their provider: equal names of two providers are two roles.

mod allow;
mod consumers;
mod vocabulary;

pub use allow::{Allow, Line};
pub use consumers::{Belongs, ConsumerRow, Consumers};
pub use vocabulary::{NAMES_MAX, Vocabulary, VocabularyFull};

#[cfg(test)]
mod tests;
