//! What the operator writes.

use super::pattern::{FieldPatterns, ParameterPatterns, Pattern};
use portcullis_model_settings::{Date, Diagnostics, Due, Level, Methods, Name, Node, Spanned, Tighten, nearest, section};
use std::sync::Arc;

/// How many rules one level may have.
const RULES_MAX: usize = 64;

section! {
    /// Turns routes off, and refuses requests of a form that must not go upstream. In a route `reason` alone turns it off.
    pub struct Disabled {
        /// Turns everything at this level off: 503 with the code `disabled`.
        pub all: Option<bool>,
        /// In an API: names of its routes that are off.
        pub routes: Vec<Spanned<Name>> = Vec::new(),
        /// Why something is off; written to the log, never told to clients. Required with `all` and `routes`.
        pub reason: Option<Arc<str>>,
        /// Requests that are refused: 403 with the code `request_refused`. At most 64 at each level.
        pub refuse: Vec<RefuseRule> = Vec::new(),
    }
}

section! {
    /// A virtual patch. A request to which everything that is written here applies is refused. Patterns are regular expressions without
    /// look-around and backreferences, at most 1024 bytes long; they are looked for anywhere (`^` and `$` anchor them), by case unless they
    /// begin with `(?i)`, in the canonical form and in what it decodes to.
    pub struct RefuseRule {
        /// Methods it is for; every one when absent. HEAD is not implied by GET.
        pub methods: Option<Methods>,
        /// A pattern that occurs in the path.
        pub path: Option<Pattern>,
        /// For each of these header fields a pattern that occurs in a value of it; one that is absent does not match. `_` in a name is `-`.
        pub header: FieldPatterns,
        /// For each of these parameters of the query a pattern that occurs in a value of it; one that is absent does not match.
        pub query: ParameterPatterns,
        /// Why; written to the log, never told to clients.
        pub reason: Arc<str>,
        /// Who is to look at it again.
        pub owner: Option<Arc<str>>,
        /// The day to look at it again. The rule stays in force after it, with a warning, until it is removed.
        pub expires: Spanned<Date>,
    }
}

impl Disabled {
    /// Why everything at this level is off, if it is.
    pub(super) fn reason_for_all(&self) -> Option<&Arc<str>> {
        let alone = self.all.is_none() && self.routes.is_empty() && self.refuse.is_empty();
        self.reason.as_ref().filter(|_| alone || self.all == Some(true))
    }

    fn check_switch(&self, at: &Node<'_>, level: Level<'_>, diagnostics: &mut Diagnostics) {
        let switches = self.all == Some(true) || !self.routes.is_empty();
        let at_reason = at.field("reason").unwrap_or(*at);
        let alone = self.all.is_none() && self.refuse.is_empty();
        match &self.reason {
            None if switches => {
                diagnostics.error_with_help(at, "`reason` is missing", "say why it is off; it is written to the log only");
            }
            None if self.refuse.is_empty() => {
                let help = "write `all: true` with a `reason`, or rules under `refuse`; else remove it";
                diagnostics.error_with_help(at, "nothing is turned off or refused here", help);
            }
            Some(_) if !switches && !alone => {
                let help = "write `all: true` or `routes` if something is to be off; rules carry reasons of their own";
                diagnostics.error_with_help(&at_reason, "nothing is off for this reason", help);
            }
            Some(_) if !switches && !matches!(level, Level::Route) => {
                let help = "write `all: true` to turn everything at this level off, or name `routes` of an API";
                diagnostics.error_with_help(&at_reason, "this does not say what is off", help);
            }
            _ => {}
        }
    }

    fn check_routes(&self, at: &Node<'_>, level: Level<'_>, diagnostics: &mut Diagnostics) {
        let items = at.field("routes").and_then(|list| list.items());
        for (item, route) in items.into_iter().flatten().zip(&self.routes) {
            let (what, help) = match level {
                Level::Api { routes } if routes.contains(&&*route.value) => continue,
                Level::Api { routes } => {
                    let help = match nearest(&route.value, routes.iter().copied()) {
                        Some(meant) => format!("did you mean `{meant}`"),
                        None => "name a route of this API as its `name` says".to_owned(),
                    };
                    (format!("this API has no route `{}`", &*route.value), help)
                }
                Level::Defaults | Level::Route => {
                    let help = "write it under the API, or `all: true` here for everything at this level";
                    ("routes are turned off by name at the API that they belong to".to_owned(), help.to_owned())
                }
            };
            diagnostics.error_with_help(&item, what, help);
        }
    }
}

impl RefuseRule {
    fn is_for_everything(&self) -> bool {
        self.methods.is_none() && self.path.is_none() && self.header.0.is_empty() && self.query.0.is_empty()
    }
}

impl Tighten for Disabled {
    /// Rules of every level hold together, so nothing that is written further in is weaker; but it may be meant to be.
    fn tighten(outer: &Self, inner: &Self, at: &Node<'_>, diagnostics: &mut Diagnostics) {
        if outer.all == Some(true) && inner.all == Some(false) {
            let node = at.field("all").unwrap_or(*at);
            diagnostics.error_with_help(&node, "the level further out turns everything off", "turn it on again there");
        }
    }

    fn check(&self, at: &Node<'_>, level: Level<'_>, diagnostics: &mut Diagnostics) {
        self.check_switch(at, level, diagnostics);
        self.check_routes(at, level, diagnostics);
        let refuse = at.field("refuse");
        if self.refuse.len() > RULES_MAX {
            let what = format!("{} rules, and {RULES_MAX} at most may stand here", self.refuse.len());
            diagnostics.error_with_help(&refuse.unwrap_or(*at), what, "remove those whose upstreams are mended");
        }
        for (item, rule) in refuse.and_then(|list| list.items()).into_iter().flatten().zip(&self.refuse) {
            if rule.is_for_everything() {
                let help = "add `methods`, `path`, `header` or `query`; to refuse everything write `all: true`";
                diagnostics.error_with_help(&item, "this rule does not say which requests it refuses", help);
            }
        }
    }

    fn dues(&self) -> Vec<Due> {
        let due = |(number, rule): (usize, &RefuseRule)| Due {
            place: format!("/refuse/{number}/expires"),
            what: format!("the rule `{}`", rule.reason),
            owner: rule.owner.clone(),
            day: rule.expires,
        };
        self.refuse.iter().enumerate().map(due).collect()
    }
}
