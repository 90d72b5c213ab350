use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::Action;
use crate::url::StreamKey;

/// The parameter of a URL that has a pass.
pub const PASS: &str = "anabranch_pass";
/// The digits of the signature for `connect`, and of that for the stream.
const CONNECT: usize = 32;
const STREAM: usize = 64;
/// How many connections may use a pass at the same time: more than any program needs, and too few to take the server's
/// sockets.
const CONNECTIONS: usize = 8;

/// Makes and checks passes. A pass is a parameter in a URL that the server makes for a program that it starts itself. It
/// permits one action on one stream, from a loopback address, until the [`Issued`] is dropped. It replaces the rules, hooks
/// and limits that are for clients; the name must be free as for all publishers.
///
/// A pass is `NUMBER-CONNECT-STREAM`: its number, and two HMAC-SHA256 in lower-case hex digits, the first one shortened to
/// 128 bits. At `connect`, the stream is not known, so the first signature is for the virtual host; the second one is for
/// the action and the stream.
#[derive(Clone)]
pub struct Passes {
    key: Hmac<Sha256>,
    in_force: Arc<Mutex<InForce>>,
}

#[derive(Debug, Default)]
struct InForce {
    issued: u64,
    passes: HashMap<u64, Uses>,
}

/// Who uses a pass.
#[derive(Debug, Default)]
struct Uses {
    connections: Vec<u64>,
}

/// A pass that is in force until this is dropped. What was granted for it goes on.
pub struct Issued {
    text: String,
    number: u64,
    in_force: Arc<Mutex<InForce>>,
}

impl Issued {
    /// The value of [`PASS`].
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The connections that use it now.
    pub fn connections(&self) -> Vec<u64> {
        lock(&self.in_force).passes.get(&self.number).map(|uses| uses.connections.clone()).unwrap_or_default()
    }

    /// Ends it, and returns the connections that use it.
    pub fn revoke(self) -> Vec<u64> {
        lock(&self.in_force).passes.remove(&self.number).map(|uses| uses.connections).unwrap_or_default()
    }
}

impl Drop for Issued {
    fn drop(&mut self) {
        lock(&self.in_force).passes.remove(&self.number);
    }
}

/// Without the pass.
impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Counts a connection as a user of a pass.
#[derive(Debug)]
pub(crate) struct Use {
    number: u64,
    connection: u64,
    in_force: Arc<Mutex<InForce>>,
}

impl Use {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        if let Some(uses) = lock(&self.in_force).passes.get_mut(&self.number) {
            uses.connections.retain(|connection| *connection != self.connection);
        }
    }
}

