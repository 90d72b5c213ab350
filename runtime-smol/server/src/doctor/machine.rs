use std::fs;

use anabranch_core::conn::Budget;
use anabranch_host::connections_within;
use anabranch_program::available_memory;
use rustix::process::{Resource, getrlimit};

use super::entry::{Entry, Report};
use super::server::Running;
use crate::settings::Loaded;
use crate::settings::tree::Path;

/// With fewer connections a server is for tests.
const FEW: u64 = 4000;
/// The backlog that the server asks for.
const BACKLOG: u64 = 4096;

/// Whether the limit of open files allows the connections that the configuration allows.
pub(super) fn files(loaded: &Loaded, running: &Running, report: &mut Report) {
    let of_running = running.pid.and_then(limit_of);
    let whose = if of_running.is_some() { "the running server" } else { "this shell" };
    // The server raises its own limit as far as it may.
    let Some(limit) = of_running.or(getrlimit(Resource::Nofile).maximum) else {
        report.add(Entry::ok("limits", "open files are not limited"));
        return;
    };
    let room = connections_within(limit);
    let path = Path::of(&["defaults", "limits", "connections"]);
    let origin = loaded.tree.nearest(&path).origin().clone();
    let vhosts: Vec<_> = loaded.config.vhosts.iter().map(|vhost| vhost.settings.limits.connections).collect();
    let counts = if vhosts.is_empty() { vec![loaded.config.defaults.limits.connections] } else { vhosts };
    let wanted = counts.into_iter().map(|count| count.map(u64::from)).sum::<Option<u64>>();
    let words = format!("open files: {limit} for {whose}, which is enough for {room} connections");
    let cure = "raise it: LimitNOFILE=1048576 in the unit, --ulimit nofile=1048576:1048576 with Docker, or ulimit -Hn";
    let entry = match wanted {
        Some(wanted) if wanted > room => {
            Entry::warning("limits", format!("{words}; limits.connections allows {wanted}"), cure)
        }
        Some(wanted) => Entry::ok("limits", format!("{words}; limits.connections allows {wanted}")),
        None if room < FEW => Entry::warning("limits", format!("{words}; limits.connections sets no limit"), cure),
        None => Entry::ok("limits", format!("{words}; limits.connections sets no limit")),
    };
    report.add(entry.at(&origin, &path));
}

/// The most open files that a running process may have.
fn limit_of(pid: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Whether the memory that clients can take is there.
pub(super) fn memory(loaded: &Loaded, report: &mut Report) {
    let path = Path::of(&["limits", "memory"]);
    let origin = loaded.tree.nearest(&path).origin().clone();
    let Some((available, is_group)) = available_memory() else {
        report.add(Entry::warning("memory", "the system does not say how much memory it has", "set limits.memory"));
        return;
    };
    let whose = if is_group { "the control group may use" } else { "the machine has" };
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let config = &loaded.config;
    let streams = config.memory as u64;
    let words = format!("{whose} {}; limits.memory gives {} of it to streams", mib(available), mib(streams));
    let vhosts = config.vhosts.iter().map(|vhost| &vhost.settings);
    let settings: Vec<_> =
        if config.vhosts.iter().next().is_none() { vec![&config.defaults] } else { vhosts.collect() };
    // The same for all virtual hosts.
    let budget = Budget::new(config, &config.defaults);
    let common = [budget.all_streams(), budget.all_segments(), budget.all_unfinished(), budget.all_kept()];
    let common = common.into_iter().fold(0, u64::saturating_add);
    // What all streams share counts for each virtual host: the sum is an upper bound.
    let most = settings.into_iter().map(|vhost| Budget::new(config, vhost).most(0)).sum::<Option<u64>>();
    let entry = match most {
        _ if streams > available => {
            let cure =
                "lower limits.memory, or set it to \"auto\": the system ends a server that takes more than there is";
            Entry::fault("memory", format!("{whose} {}, and limits.memory is {}", mib(available), mib(streams)), cure)
        }
        _ if common > available => {
            let words = format!("{words}; with half received messages and frames for slow players {}", mib(common));
            Entry::warning("memory", words, "lower limits.memory, or set it to \"auto\"")
        }
        Some(most) if most > available => {
            let words = format!(
                "{words}; if each client that the limits allow did its worst, the server would take {}",
                mib(most)
            );
            Entry::ok("memory", format!("{words}: \"anabranch check\" shows what each limit allows"))
        }
        Some(most) => Entry::ok("memory", format!("{words}; clients can make the server take {} at most", mib(most))),
        None => Entry::ok("memory", format!("{words}; there is no total, because not all of limits are set")),
    };
    report.add(entry.at(&origin, &path));
}

/// A setting of the kernel that matters, and the least value that is good.
struct Setting {
    file: &'static str,
    name: &'static str,
    least: u64,
    why: &'static str,
}

const SETTINGS: [Setting; 5] = [
    Setting {
        file: "net/core/somaxconn",
        name: "net.core.somaxconn",
        least: BACKLOG,
        why: "many clients that connect at once wait a second or more",
    },
    Setting {
        file: "net/ipv4/tcp_max_syn_backlog",
        name: "net.ipv4.tcp_max_syn_backlog",
        least: 1024,
        why: "many clients that connect at once wait a second or more",
    },
    Setting {
        file: "net/ipv4/tcp_syncookies",
        name: "net.ipv4.tcp_syncookies",
        least: 1,
        why: "a flood of SYN packets keeps clients out",
    },
    Setting {
        file: "net/ipv4/tcp_wmem",
        name: "net.ipv4.tcp_wmem (its largest value)",
        least: 1 << 20,
        why: "players that are far away do not get streams of a high rate in time",
    },
    Setting {
        file: "net/ipv4/tcp_rmem",
        name: "net.ipv4.tcp_rmem (its largest value)",
        least: 1 << 20,
        why: "encoders that are far away cannot send streams of a high rate in time",
    },
];

/// The settings of the kernel.
pub(super) fn kernel(report: &mut Report) {
    let mut good = Vec::new();
    for Setting { file, name, least, why } in &SETTINGS {
        let Ok(text) = fs::read_to_string(format!("/proc/sys/{file}")) else {
            continue;
        };
        let Some(value) = text.split_whitespace().last().and_then(|value| value.parse::<u64>().ok()) else {
            continue;
        };
        if value < *least {
            let key = name.split(' ').next().unwrap_or(name);
            let cure = if file.ends_with("mem") {
                format!("sysctl -w {key}=\"4096 131072 6291456\", and in /etc/sysctl.d to keep it")
            } else {
                format!("sysctl -w {key}={least}, and in /etc/sysctl.d to keep it")
            };
            report.add(Entry::warning("kernel", format!("{name} is {value}, less than {least}: {why}"), &cure));
        } else {
            good.push(format!("{key} {value}", key = name.split(' ').next().unwrap_or(name)));
        }
    }
    if !good.is_empty() {
        report.add(Entry::ok("kernel", good.join(", ")));
    }
}
