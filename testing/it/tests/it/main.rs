//! The real gateway, driven from outside: real programs, raw sockets, broken upstreams. One binary, so that it links once.
//!
//! A test that answers a row of the threats is named after it: `a05_…` is row 5; docs/threats-coverage.md has the list.
#![expect(clippy::disallowed_methods, reason = "tests measure real time and wait for programs")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "these are tests: to fail is their way to tell"
)]

mod access_commands;
mod advise;
mod api_keys;
mod approvals;
mod attack_floods;
mod attack_framing;
mod attack_http2;
mod attack_http2_requests;
mod attack_path;
mod attack_trusted;
mod attack_upgrade;
mod bound_tokens;
mod browser;
mod browser_login;
mod caps;
mod cedar;
mod certificate_callers;
mod cli;
mod client_certificates;
mod client_credentials;
mod clients;
mod consumers;
mod demo;
mod early;
mod expiry;
mod fair_share;
mod forward;
mod grpc;
mod grpc_life;
mod headers;
mod http2;
mod http2_conformance;
mod http2_site;
mod http2_websocket;
mod identity;
mod introspection;
mod life;
mod limits;
mod lockouts;
mod login;
mod login_life;
mod management;
mod message_signatures;
mod openid;
mod operations;
mod overload;
mod packaging;
mod policies_cors;
mod policies_disabled;
mod policies_header_rules;
mod policies_ip_rules;
mod policies_limits;
mod policies_refused;
mod proofs;
mod proxy_protocol;
mod record;
mod reload;
mod revocation;
mod revocation_certificates;
mod shared_store;
mod signed_tokens;
mod site;
mod slow;
mod streaming;
mod streams_end;
mod streams_site;
mod switches;
mod tls;
mod token_exchange;
mod trailers;
mod upgrade;
mod upgrade_long;
mod upstream_balance;
mod upstream_dns;
mod upstream_faults;
mod upstream_h2;
mod upstream_h2_bodies;
mod upstream_h2_faults;
mod upstream_h2_site;
mod upstream_h2_websocket;
mod upstream_health;
mod upstream_processes;
mod upstream_share;
mod upstream_tls;
mod webhooks;
mod websocket;
