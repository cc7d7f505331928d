//! What providers answer when control asks them on behalf of a policy.

/// An answer, and when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The body.
    pub body: Vec<u8>,
    /// When it was there, in seconds since the Unix epoch. Tokens in it are judged by this moment: when whoever asked had come, they were not made
    /// yet.
    pub at_unix_seconds: u64,
}
