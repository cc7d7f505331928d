use super::{AddressSet, IpRules, LIST, compile};
use crate::testing::{exchange, settings};
use ipnet::IpNet;
use portcullis_gateway_policy::{LiveFile, LiveFiles, Policy, Scheme, Step, Verdict};
use portcullis_model::Reason;
use std::net::IpAddr;
use std::sync::Arc;

fn files(content: &[u8]) -> (LiveFiles, Arc<LiveFile>) {
    let live = Arc::new(LiveFile::new((LIST.read)(content).unwrap_or_else(|problems| panic!("{problems:?}"))));
    let mut files = LiveFiles::default();
    files.insert("list.txt".into(), Arc::clone(&live));
    (files, live)
}

fn policy(levels: &[&str], files: &LiveFiles) -> Arc<dyn Policy> {
    compile(&levels.iter().map(|level| settings::<IpRules>(level)).collect::<Vec<_>>(), files).unwrap()
}

fn passes(policy: &Arc<dyn Policy>, address: &str) -> bool {
    let mut exchange = exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Scheme::Https);
    exchange.client = address.parse().unwrap();
    match policy.on_request(&mut exchange) {
        Step::Ready(Verdict::Continue) => true,
        Step::Ready(Verdict::Reject(rejection)) if rejection.reason == Reason::AddressRefused => false,
        _ => panic!("neither continues nor refuses the address"),
    }
}

#[test]
fn deny_wins_and_every_allow_list_must_have_the_client() {
    let none = LiveFiles::default();
    let outer = "{\"allow\":{\"networks\":[\"10.0.0.0/8\"]}}";
    let inner = "{\"deny\":{\"networks\":[\"10.1.0.0/16\"]},\"allow\":{\"networks\":[\"10.0.0.0/12\",\"192.0.2.0/24\"]}}";
    let both = policy(&[outer, inner], &none);
    for (address, expected) in [("10.2.3.4", true), ("10.1.3.4", false), ("10.77.1.1", false), ("192.0.2.1", false), ("::1", false)]
    {
        assert_eq!(passes(&both, address), expected, "{address}");
    }
    let deny = policy(&["{\"deny\":{\"networks\":[\"10.1.0.0/16\"]}}", "{\"deny\":{\"networks\":[\"10.2.0.0/16\"]}}"], &none);
    assert!(!passes(&deny, "10.1.0.1") && !passes(&deny, "10.2.0.1") && passes(&deny, "10.3.0.1") && passes(&deny, "2001:db8::1"));
}

#[test]
fn c65_an_address_has_one_decision_however_it_is_written() {
    let none = LiveFiles::default();
    for list in ["10.0.0.0/8", "::ffff:10.0.0.0/104"] {
        let deny = policy(&[&format!("{{\"deny\":{{\"networks\":[\"{list}\"]}}}}")], &none);
        let allow = policy(&[&format!("{{\"allow\":{{\"networks\":[\"{list}\"]}}}}")], &none);
        for (address, on) in
            [("10.0.0.1", true), ("::ffff:10.0.0.1", true), ("::ffff:a00:1", true), ("::ffff:11.0.0.1", false), ("11.0.0.1", false)]
        {
            assert_eq!((passes(&deny, address), passes(&allow, address)), (!on, on), "{list} {address}");
        }
    }
    let six = policy(&["{\"allow\":{\"networks\":[\"::/0\"]}}"], &none);
    assert!(passes(&six, "2001:db8::1") && !passes(&six, "10.0.0.1") && !passes(&six, "::ffff:10.0.0.1"));
}

