//! What clients do that nobody needs to do, counted until it is enough for a ban; and how fast a client may open connections.

use super::bans::{Ban, BanRules, Bans};
use super::failures::Failures;
use portcullis_engines_limiter::{Charge, Rate, Table};
use portcullis_model::Reason;
use std::net::IpAddr;
use std::sync::OnceLock;

/// Clients whose connections are counted at the same time, and those whose offences are. Of more, those are forgotten who have done least.
const CONNECTING_MAX: usize = 65_536;
const OFFENDING_MAX: usize = 65_536;
/// Kinds of keys in the table of offences.
const OFFENCE: u64 = 0;
const SUSTAINED: u64 = 1;
const SECOND: u64 = 1_000_000_000;

/// How fast one client may open connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionRate(Rate);

impl ConnectionRate {
    /// So many in so many nanoseconds, and as many at once as come in two seconds, or as a client may have. Nothing when that cannot be
    /// counted.
    #[must_use]
    pub fn new(count: u64, period_nanos: u64, may_have: u32) -> Option<Self> {
        let in_two_seconds = count.saturating_mul(2 * SECOND).checked_div(period_nanos)?;
        let burst = u32::try_from(in_two_seconds).ok()?.max(may_have);
        Rate::new(u32::try_from(count).ok()?, period_nanos, burst).ok().map(Self)
    }
}

/// Who is kept out, and what for; outlives every configuration.
#[derive(Default)]
pub struct Defence {
    /// Who is kept out.
    pub bans: Bans,
    /// What has failed, and who is locked out for it.
    pub failures: Failures,
    connecting: OnceLock<Table>,
    offending: OnceLock<Table>,
}

/// Whether a client that this happens to again and again is banned, where bans are configured: a flood, or a connection that is kept busy
/// with nothing.
#[must_use]
pub fn is_offence(reason: Reason) -> bool {
    use Reason::{ConnectionsTooFast, HandshakeTimeout, HandshakesExhausted, HeaderTimeout, Http2Flood};
    matches!(reason, Http2Flood | ConnectionsTooFast | HandshakesExhausted | HandshakeTimeout | HeaderTimeout)
}

/// Whether it happens for each connection while it lasts: counted once a second, however many they are.
fn is_sustained(reason: Reason) -> bool {
    matches!(reason, Reason::ConnectionsTooFast | Reason::HandshakesExhausted)
}

impl Defence {
    /// Whether a client may open another connection of a listener. `now` is nanoseconds of a clock that does not go back.
    #[must_use]
    pub fn may_connect(&self, listener: &str, address: IpAddr, ConnectionRate(rate): ConnectionRate, now: u64) -> bool {
        let table = self.connecting.get_or_init(|| Table::new(CONNECTING_MAX));
        let key = table.key(0, &(listener, client(address)));
        table.charge(now, &[Charge { key, rate, cost: 1 }]).is_ok()
    }

    /// Counts an offence of a client. The ban, if that was one too many. `now` is nanoseconds of a clock that does not go back.
    pub fn offend(&self, address: IpAddr, reason: Reason, rules: &BanRules, now: u64, now_unix_seconds: u64) -> Option<Ban> {
        let table = self.offending.get_or_init(|| Table::new(OFFENDING_MAX));
        let client = client(address);
        let charge = |kind, rate| table.charge(now, &[Charge { key: table.key(kind, &client), rate, cost: 1 }]).is_ok();
        if is_sustained(reason) && Rate::new(1, SECOND, 1).is_ok_and(|once| !charge(SUSTAINED, once)) {
            return None;
        }
        let within = u64::try_from(rules.within.as_nanos()).unwrap_or(u64::MAX);
        // The last of them is the one that is too many.
        let spared = Rate::new(rules.offences, within, rules.offences.saturating_sub(1));
        if spared.is_ok_and(|spared| charge(OFFENCE, spared)) {
            return None;
        }
        table.reset(table.key(OFFENCE, &client));
        self.bans.ban_for(address, reason, rules, now_unix_seconds)
    }
}

/// One client: an IPv4 address, or an IPv6 network of 64 bits.
fn client(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(four) => u128::from(four.to_ipv6_mapped()),
        IpAddr::V6(six) => six.to_bits() & (u128::MAX << 64),
    }
}

#[cfg(test)]
mod tests {
    use super::{BanRules, ConnectionRate, Defence, SECOND};
    use portcullis_model::Reason;
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    fn rules(offences: u32) -> BanRules {
        let seconds = Duration::from_secs;
        BanRules { offences, within: seconds(60), first: seconds(60), longest: seconds(3600) }
    }

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn so_many_offences_within_the_time_are_a_ban_and_no_fewer() {
        let defence = Defence::default();
        let offend = |seconds: u64| defence.offend(CLIENT, Reason::Http2Flood, &rules(3), seconds * SECOND, seconds).is_some();
        assert_eq!([0, 1, 2].map(offend), [false, false, true]);
        // Spread over more than the time they are none.
        assert_eq!([1000, 1030, 1060, 1090, 1120].map(offend), [false; 5]);
        let other = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
        assert!(defence.bans.banned_until(CLIENT, 2).is_some() && defence.bans.banned_until(other, 2).is_none());
        assert!(defence.offend(other, Reason::HeaderTimeout, &rules(1), 0, 0).is_some());
    }

    #[test]
    fn what_happens_to_each_connection_counts_once_a_second() {
        let defence = Defence::default();
        let offend = |now: u64| defence.offend(CLIENT, Reason::ConnectionsTooFast, &rules(2), now, 0).is_some();
        assert!((0..1000).all(|number| !offend(number * SECOND / 1001)));
        assert!(offend(SECOND));
    }

    #[test]
    fn a_client_may_open_so_many_connections_at_each_listener() {
        let defence = Defence::default();
        let rate = ConnectionRate::new(1, SECOND, 3).unwrap();
        let may = |listener: &str, now| defence.may_connect(listener, CLIENT, rate, now);
        assert_eq!((0..4).map(|_| may("a", 0)).collect::<Vec<_>>(), [true, true, true, false]);
        assert!(may("b", 0));
        assert!(may("a", SECOND) && !may("a", SECOND));
        let rates = [(0, SECOND, 3), (u64::from(u32::MAX), SECOND, 3), (1, 86_400 * SECOND, 200)];
        assert_eq!(rates.map(|(count, period, held)| ConnectionRate::new(count, period, held)), [None; 3]);
    }
}
