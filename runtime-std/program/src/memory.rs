//! How much memory streams may take together.
//!
//! Read by hand: procfs does not read the limits of control groups, which are most of this module, and it parses all of
//! `/proc/meminfo`, of which one line is enough.

use std::fmt;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// Memory for streams if the system does not say how much memory it has.
const UNKNOWN: u64 = 1 << 30;

/// The memory that all streams of a server may take together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemoryLimit {
    /// Half of what this process may use.
    #[default]
    Auto,
    /// This many bytes.
    Bytes(u64),
}

impl MemoryLimit {
    /// The limit in bytes, on this machine as it is now.
    pub fn bytes(self) -> usize {
        self.of(Available::look())
    }

    fn of(self, available: Option<Available>) -> usize {
        let bytes = match self {
            MemoryLimit::Auto => available.map_or(UNKNOWN, |available| available.bytes / 2),
            MemoryLimit::Bytes(bytes) => bytes,
        };
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Where the limit comes from, as text.
    pub fn reason(self) -> String {
        match (self, Available::look()) {
            (MemoryLimit::Bytes(_), _) => "as configured".to_owned(),
            (MemoryLimit::Auto, Some(available)) => format!("auto: half of {available}"),
            (MemoryLimit::Auto, None) => "auto: the system does not say how much it has".to_owned(),
        }
    }
}

/// The memory that this process may use in bytes, if the system says so, and whether its control group sets the limit.
pub fn available_memory() -> Option<(u64, bool)> {
    Available::look().map(|available| (available.bytes, available.group))
}

impl FromStr for MemoryLimit {
    type Err = &'static str;

    /// `auto`, or a number of MiB.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse::<u64>()) {
            ("auto", _) => Ok(MemoryLimit::Auto),
            (_, Ok(mib @ 1..=0x0100_0000)) => Ok(MemoryLimit::Bytes(mib << 20)),
            _ => Err("expected a number of MiB or auto"),
        }
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemoryLimit::Auto => f.write_str("auto"),
            MemoryLimit::Bytes(bytes) => write!(f, "{}", bytes >> 20),
        }
    }
}

/// The memory that this process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Available {
    bytes: u64,
    /// True if its control group may use less than the machine has.
    group: bool,
}

impl fmt::Display for Available {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = if self.group { "that the control group may use" } else { "that the machine has" };
        write!(f, "the {} MiB {whose}", self.bytes >> 20)
    }
}

impl Available {
    fn look() -> Option<Self> {
        Self::look_in(Path::new("/"))
    }

    /// The same with another folder for the root of all files.
    fn look_in(root: &Path) -> Option<Self> {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let meminfo = read("proc/meminfo");
        let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let machine = total.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map(|kib| kib << 10);
        let groups = read("proc/self/cgroup");
        let group = groups.lines().filter_map(|line| group_limit(root, line)).min();
        match (machine, group) {
            (Some(machine), Some(group)) if group < machine => Some(Available { bytes: group, group: true }),
            (None, Some(group)) => Some(Available { bytes: group, group: true }),
            (machine, _) => machine.map(|bytes| Available { bytes, group: false }),
        }
    }
}

