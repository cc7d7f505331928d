//! The page of all reasons is the one that the code makes.

use super::Finding;
use crate::docs;
use crate::repo::Repo;

/// Compares the page with what is generated.
pub fn check(repo: &Repo) -> Vec<Finding> {
    if repo.text(docs::ERRORS) == Some(&docs::errors()) {
        return Vec::new();
    }
    vec![Finding::of(docs::ERRORS, "is out of date; run `cargo xtask docs`")]
}

#[cfg(test)]
mod tests {
    use super::{Repo, check, docs};

    #[test]
    fn a_page_that_lacks_a_reason_is_found() {
        let page = docs::errors();
        assert_eq!(check(&Repo::sample(&[(docs::ERRORS, &page)])), []);
        let cut: String = page.lines().skip(1).collect();
        assert_eq!(check(&Repo::sample(&[(docs::ERRORS, &cut)])).len(), 1);
        assert_eq!(check(&Repo::default()).len(), 1);
    }
}
