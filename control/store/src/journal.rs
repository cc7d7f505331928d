//! What is kept equal on every node: lines, of which each has a field that says what it is about.

use tokio::time::Instant;

/// A line of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is about: a later line with the same field takes its place.
    pub field: String,
    /// What it says.
    pub text: String,
}

/// What is to be done after everything in the store has been compared with everything here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Lines that the store does not have and the others must hear of.
    pub publish: Vec<Line>,
    /// Fields of lines that say nothing any more.
    pub remove: Vec<String>,
    /// How many lines of the store were not understood; none of them counts.
    pub garbage: u64,
}

/// What is kept equal. Its functions may write to the disk.
pub trait Journal: Send + Sync + 'static {
    /// What it is called in the store; a short word.
    fn name(&self) -> &'static str;

    /// Takes what others have written, in their order; gives which lines were not understood, by their places.
    ///
    /// # Errors
    /// When it could not be kept. It will come again.
    fn take(&self, lines: Vec<Line>) -> Result<Vec<usize>, String>;

    /// Compares everything that the store has with everything that is known here.
    ///
    /// # Errors
    /// When it could not be kept. It will come again.
    fn reconcile(&self, found: Vec<Line>) -> Result<Reconciled, String>;

    /// Everything is known here that was in the store at this time.
    fn known_at(&self, at: Instant);
}
