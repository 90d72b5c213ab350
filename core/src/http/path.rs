use super::request::Request;

/// First components that are the program's own, whatever applications there are.
const RESERVED: [&str; 5] = ["api", "watch", "call", "rtc", "assets"];

/// The form in which a live stream is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Container {
    /// FLV, as `.flv`.
    Flv,
    /// Fragmented MP4, as `.mp4`.
    Mp4,
}

impl Container {
    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Container::Flv => "video/x-flv",
            Container::Mp4 => "video/mp4",
        }
    }
}

/// A path that means a live stream: `/live/cam.flv`, `/live/cam.mp4`, or either with `.live` before its ending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePath {
    /// The application: all components but the last.
    pub app: String,
    /// The stream.
    pub stream: String,
    /// The form.
    pub container: Container,
}

impl LivePath {
    /// The stream that a request means, if its path has the form of one.
    pub fn of(request: &Request) -> Option<Self> {
        let path = decoded(request.path().strip_prefix('/')?)?;
        // These mean something else in the text of a URL.
        if path.contains(['?', '#', '\\']) || path.chars().any(char::is_control) {
            return None;
        }
        let (app, file) = path.rsplit_once('/')?;
        let (stream, ending) = file.rsplit_once('.')?;
        let container = match ending {
            "flv" => Container::Flv,
            "mp4" => Container::Mp4,
            _ => return None,
        };
        let stream = stream.strip_suffix(".live").unwrap_or(stream);
        let first = app.split('/').next().unwrap_or_default();
        if app.is_empty() || stream.is_empty() || RESERVED.contains(&first) {
            return None;
        }
        Some(LivePath { app: app.to_owned(), stream: stream.to_owned(), container })
    }
}

/// Replaces `%XX`. `None` if that is no UTF-8, or a `%` is followed by something else.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).ok()
}
