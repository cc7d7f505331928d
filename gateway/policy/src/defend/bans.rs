//! Clients that are kept out until a time: a bounded table that every worker asks and some write to.

use arc_swap::ArcSwap;
use portcullis_model::Reason;
use portcullis_model_settings::IpNetwork;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Clients are kept in this many parts, so that workers seldom wait for each other.
const SHARDS: usize = 64;
/// Clients that a part remembers; beyond, the one whose ban ends first is forgotten for another.
const SHARD_CLIENTS_MAX: usize = 1024;
/// Networks that are larger or smaller than one client, which only the operator bans. They are looked at one by one.
pub const OTHERS_MAX: usize = 1024;
/// A ban is doubled so often at the most.
const LEVEL_MAX: u8 = 30;

/// Whom a ban is for: an IPv4 address, an IPv6 network of 64 bits, or another network that the operator names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientNetwork(IpNetwork);

impl ClientNetwork {
    /// The network of one client that has this address; mapped addresses count as what they map (threats C 65).
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let (address, length) = match address.to_canonical() {
            IpAddr::V4(four) => (IpAddr::V4(four), 32),
            IpAddr::V6(six) => (IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & (u128::MAX << 64))), 64),
        };
        Self(IpNetwork::new(address, length).unwrap_or_else(|_| IpNetwork::from(address)))
    }

    /// A network as the operator writes it: an address alone stands for the client that has it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self::of(address));
        }
        let network = text.parse::<IpNetwork>().ok()?;
        (network.trunc() == network).then_some(Self(network))
    }

    /// The network itself.
    #[must_use]
    pub fn network(self) -> IpNetwork {
        self.0
    }

    /// Whether it is one client's.
    #[must_use]
    pub fn is_client(self) -> bool {
        self.client().is_some()
    }

    /// The number of the client that it is, if it is one.
    fn client(self) -> Option<u64> {
        match (self.0.network(), self.0.prefix_len()) {
            // Where no global IPv6 network lies.
            (IpAddr::V4(four), 32) => Some(u64::from(four.to_bits())),
            (IpAddr::V6(six), 64) => Some((six.to_bits() >> 64) as u64),
            _ => None,
        }
    }

    fn from_client(client: u64) -> Self {
        Self::of(match u32::try_from(client) {
            Ok(four) => IpAddr::V4(Ipv4Addr::from_bits(four)),
            Err(_) => IpAddr::V6(Ipv6Addr::from_bits(u128::from(client) << 64)),
        })
    }
}

impl std::fmt::Display for ClientNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpNetwork::V4(four) if four.prefix_len() == 32 => write!(f, "{}", four.addr()),
            network => write!(f, "{network}"),
        }
    }
}

/// A ban: in force, or remembered because the next one is to be longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Until when, in Unix seconds; `u64::MAX` until it is lifted.
    pub until: u64,
    /// Until when it is remembered, in Unix seconds.
    pub remembered_until: u64,
    /// How often the client had been banned before.
    pub level: u8,
    /// The last of what the client did; nothing when the operator banned it.
    pub cause: Option<Reason>,
    /// When it was made, in Unix seconds.
    pub since: u64,
    /// The user who made it, if it was one.
    pub uid: Option<u32>,
    /// Why, in the operator's words.
    pub reason: Option<Arc<str>>,
}

/// When a client is banned by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanRules {
    /// So many offences;
    pub offences: u32,
    /// within so long.
    pub within: Duration,
    /// The first ban.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

impl BanRules {
    /// The ban of a client that had been banned `level` times before.
    fn ban(&self, level: u8, cause: Reason, now: u64) -> Ban {
        let seconds = self.first.as_secs().max(1).saturating_mul(1 << level.min(LEVEL_MAX));
        let until = now.saturating_add(seconds.min(self.longest.as_secs().max(1)));
        let remembered_until = until.saturating_add(self.longest.as_secs());
        Ban { until, remembered_until, level, cause: Some(cause), since: now, uid: None, reason: None }
    }
}

type Shard = HashMap<u64, Ban>;

/// All bans. Where there is none, asking costs a load.
pub struct Bans {
    /// How many are kept, those that are only remembered among them.
    kept: AtomicU64,
    shards: Box<[Mutex<Shard>]>,
    others: ArcSwap<Vec<(ClientNetwork, Ban)>>,
    /// Whose ban has changed since that was asked last.
    changed: Mutex<HashSet<ClientNetwork>>,
    /// Which part a client is in is not for clients to choose.
    hasher: RandomState,
    made: AtomicU64,
}

impl Default for Bans {
    fn default() -> Self {
        Self {
            kept: AtomicU64::new(0),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            others: ArcSwap::default(),
            changed: Mutex::default(),
            hasher: RandomState::new(),
            made: AtomicU64::new(0),
        }
    }
}

