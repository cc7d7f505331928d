//! When keys were used last, as the running gateway knows it.

use super::{moment, state};
use crate::ask::{explain, try_ask, understood};
use crate::output::Output;
use portcullis_control_admin::{ClientError, KeyUsesInfo};
use portcullis_control_reload::StoreUses;
use portcullis_engines_keys::Entry;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf, absolute};

/// Where a gateway answers, if nobody says otherwise.
const SOCKET: &str = "run/portcullis.sock";

/// As the management API shows it.
pub fn info(uses: StoreUses) -> KeyUsesInfo {
    let file = &uses.store.file;
    KeyUsesInfo {
        store: uses.store.name.to_string(),
        file: absolute(file).unwrap_or_else(|_| file.clone()),
        since: uses.since,
        idle_after_seconds: uses.store.idle_after.map(|time| time.as_secs()),
        used: uses.used.into_iter().map(|(id, at)| (id.into(), at)).collect(),
    }
}

/// What is known of the keys of a file.
pub(super) struct Uses {
    known: Option<KeyUsesInfo>,
}

/// Asks the gateway that has this file among its stores.
///
/// # Errors
/// When one was named and does not answer, or does not know the file.
pub(super) fn of(file: &Path, socket: Option<&Path>, output: Output) -> Result<Uses, String> {
    let named = socket.unwrap_or(Path::new(SOCKET));
    let answer = match try_ask(named, hyper::Method::GET, "/v1/key-uses") {
        Ok(answer) => answer,
        Err(ClientError::NotRunning(_)) if socket.is_none() => {
            output.note("when keys were used last is not known: no gateway answers here; name its socket with --socket");
            return Ok(Uses { known: None });
        }
        Err(error) => return Err(explain(named, &error)),
    };
    let stores: Vec<KeyUsesInfo> = understood(answer)?;
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| PathBuf::from(path));
    let known = stores.into_iter().find(|store| real(&store.file) == real(file));
    if known.is_none() {
        let text = format!("the gateway behind `{}` has no store of keys with the file `{}`", named.display(), file.display());
        if socket.is_some() {
            return Err(text);
        }
        output.note(&format!("when keys were used last is not known: {text}"));
    }
    Ok(Uses { known })
}

impl Uses {
    fn at(&self, entry: &Entry) -> Option<u64> {
        self.known.as_ref()?.used.get(&*entry.id).copied()
    }

    /// What has become of a key.
    pub(super) fn state(&self, entry: &Entry, now: u64) -> &'static str {
        let idle_after = self.known.as_ref().and_then(|known| Some((known.since, known.idle_after_seconds?)));
        let is_idle = idle_after.is_some_and(|(since, idle_after)| {
            now.saturating_sub(self.at(entry).unwrap_or_default().max(since).max(entry.created)) >= idle_after
        });
        if is_idle && entry.is_good(now) { "idle" } else { state(entry, now) }
    }

    /// For people.
    pub(super) fn last(&self, entry: &Entry) -> String {
        match (&self.known, self.at(entry)) {
            (None, _) => "not known".to_owned(),
            (Some(_), Some(at)) => moment(at),
            (Some(known), None) => format!("not since {}", moment(known.since.max(entry.created))),
        }
    }

    /// For programs. Nothing is said where nothing is known.
    pub(super) fn tell(&self, entry: &Entry, now: u64, value: &mut Map<String, Value>) {
        let Some(known) = &self.known else { return };
        value.insert("state".to_owned(), Value::from(self.state(entry, now)));
        value.insert("used".to_owned(), Value::from(self.at(entry)));
        value.insert("used_known_since".to_owned(), Value::from(known.since));
    }
}
