//! Statistics of streams and connections: totals, rates over sliding windows, key frame intervals, codecs, drops.
//!
//! Each set of numbers has one writer, the owner of a [`StreamStats`] or [`ConnStats`], and any number of readers. A
//! reader holds a view and takes snapshots. The numbers are atomics that only their owner writes. The owner never waits
//! for a reader, with one exception: a sequence header waits while a snapshot copies the codecs.
//!
//! The owner keeps counting while a snapshot is taken: each number in the snapshot is exact, but two of them may differ
//! by one frame. Rates are computed at the time of the snapshot, so that they fall when no frame arrives, without a
//! timer.
//!
//! The numbers of a virtual host or of the server are the sums over its streams and connections. Counts and
//! [`Throughput`]s can be added.

mod conn;
mod number;
mod rate;
mod stream;
mod track;

pub use conn::{ConnSnapshot, ConnStats, ConnStatsView};
pub use rate::{Rate, Recent, Throughput, Window};
pub use stream::{Interval, KeyFrameIntervals, StreamSnapshot, StreamStats, StreamStatsView};
pub use track::{AudioDescription, VideoDescription};
