//! The keys and their arrival times: a fixed number of slots, in shards that are locked for a few loads and stores.

use crate::rate::{Rate, Standing};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Limits that may be charged together.
pub const CHARGES_MAX: usize = 16;
/// Shards; enough that workers seldom meet in one.
const SHARDS: usize = 128;
/// Slots of a bucket: with two words each, a cache line.
const BUCKET_SLOTS: usize = 4;
const SLOT_WORDS: usize = 2;
const BUCKET_WORDS: usize = BUCKET_SLOTS * SLOT_WORDS;

/// A key of a limit, hashed with a secret of the process: a client cannot choose keys that meet in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash(u64);

/// What is asked for: that `cost` is granted to a key.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// Whose.
    pub key: KeyHash,
    /// How much it may have.
    pub rate: Rate,
    /// How much is asked.
    pub cost: u32,
}

/// What was granted, and where the key stands that has least left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which charge has the least left.
    pub tightest: usize,
    /// Where its key stands now.
    pub standing: Standing,
}

/// What was refused; nothing was charged to any key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The charge that must wait longest.
    pub charge: usize,
    /// Where its key stands.
    pub standing: Standing,
    /// Nanoseconds until it would be granted, if nothing else comes; `u64::MAX` if never.
    pub retry_after: u64,
}

/// A fixed number of keys and their arrival times.
///
/// Each key has two buckets of four slots where it may be. When all eight are taken by keys that are still owed something, the one that is
/// owed least is forgotten: it gains what it had used, at most. Under a flood of new keys those are the flood's own, which have been
/// charged once, rather than a key that has been busy.
pub struct Table {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    /// Buckets of a shard, less one: their number is a power of two.
    mask: u64,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("slots", &self.slots()).finish_non_exhaustive()
    }
}

/// Words of slots: the key's hash (0: none) and its arrival time. Zeroes, so that the system gives memory only for what is used.
struct Shard(Vec<u64>);