fn lock(in_force: &Mutex<InForce>) -> MutexGuard<'_, InForce> {
    in_force.lock().unwrap_or_else(PoisonError::into_inner)
}

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
        let key = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes a key of any length");
        Passes { key, in_force: Arc::default() }
    }

    /// A new pass.
    pub fn issue(&self, action: Action, key: &StreamKey) -> Issued {
        let number = {
            let mut in_force = lock(&self.in_force);
            in_force.issued += 1;
            let number = in_force.issued;
            in_force.passes.insert(number, Uses::default());
            number
        };
        let mut text = format!("{number}-");
        push_hex(&mut text, &self.of_host(key.vhost(), number).finalize().into_bytes(), CONNECT);
        text.push('-');
        push_hex(&mut text, &self.of_stream(action, key, number).finalize().into_bytes(), STREAM);
        Issued { text, number, in_force: self.in_force.clone() }
    }

    /// The number of this pass, if a client with it may connect to the virtual host.
    pub(crate) fn permits_connect(&self, pass: &str, vhost: &str) -> Option<u64> {
        let parts = Parts::of(pass).filter(|parts| self.is_in_force(parts.number))?;
        self.of_host(vhost, parts.number).verify_truncated_left(&parts.connect).is_ok().then_some(parts.number)
    }

    /// The number of this pass, if a client with it may do this.
    pub(crate) fn permits(&self, pass: &str, action: Action, key: &StreamKey) -> Option<u64> {
        // The comparisons take constant time.
        let parts = Parts::of(pass).filter(|parts| self.is_in_force(parts.number))?;
        self.of_stream(action, key, parts.number).verify_slice(&parts.stream).is_ok().then_some(parts.number)
    }

    /// Counts a connection as a user of a pass: `None` if it is not in force any more, or has too many.
    pub(crate) fn enter(&self, number: u64, connection: u64) -> Option<Use> {
        let mut in_force = lock(&self.in_force);
        let uses = in_force.passes.get_mut(&number).filter(|uses| uses.connections.len() < CONNECTIONS)?;
        uses.connections.push(connection);
        Some(Use { number, connection, in_force: self.in_force.clone() })
    }

    fn is_in_force(&self, number: u64) -> bool {
        lock(&self.in_force).passes.contains_key(&number)
    }

    fn of_host(&self, vhost: &str, number: u64) -> Hmac<Sha256> {
        self.over(&["connect\n", vhost, "\n", &number.to_string()])
    }

    /// Names have no control characters, so different requests give different texts.
    fn of_stream(&self, action: Action, key: &StreamKey, number: u64) -> Hmac<Sha256> {
        self.over(&[action.as_str(), "\n", key.as_str(), "\n", &number.to_string()])
    }

    fn over(&self, parts: &[&str]) -> Hmac<Sha256> {
        let mut mac = self.key.clone();
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

/// A URL without the parameter that has a pass. Others do not get it: hooks, and servers that the stream is pushed to.
pub(crate) fn url_without_pass(url: &str) -> String {
    let mut kept = String::with_capacity(url.len());
    let mut rest = url;
    while let Some(at) = rest.find(PASS) {
        let (before, after) = rest.split_at(at);
        let end = after.find(['&', '/', '?']).unwrap_or(after.len());
        // The separator behind it goes along, or else the one before it.
        if after[end..].starts_with('&') && before.ends_with(['&', '?']) {
            kept.push_str(before);
            rest = &after[end + 1..];
        } else {
            kept.push_str(before.strip_suffix(['&', '?']).unwrap_or(before));
            rest = &after[end..];
        }
    }
    kept + rest
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
    number: u64,
    connect: [u8; CONNECT / 2],
    stream: [u8; STREAM / 2],
}

impl Parts {
    fn of(pass: &str) -> Option<Self> {
        let (number, rest) = pass.split_once('-')?;
        let (connect, stream) = rest.split_once('-')?;
        // The parser of numbers would accept a sign.
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| number.parse().ok()).flatten()?;
        Some(Parts { number, connect: from_hex(connect)?, stream: from_hex(stream)? })
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

    fn key(vhost: &str, app: &str, stream: &str) -> StreamKey {
        StreamKey::new(vhost, app, stream).unwrap()
    }

    #[test]
    fn a_pass_permits_one_action_on_one_stream_as_long_as_it_is_in_force() {
        let passes = Passes::new(&[7; 32]);
        let cam = key(DEFAULT_VHOST, "live", "cam");
        let issued = passes.issue(Action::Play, &cam);
        let pass = issued.text().to_owned();
        assert!(passes.permits(&pass, Action::Play, &cam).is_some());
        assert_eq!(passes.permits_connect(&pass, DEFAULT_VHOST), passes.permits(&pass, Action::Play, &cam));
        for (action, other) in [
            (Action::Publish, cam.clone()),
            (Action::Play, key(DEFAULT_VHOST, "live", "cam2")),
            (Action::Play, key(DEFAULT_VHOST, "other", "cam")),
            (Action::Play, key("v.example", "live", "cam")),
        ] {
            assert_eq!(passes.permits(&pass, action, &other), None, "{action} {other}");
        }
        assert_eq!(passes.permits_connect(&pass, "v.example"), None);
        // Another server may have issued the same number.
        let others = Passes::new(&[8; 32]);
        let _same_number = others.issue(Action::Play, &cam);
        assert!(others.permits(&pass, Action::Play, &cam).or(others.permits_connect(&pass, DEFAULT_VHOST)).is_none());
        let another = passes.issue(Action::Play, &cam);
        drop(issued);
        assert!(passes.permits(&pass, Action::Play, &cam).or(passes.permits_connect(&pass, DEFAULT_VHOST)).is_none());
        assert!(passes.permits(another.text(), Action::Play, &cam).is_some());
    }

    #[test]
    fn a_few_connections_may_use_a_pass_at_the_same_time() {
        let passes = Passes::new(&[7; 32]);
        let issued = passes.issue(Action::Play, &key(DEFAULT_VHOST, "live", "cam"));
        let mut uses: Vec<_> = (0..CONNECTIONS as u64).map(|id| passes.enter(issued.number, id).unwrap()).collect();
        assert!(passes.enter(issued.number, 100).is_none());
        assert_eq!(issued.connections(), [0, 1, 2, 3, 4, 5, 6, 7]);
        drop(uses.remove(0));
        uses.push(passes.enter(issued.number, 100).unwrap());
        assert_eq!(issued.connections(), [1, 2, 3, 4, 5, 6, 7, 100]);
        let number = issued.number;
        assert_eq!(issued.revoke().len(), CONNECTIONS);
        assert!(passes.enter(number, 101).is_none());
        drop(uses);
        assert!(lock(&passes.in_force).passes.is_empty(), "nothing is kept of it");
    }

    #[test]
    fn every_changed_character_makes_it_worthless() {
        let passes = Passes::new(&[7; 32]);
        let cam = key(DEFAULT_VHOST, "live", "cam");
        let issued: Vec<_> = (0..20).map(|_| passes.issue(Action::Publish, &cam)).collect();
        let pass = issued[9].text().to_owned();
        assert!(is_well_formed(&pass));
        for at in 0..pass.len() {
            let mut forged = pass.clone().into_bytes();
            forged[at] = if forged[at] == b'1' { b'2' } else { b'1' };
            let forged = String::from_utf8(forged).unwrap();
            let both =
                passes.permits_connect(&forged, DEFAULT_VHOST).and(passes.permits(&forged, Action::Publish, &cam));
            assert_eq!(both, None, "{at}");
        }
        for wrong in ["", "-", "--", "1-2-3", &pass[1..], &pass[..pass.len() - 1], &format!("+{pass}"), "1767225699"] {
            assert_eq!(passes.permits(wrong, Action::Publish, &cam), None, "{wrong}");
        }
    }

    #[test]
    fn others_get_urls_without_it() {
        let pass = format!("{PASS}=17-0a-0b");
        for (url, without) in [
            (format!("rtmp://h/live?vhost=v&{pass}"), "rtmp://h/live?vhost=v"),
            (format!("rtmp://h/live?vhost=v&{pass}/room"), "rtmp://h/live?vhost=v/room"),
            (format!("rtmp://h/live?{pass}&vhost=v"), "rtmp://h/live?vhost=v"),
            (format!("rtmp://h/live?a=1&{pass}&vhost=v"), "rtmp://h/live?a=1&vhost=v"),
            (format!("rtmp://h/live?{pass}"), "rtmp://h/live"),
            (format!("rtmp://h/live?{pass}?a=1&{pass}"), "rtmp://h/live?a=1"),
            ("rtmp://h/live?a=1".to_owned(), "rtmp://h/live?a=1"),
        ] {
            assert_eq!(url_without_pass(&url), without, "{url}");
        }
    }

    #[test]
    fn passes_are_never_shown() {
        let passes = Passes::new(&[7; 32]);
        assert_eq!(format!("{passes:?}"), "Passes(..)");
        let issued = passes.issue(Action::Play, &key(DEFAULT_VHOST, "live", "cam"));
        assert_eq!(format!("{issued:?}"), "Issued { number: 1, .. }");
        let pass = issued.text();
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
