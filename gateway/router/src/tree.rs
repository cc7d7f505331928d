//! From a path to the routes of the most specific template that fits it.
//!
//! Laid out for few cache misses at 100,000 routes: nodes, edges and candidates lie in one array each, in the order in which a
//! look-up passes them.

use crate::candidate::Candidate;
use crate::hash::{FastHasher, words};
use crate::template::Segment;
use std::hash::Hasher;
use std::num::NonZeroU32;

/// How many nodes one look-up may visit. Static text and parameters that stand beside each other on many levels make it go back and
/// try again; beyond this it is refused, never given to a broader template.
const VISITS_MAX: u32 = 4096;

/// Texts up to this length are compared without leaving the edge.
const SHORT: usize = 16;

/// Candidates in an array, in the order in which they are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    start: u32,
    len: u32,
}

/// A place between two segments.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// Routes whose template ends here.
    here: Span,
    /// Routes whose template catches all that is left here.
    catch_all: Span,
    /// Where a parameter leads. The first node is a root, so no child is number 0.
    param: Option<NonZeroU32>,
    has_statics: bool,
}

/// From a node to its child by static text.
#[derive(Clone, Copy, Debug)]
struct Edge {
    /// The first bytes of the text.
    begin: [u64; 2],
    parent: u32,
    child: NonZeroU32,
    text_start: u32,
    text_len: u32,
}

/// Edges of all nodes, in one table with open addressing, at most half full.
#[derive(Debug, Default)]
struct Edges {
    slots: Box<[Option<Edge>]>,
    texts: String,
}

/// A template to be put into the tree.
pub(crate) struct Entry<'s> {
    /// The number of the host pattern.
    pub(crate) host: u32,
    /// The template.
    pub(crate) segments: &'s [Segment],
    /// The route; those with lower numbers are tried first.
    pub(crate) candidate: Candidate,
}

/// The templates of every host pattern.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// By the number of the host pattern.
    roots: Box<[u32]>,
    nodes: Box<[Node]>,
    edges: Edges,
    candidates: Box<[Candidate]>,
}

/// Why a look-up has no routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Miss {
    Nothing,
    /// It visited too many nodes.
    Exhausted,
}

/// A step from node to node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step<'s> {
    Static(&'s str),
    Param,
    CatchAll,
}

fn steps(segments: &[Segment]) -> impl Iterator<Item = Step<'_>> {
    segments.iter().map(|segment| match segment {
        Segment::Static(text) => Step::Static(text),
        Segment::Param(_) => Step::Param,
        Segment::CatchAll(_) => Step::CatchAll,
    })
}

/// The number of the next element. What does not fit into 32 bits is never found, that is, refused.
fn next_number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Where in a table of this many slots, a power of two, an edge is looked for first.
fn first_slot(parent: u32, text: &str, slots: usize) -> usize {
    let mut hasher = FastHasher::with_seed(parent);
    hasher.write(text.as_bytes());
    hasher.finish() as usize & slots.wrapping_sub(1)
}

impl Edges {
    fn with_room_for(count: usize) -> Self {
        let slots = if count == 0 { 0 } else { (count * 2).next_power_of_two() };
        Self { slots: vec![None; slots].into(), texts: String::new() }
    }

    fn add(&mut self, parent: u32, text: &str, child: NonZeroU32) {
        let edge = Edge {
            begin: words(text.as_bytes()),
            parent,
            child,
            text_start: next_number(self.texts.len()),
            text_len: next_number(text.len()),
        };
        self.texts.push_str(text);
        let first = first_slot(parent, text, self.slots.len());
        let (before, from) = self.slots.split_at_mut(first);
        if let Some(free) = from.iter_mut().chain(before).find(|slot| slot.is_none()) {
            *free = Some(edge);
        }
    }

    fn find(&self, parent: u32, text: &str) -> Option<NonZeroU32> {
        let begin = words(text.as_bytes());
        let (before, from) = self.slots.split_at_checked(first_slot(parent, text, self.slots.len()))?;
        for edge in from.iter().chain(before).map_while(Option::as_ref) {
            if edge.begin == begin
                && edge.parent == parent
                && edge.text_len as usize == text.len()
                && (text.len() <= SHORT || self.text_of(edge) == Some(text))
            {
                return Some(edge.child);
            }
        }
        None
    }

    fn text_of(&self, edge: &Edge) -> Option<&str> {
        let start = edge.text_start as usize;
        self.texts.get(start..start + edge.text_len as usize)
    }
}

