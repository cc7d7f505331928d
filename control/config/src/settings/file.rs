//! A whole file. Every section may be missing, so that a folder can hold each in a file of its own.

use super::{
    ApiSettings, ClusterSettings, ConsumerSettings, DefendSettings, DnsSettings, IdentitySettings, ListenerSettings,
    ManagementSettings, Once, Parts, PlanSettings, ProviderRole, RecordSettings, UpstreamSettings,
};
use portcullis_model_settings::{Decode, Diagnostics, Named, Node, Schema, Spanned, Value, section};
use serde_json::json;

/// Where the management socket is when nothing is written.
pub const MANAGEMENT_SOCKET: &str = "run/portcullis.sock";

section! {
    /// The configuration of a gateway. What is not written is off or refused.
    pub struct ConfigFile {
        /// The version of this format; required, in a folder in at least one of the files.
        pub version: Once<FormatVersion>,
        /// Addresses that connections are accepted on, by name.
        pub listeners: Parts<ListenerSettings>,
        /// How the gateway itself is operated.
        pub management: Once<ManagementSettings>,
        /// How host names of upstreams are resolved.
        pub dns: Once<DnsSettings>,
        /// Whose word on who is calling can be taken.
        pub identity: Once<IdentitySettings>,
        /// Roles by names of the gateway's own, each standing for roles of providers. Equal names of two providers are two roles.
        pub roles: Once<Named<Vec<Spanned<ProviderRole>>>>,
        /// Whom limits apply to, by name, whatever credentials they have.
        pub consumers: Parts<ConsumerSettings>,
        /// What consumers may use, by name.
        pub plans: Parts<PlanSettings>,
        /// Destinations of requests, by name.
        pub upstreams: Parts<UpstreamSettings>,
        /// Policies for every API; an API or a route can only tighten them.
        pub defaults: Once<DefaultsSettings>,
        /// What is served, by name.
        pub apis: Parts<ApiSettings>,
        /// Protection of the whole gateway.
        pub defend: Once<DefendSettings>,
        /// What leaves a record.
        pub record: Once<RecordSettings>,
        /// What several nodes of the gateway share.
        pub cluster: Once<ClusterSettings>,
        /// Worker threads; one per core when absent.
        pub workers: Once<Workers>,
    }
}

section! {
    /// Policies for every API, by their names.
    pub struct DefaultsSettings {
        ; .. pub policies: PolicyUses
    }
}

/// The version of the format: 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatVersion;

impl Decode for FormatVersion {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        if node.written() == Some("1") {
            return Some(Self);
        }
        diagnostics.wrong(node, "`1`, the only version of this format so far");
        None
    }

    fn encode(&self) -> Value {
        Value::from(1)
    }

    fn schema() -> Schema {
        json!({ "const": 1 })
    }
}

/// The number of worker threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers(pub u16);

impl Decode for Workers {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let count = node.written().and_then(|text| text.parse().ok()).filter(|count| (1..=1024).contains(count));
        if count.is_none() {
            diagnostics.wrong(node, "a whole number from 1 to 1024");
        }
        count.map(Self)
    }

    fn encode(&self) -> Value {
        Value::from(self.0)
    }

    fn schema() -> Schema {
        json!({ "type": "integer", "minimum": 1, "maximum": 1024 })
    }
}
