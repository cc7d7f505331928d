//! The command line.

use crate::guard::{Approve, Guarding};
use clap::{Parser, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;

/// An API gateway that lets through only what is named, known, allowed and well-formed.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// How results are shown.
    #[arg(long, global = true, value_enum, default_value_t = Format::Auto)]
    pub format: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How results are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people in a terminal, JSON when piped.
    Auto,
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Who asks, for `explain`: someone with a good token for the API.
#[derive(Debug, clap::Args)]
pub struct Caller {
    /// Decide for a caller with a good token of this provider.
    #[arg(long = "as", value_name = "PROVIDER")]
    pub provider: Option<String>,
    /// A role in the token; may be repeated.
    #[arg(long = "role", requires = "provider")]
    pub roles: Vec<String>,
    /// A scope in the token; may be repeated.
    #[arg(long = "scope", requires = "provider")]
    pub scopes: Vec<String>,
    /// Who it is, for policies that ask.
    #[arg(long = "subject", requires = "provider", default_value = "somebody")]
    pub subject: String,
    /// The consumer they are by a claim of the token.
    #[arg(long = "consumer", requires = "provider")]
    pub consumer: Option<String>,
}

/// What advice is asked, for `advise`.
#[derive(Debug, clap::Args)]
pub struct Advise {
    /// The configuration: a file, or a folder of files.
    #[arg(long, short, value_hint = ValueHint::AnyPath)]
    pub config: PathBuf,
    /// How many days back a use counts.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// Write tests of the calls that were allowed to this file, for `portcullis test`: one for each route, method, line and set of roles.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub tests: Option<PathBuf>,
    /// Access logs as the gateway writes them, in any order; standard input when there is none, or for `-`.
    #[arg(value_hint = ValueHint::FilePath)]
    pub records: Vec<PathBuf>,
}

/// What is revoked, for `revoke`.
#[derive(Debug, clap::Args)]
pub struct Revoke {
    /// The kind of what is revoked.
    #[arg(value_enum)]
    pub kind: Revocable,
    /// The `jti` of a token, the `sub` of its subject, the id of a key, or the SHA-256 of a certificate in hexadecimal digits.
    pub id: String,
    /// The provider that issued it, or the store of the key, by its name in the configuration; not for certificates.
    #[arg(long, required_if_eq_any([("kind", "token"), ("kind", "subject"), ("kind", "key")]))]
    pub provider: Option<String>,
    /// Of a subject: tokens that were issued by then, in Unix seconds; by now when absent.
    #[arg(long, value_name = "UNIX_SECONDS")]
    pub issued_until: Option<u64>,
    /// Until when it is in force, in Unix seconds: the `exp` of the token. For ever when absent.
    #[arg(long, value_name = "UNIX_SECONDS")]
    pub until: Option<u64>,
    /// Why; kept beside it.
    #[arg(long)]
    pub reason: Option<String>,
    /// Lift what was revoked.
    #[arg(long, conflicts_with_all = ["issued_until", "until"])]
    pub lift: bool,
    /// The gateway's management socket.
    #[arg(long, default_value = "run/portcullis.sock", value_hint = ValueHint::FilePath)]
    pub socket: PathBuf,
}

/// What can be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Revocable {
    /// One token.
    Token,
    /// Every token of somebody.
    Subject,
    /// An API key.
    Key,
    /// A client's certificate.
    Certificate,
}

/// What is done to a key file, for `key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key, and show it: this once.
    Create {
        /// The key file; made if it is not there, for its owner alone.
        #[arg(long, value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Whose key it is. Several keys may have one name.
        #[arg(long)]
        name: String,
        /// A role that it has; may be repeated.
        #[arg(long = "role")]
        roles: Vec<String>,
        /// A scope that it has; may be repeated.
        #[arg(long = "scope")]
        scopes: Vec<String>,
        /// When it ends: in `90d`, or on `2027-01-31`. Never when absent.
        #[arg(long)]
        expires: Option<String>,
    },
    /// Show what keys there are, and when each was used last; the keys themselves are nowhere.
    List {
        /// The key file.
        #[arg(long, value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// The management socket of the gateway that knows when they were used last; by default run/portcullis.sock, if one answers there.
        #[arg(long, value_hint = ValueHint::FilePath)]
        socket: Option<PathBuf>,
    },
    /// Make a key that replaces another, with its name, roles and scopes.
    Rotate {
        /// The key file.
        #[arg(long, value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// The id of the key that is replaced.
        id: String,
        /// How long the old key stays valid: `24h`. With `0s` it is revoked at once.
        #[arg(long, default_value = "24h")]
        overlap: String,
        /// When the new key ends; when absent it lives as long as the old one was meant to.
        #[arg(long)]
        expires: Option<String>,
    },
    /// Revoke a key; it stays in the list.
    Revoke {
        /// The key file.
        #[arg(long, value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// The id of the key.
        id: String,
    },
    /// Take over keys that callers have already, all or none.
    Import {
        /// The key file; made if it is not there.
        #[arg(long, value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Lines of JSON with `key`, `name`, and as needed `roles`, `scopes`, `expires` (Unix seconds); `-` for standard input.
        #[arg(value_hint = ValueHint::FilePath)]
        from: PathBuf,
    },
}

