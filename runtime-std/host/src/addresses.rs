use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

use anabranch_core::policy::Network;

/// How much of the addresses of clients the log shows. API, hooks and captures have them in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogAddresses {
    /// Address and port.
    #[default]
    Full,
    /// The network: 24 bits of an IPv4 address, 48 bits of an IPv6 address.
    Network,
    /// Nothing.
    Off,
}

impl LogAddresses {
    const ALL: [Self; 3] = [Self::Full, Self::Network, Self::Off];

    /// The address, as the log shows it.
    pub fn shown(self, address: SocketAddr) -> Option<String> {
        match self {
            LogAddresses::Full => Some(SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()),
            _ => self.shown_host(address.ip()),
        }
    }

    /// The address without its port, as the log shows it.
    pub fn shown_host(self, address: IpAddr) -> Option<String> {
        match (self, address.to_canonical()) {
            (LogAddresses::Off, _) => None,
            (LogAddresses::Full, address) => Some(address.to_string()),
            (LogAddresses::Network, IpAddr::V4(address)) => {
                let [a, b, c, _] = address.octets();
                Some(format!("{}/24", Ipv4Addr::new(a, b, c, 0)))
            }
            (LogAddresses::Network, IpAddr::V6(address)) => {
                let [a, b, c, ..] = address.segments();
                Some(format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)))
            }
        }
    }

    /// A network of clients, as the log shows it: one that has fewer addresses than the log shows is shown as the larger.
    pub fn shown_network(self, network: Network) -> Option<String> {
        let shown = if network.address().is_ipv4() { 24 } else { 48 };
        match self {
            LogAddresses::Network if network.length() > shown => self.shown_host(network.address()),
            LogAddresses::Full | LogAddresses::Network => Some(network.to_string()),
            LogAddresses::Off => None,
        }
    }

    /// A text with these addresses as the log shows them: texts of the system and of clients may have them.
    pub fn cleaned<'a>(self, text: &'a str, addresses: impl IntoIterator<Item = SocketAddr>) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        if self == LogAddresses::Full {
            return text;
        }
        for address in addresses {
            let host = address.ip().to_canonical();
            let shown = self.shown_host(host).unwrap_or_else(|| "an address".to_owned());
            let mut forms = vec![SocketAddr::new(host, address.port()).to_string()];
            if let IpAddr::V4(host) = host {
                forms.push(format!("[{}]:{}", host.to_ipv6_mapped(), address.port()));
                forms.push(host.to_ipv6_mapped().to_string());
            }
            forms.push(host.to_string());
            for form in forms.iter().filter(|form| text.contains(form.as_str())).collect::<Vec<_>>() {
                text = Cow::Owned(replaced(&text, form, &shown));
            }
        }
        text
    }
}

/// Replaces an address where it is not a part of another one.
fn replaced(text: &str, address: &str, by: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(address) {
        let (before, found) = rest.split_at(at);
        let after = &found[address.len()..];
        let part = |c: char| c.is_ascii_alphanumeric() || c == '.';
        let is_part = out.chars().chain(before.chars()).next_back().is_some_and(part)
            || after.starts_with(|c: char| c.is_ascii_alphanumeric());
        // Writing to a String does not fail.
        let _ = write!(out, "{before}{}", if is_part { address } else { by });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// A [`LogAddresses`] that can be changed while the server runs.
#[derive(Debug, Default)]
pub(crate) struct AddressRule(AtomicU8);

impl AddressRule {
    pub(crate) fn new(addresses: LogAddresses) -> Self {
        let rule = AddressRule::default();
        rule.set(addresses);
        rule
    }

    pub(crate) fn set(&self, addresses: LogAddresses) {
        self.0.store(addresses as u8, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> LogAddresses {
        LogAddresses::ALL.get(usize::from(self.0.load(Ordering::Relaxed))).copied().unwrap_or(LogAddresses::Off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn addresses_are_shown_in_full_as_networks_or_not_at_all() {
        use LogAddresses::{Full, Network, Off};
        for (text, full, network) in [
            ("192.0.2.77:4000", "192.0.2.77:4000", "192.0.2.0/24"),
            ("[::ffff:192.0.2.77]:4000", "192.0.2.77:4000", "192.0.2.0/24"),
            ("[2001:db8:1:2:3::4]:5", "[2001:db8:1:2:3::4]:5", "2001:db8:1::/48"),
            ("[::1]:5", "[::1]:5", "::/48"),
        ] {
            let address = address(text);
            assert_eq!(Full.shown(address).as_deref(), Some(full));
            assert_eq!(Network.shown(address).as_deref(), Some(network));
            assert_eq!(Off.shown(address), None);
        }
        assert_eq!(Full.shown_host(address("[::ffff:192.0.2.77]:4000").ip()).as_deref(), Some("192.0.2.77"));
    }

    #[test]
    fn a_network_that_may_be_one_client_is_shown_as_a_larger_one() {
        for (text, network) in [
            ("203.0.113.7", "203.0.113.0/24"),
            ("203.0.113.0/30", "203.0.113.0/24"),
            ("203.0.113.0/24", "203.0.113.0/24"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("2001:db8:1:2::7", "2001:db8:1::/48"),
            ("2001:db8::/32", "2001:db8::/32"),
        ] {
            let shown = |addresses: LogAddresses| addresses.shown_network(text.parse().expect("a network"));
            assert_eq!(shown(LogAddresses::Network).as_deref(), Some(network), "{text}");
            assert_eq!(shown(LogAddresses::Off), None);
            assert!(shown(LogAddresses::Full).is_some_and(|shown| shown.starts_with(text)));
        }
    }

    #[test]
    fn no_form_of_an_address_is_left_in_a_text() {
        let clients = || [address("192.0.2.7:4000"), address("[2001:db8:1::4]:5")];
        let text = "192.0.2.7:4000 is not 192.0.2.70, nor [::ffff:192.0.2.7]:4000 or ::ffff:192.0.2.7, and 192.0.2.7. \
                    [2001:db8:1::4]:5 or 2001:db8:1::4, 1192.0.2.7 and 192.0.2.7:40001";
        assert_eq!(LogAddresses::Full.cleaned(text, clients()), text);
        assert_eq!(
            LogAddresses::Network.cleaned(text, clients()),
            "192.0.2.0/24 is not 192.0.2.70, nor 192.0.2.0/24 or 192.0.2.0/24, and 192.0.2.0/24. 2001:db8:1::/48 or \
             2001:db8:1::/48, 1192.0.2.7 and 192.0.2.0/24:40001"
        );
        let off = LogAddresses::Off.cleaned(text, clients());
        assert!(!off.replace("192.0.2.70", "").replace("1192.0.2.7", "").contains("192.0.2"), "{off}");
        assert!(!off.contains("db8"), "{off}");
    }

    #[test]
    fn the_rule_can_be_changed() {
        for addresses in LogAddresses::ALL {
            let rule = AddressRule::new(addresses);
            assert_eq!(rule.get(), addresses);
        }
    }
}
