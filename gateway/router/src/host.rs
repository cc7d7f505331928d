//! Which hosts a route is for.

use crate::hash::FastMap;
use std::fmt;

/// A host, hosts below a name, or any host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// Exactly this canonical host.
    Exact(Box<str>),
    /// Hosts with one or more labels in front of this suffix, which begins with a dot.
    Wildcard(Box<str>),
    /// Any host.
    Any,
}

impl HostPattern {
    /// Reads `api.example.com`, `*.example.com`, `127.0.0.1`, `[::1]` or `*`.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (name, wildcard) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        if let Some(inside) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address =
                inside.parse::<std::net::Ipv6Addr>().map_err(|_| format!("`{text}` is not an IPv6 address in brackets"))?;
            return Ok(Self::Exact(format!("[{address}]").into()));
        }
        let lower = name.to_ascii_lowercase();
        let label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if lower.len() > 253 || !lower.split('.').all(label) {
            return Err(format!("`{text}` is not a host; write a name, an address, `*.` and a name, or `*`, without port"));
        }
        Ok(if wildcard { Self::Wildcard(format!(".{lower}").into()) } else { Self::Exact(lower.into()) })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// From a host to the number of the pattern that decides for it: exact, then the longest wildcard, then any.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    exact: FastMap<Box<str>, usize>,
    suffixes: FastMap<Box<str>, usize>,
    any: Option<usize>,
    count: usize,
}

impl Hosts {
    /// The number of a pattern, a new one if it was not there.
    pub(crate) fn number(&mut self, pattern: &HostPattern) -> usize {
        let next = self.count;
        let number = match pattern {
            HostPattern::Exact(name) => *self.exact.entry(name.clone()).or_insert(next),
            HostPattern::Wildcard(suffix) => *self.suffixes.entry(suffix.clone()).or_insert(next),
            HostPattern::Any => *self.any.get_or_insert(next),
        };
        self.count = self.count.max(number + 1);
        number
    }

    /// The number of a pattern that is there.
    pub(crate) fn number_of(&self, pattern: &HostPattern) -> Option<usize> {
        match pattern {
            HostPattern::Exact(name) => self.exact.get(name).copied(),
            HostPattern::Wildcard(suffix) => self.suffixes.get(suffix).copied(),
            HostPattern::Any => self.any,
        }
    }

    /// The number of the pattern that decides for `host`.
    pub(crate) fn find(&self, host: &str) -> Option<usize> {
        if let Some(number) = self.exact.get(host) {
            return Some(*number);
        }
        if !self.suffixes.is_empty() && !host.starts_with('[') {
            let dots = host.bytes().enumerate().filter(|(at, byte)| *byte == b'.' && *at > 0).map(|(at, _)| at);
            for suffix in dots.filter_map(|at| host.get(at..)) {
                if let Some(number) = self.suffixes.get(suffix) {
                    return Some(*number);
                }
            }
        }
        self.any
    }
}
