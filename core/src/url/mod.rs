//! Names: what an RTMP client says it wants, turned into one stream's identity.
//!
//! A client names a stream in three texts: `tcUrl` and `app` of the `connect` command (RTMP 1.0
//! §7.2.1.1) and the stream name of `publish` or `play` (§7.2.2). Every client cuts the URL its
//! user typed at another place, so the texts are only meaningful together:
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
//!    stream name, in that order. The last component is the stream, what comes before it is the
//!    app; so it does not matter where the client cut.
//! 2. Repeated `/` count once, `_definst_` (the default instance of Flash Media Server) is dropped,
//!    blanks around a component are dropped. A stream without an app lives in [`DEFAULT_APP`]; no
//!    component at all is an error.
//! 3. A query starts at the first `?` and goes to the end of its text; a `#` before it is part of
//!    the name. Queries are merged in the order `tcUrl`, `app`, stream name into [`Params`], every
//!    pair once; on a lookup the later wins.
//! 4. `vhost=` (or `domain=`) names the virtual host, else the host of `tcUrl` does.
//!    `live...vhost...a` means `live?vhost=a`. As a host name holds no `/`, what follows one in
//!    such a value is path: `live?vhost=a/cam` is `live/cam?vhost=a`.
//! 5. Names are compared as the bytes that were sent: nothing is percent-decoded but the values
//!    that [`Params::get`] hands out, and dots are part of the name. Host names ignore ASCII case.
//!
//! 6. A text ends at its first NUL. Where `app` names something, a `tcUrl` that is no URL costs the
//!    virtual host only: the client is in [`DEFAULT_VHOST`], and the query of that text counts.
//!
//! What cannot be undone: librtmp renames files (`dir/f.mp4` is sent as `dir/mp4:f`), which is a
//! matter of recordings, not of live streams.

mod connect;
mod error;
mod key;
mod params;
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
pub use target::Target;
pub use tc_url::{Scheme, TcUrl, resolve};

/// The virtual host of a client that names none, and of every name that no configured virtual host
/// matches. The spelling is the one SRS users know. In a URL it says nothing:
/// `?vhost=__defaultVhost__` is ignored.
pub const DEFAULT_VHOST: &str = "__defaultVhost__";

/// The app of a URL that has a stream and no app, `rtmp://h/cam`; the spelling is SRS's.
pub const DEFAULT_APP: &str = "__defaultApp__";

/// Most bytes in one `tcUrl`, `app` or stream name, query included. FFmpeg stops at 1024; signed
/// tokens need more.
pub const MAX_TEXT_LEN: usize = 8192;

/// Most bytes in a canonical name, `vhost/app/stream`: a stream key may be a signed token of
/// [`MAX_TEXT_LEN`], and virtual host and app have room beside it.
pub const MAX_NAME_LEN: usize = MAX_TEXT_LEN + 1024;

/// Most pairs in [`Params`], and in any one of the queries they are merged from.
pub const MAX_PARAMS: usize = 64;

/// Reads the three texts of a client at once: [`Connect::parse`], then [`Connect::target`].
///
/// # Errors
/// As the two functions it is made of.
pub fn discover(tc_url: Option<&str>, app: Option<&str>, stream: &str) -> Result<Target, UrlError> {
    Connect::parse(tc_url, app)?.target(stream)
}
