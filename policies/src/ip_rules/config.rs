//! What the operator writes.

use portcullis_model_settings::{Decode, Diagnostics, FilePath, IpNetwork, Level, Node, Schema, Tighten, Value, section};
use std::path::{Path, PathBuf};

/// How many networks may stand in the configuration itself.
const INLINE_MAX: usize = 4096;

section! {
    /// Which client addresses may come. Decided by the client's address as found behind trusted proxies, not by the proxies' own.
    /// What is on a deny list of any level is refused; where there are allow lists, the client must be on that of every level.
    pub struct IpRules {
        /// Addresses that are refused, also if they are allowed elsewhere.
        pub deny: Option<AddressList>,
        /// The only addresses that may come.
        pub allow: Option<AddressList>,
    }
}

section! {
    /// A list of addresses: those written here and those of the file together.
    pub struct AddressList {
        /// Networks or single addresses, at most 4096.
        pub networks: Vec<IpNetwork> = Vec::new(),
        /// A text file with one network or address a line, at most 1000000 of them and 64MiB; `#` begins a comment, and `none` alone stands
        /// for a list that is meant to be empty. It is read again when it changes; a file that is not right leaves the list as it was.
        pub file: Option<ListFile>,
    }
}

/// A file that is named in the settings; its path is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListFile(PathBuf);

impl ListFile {
    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Decode for ListFile {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        FilePath::decode(node, diagnostics).map(|path| Self(path.resolve(diagnostics.folder())))
    }

    fn encode(&self) -> Value {
        FilePath::new(self.0.clone()).encode()
    }

    fn schema() -> Schema {
        FilePath::schema()
    }
}

impl IpRules {
    fn lists(&self) -> impl Iterator<Item = (&'static str, &AddressList)> {
        let named = [("deny", self.deny.as_ref()), ("allow", self.allow.as_ref())];
        named.into_iter().filter_map(|(name, list)| Some((name, list?)))
    }
}

impl Tighten for IpRules {
    /// Deny lists add up and allow lists narrow down, so nothing that is written further in is weaker.
    fn tighten(_: &Self, _: &Self, _: &Node<'_>, _: &mut Diagnostics) {}

    fn check(&self, at: &Node<'_>, _: Level<'_>, diagnostics: &mut Diagnostics) {
        if self.deny.is_none() && self.allow.is_none() {
            diagnostics.error_with_help(at, "no list is written here", "add `deny` or `allow`, or remove it");
        }
        for (name, list) in self.lists() {
            let node = at.field(name).unwrap_or(*at);
            if list.networks.is_empty() && list.file.is_none() {
                let help = match name {
                    "allow" => "add `networks` or `file`; to let nobody in, write `disabled: { all: true, reason: … }`",
                    _ => "add `networks` or `file`, or remove it",
                };
                diagnostics.error_with_help(&node, format!("the list of `{name}` has no addresses"), help);
            }
            if list.networks.len() > INLINE_MAX {
                let what = format!("{} networks, and {INLINE_MAX} at most may stand here", list.networks.len());
                diagnostics.error_with_help(
                    &node.field("networks").unwrap_or(node),
                    what,
                    "put them into a file and name it by `file`",
                );
            }
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        self.lists().filter_map(|(_, list)| list.file.as_ref()).map(|file| file.0.clone()).collect()
    }
}
