//! What an operator means to look at again on a day: shown in the status, and told once a day from then on.

use crate::events::{Event, tell};
use portcullis_control_config::{Plan, Reminder};
use portcullis_model_settings::Date;

const DAY_SECONDS: u64 = 86_400;

fn line(one: &Reminder, now: u64) -> String {
    let owner = one.owner.as_deref().map_or_else(String::new, |owner| format!(" ({owner})"));
    let day = Date::of_unix_seconds(one.due_unix_seconds);
    let state = if one.due_unix_seconds <= now { "overdue and still in force" } else { "in force" };
    format!("{}: {}{owner}, to be looked at on {day}; {state}", one.path, one.what)
}

/// Every reminder of a plan, as a line each.
pub fn shown(plan: &Plan, now: u64) -> Vec<String> {
    plan.reminders.iter().map(|one| line(one, now)).collect()
}

/// Tells what is overdue, once a day.
pub struct Daily {
    told_day: u64,
}

impl Daily {
    /// What is overdue today has been told with the warnings of the configuration.
    pub fn begin(now: u64) -> Self {
        Self { told_day: now / DAY_SECONDS }
    }

    /// Tells what is overdue, if it has not been told today.
    pub fn tell_overdue(&mut self, plan: &Plan, now: u64) {
        if now / DAY_SECONDS <= self.told_day {
            return;
        }
        self.told_day = now / DAY_SECONDS;
        for one in plan.reminders.iter().filter(|one| one.due_unix_seconds <= now) {
            tell(&Event::Warning { text: &line(one, now) });
        }
    }
}
