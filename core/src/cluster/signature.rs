use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::url::{MAX_NAME_LEN, StreamKey};

/// How far the clocks of two servers of a cluster may be apart: a signature is valid for so long before and after its
/// time.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(30);
/// The same in seconds.
const VALID: u64 = CLOCK_TOLERANCE.as_secs();
/// More hops than any configuration permits.
const HOPS: u8 = 16;
/// The most servers that a puller names which it does not want to be sent to.
pub(crate) const MOST_AVOIDED: usize = 4;
/// The digits of a signature.
const DIGITS: usize = 64;
/// The longest id or address of a server.
const LONGEST_ID: usize = 512;
/// The longest text of a signed pull.
const LONGEST: usize = MAX_NAME_LEN + (3 + MOST_AVOIDED) * (LONGEST_ID + 1) + 160;
/// The parameter of a URL that has a [`Referral`].
const PARAMETER: &str = "anabranchReferral";

/// Signs and checks pulls between the servers of a cluster, with a secret that only they have.
///
/// The text is `2 SIGNATURE FENCING HOP TIME ASKED PULLER ADDRESS COUNT AVOIDED... NAME`: a Unix time in seconds, and an
/// HMAC-SHA256 in lower-case hex digits over all that follows it. The key is derived from the secret for this purpose alone.
#[derive(Clone)]
pub struct PullSigner(Hmac<Sha256>);

/// A server of a cluster, as it calls itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Member {
    /// Its id, without blanks.
    pub node: Arc<str>,
    /// Where the other servers reach it: `rtmp://HOST:PORT`.
    pub address: Arc<str>,
}

/// What a server of the cluster may pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPull {
    /// The stream.
    pub key: StreamKey,
    /// The lease of the name, as the directory told the server that pulls.
    pub fencing: u64,
    /// Over how many connections between servers the stream comes to the one that pulls: 1 if it asks the owner.
    pub hop: u8,
    /// The id of the server that is asked.
    pub asked: Arc<str>,
    /// The server that pulls.
    pub by: Member,
    /// The ids of servers that it does not want to be sent to, because they did not give it the stream.
    pub avoid: Vec<Arc<str>>,
}

/// Where a server of the cluster sends another one that pulls a stream: to one that gets the stream from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referral {
    /// The lease of the name.
    pub fencing: u64,
    /// Over how many connections between servers the stream comes to the one that is sent there.
    pub hop: u8,
    /// The server that has the stream, too.
    pub to: Member,
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
        let SignedPull { key, fencing, hop, asked, by, avoid } = pull;
        let mut words = format!("{fencing} {hop} {unix} {asked} {} {} {}", by.node, by.address, avoid.len());
        for node in avoid {
            words.push(' ');
            words.push_str(node);
        }
        words.push(' ');
        words.push_str(key.as_str());
        format!("2 {} {words}", self.signature("pull", "", &words))
    }

    /// What the text permits at a Unix time on the server of this id; `None` if it is not signed with the secret, too old
    /// or of the future, or for another server.
    pub fn verify(&self, text: &str, unix_now: u64, node: &str) -> Option<SignedPull> {
        let (signature, words) = signed(text)?;
        if !self.is_signed("pull", "", words, signature) {
            return None;
        }
        let (pull, unix) = read_pull(words)?;
        (unix.abs_diff(unix_now) <= VALID && *pull.asked == *node).then_some(pull)
    }

    /// The URL that sends the server of the id `puller` to another one for the stream, at a Unix time in seconds.
    pub fn refer(&self, referral: &Referral, key: &StreamKey, puller: &str, unix: u64) -> String {
        let Referral { fencing, hop, to } = referral;
        let words = format!("{fencing} {hop} {unix} {} {}", to.node, to.address);
        let text = format!("2 {} {words}", self.signature("referral", &about(key, puller), &words));
        // Hex digits mean nothing in a URL, whatever the ids are.
        let mut url = format!("{}/{}?{PARAMETER}=", to.address, key.path());
        for byte in text.bytes() {
            // Writing to a String does not fail.
            let _ = write!(url, "{byte:02x}");
        }
        url
    }

    /// What the URL says to the server of the id `puller` that wants the stream; `None` if no server of the cluster says so
    /// at this time.
    pub fn verify_referral(&self, url: &str, key: &StreamKey, puller: &str, unix_now: u64) -> Option<Referral> {
        let (_, digits) = url.split_once(PARAMETER)?;
        let digits = digits.strip_prefix('=')?.split('&').next()?;
        let text = String::from_utf8(from_hex(digits)?).ok()?;
        let (signature, words) = signed(&text)?;
        if !self.is_signed("referral", &about(key, puller), words, signature) {
            return None;
        }
        let mut parts = words.splitn(5, ' ');
        let mut next = || parts.next();
        let (fencing, hop, unix) = (number(next()?)?, number(next()?)?, number(next()?)?);
        let to = Member { node: next()?.into(), address: next()?.into() };
        let hop = u8::try_from(hop).ok().filter(|hop| (2..=HOPS).contains(hop))?;
        (unix.abs_diff(unix_now) <= VALID).then_some(Referral { fencing, hop, to })
    }

    fn over(&self, purpose: &str, about: &str, words: &str) -> Hmac<Sha256> {
        // Neither names nor ids have line ends, so different texts are different here.
        let mut mac = self.0.clone();
        for part in [purpose, "\n", about, "\n", words] {
            mac.update(part.as_bytes());
        }
        mac
    }

    fn signature(&self, purpose: &str, about: &str, words: &str) -> String {
        let mut digits = String::with_capacity(DIGITS);
        for byte in self.over(purpose, about, words).finalize().into_bytes() {
            let _ = write!(digits, "{byte:02x}");
        }
        digits
    }

    fn is_signed(&self, purpose: &str, about: &str, words: &str, signature: &str) -> bool {
        // The comparison takes constant time.
        let is_it = |bytes: Vec<u8>| self.over(purpose, about, words).verify_slice(&bytes).is_ok();
        signature.len() == DIGITS && from_hex(signature).is_some_and(is_it)
    }
}

