use std::borrow::Cow;
use std::fmt::{self, Write};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::Action;
use crate::url::StreamKey;

/// The parameter of a URL that has a pass.
pub const PASS: &str = "anabranch_pass";
/// The digits of the signature for `connect`, and of that for the stream.
const CONNECT: usize = 32;
const STREAM: usize = 64;

/// Makes and checks passes. A pass is a parameter in a URL that the server makes for a program that it starts itself. It
/// permits one action on one stream, from a loopback address, until it expires. It replaces the rules, hooks and limits
/// that are for clients; the name must be free as for all publishers.
///
/// A pass is `EXPIRES-CONNECT-STREAM`: a Unix time in seconds, and two HMAC-SHA256 in lower-case hex digits, the first
/// one shortened to 128 bits. At `connect`, the stream is not known, so the first signature is for the virtual host; the
/// second one is for the action and the stream.
#[derive(Clone)]
pub struct Passes(Hmac<Sha256>);

impl Passes {
    /// The passes of a server, from its secret seed.
    ///
    /// # Panics
    /// Never.
    pub fn new(seed: &[u8; 32]) -> Self {
        let mut key = Hmac::<Sha256>::new_from_slice(seed).expect("HMAC takes a key of any length");
        // The seed has other uses, too.
        key.update(b"passes of anabranch");
        let key = key.finalize().into_bytes();
        Passes(Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes a key of any length"))
    }

    /// A pass that is valid until `expires`, a Unix time in seconds.
    pub fn issue(&self, action: Action, key: &StreamKey, expires: u64) -> String {
        let mut pass = format!("{expires}-");
        push_hex(&mut pass, &self.of_host(key.vhost(), expires).finalize().into_bytes(), CONNECT);
        pass.push('-');
        push_hex(&mut pass, &self.of_stream(action, key, expires).finalize().into_bytes(), STREAM);
        pass
    }

    /// Whether a client with this pass may connect to the virtual host at `unix_now`, the Unix time in seconds.
    pub fn permits_connect(&self, pass: &str, vhost: &str, unix_now: u64) -> bool {
        Parts::of(pass).is_some_and(|parts| {
            unix_now < parts.expires && self.of_host(vhost, parts.expires).verify_truncated_left(&parts.connect).is_ok()
        })
    }

    /// Whether a client with this pass may do this at `unix_now`, the Unix time in seconds.
    pub fn permits(&self, pass: &str, action: Action, key: &StreamKey, unix_now: u64) -> bool {
        // The comparisons take constant time.
        Parts::of(pass).is_some_and(|parts| {
            unix_now < parts.expires && self.of_stream(action, key, parts.expires).verify_slice(&parts.stream).is_ok()
        })
    }

    fn of_host(&self, vhost: &str, expires: u64) -> Hmac<Sha256> {
        self.over(&["connect\n", vhost, "\n", &expires.to_string()])
    }

    /// Names have no control characters, so different requests give different texts.
    fn of_stream(&self, action: Action, key: &StreamKey, expires: u64) -> Hmac<Sha256> {
        self.over(&[action.as_str(), "\n", key.as_str(), "\n", &expires.to_string()])
    }

    fn over(&self, parts: &[&str]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        parts.iter().for_each(|part| mac.update(part.as_bytes()));
        mac
    }
}

/// Without the key.
impl fmt::Debug for Passes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passes(..)")
    }
}

/// Whether a text has the form of a pass. A replay has no key to check passes with; it has the decisions.
pub(crate) fn is_well_formed(pass: &str) -> bool {
    Parts::of(pass).is_some()
}

/// A text without the passes that it has: `***` is in their place. For what a program writes that got URLs with passes.
pub fn without_passes(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(PASS) {
        let (before, after) = rest.split_at(at + PASS.len());
        shown.push_str(before);
        let value = after.find(|c: char| !matches!(c, '=' | '-' | '%' | '0'..='9' | 'a'..='f' | 'A'..='F'));
        let (pass, after) = after.split_at(value.unwrap_or(after.len()));
        shown.push_str(if pass.is_empty() { "" } else { "=***" });
        rest = after;
    }
    shown + rest
}

/// A query, with or without the question mark, without its pass: that is for this server only.
pub(crate) fn without_pass(query: &str) -> Cow<'_, str> {
    if !query.contains(PASS) {
        return query.into();
    }
    let is_other = |pair: &&str| pair.split_once('=').map_or(*pair, |(name, _)| name) != PASS;
    let pairs: Vec<_> = query.trim_start_matches('?').split('&').filter(is_other).collect();
    let mark = if query.starts_with('?') && !pairs.is_empty() { "?" } else { "" };
    format!("{mark}{}", pairs.join("&")).into()
}

struct Parts {
    expires: u64,
    connect: [u8; CONNECT / 2],
    stream: [u8; STREAM / 2],
}

