//! A stream's identity.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::text::components;
use super::{DEFAULT_VHOST, MAX_NAME_LEN, NameError, Part, UrlError, discover, quoted, shortened};

/// The canonical name of one stream. A publisher and its players have the same key, and every
/// collection of streams uses it as its key.
///
/// Cloning only increments a reference count. `Display` is the one form in which people and
/// programs see a stream's name: `app/stream`, and `app/stream?vhost=NAME` in another virtual host
/// than [`DEFAULT_VHOST`]. It is what follows the server's address in a URL, and
/// [`FromStr`](std::str::FromStr) reads it back:
///
/// ```
/// use anabranch_core::url::StreamKey;
///
/// let cam: StreamKey = "live/cam".parse()?;
/// assert_eq!((cam.app(), cam.stream(), cam.to_string().as_str()), ("live", "cam", "live/cam"));
/// let other = StreamKey::new("tv.example", "live/room", "cam")?;
/// assert_eq!(other.to_string(), "live/room/cam?vhost=tv.example");
/// assert_eq!("live/room/cam?vhost=tv.example".parse(), Ok(other));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey {
    /// `vhost/app/stream`. Neither vhost nor stream has a slash, so equal texts are equal keys.
    text: Arc<str>,
    vhost_len: u16,
    stream_at: u16,
}

impl StreamKey {
    /// Checks the parts and joins them. `app` may have several components (`live/room`), `vhost`
    /// and `stream` have one each.
    ///
    /// # Errors
    /// An empty part or component, a `.` or `..` component, a control character, a slash in `vhost`
    /// or `stream`, a blank in `vhost`, or more than [`MAX_NAME_LEN`] bytes in all.
    pub fn new(vhost: &str, app: &str, stream: &str) -> Result<Self, NameError> {
        let length = vhost.len().saturating_add(app.len()).saturating_add(stream.len()).saturating_add(2);
        if length > MAX_NAME_LEN {
            return Err(NameError::TooLong { length });
        }
        check_vhost(vhost)?;
        check_app(app)?;
        check(stream, Part::Stream)?;
        if stream.contains('/') {
            return Err(NameError::BadCharacter { part: Part::Stream });
        }
        let narrow = |at: usize| u16::try_from(at).map_err(|_| NameError::TooLong { length });
        Ok(Self {
            text: format!("{vhost}/{app}/{stream}").into(),
            vhost_len: narrow(vhost.len())?,
            stream_at: narrow(length - stream.len())?,
        })
    }

    /// The virtual host.
    pub fn vhost(&self) -> &str {
        self.text.get(..usize::from(self.vhost_len)).unwrap_or_default()
    }

    /// The app, `live` or `live/room`.
    pub fn app(&self) -> &str {
        self.text.get(usize::from(self.vhost_len) + 1..usize::from(self.stream_at) - 1).unwrap_or_default()
    }

    /// The stream within the app.
    pub fn stream(&self) -> &str {
        self.text.get(usize::from(self.stream_at)..).unwrap_or_default()
    }

    /// `app/stream`: the name within its virtual host.
    pub fn path(&self) -> &str {
        self.text.get(usize::from(self.vhost_len) + 1..).unwrap_or_default()
    }

    /// Another stream of the same app. `name` may have several components: those before the last one are added to the
    /// app.
    ///
    /// # Errors
    /// As [`StreamKey::new`].
    pub fn with_stream(&self, name: &str) -> Result<Self, NameError> {
        let names: Vec<&str> = components(name).collect();
        let (stream, before) = names.split_last().unwrap_or((&"", &[]));
        let app: Vec<&str> = std::iter::once(self.app()).chain(before.iter().copied()).collect();
        StreamKey::new(self.vhost(), &app.join("/"), stream)
    }

    /// The name for a line of the log: as `Display`, with each part [shortened], and [quoted].
    pub fn shown(&self) -> String {
        let (vhost, path) = (self.vhost(), format!("{}/{}", shortened(self.app()), shortened(self.stream())));
        if vhost == DEFAULT_VHOST {
            return quoted(&path).into_owned();
        }
        quoted(&format!("{path}?vhost={}", shortened(vhost))).into_owned()
    }

    /// `vhost/app/stream`, the default virtual host included: for signatures, hashes and maps. In logs
    /// and answers, use `Display`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The stream whose [`as_str`](Self::as_str) is this text.
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        let (vhost, path) = text.split_once('/')?;
        let (app, stream) = path.rsplit_once('/')?;
        StreamKey::new(vhost, app, stream).ok()
    }
}

/// Whether a virtual host may be part of a key.
pub(super) fn check_vhost(vhost: &str) -> Result<(), NameError> {
    check(vhost, Part::Vhost)?;
    if vhost.contains(|c: char| c == '/' || c.is_whitespace()) {
        return Err(NameError::BadCharacter { part: Part::Vhost });
    }
    Ok(())
}

