//! `portcullis exposure`: who may call what, those routes first that everybody may.

mod html;
mod limits;

use crate::check::{counted, load_plan};
use crate::output::{Colour, Output};
use portcullis_control_config::{Access, ApiPlan, Plan, RoutePlan};
use portcullis_control_reload::{Caller, Credential, callers};
use portcullis_engines_authz::Line;
use portcullis_model::Clock;
use portcullis_model_settings::Decode;
use serde_json::{Value, json};
use std::path::Path;

/// Shows every route of a configuration with everybody whom it lets in, or writes that to `html` as a page.
///
/// # Errors
/// When the configuration is refused, or the page cannot be written.
pub fn exposure(config: &Path, html: Option<&Path>, clock: &Clock, output: Output) -> Result<(), String> {
    let plan = load_plan(config, clock, output)?;
    let rows = rows(&plan);
    if let Some(file) = html {
        let page = html::page(&plan, &rows)?;
        std::fs::write(file, page).map_err(|error| format!("`{}`: {error}", file.display()))?;
        output.line(&format!("written to {}: {}", file.display(), counted(rows.len(), "route")));
        return Ok(());
    }
    if output.is_json() {
        output.json(&rows.iter().map(|row| row.to_json()).collect::<Vec<_>>());
        return Ok(());
    }
    let cells: Vec<Vec<String>> = rows.iter().flat_map(Row::cells).collect();
    output.table(&["who", "by", "for", "api", "route", "hosts", "methods", "path", "limits"], &cells);
    let open = rows.iter().filter(|row| row.is_public()).count();
    output.line(&output.paint(Colour::Dim, &format!("\n{}, {open} of them for everybody", counted(rows.len(), "route"))));
    Ok(())
}

/// Whom a line lets in.
struct Granted {
    who: String,
    by: String,
    audiences: String,
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
    Credential::of(&plan.identity, provider).as_str()
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
    if !line.consumers.is_empty() {
        parts.push(format!("consumer {}", line.consumers.join(" or ")));
    }
    parts.join(", ")
}

impl Row<'_> {
    fn is_public(&self) -> bool {
        self.route.access == Access::Public
    }

    /// Whom it lets in: one for each line that does.
    fn granted(&self) -> Vec<Granted> {
        match &self.route.access {
            Access::Public => {
                vec![Granted { who: "everybody".to_owned(), by: "nothing".to_owned(), audiences: String::new() }]
            }
            Access::Allow { access, .. } => {
                let plan = &access.authenticate;
                let by: Vec<String> = plan.any_of.iter().map(|name| format!("{} of {name}", credential(self.plan, name))).collect();
                let (by, audiences) = (by.join(" or "), plan.audiences.join(" or "));
                // What policies refuse is not known here.
                let narrowed = access.policy.as_ref().map(|policy| format!("whom policies of {} permit", policy.file));
                let alone = narrowed.clone().filter(|_| access.lines.is_empty());
                let whole = |who: String| match &narrowed {
                    Some(narrowed) => format!("{who}, {narrowed}"),
                    None => who,
                };
                let lines = access.lines.iter().map(|line| whole(told(line)));
                lines.chain(alone).map(|who| Granted { who, by: by.clone(), audiences: audiences.clone() }).collect()
            }
        }
    }

    fn hosts(&self) -> String {
        self.api.hosts.iter().map(|host| &**host).collect::<Vec<_>>().join(",")
    }

    fn methods(&self) -> String {
        self.route.methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(",")
    }

    /// One for each line that lets somebody in.
    fn cells(&self) -> Vec<Vec<String>> {
        let limits = limits::told(self.plan, &self.route.policies).join(", ");
        let row = |one: Granted| {
            let (api, route, path) = (self.api.name.to_string(), self.route.name.to_string(), self.route.path.to_string());
            vec![one.who, one.by, one.audiences, api, route, self.hosts(), self.methods(), path, limits.clone()]
        };
        self.granted().into_iter().map(row).collect()
    }

    fn to_json(&self) -> Value {
        let texts = |texts: &[std::sync::Arc<str>]| texts.iter().map(|text| Value::from(&**text)).collect::<Vec<_>>();
        let allow = match &self.route.access {
            Access::Public => Value::Null,
            Access::Allow { access, .. } => {
                let line = |line: &Line| {
                    let roles: Vec<String> = line.roles.iter().map(|(provider, role)| format!("{provider}/{role}")).collect();
                    json!({ "one_of_roles": roles, "all_of_scopes": texts(&line.scopes), "one_of_consumers": texts(&line.consumers) })
                };
                json!(access.lines.iter().map(line).collect::<Vec<_>>())
            }
        };
        let plan = match &self.route.access {
            Access::Public => None,
            Access::Allow { access, .. } => Some(&access.authenticate),
        };
        let policy = match &self.route.access {
            Access::Public => None,
            Access::Allow { access, .. } => access.policy.as_ref().map(|policy| policy.file.to_string()),
        };
        let kinds = |names: &[std::sync::Arc<str>]| names.iter().map(|name| credential(self.plan, name)).collect::<Vec<_>>();
        json!({
            "api": *self.api.name, "route": *self.route.name, "hosts": texts(&self.api.hosts), "path": *self.route.path,
            "methods": self.route.methods.encode(), "limits": limits::told(self.plan, &self.route.policies), "everybody": self.is_public(), "narrowed_by": policy,
            "callers": callers(&self.plan.identity, Some(&self.route.access)).iter().map(Caller::to_json).collect::<Vec<_>>(), "allow": allow,
            "providers": plan.map(|plan| texts(&plan.any_of)), "credentials": plan.map(|plan| kinds(&plan.any_of)), "audiences": plan.map(|plan| texts(&plan.audiences)),
        })
    }
}
