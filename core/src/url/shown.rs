//! Names of clients in lines of the log.

use std::borrow::Cow;

/// The most characters of one text of a client in a line.
const LENGTH: usize = 256;

/// The text with its first 256 characters, and three dots if it is longer.
pub fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}...", &text[..end]).into(),
        None => text.into(),
    }
}

/// The text as one word of a line: in quotes, with escapes, if it has other characters than `A-Z a-z 0-9 . _ / ? = % + -`.
/// So no name of a client looks like another part of the line.
pub fn quoted(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/?=%+-".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) { text.into() } else { format!("{text:?}").into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_mistaken_stands_without_quotes() {
        for plain in ["live/cam", "live/room/cam.1?vhost=tv.example", "a_b-c+d%20"] {
            assert_eq!(quoted(plain), plain);
        }
        for (text, shown) in [
            ("", r#""""#),
            ("x, from 203.0.113.9:4", r#""x, from 203.0.113.9:4""#),
            (r#"a"b\c"#, r#""a\"b\\c""#),
            ("東京", r#""東京""#),
            ("\u{202e}x\n", r#""\u{202e}x\n""#),
        ] {
            assert_eq!(quoted(text), shown);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shortened(&"ü".repeat(256)), "ü".repeat(256));
        assert_eq!(shortened(&"ü".repeat(257)), "ü".repeat(256) + "...");
    }
}
