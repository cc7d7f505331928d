//! The tree of a configuration file: values with the positions they were written at.
//!
//! One flat vector in the order of the text, 20 bytes a value, so that 100,000 routes are cheap to hold and to drop. A value's
//! children follow it; `end` says where they stop.

use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;

/// A file of a configuration, numbered by whoever read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Which file.
    pub file: FileId,
    /// The line, counted from 1.
    pub line: u32,
    /// The column in characters, counted from 1.
    pub column: u32,
}

/// How a scalar was written and what the YAML 1.2 core schema makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    Null,
    Bool,
    Int,
    Float,
    Str,
    List,
    Map,
}

#[derive(Clone, Copy, Debug)]
struct Raw {
    tag: Tag,
    line: u32,
    column: u32,
    /// Scalars: where their text starts. Lists and maps: one past their last descendant.
    a: u32,
    /// Scalars: the length of their text.
    b: u32,
}

/// A whole file as a tree. Made by [`TreeBuilder`].
pub struct Tree {
    file: FileId,
    nodes: Vec<Raw>,
    text: String,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SECURITY: the text is not shown; an operator may have written a secret where a reference belongs.
        f.debug_struct("Tree").field("file", &self.file).field("nodes", &self.nodes.len()).finish()
    }
}

/// Why a tree could not be built further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeFull {
    /// More values than allowed.
    Nodes,
    /// Nested deeper than allowed.
    Depth,
    /// More than 4 GiB of text.
    Text,
}

/// Builds a [`Tree`] from the events of a parser, within bounds.
#[derive(Debug)]
pub struct TreeBuilder {
    tree: Tree,
    open: Vec<u32>,
    nodes_max: usize,
    depth_max: usize,
}

impl TreeBuilder {
    /// An empty tree that may grow to `nodes_max` values and `depth_max` levels.
    #[must_use]
    pub fn new(file: FileId, nodes_max: usize, depth_max: usize) -> Self {
        Self { tree: Tree { file, nodes: Vec::new(), text: String::new() }, open: Vec::new(), nodes_max, depth_max }
    }

    fn push(&mut self, tag: Tag, line: u32, column: u32, a: u32, b: u32) -> Result<(), TreeFull> {
        if self.tree.nodes.len() >= self.nodes_max || self.tree.nodes.len() >= u32::MAX as usize {
            return Err(TreeFull::Nodes);
        }
        self.tree.nodes.push(Raw { tag, line, column, a, b });
        Ok(())
    }

    /// Adds a scalar. A plain one is typed by the YAML 1.2 core schema, a quoted one is text.
    ///
    /// # Errors
    /// When a bound is reached.
    pub fn scalar(&mut self, text: &str, plain: bool, line: u32, column: u32) -> Result<(), TreeFull> {
        let (Ok(start), Ok(len)) = (u32::try_from(self.tree.text.len()), u32::try_from(text.len())) else {
            return Err(TreeFull::Text);
        };
        let tag = if plain { resolve(text) } else { Tag::Str };
        self.tree.text.push_str(text);
        self.push(tag, line, column, start, len)
    }

    /// Begins a list.
    ///
    /// # Errors
    /// When a bound is reached.
    pub fn begin_list(&mut self, line: u32, column: u32) -> Result<(), TreeFull> {
        self.begin(Tag::List, line, column)
    }

    /// Begins a map. Its children are its keys and values in turn; keys must be scalars.
    ///
    /// # Errors
    /// When a bound is reached.
    pub fn begin_map(&mut self, line: u32, column: u32) -> Result<(), TreeFull> {
        self.begin(Tag::Map, line, column)
    }

    fn begin(&mut self, tag: Tag, line: u32, column: u32) -> Result<(), TreeFull> {
        if self.open.len() >= self.depth_max {
            return Err(TreeFull::Depth);
        }
        let index = u32::try_from(self.tree.nodes.len()).map_err(|_| TreeFull::Nodes)?;
        self.push(tag, line, column, 0, 0)?;
        self.open.push(index);
        Ok(())
    }

    /// Ends the list or map begun last.
    pub fn end(&mut self) {
        let end = u32::try_from(self.tree.nodes.len()).unwrap_or(u32::MAX);
        if let Some(raw) = self.open.pop().and_then(|index| self.tree.nodes.get_mut(index as usize)) {
            raw.a = end;
        }
    }

