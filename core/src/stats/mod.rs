//! Statistics of streams and connections: totals, rates over sliding windows, key frame intervals, codecs, drops.
//!
//! Each set of numbers has one writer, the owner of a [`StreamStats`] or [`ConnStats`], and any number of readers, who
//! hold a view and take snapshots. Numbers live in atomics which only their owner writes: it never waits for a reader,
//! except that a sequence header may meet a snapshot that is just copying the codecs.
//!
//! A snapshot is taken while the owner goes on: each number in it is right, but two of them may be one frame apart.
//! Rates are computed at the time of the snapshot, so that they fall when nothing arrives, without a timer.
//!
//! The numbers of a vhost or of the server are the sums of its streams' and connections': counts add up, and so do
//! [`Throughput`]s.

mod conn;
mod number;
mod rate;
mod stream;
mod track;

pub use conn::{ConnSnapshot, ConnStats, ConnStatsView};
pub use rate::{Rate, Recent, Throughput, Window};
pub use stream::{Interval, KeyFrameIntervals, StreamSnapshot, StreamStats, StreamStatsView};
pub use track::{AudioDescription, VideoDescription};
