use std::fmt;

/// The stage a connection had reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Exchanging C0 C1 C2 and S0 S1 S2.
    Handshake,
    /// Waiting for `connect`, or for its answer.
    Connect,
    /// Connected, no stream published or played.
    Connected,
    /// Publishing at least one stream.
    Publishing,
    /// Playing at least one stream, publishing none.
    Playing,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Handshake => "handshake",
            Phase::Connect => "connect",
            Phase::Connected => "connected",
            Phase::Publishing => "publishing",
            Phase::Playing => "playing",
        })
    }
}
