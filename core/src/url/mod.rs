//! Names: the texts of an RTMP client, turned into the identity of one stream.
//!
//! A client names a stream in three texts: `tcUrl` and `app` of the `connect` command (RTMP 1.0
//! §7.2.1.1) and the stream name of `publish` or `play` (§7.2.2). Clients split the URL that their
//! user typed at different places, so the texts have a meaning only together:
//!
//! | typed by the user | FFmpeg sends app, name | librtmp sends app, name |
//! |---|---|---|
//! | `rtmp://h/live/a/b/c` | `live/a`, `b/c` | `live/a/b`, `c` |
//! | `rtmp://h/live/k?u=http://x/p` | `live`, `k?u=http://x/p` | `live/k?u=http:/`, `x/p` |
//! | OBS, server `rtmp://h/live/k`, no key | `live/k`, nothing | - |
//!
//! [`Connect::parse`] reads what `connect` carries and [`Connect::target`] adds the stream name;
//! [`discover`] does both at once. The rules:
//!
//! 1. The path is the path of `app` (of `tcUrl` only if there is no `app`), then the path of the
//!    stream name, in that order. The last component is the stream, the components before it
//!    are the app; so it does not matter where the client splits the URL.
//! 2. Repeated `/` count once, `_definst_` (the default instance of Flash Media Server) is dropped,
//!    blanks around a component are dropped. A stream without an app belongs to [`DEFAULT_APP`]; a
//!    path without components is an error.
//! 3. A query starts at the first `?` and goes to the end of its text; a `#` before it is part of
//!    the name. Queries are merged in the order `tcUrl`, `app`, stream name into [`Params`], every
//!    pair once. If a key occurs more than once, a lookup gives the last value.
//! 4. `vhost=` (or `domain=`) names the virtual host, else the host of `tcUrl` does.
//!    `live...vhost...a` means `live?vhost=a`. A host name has no `/`, so text after a `/` in such a
//!    value belongs to the path: `live?vhost=a/cam` is `live/cam?vhost=a`.
//! 5. Names are compared byte by byte, as sent: only the values that [`Params::get`] returns are
//!    percent-decoded, and dots are part of the name. Host names ignore ASCII case.
//! 6. A text ends at its first NUL. If `app` is not empty and `tcUrl` is not a URL, the client is in
//!    [`DEFAULT_VHOST`], and the query of that text is still merged.
//!
//! librtmp renames files: it sends `dir/f.mp4` as `dir/mp4:f`. The names here keep that form; it
//! occurs with recordings, not with live streams.

mod connect;
mod error;
mod key;
mod params;
mod shown;
mod target;
mod tc_url;
mod text;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use connect::Connect;
pub use error::{NameError, Part, UrlError};
pub use key::StreamKey;
pub use params::Params;
pub use shown::{quoted, shortened};
pub use target::Target;
pub use tc_url::{Scheme, TcUrl, resolve};
pub(crate) use text::{VHOST_MARK, first_component};

/// The virtual host of a client that names none, and of every name that no configured virtual host
/// matches. The spelling is that of SRS. In a URL it has no effect: `?vhost=__defaultVhost__` is
/// ignored.
pub const DEFAULT_VHOST: &str = "__defaultVhost__";

/// The app of a URL that has a stream and no app, `rtmp://h/cam`; the spelling is that of SRS.
pub const DEFAULT_APP: &str = "__defaultApp__";

/// Most bytes in one `tcUrl`, `app` or stream name, query included. FFmpeg sends up to 1024; signed
/// tokens need more.
pub const MAX_TEXT_LEN: usize = 8192;

/// Most bytes in a canonical name, `vhost/app/stream`: a stream key may be a signed token of
/// [`MAX_TEXT_LEN`], and there is room for virtual host and app in addition.
pub const MAX_NAME_LEN: usize = MAX_TEXT_LEN + 1024;

/// Most pairs in [`Params`], and in any one of the queries they are merged from.
pub const MAX_PARAMS: usize = 64;

/// Reads the three texts of a client at once: [`Connect::parse`], then [`Connect::target`].
///
/// # Errors
/// The errors of [`Connect::parse`] and [`Connect::target`].
pub fn discover(tc_url: Option<&str>, app: Option<&str>, stream: &str) -> Result<Target, UrlError> {
    Connect::parse(tc_url, app)?.target(stream)
}
