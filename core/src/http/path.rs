use std::fmt::Write as _;

use super::request::Request;
use crate::url;

/// First components that are the program's own, whatever applications there are.
const RESERVED: [&str; 5] = ["api", "watch", "call", SIGNALLING, "assets"];
/// That of the signalling of WebRTC. Pages of others may use it as they use live streams.
const SIGNALLING: &str = "rtc";

/// The form in which a live stream is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Container {
    /// FLV, as `.flv`.
    Flv,
    /// Fragmented MP4, as `.mp4`.
    Mp4,
    /// The playlist of HTTP Live Streaming, as `.m3u8`.
    Hls,
    /// The manifest of MPEG-DASH, as `.mpd`.
    Dash,
}

impl Container {
    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Container::Flv => "video/x-flv",
            Container::Mp4 => "video/mp4",
            Container::Hls => "application/vnd.apple.mpegurl",
            Container::Dash => "application/dash+xml",
        }
    }

    /// True if it is a list of segments, and not the stream itself.
    pub fn is_playlist(self) -> bool {
        matches!(self, Container::Hls | Container::Dash)
    }
}

/// A path that means a live stream: `/live/cam.flv`, or `/live/cam.live.flv`; the same with the ends of other forms.
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
    /// True if the path is one of the program's own, whatever applications there are, and not for pages of others.
    pub fn is_private(path: &str) -> bool {
        let first = path.strip_prefix('/').unwrap_or(path).split('/').next().unwrap_or_default();
        first.is_empty() || (RESERVED.contains(&first) && first != SIGNALLING)
    }

    /// The stream that a request means, if its path has the form of one.
    pub fn of(request: &Request) -> Option<Self> {
        let path = decoded_path(request)?;
        let (app, file) = path.rsplit_once('/')?;
        let (stream, ending) = file.rsplit_once('.')?;
        let container = match ending {
            "flv" => Container::Flv,
            "mp4" => Container::Mp4,
            "m3u8" => Container::Hls,
            "mpd" => Container::Dash,
            _ => return None,
        };
        // A segment has an ending of a live stream, too.
        if is_segment(file) {
            return None;
        }
        let stream = stream.strip_suffix(".live").unwrap_or(stream);
        if stream.trim().is_empty() || !is_application(app) {
            return None;
        }
        Some(LivePath { app: app.to_owned(), stream: stream.to_owned(), container })
    }
}

/// A path that means a part of a stream by a name that the server gave it:
/// `/live/cam/1700000000-0123456789abcdef0123456789abcdef.m4s`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentPath {
    /// The application.
    pub app: String,
    /// The stream.
    pub stream: String,
    /// The name.
    pub name: String,
}

impl SegmentPath {
    /// What a request means, if its path has the form of one.
    pub fn of(request: &Request) -> Option<Self> {
        let path = decoded_path(request)?;
        let (folder, name) = path.rsplit_once('/')?;
        let (app, stream) = folder.rsplit_once('/')?;
        if !is_segment(name) || stream.trim().is_empty() || !is_application(app) {
            return None;
        }
        Some(SegmentPath { app: app.to_owned(), stream: stream.to_owned(), name: name.to_owned() })
    }
}

/// True if a file has a name as the server gives them to segments.
fn is_segment(name: &str) -> bool {
    let Some((stem, "m4s" | "mp4" | "ts")) = name.rsplit_once('.') else {
        return false;
    };
    let Some((numbers, bits)) = stem.rsplit_once('-') else {
        return false;
    };
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_number = |byte: u8| matches!(byte, b'0'..=b'9' | b'.' | b'i' | b'v' | b'a');
    bits.len() == 32 && bits.bytes().all(is_hex) && numbers.bytes().all(is_number)
}

/// The path of a request without its first slash, and without `%XX`. `None` if it cannot be the name of anything.
pub fn decoded_path(request: &Request) -> Option<String> {
    let path = decoded(request.path().strip_prefix('/')?)?;
    // Names are given on as text in which these mean something else.
    let is_odd = path.contains('?') || path.contains(url::VHOST_MARK) || path.chars().any(char::is_control);
    (!is_odd).then_some(path)
}

/// Whether a name is one of an application, and none of the program's own. Empty components, for example, do not count.
pub fn is_application(app: &str) -> bool {
    url::first_component(app).is_some_and(|first| !RESERVED.contains(&first))
}

/// A name as one part of a path: all that is not plain as `%XX`.
pub fn encoded(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            // Writing to a string does not fail.
            _ = write!(out, "%{byte:02X}");
        }
    }
    out
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