impl Bans {
    /// Whether there is none, not even one that is only remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.load(Ordering::Relaxed) == 0
    }

    /// Until when whoever has this address is banned, if they are at `now`; both in Unix seconds.
    #[must_use]
    pub fn banned_until(&self, address: IpAddr, now: u64) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        let others = self.others.load();
        let (network, address) = (ClientNetwork::of(address), address.to_canonical());
        let of_others = others.iter().filter(|(other, _)| other.0.contains(&address)).map(|(_, ban)| ban.until).max();
        let own = network.client().and_then(|client| self.shard(client).get(&client).map(|ban| ban.until));
        own.into_iter().chain(of_others).max().filter(|until| now < *until)
    }

    /// Bans a client for what it has done last, unless it is banned already. Gives the ban.
    pub(crate) fn ban_for(&self, address: IpAddr, cause: Reason, rules: &BanRules, now: u64) -> Option<Ban> {
        let network = ClientNetwork::of(address);
        let client = network.client()?;
        let mut shard = self.shard(client);
        let level = match shard.get(&client) {
            Some(known) if now < known.until => return None,
            Some(known) if now < known.remembered_until => known.level.saturating_add(1).min(LEVEL_MAX),
            _ => 0,
        };
        let ban = rules.ban(level, cause, now);
        self.insert(&mut shard, client, ban.clone(), now);
        drop(shard);
        self.made.fetch_add(1, Ordering::Relaxed);
        self.note(network);
        Some(ban)
    }

    /// Puts a ban in the place of the one that there may be.
    ///
    /// # Errors
    /// When there are as many as there may be of networks that are not one client's.
    pub fn put(&self, network: ClientNetwork, ban: Ban, now: u64) -> Result<(), String> {
        if let Some(client) = network.client() {
            self.insert(&mut self.shard(client), client, ban, now);
        } else {
            let _one_at_a_time = lock(&self.changed);
            let mut others = Vec::clone(&self.others.load());
            others.retain(|(other, known)| *other != network && now < known.until);
            if others.len() >= OTHERS_MAX {
                return Err(format!("{OTHERS_MAX} networks are banned, as many as there may be; lift some, or use `ip_rules`"));
            }
            others.push((network, ban));
            self.replace_others(others);
        }
        Ok(())
    }

    /// Forgets a ban. Says whether there was one.
    pub fn lift(&self, network: ClientNetwork) -> bool {
        if let Some(client) = network.client() {
            let gone = self.shard(client).remove(&client).is_some();
            self.kept.fetch_sub(u64::from(gone), Ordering::Relaxed);
            return gone;
        }
        let _one_at_a_time = lock(&self.changed);
        let before = self.others.load();
        let others: Vec<_> = before.iter().filter(|(other, _)| *other != network).cloned().collect();
        let gone = others.len() < before.len();
        if gone {
            self.replace_others(others);
        }
        gone
    }

    /// The ban of a network, also when it is only remembered.
    #[must_use]
    pub fn find(&self, network: ClientNetwork) -> Option<Ban> {
        match network.client() {
            Some(client) => self.shard(client).get(&client).cloned(),
            None => self.others.load().iter().find(|(other, _)| *other == network).map(|(_, ban)| ban.clone()),
        }
    }

    /// Every ban that is in force or remembered, by network.
    #[must_use]
    pub fn list(&self, now: u64) -> Vec<(ClientNetwork, Ban)> {
        let mut all: Vec<_> = self.others.load().iter().filter(|(_, ban)| now < ban.until).cloned().collect();
        for shard in &self.shards {
            let shard = lock(shard);
            let kept = shard.iter().filter(|(_, ban)| now < ban.until.max(ban.remembered_until));
            all.extend(kept.map(|(client, ban)| (ClientNetwork::from_client(*client), ban.clone())));
        }
        all.sort_by_key(|(network, _)| *network);
        all
    }

    /// Whose ban was made by offences since this was asked last.
    #[must_use]
    pub fn take_changes(&self) -> Vec<ClientNetwork> {
        std::mem::take(&mut *lock(&self.changed)).into_iter().collect()
    }

    /// How many bans offences have made.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    fn note(&self, network: ClientNetwork) {
        let mut changed = lock(&self.changed);
        // What is not noted is not written down; it is in force all the same.
        if changed.len() < SHARDS * SHARD_CLIENTS_MAX {
            changed.insert(network);
        }
    }

    fn insert(&self, shard: &mut Shard, client: u64, ban: Ban, now: u64) {
        if !shard.contains_key(&client) && shard.len() >= SHARD_CLIENTS_MAX {
            let before = shard.len();
            shard.retain(|_, known| now < known.remembered_until.max(known.until));
            if shard.len() >= SHARD_CLIENTS_MAX
                && let Some(first) = shard.iter().min_by_key(|(_, known)| (known.uid.is_some(), known.until)).map(|(key, _)| *key)
            {
                shard.remove(&first);
            }
            self.kept.fetch_sub((before - shard.len()) as u64, Ordering::Relaxed);
        }
        if shard.insert(client, ban).is_none() {
            self.kept.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn replace_others(&self, others: Vec<(ClientNetwork, Ban)>) {
        let (now, before) = (others.len() as u64, self.others.load().len() as u64);
        self.others.store(Arc::new(others));
        // Added first: whoever looks meanwhile finds that there is something to look at.
        self.kept.fetch_add(now, Ordering::Relaxed);
        self.kept.fetch_sub(before, Ordering::Relaxed);
    }

    fn shard(&self, client: u64) -> MutexGuard<'_, Shard> {
        static NEVER: std::sync::LazyLock<Mutex<Shard>> = std::sync::LazyLock::new(Mutex::default);
        let part = self.hasher.hash_one(client) as usize % SHARDS;
        // INVARIANT: `part` is below the number of shards.
        lock(self.shards.get(part).unwrap_or(&NEVER))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{Ban, BanRules, Bans, ClientNetwork, OTHERS_MAX, SHARD_CLIENTS_MAX, SHARDS};
    use portcullis_model::Reason;
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    fn rules() -> BanRules {
        let seconds = Duration::from_secs;
        BanRules { offences: 3, within: seconds(60), first: seconds(60), longest: seconds(3600) }
    }

    fn by_operator(until: u64) -> Ban {
        Ban { until, remembered_until: until, level: 0, cause: None, since: 0, uid: Some(7), reason: None }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn network(text: &str) -> ClientNetwork {
        ClientNetwork::parse(text).unwrap()
    }

    #[test]
    fn c65_a_ban_holds_for_the_client_however_its_address_is_written_and_for_nobody_else() {
        let bans = Bans::default();
        assert!(bans.is_empty());
        bans.ban_for(address("::ffff:192.0.2.1"), Reason::Http2Flood, &rules(), 100);
        bans.ban_for(address("2001:db8::7"), Reason::Http2Flood, &rules(), 100);
        for (text, banned) in [
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
            ("192.0.2.2", false),
            ("2001:db8::1", true),
            ("2001:db8:0:1::7", false),
            ("::c000:201", false),
        ] {
            assert_eq!(bans.banned_until(address(text), 159).is_some(), banned, "{text}");
        }
        assert_eq!(bans.banned_until(address("192.0.2.1"), 160), None);
        let shown: Vec<String> = bans.list(100).iter().map(|(network, _)| network.to_string()).collect();
        assert_eq!(shown, ["192.0.2.1", "2001:db8::/64"]);
    }

    #[test]
    fn bans_double_up_to_the_longest_and_begin_anew_for_who_has_behaved_that_long() {
        let (bans, client) = (Bans::default(), address("192.0.2.1"));
        let ban = |now| bans.ban_for(client, Reason::Http2Flood, &rules(), now).map(|ban| ban.until - now);
        assert_eq!((ban(0), ban(59), ban(60)), (Some(60), None, Some(120)));
        let mut now = 180;
        for length in [240, 480, 960, 1920, 3600, 3600] {
            assert_eq!(ban(now), Some(length), "{now}");
            now += length;
        }
        assert_eq!(ban(now + 3600), Some(60));
    }

    #[test]
    fn networks_of_the_operator_hold_until_they_are_lifted() {
        let bans = Bans::default();
        bans.put(network("198.51.100.0/24"), by_operator(u64::MAX), 0).unwrap();
        bans.put(network("2001:db8:1::/48"), by_operator(50), 0).unwrap();
        assert_eq!(bans.banned_until(address("198.51.100.9"), u64::MAX - 1), Some(u64::MAX));
        assert!(bans.banned_until(address("2001:db8:1:2::3"), 49).is_some());
        assert!(bans.banned_until(address("2001:db8:1:2::3"), 50).is_none());
        assert!(bans.lift(network("198.51.100.0/24")) && !bans.lift(network("198.51.100.0/24")));
        assert!(bans.banned_until(address("198.51.100.9"), 0).is_none());
        bans.lift(network("2001:db8:1::/48"));
        assert!(bans.is_empty());
        for at in 0..OTHERS_MAX {
            bans.put(network(&format!("10.{}.{}.0/24", at / 256, at % 256)), by_operator(9), 0).unwrap();
        }
        assert!(bans.put(network("198.51.100.0/24"), by_operator(9), 0).is_err());
        // Those whose time is over make room.
        assert!(bans.put(network("198.51.100.0/24"), by_operator(99), 9).is_ok());
        assert!(ClientNetwork::parse("198.51.100.1/24").is_none());
    }

    #[test]
    fn many_clients_take_bounded_memory_and_none_of_the_operators_bans() {
        let bans = Bans::default();
        bans.put(network("192.0.2.1"), by_operator(u64::MAX), 0).unwrap();
        for number in 0..(3 * SHARDS * SHARD_CLIENTS_MAX) as u32 {
            bans.ban_for(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number)), Reason::Http2Flood, &rules(), 10);
        }
        assert!(bans.list(10).len() <= SHARDS * SHARD_CLIENTS_MAX);
        assert_eq!(bans.banned_until(address("192.0.2.1"), 10), Some(u64::MAX));
        assert_eq!(bans.take_changes().len(), SHARDS * SHARD_CLIENTS_MAX);
        assert!(bans.take_changes().is_empty());
        let all = bans.list(0);
        all.iter().for_each(|(network, _)| assert!(bans.lift(*network)));
        assert!(bans.is_empty());
    }
}
