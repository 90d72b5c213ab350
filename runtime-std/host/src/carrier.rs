#[cfg(feature = "tls")]
use std::sync::Arc;

/// How the connections of a listening socket are carried.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Carrier {
    /// Without TLS: `rtmp://`.
    #[default]
    Plain,
    /// In TLS: `rtmps://`. The configuration chooses the certificate for each connection.
    #[cfg(feature = "tls")]
    Tls(Arc<rustls::ServerConfig>),
    /// Either, by the client's first byte: no RTMP client begins with the first byte of TLS.
    #[cfg(feature = "tls")]
    Either(Arc<rustls::ServerConfig>),
}
