/// Identifies a question; one server never uses the same twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AskId(pub(crate) u64);

/// The answer of a back end to a request, see [`conn::Ask`](crate::conn::Ask).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Granted.
    Allow,
    /// Granted under another name: for a stream, its name within the app, which may have several components; for
    /// `connect`, the app. The rules, the lock and the limits of the new name hold. No question is asked about it, and
    /// the notice at the end has the name that was asked about.
    Rename(String),
    /// Refused, with a text for the client.
    Deny(String),
    /// Refused because no back end could answer, with a text for the client.
    Unanswered(String),
    /// Refused by the origin of this edge, with its status code and its words.
    Origin {
        /// Such as `NetStream.Publish.BadName`; empty if the origin gave none.
        code: String,
        /// In words for people.
        words: String,
    },
    /// Refused, and the client is sent to another server: the full RTMP URL of the stream there.
    Redirect(String),
}
