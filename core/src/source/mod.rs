//! One live stream: a bounded log of frames that are encoded for the wire, the headers in force, and cursors.
//!
//! A publisher's messages become [`Frame`]s, encoded once for all players. [`Source::push`] appends a frame to the log
//! in constant time, for any number of players. A player holds a [`Cursor`]; [`Source::next`] returns frame after
//! frame. A cursor whose next frame is no longer in the log starts again at the newest key frame, and the gap is
//! counted. The log is the GOP cache as well: a player that joins starts at the newest key frame in it.
//!
//! ```text
//!         tail                                 newest key frame            head
//!  log     [ k p p p p p k p p p p p p p p p p p k p p p p p p p p p p p p p ]  <- push
//!                              ^                 ^                       ^
//!                        a slow player   a player that joins     a player in time
//! ```
//!
//! A source has no name and no lock; a [`Hub`](crate::hub::Hub) adds both.
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
//!     let message = Message { chunk_stream: 6, timestamp: 0, type_id, message_stream_id: 1, payload };
//!     source.push(now, Frame::encode(message, WireFormat { chunk_size: 60_000 }));
//! }
//!
//! assert!(matches!(source.next(&mut cursor), Next::Start(_)), "first the headers in force");
//! assert!(matches!(source.next(&mut cursor), Next::Frame(frame) if frame.is_join_point()));
//! assert!(matches!(source.next(&mut cursor), Next::Frame(_)));
//! assert!(matches!(source.next(&mut cursor), Next::Pending));
//! ```
//!
//! Players at the same place are sent the same bytes: [`Source::batch`] returns them in one piece, for adapters that
//! write to many players.
//!
//! [`Timeline`] corrects timestamps that jump or go back, [`StartRule`] says where new players begin, [`StartLimits`]
//! says how long they wait for a start, and [`SourceLimits`] bounds the memory. [`pacing`](crate::pacing) decides when
//! players are woken.

mod access_units;
mod announced;
mod batch;
mod bridge;
mod form;
mod frame;
mod headers;
mod log;
mod mp4;
mod timeline;

pub use announced::BY_WEBRTC;
pub use batch::Batch;
pub(crate) use batch::Contents;
pub(crate) use bridge::{Bridge, Bridged};
pub use form::Form;
pub(crate) use form::Tracks;
pub use frame::{Frame, FrameKind, WireFormat};
pub(crate) use headers::HEADER_ENTRY;
pub use headers::Headers;
pub use log::{Cursor, Gap, Next, Place, Source, SourceLimits, SourceStats, Start, StartLimits, StartRule};
pub(crate) use log::{LOG_ENTRY, MIN_SETS};
pub(crate) use mp4::Mp4Tracks;
pub use mp4::{Mp4, Sound};
pub use timeline::{Timeline, Timestamps};
