//! Lists of networks in files.

use super::set::AddressSet;
use ipnet::IpNet;
use portcullis_gateway_policy::{FileContent, FileFormat, FileProblem};
use portcullis_model_settings::quoted;
use std::net::IpAddr;

/// How many networks a list may have.
pub(super) const NETWORKS_MAX: usize = 1_000_000;
/// How many wrong lines are looked for before the rest is not read.
const PROBLEMS_MAX: usize = 100;

/// How such files are read.
pub const LIST: FileFormat = FileFormat { bytes_max: 64 << 20, read: |bytes| read(bytes).map(FileContent::new) };

/// One network or address a line; `#` begins a comment; `none` alone stands for a list that is meant to be empty.
fn read(bytes: &[u8]) -> Result<AddressSet, Vec<FileProblem>> {
    let whole = |what: &str| Err(vec![FileProblem { line: None, what: what.to_owned() }]);
    if bytes.is_empty() {
        return whole("the list is empty; write `none` if it is meant to be");
    }
    let Some(lines) = bytes.strip_suffix(b"\n") else {
        return whole("the last line does not end with a line end, so the list may have been cut off");
    };
    let (mut networks, mut problems, mut none) = (Vec::new(), Vec::new(), None);
    for (number, line) in (1..).zip(lines.split(|byte| *byte == b'\n')) {
        let entry = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
        match entry {
            b"" => {}
            b"none" => none = Some(number),
            _ if networks.len() == NETWORKS_MAX => {
                problems.push(FileProblem { line: Some(number), what: format!("the list has more than {NETWORKS_MAX} networks") });
                break;
            }
            _ => match network(entry) {
                Ok(network) => networks.push(network),
                Err(what) => problems.push(FileProblem { line: Some(number), what }),
            },
        }
        if problems.len() == PROBLEMS_MAX {
            break;
        }
    }
    match none {
        Some(_) if networks.is_empty() => {}
        Some(number) => {
            problems.push(FileProblem { line: Some(number), what: "`none` stands beside networks; remove it".to_owned() })
        }
        None if networks.is_empty() && problems.is_empty() => {
            return whole("the list has no network; write `none` if it is meant to be empty");
        }
        None => {}
    }
    if problems.is_empty() { Ok(AddressSet::new(networks)) } else { Err(problems) }
}

fn network(entry: &[u8]) -> Result<IpNet, String> {
    let shown = || quoted(&String::from_utf8_lossy(entry));
    let text = std::str::from_utf8(entry).ok();
    let network = text.and_then(|text| text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)));
    match network {
        Some(network) if network.trunc() == network => Ok(network),
        Some(network) => Err(format!("{} has bits set beyond its prefix; write `{}`", shown(), network.trunc())),
        None => Err(format!("{} is neither an address nor a network such as `10.0.0.0/8`", shown())),
    }
}

#[cfg(test)]
mod tests {
    use super::{NETWORKS_MAX, read};

    fn problems(text: &str) -> Vec<(Option<usize>, String)> {
        read(text.as_bytes()).unwrap_err().into_iter().map(|problem| (problem.line, problem.what)).collect()
    }

    #[test]
    fn one_network_a_line_with_comments() {
        let set = read(b"# from the feed\n10.0.0.0/8\n\n  192.0.2.7 # one\r\n2001:db8::/32\n").unwrap();
        for (address, there) in
            [("10.9.9.9", true), ("192.0.2.7", true), ("192.0.2.8", false), ("2001:db8::1", true), ("::1", false)]
        {
            assert_eq!(set.contains(address.parse().unwrap()), there, "{address}");
        }
    }

    #[test]
    fn a_list_that_is_meant_to_be_empty_says_so() {
        assert!(!read(b"# nothing yet\nnone\n").unwrap().contains("10.0.0.1".parse().unwrap()));
        for text in ["", "\n", "# nothing\n"] {
            assert!(problems(text)[0].1.contains("`none`"), "{text:?}");
        }
        assert_eq!(problems("none\n10.0.0.1\n")[0].0, Some(1));
    }

    #[test]
    fn g145_what_is_cut_off_too_long_or_of_another_kind_is_no_list() {
        assert!(problems("10.0.0.0/8\n192.0.2.1")[0].1.contains("cut off"));
        let long = "10.0.0.1\n".repeat(NETWORKS_MAX + 1);
        assert_eq!(problems(&long)[0].0, Some(NETWORKS_MAX + 1));
        assert!(read(&long.as_bytes()[9..]).is_ok());
        for text in
            ["{\"deny\": []}\n", "\u{0}\u{1}\n", "deny:\n  - 10.0.0.1\n", "10.0.0.1,10.0.0.2\n", "<html>\n", "example.com\n"]
        {
            assert!(!problems(text).is_empty(), "{text:?}");
        }
        assert_eq!(problems(&"x\n".repeat(1_000)).len(), 100);
    }

    #[test]
    fn a_bad_line_is_told_by_its_number() {
        let found = problems("10.0.0.0/8\n10.0.0.1/8\n300.1.1.1\n010.0.0.1\n10.0.0.0/33\nfe80::1%eth0\n");
        assert_eq!(found.iter().map(|(line, _)| line.unwrap()).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
        assert!(found[0].1.contains("write `10.0.0.0/8`"), "{found:?}");
    }
}
