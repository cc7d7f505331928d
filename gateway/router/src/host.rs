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
        if let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address =
                inside.parse::<std::net::Ipv6Addr>().map_err(|_| format!("`{text}` is not an IPv6 address in brackets"))?;
            return Ok(Self::Exact(format!("[{address}]").into()));
        }
        let lower = name.to_ascii_lowercase();
        let label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if lower.len() > 253 || !lower.split('.').all(label) {
            return Err(format!("`{text}` is not a host; write a name, an address, `*.` and a name, or `*`, without port"));
        }
        // As requests are read: what ends in a number is an IPv4 address, which has nothing below it.
        let ends_in_number = lower.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if ends_in_number && (wildcard || lower.parse::<std::net::Ipv4Addr>().is_err()) {
            return Err(format!("`{text}` ends in a number but is not an IPv4 address"));
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
    exact: FastMap<Box<str>, u32>,
    suffixes: FastMap<Box<str>, u32>,
    any: Option<u32>,
    /// By number.
    patterns: Vec<HostPattern>,
    /// How many dots the longest suffix has: a look-up tries no longer ones, however many labels the host has.
    suffix_dots_max: usize,
}

impl Hosts {
    /// The number of a pattern, a new one if it was not there.
    pub(crate) fn number(&mut self, pattern: &HostPattern) -> u32 {
        let known = match pattern {
            HostPattern::Exact(name) => self.exact.get(name),
            HostPattern::Wildcard(suffix) => self.suffixes.get(suffix),
            HostPattern::Any => self.any.as_ref(),
        };
        if let Some(number) = known {
            return *number;
        }
        let number = u32::try_from(self.patterns.len()).unwrap_or(u32::MAX);
        match pattern {
            HostPattern::Exact(name) => {
                self.exact.insert(name.clone(), number);
            }
            HostPattern::Wildcard(suffix) => {
                self.suffix_dots_max = self.suffix_dots_max.max(dots(suffix));
                self.suffixes.insert(suffix.clone(), number);
            }
            HostPattern::Any => self.any = Some(number),
        }
        self.patterns.push(pattern.clone());
        number
    }

    /// The pattern with a number.
    pub(crate) fn pattern(&self, number: usize) -> Option<&HostPattern> {
        self.patterns.get(number)
    }

    /// The number of the pattern that decides for `host`.
    pub(crate) fn find(&self, host: &str) -> Option<usize> {
        let number = self.exact.get(host).or_else(|| self.find_suffix(host)).or(self.any.as_ref());
        number.map(|number| *number as usize)
    }

    /// The longest suffix of the host that has one or more labels in front of it.
    fn find_suffix(&self, host: &str) -> Option<&u32> {
        if self.suffixes.is_empty() || host.starts_with('[') {
            return None;
        }
        let too_long = dots(host).saturating_sub(self.suffix_dots_max);
        let ends = host.match_indices('.').skip(too_long).filter(|(at, _)| *at > 0);
        ends.filter_map(|(at, _)| self.suffixes.get(host.get(at..)?)).next()
    }
}

fn dots(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'.').count()
}
