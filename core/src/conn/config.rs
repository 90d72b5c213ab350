use std::time::Duration;

use crate::policy::Network;
use crate::session::SessionConfig;
use crate::source::{MergeWindow, SourceLimits};

/// The configuration of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// How sessions talk, their limits and timeouts.
    pub session: SessionConfig,
    /// Bounds of each stream's log.
    pub source: SourceLimits,
    /// How long frames may wait for company before players are woken. Default 30 ms: audio rides with video, and video
    /// up to 30 frames a second does not wait.
    pub merge_window: MergeWindow,
    /// How long players of a stream whose publisher went are left in peace before they are told that it is over.
    /// FFmpeg and rtmpdump end when they are told, so this is the time a publisher has to come back. Default 10 s.
    pub unpublish_grace: Duration,
    /// Whether multitrack messages go to every player, or only to those that announced that they understand them.
    /// Others get the default track alone. Default: only to those.
    pub multitrack_to_all: bool,
    /// Proxies that may say who is behind them (PROXY protocol 1 and 2, SRS's prefix). Default: none.
    pub trusted_proxies: Vec<Network>,
    /// Bytes of media queued for one player before no more are taken from the log. Default 64 KiB. One frame may go
    /// over it.
    pub high_water: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            session: SessionConfig::default(),
            source: SourceLimits::default(),
            merge_window: MergeWindow::default(),
            unpublish_grace: Duration::from_secs(10),
            multitrack_to_all: false,
            trusted_proxies: Vec::new(),
            high_water: 64 << 10,
        }
    }
}