impl SignedPull {
    /// What the text says, with any signature: for a replay, which has the decisions and no secret.
    pub(crate) fn unverified(text: &str) -> Option<Self> {
        Some(read_pull(signed(text)?.1)?.0)
    }
}

/// Without the key.
impl fmt::Debug for PullSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PullSigner(..)")
    }
}

/// What a referral is about: it says so to one server and for one stream.
fn about(key: &StreamKey, puller: &str) -> String {
    format!("{puller}\n{}", key.as_str())
}

/// The signature, and what is signed.
fn signed(text: &str) -> Option<(&str, &str)> {
    if text.len() > LONGEST {
        return None;
    }
    text.strip_prefix("2 ")?.split_once(' ')
}

fn read_pull(words: &str) -> Option<(SignedPull, u64)> {
    let mut left = words;
    let mut next = || {
        let (word, behind) = left.split_once(' ')?;
        left = behind;
        Some(word)
    };
    let (fencing, hop, unix) = (number(next()?)?, number(next()?)?, number(next()?)?);
    let (asked, by) = (next()?.into(), Member { node: next()?.into(), address: next()?.into() });
    let count = number(next()?)?;
    if count > MOST_AVOIDED as u64 {
        return None;
    }
    let avoid = (0..count).map(|_| next().map(Arc::from)).collect::<Option<_>>()?;
    let hop = u8::try_from(hop).ok().filter(|hop| (1..=HOPS).contains(hop))?;
    Some((SignedPull { key: super::key_of(left)?, fencing, hop, asked, by, avoid }, unix))
}

