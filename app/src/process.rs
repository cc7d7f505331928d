//! What the operating system knows of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::Path;

/// Lets the process have as many descriptors as the system allows it; connections need them.
pub fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // The old limit goes on to hold where this is refused.
    let _refused = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Resident memory in bytes; 0 where the system does not tell.
pub fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// Open descriptors; 0 where the system does not tell.
pub fn open_descriptors() -> u64 {
    const FOLDER: &str = "/proc/self/fd";
    // Newer systems tell the number as the folder's size, however many there are.
    match std::fs::metadata(FOLDER).map_or(0, |data| data.len()) {
        0 => std::fs::read_dir(FOLDER).map_or(0, |entries| entries.count() as u64),
        size => size,
    }
}

/// Descriptors that may be open.
pub fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Memory that this process may have: the least limit of its control group and those above it, or else what the machine has; 0
/// where the system does not tell.
pub fn memory_limit() -> u64 {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().flat_map(limits_of);
    limits.chain(machine_memory()).min().unwrap_or(0)
}

/// The limits of a line `number:controllers:path` of version 2 (`0::path`) or 1 (`…:memory:path`) and of all groups above it.
fn limits_of(line: &str) -> Vec<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (root, file) = if controllers.is_empty() {
        ("/sys/fs/cgroup", "memory.max")
    } else if controllers.split(',').any(|controller| controller == "memory") {
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
    } else {
        return Vec::new();
    };
    // In a container the path may be that of the host, and the root the container's own group.
    let groups = Path::new(path).ancestors().filter_map(|group| group.strip_prefix("/").ok());
    let limit = |group: &Path| std::fs::read_to_string(Path::new(root).join(group).join(file)).ok()?.trim().parse().ok();
    groups.filter_map(limit).collect()
}

fn machine_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::{descriptor_limit, memory_limit, open_descriptors, resident_bytes};

    #[test]
    fn the_system_tells_what_there_is_and_what_there_may_be() {
        let before = open_descriptors();
        let held: Vec<_> = (0..20).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let after = open_descriptors();
        assert!(before > 2 && after >= before + 15 && after < descriptor_limit(), "{before} {after}");
        assert!(resident_bytes() > 500_000 && resident_bytes() < memory_limit(), "{} {}", resident_bytes(), memory_limit());
        drop(held);
    }
}
