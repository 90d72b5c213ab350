use std::net::SocketAddr;

/// A server as a case knows it: an address, and names that no other case uses.
#[derive(Debug)]
pub struct Target {
    address: SocketAddr,
    /// A stream name of this case's own.
    pub name: String,
}

impl Target {
    /// A server that a test has started, and a name for what the test does there.
    pub fn at(address: SocketAddr, name: &str) -> Self {
        Target { address, name: name.to_owned() }
    }

    pub(super) fn new(address: SocketAddr, number: usize) -> Self {
        Target { address, name: format!("case{number}") }
    }

    /// The same server, with other names.
    pub(super) fn again(&self, number: usize) -> Self {
        Target { address: self.address, name: self.named(&format!("round{number}")) }
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

impl From<&Target> for SocketAddr {
    fn from(target: &Target) -> SocketAddr {
        target.address
    }
}
