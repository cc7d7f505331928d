//! What an operator should know of a configuration although it loads.

use portcullis_control_config::{Finding, Loader, Plan, RoutePlace};
use portcullis_gateway_proxy::Route;
use portcullis_gateway_router::{Overlap, RouteTable};
use portcullis_model_settings::Severity;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The warnings of a plan, and the routes of it that meet, with the places where both are written; `loader` is the one that the plan
/// came from.
#[must_use]
pub fn warnings(plan: &Plan, overlaps: &[Overlap], routes: &RouteTable<Arc<Route>>, loader: &Loader) -> Vec<Finding> {
    let pairs: Vec<_> = overlaps
        .iter()
        .filter_map(|overlap| Some((overlap, routes.target(overlap.first_number)?, routes.target(overlap.second_number)?)))
        .collect();
    let wanted: HashSet<(&str, &str)> = pairs.iter().flat_map(|(_, first, second)| [name_of(first), name_of(second)]).collect();
    let places = loader.route_places(&wanted);
    let mut warnings = plan.warnings.clone();
    warnings.extend(pairs.iter().map(|(overlap, first, second)| finding(overlap, first, second, &places)));
    warnings
}

fn name_of(route: &Route) -> (&str, &str) {
    (&route.api, &route.name)
}

fn finding(overlap: &Overlap, first: &Route, second: &Route, places: &HashMap<(String, String), RoutePlace>) -> Finding {
    let place_of = |route: &Route| places.get(&(route.api.to_string(), route.name.to_string()));
    let reach = if overlap.hidden { "is never reached" } else { "is not reached by requests that fit both" };
    let what = format!(
        "the route `{}` of `{}` {reach} on `{}`: `{}` of `{}` was written before it",
        second.name, second.api, overlap.host, first.name, first.api
    );
    let before = place_of(first).map_or(String::new(), |place| format!("; the first one is in {place}"));
    let help = Some(format!("let them differ in host, path, method or headers{before}"));
    // A plan that was not loaded from files, such as the last known good one, has no places.
    let place = place_of(second).cloned().unwrap_or_default();
    Finding {
        severity: Severity::Warning,
        file: place.file,
        line: place.line,
        column: place.column,
        width: place.width,
        path: place.path,
        what,
        help,
        source: None,
    }
}
