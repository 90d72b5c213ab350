//! The parameters of a request.

use std::borrow::Cow;
use std::fmt;

use super::text::{components, trim};
use super::{DEFAULT_VHOST, MAX_PARAMS, UrlError};

/// The pairs of all queries of a request, in the order they were sent (`tcUrl`, `app`, stream name).
/// Each pair is there once, not decoded.
///
/// Pairs are separated by `&`, by `#` (a fragment counts as another query), and by a `?` unless it
/// follows a URL (`u=http://h/p?x`). SRS also separates by `;` and `,`. Here these separate only
/// next to a `vhost` or `domain` pair, since elsewhere they may belong to a token.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Params {
    pairs: Vec<Pair>,
}

/// One pair as it was sent: `key=value`, `key=` or `key`.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Pair(Box<str>);

impl Pair {
    fn split(&self) -> (&str, &str) {
        self.0.split_once('=').unwrap_or((&self.0, ""))
    }
}

impl Params {
    /// Reads one query, with or without its leading `?`.
    ///
    /// # Errors
    /// [`UrlError::TooManyParams`].
    pub fn parse(query: &str) -> Result<Self, UrlError> {
        let mut params = Self::default();
        params.read(query, &mut Vec::new())?;
        Ok(params)
    }

    /// The percent-decoded value of a key; empty for a key without value. If the key occurs more
    /// than once, this is its last value.
    ///
    /// A `+` stays a `+` (base64 tokens contain it), a `%` that starts no escape stays, and bytes
    /// that are not UTF-8 become U+FFFD.
    pub fn get(&self, key: &str) -> Option<Cow<'_, str>> {
        self.raw(key).map(percent_decode)
    }

    /// The value as it was sent.
    pub fn raw(&self, key: &str) -> Option<&str> {
        self.iter().rev().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// All pairs as they were sent, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.pairs.iter().map(Pair::split)
    }

    /// Number of pairs, at most [`MAX_PARAMS`].
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The same without the pairs of a key.
    pub(crate) fn without(&self, key: &str) -> Self {
        let mut kept = self.clone();
        kept.pairs.retain(|pair| pair.split().0 != key);
        kept
    }

    /// `?a=1&b=2`, or an empty text if there is no pair; SRS gives it to hooks as `param`.
    pub fn to_query(&self) -> String {
        self.to_string()
    }

    /// The virtual host that the parameters name: the last `vhost` that is not empty, else the last
    /// `domain` that is not empty.
    pub(super) fn vhost(&self) -> Option<&str> {
        let last = |key| {
            self.iter()
                .rev()
                .filter(|(name, _)| *name == key)
                .map(|(_, value)| trim(value))
                .find(|value| !value.is_empty())
        };
        last("vhost").or_else(|| last("domain"))
    }

    /// Merges a query. Path components after a `/` in a virtual host are appended to `path`.
    pub(super) fn read<'query>(&mut self, query: &'query str, path: &mut Vec<&'query str>) -> Result<(), UrlError> {
        let mut pieces = 0;
        for segment in query.split(['&', '#']) {
            let mut rest = Some(segment);
            while let Some(text) = rest {
                // Trimmed first, so that a pair has the same meaning at any place.
                let text = trim(text);
                let (piece, next) = match separator(text).and_then(|at| text.split_at_checked(at)) {
                    Some((piece, next)) => (trim(piece), next.get(1..)),
                    None => (text, None),
                };
                rest = next;
                if piece.is_empty() {
                    continue;
                }
                pieces += 1;
                if pieces > MAX_PARAMS {
                    return Err(UrlError::TooManyParams);
                }
                self.add(piece, path)?;
            }
        }
        Ok(())
    }

    fn add<'query>(&mut self, piece: &'query str, path: &mut Vec<&'query str>) -> Result<(), UrlError> {
        let mut piece = piece;
        if names_vhost(piece) {
            if let Some((pair, names)) = piece.split_once('/') {
                path.extend(components(names));
                piece = trim(pair);
            }
            let (_, vhost) = piece.split_once('=').unwrap_or_default();
            if trim(vhost).eq_ignore_ascii_case(DEFAULT_VHOST) {
                return Ok(());
            }
        }
        let pair = Pair(piece.into());
        let (key, _) = pair.split();
        if self.pairs.iter().rev().find(|known| known.split().0 == key) == Some(&pair) {
            return Ok(());
        }
        // An equal pair came earlier, then another value for its key: move the pair to the end.
        self.pairs.retain(|known| *known != pair);
        if self.pairs.len() >= MAX_PARAMS {
            return Err(UrlError::TooManyParams);
        }
        self.pairs.push(pair);
        Ok(())
    }
}

