/// The answer of a back end to a request, see [`conn::Ask`](crate::conn::Ask).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Granted.
    Allow,
    /// Refused, with a text for the client.
    Deny(String),
    /// Refused, and the client is sent to another server: the full RTMP URL of the stream there.
    Redirect(String),
}