impl Table {
    /// A table for `keys` keys that are active at the same time; it takes 32 bytes for each (rounded up to a power of two) once they are
    /// used.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        let buckets = (keys.max(1) * 2).div_ceil(SHARDS * BUCKET_SLOTS).next_power_of_two();
        let shard = || Mutex::new(Shard(vec![0; buckets * BUCKET_WORDS]));
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), hasher: RandomState::new(), mask: buckets as u64 - 1 }
    }

    /// How many slots there are.
    #[must_use]
    pub fn slots(&self) -> usize {
        SHARDS * (self.mask as usize + 1) * BUCKET_SLOTS
    }

    /// The key of a limit, which has a number of its own, and of whom it counts.
    #[must_use]
    pub fn key(&self, limit: u64, of: &impl Hash) -> KeyHash {
        // 0 marks an empty slot.
        KeyHash(self.hasher.hash_one((limit, of)).max(1))
    }

    /// Charges all or none. Their keys are of different limits, and so differ.
    ///
    /// # Errors
    /// The charge that must wait longest, when one cannot be granted or there are more than [`CHARGES_MAX`].
    pub fn charge(&self, now: u64, charges: &[Charge]) -> Result<Grant, Refusal> {
        if let [one] = charges {
            return self.charge_one(now, one);
        }
        if charges.len() > CHARGES_MAX {
            return Err(Refusal { charge: CHARGES_MAX, standing: Standing { remaining: 0, full_after: 0 }, retry_after: u64::MAX });
        }
        // Locked in one order by everybody, each shard once.
        let mut order = [(usize::MAX, 0_usize); CHARGES_MAX];
        for (at, (slot, charge)) in order.iter_mut().zip(charges).enumerate() {
            *slot = (self.shard_of(charge.key), at);
        }
        order.sort_unstable();
        let mut held: [Option<(usize, MutexGuard<'_, Shard>)>; CHARGES_MAX] = [const { None }; CHARGES_MAX];
        let mut count = 0;
        for (shard, _) in order.iter().take(charges.len()) {
            let locked = held.iter().take(count).flatten().any(|(known, _)| known == shard);
            if !locked && let (Some(place), Some(mutex)) = (held.get_mut(count), self.shards.get(*shard)) {
                *place = Some((*shard, mutex.lock().unwrap_or_else(PoisonError::into_inner)));
                count += 1;
            }
        }
        self.charge_locked(now, charges, held.get_mut(..count).unwrap_or_default())
    }

    fn charge_locked(
        &self,
        now: u64,
        charges: &[Charge],
        held: &mut [Option<(usize, MutexGuard<'_, Shard>)>],
    ) -> Result<Grant, Refusal> {
        let mut after = [0_u64; CHARGES_MAX];
        let mut refusal: Option<Refusal> = None;
        for (at, (charge, after)) in charges.iter().zip(&mut after).enumerate() {
            let arrival = shard_in(held, self.shard_of(charge.key)).map_or(0, |shard| shard.arrival(charge.key, self.mask));
            match charge.rate.charge(arrival, now, charge.cost) {
                Ok(time) => *after = time,
                Err(retry_after) if refusal.is_none_or(|refusal| refusal.retry_after < retry_after) => {
                    refusal = Some(Refusal { charge: at, standing: charge.rate.standing(arrival, now), retry_after });
                }
                Err(_) => {}
            }
        }
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let mut grant = Grant { tightest: 0, standing: Standing { remaining: u32::MAX, full_after: 0 } };
        for (at, (charge, after)) in charges.iter().zip(after).enumerate() {
            if let Some(shard) = shard_in(held, self.shard_of(charge.key)) {
                shard.store(charge.key, after, self.mask);
            }
            let standing = charge.rate.standing(after, now);
            if standing.remaining < grant.standing.remaining {
                grant = Grant { tightest: at, standing };
            }
        }
        Ok(grant)
    }

    fn charge_one(&self, now: u64, charge: &Charge) -> Result<Grant, Refusal> {
        let Some(mutex) = self.shards.get(self.shard_of(charge.key)) else {
            return Err(Refusal { charge: 0, standing: Standing { remaining: 0, full_after: 0 }, retry_after: u64::MAX });
        };
        let mut shard = mutex.lock().unwrap_or_else(PoisonError::into_inner);
        let arrival = shard.arrival(charge.key, self.mask);
        match charge.rate.charge(arrival, now, charge.cost) {
            Ok(after) => {
                shard.store(charge.key, after, self.mask);
                Ok(Grant { tightest: 0, standing: charge.rate.standing(after, now) })
            }
            Err(retry_after) => Err(Refusal { charge: 0, standing: charge.rate.standing(arrival, now), retry_after }),
        }
    }

    /// Where a key stands, without a charge.
    #[must_use]
    pub fn standing(&self, now: u64, key: KeyHash, rate: Rate) -> Standing {
        let shard = self.shards.get(self.shard_of(key)).map(|mutex| mutex.lock().unwrap_or_else(PoisonError::into_inner));
        rate.standing(shard.map_or(0, |shard| shard.arrival(key, self.mask)), now)
    }

    /// Forgets what a key has used.
    pub fn reset(&self, key: KeyHash) {
        if let Some(mutex) = self.shards.get(self.shard_of(key)) {
            mutex.lock().unwrap_or_else(PoisonError::into_inner).forget(key, self.mask);
        }
    }

    fn shard_of(&self, key: KeyHash) -> usize {
        (key.0 >> 57) as usize % SHARDS
    }
}

fn shard_in<'a>(held: &'a mut [Option<(usize, MutexGuard<'_, Shard>)>], wanted: usize) -> Option<&'a mut Shard> {
    held.iter_mut().flatten().find(|(shard, _)| *shard == wanted).map(|(_, guard)| &mut **guard)
}

impl Shard {
    /// The two buckets of a key, as ranges of words.
    fn buckets(key: KeyHash, mask: u64) -> [usize; 2] {
        let (first, second) = (key.0 & mask, (key.0 >> 27) & mask);
        [first as usize * BUCKET_WORDS, second as usize * BUCKET_WORDS]
    }

    fn arrival(&self, key: KeyHash, mask: u64) -> u64 {
        let words = Self::buckets(key, mask).map(|at| self.0.get(at..at + BUCKET_WORDS).unwrap_or_default());
        let slots = words.into_iter().flat_map(|bucket| bucket.as_chunks::<SLOT_WORDS>().0);
        slots.into_iter().find(|[tag, _]| *tag == key.0).map_or(0, |[_, arrival]| *arrival)
    }

    /// Notes the arrival time of a key, in its slot, in one that is free, or in that of the key that is owed least.
    fn store(&mut self, key: KeyHash, arrival: u64, mask: u64) {
        let mut best = (u64::MAX, 0);
        for begin in Self::buckets(key, mask) {
            let bucket = self.0.get(begin..begin + BUCKET_WORDS).unwrap_or_default();
            for (number, [tag, time]) in bucket.as_chunks::<SLOT_WORDS>().0.iter().enumerate() {
                let at = begin + number * SLOT_WORDS;
                if *tag == key.0 {
                    return self.put(at, key, arrival);
                }
                // An empty slot has time 0, and one whose time has passed comes before one whose time is still to come.
                if *time < best.0 {
                    best = (*time, at);
                }
            }
        }
        self.put(best.1, key, arrival);
    }

    fn put(&mut self, at: usize, key: KeyHash, arrival: u64) {
        if let Some([tag, time]) = self.0.get_mut(at..at + SLOT_WORDS) {
            (*tag, *time) = (key.0, arrival);
        }
    }

    fn forget(&mut self, key: KeyHash, mask: u64) {
        for begin in Self::buckets(key, mask) {
            let bucket = self.0.get_mut(begin..begin + BUCKET_WORDS).unwrap_or_default();
            for slot in bucket.as_chunks_mut::<SLOT_WORDS>().0 {
                if slot.first() == Some(&key.0) {
                    *slot = [0; SLOT_WORDS];
                }
            }
        }
    }
}
