//! The rules that all three texts share: blanks, where the query starts, what a path component is.

use std::borrow::Cow;

use super::{MAX_TEXT_LEN, Part, UrlError};

/// SRS's way to put a virtual host where a client does not allow a `?`.
pub(super) const VHOST_MARK: &str = "...vhost...";

/// The instance that Flash Media Server clients name when they mean none.
const DEFAULT_INSTANCE: &str = "_definst_";

/// Bounds a text, ends it at its first NUL (firmware sends C strings with what lies behind them),
/// drops the blanks around it, refuses control characters and writes SRS's `...vhost...` as a query.
pub(super) fn prepare(text: &str, part: Part) -> Result<Cow<'_, str>, UrlError> {
    if text.len() > MAX_TEXT_LEN {
        return Err(UrlError::TooLong { part, length: text.len() });
    }
    let text = text.split('\0').next().unwrap_or_default();
    let text = match part {
        Part::TcUrl | Part::App => unquote(trim(text)),
        Part::Stream | Part::Vhost => trim(text),
    };
    if text.chars().any(char::is_control) {
        return Err(UrlError::ControlCharacter { part });
    }
    Ok(if text.contains(VHOST_MARK) { text.replace(VHOST_MARK, "?vhost=").into() } else { text.into() })
}

/// Drops ASCII blanks at both ends: keys are pasted with spaces and line ends.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_ascii_whitespace())
}

/// Path and query; the query starts after the first `?`. A `#` belongs to the path: keys have it, and no client keeps
/// a fragment to itself.
pub(super) fn split_query(text: &str) -> (&str, &str) {
    text.split_once('?').unwrap_or((text, ""))
}

/// The components of a path that count.
pub(super) fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').map(trim).filter(|component| !component.is_empty() && *component != DEFAULT_INSTANCE)
}

/// Cuts a stream's name off a query, as in `token=x/cam`. Only where no query would have that
/// slash: not in a URL, and not in base64 text that goes on with padding or another pair.
pub(super) fn split_trailing_name(query: &str) -> Option<(&str, &str)> {
    let (before, name) = query.rsplit_once('/')?;
    let is_name = !trim(name).is_empty() && !name.contains(['=', '&', '?', ';', ',']) && !query.contains("://");
    is_name.then_some((before, name))
}

/// Clients written in Neko put the URL in single quotes. A quote at the end alone is the name's
/// own.
fn unquote(text: &str) -> &str {
    match text.strip_prefix('\'') {
        Some(inner) => trim(inner.strip_suffix('\'').unwrap_or(inner)),
        None => text,
    }
}
