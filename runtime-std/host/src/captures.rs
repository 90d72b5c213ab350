use std::fmt;

use anabranch_core::capture::Tap;

/// Chooses which connections are captured, and where to. [`Tap`] says what a capture holds;
/// [`replay`](anabranch_core::replay::run) runs one again.
pub trait Captures: fmt::Debug + Send + Sync + 'static {
    /// The destination of the next connection's records; `None` if it is not captured. The thread that accepts
    /// connections calls this; it must not block.
    fn tap(&self) -> Option<Box<dyn Tap>>;
}
