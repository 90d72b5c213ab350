use std::net::{IpAddr, SocketAddr, UdpSocket};

use anabranch_host::{Listen, can_listen};

use super::entry::{Entry, Report};
use super::server::Running;
use crate::examine::Purpose;
use crate::examine::parts::addresses;
use crate::settings::Loaded;

/// The names that the programs have as processes.
const OURS: [&str; 2] = ["anabranch", "anabranch-std"];

/// A process that listens.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) pid: i32,
    pub(super) name: String,
}

/// True for a program of ours, for the process that the API names, and for systemd (process 1) while a server runs, since
/// it may listen for that.
pub(super) fn is_ours(pid: i32, name: &str, running: &Running) -> bool {
    let answers = running.pid.and_then(|pid| i32::try_from(pid).ok());
    OURS.contains(&name) || answers.is_some_and(|own| pid == own || pid == 1)
}

/// Whether the ports are free, and which process has them otherwise.
pub(super) fn ports(loaded: &Loaded, running: &Running, report: &mut Report) {
    for (path, what, listen) in addresses(&loaded.settings, Purpose::Check) {
        let origin = loaded.tree.nearest(&path).origin().clone();
        let is_api = what == "the API";
        let entry = match can_listen(listen) {
            Ok(()) => Entry::ok("ports", format!("{listen} is free for {what}")),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                let holder = holder(listen);
                match holder {
                    Some(Holder { pid, name }) if is_ours(pid, &name, running) => {
                        Entry::ok("ports", format!("{listen} is served by a running {name}, process {pid}"))
                    }
                    Some(Holder { pid, name }) => {
                        let words = format!("{listen} is taken by process {pid} ({name})");
                        let cure = "end that process, or choose another port";
                        if is_api && loaded.settings.api.is_optional() {
                            Entry::warning("ports", format!("{words}: the server runs without API"), cure)
                        } else {
                            Entry::fault("ports", words, cure)
                        }
                    }
                    None if running.pid.is_some() => {
                        Entry::ok("ports", format!("{listen} is taken, by the running server as it seems"))
                    }
                    None => {
                        let port = listen.port();
                        let cure = format!(
                            "\"ss -ltnp 'sport = :{port}'\", as root, names the process: end it, or choose another port"
                        );
                        Entry::fault(
                            "ports",
                            format!("{listen} is taken by a process that this user may not see"),
                            &cure,
                        )
                    }
                }
            }
            // Found before, with its cure.
            Err(_) => continue,
        };
        report.add(entry.at(&origin, &path));
    }
}

/// The process that listens there, as far as this user may see it.
#[cfg(target_os = "linux")]
fn holder(listen: Listen) -> Option<Holder> {
    use procfs::net::{TcpState, tcp, tcp6};

    let sockets = tcp().unwrap_or_default().into_iter().chain(tcp6().unwrap_or_default());
    let listening = sockets.filter(|socket| socket.state == TcpState::Listen);
    let there = |socket: &procfs::net::TcpNetEntry| listen.overlaps(Listen::One(socket.local_address));
    let inodes: Vec<u64> = listening.filter(there).map(|socket| socket.inode).collect();
    holder_of(&inodes)
}

/// The process that has one of these sockets.
#[cfg(target_os = "linux")]
pub(super) fn holder_of(inodes: &[u64]) -> Option<Holder> {
    use procfs::process::{FDTarget, all_processes};

    if inodes.is_empty() {
        return None;
    }
    all_processes().ok()?.flatten().find_map(|process| {
        let has_it = process.fd().ok()?.flatten().any(|file| match file.target {
            FDTarget::Socket(inode) => inodes.contains(&inode),
            _ => false,
        });
        // The kernel cuts the name of a process to 15 characters.
        has_it.then(|| Some(Holder { pid: process.pid, name: process.stat().ok()?.comm }))?
    })
}

#[cfg(not(target_os = "linux"))]
fn holder(_: Listen) -> Option<Holder> {
    None
}

/// The addresses at which encoders and players reach the server.
pub(super) fn reachability(loaded: &Loaded, report: &mut Report) {
    // Nothing is sent: the system only chooses the address that it would send from. The targets are for documentation.
    let own = |from: &str, to: &str| -> Option<IpAddr> {
        let socket = UdpSocket::bind((from, 0)).ok()?;
        socket.connect((to, 9)).ok()?;
        let ip = socket.local_addr().ok()?.ip();
        (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
    };
    let (v4, v6) = (own("0.0.0.0", "192.0.2.1"), own("::", "2001:db8::1"));
    let mut urls = Vec::new();
    let addresses = addresses(&loaded.settings, Purpose::Check);
    let rtmp = addresses.iter().filter(|(path, what, _)| *what != "the API" && path.to_string().starts_with("server"));
    let listens: Vec<Listen> = rtmp.map(|(.., listen)| *listen).collect();
    for listen in &listens {
        let ips: Vec<IpAddr> = match listen {
            Listen::Any(_) => [v4, v6].into_iter().flatten().collect(),
            Listen::One(address) if address.ip().is_unspecified() => {
                [v4, v6].into_iter().flatten().filter(|ip| ip.is_ipv4() == address.is_ipv4()).collect()
            }
            Listen::One(address) => vec![address.ip()],
        };
        urls.extend(ips.into_iter().map(|ip| SocketAddr::new(ip, listen.port())));
    }
    let others: Vec<_> = urls.iter().filter(|address| !address.ip().is_loopback()).collect();
    if others.is_empty() {
        let cure = "that is right behind a proxy on this machine; otherwise listen on \"1935\", and look at the network \
                    of this machine (ip address, ip route)";
        report.add(Entry::warning("network", "only programs on this machine can publish and play", cure));
    } else {
        let shown: Vec<_> = others.iter().map(|address| url(**address)).collect();
        let words =
            format!("encoders publish to {}; firewalls on the way must let that port through", shown.join(" or "));
        report.add(Entry::ok("network", words));
    }
    if v6.is_some() && !others.is_empty() && others.iter().all(|address| address.is_ipv4()) {
        let words = "this machine has IPv6, but the server listens on IPv4 only";
        report.add(Entry::warning("network", words, "listen on only the port, \"1935\", for both"));
    }
}

fn url(address: SocketAddr) -> String {
    match (address.ip(), address.port()) {
        (IpAddr::V4(ip), 1935) => format!("rtmp://{ip}/APP"),
        (IpAddr::V6(ip), 1935) => format!("rtmp://[{ip}]/APP"),
        _ => format!("rtmp://{address}/APP"),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_process_that_listens_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = holder(Listen::One(address)).unwrap();
        assert_eq!(u32::try_from(found.pid).unwrap(), std::process::id());
        assert_eq!(holder(Listen::Any(address.port())), Some(found));
        drop(listener);
        assert_eq!(holder(Listen::One(address)), None);
    }

    #[test]
    fn a_running_server_is_known_by_its_name_or_its_number() {
        let silent = Running::default();
        let answers = Running { pid: Some(77), ..Running::default() };
        assert!(
            is_ours(77, "anabranch", &silent) && is_ours(77, "wrapper", &answers) && is_ours(1, "systemd", &answers)
        );
        assert!(!is_ours(77, "wrapper", &silent) && !is_ours(1, "systemd", &silent) && !is_ours(78, "nginx", &answers));
    }
}