/// Whether an app may be part of a key.
pub(super) fn check_app(app: &str) -> Result<(), NameError> {
    check(app, Part::App)
}

fn check(text: &str, part: Part) -> Result<(), NameError> {
    if text.chars().any(char::is_control) {
        return Err(NameError::ControlCharacter { part });
    }
    for component in text.split('/') {
        match component {
            "" => return Err(NameError::Empty { part }),
            "." | ".." => return Err(NameError::DotComponent { part }),
            _ => {}
        }
    }
    Ok(())
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, vhost) = (&self.text[usize::from(self.vhost_len) + 1..], self.vhost());
        if vhost == DEFAULT_VHOST { f.write_str(path) } else { write!(f, "{path}?vhost={vhost}") }
    }
}

impl FromStr for StreamKey {
    type Err = UrlError;

    /// Reads `app/stream` or `app/stream?vhost=NAME`, with the rules for names in URLs (see the
    /// [module](super)). Other parameters are no part of a name and are ignored.
    fn from_str(path: &str) -> Result<Self, UrlError> {
        Ok(discover(None, Some(""), path)?.key().clone())
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_and_the_default_vhost_is_not_shown() {
        let key = StreamKey::new("v.example", "live/room", "cam.1").unwrap();
        assert_eq!((key.vhost(), key.app(), key.stream()), ("v.example", "live/room", "cam.1"));
        assert_eq!(key.to_string(), "live/room/cam.1?vhost=v.example");
        assert_eq!(key.to_string().parse(), Ok(key.clone()));
        assert_eq!(format!("{key:?}"), "StreamKey(live/room/cam.1?vhost=v.example)");
        assert_eq!(key.path(), "live/room/cam.1");
        assert_eq!(key.with_stream("b").unwrap().as_str(), "v.example/live/room/b");
        assert_eq!(key.with_stream("/a//b").unwrap().as_str(), "v.example/live/room/a/b");
        for wrong in ["", "/", "a/..", "\n"] {
            assert!(key.with_stream(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(key.shown(), "live/room/cam.1?vhost=v.example");
        let odd = StreamKey::new(DEFAULT_VHOST, "live", &format!("a \"b\" {}", "c".repeat(300))).unwrap();
        assert_eq!(odd.shown(), format!(r#""live/a \"b\" {}...""#, "c".repeat(256 - 6)));
        let key = StreamKey::new(DEFAULT_VHOST, "live", "cam").unwrap();
        assert_eq!(key.shown(), "live/cam");
        assert_eq!((key.to_string().as_str(), key.as_str()), ("live/cam", "__defaultVhost__/live/cam"));
        for same in ["live/cam", "/live/cam", "live/cam?token=1", "live/cam?vhost=__defaultVhost__"] {
            assert_eq!(same.parse(), Ok(key.clone()), "{same}");
        }
        assert_eq!("".parse::<StreamKey>(), Err(NameError::Empty { part: Part::Stream }.into()));
    }

    #[test]
    fn only_names_that_are_safe_everywhere_are_accepted() {
        let (app, stream, vhost) = (Part::App, Part::Stream, Part::Vhost);
        for (parts, error) in [
            (("v", "", "s"), NameError::Empty { part: app }),
            (("v", "a", ""), NameError::Empty { part: stream }),
            (("", "a", "s"), NameError::Empty { part: vhost }),
            (("v", "a//b", "s"), NameError::Empty { part: app }),
            (("v", "/a", "s"), NameError::Empty { part: app }),
            (("v", "a/../b", "s"), NameError::DotComponent { part: app }),
            (("v", "a", ".."), NameError::DotComponent { part: stream }),
            (("..", "a", "s"), NameError::DotComponent { part: vhost }),
            (("v", "a", "."), NameError::DotComponent { part: stream }),
            (("v", "a", "s\0"), NameError::ControlCharacter { part: stream }),
            (("v", "a\u{85}", "s"), NameError::ControlCharacter { part: app }),
            (("v/w", "a", "s"), NameError::BadCharacter { part: vhost }),
            (("v w", "a", "s"), NameError::BadCharacter { part: vhost }),
            (("v", "a", "b/s"), NameError::BadCharacter { part: stream }),
        ] {
            assert_eq!(StreamKey::new(parts.0, parts.1, parts.2), Err(error), "{parts:?}");
        }
        assert!(StreamKey::new("v", "a..b", "...").is_ok());
    }

    #[test]
    fn the_length_limit_counts_the_whole_name() {
        let longest = "s".repeat(MAX_NAME_LEN - 4);
        assert_eq!(StreamKey::new("v", "a", &longest).unwrap().stream(), longest);
        assert_eq!(StreamKey::new("vv", "a", &longest), Err(NameError::TooLong { length: MAX_NAME_LEN + 1 }));
    }
}
