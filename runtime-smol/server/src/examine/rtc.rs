use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs, UdpSocket};

use anabranch_host::{Listen, WebListen};
use anabranch_program::Fault;

use super::parts::Found;
use super::{Grade, Purpose};
use crate::settings::tree::Path;
use crate::settings::{PublicAddress, PublicHost, RtcSettings};

/// What the words begin with if the port of UDP cannot be used.
pub(crate) const NO_UDP: &str = "WebRTC cannot use UDP ";

impl Found<'_> {
    /// WebRTC: whether its port is free, whether anything negotiates, and whether clients can reach what they are told.
    pub(super) fn webrtc(&mut self, purpose: Purpose) {
        let settings = &self.loaded().settings;
        let rtc = &settings.rtc;
        let at = |key: &str| Path::of(&["rtc", key]);
        if rtc.rooms > 0 && !(rtc.is_on() && settings.web.is_on()) {
            let words = "rooms need WebRTC, and pages by HTTP";
            let cure = "set rtc.listen and web.listen, or rtc.rooms = 0";
            self.add(Grade::Warning, at("rooms"), Fault::new(words, cure));
        } else if rtc.rooms > 0 && settings.web.https.is_empty() && settings.server.trusted_proxies.is_empty() {
            let words = "browsers give camera and microphone to pages by HTTPS and of localhost only, and no address of \
                         web.https is set";
            let cure = "set web.https and a certificate, or server.trusted_proxies if a proxy with TLS is in front";
            self.add(Grade::Warning, at("rooms"), Fault::new(words, cure));
        }
        if !rtc.is_on() {
            if rtc.listen.0.0 == WebListen::Off && !rtc.tcp_listen.is_empty() {
                let words = "there is no WebRTC without UDP, because rtc.listen is \"off\"";
                self.add(Grade::Warning, at("tcp_listen"), Fault::new(words, "set rtc.listen, or this to []"));
            }
            return;
        }
        if rtc.listen.0.is_needed() && !settings.web.is_on() {
            let words = "clients negotiate WebRTC by HTTP, and no address serves HTTP";
            let cure = "set web.listen, web.https or web.on_rtmp_ports, or rtc.listen = \"off\"";
            self.add(Grade::Warning, at("listen"), Fault::new(words, cure));
        }
        if purpose != Purpose::Reload {
            self.udp_ports(rtc, purpose);
        }
        for (key, list) in [("candidates", &rtc.candidates), ("tcp_candidates", &rtc.tcp_candidates)] {
            for (index, candidate) in list.iter().enumerate() {
                if let Some(fault) = unreachable(&candidate.0, purpose) {
                    self.add(Grade::Warning, at(key).index(index), fault);
                }
            }
        }
        if !rtc.tcp_candidates.is_empty() && rtc.tcp_listen.is_empty() {
            let words = "nothing listens for ICE over TCP";
            self.add(Grade::Warning, at("tcp_candidates"), Fault::new(words, "set rtc.tcp_listen, or remove them"));
        }
    }

    fn udp_ports(&mut self, rtc: &RtcSettings, purpose: Purpose) {
        let is_start = matches!(purpose, Purpose::Start { .. });
        let is_needed = rtc.listen.0.is_needed();
        for listen in rtc.listen.0.places() {
            let Err(error) = can_bind_udp(listen) else {
                continue;
            };
            // The server says so itself when it goes on without WebRTC; and before a start it may be the running server's.
            if !is_needed && (is_start || error.kind() == io::ErrorKind::AddrInUse) {
                continue;
            }
            let is_fault = is_needed && (is_start || error.kind() != io::ErrorKind::AddrInUse);
            let grade = if is_fault { Grade::Fault } else { Grade::Warning };
            let fault = Fault::new(format!("{NO_UDP}{listen}: {error}"), cure(listen, &error));
            self.add(grade, Path::of(&["rtc", "listen"]), fault);
        }
    }
}

/// What to do if a port of UDP cannot be used.
fn cure(listen: Listen, error: &io::Error) -> String {
    let port = listen.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("end the program that has it (ss -lunp 'sport = :{port}' names it), or choose another port")
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address: name one that it has, or only the port; the address at which clients reach \
             it from outside belongs into rtc.candidates"
                .to_owned()
        }
        _ => "choose another address or port".to_owned(),
    }
}

/// Checks whether a UDP port could be used now.
///
/// # Errors
/// The system's error.
pub(crate) fn can_bind_udp(listen: Listen) -> io::Result<()> {
    let bound = match listen {
        Listen::One(address) => UdpSocket::bind(address),
        Listen::Any(port) => {
            UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|error| match error.kind() {
                io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
                // A machine without IPv6.
                _ => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)),
            })
        }
    };
    bound.map(drop)
}

/// Why clients do not reach the server there.
fn unreachable(candidate: &PublicAddress, purpose: Purpose) -> Option<Fault> {
    let cure = "name the address at which clients reach this machine; without candidates they are told the one that \
                their request reached";
    match &candidate.host {
        PublicHost::Ip(ip) if ip.is_loopback() => {
            Some(Fault::new(format!("only clients on this machine reach {candidate}"), cure))
        }
        PublicHost::Ip(ip) if is_no_host(*ip) => Some(Fault::new(format!("no client reaches {candidate}"), cure)),
        // The start must not wait for an answer, and the server looks names up by itself.
        PublicHost::Name(name) if purpose == Purpose::Check => {
            let error = (name.as_str(), 0).to_socket_addrs().err()?;
            Some(Fault::new(
                format!("{name} has no address now: {error}"),
                "correct the name, or the record in the DNS",
            ))
        }
        _ => None,
    }
}

/// True for addresses that no machine has.
fn is_no_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_multicast() || ip.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_udp_that_is_taken_is_found() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(can_bind_udp(Listen::One(address)).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(can_bind_udp(Listen::Any(address.port())).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(taken);
        assert!(can_bind_udp(Listen::One(address)).is_ok());
        let elsewhere = can_bind_udp("192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert_eq!(elsewhere.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn candidates_that_no_client_reaches_are_told() {
        let words = |text: &str| unreachable(&text.parse().unwrap(), Purpose::Check).map(|fault| fault.words);
        for fine in ["203.0.113.7", "10.0.0.1:8000", "[2001:db8::1]:8000", "localhost"] {
            assert_eq!(words(fine), None, "{fine}");
        }
        assert!(words("127.0.0.1").unwrap().starts_with("only clients on this machine"));
        assert!(words("[::1]:8000").unwrap().starts_with("only clients on this machine"));
        assert!(words("224.0.0.1").unwrap().starts_with("no client reaches"));
        assert!(words("no-such-host.invalid:8000").unwrap().contains("has no address now"));
        let at_start = Purpose::Start { inherits: false };
        assert_eq!(unreachable(&"no-such-host.invalid".parse().unwrap(), at_start), None);
    }
}