    /// The tree, or nothing when it has no value or something is still open.
    #[must_use]
    pub fn finish(self) -> Option<Arc<Tree>> {
        (self.open.is_empty() && !self.tree.nodes.is_empty()).then(|| Arc::new(self.tree))
    }
}

/// The YAML 1.2 core schema for plain scalars (YAML 1.2.2 section 10.3.2), without infinities and NaN, which stay text.
fn resolve(text: &str) -> Tag {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Tag::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => return Tag::Bool,
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Tag::Str;
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return if text.parse::<i64>().is_ok() { Tag::Int } else { Tag::Float };
    }
    let float = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    if float && text.parse::<f64>().is_ok_and(f64::is_finite) { Tag::Float } else { Tag::Str }
}

impl Tree {
    /// The value of the whole file.
    #[must_use]
    pub fn root(self: &Arc<Self>) -> Node<'_> {
        Node { tree: self, index: 0 }
    }

    /// How many values it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it holds nothing; never so for a tree that was built.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    fn raw(&self, index: u32) -> Raw {
        const NOTHING: Raw = Raw { tag: Tag::Null, line: 1, column: 1, a: 0, b: 0 };
        // INVARIANT: a Node's index comes from the tree it points into, which does not change any more.
        self.nodes.get(index as usize).copied().unwrap_or(NOTHING)
    }

    fn scalar_text(&self, raw: Raw) -> &str {
        let start = raw.a as usize;
        self.text.get(start..start + raw.b as usize).unwrap_or("")
    }
}

/// A value in a tree: a cheap handle.
#[derive(Clone, Copy)]
pub struct Node<'t> {
    tree: &'t Arc<Tree>,
    index: u32,
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({:?}, {})", self.position(), self.describe())
    }
}

