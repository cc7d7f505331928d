//! What the operator writes.

use portcullis_model_settings::{Diagnostics, Node, Tighten, section};
use std::any::Any;
use std::time::Duration;

section! {
    /// Security fields of every answer. Over TLS `Strict-Transport-Security` is set; `X-Content-Type-Options`, `X-Frame-Options`,
    /// `Content-Security-Policy` and `Referrer-Policy` are set where the upstream does not set them; `Server` and its like are removed.
    pub struct SecurityHeaders {
        /// How long browsers must insist on TLS for this host and those below it. Absent: the level further out, or 365d.
        pub hsts: Option<Duration>,
    }
}

impl Tighten for SecurityHeaders {
    fn tighten(outer: &Self, inner: &Self, at: &Node<'_>, diagnostics: &mut Diagnostics) {
        if let (Some(outer), Some(inner)) = (outer.hsts, inner.hsts)
            && inner < outer
        {
            let node = at.field("hsts").unwrap_or(*at);
            diagnostics.error_with_help(
                &node,
                "`hsts` is shorter than the level further out demands",
                "leave it out here, or make it longer",
            );
        }
    }
}

/// The settings among those given, outermost first.
pub(super) fn levels(settings: &[std::sync::Arc<dyn Any + Send + Sync>]) -> impl Iterator<Item = &SecurityHeaders> {
    settings.iter().filter_map(|level| level.downcast_ref())
}