/// A tree in the making.
struct Growing<'s> {
    roots: Vec<u32>,
    nodes: Vec<Node>,
    edges: Vec<(u32, &'s str, NonZeroU32)>,
    candidates: Vec<Candidate>,
    /// The way from the root to where the last template ended.
    way: Vec<(Step<'s>, u32)>,
}

impl<'s> Growing<'s> {
    fn root_of(&mut self, host: u32) -> u32 {
        while self.roots.len() <= host as usize {
            self.roots.push(next_number(self.nodes.len()));
            self.nodes.push(Node::default());
            self.way.clear();
        }
        self.roots.get(host as usize).copied().unwrap_or(u32::MAX)
    }

    fn child(&mut self, parent: u32, step: Step<'s>) -> Option<u32> {
        let number = next_number(self.nodes.len());
        let child = NonZeroU32::new(number)?;
        let node = self.nodes.get_mut(parent as usize)?;
        match step {
            Step::Static(text) => {
                node.has_statics = true;
                self.edges.push((parent, text, child));
            }
            Step::Param => node.param = Some(child),
            Step::CatchAll => return None,
        }
        self.nodes.push(Node::default());
        Some(number)
    }

    /// Adds a template. They come sorted, so what it shares with the tree is a part of the way to the one before.
    fn add(&mut self, entry: &Entry<'s>) -> Option<()> {
        let root = self.root_of(entry.host);
        let ways = || steps(entry.segments).filter(|step| *step != Step::CatchAll);
        let shared = self.way.iter().zip(ways()).take_while(|((known, _), step)| known == step).count();
        self.way.truncate(shared);
        for step in ways().skip(shared) {
            let parent = self.way.last().map_or(root, |(_, node)| *node);
            let child = self.child(parent, step)?;
            self.way.push((step, child));
        }
        let node = self.nodes.get_mut(self.way.last().map_or(root, |(_, node)| *node) as usize)?;
        let catches_all = matches!(entry.segments.last(), Some(Segment::CatchAll(_)));
        let span = if catches_all { &mut node.catch_all } else { &mut node.here };
        if span.len == 0 {
            span.start = next_number(self.candidates.len());
        }
        span.len += 1;
        self.candidates.push(entry.candidate);
        Some(())
    }
}

impl Tree {
    /// Builds the tree.
    pub(crate) fn build(mut entries: Vec<Entry<'_>>) -> Self {
        entries.sort_unstable_by(|a, b| {
            (a.host.cmp(&b.host))
                .then_with(|| steps(a.segments).cmp(steps(b.segments)))
                .then(a.candidate.route.cmp(&b.candidate.route))
        });
        let mut growing = Growing { roots: vec![], nodes: vec![], edges: vec![], candidates: vec![], way: vec![] };
        for entry in &entries {
            let added = growing.add(entry);
            debug_assert!(added.is_some(), "there are fewer than 2^32 nodes");
        }
        let mut edges = Edges::with_room_for(growing.edges.len());
        for (parent, text, child) in growing.edges {
            edges.add(parent, text, child);
        }
        edges.texts.shrink_to_fit();
        Self { roots: growing.roots.into(), nodes: growing.nodes.into(), edges, candidates: growing.candidates.into() }
    }

    /// The number of the host pattern and the candidates, for every template with more than one.
    pub(crate) fn shared_templates(&self) -> impl Iterator<Item = (usize, &[Candidate])> {
        let spans = self.nodes.iter().enumerate().flat_map(|(number, node)| [(number, node.here), (number, node.catch_all)]);
        spans.filter(|(_, span)| span.len > 1).map(|(number, span)| {
            let host = self.roots.partition_point(|root| *root as usize <= number).saturating_sub(1);
            (host, self.candidates_in(span))
        })
    }

    /// The candidates of the most specific template of a host pattern that fits `path`: at each segment static text before a parameter
    /// before all that is left. None if no template fits, or if finding out would take too long.
    pub(crate) fn find(&self, host: usize, path: &str) -> Option<&[Candidate]> {
        let root = *self.roots.get(host)?;
        let mut visits = VISITS_MAX;
        let span = self.descend(root, path.strip_prefix('/'), &mut visits).ok()?;
        Some(self.candidates_in(span))
    }

    fn candidates_in(&self, span: Span) -> &[Candidate] {
        let start = span.start as usize;
        // INVARIANT: spans are only made while their candidates are added.
        self.candidates.get(start..start + span.len as usize).unwrap_or(&[])
    }

    fn descend(&self, at: u32, rest: Option<&str>, visits: &mut u32) -> Result<Span, Miss> {
        *visits = visits.checked_sub(1).ok_or(Miss::Exhausted)?;
        let node = self.nodes.get(at as usize).ok_or(Miss::Nothing)?;
        let Some(rest) = rest else {
            return if node.here.len > 0 { Ok(node.here) } else { Err(Miss::Nothing) };
        };
        let (segment, behind) = match rest.split_once('/') {
            Some((segment, behind)) => (segment, Some(behind)),
            None => (rest, None),
        };
        let by_text = if node.has_statics { self.edges.find(at, segment) } else { None };
        let by_param = node.param.filter(|_| !segment.is_empty());
        for child in [by_text, by_param].into_iter().flatten() {
            match self.descend(child.get(), behind, visits) {
                Err(Miss::Nothing) => {}
                // SECURITY: a look-up that was cut short must not end at a broader template.
                found_or_exhausted => return found_or_exhausted,
            }
        }
        if node.catch_all.len > 0 { Ok(node.catch_all) } else { Err(Miss::Nothing) }
    }
}
