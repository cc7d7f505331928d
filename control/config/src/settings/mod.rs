//! What the operator writes, section by section. Doc comments become the reference and the JSON schema.

mod access;
mod api_keys;
mod apis;
mod balance;
mod client_certificates;
mod cluster;
mod consumers;
mod credentials;
mod dns;
mod endpoints;
mod file;
mod hosts;
mod identity;
mod introspection;
mod listeners;
mod logins;
mod parts;
mod paths;
mod plans;
mod rest;
mod signatures;
mod upstreams;

pub use access::{
    AccessFresh, AccessKeys, AccessSettings, AllowLines, AllowSettings, AllowedSettings, CedarText, PolicySource, PolicyText,
};
pub use api_keys::{ApiKeysSettings, KeyHeader, KeyStoreSettings};
pub use apis::{ApiSettings, EncodedSlash, HeaderMatches, RouteSettings};
pub use balance::{
    BalanceKind, BreakerSettings, Care, HashBy, HealthKind, HealthPath, HealthService, HealthSettings, OutlierSettings, RetryOn,
    RetrySettings,
};
pub(crate) use client_certificates::written;
pub use client_certificates::{CertificateClientSettings, CertificatesSettings, DnsName, Fingerprint, UriName};
pub use cluster::{ClusterSettings, StorePrefix, StoreSettings, StoreUrl, StoreUser};
pub use consumers::{CallerName, ClaimText, ConsumerMatch, ConsumerSettings};
pub use credentials::{
    ClientCredentialsSettings, CredentialsSettings, ExchangeSettings, SignSettings, SignerKeysSettings, SignerSettings,
};
pub use dns::{DnsServer, DnsSettings};
pub use endpoints::{EndpointHost, EndpointUrl, ServerName};
pub use file::{ConfigFile, DefaultsSettings, FormatVersion, MANAGEMENT_SOCKET, Workers};
pub use hosts::Host;
pub use identity::{
    AcceptName, AuthenticateSettings, Claim, ClaimSettings, CredentialsUpstream, DiscoverSettings, DpopSettings, IdentitySettings,
    Issuer, KeysSettings, NonceName, ProviderRole, ProviderSettings, SignatureAlgorithm, TokenTypeName, Word,
};
pub use introspection::{AskedTokens, IntrospectionSettings};
pub use listeners::{
    CertificateFiles, CertificateSettings, ClientCertificateMode, ClientCertificateSettings, DangerSettings, ListenerLimits,
    ListenerProtocol, ListenerSettings, ProxyProtocolSettings, RevocationSettings, StaleList, TlsSettings, TlsVersion, TlsVersions,
};
pub use logins::{HttpsOrigin, LoginPrompt, LoginSettings};
pub use parts::{Numbered, Once, Part, Parts};
pub use paths::{BasePath, Template};
pub use plans::PlanSettings;
pub use rest::{
    AccessLogFormat, AccessLogOn, AccessLogSettings, AccessLogTarget, BanSettings, ClientIpHeader, ClientIpSettings,
    DefendSettings, LockoutBy, LockoutSettings, LogRotation, ManagementSettings, OverloadSettings, RecordSettings,
};
pub use signatures::{SignatureAlgorithmName, SignatureFormName, SignatureKeySettings, SignaturesSettings};
pub use upstreams::{
    ConcurrencyMode, ConcurrencySettings, EndpointSettings, UpstreamLimits, UpstreamProtocolKind, UpstreamSettings,
    UpstreamTimeouts, UpstreamTlsSettings,
};
