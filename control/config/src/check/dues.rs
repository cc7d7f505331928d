//! What is to be looked at again on a day: gathered at every load, since time passes also where nothing is changed.

use super::Checker;
use crate::merge::Merged;
use crate::plan::Reminder;
use portcullis_model_settings::{Date, Decode, PolicySchema, PolicyUse, quoted};

/// Every reminder of every policy, sorted by place. Those whose day has come are told as warnings.
pub(super) fn reminders(merged: &Merged<'_>, policies: &[PolicySchema], checker: &mut Checker<'_>) -> Vec<Reminder> {
    let apis = merged.apis.iter().filter_map(|part| part.value.as_ref());
    let inner = apis.flat_map(|api| api.policies.0.iter().chain(api.routes.0.iter().flat_map(|(_, route)| &*route.policies.0)));
    let mut reminders = Vec::new();
    for one in merged.defaults.iter().copied().chain(inner) {
        gather(one, policies, &mut reminders, checker);
    }
    reminders.sort_by(|a: &Reminder, b| a.path.cmp(&b.path));
    reminders
}

fn gather(one: &PolicyUse, policies: &[PolicySchema], reminders: &mut Vec<Reminder>, checker: &mut Checker<'_>) {
    let Some(row) = policies.get(one.policy) else { return };
    for due in (row.dues)(&*one.settings) {
        let path = format!("{}{}", one.at.node().path(), due.place);
        let due_unix_seconds = due.day.unix_seconds();
        let reminder = Reminder { path, what: due.what, owner: due.owner, due_unix_seconds };
        if due_unix_seconds <= checker.now_unix_seconds {
            let what = format!("{} was to be looked at on {}, and is still in force", reminder.what, day(due.day.value));
            let who = reminder.owner.as_deref().map_or_else(String::new, |owner| format!(", which {} decides", quoted(owner)));
            checker.warning(&due.day, &reminder.path, what, format!("remove it, or write a new day{who}"));
        }
        reminders.push(reminder);
    }
}

fn day(date: Date) -> String {
    quoted(date.encode().as_str().unwrap_or_default())
}