/// What a value is.
#[derive(Clone, Copy, Debug)]
pub enum View<'t> {
    /// Nothing was written.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction or an exponent, or a whole one too large for [`View::Int`].
    Float(f64),
    /// Text, also a quoted number.
    Str(&'t str),
    /// A list.
    List(Items<'t>),
    /// Names and values.
    Map(Entries<'t>),
}

impl<'t> Node<'t> {
    /// What it is.
    #[must_use]
    pub fn view(&self) -> View<'t> {
        let raw = self.tree.raw(self.index);
        let text = self.tree.scalar_text(raw);
        match raw.tag {
            Tag::Null => View::Null,
            Tag::Bool => View::Bool(text.eq_ignore_ascii_case("true")),
            Tag::Int => text.parse().map_or(View::Str(text), View::Int),
            Tag::Float => text.parse().map_or(View::Str(text), View::Float),
            Tag::Str => View::Str(text),
            Tag::List => View::List(Items { tree: self.tree, next: self.index + 1, end: raw.a }),
            Tag::Map => View::Map(Entries(Items { tree: self.tree, next: self.index + 1, end: raw.a })),
        }
    }

    /// The text, if it is text and not a number, `true`, `false` or nothing.
    #[must_use]
    pub fn as_str(&self) -> Option<&'t str> {
        match self.view() {
            View::Str(text) => Some(text),
            _ => None,
        }
    }

    /// A scalar as it was written, whatever its type; nothing for lists and maps.
    #[must_use]
    pub fn written(&self) -> Option<&'t str> {
        let raw = self.tree.raw(self.index);
        (!matches!(raw.tag, Tag::List | Tag::Map)).then(|| self.tree.scalar_text(raw))
    }

    /// The entries of a map.
    #[must_use]
    pub fn entries(&self) -> Option<Entries<'t>> {
        match self.view() {
            View::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The items of a list.
    #[must_use]
    pub fn items(&self) -> Option<Items<'t>> {
        match self.view() {
            View::List(items) => Some(items),
            _ => None,
        }
    }

    /// The value of a key in a map.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Node<'t>> {
        self.entries()?.find(|(key, _)| key.key() == name).map(|(_, value)| value)
    }

    /// The text of a key; what was written, whatever it looks like.
    #[must_use]
    pub fn key(&self) -> &'t str {
        self.written().unwrap_or("")
    }

    /// Where it starts.
    #[must_use]
    pub fn position(&self) -> Position {
        let raw = self.tree.raw(self.index);
        Position { file: self.tree.file, line: raw.line, column: raw.column }
    }

    /// How many characters to underline: the scalar's length, 1 for lists and maps.
    #[must_use]
    pub fn width(&self) -> u32 {
        let len = self.written().map_or(1, |text| text.chars().take(200).count());
        u32::try_from(len).unwrap_or(1).max(1)
    }

    /// Its kind in words, for messages.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match self.view() {
            View::Null => "nothing",
            View::Bool(_) => "true or false",
            View::Int(_) => "a whole number",
            View::Float(_) => "a number",
            View::Str(_) => "text",
            View::List(_) => "a list",
            View::Map(_) => "a section",
        }
    }

    /// The way to it from the top of the file, as a JSON pointer (RFC 6901); the empty text for the top itself.
    ///
    /// Found by descending, so that decoding need not keep track; costs the width of the levels above.
    #[must_use]
    pub fn path(&self) -> String {
        let mut out = String::new();
        let mut here = self.tree.root();
        while here.index != self.index {
            let Some(next) = here.child_towards(self.index, &mut out) else { break };
            here = next;
        }
        out
    }

    fn child_towards(&self, target: u32, out: &mut String) -> Option<Node<'t>> {
        match self.view() {
            View::List(items) => {
                let (at, item) = items.enumerate().find(|(_, item)| target < item.end())?;
                out.push('/');
                out.push_str(&at.to_string());
                Some(item)
            }
            View::Map(mut entries) => {
                let (key, value) = entries.find(|(_, value)| target < value.end())?;
                out.push('/');
                out.push_str(&key.key().replace('~', "~0").replace('/', "~1"));
                // A key's own path is that of its value, so that a message about either names the same place.
                if target == key.index { None } else { Some(value) }
            }
            _ => None,
        }
    }

    fn end(&self) -> u32 {
        let raw = self.tree.raw(self.index);
        if matches!(raw.tag, Tag::List | Tag::Map) { raw.a } else { self.index + 1 }
    }

    /// Feeds what is written (kinds, texts, structure; not positions) to a hasher: equal content, equal bytes.
    pub fn feed(&self, hasher: &mut impl Hasher) {
        let end = self.end();
        for index in self.index..end {
            let raw = self.tree.raw(index);
            hasher.write_u8(raw.tag as u8);
            match raw.tag {
                // The number of descendants makes the structure unambiguous.
                Tag::List | Tag::Map => hasher.write_u32(raw.a - index),
                _ => {
                    hasher.write_u32(raw.b);
                    hasher.write(self.tree.scalar_text(raw).as_bytes());
                }
            }
        }
    }

    /// Keeps the value beyond the tree's borrow; the whole file's tree stays in memory with it.
    #[must_use]
    pub fn keep(&self) -> NodeRef {
        NodeRef { tree: Arc::clone(self.tree), index: self.index }
    }
}

/// A kept value: see [`Node::keep`].
#[derive(Clone, Debug)]
pub struct NodeRef {
    tree: Arc<Tree>,
    index: u32,
}

impl NodeRef {
    /// The value.
    #[must_use]
    pub fn node(&self) -> Node<'_> {
        Node { tree: &self.tree, index: self.index }
    }
}

/// The items of a list, in order.
#[derive(Clone, Copy)]
pub struct Items<'t> {
    tree: &'t Arc<Tree>,
    next: u32,
    end: u32,
}

impl fmt::Debug for Items<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Items")
    }
}

impl<'t> Iterator for Items<'t> {
    type Item = Node<'t>;

    fn next(&mut self) -> Option<Node<'t>> {
        (self.next < self.end).then(|| {
            let node = Node { tree: self.tree, index: self.next };
            self.next = node.end();
            node
        })
    }
}

/// The entries of a map as (key, value), in order.
#[derive(Clone, Copy, Debug)]
pub struct Entries<'t>(Items<'t>);

impl<'t> Iterator for Entries<'t> {
    type Item = (Node<'t>, Node<'t>);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.next()?, self.0.next()?))
    }
}
