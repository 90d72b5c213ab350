//! The names in the `connect` command.

use std::fmt;

use super::tc_url::Of;
use super::text::{components, prepare, split_query, split_trailing_name, trim};
use super::{DEFAULT_APP, DEFAULT_VHOST, NameError, Params, Part, Scheme, StreamKey, Target, TcUrl, UrlError, key};

/// The names in a `connect` command, read once per connection. Each `publish` or `play` then gets
/// its own [`Target`], so that no parameter of one request remains in the next.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    of: Of,
    tc_url: Option<TcUrl>,
    /// Why there is no `tcUrl` although the client sent one.
    broken: Option<UrlError>,
    /// Path of the text in use (`app`, else `tcUrl`), as sent.
    path: String,
    /// Query of the same text, as sent.
    query: String,
    /// Query of `tcUrl`, if it differs from `query`.
    other_query: String,
    vhost: String,
    app: String,
    params: Params,
}

impl Connect {
    /// Reads `tcUrl` and `app`. If their paths differ, the path of `app` is used (RTMP 1.0 §7.2.1.1
    /// defines it as the app). If one of the two texts is empty, it counts as missing. If `app`
    /// is not empty, a `tcUrl` that cannot be read is no error, and the client is in the default
    /// virtual host (see [`Connect::tc_url_error`]): cameras and home-made clients send all kinds
    /// of text as `tcUrl`.
    ///
    /// # Errors
    /// [`UrlError::Missing`] without either text; any error of [`TcUrl::parse`], if there is no
    /// `app`; a text that is too long; illegal names as in [`StreamKey::new`]; too many parameters.
    pub fn parse(tc_url: Option<&str>, app: Option<&str>) -> Result<Self, UrlError> {
        Connect::parse_of(Of::Rtmp, tc_url, app)
    }

