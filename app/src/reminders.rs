//! What an operator means to look at again on a day, and what runs out: shown in the status, and told once a day from then on.

use crate::events::{Event, tell};
use portcullis_control_config::{Plan, Reminder};
use portcullis_control_reload::{Expiry, Running};
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

/// Everything that has run out or will soon, as a line each.
pub fn expiring(expiries: &[Expiry], now: u64) -> Vec<String> {
    expiries.iter().filter_map(|one| one.warning(now)).collect()
}

/// Tells what is overdue and what runs out, once a day.
pub struct Daily {
    told_day: u64,
    /// What runs out and has been told today.
    told: Vec<Expiry>,
}

impl Daily {
    /// What is overdue today has been told with the warnings of the configuration.
    pub fn begin(now: u64) -> Self {
        Self { told_day: now / DAY_SECONDS, told: Vec::new() }
    }

    /// Tells what is overdue and what runs out, if it has not been told today.
    pub fn tell(&mut self, running: &Running, now: u64) {
        if now / DAY_SECONDS > self.told_day {
            self.told_day = now / DAY_SECONDS;
            self.told.clear();
            for one in running.plan.reminders.iter().filter(|one| one.due_unix_seconds <= now) {
                tell(&Event::Warning { text: &line(one, now) });
            }
        }
        // What is not in force any more is forgotten, so that no number of reloads makes this longer.
        self.told.retain(|one| running.expiries.contains(one));
        for one in running.expiries.iter() {
            if !self.told.contains(one)
                && let Some(text) = one.warning(now)
            {
                tell(&Event::Warning { text: &text });
                self.told.push(one.clone());
            }
        }
    }
}
