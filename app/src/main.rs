//! The program: arguments -> what to do. Everything else is wired together here, and nowhere else.

mod advise;
mod ask;
mod bans;
mod check;
mod cli;
mod demo;
mod dev_ca;
mod events;
mod explain;
mod exposure;
mod gateway;
mod guard;
mod handover;
mod init;
mod keys;
mod life;
mod lockouts;
mod management;
mod output;
mod overload;
mod plan;
mod process;
mod rehearsal;
mod reload;
mod reminders;
mod revocations;
mod revoke;
mod routes;
mod run;
mod schema;
mod shared;
mod status;
mod upstreams;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command};
use output::Output;
use portcullis_model::Clock;
use run::How;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.format);
    match perform(cli.command, output) {
        Ok(code) => code,
        Err(problem) => {
            if !problem.is_empty() {
                output.complain(&problem);
            }
            ExitCode::FAILURE
        }
    }
}

/// Does what was asked. The error is for the operator; an empty one has been shown already.
fn perform(command: Command, output: Output) -> Result<ExitCode, String> {
    let clock = Clock::System;
    let done = match command {
        Command::Advise(asked) => advise::advise(&asked, &clock, output),
        Command::Approve(asked) => guard::approve(&asked, &clock, output),
        Command::Plan { old, new } => return Ok(plan::plan(&old, &new, &clock, output)),
        Command::Test { file, config } => return Ok(rehearsal::test(&file, config, &clock, output)),
        Command::Run { config, workers, or_last_known_good, guarding, take_over } => {
            let how = How { config: &config, workers, or_last_known_good, guarding: &guarding, output };
            if take_over { run::take_over(&how) } else { run::run(&how) }
        }
        Command::Check { config } => check::check(&config, &clock, output),
        Command::Explain { config, request, headers, caller } => {
            explain::explain(&config, &request, &headers, &caller, &clock, output)
        }
        Command::Exposure { config, html } => exposure::exposure(&config, html.as_deref(), &clock, output),
        Command::Init { folder, host, upstream } => {
            init::init(&folder, &host, &upstream, &clock, output).map_err(|error| error.to_string())
        }
        Command::Schema { reference, config, .. } => schema::schema(reference, config.as_deref(), &clock, output),
        Command::Demo { port, state } => demo::demo(port, &state, output),
        Command::Status { socket } => status::status(&socket, output),
        Command::Routes { socket } => routes::routes(&socket, output),
        Command::Reload { socket } => reload::reload(&socket, output),
        Command::Drain { socket, end } => life::drain(&socket, end, output),
        Command::Upstreams { socket } => upstreams::show(&socket, output),
        Command::Upgrade { socket, binary, within } => life::upgrade(&socket, binary, within, output),
        Command::Revoke(asked) => revoke::revoke(asked, output),
        Command::Revocations { socket } => revoke::list(&socket, output),
        Command::Ban(asked) => bans::ban(asked, &clock, output),
        Command::Lockout(asked) => lockouts::lockout(asked, output),
        Command::Key(asked) => keys::key(asked, &clock, output),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "portcullis", &mut std::io::stdout());
            Ok(())
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}
