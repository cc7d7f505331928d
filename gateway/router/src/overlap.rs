//! Routes that meet: some request fits both, and nothing but their order decides.

use crate::candidate::{Candidate, Details};
use crate::host::{HostPattern, Hosts};
use crate::tree::Tree;
use std::sync::Arc;

/// How many overlaps are told; more are of no use to anybody.
const TOLD_MAX: usize = 1000;
/// With how many routes of the same template before it a route is compared, so that building a table takes no quadratic time.
const COMPARED_MAX: usize = 256;

/// Two routes that some request fits equally well; the first one wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The route that wins: it was written first.
    pub first: Arc<str>,
    /// The route that such requests never reach.
    pub second: Arc<str>,
    /// The number of the first, for [`crate::RouteTable::target`].
    pub first_number: u32,
    /// The number of the second.
    pub second_number: u32,
    /// The host pattern where they meet.
    pub host: String,
    /// Whether every request for the second is taken by the first.
    pub hidden: bool,
}

/// The overlaps of a table, at most [`TOLD_MAX`].
pub(crate) fn overlaps(hosts: &Hosts, tree: &Tree, details: &[Details]) -> Vec<Overlap> {
    let mut overlaps = Vec::new();
    let with_details = |candidate: &Candidate| Some((*candidate, details.get(candidate.route as usize)?));
    for (host, candidates) in tree.shared_templates() {
        let Some(pattern) = hosts.pattern(host) else { continue };
        for (at, second) in candidates.iter().enumerate() {
            let Some(second) = with_details(second) else { continue };
            let before = candidates.get(at.saturating_sub(COMPARED_MAX)..at).unwrap_or_default();
            overlaps.extend(before.iter().filter_map(with_details).filter_map(|first| meet(first, second, pattern)));
            if overlaps.len() >= TOLD_MAX {
                overlaps.truncate(TOLD_MAX);
                return overlaps;
            }
        }
    }
    overlaps
}

/// Whether some request fits both routes equally well, when host and path are the same.
fn meet(first: (Candidate, &Details), second: (Candidate, &Details), host: &HostPattern) -> Option<Overlap> {
    let ((first, one), (second, two)) = (first, second);
    let contradict = one.headers.iter().any(|(name, value)| two.headers.iter().any(|(n, v)| n == name && v != value));
    if contradict || one.headers.len() != two.headers.len() {
        return None;
    }
    let of_first: Vec<&str> = first.methods.names(&one.other_methods).collect();
    if !second.methods.names(&two.other_methods).any(|method| of_first.contains(&method)) {
        return None;
    }
    let hidden = one.headers.iter().all(|header| two.headers.contains(header))
        && second.methods.names(&two.other_methods).all(|method| of_first.contains(&method));
    Some(Overlap {
        first: Arc::clone(&one.name),
        second: Arc::clone(&two.name),
        first_number: first.route,
        second_number: second.route,
        host: host.to_string(),
        hidden,
    })
}
