//! The known name that an unknown one was probably meant to be.

/// The nearest of `known` to `name` by edits (insert, delete, replace, swap of neighbours), if it is near enough to be helpful: a
/// third of its length, at most 3.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase().replace('-', "_");
    if name.len() > 64 {
        return None;
    }
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= 64)
        .map(|candidate| (distance(name.as_bytes(), candidate.as_bytes()), candidate))
        .filter(|(edits, candidate)| *edits <= (candidate.len().max(name.len()) / 3).clamp(1, 3))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance, three rows at a time.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous_a = None;
    for (row, &x) in a.iter().enumerate() {
        let mut current = vec![row + 1];
        let mut previous_b = None;
        for (column, &y) in b.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&last, column) + usize::from(x != y)).min(at(&last, column + 1) + 1).min(at(&current, column) + 1);
            if column > 0 && previous_a == Some(y) && previous_b == Some(x) {
                best = best.min(at(&before, column - 1) + 1);
            }
            current.push(best);
            previous_b = Some(y);
        }
        previous_a = Some(x);
        before = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_finger_finds_the_name() {
        let known = ["address", "protocols", "limits", "redirect_to_https"];
        for (slip, meant) in [
            ("adress", "address"),
            ("addrses", "address"),
            ("Address", "address"),
            ("protocol", "protocols"),
            ("redirect-to-https", "redirect_to_https"),
            ("limit", "limits"),
        ] {
            assert_eq!(nearest(slip, known), Some(meant), "{slip}");
        }
    }

    #[test]
    fn a_different_word_finds_nothing() {
        for other in ["banana", "", "x", "upstreams", &"a".repeat(10_000)] {
            assert_eq!(nearest(other, ["address", "limits"]), None, "{other}");
        }
    }
}
