use std::time::Instant;

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// Call `handle_timeout` at this time.
    pub deadline: Option<Instant>,
    /// Bytes from the peer are welcome.
    pub read: bool,
    /// Bytes wait in `outbound`.
    pub write: bool,
    /// A player is ready for more of its source.
    pub source: bool,
}
