/// What the outside says of a request, see [`conn::Ask`](crate::conn::Ask).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Granted.
    Allow,
    /// Refused, in words for the client.
    Deny(String),
    /// Refused, and sent elsewhere: the full RTMP URL of the stream.
    Redirect(String),
}