    /// The same for a request by HTTP, whose URL has that scheme. Its path alone names the stream: what looks like a part of
    /// a path in its parameters is none.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_web(url: Option<&str>, app: Option<&str>) -> Result<Self, UrlError> {
        Connect::parse_of(Of::Web, url, app)
    }

    fn parse_of(of: Of, tc_url: Option<&str>, app: Option<&str>) -> Result<Self, UrlError> {
        let app = app.map(|text| prepare(text, Part::App)).transpose()?;
        let goes_by_app = app.as_deref().is_some_and(|app| components(split_query(app).0).next().is_some());
        let sent = tc_url;
        let (tc_url, broken) = match sent.map(|text| usable(of, text)) {
            Some(Err(UrlError::Empty)) if app.is_some() => (None, None),
            Some(Err(error @ UrlError::TooLong { .. })) => return Err(error),
            Some(Err(error)) if goes_by_app => (None, Some(error)),
            parsed => (parsed.transpose()?, None),
        };
        // A text that is not a URL may still carry a token in its query.
        let rest = broken.as_ref().and(sent).and_then(|text| prepare(text, Part::TcUrl).ok()).unwrap_or_default();
        let (path, query, other_query) = match (&tc_url, app.as_deref().map(split_query)) {
            (None, None) => return Err(UrlError::Missing),
            (None, Some((path, query))) => {
                let other = trim(split_query(&rest).1);
                (path, query, if other == query { "" } else { other })
            }
            (Some(url), None | Some(("", ""))) => (url.app(), url.query(), ""),
            (Some(url), Some((path, query))) if url.query() == query => (path, query, ""),
            (Some(url), Some((path, query))) => (path, query, url.query()),
        };

        let mut params = Params::default();
        params.read(other_query, &mut Vec::new())?;
        let mut names = components(path).collect();
        match of {
            Of::Rtmp => params.read(query, &mut names)?,
            Of::Web => params.read(query, &mut Vec::new())?,
        }
        let app = app_of(&names);
        key::check_app(&app)?;
        let vhost = vhost_of(&params, tc_url.as_ref());
        key::check_vhost(&vhost)?;
        Ok(Self {
            of,
            path: path.to_owned(),
            query: query.to_owned(),
            other_query: other_query.to_owned(),
            vhost,
            app,
            params,
            tc_url,
            broken,
        })
    }

    /// The same client with another app, which has no query.
    ///
    /// # Errors
    /// The app is empty, too long or illegal, as in [`StreamKey::new`].
    pub fn with_app(&self, app: &str) -> Result<Self, UrlError> {
        let path = prepare(app, Part::App)?;
        let names: Vec<_> = components(&path).collect();
        if path.contains('?') {
            return Err(NameError::BadCharacter { part: Part::App }.into());
        }
        let app = names.join("/");
        key::check_app(&app)?;
        Ok(Self { path: path.into_owned(), app, ..self.clone() })
    }

    /// The URL of the same application in the same virtual host at another server: `rtmp://HOST:PORT`, without a path.
    /// Parameters stay as they were sent. A virtual host with a name becomes the parameter `vhost`, because the URL has
    /// another host.
    pub fn at_server(&self, server: &str, vhost: &str) -> String {
        let mut url = format!("{}/{}", server.trim_end_matches('/'), self.path.trim_matches('/'));
        let mut mark = '?';
        for query in [&self.query, &self.other_query] {
            if !query.is_empty() {
                url.push(mark);
                url.push_str(query);
                mark = '&';
            }
        }
        if vhost != DEFAULT_VHOST && self.params.get("vhost").is_none() {
            url.push(mark);
            url.push_str("vhost=");
            url.push_str(vhost);
        }
        url
    }

    /// Adds the stream name of `publish` or `play`.
    ///
    /// The name may be empty, or only a query, if the path of `connect` already contains the stream
    /// name: OBS sends the whole URL as `tcUrl` and `app` when its stream key is left empty. A
    /// stream key without an app (`rtmp://h/cam`) belongs to [`DEFAULT_APP`].
    ///
    /// # Errors
    /// [`NameError::Empty`](super::NameError::Empty) of the stream if no text has a name;
    /// other illegal names as in [`StreamKey::new`], too many parameters, a text that is too long
    /// or has control characters.
    pub fn target(&self, stream: &str) -> Result<Target, UrlError> {
        let stream = prepare(stream, Part::Stream)?;
        if self.of == Of::Web {
            let key = StreamKey::new(&self.vhost, &self.app, &stream)?;
            return Ok(Target::new(self.scheme(), self.host(), self.port(), key, self.params.clone()));
        }
        let (mut query, mut name) = (self.query.as_str(), stream.as_ref());
        let joined;
        if query.ends_with(":/") && !name.is_empty() {
            // librtmp cuts at the third slash even if that is the one in the `//` of a URL within the query
            joined = format!("{query}/{name}");
            (query, name) = (&joined, "");
        }
        let (name_path, name_query) = split_query(name);

        let mut names: Vec<&str> = components(&self.path).collect();
        let mut last = None;
        if names.len() < 2 && components(name_path).next().is_none() {
            // `rtmp://h/live?token=x/cam` typed into OBS as the server, without a key
            if let Some((before, name)) = split_trailing_name(query) {
                (query, last) = (before, Some(name));
            }
        }
        let mut params = Params::default();
        params.read(&self.other_query, &mut Vec::new())?;
        params.read(query, &mut names)?;
        names.extend(components(last.unwrap_or(name_path)));
        params.read(name_query, &mut names)?;

        let stream = names.pop().unwrap_or_default();
        let key = StreamKey::new(&vhost_of(&params, self.tc_url.as_ref()), &app_of(&names), stream)?;
        Ok(Target::new(self.scheme(), self.host(), self.port(), key, params))
    }

    /// The URL as sent, with its user and password if it has any.
    pub fn tc_url(&self) -> Option<&TcUrl> {
        self.tc_url.as_ref()
    }

    /// The error of the `tcUrl`, if the client sent one that cannot be read.
    pub fn tc_url_error(&self) -> Option<&UrlError> {
        self.broken.as_ref()
    }

    /// The scheme; RTMP if there was no `tcUrl`.
    pub fn scheme(&self) -> &Scheme {
        self.tc_url.as_ref().map_or(&Scheme::Rtmp, TcUrl::scheme)
    }

    /// The host in lower case; [`DEFAULT_VHOST`] if there was no `tcUrl`.
    pub fn host(&self) -> &str {
        self.tc_url.as_ref().map_or(DEFAULT_VHOST, TcUrl::host)
    }

    /// The port; the scheme's default port if none was given.
    pub fn port(&self) -> u16 {
        self.tc_url.as_ref().map_or(Scheme::Rtmp.default_port(), TcUrl::port)
    }

    /// The virtual host that `connect` names. A stream name may still name another.
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// The app that `connect` names, in canonical form. A stream name may add components to it
    /// (`live` and `room/cam`). With an empty stream name its last component is the stream.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The parameters of `connect`.
    pub fn params(&self) -> &Params {
        &self.params
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of: _, tc_url, broken, path: _, query: _, other_query: _, vhost, app, params } = self;
        f.debug_struct("Connect")
            .field("tc_url", tc_url)
            .field("broken", broken)
            .field("vhost", vhost)
            .field("app", app)
            .field("params", params)
            .finish()
    }
}

/// A URL whose host can be a virtual host.
fn usable(of: Of, text: &str) -> Result<TcUrl, UrlError> {
    let url = TcUrl::parse_of(of, text)?;
    key::check_vhost(url.host())?;
    Ok(url)
}

fn app_of(names: &[&str]) -> String {
    if names.is_empty() { DEFAULT_APP.to_owned() } else { names.join("/") }
}

fn vhost_of(params: &Params, tc_url: Option<&TcUrl>) -> String {
    match params.vhost() {
        Some(vhost) => vhost.to_ascii_lowercase(),
        None => tc_url.map_or(DEFAULT_VHOST, TcUrl::host).to_owned(),
    }
}
