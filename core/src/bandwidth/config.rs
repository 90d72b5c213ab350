use std::fmt;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::command::Command;
use crate::command::reply::{Level, on_status};

/// The bandwidth check of a virtual host: SRS's `bandcheck` block.
#[derive(Clone, PartialEq, Eq)]
pub struct BandwidthConfig {
    /// The secret. A client sends it in its tcUrl as `key=` and this text. If empty, `key=` alone is enough.
    pub key: String,
    /// The shortest time between two checks. Default 30 s.
    pub interval: Duration,
    /// The limit of each direction, in kbit/s (1 kbit = 1000 bit). Default 1000.
    pub limit_kbps: u32,
}

impl Default for BandwidthConfig {
    fn default() -> Self {
        BandwidthConfig { key: String::new(), interval: Duration::from_secs(30), limit_kbps: 1000 }
    }
}

impl BandwidthConfig {
    /// Whether this tcUrl contains the key. Clients separate parameters with `&` or with `,`. So, as in SRS, the key
    /// may be anywhere in the tcUrl, with any text after it.
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

/// The time of a virtual host's last check. A check loads a link for seconds, so the gate admits one check per
/// interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    interval: Duration,
    last: Option<Instant>,
}

/// The last check is too recent for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the next bandwidth check may begin in {} ms", remaining.as_millis())]
pub struct TooSoon {
    /// Time until the gate admits a check.
    pub remaining: Duration,
}

impl Gate {
    /// A gate that admits the first check at once.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Gate { interval, last: None }
    }

    /// Changes the interval. It also applies to the time since the last check.
    pub fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// Admits a check at `now`, and then no other for one interval.
    ///
    /// # Errors
    /// [`TooSoon`] within that interval. A refusal does not extend the interval.
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
    /// The client gets this message before the server closes the connection.
    #[must_use]
    pub fn notice(&self) -> Command {
        on_status(Level::Error, "NetConnection.Connect.Rejected", "bandcheck rejected")
    }
}