/// Who is kept out, for `ban`.
#[derive(Debug, Subcommand)]
pub enum BanCommand {
    /// Show who is kept out, and what for.
    List {
        /// The gateway's management socket.
        #[arg(long, default_value = "run/portcullis.sock", value_hint = ValueHint::FilePath)]
        socket: PathBuf,
    },
    /// Keep an address or network out: its connections are closed, its requests refused.
    Add {
        /// An address, which stands for the client that has it (of IPv6: its /64 network), or a network such as `203.0.113.0/24`.
        network: String,
        /// For how long: `30m`, `12h`, `7d`. Until it is lifted when absent.
        #[arg(long = "for", value_name = "TIME")]
        r#for: Option<String>,
        /// Why; kept beside it.
        #[arg(long)]
        reason: Option<String>,
        /// The gateway's management socket.
        #[arg(long, default_value = "run/portcullis.sock", value_hint = ValueHint::FilePath)]
        socket: PathBuf,
    },
    /// Let an address or network in again.
    Lift {
        /// As `ban list` shows it.
        network: String,
        /// The gateway's management socket.
        #[arg(long, default_value = "run/portcullis.sock", value_hint = ValueHint::FilePath)]
        socket: PathBuf,
    },
}

/// Who is locked out for what has failed, for `lockout`.
#[derive(Debug, Subcommand)]
pub enum LockoutCommand {
    /// Show who is locked out.
    List {
        /// The gateway's management socket.
        #[arg(long, default_value = "run/portcullis.sock", value_hint = ValueHint::FilePath)]
        socket: PathBuf,
    },
    /// Let somebody in again, and forget what has failed.
    Lift {
        /// What was counted by: `client_ip`, `account`, `login` or `key`.
        per: String,
        /// As `lockout list` shows it.
        name: String,
        /// The gateway's management socket.
        #[arg(long, default_value = "run/portcullis.sock", value_hint = ValueHint::FilePath)]
        socket: PathBuf,
    },
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway.
    Run {
        /// The configuration: a file, or a folder of files.
        #[arg(long, short, value_hint = ValueHint::AnyPath)]
        config: PathBuf,
        /// Worker threads; by default one a core.
        #[arg(long)]
        workers: Option<usize>,
        /// When the configuration is refused, start with the last one that was in force instead, and say so.
        #[arg(long)]
        or_last_known_good: bool,
        #[command(flatten)]
        guarding: Guarding,
        /// Take over from the process that started this one, on its sockets; for `portcullis upgrade`.
        #[arg(long, hide = true)]
        take_over: bool,
    },
    /// Check a configuration without running it: every error at once.
    Check {
        /// The configuration: a file, or a folder of files.
        #[arg(long, short, value_hint = ValueHint::AnyPath)]
        config: PathBuf,
    },
    /// Say which route a request would take, and why.
    Explain {
        /// The configuration: a file, or a folder of files.
        #[arg(long, short, value_hint = ValueHint::AnyPath)]
        config: PathBuf,
        /// The request: a method and a URL.
        #[arg(long, num_args = 2, value_names = ["METHOD", "URL"], required = true)]
        request: Vec<String>,
        /// A header of the request, as `Name: value`; may be repeated.
        #[arg(long = "header", short = 'H')]
        headers: Vec<String>,
        #[command(flatten)]
        caller: Caller,
    },
    /// Show who may call what: every route, those first that everybody may call.
    Exposure {
        /// The configuration: a file, or a folder of files.
        #[arg(long, short, value_hint = ValueHint::AnyPath)]
        config: PathBuf,
        /// Write it to this file instead, as a page that needs nothing else.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        html: Option<PathBuf>,
    },
    /// Compare two configurations: what the change opens and closes, by operation and caller. Exits with 3 when somebody may do more than
    /// before, or it cannot be told that nobody may; with 2 when a configuration cannot be read.
    Plan {
        /// The configuration as it was: a file, or a folder of files.
        #[arg(value_hint = ValueHint::AnyPath)]
        old: PathBuf,
        /// The configuration as it is to be.
        #[arg(value_hint = ValueHint::AnyPath)]
        new: PathBuf,
    },
    /// Find what nobody needs by the access log: lines of `allow`, roles, scopes and keys that were not used, and what to write instead.
    Advise(Advise),
    /// Approve that a configuration opens more than the one before, for once: shows what, and signs it. For gateways that run with
    /// `--approval-key`.
    Approve(Approve),
    /// Run tests: requests, who sends them, and what is to become of each, by the engine that decides at run time. Exits with 1 when one
    /// fails, with 2 when the file or the configuration cannot be read.
    Test {
        /// The file of tests.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// The configuration: a file, or a folder of files; by default the one that the file of tests names.
        #[arg(long, short, value_hint = ValueHint::AnyPath)]
        config: Option<PathBuf>,
    },
    /// Write a secure, commented starter configuration with a development CA of its own.
    Init {
        /// The folder to write to; made if it is not there. Nothing is overwritten.
        #[arg(default_value = "portcullis", value_hint = ValueHint::DirPath)]
        folder: PathBuf,
        /// The host name to serve.
        #[arg(long, default_value = "localhost")]
        host: String,
        /// Where the API to protect listens.
        #[arg(long, default_value = "http://127.0.0.1:3000")]
        upstream: String,
    },
    /// Print the JSON schema of the configuration.
    Schema {
        /// Print the reference in Markdown instead.
        #[arg(long)]
        reference: bool,
        /// Print what policies in Cedar can speak of instead, as Cedar's own schema for editors and tools.
        #[arg(long, requires = "config", conflicts_with = "reference")]
        cedar: bool,
        /// The configuration that the policies are for: a file, or a folder of files.
        #[arg(long, short, requires = "cedar", value_hint = ValueHint::AnyPath)]
        config: Option<PathBuf>,
    },
    /// Run a sample API behind a gateway, and show every exchange as it happens.
    Demo {
        /// The port to serve on.
        #[arg(long, default_value_t = 8443)]
        port: u16,
        /// Where the demo keeps its files.
        #[arg(long, default_value = "target/demo", value_hint = ValueHint::DirPath)]
        state: PathBuf,
    },
    /// Show the state of a running gateway.
    Status {
        /// The gateway's management socket.
        #[arg(long, default_value = "run/portcullis.sock", value_hint = ValueHint::FilePath)]
        socket: PathBuf,
    },
    /// Show the routes of a running gateway: what it serves, to whom, and what is checked.
    Routes {
        /// The gateway's management socket.
        #[arg(long, default_value = "run/portcullis.sock", value_hint = ValueHint::FilePath)]
        socket: PathBuf,
    },
    /// Let a running gateway read its configuration again; if it is refused, the one before serves on.
    Reload {
        /// The gateway's management socket.
        #[arg(long, default_value = "run/portcullis.sock", value_hint = ValueHint::FilePath)]
        socket: PathBuf,
    },
    /// Ask clients to go elsewhere: not ready, and connections end with their exchanges; everything is still served.
    Drain {
        /// The gateway's management socket.
        #[arg(long, default_value = "run/portcullis.sock", value_hint = ValueHint::FilePath)]
        socket: PathBuf,
        /// Be ready again.
        #[arg(long)]
        end: bool,
    },
    /// Show the upstreams of a running gateway: endpoints, health, requests under way, latency.
    Upstreams {
        /// The gateway's management socket.
        #[arg(long, default_value = "run/portcullis.sock", value_hint = ValueHint::FilePath)]
        socket: PathBuf,
    },
    /// Replace a running gateway by the program that is at its path now, on the same sockets and without a lost request.
    Upgrade {
        /// The gateway's management socket.
        #[arg(long, default_value = "run/portcullis.sock", value_hint = ValueHint::FilePath)]
        socket: PathBuf,
        /// Another program; only for root and the gateway's own user.
        #[arg(long, value_hint = ValueHint::FilePath)]
        binary: Option<PathBuf>,
        /// Seconds in which the new version must be ready; else the old one goes on.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=50))]
        within: Option<u64>,
    },
    /// Revoke a token, everybody's tokens of one subject, an API key or a client's certificate: new requests are refused and what goes on is ended.
    Revoke(Revoke),
    /// Show what is revoked at a running gateway.
    Revocations {
        /// The gateway's management socket.
        #[arg(long, default_value = "run/portcullis.sock", value_hint = ValueHint::FilePath)]
        socket: PathBuf,
    },
    /// Keep addresses out for a while, let them in again, and show who is kept out.
    #[command(subcommand)]
    Ban(BanCommand),
    /// Show who is locked out because too much has failed, and let them in again.
    #[command(subcommand)]
    Lockout(LockoutCommand),
    /// Make, show, replace and revoke API keys in a key file. A running gateway reads the file again when it changes.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}
