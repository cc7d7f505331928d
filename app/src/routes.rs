//! `portcullis routes`: what the running gateway serves.

use crate::ask::{ask, understood};
use crate::check::counted;
use crate::output::{Colour, Output};
use portcullis_control_admin::RouteInfo;
use std::path::Path;

/// Asks the gateway behind `socket` for its routes and shows them.
///
/// # Errors
/// A text for the operator, when nobody answers or the answer is not understood.
pub fn routes(socket: &Path, output: Output) -> Result<(), String> {
    let answer = ask(socket, hyper::Method::GET, "/v1/routes")?;
    if output.is_json() {
        output.json(&answer);
        return Ok(());
    }
    let routes: Vec<RouteInfo> = understood(answer)?;
    let rows: Vec<Vec<String>> = routes.iter().map(row).collect();
    output.table(&["api", "route", "hosts", "methods", "path", "headers", "access", "upstream", "policies"], &rows);
    output.line(&output.paint(Colour::Dim, &format!("\n{}; what none of them names is refused", counted(routes.len(), "route"))));
    Ok(())
}

fn row(route: &RouteInfo) -> Vec<String> {
    vec![
        route.api.clone(),
        route.name.clone(),
        route.hosts.join(","),
        route.methods.join(","),
        route.path.clone(),
        route.headers.join(", "),
        route.access.clone(),
        route.upstream.clone(),
        route.policies.join(" "),
    ]
}