/// The lowest limit of a control group and its parents, by a line of /proc/self/cgroup: number, controllers, path.
/// Version 2 has no controllers there, version 1 has "memory" among them.
fn group_limit(root: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (mounts, names): (&[&str], &[&str]) = if controllers.is_empty() {
        (&["sys/fs/cgroup", "sys/fs/cgroup/unified"], &["memory.max", "memory.high"])
    } else if controllers.split(',').any(|controller| controller == "memory") {
        (&["sys/fs/cgroup/memory"], &["memory.limit_in_bytes"])
    } else {
        return None;
    };
    // A path that is outside what this process sees begins with "..".
    let inner: PathBuf = Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let folders = inner.ancestors();
    let files = folders.flat_map(|folder| mounts.iter().map(move |mount| Path::new(mount).join(folder)));
    let files = files.flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    // "max" is no number, and no limit.
    files.filter_map(|file| fs::read_to_string(root.join(file)).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A folder with these files, gone when it is dropped.
    struct Root(PathBuf);

    impl Root {
        fn with(files: &[(&str, &str)]) -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let name = format!("memory-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
            let root = std::env::temp_dir().join(name);
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
                fs::write(path, text).expect("it can be written");
            }
            Root(root)
        }

        fn look(&self) -> Option<(u64, bool)> {
            Available::look_in(&self.0).map(|available| (available.bytes, available.group))
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 5 kB\n");
    const GIB: u64 = 1 << 30;

    #[test]
    fn without_a_group_it_is_the_machines() {
        assert_eq!(Root::with(&[MACHINE]).look(), Some((8 * GIB, false)));
        let unlimited = [
            MACHINE,
            ("proc/self/cgroup", "0::/system.slice/anabranch.service\n"),
            ("sys/fs/cgroup/system.slice/anabranch.service/memory.max", "max\n"),
        ];
        assert_eq!(Root::with(&unlimited).look(), Some((8 * GIB, false)));
        assert_eq!(Root::with(&[]).look(), None);
    }

    #[test]
    fn of_groups_in_each_other_the_least_counts() {
        let files = [
            MACHINE,
            ("proc/self/cgroup", "0::/outer/inner\n"),
            ("sys/fs/cgroup/outer/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/outer/inner/memory.max", "2147483648\n"),
            ("sys/fs/cgroup/outer/inner/memory.high", "max\n"),
        ];
        assert_eq!(Root::with(&files).look(), Some((GIB, true)));
        let throttled = [MACHINE, ("proc/self/cgroup", "0::/a\n"), ("sys/fs/cgroup/a/memory.high", "1048576\n")];
        assert_eq!(Root::with(&throttled).look(), Some((1 << 20, true)));
    }

    #[test]
    fn version_1_has_its_own_names() {
        let groups = "12:cpu,cpuacct:/a\n9:memory:/docker/0123\n1:name=systemd:/a\n0::/a\n";
        let at = "sys/fs/cgroup/memory/docker/0123/memory.limit_in_bytes";
        let files = [MACHINE, ("proc/self/cgroup", groups), (at, "2147483648\n")];
        assert_eq!(Root::with(&files).look(), Some((2 * GIB, true)));
        let no_limit = [MACHINE, ("proc/self/cgroup", groups), (at, "9223372036854771712\n")];
        assert_eq!(Root::with(&no_limit).look(), Some((8 * GIB, false)));
    }

    #[test]
    fn in_a_container_the_own_group_is_the_root() {
        for path in ["/", "/docker/0123", "/../../other"] {
            let groups = format!("0::{path}\n");
            let files = [MACHINE, ("proc/self/cgroup", &*groups), ("sys/fs/cgroup/memory.max", "2147483648\n")];
            assert_eq!(Root::with(&files).look(), Some((2 * GIB, true)), "{path}");
        }
        let groups = "9:memory:/docker/0123\n";
        let own = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
        assert_eq!(Root::with(&[MACHINE, ("proc/self/cgroup", groups), own]).look(), Some((GIB, true)));
    }

    #[test]
    fn auto_is_half_of_it() {
        let available = Available { bytes: 2 << 30, group: true };
        assert_eq!(MemoryLimit::Auto.of(Some(available)), 1 << 30);
        assert_eq!(MemoryLimit::Auto.of(None), 1 << 30);
        assert_eq!(MemoryLimit::Bytes(7).of(Some(available)), 7);
        assert_eq!(["auto", "512"].map(|text| text.parse::<MemoryLimit>().unwrap().to_string()), ["auto", "512"]);
        for wrong in ["0", "-1", "", "1GiB", "99999999999999999999"] {
            assert!(wrong.parse::<MemoryLimit>().is_err(), "{wrong}");
        }
        assert_eq!(available.to_string(), "the 2048 MiB that the control group may use");
    }
}
