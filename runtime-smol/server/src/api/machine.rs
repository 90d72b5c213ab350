//! Figures of this process and of the machine, from Linux's `/proc`. On other systems, or where a figure is missing, it
//! is `None` or 0.

use std::fs;
use std::str::FromStr;
use std::time::Instant;

/// Clock ticks a second in `/proc`, on every architecture that Rust supports well.
const TICKS: f64 = 100.0;

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
        let (stat, status) = (read("/proc/self/stat"), read("/proc/self/status"));
        // The program's name is in brackets and may have any characters.
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
        Some(Process {
            parent: field(1).and_then(|parent| u32::try_from(parent).ok())?,
            cpu: (field(11)? + field(12)?) as f64 / TICKS,
            threads: field(17)?,
            resident_kib: named(&status, "VmRSS:")?,
            virtual_kib: named(&status, "VmSize:")?,
        })
    }
}

/// The number of open file descriptors.
pub(super) fn open_files() -> Option<usize> {
    // One of them is the folder's.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

/// The limit of open file descriptors.
pub(super) fn max_files() -> Option<u64> {
    let limits = read("/proc/self/limits");
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_ascii_whitespace().next()?.parse().ok()
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
        let memory = read("/proc/meminfo");
        let sockets = read("/proc/net/sockstat");
        let kib = |name| named(&memory, name).unwrap_or_default();
        let [load_1, load_5, load_15] = numbers(&read("/proc/loadavg"));
        let [uptime, idle] = numbers(&read("/proc/uptime"));
        let mut system = System {
            memory_kib: kib("MemTotal:"),
            available_kib: kib("MemAvailable:"),
            swap_kib: kib("SwapTotal:"),
            free_swap_kib: kib("SwapFree:"),
            load: [load_1, load_5, load_15],
            uptime,
            idle,
            tcp: named(&sockets, "TCP: inuse").unwrap_or_default(),
            udp: named(&sockets, "UDP: inuse").unwrap_or_default(),
            ..System::default()
        };
        if let Some((_, rest)) = sockets.split_once(" tw ") {
            system.time_wait = first(rest).unwrap_or_default();
        }
        for line in read("/proc/net/dev").lines() {
            if let Some((name, counts)) = line.split_once(':') {
                let counts: [u64; 9] = numbers(counts);
                let sums = if name.trim() == "lo" { &mut system.local_bytes } else { &mut system.net_bytes };
                sums[0] = sums[0].saturating_add(counts[0]);
                sums[1] = sums[1].saturating_add(counts[8]);
            }
        }
        system
    }
}

/// The operating system: name, host name, release, version.
pub(super) fn kernel() -> [String; 4] {
    ["ostype", "hostname", "osrelease", "version"]
        .map(|name| read(&format!("/proc/sys/kernel/{name}")).trim_end().to_owned())
}

/// Measures how busy the processors were since the last measurement.
#[derive(Debug, Default)]
pub(super) struct CpuMeter {
    process: Option<(Instant, f64, f64)>,
    /// Ticks of all processors: all ticks, and idle ones.
    system: (f64, f64),
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
        let stat = read("/proc/stat");
        let times: [f64; 8] =
            numbers(stat.lines().next().and_then(|line| line.strip_prefix("cpu")).unwrap_or_default());
        let (all, idle) = (times.iter().sum::<f64>(), times[3] + times[4]);
        let (all_before, idle_before) = std::mem::replace(&mut self.system, (all, idle));
        if all > all_before { (1.0 - (idle - idle_before) / (all - all_before)).clamp(0.0, 1.0) } else { 0.0 }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The number that follows a name at the beginning of a line.
fn named(text: &str, name: &str) -> Option<u64> {
    first(text.lines().find_map(|line| line.strip_prefix(name))?)
}

fn first(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// The first numbers of a text; words that are not numbers count as 0.
fn numbers<T: FromStr + Default + Copy, const N: usize>(text: &str) -> [T; N] {
    let mut numbers = [T::default(); N];
    for (number, word) in numbers.iter_mut().zip(text.split_ascii_whitespace()) {
        *number = word.parse().unwrap_or_default();
    }
    numbers
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
