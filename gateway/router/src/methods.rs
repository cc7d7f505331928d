//! Sets of methods, compared by a bit.

/// Methods that have a bit of their own.
const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
/// Set when a set has methods beyond those.
const OTHERS: u16 = 1 << 15;

/// The methods of a route, as bits. Methods without a bit of their own are kept with the route, as `others`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MethodSet(u16);

/// A method that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'m> {
    name: &'m str,
    bit: u16,
}

fn bit(method: &str) -> u16 {
    KNOWN.iter().position(|known| *known == method).map_or(OTHERS, |at| 1 << at)
}

impl<'m> Asked<'m> {
    pub(crate) fn new(name: &'m str) -> Self {
        Self { name, bit: bit(name) }
    }
}

impl MethodSet {
    /// The set of some methods, and those of them that have no bit of their own.
    pub(crate) fn new(methods: Vec<Box<str>>) -> (Self, Box<[Box<str>]>) {
        let set = methods.iter().fold(0, |set, method| set | bit(method));
        (Self(set), methods.into_iter().filter(|method| bit(method) == OTHERS).collect())
    }

    /// Whether the method is in the set.
    pub(crate) fn has(self, asked: Asked<'_>, others: &[Box<str>]) -> bool {
        self.0 & asked.bit != 0 && (asked.bit != OTHERS || others.iter().any(|own| **own == *asked.name))
    }

    /// The methods by name.
    pub(crate) fn names(self, others: &[Box<str>]) -> impl Iterator<Item = &str> {
        let known = KNOWN.into_iter().enumerate().filter(move |(at, _)| self.0 & (1 << at) != 0);
        known.map(|(_, name)| name).chain(others.iter().map(AsRef::as_ref))
    }
}
