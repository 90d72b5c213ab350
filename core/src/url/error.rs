//! Errors of names and URLs.

use std::fmt;

use super::{MAX_NAME_LEN, MAX_PARAMS, MAX_TEXT_LEN};

/// Which text an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The `tcUrl` of `connect`, or a URL that is to be used as one.
    TcUrl,
    /// The `app` of `connect`, or the app within a name.
    App,
    /// The stream name of `publish` or `play`.
    Stream,
    /// The virtual host.
    Vhost,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TcUrl => "tcUrl",
            Self::App => "app",
            Self::Stream => "stream name",
            Self::Vhost => "vhost",
        })
    }
}

/// Why a client's texts name no stream. The client is always the cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// `connect` had neither a `tcUrl` nor an `app`.
    #[error("neither tcUrl nor app was sent")]
    Missing,
    /// The URL is empty or consists of blanks.
    #[error("tcUrl is empty")]
    Empty,
    /// The text is longer than [`MAX_TEXT_LEN`].
    #[error("{part} of {length} bytes is over the limit of {MAX_TEXT_LEN}")]
    TooLong {
        /// The text at fault.
        part: Part,
        /// Its length in bytes.
        length: usize,
    },
    /// The bytes are not UTF-8, which AMF 0 §1.3.1 demands.
    #[error("tcUrl is not UTF-8")]
    NotUtf8,
    /// The text has a control character, other than blanks at either end.
    #[error("control character in {part}")]
    ControlCharacter {
        /// The text at fault.
        part: Part,
    },
    /// The URL does not start with `scheme://`.
    #[error("tcUrl has no scheme")]
    NoScheme,
    /// The scheme belongs to another protocol.
    #[error("{scheme} is not a scheme of RTMP")]
    NotRtmp {
        /// The scheme, in lower case.
        scheme: String,
    },
    /// The URL has no host.
    #[error("tcUrl has no host")]
    NoHost,
    /// The host has characters that no host name may have, or unbalanced brackets.
    #[error("tcUrl has a malformed host")]
    BadHost,
    /// The port is not a decimal number.
    #[error("port in tcUrl is not decimal")]
    PortNotDecimal,
    /// The port is above 65535.
    #[error("port in tcUrl is out of range")]
    PortOutOfRange,
    /// A query has more than [`MAX_PARAMS`] pairs.
    #[error("more than {MAX_PARAMS} parameters")]
    TooManyParams,
    /// The parts of the texts do not make a legal name.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Why a virtual host, an app and a stream do not make a [`StreamKey`](super::StreamKey).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The part, or one component between its slashes, is empty.
    #[error("{part} is empty or has an empty component")]
    Empty {
        /// The part at fault.
        part: Part,
    },
    /// A NUL or another control character: such names break logs, files and URLs.
    #[error("control character in {part}")]
    ControlCharacter {
        /// The part at fault.
        part: Part,
    },
    /// A component is `.` or `..`: names become paths in recordings and HTTP.
    #[error("{part} has a dot component")]
    DotComponent {
        /// The part at fault.
        part: Part,
    },
    /// A virtual host has a blank or a slash, or a stream has a slash (the app takes all components
    /// except the last).
    #[error("{part} has a character that it cannot have")]
    BadCharacter {
        /// The part at fault.
        part: Part,
    },
    /// The whole name is longer than [`MAX_NAME_LEN`].
    #[error("name of {length} bytes is over the limit of {MAX_NAME_LEN}")]
    TooLong {
        /// Length of `vhost/app/stream` in bytes.
        length: usize,
    },
}
