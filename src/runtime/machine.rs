//! How much memory this process may use.

use std::{fs, path::Path};

/// The memory of the machine, or what a control group leaves this process of it; `None` where neither can be learned.
pub fn memory() -> Option<u64> {
    let of_group = limit_of_groups(Path::new("/sys/fs/cgroup"), Path::new("/proc/self/cgroup"));
    let of_machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total(&text));
    of_group.into_iter().chain(of_machine).min()
}

/// The least memory limit of the process's control group and of those above it, by either version.
fn limit_of_groups(mounted: &Path, of_process: &Path) -> Option<u64> {
    let groups = fs::read_to_string(of_process).ok()?;
    groups
        .lines()
        .filter_map(|line| limit_of_line(mounted, line))
        .min()
}

/// A line of `/proc/PID/cgroup` is `number:controllers:path`; version 2 has no controllers.
fn limit_of_line(mounted: &Path, line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let (folder, file) = match controllers {
        "" => (mounted.to_owned(), "memory.max"),
        some if some.split(',').any(|name| name == "memory") => {
            (mounted.join("memory"), "memory.limit_in_bytes")
        }
        _ => return None,
    };
    // Within a container the path may be the host's, which is not there; then the root is the container's group.
    let below = Path::new(path.trim_start_matches('/')).ancestors();
    let read = |group: &Path| fs::read_to_string(folder.join(group).join(file)).ok();
    below
        .filter_map(|group| read(group)?.trim().parse::<u64>().ok())
        .min()
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(groups: &str, files: &[(&str, &str)]) -> Option<u64> {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let of_process = folder.path().join("of-process");
        fs::write(&of_process, groups).unwrap();
        limit_of_groups(folder.path(), &of_process)
    }

    #[test]
    fn the_least_limit_of_a_group_and_those_above_it_counts() {
        let unified = [
            ("a/memory.max", "1000\n"),
            ("a/b/memory.max", "max\n"),
            ("memory.max", "5000\n"),
        ];
        assert_eq!(limit("0::/a/b\n", &unified), Some(1000));
        assert_eq!(limit("0::/\n", &unified), Some(5000));
        let first = [
            ("memory/x/memory.limit_in_bytes", "134217728\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(
            limit("8:pids:/\n4:cpu,memory:/x\n0::/\n", &first),
            Some(134_217_728)
        );
    }

    #[test]
    fn a_path_of_the_host_s_is_read_at_the_container_s_root() {
        assert_eq!(limit("0::/docker/1234\n", &[("memory.max", "77\n")]), Some(77));
        assert_eq!(limit("0::/\n", &[]), None);
        assert_eq!(limit("nonsense\n", &[]), None);
    }

    #[test]
    fn the_machine_s_memory_is_read() {
        assert_eq!(
            total("MemTotal:        2048 kB\nMemFree: 1 kB\n"),
            Some(2048 * 1024)
        );
        assert_eq!(total(""), None);
        assert!(memory().is_some_and(|bytes| bytes > 1024 * 1024));
    }
}
