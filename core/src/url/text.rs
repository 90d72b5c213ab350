//! The rules for all three texts: blanks, the start of the query, path components.

use std::borrow::Cow;

use super::{MAX_TEXT_LEN, Part, UrlError};

/// SRS's notation for a virtual host, for clients that do not allow a `?`.
pub(crate) const VHOST_MARK: &str = "...vhost...";

/// The name that Flash Media Server clients send for the default instance.
const DEFAULT_INSTANCE: &str = "_definst_";

/// Checks the length of a text, ends it at its first NUL (firmware sends C strings with the memory
/// after them), drops the blanks around it, refuses control characters and writes SRS's
/// `...vhost...` as a query.
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

/// Drops ASCII blanks at both ends: users paste keys with spaces and line ends.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_ascii_whitespace())
}

/// Path and query; the query starts after the first `?`. A `#` belongs to the path: stream keys contain it, and clients
/// send fragments to the server.
pub(super) fn split_query(text: &str) -> (&str, &str) {
    text.split_once('?').unwrap_or((text, ""))
}

/// The components of a path, without empty ones and the default instance.
pub(super) fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').map(trim).filter(|component| !component.is_empty() && *component != DEFAULT_INSTANCE)
}

/// The first component of an app, in canonical form; `None` if it has none.
pub(crate) fn first_component(app: &str) -> Option<&str> {
    components(unquote(trim(app))).next()
}

/// Cuts a stream's name off a query, as in `token=x/cam`. Only if the slash cannot belong to the
/// query: not in a URL, and not in base64 text before padding or another pair.
pub(super) fn split_trailing_name(query: &str) -> Option<(&str, &str)> {
    let (before, name) = query.rsplit_once('/')?;
    let is_name = !trim(name).is_empty() && !name.contains(['=', '&', '?', ';', ',']) && !query.contains("://");
    is_name.then_some((before, name))
}

/// Clients written in Neko put the URL in single quotes. A quote only at the end belongs to the
/// name.
fn unquote(text: &str) -> &str {
    match text.strip_prefix('\'') {
        Some(inner) => trim(inner.strip_suffix('\'').unwrap_or(inner)),
        None => text,
    }
}
