//! WebRTC as the program runs it: its settings for the server, and the names of candidates, which are looked up now and
//! then.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anabranch_host::webrtc::desk::Settings;
use anabranch_host::webrtc::sound;
use anabranch_host::{Handle, Listen, RtcOptions};
use tracing::{info, warn};

use crate::settings::written::Of;
use crate::settings::{PublicAddress, PublicHost, RtcSettings};

/// How long what a name stands for is taken to be right. Names of addresses that change have short times, too.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// The longest offer. Those of browsers have 3 to 8 KiB, 20 with every codec.
const LONGEST_OFFER: usize = 64 << 10;

/// Puts the settings of WebRTC in force, at the start, after a reload, and when a name has another address. Clones are the
/// same.
#[derive(Clone)]
pub(crate) struct Rtc {
    shared: Arc<Shared>,
}

struct Shared {
    handle: Handle,
    /// The name of this server in the URLs of sessions.
    node: String,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    settings: RtcSettings,
    /// The addresses of names, as they were found last.
    known: HashMap<String, Vec<IpAddr>>,
    /// True if there is something that has not been looked up.
    is_new: bool,
}

impl fmt::Debug for Rtc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rtc").field("node", &self.shared.node).finish_non_exhaustive()
    }
}

/// What the server needs to begin. Names of candidates come later.
pub(crate) fn options(settings: &RtcSettings, node: &str) -> RtcOptions {
    let port = |listen: Option<&Listen>| listen.map(|listen| listen.port());
    let tcp_listen: Vec<_> = settings.tcp_listen.iter().map(|Of(listen)| *listen).collect();
    let ports = (port(settings.listen.0.places().first()).unwrap_or_default(), port(tcp_listen.first()));
    let desk = desk_settings(settings, node, &HashMap::new(), ports);
    let sound = sound::Settings { bitrate: settings.opus_bitrate, ..sound::Settings::default() };
    RtcOptions { listen: settings.listen.0.0.clone(), tcp_listen, settings: desk, sound }
}

impl Rtc {
    /// Follows the names of candidates from now on.
    ///
    /// # Errors
    /// The system has no thread.
    pub(crate) fn start(handle: Handle, settings: &RtcSettings, node: &str) -> Result<Self, String> {
        let state = State { settings: settings.clone(), known: HashMap::new(), is_new: true };
        let shared = Shared { handle, node: node.to_owned(), state: Mutex::new(state), changed: Condvar::new() };
        let rtc = Rtc { shared: Arc::new(shared) };
        // The ports are known now, also those that the system chose.
        rtc.put_in_force(&rtc.lock());
        let follows = rtc.clone();
        let thread = thread::Builder::new().name("candidates".to_owned()).spawn(move || follows.follow());
        thread.map_err(|error| format!("cannot start a thread for the candidates of WebRTC: {error}"))?;
        Ok(rtc)
    }

    /// Puts other settings in force. Names that are new have their addresses a moment later.
    pub(crate) fn update(&self, settings: &RtcSettings) {
        let mut state = self.lock();
        if state.settings != *settings {
            state.settings = settings.clone();
            state.is_new = true;
            self.put_in_force(&state);
            self.shared.changed.notify_all();
        }
    }

    /// Looks names up, without end.
    fn follow(&self) {
        loop {
            let names = names(&self.lock().settings);
            let found: HashMap<_, _> = names.iter().map(|name| (name.clone(), look_up(name))).collect();
            let mut state = self.lock();
            let mut has_changed = false;
            for (name, found) in found {
                match found {
                    Ok(addresses) if state.known.get(&name) != Some(&addresses) => {
                        info!(
                            event = "webrtc_candidate",
                            name,
                            ?addresses,
                            "clients of WebRTC are told {addresses:?} for {name}"
                        );
                        state.known.insert(name, addresses);
                        has_changed = true;
                    }
                    Ok(_) => {}
                    // What was found before stays: a DNS that fails is no reason to send clients elsewhere.
                    Err(error) => {
                        let words = "clients of WebRTC are told the address that it had before, if any";
                        warn!(
                            event = "webrtc_candidate_unknown",
                            name, error, "{name} has no address now: {error}; {words}"
                        );
                    }
                }
            }
            if has_changed {
                self.put_in_force(&state);
            }
            state.is_new = self::names(&state.settings) != names;
            let waits_for_names = !names.is_empty();
            while !state.is_new {
                state = match waits_for_names {
                    true => {
                        let waited = self.shared.changed.wait_timeout(state, LOOK_AGAIN);
                        let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                        state.is_new |= timeout.timed_out();
                        state
                    }
                    false => self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                };
            }
        }
    }

