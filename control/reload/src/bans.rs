//! Bans, kept in a file beside the socket so that a restart and an upgrade know of them.

use crate::kept::{Kept, KeptFile};
use portcullis_gateway_policy::{Ban, ClientNetwork, Defence};
use portcullis_model::{Clock, Reason};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    network: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    lifted: bool,
    /// For ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    #[serde(default)]
    remembered_until: u64,
    #[serde(default)]
    level: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    unix_seconds: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Line {
    fn of(network: ClientNetwork, ban: &Ban) -> Self {
        Self {
            network: network.to_string(),
            lifted: false,
            until: (ban.until != u64::MAX).then_some(ban.until),
            remembered_until: ban.remembered_until,
            level: ban.level,
            cause: ban.cause.map(|cause| cause.code().to_owned()),
            unix_seconds: ban.since,
            uid: ban.uid,
            reason: ban.reason.as_deref().map(str::to_owned),
        }
    }

    fn lifting(network: ClientNetwork, uid: u32, unix_seconds: u64) -> Self {
        let network = network.to_string();
        let (until, remembered_until, level, cause, reason) = (None, 0, 0, None, None);
        Self { network, lifted: true, until, remembered_until, level, cause, unix_seconds, uid: Some(uid), reason }
    }

    fn ban(&self) -> Ban {
        let cause = self.cause.as_deref().and_then(|code| Reason::ALL.iter().find(|reason| reason.code() == code)).copied();
        Ban {
            until: self.until.unwrap_or(u64::MAX),
            remembered_until: self.remembered_until,
            level: self.level,
            cause,
            since: self.unix_seconds,
            uid: self.uid,
            reason: self.reason.as_deref().map(Arc::from),
        }
    }
}

struct KeptBans(Arc<Defence>);

impl Kept for KeptBans {
    type Row = (ClientNetwork, Ban);
    const WORD: &'static str = "bans";

    fn take_changes(&self) -> Vec<Self::Row> {
        let bans = &self.0.bans;
        bans.take_changes().into_iter().filter_map(|network| Some((network, bans.find(network)?))).collect()
    }

    fn list(&self, now: u64) -> Vec<Self::Row> {
        self.0.bans.list(now)
    }

    fn line((network, ban): &Self::Row) -> io::Result<Vec<u8>> {
        serde_json::to_vec(&Line::of(*network, ban)).map_err(io::Error::other)
    }

    fn take(&self, text: &[u8], now: u64) -> bool {
        let Ok(line) = serde_json::from_slice::<Line>(text) else { return false };
        let Some(network) = ClientNetwork::parse(&line.network) else { return false };
        let (bans, ban) = (&self.0.bans, line.ban());
        if line.lifted {
            bans.lift(network);
        } else if now < ban.until.max(ban.remembered_until) {
            return bans.put(network, ban, now).is_ok();
        }
        true
    }
}

/// The file, and the bans that are in force by it.
pub struct BanLog {
    file: Arc<KeptFile<KeptBans>>,
    /// Held while a ban is changed by hand.
    changing: Mutex<()>,
}

impl BanLog {
    /// Reads the file, if there is one, and puts in force what it says. `report` hears what is not understood.
    #[must_use]
    pub fn open(path: PathBuf, clock: Clock, defence: Arc<Defence>, report: &dyn Fn(&str)) -> Arc<Self> {
        let file = Arc::new(KeptFile::open(path, clock, KeptBans(defence), report));
        Arc::new(Self { file, changing: Mutex::default() })
    }

    /// Keeps the file until what it gives is dropped. `told` hears of each ban that offences have made, `report` what is wrong with the file.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn follow(
        &self,
        told: impl Fn(&[(ClientNetwork, Ban)]) + Send + 'static,
        report: impl Fn(&str) + Send + 'static,
    ) -> io::Result<SyncSender<()>> {
        self.file.follow(told, report)
    }

    /// What is in force, by network.
    #[must_use]
    pub fn list(&self) -> Vec<(ClientNetwork, Ban)> {
        let now = self.now();
        self.defence().bans.list(now).into_iter().filter(|(_, ban)| now < ban.until).collect()
    }

    /// How many are in force, and how many offences have made since the process was started.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.list().len() as u64, self.defence().bans.made())
    }

    /// Bans a network in the place of the ban that there may be: on the disk, and in force for whatever begins.
    ///
    /// # Errors
    /// For the operator: when there are too many, or the disk does not take it. Nothing has changed then.
    pub fn add(&self, network: ClientNetwork, ban: Ban) -> Result<(), String> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (bans, now) = (&self.defence().bans, self.now());
        let (before, line) = (bans.find(network), KeptBans::line(&(network, ban.clone())));
        bans.put(network, ban, now)?;
        if let Err(problem) = self.file.write(line) {
            bans.lift(network);
            if let Some(before) = before {
                bans.put(network, before, now)?;
            }
            return Err(problem);
        }
        Ok(())
    }

    /// Lifts a ban, and forgets it: the next one of the client is as long as a first one.
    ///
    /// # Errors
    /// For the operator: when there is none, or the disk does not take it.
    pub fn lift(&self, network: ClientNetwork, uid: u32) -> Result<(), String> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        if self.defence().bans.find(network).is_none_or(|ban| ban.until <= now) {
            return Err(format!("`{network}` is not banned; `portcullis ban list` shows what is"));
        }
        self.file.write(serde_json::to_vec(&Line::lifting(network, uid, now)).map_err(io::Error::other))?;
        self.defence().bans.lift(network);
        Ok(())
    }

    fn defence(&self) -> &Defence {
        &self.file.kept.0
    }

    fn now(&self) -> u64 {
        self.file.clock.unix_seconds()
    }
}

#[cfg(test)]
impl BanLog {
    fn made(&self) -> Vec<(ClientNetwork, Ban)> {
        self.file.kept.take_changes()
    }

    fn exchange(&self, made: &[(ClientNetwork, Ban)]) -> io::Result<()> {
        self.file.exchange(made)
    }
}

#[cfg(test)]
mod tests;
