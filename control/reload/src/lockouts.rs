//! Lockouts, kept in a file beside the socket as bans are.

use crate::kept::{Kept, KeptFile};
use portcullis_gateway_policy::{Defence, LockedOut, Lockout, LockoutPer};
use portcullis_model::Clock;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    per: String,
    name: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    lifted: bool,
    #[serde(default)]
    until: u64,
    #[serde(default)]
    remembered_until: u64,
    #[serde(default)]
    level: u8,
    #[serde(default)]
    status: u16,
    unix_seconds: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
}

impl Line {
    fn of(row: &LockedOut) -> Self {
        let Lockout { until, remembered_until, level, status, since } = row.lockout;
        let (per, name) = (row.per.as_str().to_owned(), row.name.to_string());
        Self { per, name, lifted: false, until, remembered_until, level, status, unix_seconds: since, uid: None }
    }
}

struct KeptLockouts(Arc<Defence>);

impl Kept for KeptLockouts {
    type Row = LockedOut;
    const WORD: &'static str = "lockouts";

    fn take_changes(&self) -> Vec<LockedOut> {
        self.0.failures.lockouts.take_changes()
    }

    fn list(&self, now: u64) -> Vec<LockedOut> {
        self.0.failures.lockouts.list(now)
    }

    fn line(row: &LockedOut) -> io::Result<Vec<u8>> {
        serde_json::to_vec(&Line::of(row)).map_err(io::Error::other)
    }

    fn take(&self, text: &[u8], now: u64) -> bool {
        let Ok(line) = serde_json::from_slice::<Line>(text) else { return false };
        let Some(per) = LockoutPer::parse(&line.per) else { return false };
        let Line { until, remembered_until, level, status, unix_seconds: since, .. } = line;
        let lockout = Lockout { until, remembered_until, level, status, since };
        let row = LockedOut { per, name: line.name.into(), lockout };
        let Some(whom) = row.whom() else { return false };
        let lockouts = &self.0.failures.lockouts;
        if line.lifted {
            lockouts.lift(whom);
        } else if now < until.max(remembered_until) {
            return lockouts.put(row, now);
        }
        true
    }
}

/// The file, and the lockouts that are in force by it.
pub struct LockoutLog(Arc<KeptFile<KeptLockouts>>);

impl LockoutLog {
    /// Reads the file, if there is one, and puts in force what it says. `report` hears what is not understood.
    #[must_use]
    pub fn open(path: PathBuf, clock: Clock, defence: Arc<Defence>, report: &dyn Fn(&str)) -> Arc<Self> {
        Arc::new(Self(Arc::new(KeptFile::open(path, clock, KeptLockouts(defence), report))))
    }

    /// Keeps the file until what it gives is dropped. `told` hears of each lockout that is made, `report` what is wrong with the file.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn follow(
        &self,
        told: impl Fn(&[LockedOut]) + Send + 'static,
        report: impl Fn(&str) + Send + 'static,
    ) -> io::Result<SyncSender<()>> {
        self.0.follow(told, report)
    }

    /// What is in force, by what was counted and name.
    #[must_use]
    pub fn list(&self) -> Vec<LockedOut> {
        let now = self.0.clock.unix_seconds();
        self.0.kept.list(now).into_iter().filter(|row| now < row.lockout.until).collect()
    }

    /// How many have been made since the process was started, in the order of [`LockoutPer::ALL`].
    #[must_use]
    pub fn made(&self) -> [u64; LockoutPer::ALL.len()] {
        self.0.kept.0.failures.lockouts.made()
    }

    /// Lifts a lockout, and forgets it and what has failed since: on the disk and in force.
    ///
    /// # Errors
    /// For the operator: when there is none, or the disk does not take it.
    pub fn lift(&self, per: LockoutPer, name: &str, uid: u32) -> Result<LockedOut, String> {
        let row = self.list().into_iter().find(|row| row.per == per && *row.name == *name);
        let Some((row, failures)) = row.map(|row| (row, &self.0.kept.0.failures)) else {
            return Err(format!("`{name}` is not locked out by `{}`; `portcullis lockout list` shows who is", per.as_str()));
        };
        let line = Line { lifted: true, unix_seconds: self.0.clock.unix_seconds(), uid: Some(uid), ..Line::of(&row) };
        self.0.write(serde_json::to_vec(&line).map_err(io::Error::other))?;
        if let Some(whom) = row.whom() {
            failures.lockouts.lift(whom);
            failures.forgive(whom);
        }
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::LockoutLog;
    use portcullis_gateway_policy::{Defence, LockoutPer, LockoutRules, Whom};
    use portcullis_model::Clock;
    use std::cell::RefCell;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    fn open(path: &Path) -> (Arc<LockoutLog>, Arc<Defence>, String) {
        let (defence, told) = (Arc::new(Defence::default()), RefCell::new(String::new()));
        let report = |text: &str| told.borrow_mut().push_str(text);
        let log = LockoutLog::open(path.to_owned(), Clock::System, Arc::clone(&defence), &report);
        (log, defence, told.into_inner())
    }

    #[test]
    fn lockouts_outlive_the_process_two_processes_share_them_and_what_is_damaged_is_left_out() {
        let folder = std::env::temp_dir().join(format!("portcullis-lockouts-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("lockouts.jsonl");
        let hour = Duration::from_secs(3600);
        let rules = LockoutRules {
            failures: 1,
            within: hour,
            first: hour,
            longest: hour,
            client_ip: true,
            account: true,
            key: true,
            statuses: [401].into(),
            spared_after_success: hour,
            key_stores: Box::default(),
        };
        let now = Clock::System.unix_seconds();
        let (first, own, _) = open(&file);
        for (per, name) in
            [(LockoutPer::ClientIp, "2001:db8::7"), (LockoutPer::Login, "app/bob"), (LockoutPer::Account, "corp/a/b")]
        {
            assert!(own.failures.fail(Whom::parse(per, name).unwrap(), 401, &rules, 0, now));
        }
        first.0.exchange(&own.failures.lockouts.take_changes()).unwrap();
        let (second, others, told) = open(&file);
        assert_eq!((second.list(), told.as_str()), (first.list(), ""));
        let shown: Vec<String> = second.list().iter().map(|row| row.name.to_string()).collect();
        assert_eq!(shown, ["2001:db8::/64", "corp/a/b", "app/bob"]);
        assert!(others.failures.lockouts.locked_until(Whom::parse(LockoutPer::Account, "corp/a/b").unwrap(), now).is_some());
        second.lift(LockoutPer::Login, "app/bob", 7).unwrap();
        first.0.exchange(&[]).unwrap();
        assert_eq!(first.list(), second.list());
        assert!(first.lift(LockoutPer::Login, "app/bob", 7).unwrap_err().contains("is not locked out"));
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{{\"per\":\"mood\",\"name\":\"a/b\",\"unix_seconds\":1}}\n{text}")).unwrap();
        let (third, _, told) = open(&file);
        assert!(told.contains("1 lines were not understood"), "{told}");
        assert_eq!(third.list(), second.list());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
