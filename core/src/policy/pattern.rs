use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Most bytes in a [`StreamPattern`]: bounds the time that a comparison takes.
pub const MAX_PATTERN_LEN: usize = 512;

/// A pattern for the names of streams, written as `app/stream`: `*` stands for any characters, slashes included, and `?`
/// for one character.
///
/// ```
/// use anabranch_core::policy::StreamPattern;
///
/// let pattern: StreamPattern = "ingest/*".parse()?;
/// assert!(pattern.matches("ingest/cam") && pattern.matches("ingest/room/cam"));
/// assert!(!pattern.matches("live/cam"));
/// # Ok::<(), anabranch_core::policy::PatternError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamPattern {
    text: Box<str>,
    /// Bytes before the first `*` or `?`.
    literal: usize,
}

/// A text that is not a [`StreamPattern`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PatternError {
    /// Each name has a slash between app and stream, and nothing in the pattern can stand for it.
    #[error(
        "the pattern {pattern:?} matches no stream, because names are written as app/stream: \
         did you mean {:?}?", suggestion(.pattern)
    )]
    NoSlash {
        /// The pattern.
        pattern: String,
    },
    /// No name begins with a slash.
    #[error(
        "the pattern {pattern:?} matches no stream, because no name begins with a slash: did you mean {:?}?",
        .pattern.trim_start_matches('/')
    )]
    LeadingSlash {
        /// The pattern.
        pattern: String,
    },
    /// More than [`MAX_PATTERN_LEN`] bytes.
    #[error("the pattern has {length} bytes, the most is {MAX_PATTERN_LEN}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
}

fn suggestion(pattern: &str) -> String {
    if pattern.is_empty() { "*".to_owned() } else { format!("{pattern}/*") }
}

impl StreamPattern {
    /// Whether the pattern matches a name, written as `app/stream`.
    pub fn matches(&self, name: &str) -> bool {
        let (literal, pattern) = self.text.split_at(self.literal);
        let Some(name) = name.strip_prefix(literal) else {
            return false;
        };
        // Places in bytes: in the pattern, and in the name.
        let (mut at, mut from) = (0, 0);
        // The last `*`: the place behind it, and where the name goes on after the characters that it stands for.
        let mut star: Option<(usize, usize)> = None;
        while let Some(character) = name[from..].chars().next() {
            match pattern[at..].chars().next() {
                Some('*') => {
                    at += 1;
                    // The rest of the name, whatever it is.
                    if at == pattern.len() {
                        return true;
                    }
                    star = Some((at, from));
                }
                Some(expected) if expected == '?' || expected == character => {
                    at += expected.len_utf8();
                    from += character.len_utf8();
                }
                _ => {
                    // The last `*` stands for one more character.
                    let Some((behind, end)) = star else {
                        return false;
                    };
                    let end = end + name[end..].chars().next().map_or(1, char::len_utf8);
                    star = Some((behind, end));
                    (at, from) = (behind, end);
                }
            }
        }
        pattern[at..].bytes().all(|byte| byte == b'*')
    }

    /// True if it matches every name that `other` matches, as far as the two texts show. False does not mean the
    /// opposite.
    pub fn covers(&self, other: &StreamPattern) -> bool {
        // A `*` of `other` stands for any characters, and only a `*` here can stand for it.
        self == other || (!self.text.contains('?') && self.matches(&other.text))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first component of all names that it matches, if it is the same for all.
    pub(super) fn first_component(&self) -> Option<&str> {
        self.text[..self.literal].split_once('/').map(|(first, _)| first)
    }
}

impl FromStr for StreamPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let pattern = || text.to_owned();
        if text.len() > MAX_PATTERN_LEN {
            return Err(PatternError::TooLong { length: text.len() });
        }
        if text.starts_with('/') {
            return Err(PatternError::LeadingSlash { pattern: pattern() });
        }
        if !text.contains(['/', '*', '?']) {
            return Err(PatternError::NoSlash { pattern: pattern() });
        }
        let literal = text.find(['*', '?']).unwrap_or(text.len());
        Ok(StreamPattern { text: text.into(), literal })
    }
}

impl fmt::Display for StreamPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> StreamPattern {
        text.parse().unwrap()
    }

    #[test]
    fn stars_stand_for_any_characters_and_question_marks_for_one() {
        for (text, name) in [
            ("live/*", "live/cam"),
            ("*", "live/room/cam"),
            ("live/cam?", "live/camé"),
            ("*/a*b*c", "x/aXbbYbc"),
            ("live/cam", "live/cam"),
            ("live/*", "live/a/b"),
            ("live?cam", "live/cam"),
            ("live/cam**", "live/cam"),
            ("é*/?", "éa/é"),
            ("*é", "live/éé"),
        ] {
            assert!(pattern(text).matches(name), "{text} {name}");
        }
        for (text, name) in [
            ("live/*", "other/cam"),
            ("live/cam?", "live/cam"),
            ("*/a*b", "x/ab-"),
            ("live/", "live"),
            ("live/cam", "live/cams"),
            ("live/cam", "live/c"),
            ("*é?", "live/é"),
        ] {
            assert!(!pattern(text).matches(name), "{text} {name}");
        }
    }

    #[test]
    fn patterns_that_match_no_stream_are_errors_with_a_suggestion() {
        let error = |text: &str| text.parse::<StreamPattern>().unwrap_err().to_string();
        assert!(error("live").ends_with("did you mean \"live/*\"?"), "{}", error("live"));
        assert!(error("").ends_with("did you mean \"*\"?"), "{}", error(""));
        assert!(error("/live/*").ends_with("did you mean \"live/*\"?"), "{}", error("/live/*"));
        assert!(error(&"x".repeat(513)).contains("513 bytes"));
        assert!(format!("{}*", "x".repeat(511)).parse::<StreamPattern>().is_ok());
    }

    /// The meaning of a pattern, without regard to time.
    fn means(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, _) => name.is_empty(),
            (Some(('*', rest)), _) => (0..=name.len()).any(|taken| means(rest, &name[taken..])),
            (Some((expected, rest)), Some((character, others))) => {
                (*expected == '?' || expected == character) && means(rest, others)
            }
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_it_means(text in "[aé/*?]{0,8}", name in "[aé/]{0,10}") {
            if let Ok(pattern) = text.parse::<StreamPattern>() {
                let (all, characters): (Vec<_>, Vec<_>) = (text.chars().collect(), name.chars().collect());
                prop_assert_eq!(pattern.matches(&name), means(&all, &characters));
                if let Some(first) = pattern.first_component()
                    && pattern.matches(&name)
                {
                    prop_assert_eq!(name.split('/').next(), Some(first));
                }
                prop_assert_eq!(pattern.to_string(), text);
            }
        }

        #[test]
        fn a_pattern_that_covers_another_matches_what_that_matches(
            one in "[a/*?]{0,6}", other in "[a/*?]{0,6}", name in "[a/]{0,6}",
        ) {
            if let (Ok(one), Ok(other)) = (one.parse::<StreamPattern>(), other.parse::<StreamPattern>())
                && one.covers(&other)
                && other.matches(&name)
            {
                prop_assert!(one.matches(&name), "{} {} {}", one, other, name);
            }
        }
    }
}
