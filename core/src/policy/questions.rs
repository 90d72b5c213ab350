use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Counted, Limits, Refusal};

/// The default of [`Limits::questions`]: as many calls as the queue to a back end holds.
pub const DEFAULT_QUESTIONS: u32 = 2000;

/// Counts the open questions to a back end against [`Limits::questions`], so that no client and no network takes all
/// places.
///
/// An address may have as many questions open as there are places free, and its whole network twice as many. So one
/// address alone gets half of the places and one network two thirds, however many connections it opens. With more other
/// clients it gets fewer, and there is always room for an address that has no question open. An address is an IPv4
/// address or an IPv6 /64; its network is the IPv4 /24 or the IPv6 /48.
#[derive(Debug, Clone, Default)]
pub struct Questions {
    open: usize,
    addresses: HashMap<IpAddr, usize>,
    networks: HashMap<IpAddr, usize>,
}

impl Questions {
    /// Counts one more question, for the client's address if it is known.
    ///
    /// # Errors
    /// [`Refusal::Limit`]; nothing is counted then.
    pub fn try_add(&mut self, address: Option<IpAddr>, limits: &Limits) -> Result<(), Refusal> {
        limits.check(Counted::Questions, self.open)?;
        let most = limits.questions.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        let free = most.saturating_sub(self.open);
        if let Some(CountedAs { client, network }) = address.map(CountedAs::of) {
            let of_address = self.addresses.get(&client).copied().unwrap_or_default();
            let of_network = self.networks.get(&network).copied().unwrap_or_default();
            if of_address >= free || of_network >= free.saturating_mul(2) {
                return Err(Refusal::Limit(Counted::Questions));
            }
            *self.addresses.entry(client).or_default() += 1;
            *self.networks.entry(network).or_default() += 1;
        }
        self.open += 1;
        Ok(())
    }

    /// Counts one question less; the counts never go below zero.
    pub fn remove(&mut self, address: Option<IpAddr>) {
        self.open = self.open.saturating_sub(1);
        if let Some(CountedAs { client, network }) = address.map(CountedAs::of) {
            one_less(&mut self.addresses, client);
            one_less(&mut self.networks, network);
        }
    }

    /// How many questions are open.
    pub fn open(&self) -> usize {
        self.open
    }
}

fn one_less(counts: &mut HashMap<IpAddr, usize>, of: IpAddr) {
    if let Entry::Occupied(mut entry) = counts.entry(of) {
        if *entry.get() > 1 {
            *entry.get_mut() -= 1;
        } else {
            entry.remove();
        }
    }
}

/// The address that stands for a client where clients share a limit: an IPv4 address, in either of its forms, is one
/// client, and so is an IPv6 /64, because one client can use any number of addresses in it.
pub fn one_client(address: IpAddr) -> IpAddr {
    CountedAs::of(address).client
}

/// The client and the network for which an address counts.
#[derive(Debug, Clone, Copy)]
struct CountedAs {
    client: IpAddr,
    network: IpAddr,
}

impl CountedAs {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let network = Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << 8));
                CountedAs { client: address.into(), network: network.into() }
            }
            IpAddr::V6(address) => {
                let prefix = |bits: u32| Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - bits)));
                CountedAs { client: prefix(64).into(), network: prefix(48).into() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn most(questions: u32) -> Limits {
        Limits { questions: Some(questions), ..Limits::default() }
    }

    /// How many questions one address gets if it asks for more than the limit.
    fn fill(questions: &mut Questions, limits: &Limits, address: impl Fn(u32) -> String) -> usize {
        let asks = |number| questions.try_add(Some(address(number).parse().unwrap()), limits).is_ok();
        (0..10_000).map(asks).filter(|admitted| *admitted).count()
    }

    #[test]
    fn one_address_gets_half_and_one_network_two_thirds() {
        for (address, alone) in [
            ((|_| "192.0.2.1".to_owned()) as fn(u32) -> String, 150),
            (|_| "2001:db8::1".to_owned(), 150),
            (|number| format!("2001:db8::{number:x}"), 150),
            (|number| format!("192.0.2.{}", number % 256), 200),
            (|number| format!("::ffff:192.0.2.{}", number % 256), 200),
            (|number| format!("2001:db8:0:{:x}::1", number % 65_536), 200),
        ] {
            let (mut questions, limits) = (Questions::default(), most(300));
            assert_eq!(fill(&mut questions, &limits, address), alone, "{}", address(1));
            assert_eq!(questions.open(), alone);
            assert!(questions.try_add(Some("198.51.100.7".parse().unwrap()), &limits).is_ok(), "{}", address(1));
        }
        let mut questions = Questions::default();
        let somewhere = |number: u32| format!("10.{}.{}.1", number >> 8 & 255, number & 255);
        assert_eq!(fill(&mut questions, &most(300), somewhere), 300, "all together get all");
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let client = |text: &str| one_client(text.parse().unwrap());
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:1:2:3"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    }

    #[test]
    fn clients_without_address_have_only_the_total_limit() {
        let mut questions = Questions::default();
        for _ in 0..3 {
            assert_eq!(questions.try_add(None, &most(3)), Ok(()));
        }
        assert_eq!(questions.try_add(None, &most(3)), Err(Refusal::Limit(Counted::Questions)));
        let unlimited = Limits { questions: None, ..Limits::default() };
        assert_eq!(fill(&mut questions, &unlimited, |_| "192.0.2.1".to_owned()), 10_000);
        assert_eq!(questions.try_add(None, &most(0)), Err(Refusal::Limit(Counted::Questions)));
    }

    proptest! {
        #[test]
        fn there_is_room_for_a_new_address_and_no_count_is_left_behind(
            limit in 1u32..40,
            steps in prop::collection::vec((any::<bool>(), 0u8..6, 0u8..4, any::<prop::sample::Index>()), 0..200),
        ) {
            let mut questions = Questions::default();
            let mut open: Vec<IpAddr> = Vec::new();
            for (ask, network, host, index) in steps {
                let address = IpAddr::from([10, 0, network, host]);
                if ask {
                    let mine = open.iter().filter(|other| **other == address).count();
                    let near = open.iter().filter(|other| matches!(other, IpAddr::V4(v4) if v4.octets()[2] == network)).count();
                    let free = limit as usize - open.len();
                    let admitted = questions.try_add(Some(address), &most(limit)).is_ok();
                    prop_assert_eq!(admitted, mine < free && near < 2 * free);
                    prop_assert!(admitted || near > 0 || free == 0, "an address without an open question is admitted");
                    if admitted {
                        open.push(address);
                    }
                } else if !open.is_empty() {
                    questions.remove(Some(open.swap_remove(index.index(open.len()))));
                }
                prop_assert_eq!(questions.open(), open.len());
            }
            open.into_iter().for_each(|address| questions.remove(Some(address)));
            prop_assert!(questions.addresses.is_empty() && questions.networks.is_empty() && questions.open() == 0);
        }
    }
}
