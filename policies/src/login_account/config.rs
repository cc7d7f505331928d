//! What the operator writes.

use portcullis_model_settings::{Diagnostics, Level, Node, Tighten, section};
use std::sync::Arc;

/// The longest name of a field, in bytes.
const FIELD_BYTES_MAX: usize = 128;
const DOMAINS_MAX: usize = 64;

section! {
    /// Where a request of this route says whose account it logs in to. Written at routes. Needs `defend.lockout` to do more than to refuse requests
    /// that name no account.
    pub struct LoginAccount {
        /// The member of a JSON object in the body: its name, or a JSON pointer such as `/user/name`.
        pub json: Option<Arc<str>>,
        /// The field of a form in the body (`application/x-www-form-urlencoded`).
        pub form: Option<Arc<str>>,
        /// Domains of e-mail addresses that stand for the name alone: with `example.com`, `bob` and `bob@example.com` are one account.
        pub domains: Vec<Arc<str>> = Vec::new(),
    }
}

impl Tighten for LoginAccount {
    /// There is one level.
    fn tighten(_: &Self, _: &Self, _: &Node<'_>, _: &mut Diagnostics) {}

    fn check(&self, at: &Node<'_>, level: Level<'_>, diagnostics: &mut Diagnostics) {
        if !matches!(level, Level::Route) {
            let help = "write it at the route that takes logins";
            diagnostics.error_with_help(at, "not every route takes logins", help);
        }
        match (&self.json, &self.form) {
            (Some(_), Some(_)) | (None, None) => {
                let help = "write either `json: username` or `form: username`, with the name of your field";
                diagnostics.error_with_help(at, "it must be clear where the account is named", help);
            }
            (Some(name), None) | (None, Some(name)) => {
                if name.is_empty() || name.len() > FIELD_BYTES_MAX || name.chars().any(char::is_control) {
                    let place = at.field(if self.json.is_some() { "json" } else { "form" });
                    diagnostics.wrong(&place.unwrap_or(*at), "the name of a field, such as `username`");
                }
            }
        }
        for (item, domain) in at.field("domains").and_then(|list| list.items()).into_iter().flatten().zip(&self.domains) {
            if domain.is_empty() || domain.contains(|c: char| c == '@' || c.is_whitespace()) {
                diagnostics.wrong(&item, "a domain, such as `example.com`");
            }
        }
        if self.domains.len() > DOMAINS_MAX {
            diagnostics.error_with_help(at, format!("more than {DOMAINS_MAX} domains"), "name those that your users have");
        }
    }
}
