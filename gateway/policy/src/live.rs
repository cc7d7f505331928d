//! Files that policies name: read and watched by control, and replaced while the policy runs.

use crate::StatePool;
use arc_swap::ArcSwap;
use std::any::Any;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What was read from a file, in the form that the policy made of it.
pub struct FileContent(Box<dyn Any + Send + Sync>);

impl FileContent {
    /// A content.
    pub fn new<T: Any + Send + Sync>(content: T) -> Self {
        Self(Box::new(content))
    }
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProblem {
    /// In which line, counted from 1; nothing when it is about the whole file.
    pub line: Option<usize>,
    /// What, and what to do.
    pub what: String,
}

/// How the files of a policy are read.
#[derive(Clone, Copy)]
pub struct FileFormat {
    /// The longest file, in bytes.
    pub bytes_max: u64,
    /// Makes the content from the bytes, or tells what is wrong with them. Bounded in time and memory by what it is given.
    pub read: fn(&[u8]) -> Result<FileContent, Vec<FileProblem>>,
}

/// A file that a running policy looks at. What it holds is replaced as a whole, without a new configuration.
pub struct LiveFile {
    content: ArcSwap<FileContent>,
}

impl LiveFile {
    /// A file with its first content.
    #[must_use]
    pub fn new(content: FileContent) -> Self {
        Self { content: ArcSwap::from_pointee(content) }
    }

    /// Looks at the content; takes no lock. Nothing when it is not of this type, which only a fault of the gateway makes possible.
    pub fn look<T: Any, R>(&self, with: impl FnOnce(&T) -> R) -> Option<R> {
        self.content.load().0.downcast_ref().map(with)
    }

    /// Replaces the content, and gives the one before, which somebody may still look at.
    pub fn replace(&self, content: FileContent) -> Arc<FileContent> {
        self.content.swap(Arc::new(content))
    }
}

/// What a running policy finds beside its settings: the files that those name, by their paths, and what outlives the configuration.
#[derive(Clone, Default)]
pub struct LiveFiles {
    files: HashMap<PathBuf, Arc<LiveFile>>,
    pool: Arc<StatePool>,
}

impl LiveFiles {
    /// No files yet, and these states.
    #[must_use]
    pub fn beside(pool: Arc<StatePool>) -> Self {
        Self { files: HashMap::new(), pool }
    }

    /// Adds a file.
    pub fn insert(&mut self, path: PathBuf, file: Arc<LiveFile>) {
        self.files.insert(path, file);
    }

    /// The file of a path.
    #[must_use]
    pub fn of(&self, path: &Path) -> Option<&Arc<LiveFile>> {
        self.files.get(path)
    }

    /// The states that outlive the configuration.
    #[must_use]
    pub fn pool(&self) -> &StatePool {
        &self.pool
    }
}
