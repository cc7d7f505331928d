//! `portcullis exposure`: who may call what, those routes first that everybody may.

use crate::check::{counted, load_plan};
use crate::output::{Colour, Output};
use portcullis_control_config::{Access, ApiPlan, Plan, RoutePlan};
use portcullis_engines_authz::Line;
use portcullis_model::Clock;
use portcullis_model_settings::Decode;
use serde_json::{Value, json};
use std::path::Path;

/// Shows every route of a configuration with everybody whom it lets in.
///
/// # Errors
/// When the configuration is refused.
pub fn exposure(config: &Path, clock: &Clock, output: Output) -> Result<(), String> {
    let plan = load_plan(config, clock, output)?;
    let rows = rows(&plan);
    if output.is_json() {
        output.json(&rows.iter().map(|row| row.to_json()).collect::<Vec<_>>());
        return Ok(());
    }
    let cells: Vec<Vec<String>> = rows.iter().flat_map(Row::cells).collect();
    output.table(&["who", "by", "for", "api", "route", "hosts", "methods", "path"], &cells);
    let open = rows.iter().filter(|row| row.is_public()).count();
    output.line(&output.paint(Colour::Dim, &format!("\n{}, {open} of them for everybody", counted(rows.len(), "route"))));
    Ok(())
}

/// A route and who may call it.
struct Row<'p> {
    plan: &'p Plan,
    api: &'p ApiPlan,
    route: &'p RoutePlan,
}

/// Every route: first those for everybody, then in the order of the configuration.
fn rows(plan: &Plan) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> =
        plan.apis.iter().flat_map(|api| api.routes.iter().map(move |route| Row { plan, api, route })).collect();
    rows.sort_by_key(|row| !row.is_public());
    rows
}

/// What callers of a provider show.
fn credential(plan: &Plan, provider: &str) -> &'static str {
    let is_certificates = plan.identity.client_certificates.iter().any(|known| *known.name == *provider);
    if is_certificates { "certificate" } else { "token" }
}

/// What a caller must have, in words.
fn told(line: &Line) -> String {
    let roles: Vec<String> = line.roles.iter().map(|(provider, role)| format!("{provider}/{role}")).collect();
    let mut parts = Vec::new();
    if !roles.is_empty() {
        parts.push(format!("role {}", roles.join(" or ")));
    }
    if !line.scopes.is_empty() {
        parts.push(format!("scope {}", line.scopes.join(" and ")));
    }
    parts.join(", ")
}

impl Row<'_> {
    fn is_public(&self) -> bool {
        self.route.access == Access::Public
    }

    /// One for each line that lets somebody in.
    fn cells(&self) -> Vec<Vec<String>> {
        let hosts: Vec<&str> = self.api.hosts.iter().map(|host| &**host).collect();
        let methods = self.route.methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(",");
        let row = |who: String, by: String, audiences: String| {
            let (api, route) = (self.api.name.to_string(), self.route.name.to_string());
            vec![who, by, audiences, api, route, hosts.join(","), methods.clone(), self.route.path.to_string()]
        };
        match &self.route.access {
            Access::Public => vec![row("everybody".to_owned(), "nothing".to_owned(), String::new())],
            Access::Allow { access, .. } => {
                let plan = &access.authenticate;
                let by: Vec<String> = plan.any_of.iter().map(|name| format!("{} of {name}", credential(self.plan, name))).collect();
                let by = by.join(" or ");
                access.lines.iter().map(|line| row(told(line), by.clone(), plan.audiences.join(" or "))).collect()
            }
        }
    }

    fn to_json(&self) -> Value {
        let allow = match &self.route.access {
            Access::Public => Value::Null,
            Access::Allow { access, .. } => {
                let line = |line: &Line| {
                    let roles: Vec<String> = line.roles.iter().map(|(provider, role)| format!("{provider}/{role}")).collect();
                    json!({ "one_of_roles": roles, "all_of_scopes": line.scopes.iter().map(|scope| &**scope).collect::<Vec<_>>() })
                };
                json!(access.lines.iter().map(line).collect::<Vec<_>>())
            }
        };
        let plan = match &self.route.access {
            Access::Public => None,
            Access::Allow { access, .. } => Some(&access.authenticate),
        };
        let texts = |texts: &[std::sync::Arc<str>]| texts.iter().map(|text| Value::from(&**text)).collect::<Vec<_>>();
        let kinds = |names: &[std::sync::Arc<str>]| names.iter().map(|name| credential(self.plan, name)).collect::<Vec<_>>();
        json!({
            "api": *self.api.name, "route": *self.route.name, "hosts": texts(&self.api.hosts), "path": *self.route.path,
            "methods": self.route.methods.encode(), "everybody": self.is_public(), "allow": allow,
            "providers": plan.map(|plan| texts(&plan.any_of)), "credentials": plan.map(|plan| kinds(&plan.any_of)), "audiences": plan.map(|plan| texts(&plan.audiences)),
        })
    }
}