    fn put_in_force(&self, state: &State) {
        let Shared { handle, node, .. } = &*self.shared;
        let addresses = handle.rtc_addresses();
        if let Some(udp) = addresses.udp.first() {
            let ports = (udp.port(), addresses.tcp.first().map(SocketAddr::port));
            handle.configure_rtc(desk_settings(&state.settings, node, &state.known, ports));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The settings as the server has them. `known` are addresses of names, `ports` those that UDP and TCP have here.
fn desk_settings(
    settings: &RtcSettings,
    node: &str,
    known: &HashMap<String, Vec<IpAddr>>,
    (udp, tcp): (u16, Option<u16>),
) -> Settings {
    let by_tcp = match tcp {
        Some(port) if settings.tcp_candidates.is_empty() => {
            // The port of a candidate is that of UDP.
            addresses(&settings.candidates, known, |_| port)
        }
        Some(port) => addresses(&settings.tcp_candidates, known, |own| own.unwrap_or(port)),
        None => Vec::new(),
    };
    Settings {
        candidates: addresses(&settings.candidates, known, |own| own.unwrap_or(udp)),
        tcp_candidates: by_tcp,
        most_peers: settings.sessions,
        most_joins: settings.joins,
        longest_offer: LONGEST_OFFER,
        connect: settings.connect_timeout.0,
        most_in_room: settings.rooms,
        node: node.to_owned(),
        ..Settings::default()
    }
}

/// The addresses of these, in their order, each once.
fn addresses(
    list: &[Of<PublicAddress>],
    known: &HashMap<String, Vec<IpAddr>>,
    port: impl Fn(Option<u16>) -> u16,
) -> Vec<SocketAddr> {
    let mut all = Vec::new();
    for Of(address) in list {
        let ips = match &address.host {
            PublicHost::Ip(ip) => std::slice::from_ref(ip),
            PublicHost::Name(name) => known.get(name).map_or(&[][..], Vec::as_slice),
        };
        for ip in ips {
            let address = SocketAddr::new(*ip, port(address.port));
            if !all.contains(&address) {
                all.push(address);
            }
        }
    }
    all
}

/// The names among the candidates, each once.
fn names(settings: &RtcSettings) -> Vec<String> {
    let mut names = Vec::new();
    for Of(address) in settings.candidates.iter().chain(&settings.tcp_candidates) {
        if let PublicHost::Name(name) = &address.host
            && !names.contains(name)
        {
            names.push(name.clone());
        }
    }
    names
}

/// The addresses of a name, IPv4 first, in an order that does not change from one answer to the next.
fn look_up(name: &str) -> Result<Vec<IpAddr>, String> {
    let found = (name, 0).to_socket_addrs().map_err(|error| error.to_string())?;
    let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() { Err("the answer is empty".to_owned()) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(candidates: &[&str], tcp_candidates: &[&str]) -> RtcSettings {
        let list = |texts: &[&str]| texts.iter().map(|text| Of(text.parse().unwrap())).collect();
        RtcSettings { candidates: list(candidates), tcp_candidates: list(tcp_candidates), ..RtcSettings::default() }
    }

    fn told(settings: &RtcSettings, tcp: Option<u16>) -> (Vec<String>, Vec<String>) {
        let known = HashMap::from([("tv.example".to_owned(), vec!["203.0.113.9".parse().unwrap()])]);
        let settings = desk_settings(settings, "node", &known, (8000, tcp));
        let texts = |list: &[SocketAddr]| list.iter().map(ToString::to_string).collect();
        (texts(&settings.candidates), texts(&settings.tcp_candidates))
    }

    #[test]
    fn candidates_have_the_port_of_the_socket_or_their_own() {
        let both = settings(&["203.0.113.7", "203.0.113.7:40000", "2001:db8::7", "tv.example", "no.example"], &[]);
        let by_udp = ["203.0.113.7:8000", "203.0.113.7:40000", "[2001:db8::7]:8000", "203.0.113.9:8000"];
        assert_eq!(told(&both, None), (by_udp.map(str::to_owned).to_vec(), vec![]));
        let by_tcp = ["203.0.113.7:443", "[2001:db8::7]:443", "203.0.113.9:443"];
        assert_eq!(told(&both, Some(443)).1, by_tcp);
    }

    #[test]
    fn candidates_of_tcp_may_be_others() {
        let both = settings(&["203.0.113.7"], &["203.0.113.8:443", "203.0.113.9"]);
        assert_eq!(told(&both, Some(8443)).1, ["203.0.113.8:443", "203.0.113.9:8443"]);
        assert_eq!(told(&both, None).1, [""; 0]);
    }

    #[test]
    fn each_name_is_looked_up_once() {
        let settings = settings(&["a.example", "a.example:1", "203.0.113.7"], &["b.example", "a.example"]);
        assert_eq!(names(&settings), ["a.example", "b.example"]);
        assert!(look_up("localhost").unwrap().iter().all(IpAddr::is_loopback));
        assert!(look_up("no-such-host.invalid").is_err());
    }
}
