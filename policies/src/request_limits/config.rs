//! What the operator writes.

use portcullis_model_settings::{ByteSize, Diagnostics, Methods, Node, Tighten, section};

section! {
    /// What a request may be at most. Levels further in can only make it less.
    pub struct RequestLimits {
        /// Methods that may be used at all. Absent: the level further out, or every method that can be routed.
        pub methods: Option<Methods>,
        /// Length of path and query together. Absent: the level further out, or 8KiB.
        pub uri_bytes_max: Option<ByteSize>,
        /// Length of the body, without its framing. Absent: the level further out, or 1MiB.
        pub body_bytes_max: Option<ByteSize>,
    }
}

impl Tighten for RequestLimits {
    fn tighten(outer: &Self, inner: &Self, at: &Node<'_>, diagnostics: &mut Diagnostics) {
        let mut weaker = |key: &str| {
            let node = at.field(key).unwrap_or(*at);
            let what = format!("`{key}` allows more than the level further out");
            diagnostics.error_with_help(&node, what, "leave it out here, or allow less");
        };
        if let (Some(outer), Some(inner)) = (outer.methods, inner.methods)
            && !inner.without(outer).is_empty()
        {
            weaker("methods");
        }
        if matches!((outer.uri_bytes_max, inner.uri_bytes_max), (Some(outer), Some(inner)) if inner > outer) {
            weaker("uri_bytes_max");
        }
        if matches!((outer.body_bytes_max, inner.body_bytes_max), (Some(outer), Some(inner)) if inner > outer) {
            weaker("body_bytes_max");
        }
    }
}
