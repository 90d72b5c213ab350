//! What both roles keep account of on a connection: time, acknowledgements, writes, bytes not parsed yet.

mod inbox;
mod patience;
mod stall;
mod timers;
mod window;

pub(crate) use inbox::Inbox;
pub(crate) use patience::{LATE_LOOKS, Patience, after};
pub(crate) use stall::WriteWatch;
pub(crate) use timers::Timers;
pub(crate) use window::AckWindow;
