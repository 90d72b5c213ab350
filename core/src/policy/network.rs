use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use thiserror::Error;

/// A network in CIDR form, IPv4 or IPv6: `10.0.0.0/8`, `2001:db8::/32`. A bare address is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
// All host bits are zero, and no address is an IPv4 address in IPv6 form.
pub struct Network(IpNet);

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is neither an IP address nor a network such as 10.0.0.0/8 or 2001:db8::/32")]
pub struct NetworkError(String);

impl Network {
    /// True if the address lies in the network. An IPv4 address in IPv6 form counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Its first address.
    pub fn address(&self) -> IpAddr {
        self.0.addr()
    }

    /// The bits that all its addresses have in common: 0 to 32, or to 128 in IPv6.
    pub fn length(&self) -> u8 {
        self.0.prefix_len()
    }
}

/// The address of a client as all parts of a server use and show it. An IPv4 client on a socket for both families has an
/// address in IPv6 form (`[::ffff:192.0.2.1]:5000`); this is its IPv4 address. Other addresses stay as they are.
///
/// [`conn::Core`](crate::conn::Core) applies it to each new connection, so an adapter needs it only for what it logs
/// before that.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// Not the library's own parser: that reads no bare address, and takes `010.0.0.1` for `10.0.0.1`.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let error = || NetworkError(text.to_owned());
        let (address, length) = match text.split_once('/') {
            // The parser of numbers would accept a sign.
            Some((_, length)) if length.starts_with('+') => return Err(error()),
            Some((address, length)) => (address, Some(length.parse::<u8>().map_err(|_| error())?)),
            None => (text, None),
        };
        let address = address.trim().parse::<IpAddr>().map_err(|_| error())?.to_canonical();
        let network = match length {
            Some(length) => IpNet::new(address, length).map_err(|_| error())?,
            None => address.into(),
        };
        Ok(Network(network.trunc()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn addresses_in_and_out() {
        assert!(contains("10.0.0.0/8", "10.255.0.1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("10.1.2.3", "10.1.2.3"));
        assert!(!contains("10.1.2.3", "10.1.2.4"));
        assert!(contains("0.0.0.0/0", "200.1.1.1"));
        assert!(contains("2001:db8::/32", "2001:db8:1::9"));
        assert!(!contains("2001:db8::/32", "2001:db9::"));
        assert!(contains("::/0", "2001::1"));
    }

    #[test]
    fn ipv4_on_a_socket_for_both_families_is_ipv4() {
        assert!(contains("192.168.0.0/16", "::ffff:192.168.3.4"));
        assert!(!contains("::/0", "::ffff:192.168.3.4"));
        assert!(!contains("0.0.0.0/0", "::1"));
    }

    #[test]
    fn a_client_has_one_address_whatever_socket_it_came_to() {
        for (address, shown) in [
            ("[::ffff:192.0.2.1]:5000", "192.0.2.1:5000"),
            ("192.0.2.1:5000", "192.0.2.1:5000"),
            ("[2001:db8::1]:5000", "[2001:db8::1]:5000"),
            ("[fe80::1%3]:5000", "[fe80::1%3]:5000"),
            ("[::192.0.2.1]:5000", "[::c000:201]:5000"),
        ] {
            assert_eq!(canonical(address.parse().unwrap()).to_string(), shown);
        }
    }

    #[test]
    fn a_network_of_ipv4_addresses_in_ipv6_form_is_one_of_ipv4() {
        assert_eq!("::ffff:10.9.9.9/8".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
        assert!(contains("::ffff:10.9.9.9", "10.9.9.9") && contains("::ffff:10.9.9.9/8", "::ffff:10.0.0.1"));
        assert!("::ffff:10.0.0.0/104".parse::<Network>().is_err(), "its length is that of an IPv4 network");
    }

    #[test]
    fn host_bits_do_not_count() {
        assert_eq!("10.9.9.9/8".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
        assert_eq!("2001:db8::1/32".parse::<Network>().unwrap().to_string(), "2001:db8::/32");
    }

    #[test]
    fn what_is_no_network_is_an_error() {
        for wrong in
            ["", "host", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0/8", "10.0.0.0/", "010.0.0.0/8"]
        {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    /// Compares the first bits one by one.
    fn same_start(one: &[u8], other: &[u8], bits: usize) -> bool {
        let bit = |bytes: &[u8], index: usize| bytes[index / 8] >> (7 - index % 8) & 1;
        (0..bits).all(|index| bit(one, index) == bit(other, index))
    }

    proptest! {
        #[test]
        fn an_ipv4_network_holds_what_starts_with_its_bits(base: [u8; 4], bits in 0usize..=32, flip in 0usize..40) {
            let mut address = base;
            if let Some(byte) = address.get_mut(flip / 8) {
                *byte ^= 0x80 >> (flip % 8);
            }
            let expected = same_start(&base, &address, bits);
            let (base, address) = (Ipv4Addr::from(base), Ipv4Addr::from(address));
            let network: Network = format!("{base}/{bits}").parse().unwrap();
            prop_assert_eq!(network.contains(address.into()), expected);
            prop_assert_eq!(network.contains(address.to_ipv6_mapped().into()), expected);
            prop_assert_eq!(network.to_string().parse(), Ok(network));
        }

        #[test]
        fn an_ipv6_network_holds_what_starts_with_its_bits(base: [u8; 16], bits in 0usize..=128, flip in 0usize..150) {
            let mut address = base;
            if let Some(byte) = address.get_mut(flip / 8) {
                *byte ^= 0x80 >> (flip % 8);
            }
            let expected = same_start(&base, &address, bits);
            let (base, address) = (Ipv6Addr::from(base), Ipv6Addr::from(address));
            prop_assume!(base.to_ipv4_mapped().is_none() && address.to_ipv4_mapped().is_none());
            let network: Network = format!("{base}/{bits}").parse().unwrap();
            prop_assert_eq!(network.contains(address.into()), expected);
            prop_assert_eq!(network.to_string().parse(), Ok(network));
        }

        #[test]
        fn any_text_is_a_network_or_an_error(text in "[0-9a-f:./+ -]{0,20}|\\PC{0,10}") {
            if let Ok(network) = text.parse::<Network>() {
                prop_assert_eq!(network.to_string().parse(), Ok(network));
            }
        }
    }
}
