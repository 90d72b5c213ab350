//! The stream that a `publish` or `play` names.

use std::fmt;

use super::tc_url::write_authority;
use super::{NameError, Params, Scheme, StreamKey};

/// The content of a client's texts for one `publish` or `play`. `Display` is the canonical URL
/// without user and password. If that URL is read as a `tcUrl` without app and stream name, the
/// result is the same target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    scheme: Scheme,
    host: String,
    port: u16,
    key: StreamKey,
    params: Params,
}

impl Target {
    pub(super) fn new(scheme: &Scheme, host: &str, port: u16, key: StreamKey, params: Params) -> Self {
        Self { scheme: scheme.clone(), host: host.to_owned(), port, key, params }
    }

    /// The scheme; RTMP if there was no `tcUrl`.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// The host in lower case, IPv6 without brackets; [`DEFAULT_VHOST`](super::DEFAULT_VHOST) if
    /// there was no `tcUrl`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; the scheme's default port if none was given.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The virtual host that the client named, else the host, in lower case. It need not be
    /// configured: [`policy`](crate::policy) looks it up.
    pub fn vhost(&self) -> &str {
        self.key.vhost()
    }

    /// The app, `live` or `live/room`.
    pub fn app(&self) -> &str {
        self.key.app()
    }

    /// The stream within the app.
    pub fn stream(&self) -> &str {
        self.key.stream()
    }

    /// The parameters of all three texts.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The stream's name, with the virtual host that the client sent.
    pub fn key(&self) -> &StreamKey {
        &self.key
    }

    /// The same app and stream in another virtual host: the one that policy chose.
    ///
    /// # Errors
    /// The errors of [`StreamKey::new`]: `vhost` is not a host name, or makes the name too long.
    pub fn key_in(&self, vhost: &str) -> Result<StreamKey, NameError> {
        StreamKey::new(vhost, self.app(), self.stream())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_authority(f, &self.scheme, &self.host, self.port)?;
        write!(f, "/{}/{}{}", self.app(), self.stream(), self.params)
    }
}
