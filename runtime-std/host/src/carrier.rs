#[cfg(feature = "tls")]
use std::sync::Arc;

/// How the connections of a listening socket are carried.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Carrier {
    /// As they are: `rtmp://`.
    #[default]
    Plain,
    /// In TLS: `rtmps://`. What the certificates are is the configuration's to say, for each connection anew.
    #[cfg(feature = "tls")]
    Tls(Arc<rustls::ServerConfig>),
    /// Either, as the client's first byte says: no RTMP client begins with that of TLS.
    #[cfg(feature = "tls")]
    Either(Arc<rustls::ServerConfig>),
}
