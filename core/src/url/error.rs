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
            Self::TcUrl => "the URL (tcUrl)",
            Self::App => "the app",
            Self::Stream => "the stream key",
            Self::Vhost => "the virtual host",
        })
    }
}

/// Why a client's texts name no stream. The client is always the cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// `connect` had neither a `tcUrl` nor an `app`.
    #[error("the client sent neither a URL (tcUrl) nor an app")]
    Missing,
    /// The URL is empty or consists of blanks.
    #[error("the URL (tcUrl) is empty")]
    Empty,
    /// The text is longer than [`MAX_TEXT_LEN`].
    #[error("{part} has {length} bytes; at most {MAX_TEXT_LEN} are allowed")]
    TooLong {
        /// The text at fault.
        part: Part,
        /// Its length in bytes.
        length: usize,
    },
    /// The bytes are not UTF-8, which AMF 0 §1.3.1 demands.
    #[error("the URL (tcUrl) is not UTF-8")]
    NotUtf8,
    /// The text has a control character, other than blanks at either end.
    #[error("{part} has a control character")]
    ControlCharacter {
        /// The text at fault.
        part: Part,
    },
    /// The URL does not start with `scheme://`.
    #[error("the URL (tcUrl) has no scheme: it begins with rtmp://")]
    NoScheme,
    /// The scheme belongs to another protocol.
    #[error("{scheme} is not a scheme of RTMP: the URL begins with rtmp://")]
    NotRtmp {
        /// The scheme, in lower case.
        scheme: String,
    },
    /// The URL has no host.
    #[error("the URL (tcUrl) has no host")]
    NoHost,
    /// The host has characters that no host name may have, or unbalanced brackets.
    #[error("the host in the URL (tcUrl) cannot be a host name or an address")]
    BadHost,
    /// The port is not a decimal number.
    #[error("the port in the URL (tcUrl) is not a number")]
    PortNotDecimal,
    /// The port is above 65535.
    #[error("the port in the URL (tcUrl) is greater than 65535")]
    PortOutOfRange,
    /// A query has more than [`MAX_PARAMS`] pairs.
    #[error("the URL has more than {MAX_PARAMS} parameters")]
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
    #[error("{part} is empty, or has an empty part between slashes")]
    Empty {
        /// The part at fault.
        part: Part,
    },
    /// A NUL or another control character: such names break logs, files and URLs.
    #[error("{part} has a control character")]
    ControlCharacter {
        /// The part at fault.
        part: Part,
    },
    /// A component is `.` or `..`: names become paths in recordings and HTTP.
    #[error("{} is . or .., which no name may have", part_of(*part))]
    DotComponent {
        /// The part at fault.
        part: Part,
    },
    /// A virtual host has a blank or a slash, or a stream has a slash (the app takes all components
    /// except the last).
    #[error("{part} has a blank or a slash, which it cannot have")]
    BadCharacter {
        /// The part at fault.
        part: Part,
    },
    /// The whole name is longer than [`MAX_NAME_LEN`].
    #[error("the whole name has {length} bytes; at most {MAX_NAME_LEN} are allowed")]
    TooLong {
        /// Length of `vhost/app/stream` in bytes.
        length: usize,
    },
}

/// The piece of a text between its slashes. What a user typed as the stream key may be a part of the app.
fn part_of(part: Part) -> &'static str {
    match part {
        Part::Vhost => "the virtual host",
        Part::TcUrl | Part::App | Part::Stream => "a part of the URL or of the stream key",
    }
}
