//! One live stream: a bounded log of frames already encoded for the wire, the headers in force, and cursors.
//!
//! A publisher's messages become [`Frame`]s, encoded once for all players. [`Source::push`] appends one to the log in
//! constant time, whatever the audience. A player holds a [`Cursor`]; [`Source::next`] hands it frame after frame, and
//! a cursor that fell off the log's tail starts anew at the newest key frame, its gap counted. The log is the GOP cache
//! as well: a player that joins starts at the newest key frame in it.
//!
//! ```text
//!         tail                                 newest key frame            head
//!  log     [ k p p p p p k p p p p p p p p p p p k p p p p p p p p p p p p p ]  <- push
//!                              ^                 ^                       ^
//!                        a slow player     one that joins          one in time
//! ```
//!
//! A source has no name and no lock; a [`Hub`](crate::hub::Hub) gives it both.
//!
//! ```
//! use std::time::Instant;
//! use anabranch_core::message::{Message, MessageType};
//! use anabranch_core::source::{Frame, Next, Source, SourceLimits, WireFormat};
//!
//! let now = Instant::now();
//! let mut source = Source::new(SourceLimits::default());
//! let mut cursor = source.join();
//! let _timeline = source.begin();
//! for body in [&[0x17, 1, 0, 0, 0, 1][..], &[0x27, 1, 0, 0, 0, 2]] {
//!     let (type_id, payload) = (MessageType::VIDEO, body.into());
//!     let message = Message { chunk_stream: 6, timestamp: 0, type_id, stream_id: 1, payload };
//!     source.push(now, Frame::encode(message, WireFormat { chunk_size: 60_000 }));
//! }
//!
//! assert!(matches!(source.next(&mut cursor), Next::Start(_)), "first the headers in force");
//! assert!(matches!(source.next(&mut cursor), Next::Frame(frame) if frame.is_join_point()));
//! assert!(matches!(source.next(&mut cursor), Next::Frame(_)));
//! assert!(matches!(source.next(&mut cursor), Next::Pending));
//! ```
//!
//! Players at the same place are sent the same: [`Source::batch`] is that in one piece, for whoever writes to many.
//!
//! Around the log: [`Timeline`] makes times rise where a publisher's do not, [`StartRule`] says where new players begin,
//! [`StartLimits`] how long they wait for that, and [`SourceLimits`] bounds it all. When players are woken is decided in
//! [`pacing`](crate::pacing).

mod batch;
mod frame;
mod headers;
mod log;
mod timeline;

pub use batch::Batch;
pub use frame::{Frame, FrameKind, WireFormat};
pub(crate) use headers::HEADER_ENTRY;
pub use headers::Headers;
pub use log::{Cursor, Gap, Next, Place, Source, SourceLimits, SourceStats, Start, StartLimits, StartRule};
pub(crate) use log::{LOG_ENTRY, MIN_SETS};
pub use timeline::{Timeline, Timestamps};
