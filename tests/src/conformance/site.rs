use std::net::SocketAddr;

/// A server as a case knows it: an address, and names that no other case uses.
#[derive(Debug)]
pub struct Site {
    address: SocketAddr,
    /// A stream name of this case's own.
    pub name: String,
}

impl Site {
    pub(super) fn new(address: SocketAddr, number: usize) -> Self {
        Site { address, name: format!("case{number}") }
    }

    /// The same server, with other names.
    pub(super) fn again(&self, number: usize) -> Self {
        Site { address: self.address, name: self.named(&format!("round{number}")) }
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// One more name of this case's own.
    pub fn named(&self, word: &str) -> String {
        format!("{}-{word}", self.name)
    }
}
