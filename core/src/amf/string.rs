//! The strings of AMF.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The string up to its first NUL: firmware in C sends strings with their final NUL, or with the memory after it.
pub(crate) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A string of AMF: bytes that should be UTF-8.
///
/// Encoders on systems with another code page send GBK or Latin-1 in titles and stream names. The bytes stay as sent,
/// for relaying and comparing; only [`to_string_lossy`](Self::to_string_lossy), `Display` and `Debug` replace bytes
/// that are not UTF-8. A clone shares the bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AmfString {
    bytes: Arc<[u8]>,
}

impl AmfString {
    /// The bytes, as sent.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The text, or `None` if the bytes are not UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        str::from_utf8(&self.bytes).ok()
    }

    /// The text, with bytes that are not UTF-8 replaced by U+FFFD: for display, not for comparison.
    #[must_use]
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl fmt::Debug for AmfString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string_lossy(), f)
    }
}

impl fmt::Display for AmfString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_string_lossy(), f)
    }
}

impl From<&[u8]> for AmfString {
    fn from(bytes: &[u8]) -> Self {
        Self { bytes: bytes.into() }
    }
}

impl From<Vec<u8>> for AmfString {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into() }
    }
}

impl From<&str> for AmfString {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<String> for AmfString {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

impl From<&AmfString> for AmfString {
    fn from(string: &AmfString) -> Self {
        string.clone()
    }
}

impl AsRef<[u8]> for AmfString {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl PartialEq<str> for AmfString {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for AmfString {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_utf8_are_kept_and_replaced_only_for_reading() {
        let string = AmfString::from(&[b'a', 0xc3, 0x28][..]);
        assert_eq!(string.as_bytes(), [b'a', 0xc3, 0x28]);
        assert_eq!(string.as_str(), None);
        assert_eq!(string.to_string(), "a\u{fffd}(");
        assert_eq!(format!("{string:?}"), "\"a\u{fffd}(\"");
    }

    #[test]
    fn equals_text_by_its_bytes() {
        assert_eq!(AmfString::from("live"), "live");
        assert_eq!(AmfString::from(String::from("live")), *"live");
        assert_ne!(AmfString::from("live"), "Live");
        assert_eq!(AmfString::default(), "");
    }
}