impl Parts {
    fn of(pass: &str) -> Option<Self> {
        let (expires, rest) = pass.split_once('-')?;
        let (connect, stream) = rest.split_once('-')?;
        // The parser of numbers would accept a sign.
        let digits = expires.bytes().all(|byte| byte.is_ascii_digit());
        let expires = digits.then(|| expires.parse().ok()).flatten()?;
        Some(Parts { expires, connect: from_hex(connect)?, stream: from_hex(stream)? })
    }
}

fn push_hex(text: &mut String, bytes: &[u8], digits: usize) {
    for byte in bytes.iter().take(digits / 2) {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let pairs: &[[u8; 2]; N] = pairs.try_into().ok().filter(|_| rest.is_empty())?;
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
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

    fn key(vhost: &str, app: &str, stream: &str) -> StreamKey {
        StreamKey::new(vhost, app, stream).unwrap()
    }

    #[test]
    fn a_pass_permits_one_action_on_one_stream_until_it_expires() {
        let passes = Passes::new(&[7; 32]);
        let cam = key(DEFAULT_VHOST, "live", "cam");
        let pass = passes.issue(Action::Play, &cam, NOW + 1);
        assert!(passes.permits(&pass, Action::Play, &cam, NOW));
        assert!(passes.permits_connect(&pass, DEFAULT_VHOST, NOW));
        for (action, other, now) in [
            (Action::Publish, cam.clone(), NOW),
            (Action::Play, key(DEFAULT_VHOST, "live", "cam2"), NOW),
            (Action::Play, key(DEFAULT_VHOST, "other", "cam"), NOW),
            (Action::Play, key("v.example", "live", "cam"), NOW),
            (Action::Play, cam.clone(), NOW + 1),
            (Action::Play, cam.clone(), u64::MAX),
        ] {
            assert!(!passes.permits(&pass, action, &other, now), "{action} {other} {now}");
        }
        assert!(!passes.permits_connect(&pass, "v.example", NOW));
        assert!(!passes.permits_connect(&pass, DEFAULT_VHOST, NOW + 1));
        let others = Passes::new(&[8; 32]);
        assert!(!others.permits(&pass, Action::Play, &cam, NOW) && !others.permits_connect(&pass, DEFAULT_VHOST, NOW));
    }

    #[test]
    fn every_changed_character_makes_it_worthless() {
        let passes = Passes::new(&[7; 32]);
        let cam = key(DEFAULT_VHOST, "live", "cam");
        let pass = passes.issue(Action::Publish, &cam, NOW + 100);
        assert!(is_well_formed(&pass));
        for at in 0..pass.len() {
            let mut forged = pass.clone().into_bytes();
            forged[at] = if forged[at] == b'1' { b'2' } else { b'1' };
            let forged = String::from_utf8(forged).unwrap();
            let both = passes.permits_connect(&forged, DEFAULT_VHOST, NOW)
                && passes.permits(&forged, Action::Publish, &cam, NOW);
            assert!(!both, "{at}");
        }
        for wrong in ["", "-", "--", "1-2-3", &pass[1..], &pass[..pass.len() - 1], &format!("+{pass}"), "1767225699"] {
            assert!(!passes.permits(wrong, Action::Publish, &cam, NOW), "{wrong}");
        }
    }

    #[test]
    fn passes_are_never_shown() {
        let passes = Passes::new(&[7; 32]);
        assert_eq!(format!("{passes:?}"), "Passes(..)");
        let pass = passes.issue(Action::Play, &key(DEFAULT_VHOST, "live", "cam"), NOW);
        let line = format!("Input #0, flv, from 'rtmp://127.0.0.1/live?vhost=v&{PASS}={pass}/cam':");
        let shown = "Input #0, flv, from 'rtmp://127.0.0.1/live?vhost=v&anabranch_pass=***/cam':";
        assert_eq!(without_passes(&line), shown);
        assert_eq!(without_passes(&format!("{line} {line}")), format!("{shown} {shown}"));
        assert_eq!(without_passes("frame=1 é"), "frame=1 é");
        assert_eq!(without_passes(PASS), PASS);
        assert_eq!(without_passes(&format!("{PASS}={}", &pass[..20])), format!("{PASS}=***"), "a line that was cut");
    }

    #[test]
    fn a_query_loses_its_pass_and_nothing_else() {
        for (query, without) in [
            ("?a=1&b=2", "?a=1&b=2"),
            ("?anabranch_pass=17-0a-0b", ""),
            ("?a=1&anabranch_pass=17-0a-0b&b=2", "?a=1&b=2"),
            ("anabranch_pass=17-0a-0b&my_anabranch_pass=3", "my_anabranch_pass=3"),
            ("", ""),
        ] {
            assert_eq!(without_pass(query), without, "{query}");
        }
    }
}
