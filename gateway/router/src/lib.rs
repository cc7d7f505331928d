//! Which route a request takes: by host, then path, then method, then headers, at a cost that does not grow with the routes.
//!
//! The more specific match decides and is never passed over (docs/routing.md): a request that does not fit its methods is refused
//! rather than tried on a broader route, which may be more permissive.

mod candidate;
mod explain;
mod hash;
mod host;
mod methods;
mod overlap;
mod table;
mod template;
mod tree;

pub use explain::{Considered, Explanation};
pub use host::HostPattern;
pub use overlap::Overlap;
pub use table::{Lookup, Possible, RouteEntry, RouteSpec, RouteTable};
pub use template::{PathTemplate, Segment};

#[cfg(test)]
mod tests;
