//! From a path to the routes of the most specific template that fits it.

use crate::hash::FastMap;
use crate::template::{PathTemplate, Segment};

/// How many nodes one look-up may visit. Templates would have to be laid out for it to need more; then it finds nothing.
const VISITS_MAX: u32 = 4096;

/// Up to this many names are looked through one by one.
const LINEAR_MAX: usize = 6;

#[derive(Debug, Default)]
struct Node {
    few: Vec<(Box<str>, u32)>,
    many: FastMap<Box<str>, u32>,
    param: Option<u32>,
    here: Vec<u32>,
    catch_all: Vec<u32>,
}

impl Node {
    fn child(&self, segment: &str) -> Option<u32> {
        if self.many.is_empty() {
            self.few.iter().find(|(name, _)| **name == *segment).map(|(_, node)| *node)
        } else {
            self.many.get(segment).copied()
        }
    }

    fn add_child(&mut self, segment: &str, node: u32) {
        if self.many.is_empty() && self.few.len() < LINEAR_MAX {
            self.few.push((segment.into(), node));
            return;
        }
        self.many.extend(self.few.drain(..));
        self.many.insert(segment.into(), node);
    }
}

/// The templates of one host pattern, as a tree of segments.
#[derive(Debug)]
pub(crate) struct Paths {
    nodes: Vec<Node>,
}

impl Default for Paths {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl Paths {
    /// Adds a route and gives back the routes with the same template that were there before, names of parameters aside.
    pub(crate) fn add(&mut self, template: &PathTemplate, route: u32) -> &[u32] {
        let mut at = 0;
        let mut catches_all = false;
        for segment in template.segments() {
            match segment {
                Segment::Static(text) => at = self.step(at, Some(text)),
                Segment::Param(_) => at = self.step(at, None),
                Segment::CatchAll(_) => catches_all = true,
            }
        }
        let Some(node) = self.nodes.get_mut(at as usize) else { return &[] };
        let routes = if catches_all { &mut node.catch_all } else { &mut node.here };
        routes.push(route);
        routes.split_last().map_or(&[], |(_, before)| before)
    }

    /// The child of a node by text, or by parameter; made if it is not there.
    fn step(&mut self, at: u32, text: Option<&str>) -> u32 {
        let next = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let Some(node) = self.nodes.get_mut(at as usize) else { return at };
        let found = match text {
            Some(text) => node.child(text),
            None => node.param,
        };
        if let Some(child) = found {
            return child;
        }
        match text {
            Some(text) => node.add_child(text, next),
            None => node.param = Some(next),
        }
        self.nodes.push(Node::default());
        next
    }

    /// The routes of the most specific template that fits `path`: at each segment static text before a parameter before all that is
    /// left.
    pub(crate) fn find(&self, path: &str) -> Option<&[u32]> {
        let mut visits = VISITS_MAX;
        self.descend(0, path.strip_prefix('/'), &mut visits)
    }

    fn descend(&self, at: u32, rest: Option<&str>, visits: &mut u32) -> Option<&[u32]> {
        *visits = visits.checked_sub(1)?;
        let node = self.nodes.get(at as usize)?;
        let Some(rest) = rest else {
            return (!node.here.is_empty()).then_some(node.here.as_slice());
        };
        let (segment, behind) = match rest.split_once('/') {
            Some((segment, behind)) => (segment, Some(behind)),
            None => (rest, None),
        };
        node.child(segment)
            .and_then(|child| self.descend(child, behind, visits))
            .or_else(|| match node.param {
                Some(param) if !segment.is_empty() => self.descend(param, behind, visits),
                _ => None,
            })
            .or_else(|| (!node.catch_all.is_empty()).then_some(node.catch_all.as_slice()))
    }
}
