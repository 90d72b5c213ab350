//! Who may do what, as data.

mod network;

pub use network::{Network, NetworkError};
