use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// A network in CIDR form, IPv4 or IPv6: `10.0.0.0/8`, `2001:db8::/32`. A bare address is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    /// The address with all host bits zero, IPv4 in its IPv6-mapped form.
    base: u128,
    /// Length of the network part in those 128 bits.
    bits: u8,
    v4: bool,
}

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is neither an IP address nor a network such as 10.0.0.0/8 or 2001:db8::/32")]
pub struct NetworkError(String);

impl Network {
    /// True if the address lies in the network. An IPv4 address in IPv6 form counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (address, v4) = mapped(address);
        v4 == self.v4 && address & mask(self.bits) == self.base
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let error = || NetworkError(text.to_owned());
        let (address, length) = match text.split_once('/') {
            // A number's own parser would take a sign.
            Some((_, length)) if length.starts_with('+') => return Err(error()),
            Some((address, length)) => (address, Some(length.parse::<u8>().map_err(|_| error())?)),
            None => (text, None),
        };
        let (address, v4) = mapped(address.trim().parse().map_err(|_| error())?);
        let width = if v4 { 32 } else { 128 };
        let length = length.unwrap_or(width);
        if length > width {
            return Err(error());
        }
        let bits = 128 - width + length;
        Ok(Network { base: address & mask(bits), bits, v4 })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from(self.base);
        if self.v4 {
            let [.., a, b, c, d] = address.octets();
            write!(f, "{}/{}", Ipv4Addr::new(a, b, c, d), self.bits - 96)
        } else {
            write!(f, "{address}/{}", self.bits)
        }
    }
}

fn mapped(address: IpAddr) -> (u128, bool) {
    match address.to_canonical() {
        IpAddr::V4(address) => (address.to_ipv6_mapped().to_bits(), true),
        IpAddr::V6(address) => (address.to_bits(), false),
    }
}

fn mask(bits: u8) -> u128 {
    if bits == 0 { 0 } else { u128::MAX << (128 - bits) }
}

#[cfg(test)]
mod tests {
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
    fn host_bits_do_not_count() {
        assert_eq!("10.9.9.9/8".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
        assert_eq!("2001:db8::1/32".parse::<Network>().unwrap().to_string(), "2001:db8::/32");
    }

    #[test]
    fn what_is_no_network_is_an_error() {
        for wrong in ["", "host", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0/8", "10.0.0.0/"] {
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
