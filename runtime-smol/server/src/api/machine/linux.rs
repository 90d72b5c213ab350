//! Figures from `/proc`, read with procfs; only the sockets in use are read by hand, because procfs does not read them.

use std::fs;

use procfs::{Current, CurrentSI, KernelStats, LoadAverage, Meminfo, Uptime};

use super::{Process, System, Ticks};

pub(super) fn process() -> Option<Process> {
    let stat = procfs::process::Process::myself().and_then(|process| process.stat()).ok()?;
    Some(Process {
        parent: u32::try_from(stat.ppid).ok()?,
        cpu: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
        threads: u64::try_from(stat.num_threads).ok()?,
        resident_kib: (stat.rss * procfs::page_size()) >> 10,
        virtual_kib: stat.vsize >> 10,
    })
}

pub(super) fn system() -> System {
    let mut system = System::default();
    if let Ok(memory) = Meminfo::current() {
        system.memory_kib = memory.mem_total >> 10;
        system.available_kib = memory.mem_available.unwrap_or_default() >> 10;
        system.swap_kib = memory.swap_total >> 10;
        system.free_swap_kib = memory.swap_free >> 10;
    }
    if let Ok(load) = LoadAverage::current() {
        system.load = [load.one, load.five, load.fifteen].map(hundredths);
    }
    if let Ok(Uptime { uptime, idle, .. }) = Uptime::current() {
        (system.uptime, system.idle) = (uptime, idle);
    }
    for device in procfs::net::dev_status().unwrap_or_default().values() {
        let sums = if device.name == "lo" { &mut system.local_bytes } else { &mut system.net_bytes };
        sums[0] = sums[0].saturating_add(device.recv_bytes);
        sums[1] = sums[1].saturating_add(device.sent_bytes);
    }
    let sockets = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    system.tcp = sockets_of(&sockets, "TCP: inuse ");
    system.time_wait = sockets_of(&sockets, " tw ");
    system.udp = sockets_of(&sockets, "UDP: inuse ");
    system
}

pub(super) fn ticks() -> Ticks {
    let Ok(KernelStats { total, .. }) = KernelStats::current() else {
        return Ticks::default();
    };
    let waiting = total.iowait.unwrap_or_default();
    // The time of guests is part of the time of users.
    let busy = [total.irq, total.softirq, total.steal].into_iter().flatten().sum::<u64>();
    let all = total.user + total.nice + total.system + total.idle + waiting + busy;
    Ticks { all, idle: total.idle + waiting }
}

/// Linux shows two decimal places. procfs reads them as an `f32`, whose error would show in JSON.
pub(super) fn hundredths(load: f32) -> f64 {
    (f64::from(load) * 100.0).round() / 100.0
}

/// The number behind a name in `/proc/net/sockstat`.
fn sockets_of(text: &str, name: &str) -> u64 {
    let number = text.split_once(name).and_then(|(_, rest)| rest.split_ascii_whitespace().next()?.parse().ok());
    number.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_found_by_their_names() {
        let text =
            "sockets: used 290\nTCP: inuse 5 orphan 1 tw 17 alloc 8 mem 2\nUDP: inuse 3 mem 1\nUDPLITE: inuse 9\n";
        assert_eq!(
            ["TCP: inuse ", " tw ", "UDP: inuse ", "RAW: inuse "].map(|name| sockets_of(text, name)),
            [5, 17, 3, 0]
        );
    }
}
