//! Several servers as one: the directory of streams in a Redis.
//!
//! Core's `Location` decides what the directory is asked and what its answers mean. Here is what it needs: a thread
//! ([`driver`]) with a connection to the Redis ([`link`], [`dial`]) for requests, one for notices ([`notices`]), the scripts
//! that the Redis runs ([`scripts`]), and the reading of what it sends ([`replies`]). [`streams`] does what the streams of the
//! server want of it. [`Directory`] is the handle for the rest of the program. No frame of a stream ever waits for any of it.

mod advertise;
mod clock;
mod dial;
mod directory;
mod driver;
mod link;
mod lookups;
mod notices;
mod probe;
mod record;
mod redis_url;
mod replies;
mod scripts;
mod session;
mod settings;
mod streams;
mod tally;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub(crate) use advertise::Advertise;
pub(crate) use directory::{Directory, View};
pub(crate) use probe::probe;
pub(crate) use record::{Load, NodeRecord};
pub(crate) use settings::ClusterSettings;
pub(crate) use tally::BUCKETS;

/// How long the server waits at most, before it drains, until the others know.
pub(crate) const TO_BE_KNOWN: Duration = Duration::from_millis(500);

/// The most memory that the directory takes: 1 KiB for each of 100,000 leases while they are all asked for at once, 300 bytes
/// for each of 10,000 names of other servers, and one reply.
pub(crate) const MOST_MEMORY: u64 = 104 << 20;
