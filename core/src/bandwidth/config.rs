use std::fmt;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::command::Command;
use crate::command::reply::{Level, on_status};

/// How bandwidth is checked in a vhost: SRS's `bandcheck` block.
#[derive(Clone, PartialEq, Eq)]
pub struct BandwidthConfig {
    /// The secret a client shows in its tcUrl as `key=` and this text. Empty: a bare `key=` is enough.
    pub key: String,
    /// The least time between two checks. Default 30 s.
    pub interval: Duration,
    /// What either direction is throttled to, in kbit/s (1 kbit = 1000 bit). Default 1000.
    pub limit_kbps: u32,
}

impl Default for BandwidthConfig {
    fn default() -> Self {
        BandwidthConfig { key: String::new(), interval: Duration::from_secs(30), limit_kbps: 1000 }
    }
}

impl BandwidthConfig {
    /// Whether a client that connects with this tcUrl shows the key. Clients separate parameters with `&` or with `,`,
    /// so, as in SRS, the text may stand anywhere and anything may follow it.
    #[must_use]
    pub fn allows(&self, tc_url: &str) -> bool {
        const NAME: &str = "key=";
        tc_url
            .match_indices(NAME)
            .any(|(at, _)| tc_url.get(at + NAME.len()..).is_some_and(|key| key.starts_with(&self.key)))
    }
}

impl fmt::Debug for BandwidthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BandwidthConfig")
            .field("interval", &self.interval)
            .field("limit_kbps", &self.limit_kbps)
            .finish_non_exhaustive()
    }
}

/// When a vhost was last checked. A check keeps a link busy for seconds, so they are let through one at a time, an
/// interval apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    interval: Duration,
    last: Option<Instant>,
}

/// The last check is too recent for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the next bandwidth check may begin in {} ms", remaining.as_millis())]
pub struct TooSoon {
    /// How long until one would be admitted.
    pub remaining: Duration,
}

impl Gate {
    /// A gate that admits the first check at once.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Gate { interval, last: None }
    }

    /// Another interval, from the last check on.
    pub fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// Lets a check begin at `now`, and none for one interval after it.
    ///
    /// # Errors
    /// [`TooSoon`] within that interval. Being turned away does not prolong it.
    pub fn admit(&mut self, now: Instant) -> Result<(), TooSoon> {
        if let Some(last) = self.last {
            let remaining = self.interval.saturating_sub(now.saturating_duration_since(last));
            if !remaining.is_zero() {
                return Err(TooSoon { remaining });
            }
        }
        self.last = Some(now);
        Ok(())
    }
}

impl TooSoon {
    /// What the client is told before the connection closes.
    #[must_use]
    pub fn notice(&self) -> Command {
        on_status(Level::Error, "NetConnection.Connect.Rejected", "bandcheck rejected")
    }
}