/// Where the first pair of a segment ends, if there are more.
fn separator(text: &str) -> Option<usize> {
    let vhost = names_vhost(text);
    let url_at = text.find(":/").unwrap_or(text.len());
    let ends_pair = |(at, byte): (usize, u8)| match byte {
        b'?' => vhost || at < url_at,
        b';' | b',' => vhost || text.get(at + 1..).is_some_and(names_vhost),
        _ => false,
    };
    text.bytes().enumerate().find(|&place| ends_pair(place)).map(|(at, _)| at)
}

fn names_vhost(pair: &str) -> bool {
    pair.starts_with("vhost=") || pair.starts_with("domain=")
}

fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return text.into();
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((&byte, rest)) = bytes.split_first() {
        let escaped = match (byte, rest) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        if let Some((high, low)) = escaped {
            decoded.push(high << 4 | low);
            bytes = rest.get(2..).unwrap_or_default();
        } else {
            decoded.push(byte);
            bytes = rest;
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()).into()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

impl fmt::Display for Params {
    /// As [`Params::to_query`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Pair(text)) in self.pairs.iter().enumerate() {
            write!(f, "{}{text}", if index == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> String {
        Params::parse(text).unwrap().to_query()
    }

    #[test]
    fn pairs_are_kept_raw_in_order_and_once() {
        for (sent, kept) in [
            ("", ""),
            ("?", ""),
            ("a=1&b=2", "?a=1&b=2"),
            ("?a=1&&b=2&", "?a=1&b=2"),
            ("a=1&a=1&b=2&a=1", "?a=1&b=2"),
            ("a=1&a=2", "?a=1&a=2"),
            ("a=1&a=2&a=1", "?a=2&a=1"),
            ("token", "?token"),
            ("token=", "?token="),
            ("t=a%2Fb==", "?t=a%2Fb=="),
            ("a=1#b=2", "?a=1&b=2"),
            ("a=1?b=2", "?a=1&b=2"),
            ("u=http://h/p?x=1", "?u=http://h/p?x=1"),
            ("t=a,b;c=d", "?t=a,b;c=d"),
            ("vhost=a;t=1", "?vhost=a&t=1"),
            ("t=1,vhost=a,k=v", "?t=1&vhost=a&k=v"),
            ("vhost=a?vhost=a?vhost=a", "?vhost=a"),
            ("vhost=__defaultVhost__", ""),
            ("vhost=__defaultvhost__&t=1", "?t=1"),
            (" a=1 & b=2\r\n", "?a=1&b=2"),
        ] {
            assert_eq!(query(sent), kept, "{sent}");
        }
    }

    #[test]
    fn the_later_pair_wins_a_lookup() {
        let params = Params::parse("a=1&b=x&a=2").unwrap();
        assert_eq!((params.raw("a"), params.raw("b"), params.raw("c")), (Some("2"), Some("x"), None));
        let params = Params::parse("a=1&a=2&a=1").unwrap();
        assert_eq!(params.raw("a"), Some("1"));
    }

    #[test]
    fn only_values_that_are_asked_for_are_decoded() {
        let params = Params::parse("t=a%2Fb%3d+c&bad=%zz%4&bytes=%ff&u=%C3%A9&plain=x&cut=%").unwrap();
        for (key, value) in
            [("t", "a/b=+c"), ("bad", "%zz%4"), ("bytes", "\u{fffd}"), ("u", "é"), ("plain", "x"), ("cut", "%")]
        {
            assert_eq!(params.get(key).unwrap(), value);
        }
        assert_eq!(params.raw("t"), Some("a%2Fb%3d+c"));
        assert_eq!(params.get("T"), None);
    }

    #[test]
    fn the_number_of_pairs_is_bounded() {
        let text = |count: usize| (0..count).map(|n| format!("k{n}=v&")).collect::<String>();
        assert_eq!(Params::parse(&text(MAX_PARAMS)).unwrap().len(), MAX_PARAMS);
        assert_eq!(Params::parse(&text(MAX_PARAMS + 1)), Err(UrlError::TooManyParams));
        let mut merged = Params::parse(&text(MAX_PARAMS)).unwrap();
        assert_eq!(merged.read("one=more", &mut Vec::new()), Err(UrlError::TooManyParams));
        assert_eq!(merged.read("k0=v", &mut Vec::new()), Ok(()));
        assert_eq!(Params::parse(&"a?".repeat(1000)), Err(UrlError::TooManyParams));
    }

    #[test]
    fn the_virtual_host_is_the_last_one_named() {
        for (sent, vhost) in [
            ("vhost=a", Some("a")),
            ("domain=b", Some("b")),
            ("domain=b&vhost=a&domain=c", Some("a")),
            ("vhost=a&vhost=b", Some("b")),
            ("vhost=a&vhost=", Some("a")),
            ("vhost=&domain=b", Some("b")),
            ("xvhost=a", None),
            ("Vhost=a", None),
        ] {
            assert_eq!(Params::parse(sent).unwrap().vhost(), vhost, "{sent}");
        }
    }
}