#[test]
fn a_list_from_a_file_is_replaced_while_the_policy_runs() {
    let (files, live) = files(b"192.0.2.0/24\n");
    let policy = policy(&["{\"deny\":{\"networks\":[\"10.0.0.1\"],\"file\":\"list.txt\"}}"], &files);
    assert!(!passes(&policy, "192.0.2.9") && !passes(&policy, "10.0.0.1") && passes(&policy, "198.51.100.9"));
    live.replace((LIST.read)(b"198.51.100.0/24\n").ok().unwrap());
    assert!(passes(&policy, "192.0.2.9") && !passes(&policy, "10.0.0.1") && !passes(&policy, "198.51.100.9"));
}

#[test]
fn a_list_that_was_not_read_makes_no_policy() {
    let level = settings::<IpRules>("{\"deny\":{\"file\":\"list.txt\"}}");
    assert!(compile(&[level], &LiveFiles::default()).is_err());
}

/// Numbers without a pattern, the same in every run.
fn numbers() -> impl Iterator<Item = u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}

fn address(number: u64, kind: u64) -> IpAddr {
    match kind % 3 {
        // Few of the bits, so that addresses fall into networks.
        0 => IpAddr::V4((number as u32 & 0x0f0f_ff0f).into()),
        1 => IpAddr::V6((u128::from(number & 0x0f0f_0000_0f0f_ff0f) << 64 | u128::from(number)).into()),
        _ => IpAddr::V6((0x2001_0db8_u128 << 96 | u128::from(number & 0x0f0f_0f0f)).into()),
    }
}

#[test]
fn the_set_says_what_its_networks_say() {
    let mut numbers = numbers();
    for size in [0_usize, 1, 2, 15, 16, 17, 255, 256, 257, 3_000] {
        let networks: Vec<IpNet> = (0..size)
            .map(|_| {
                let (number, kind) = (numbers.next().unwrap(), numbers.next().unwrap());
                let address = address(number, kind);
                let longest = if address.is_ipv4() { 32 } else { 128 };
                IpNet::new(address, (longest - kind % 24) as u8 * u8::from(kind % 97 != 0)).unwrap().trunc()
            })
            .collect();
        let set = AddressSet::new(networks.iter().copied());
        let edges = networks.iter().flat_map(|network| [network.network(), network.broadcast()]);
        let random = std::iter::repeat_with(|| address(numbers.next().unwrap(), numbers.next().unwrap())).take(500);
        for address in edges.chain(random).chain(
            ["0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"].map(|text| text.parse().unwrap()),
        ) {
            let expected = networks.iter().any(|network| network.contains(&address.to_canonical()));
            assert_eq!(set.contains(address), expected, "{address} in {size} networks");
        }
    }
}

#[test]
fn addresses_that_crowd_together_are_told_apart_as_well() {
    // All but two lie in one part of the space between the first and the last.
    let crowd = (0..20_000_u128).map(|number| IpAddr::V6(((0x2001_0db8_u128 << 96) + 2 * number).into()));
    let ends = ["2000::1", "3fff::1"].map(|text| text.parse::<IpAddr>().unwrap());
    let set = AddressSet::new(crowd.clone().chain(ends).map(IpNet::from));
    let next = |address: IpAddr| match address {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) + 1).into()),
        IpAddr::V4(_) => panic!("an IPv6 address"),
    };
    for address in crowd.chain(ends) {
        assert!(set.contains(address) && !set.contains(next(address)), "{address}");
    }
}

#[test]
fn neighbours_and_the_ends_of_the_space_are_joined_right() {
    let set = |networks: &[&str]| AddressSet::new(networks.iter().map(|network| network.parse::<IpNet>().unwrap()));
    let all = set(&["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"]);
    for address in ["0.0.0.0", "127.255.255.255", "128.0.0.0", "255.255.255.255", "::2", "7fff::", "8000::", "ffff::ffff"] {
        assert!(all.contains(address.parse().unwrap()), "{address}");
    }
    let last = set(&["255.255.255.255/32", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"]);
    assert!(last.contains("255.255.255.255".parse().unwrap()) && !last.contains("255.255.255.254".parse().unwrap()));
    assert!(last.contains("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap()));
}
