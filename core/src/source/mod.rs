//! One live stream: a bounded log of frames already encoded for the wire, the headers in force, and cursors.
//!
//! A publisher's messages become [`Frame`]s, encoded once for all players. [`Source::push`] appends one to the log in
//! constant time, whatever the audience. A player holds a [`Cursor`]; [`Source::next`] hands it frame after frame, and
//! a cursor that fell off the log's tail starts anew at the newest key frame, its gap counted. The log is the GOP cache
//! as well: a player that joins starts at the newest key frame in it.

mod frame;
mod headers;
mod log;
mod merge;
mod timeline;

pub use frame::{Frame, FrameKind, WireFormat};
pub use headers::Headers;
pub(crate) use log::LOG_ENTRY;
pub use log::{Cursor, Gap, Next, Source, SourceLimits, SourceStats, Start, StartRule};
pub use merge::{Flush, MergeWindow};
pub use timeline::{Timeline, Timestamps};
