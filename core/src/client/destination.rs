use std::fmt;

use thiserror::Error;

use crate::url::{self, Scheme, TcUrl, UrlError};

/// Where a stream is to be published or played: a full URL, `rtmp://host[:port]/app[/more]/stream[?query]`.
///
/// The last component of the path is the stream, all before it the application, as FFmpeg has it for paths of two; the
/// query stays with the stream. Where that leaves nothing for either, the rules of [`url`] decide:
/// `rtmp://host/live?vhost=a/cam` is the stream `cam?vhost=a` of `live`. User and password are not sent.
///
/// ```
/// use anabranch_core::client::Destination;
///
/// let destination = Destination::parse("rtmp://Example.org/live/room/cam?token=a/b")?;
/// assert_eq!((destination.host(), destination.port()), ("example.org", 1935));
/// assert_eq!((destination.app(), destination.stream()), ("live/room", "cam?token=a/b"));
/// assert_eq!(destination.tc_url(), "rtmp://example.org:1935/live/room");
/// # Ok::<(), anabranch_core::client::DestinationError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    scheme: Scheme,
    host: String,
    port: u16,
    app: String,
    stream: String,
}

/// Why a URL is not a destination.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DestinationError {
    /// It is not the URL of a stream.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// It wants RTMP wrapped in HTTP, or Adobe's encryption.
    #[error("{0} is not supported: use rtmp, or rtmps with TLS from the caller")]
    Scheme(Scheme),
}

impl Destination {
    /// Takes a full URL apart.
    ///
    /// # Errors
    /// It names no stream, or wants another protocol.
    pub fn parse(url: &str) -> Result<Self, DestinationError> {
        let parts = TcUrl::parse(url)?;
        // Also says what is wrong with names.
        let names = url::discover(Some(url), None, "")?;
        let (app, name, query) = match parts.app().rsplit_once('/') {
            Some((app, name)) => (app.trim_end_matches('/'), name, parts.query().to_owned()),
            None => {
                let query = names.params().to_query();
                (names.app(), names.stream(), query.trim_start_matches('?').to_owned())
            }
        };
        let stream = if query.is_empty() { name.to_owned() } else { format!("{name}?{query}") };
        Destination::at(&parts, app.to_owned(), stream)
    }

    /// The stream of this name, query and all, in the application of `tc_url`: where a redirect or a
    /// [reconnect request](super::ClientEvent::ReconnectRequest) leads.
    ///
    /// # Errors
    /// The two together name no stream, or want another protocol.
    pub fn within(tc_url: &TcUrl, stream: &str) -> Result<Self, DestinationError> {
        let app = match tc_url.query() {
            "" => tc_url.app().to_owned(),
            query => format!("{}?{query}", tc_url.app()),
        };
        url::discover(Some(&tc_url.to_string()), Some(&app), stream)?;
        Destination::at(tc_url, app, stream.to_owned())
    }

    fn at(parts: &TcUrl, app: String, stream: String) -> Result<Self, DestinationError> {
        let scheme = parts.scheme().clone();
        if !matches!(scheme, Scheme::Rtmp | Scheme::Rtmps) {
            return Err(DestinationError::Scheme(scheme));
        }
        Ok(Destination { scheme, host: parts.host().to_owned(), port: parts.port(), app, stream })
    }

    /// A stream, with its query, of an application of a server.
    pub(crate) fn of(scheme: Scheme, host: &str, port: u16, app: &str, stream: String) -> Self {
        Destination { scheme, host: host.to_owned(), port, app: app.to_owned(), stream }
    }

    /// RTMP or RTMPS. With RTMPS, the caller that connects provides TLS.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// The host to resolve and connect to, in lower case, IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, the scheme's own if the URL has none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The application.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The stream to [`publish`](super::Client::publish) or [`play`](super::Client::play), with its query.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The URL of the application as `connect` carries it. FFmpeg and librtmp always say the port.
    pub fn tc_url(&self) -> String {
        let Destination { scheme, host, port, app, .. } = self;
        if host.contains(':') {
            format!("{scheme}://[{host}]:{port}/{app}")
        } else {
            format!("{scheme}://{host}:{port}/{app}")
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tc_url(), self.stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_component_is_the_stream_and_keeps_the_query() {
        for (url, app, stream) in [
            ("rtmp://h/live/cam", "live", "cam"),
            ("rtmp://h/live/room/cam?u=http://x/p", "live/room", "cam?u=http://x/p"),
            ("rtmp://h/live//cam", "live", "cam"),
            ("rtmp://h/live?vhost=a.example/cam", "live", "cam?vhost=a.example"),
            ("rtmp://h/cam", "__defaultApp__", "cam"),
            ("rtmp://u:p@h/live/cam", "live", "cam"),
        ] {
            let destination = Destination::parse(url).expect(url);
            assert_eq!((destination.app(), destination.stream()), (app, stream), "{url}");
            assert_eq!(destination.tc_url(), format!("rtmp://h:1935/{app}"));
        }
        let secure = Destination::parse("rtmps://[::1]/live/cam").expect("a URL");
        assert_eq!(secure.to_string(), "rtmps://[::1]:443/live/cam");
    }

    #[test]
    fn what_is_no_stream_of_rtmp_is_refused() {
        assert_eq!(Destination::parse("http://h/live/cam"), Err(UrlError::NotRtmp { scheme: "http".into() }.into()));
        assert_eq!(Destination::parse("rtmpt://h/live/cam"), Err(DestinationError::Scheme(Scheme::Rtmpt)));
        assert_eq!(Destination::parse("live/cam"), Err(UrlError::NoScheme.into()));
        assert!(matches!(Destination::parse("rtmp://h/"), Err(DestinationError::Url(UrlError::Name(_)))));
    }

    #[test]
    fn an_application_elsewhere_gets_the_same_stream() {
        let tc_url = TcUrl::parse("rtmp://other:1936/live?vhost=a").expect("a URL");
        let destination = Destination::within(&tc_url, "cam?token=x").expect("a stream");
        assert_eq!(destination.to_string(), "rtmp://other:1936/live?vhost=a/cam?token=x");
    }
}
