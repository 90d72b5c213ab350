//! WebRTC: its ports, and where clients are told to reach the server.

use std::fs;
use std::io;
use std::path::Path as FilePath;

use anabranch_host::Listen;

use super::entry::{Entry, Report};
use super::network::{Holder, is_ours};
use super::server::Running;
use crate::examine::rtc::can_bind_udp;
use crate::settings::Loaded;
use crate::settings::tree::Path;

const SUBJECT: &str = "webrtc";
/// Files that the tools make in their containers.
const CONTAINER: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];
/// The buffer of a socket for UDP that a stream of a high rate to many viewers fills at once. Linux's default is 208 KiB.
const BUFFER: u64 = 2 << 20;

/// Looks at all of it, if there is WebRTC.
pub(super) fn look(loaded: &Loaded, running: &Running, report: &mut Report) {
    let (settings, rtc) = (&loaded.settings, &loaded.settings.rtc);
    let is_needed = rtc.listen.0.is_needed();
    // Without HTTP it is only meant if it is written.
    if !rtc.is_on() || !(settings.web.is_on() || is_needed) {
        return;
    }
    let place = |key: &str| {
        let path = Path::of(&["rtc", key]);
        (loaded.tree.nearest(&path).origin().clone(), path)
    };
    let (origin, path) = place("listen");
    for entry in rtc.listen.0.places().into_iter().filter_map(|listen| port(listen, is_needed, running)) {
        report.add(entry.at(&origin, &path));
    }
    let (origin, path) = place("candidates");
    report.add(candidates(loaded).at(&origin, &path));
    // A server that only has the defaults has few viewers, or will be told.
    let is_meant = is_needed || !rtc.candidates.is_empty();
    if let Some(entry) = buffers().filter(|_| is_meant) {
        report.add(entry);
    }
}

/// Whether the port of UDP is free, and which process has it otherwise.
fn port(listen: Listen, is_needed: bool, running: &Running) -> Option<Entry> {
    let error = match can_bind_udp(listen) {
        Ok(()) if running.pid.is_some() && !is_needed => {
            let words = format!("the running server does not use UDP {listen}");
            let cure = "it had no WebRTC when it started, or the port was taken then: restart it";
            return Some(Entry::warning(SUBJECT, words, cure));
        }
        Ok(()) => return Some(Entry::ok(SUBJECT, format!("UDP {listen} is free"))),
        Err(error) => error,
    };
    if error.kind() != io::ErrorKind::AddrInUse {
        // Found before, with its cure.
        return None;
    }
    let number = listen.port();
    let cure =
        format!("end that process (\"ss -lunp 'sport = :{number}'\" shows it), or set rtc.listen to another port");
    let entry = match holder(listen) {
        Some(Holder { pid, name }) if is_ours(pid, &name, running) => {
            Entry::ok(SUBJECT, format!("UDP {listen} is served by a running {name}, process {pid}"))
        }
        None if running.pid.is_some() => {
            Entry::ok(SUBJECT, format!("UDP {listen} is taken, by the running server as it seems"))
        }
        other => {
            let whose = other.map_or_else(
                || "a process that this user may not see".to_owned(),
                |Holder { pid, name }| format!("process {pid} ({name})"),
            );
            let words = format!("UDP {listen} is taken by {whose}");
            match is_needed {
                true => Entry::fault(SUBJECT, words, &cure),
                false => Entry::warning(SUBJECT, format!("{words}: the server runs without WebRTC"), &cure),
            }
        }
    };
    Some(entry)
}

/// Where clients are told to send.
fn candidates(loaded: &Loaded) -> Entry {
    let rtc = &loaded.settings.rtc;
    let by_tcp = rtc.tcp_listen.iter().map(|listen| format!(", and to TCP {}", listen.0)).collect::<String>();
    if !rtc.candidates.is_empty() {
        let list: Vec<_> = rtc.candidates.iter().map(|candidate| candidate.0.to_string()).collect();
        return Entry::ok(SUBJECT, format!("clients are told to send to {}{by_tcp}", list.join(", ")));
    }
    if CONTAINER.iter().any(|file| FilePath::new(file).exists()) {
        let words = "this is a container, and rtc.candidates is empty: clients are told the address of the container";
        let cure = "set rtc.candidates to the address of the host, unless clients reach the container by its address";
        return Entry::warning(SUBJECT, words, cure);
    }
    let words = format!("clients are told to send to the address that their request reached{by_tcp}");
    Entry::ok(SUBJECT, words + "; behind NAT, rtc.candidates must have the outer address")
}

/// Whether the system lets sockets have buffers for many viewers.
fn buffers() -> Option<Entry> {
    let most = |name: &str| fs::read_to_string(format!("/proc/sys/net/core/{name}")).ok()?.trim().parse::<u64>().ok();
    let small: Vec<_> = ["rmem_max", "wmem_max"]
        .into_iter()
        .filter_map(|name| {
            most(name).filter(|bytes| *bytes < BUFFER).map(|bytes| format!("net.core.{name} is {bytes}"))
        })
        .collect();
    if small.is_empty() {
        return None;
    }
    let words = format!("{}: with hundreds of viewers packets are lost in this machine", small.join(" and "));
    let cure =
        format!("sysctl -w net.core.rmem_max={BUFFER} net.core.wmem_max={BUFFER}, and in /etc/sysctl.d to keep it");
    Some(Entry::warning(SUBJECT, words, &cure))
}

/// The process that has the port, as far as this user may see it.
#[cfg(target_os = "linux")]
fn holder(listen: Listen) -> Option<Holder> {
    use procfs::net::{udp, udp6};

    let sockets = udp().unwrap_or_default().into_iter().chain(udp6().unwrap_or_default());
    let there = |socket: &procfs::net::UdpNetEntry| listen.overlaps(Listen::One(socket.local_address));
    let inodes: Vec<u64> = sockets.filter(there).map(|socket| socket.inode).collect();
    super::network::holder_of(&inodes)
}

#[cfg(not(target_os = "linux"))]
fn holder(_: Listen) -> Option<Holder> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn the_process_that_has_the_port_is_found() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let listen = Listen::One(socket.local_addr().unwrap());
        let found = holder(listen).unwrap();
        assert_eq!(u32::try_from(found.pid).unwrap(), std::process::id());
        assert!(port(listen, true, &Running::default()).is_some());
        drop(socket);
        assert_eq!(holder(listen), None);
    }
}
