//! Text of others on a terminal: names that clients choose must not move the cursor, change colours or reverse the line.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The text with a `?` for each character that a terminal would obey or that would not be seen.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if is_plain(c) { c } else { '?' }).collect()
}

/// Control characters, marks that change the direction of text, and characters without a width are not plain.
fn is_plain(c: char) -> bool {
    let changes_direction = matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    !c.is_control() && !changes_direction && c.width().is_some()
}

/// The columns that a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The text in exactly so many columns: cut, with a `~` at the end, or filled with spaces.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    let mut fitted = cut(text, columns);
    let missing = columns.saturating_sub(fitted.width());
    fitted.extend(std::iter::repeat_n(' ', missing));
    fitted
}

/// The same, but cut at the front: of a stream's name the end says more.
pub(crate) fn fit_end(text: &str, columns: usize) -> String {
    let turned = |text: &str| text.chars().rev().collect::<String>();
    let mut fitted = turned(&cut(&turned(text), columns));
    let missing = columns.saturating_sub(fitted.width());
    fitted.extend(std::iter::repeat_n(' ', missing));
    fitted
}

/// The text in so many columns at most.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let (mut cut, mut used) = (String::new(), 0);
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if used + width + 1 > columns {
            break;
        }
        used += width;
        cut.push(c);
    }
    if columns > 0 {
        cut.push('~');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        for (text, shown) in [
            ("live/cam", "live/cam"),
            ("caf\u{e9} \u{4e2d}\u{6587}", "caf\u{e9} \u{4e2d}\u{6587}"),
            ("\u{1b}[2J\u{1b}]0;title\u{7}", "?[2J?]0;title?"),
            ("\u{9b}31m\r\n\t\u{8}", "?31m????"),
            ("a\u{202e}b\u{200b}c\u{feff}", "a?b?c?"),
        ] {
            assert_eq!(clean(text), shown);
        }
    }

    #[test]
    fn text_fits_its_columns() {
        for text in
            ["", "cam", "a much longer name than that", "\u{4e2d}\u{6587}\u{4e2d}\u{6587}", "e\u{301}e\u{301}e\u{301}"]
        {
            for columns in 0..30 {
                assert_eq!(width(&fit(text, columns)), columns, "{text:?} in {columns}");
                assert_eq!(width(&fit_end(text, columns)), columns, "{text:?} in {columns}");
            }
        }
        assert_eq!((fit_end("abcdef", 4), fit_end("ab", 4)), ("~def".to_owned(), "ab  ".to_owned()));
        assert_eq!(
            (fit("abcdef", 4), fit("ab", 4), cut("ab", 4)),
            ("abc~".to_owned(), "ab  ".to_owned(), "ab".to_owned())
        );
    }
}
