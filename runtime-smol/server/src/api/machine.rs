//! Figures of this process and of the machine, most of them from Linux's `/proc`. On other systems, or where a figure is
//! missing, it is `None` or 0.

use std::fs;
use std::time::Instant;

use rustix::process::{Resource, getrlimit};
use rustix::system::uname;

#[cfg(target_os = "linux")]
#[path = "machine/linux.rs"]
mod proc;
#[cfg(not(target_os = "linux"))]
#[path = "machine/elsewhere.rs"]
mod proc;

/// Figures of this process.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Process {
    /// The id of the parent process.
    pub(super) parent: u32,
    /// CPU time in seconds, of all threads.
    pub(super) cpu: f64,
    pub(super) threads: u64,
    pub(super) resident_kib: u64,
    pub(super) virtual_kib: u64,
}

impl Process {
    pub(super) fn look() -> Option<Process> {
        proc::process()
    }
}

/// The number of open file descriptors.
pub(super) fn open_files() -> Option<usize> {
    // One of them is the folder's. Counted here: how many of its own procfs counts depends on the kernel.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

/// The limit of open file descriptors; `None` if there is none.
pub(super) fn max_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Figures of the machine; unknown ones are 0.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct System {
    pub(super) memory_kib: u64,
    pub(super) available_kib: u64,
    pub(super) swap_kib: u64,
    pub(super) free_swap_kib: u64,
    pub(super) load: [f64; 3],
    pub(super) uptime: f64,
    pub(super) idle: f64,
    /// Received and sent bytes, of the loopback interface and of all others.
    pub(super) local_bytes: [u64; 2],
    pub(super) net_bytes: [u64; 2],
    pub(super) tcp: u64,
    pub(super) time_wait: u64,
    pub(super) udp: u64,
}

impl System {
    pub(super) fn look() -> System {
        proc::system()
    }
}

/// The operating system: name, host name, release, version.
pub(super) fn kernel() -> [String; 4] {
    let names = uname();
    [names.sysname(), names.nodename(), names.release(), names.version()]
        .map(|name| name.to_string_lossy().into_owned())
}

/// The time of all processors since the machine started, in clock ticks.
#[derive(Debug, Default, Clone, Copy)]
struct Ticks {
    all: u64,
    idle: u64,
}

/// Measures how busy the processors were since the last measurement.
#[derive(Debug, Default)]
pub(super) struct CpuMeter {
    process: Option<(Instant, f64, f64)>,
    system: Ticks,
}

impl CpuMeter {
    /// The part of a core that this process used since the last measurement. `used` is its CPU time since its start.
    pub(super) fn process(&mut self, now: Instant, used: f64) -> f64 {
        let share = match self.process {
            Some((then, before, share)) => {
                let elapsed = now.saturating_duration_since(then).as_secs_f64();
                // Too soon after the last measurement for a useful result.
                if elapsed < 1.0 {
                    return share;
                }
                (used - before).max(0.0) / elapsed
            }
            None => 0.0,
        };
        self.process = Some((now, used, share));
        share
    }

    /// The part of all cores that was busy.
    pub(super) fn system(&mut self) -> f64 {
        let now = proc::ticks();
        let before = std::mem::replace(&mut self.system, now);
        let all = now.all.saturating_sub(before.all);
        // It has the time of waiting for disks, which Linux may set back.
        let idle = now.idle.saturating_sub(before.idle);
        if all > 0 { (1.0 - idle as f64 / all as f64).clamp(0.0, 1.0) } else { 0.0 }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn this_process_is_seen() {
        let process = Process::look().unwrap();
        assert!(process.threads >= 1 && process.resident_kib > 100 && process.virtual_kib >= process.resident_kib);
        assert!(open_files().unwrap() >= 3);
        assert!(max_files().unwrap() as usize >= open_files().unwrap());
        let system = System::look();
        assert!(system.memory_kib > system.available_kib && system.uptime > 0.0);
        assert!(kernel().iter().all(|text| !text.is_empty() && !text.contains('\n')));
    }

    /// The very words of the files that the numbers are read from.
    #[test]
    fn numbers_are_those_that_linux_shows() {
        let read = |path: &str| fs::read_to_string(path).unwrap();
        let word = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}"));
            line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
        };
        let memory = read("/proc/meminfo");
        let system = System::look();
        assert_eq!((system.memory_kib, system.swap_kib), (word(&memory, "MemTotal:"), word(&memory, "SwapTotal:")));
        let status = read("/proc/self/status");
        let process = Process::look().unwrap();
        assert_eq!(u64::from(process.parent), word(&status, "PPid:"));
        // Other tests run, and take memory, at the same time.
        let near = |one: u64, other: u64| one.abs_diff(other) < one / 2;
        assert!(near(process.resident_kib, word(&status, "VmRSS:")), "{process:?} {status}");
        assert!(near(process.virtual_kib, word(&status, "VmSize:")), "{process:?} {status}");
        assert_eq!(
            max_files(),
            Some(word(&read("/proc/self/limits"), "Max open files")).filter(|_| max_files().is_some())
        );
        let names = ["ostype", "hostname", "osrelease", "version"];
        assert_eq!(kernel(), names.map(|name| read(&format!("/proc/sys/kernel/{name}")).trim_end().to_owned()));
    }

    #[test]
    fn loads_are_the_hundredths_that_linux_shows() {
        assert_eq!([0.15_f32, 1.0, 12.07, 0.0].map(proc::hundredths), [0.15, 1.0, 12.07, 0.0]);
    }

    #[test]
    fn a_busy_core_is_one() {
        let mut meter = CpuMeter::default();
        let start = Instant::now();
        assert_eq!(meter.process(start, 5.0), 0.0);
        assert_eq!(meter.process(start + Duration::from_secs(10), 10.0), 0.5);
        assert_eq!(meter.process(start + Duration::from_secs(10), 10.0), 0.5, "too soon");
        assert_eq!(meter.process(start + Duration::from_secs(20), 30.0), 2.0);
        assert!((0.0..=1.0).contains(&meter.system()));
    }
}
