use std::fmt::{self, Write as _};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::url::{MAX_NAME_LEN, StreamKey};

/// How long a signature is valid, in seconds.
const VALID: u64 = 30;
/// How far the clocks of two servers may be apart, in seconds.
const SKEW: u64 = 30;
/// How many servers a pull may go through: the one that has the stream sends it to the one that asks.
const HOPS: u8 = 1;
/// The digits of a signature.
const DIGITS: usize = 64;
/// The longest text of a signed pull.
pub(crate) const LONGEST: usize = MAX_NAME_LEN + 160;

/// Signs and checks pulls between the servers of a cluster, with a secret that only they have.
///
/// The text is `1-FENCING-HOP-TIME-SIGNATURE-NAME`: a Unix time in seconds, and an HMAC-SHA256 in lower-case hex digits
/// over all the rest. The key is derived from the secret for this purpose alone.
#[derive(Clone)]
pub struct PullSigner(Hmac<Sha256>);

/// What a server of the cluster may pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPull {
    /// The stream.
    pub key: StreamKey,
    /// The lease of the name, as the directory told the server that pulls.
    pub fencing: u64,
    /// Which server of those that the stream goes through asks: 1 for the first.
    pub hop: u8,
}

impl PullSigner {
    /// For the servers that have this secret.
    ///
    /// # Panics
    /// Never.
    pub fn new(secret: &str) -> Self {
        let hmac = |key: &[u8]| Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
        // The secret may get other uses.
        let mut key = hmac(secret.as_bytes());
        key.update(b"pulls between servers of anabranch");
        PullSigner(hmac(&key.finalize().into_bytes()))
    }

    /// The text that a server sends with its `connect`, at a Unix time in seconds.
    pub fn sign(&self, pull: &SignedPull, unix: u64) -> String {
        let mut text = format!("1-{}-{}-{unix}-", pull.fencing, pull.hop);
        for byte in self.over(pull, unix).finalize().into_bytes() {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        text + "-" + pull.key.as_str()
    }

    /// What the text permits at a Unix time; `None` if it is not signed with the secret, too old, or through too many
    /// servers.
    pub fn verify(&self, text: &str, unix_now: u64) -> Option<SignedPull> {
        let Parts { pull, unix, signature } = Parts::of(text)?;
        let is_valid = unix <= unix_now.saturating_add(SKEW) && unix_now <= unix.saturating_add(VALID + SKEW);
        // The comparison takes constant time.
        let is_signed = self.over(&pull, unix).verify_slice(&signature).is_ok();
        (is_signed && is_valid && (1..=HOPS).contains(&pull.hop)).then_some(pull)
    }

    /// Names have no control characters, so different pulls give different texts.
    fn over(&self, pull: &SignedPull, unix: u64) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(format!("pull 1\n{}\n{}\n{}\n{unix}", pull.key.as_str(), pull.fencing, pull.hop).as_bytes());
        mac
    }
}

impl SignedPull {
    /// What the text says, with any signature: for a replay, which has the decisions and no secret.
    pub(crate) fn unverified(text: &str) -> Option<Self> {
        Parts::of(text).map(|parts| parts.pull)
    }
}

/// Without the key.
impl fmt::Debug for PullSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PullSigner(..)")
    }
}

struct Parts {
    pull: SignedPull,
    unix: u64,
    signature: [u8; DIGITS / 2],
}

impl Parts {
    fn of(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let mut parts = text.splitn(6, '-');
        let mut next = || parts.next();
        let (version, fencing, hop, unix) = (next()?, number(next()?)?, number(next()?)?, number(next()?)?);
        let (signature, name) = (from_hex(next()?)?, next()?);
        let pull = SignedPull { key: super::key_of(name)?, fencing, hop: u8::try_from(hop).ok()? };
        (version == "1").then_some(Parts { pull, unix, signature })
    }
}

fn number(text: &str) -> Option<u64> {
    // The parser of numbers would accept a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn from_hex(text: &str) -> Option<[u8; DIGITS / 2]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let pairs: &[[u8; 2]; DIGITS / 2] = pairs.try_into().ok().filter(|_| rest.is_empty())?;
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; DIGITS / 2];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::DEFAULT_VHOST;

    const NOW: u64 = 1_767_225_599;

    fn pull() -> SignedPull {
        let key = StreamKey::new(DEFAULT_VHOST, "live/a-room", "a-cam").unwrap();
        SignedPull { key, fencing: 1_767_225_599_123_456, hop: 1 }
    }

    #[test]
    fn a_signed_pull_is_understood_by_servers_with_the_secret_while_it_is_new() {
        let signer = PullSigner::new("a secret of the cluster");
        let text = signer.sign(&pull(), NOW);
        for now in [NOW - SKEW, NOW, NOW + VALID + SKEW] {
            assert_eq!(signer.verify(&text, now), Some(pull()), "{now}");
        }
        for now in [0, NOW - SKEW - 1, NOW + VALID + SKEW + 1, u64::MAX] {
            assert_eq!(signer.verify(&text, now), None, "{now}");
        }
        assert_eq!(PullSigner::new("another secret").verify(&text, NOW), None);
        assert_eq!(SignedPull::unverified(&text), Some(pull()));
    }

    #[test]
    fn every_changed_character_makes_it_worthless() {
        let signer = PullSigner::new("a secret of the cluster");
        let text = signer.sign(&pull(), NOW);
        for at in 0..text.len() {
            let mut forged = text.clone().into_bytes();
            forged[at] = if forged[at] == b'1' { b'2' } else { b'1' };
            assert_eq!(signer.verify(&String::from_utf8(forged).unwrap(), NOW), None, "{at}");
        }
        for wrong in ["", "-", "-----", "1-2-3-4-5-6", &text[1..], &text[..text.len() - 1], &format!("+{text}")] {
            assert_eq!(signer.verify(wrong, NOW), None, "{wrong}");
        }
        let far = signer.sign(&SignedPull { hop: HOPS + 1, ..pull() }, NOW);
        assert_eq!(signer.verify(&far, NOW), None, "it is not passed on");
        assert_eq!(signer.verify(&"1-".repeat(LONGEST), NOW), None);
    }

    #[test]
    fn the_secret_is_never_shown() {
        assert_eq!(format!("{:?}", PullSigner::new("a secret of the cluster")), "PullSigner(..)");
    }
}
