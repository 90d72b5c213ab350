//! Texts of clients in lines of the log.

use std::borrow::Cow;
use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// The name of what happened, in lines of this server. The message of such a line has all its fields as text.
pub(crate) const EVENT: &str = "event";

/// Formats a line of text: the message of our own lines, and the message with all fields of lines of other crates.
#[derive(Debug)]
pub(crate) struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line::default();
        fields.record(&mut line);
        let Line { message, fields, is_ours } = line;
        let mut plain = Plain(&mut writer);
        plain.write_str(&message)?;
        if is_ours { Ok(()) } else { plain.write_str(&fields) }
    }
}

#[derive(Debug, Default)]
struct Line {
    message: String,
    fields: String,
    is_ours: bool,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            EVENT => {
                self.is_ours = true;
                Ok(())
            }
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// Writes what can be read as it stands, and the rest as escapes: control characters, and those that are not seen and
/// change how the text around them looks (U+202E turns it around, U+2028 begins a line for many programs).
pub(crate) struct Plain<'a, W>(pub(crate) &'a mut W);

impl<W: Write> Write for Plain<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Nearly all texts.
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return self.0.write_str(text);
        }
        let mut rest = text;
        while let Some((at, odd)) = rest.char_indices().find(|(_, c)| !is_plain(*c)) {
            let (plain, from) = rest.split_at(at);
            self.0.write_str(plain)?;
            write!(self.0, "{}", odd.escape_debug())?;
            rest = &from[odd.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// The beginnings of fields that hold several values, separated by ", ". They are arrays in JSON; `tracing` has none.
/// The quotes within values are escaped, so no value has such a text.
const LISTS: [&str; 2] = ["\"listen\":\"", "\"changed\":\""];

/// The same for a line of JSON, in which the escapes are those of JSON: programs that read it get the same text. Lists
/// become arrays.
pub(crate) fn json_line(line: &[u8]) -> Cow<'_, [u8]> {
    // A line that is no text stays as it is.
    let Ok(text) = std::str::from_utf8(line) else {
        return line.into();
    };
    let listed = LISTS.iter().find_map(|list| Some(with_array(text, text.find(list)? + list.len())));
    match (escaped_in_json(listed.as_deref().unwrap_or(text)), listed) {
        (Some(escaped), _) => escaped.into_bytes().into(),
        (None, Some(listed)) => listed.into_bytes().into(),
        (None, None) => line.into(),
    }
}

/// A line of JSON, with the text that begins at `start`, behind its quote, as an array of its parts.
fn with_array(line: &str, start: usize) -> String {
    let (before, from) = line.split_at(start);
    // The values are addresses and keys, without quotes.
    let (list, after) = from.split_once('"').unwrap_or((from, ""));
    let before = before.strip_suffix('"').unwrap_or(before);
    format!("{before}[\"{}\"]{after}", list.replace(", ", "\",\""))
}

/// The line with escapes, if it needs some.
fn escaped_in_json(text: &str) -> Option<String> {
    let is_odd = |c: char| !c.is_ascii() && !is_plain(c);
    if text.is_ascii() || !text.contains(is_odd) {
        return None;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_odd(c) {
            // Writing to a String does not fail.
            let _ = c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"));
        } else {
            out.push(c);
        }
    }
    Some(out)
}

fn is_plain(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // Behind another character, so that a mark that belongs to one counts as what it is there.
    let mut pair = [b'a'; 5];
    let length = 1 + c.encode_utf8(&mut pair[1..]).len();
    std::str::from_utf8(&pair[..length]).is_ok_and(|pair| pair.escape_debug().count() == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        let mut out = String::new();
        write!(Plain(&mut out), "{text}").unwrap();
        out
    }

    #[test]
    fn what_is_not_seen_is_escaped_and_all_other_text_stays() {
        for (text, shown) in [
            ("conn 5 is publisher of live/cam", "conn 5 is publisher of live/cam"),
            ("a\"b'c\\d", "a\"b'c\\d"),
            ("Größe 東京 e\u{301} 🎥", "Größe 東京 e\u{301} 🎥"),
            ("live/\u{202e}mac", "live/\\u{202e}mac"),
            ("a\u{2028}b\u{2029}c\u{85}d", "a\\u{2028}b\\u{2029}c\\u{85}d"),
            (
                "\u{200b}\u{200f}\u{2066}\u{feff}\u{ad}\u{e0001}",
                "\\u{200b}\\u{200f}\\u{2066}\\u{feff}\\u{ad}\\u{e0001}",
            ),
            ("a\nb\r\t\u{1b}[2J\u{7f}\0", "a\\nb\\r\\t\\u{1b}[2J\\u{7f}\\0"),
        ] {
            assert_eq!(plain(text), shown);
        }
        for c in ('\u{80}'..='\u{10ffff}').filter(|c| c.is_control()) {
            assert!(!is_plain(c), "{c:?}");
        }
    }

    #[test]
    fn json_says_the_same() {
        for text in ["plain", "東京 e\u{301}", "\u{202e}mac\u{2028}", "\u{e0001}\u{1b}"] {
            let line = serde_json::json!({ "message": text }).to_string();
            let escaped = json_line(line.as_bytes());
            let escaped = std::str::from_utf8(&escaped).unwrap();
            assert!(escaped.chars().all(is_plain), "{escaped}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(escaped).unwrap()["message"], text);
        }
    }

    #[test]
    fn lists_are_arrays_in_json() {
        let message = "the \"listen\":\"x, y\" \u{202e}";
        let line = serde_json::json!({ "message": message, "listen": "[::]:1, 127.0.0.1:2", "url": "a, b" });
        let line: serde_json::Value = serde_json::from_slice(&json_line(line.to_string().as_bytes())).unwrap();
        assert_eq!(line["listen"], serde_json::json!(["[::]:1", "127.0.0.1:2"]));
        assert_eq!((line["message"].as_str(), line["url"].as_str()), (Some(message), Some("a, b")));
        let line: serde_json::Value = serde_json::from_slice(&json_line(br#"{"changed":"log.level"}"#)).unwrap();
        assert_eq!(line["changed"], serde_json::json!(["log.level"]));
    }
}
