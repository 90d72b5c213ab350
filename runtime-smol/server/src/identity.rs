use std::hash::Hasher;
use std::{fmt, fs};

use anabranch_core::url::StreamKey;
use fnv::FnvHasher;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// The ids of this server, its clients and its streams in hooks, the API and metrics.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    server_id: String,
    service_id: String,
    key: Key,
}

/// The secret key for the ids of streams. Without it clients cannot find a stream name with the same id as another.
#[derive(Clone)]
struct Key([u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Identity {
    /// The identity of this process. Without `server_id` the id is derived from the machine's, so that it is the same
    /// after a restart.
    pub(crate) fn new(server_id: Option<&str>) -> Self {
        let seed = anabranch_host::random_seed();
        let key = Key(anabranch_host::random_seed());
        let service_id = seed.iter().take(8).map(|byte| letter(u64::from(*byte))).collect();
        Identity { server_id: server_id.map_or_else(machine, str::to_owned), service_id, key }
    }

    /// The server's id, which is the same after a restart.
    pub(crate) fn server_id(&self) -> &str {
        &self.server_id
    }

    /// The id of this run of the program.
    pub(crate) fn service_id(&self) -> &str {
        &self.service_id
    }

    /// The id of a client, from the number of its connection in the log. It is never used again, even after a restart,
    /// because back ends use it as a key.
    pub(crate) fn client_id(&self, connection: u64) -> String {
        format!("{}-{connection}", self.service_id)
    }

    /// The connection of a client id; the connection's number alone is also accepted.
    pub(crate) fn connection(&self, client_id: &str) -> Option<u64> {
        match client_id.rsplit_once('-') {
            Some((service, number)) if service == self.service_id => number.parse().ok(),
            Some(_) => None,
            None => client_id.parse().ok(),
        }
    }

    /// The id of a stream, which stays the same as long as the process runs. Clients choose names, so two names must
    /// never have the same id: an operator that removes a stream by its id must not remove another.
    pub(crate) fn stream_id(&self, key: &StreamKey) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key.0).expect("HMAC takes a key of any length");
        mac.update(key.as_str().as_bytes());
        let hash = mac.finalize().into_bytes();
        let (hash, _) = hash.split_first_chunk().expect("32 bytes");
        let mut hash = u128::from_be_bytes(*hash);
        // 25 of them hold 128 bits.
        let letters = (0..25).map(|_| {
            let digit = (hash % 36) as u64;
            hash /= 36;
            letter(digit)
        });
        format!("vid-{}", letters.collect::<String>())
    }
}

fn machine() -> String {
    let name = ["/etc/machine-id", "/etc/hostname"].iter().find_map(|file| fs::read(file).ok());
    named(name.unwrap_or_default().trim_ascii())
}

/// SRS's form of an identifier: `vid-` and seven letters and digits.
fn named(bytes: &[u8]) -> String {
    // FNV-1a, because the id must not change from one version to the next. It need not be secret: it names the
    // operator's own machine.
    let mut hasher = FnvHasher::default();
    hasher.write(bytes);
    let mut hash = hasher.finish();
    let letters: String = (0..7)
        .map(|_| {
            let letter = letter(hash);
            hash /= 36;
            letter
        })
        .collect();
    format!("vid-{letters}")
}

fn letter(number: u64) -> char {
    // Below 36, so that the cast is exact.
    ALPHABET.get((number % 36) as usize).map_or('0', |byte| char::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_machine_is_the_same_in_every_version() {
        assert_eq!([&b""[..], b"0123456789abcdef0123456789abcdef"].map(named), ["vid-54xu4jz", "vid-9ja4hou"]);
    }

    #[test]
    fn a_server_keeps_its_name_and_clients_never_share_one() {
        let (one, other) = (Identity::new(None), Identity::new(None));
        assert_eq!(one.server_id(), other.server_id());
        assert_ne!(one.client_id(1), other.client_id(1));
        assert_eq!((one.connection(&one.client_id(7)), one.connection("7")), (Some(7), Some(7)));
        assert_eq!((one.connection(&other.client_id(7)), one.connection("x")), (None, None));
        assert_eq!(Identity::new(Some("edge-7")).server_id(), "edge-7");
        assert_eq!((one.server_id().len(), one.service_id().len()), (11, 8));
        let key = |stream: &str| StreamKey::new("v", "live", stream).unwrap();
        assert_eq!(one.stream_id(&key("a")), one.stream_id(&key("a")));
        assert_ne!(one.stream_id(&key("a")), one.stream_id(&key("b")));
        assert_ne!(one.stream_id(&key("a")), other.stream_id(&key("a")), "or one could look for a collision at home");
        assert_eq!(one.stream_id(&key("a")).len(), 29, "128 bits: none is found by trying");
        let ids: std::collections::HashSet<_> = (0..20_000).map(|n| one.stream_id(&key(&n.to_string()))).collect();
        assert_eq!(ids.len(), 20_000);
        assert!(!format!("{one:?}").contains(&format!("{:?}", one.key.0)));
    }
}