fn number(text: &str) -> Option<u64> {
    // The parser of numbers would accept a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Lower-case digits only, so that one text has one form.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    bytes.filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::DEFAULT_VHOST;

    const NOW: u64 = 1_767_225_599;

    fn pull() -> SignedPull {
        let key = StreamKey::new(DEFAULT_VHOST, "live/a room", "a-cam").unwrap();
        let by = Member { node: "edge-7".into(), address: "rtmp://10.0.0.7:1935".into() };
        let avoid = vec!["a".into(), "b".into()];
        SignedPull { key, fencing: 1_767_225_599_123_456, hop: 1, asked: "10.0.0.1:1935".into(), by, avoid }
    }

    fn referral() -> Referral {
        let to = Member { node: "edge&8#".into(), address: "rtmps://h:1936".into() };
        Referral { fencing: 7, hop: 2, to }
    }

    #[test]
    fn a_signed_pull_is_understood_by_the_server_that_is_asked_while_it_is_new() {
        let signer = PullSigner::new("a secret of the cluster");
        let text = signer.sign(&pull(), NOW);
        for now in [NOW - VALID, NOW, NOW + VALID] {
            assert_eq!(signer.verify(&text, now, "10.0.0.1:1935"), Some(pull()), "{now}");
        }
        for now in [0, NOW - VALID - 1, NOW + VALID + 1, u64::MAX] {
            assert_eq!(signer.verify(&text, now, "10.0.0.1:1935"), None, "{now}");
        }
        assert_eq!(signer.verify(&text, NOW, "10.0.0.2:1935"), None, "it is for one server only");
        assert_eq!(PullSigner::new("another secret").verify(&text, NOW, "10.0.0.1:1935"), None);
        assert_eq!(SignedPull::unverified(&text), Some(pull()));
    }

    #[test]
    fn every_changed_character_makes_it_worthless() {
        let signer = PullSigner::new("a secret of the cluster");
        let verify = |text: &str| signer.verify(text, NOW, "10.0.0.1:1935");
        let text = signer.sign(&pull(), NOW);
        for at in 0..text.len() {
            let mut forged = text.clone().into_bytes();
            forged[at] = if forged[at] == b'1' { b'2' } else { b'1' };
            assert_eq!(verify(&String::from_utf8(forged).unwrap()), None, "{at}");
        }
        for wrong in ["", " ", "2 ", "2  ", "2 3 4 5", &text[1..], &text[..text.len() - 1], &format!("+{text}")] {
            assert_eq!(verify(wrong), None, "{wrong}");
        }
        for hop in [0, HOPS + 1] {
            assert_eq!(verify(&signer.sign(&SignedPull { hop, ..pull() }, NOW)), None, "{hop} hops");
        }
        let avoid = vec!["x".into(); MOST_AVOIDED + 1];
        assert_eq!(verify(&signer.sign(&SignedPull { avoid, ..pull() }, NOW)), None, "more than there may be");
        assert_eq!(verify(&"2 ".repeat(LONGEST)), None);
    }

    #[test]
    fn a_referral_is_followed_by_the_server_that_gets_it_for_the_stream_that_it_asked_for() {
        let (signer, key) = (PullSigner::new("a secret of the cluster"), pull().key);
        let url = signer.refer(&referral(), &key, "edge-7", NOW);
        assert!(url.starts_with("rtmps://h:1936/live/a room/a-cam?anabranchReferral=32"), "{url}");
        assert_eq!(signer.verify_referral(&url, &key, "edge-7", NOW + VALID), Some(referral()));
        let other = StreamKey::new(DEFAULT_VHOST, "live", "cam").unwrap();
        for (key, puller, now, what) in [
            (&key, "edge-7", NOW + VALID + 1, "too old"),
            (&key, "edge-7", NOW - VALID - 1, "of the future"),
            (&key, "edge-9", NOW, "another server"),
            (&other, "edge-7", NOW, "another stream"),
        ] {
            assert_eq!(signer.verify_referral(&url, key, puller, now), None, "{what}");
        }
        assert_eq!(PullSigner::new("another").verify_referral(&url, &key, "edge-7", NOW), None);
        let owner = signer.refer(&Referral { hop: 1, ..referral() }, &key, "edge-7", NOW);
        assert_eq!(signer.verify_referral(&owner, &key, "edge-7", NOW), None, "nothing is referred to the owner");
        for at in url.find('=').unwrap() + 1..url.len() {
            let mut forged = url.clone().into_bytes();
            forged[at] = if forged[at] == b'3' { b'4' } else { b'3' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(signer.verify_referral(&forged, &key, "edge-7", NOW), None, "{at}");
        }
        let pulled = signer.sign(&pull(), NOW);
        for wrong in ["", "rtmp://h/live/cam", "rtmp://h/live/cam?anabranchReferral", &pulled] {
            assert_eq!(signer.verify_referral(wrong, &key, "edge-7", NOW), None, "{wrong}");
        }
    }

    #[test]
    fn the_secret_is_never_shown() {
        assert_eq!(format!("{:?}", PullSigner::new("a secret of the cluster")), "PullSigner(..)");
    }
}
