use std::time::Duration;

use anabranch_core::chunk::MAX_HEADER;
use anabranch_core::conn::{Config, VhostConfig};
use anabranch_core::hub::Conflict;
use anabranch_core::source::Timestamps;

use super::viewer::Promise;
use crate::session::ONE_REPLY;

/// A packet of a bandwidth check, and what else is queued that is no reply, in bytes.
const BEYOND: usize = 16_000;

/// What holds under every configuration that was ever in force: streams and connections keep the one they began with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Most bytes that may wait for a client, the longest frame not counted.
    pub(super) queue: usize,
    /// Most bytes of a log.
    pub(super) log: usize,
    pub(super) chunk_size: usize,
    pub(super) promise: Promise,
    /// Bytes of headers that every stream keeps.
    pub(super) header_bytes: usize,
    /// The longest that frames may wait for others.
    pub(super) merge_window: Duration,
    /// Whether each name has at most one publisher, which keeps it.
    pub(super) exclusive: bool,
}

impl Bounds {
    pub(super) fn of(config: &Config) -> Self {
        let hosts = || config.vhosts.iter().map(|vhost| &vhost.settings).chain([&config.defaults]);
        let most = |of: fn(&VhostConfig) -> usize| hosts().map(of).max().unwrap_or_default();
        let queue = most(|host| host.high_water)
            + most(|host| host.session.limits.replies.max(4096))
            // All headers go out together, each with a head, and once more when a second stream starts.
            + 2 * (most(|host| host.source.header_bytes) + 64 * MAX_HEADER)
            + ONE_REPLY
            + BEYOND;
        Bounds {
            queue,
            log: most(|host| host.source.bytes),
            chunk_size: hosts().map(|host| host.session.chunk_size as usize).min().unwrap_or(128),
            promise: Promise {
                high_water: most(|host| host.high_water),
                rising: hosts().all(|host| host.timestamps == Timestamps::Monotonic),
                start_wait: hosts().map(|host| host.start_limits.wait).min().unwrap_or_default(),
            },
            header_bytes: hosts().map(|host| host.source.header_bytes).min().unwrap_or_default(),
            merge_window: hosts().map(|host| host.pacing.merge_window).max().unwrap_or_default(),
            exclusive: hosts().all(|host| host.conflict == Conflict::Reject),
        }
    }

    /// Another configuration is in force beside the one that what runs goes by.
    pub(super) fn widen(&mut self, config: &Config) {
        let other = Bounds::of(config);
        *self = Bounds {
            queue: self.queue.max(other.queue),
            log: self.log.max(other.log),
            chunk_size: self.chunk_size.min(other.chunk_size),
            promise: Promise {
                high_water: self.promise.high_water.max(other.promise.high_water),
                rising: self.promise.rising && other.promise.rising,
                start_wait: self.promise.start_wait.min(other.promise.start_wait),
            },
            header_bytes: self.header_bytes.min(other.header_bytes),
            merge_window: self.merge_window.max(other.merge_window),
            exclusive: self.exclusive && other.exclusive,
        };
    }
}
