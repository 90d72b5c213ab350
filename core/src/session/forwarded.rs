use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::http::Request;
use crate::policy::Network;

/// Which address has the client of a request that may have come through proxies.
#[derive(Debug)]
pub(super) struct Forwarded {
    /// The client of the connection, if a PROXY header named it; `None` if it is the peer.
    nearest: Option<SocketAddr>,
    /// The networks of proxies that are trusted, if the client of the connection is one of these.
    proxies: Option<Arc<[Network]>>,
}

impl Forwarded {
    /// For a connection whose peer is a proxy of these networks; `None` if it is none. A proxy that sends a PROXY header
    /// passes requests as they are, so what they say of the client is the word of the one that the header names.
    pub(super) fn new(nearest: Option<SocketAddr>, proxies: Option<Arc<[Network]>>) -> Self {
        let is_proxy = |proxies: &Arc<[Network]>| nearest.is_none_or(|nearest| is_trusted(proxies, nearest.ip()));
        Forwarded { nearest, proxies: proxies.filter(is_proxy) }
    }

    /// True if the fields that proxies add are believed.
    pub(super) fn is_believed(&self) -> bool {
        self.proxies.is_some()
    }

    /// The client of this request; `None` if it is the peer of the connection. Each proxy adds the address that it sees at
    /// the end of the list. So this is the last address that is no trusted proxy's; the ones before it can be invented.
    pub(super) fn client_of(&self, request: &Request) -> Option<SocketAddr> {
        let mut client = self.nearest;
        let Some(proxies) = &self.proxies else {
            return client;
        };
        let fields = request.fields().filter(|(name, _)| name.eq_ignore_ascii_case("X-Forwarded-For"));
        let lists: Vec<&str> = fields.map(|(_, list)| list).collect();
        for entry in lists.iter().rev().flat_map(|list| list.rsplit(',')) {
            let Some(address) = address_of(entry.trim()) else {
                break;
            };
            client = Some(address);
            if !is_trusted(proxies, address.ip()) {
                break;
            }
        }
        client
    }
}

fn is_trusted(proxies: &[Network], address: IpAddr) -> bool {
    proxies.iter().any(|network| network.contains(address))
}

fn address_of(entry: &str) -> Option<SocketAddr> {
    let address = entry.parse::<SocketAddr>().ok();
    let address = address.or_else(|| entry.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|ip| (ip, 0).into()))?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}
