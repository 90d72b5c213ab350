use std::time::Duration;

use super::{Origin, Template};
use crate::policy::StreamPattern;
use crate::url::StreamKey;

/// A target of pushes: each published stream that a pattern matches is published there, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Where to publish, with variables for parts of the stream's name.
    pub to: Template,
    /// The streams that are pushed. Empty, the default: all of the virtual host or application.
    pub streams: Vec<StreamPattern>,
    /// How long each step of an attempt may take: the look-up of the name, the connection with TLS, the answers to
    /// `connect` and `publish`. Default 5 s.
    pub connect_timeout: Duration,
    /// How long to wait after an attempt that failed.
    pub backoff: Backoff,
}

impl Forward {
    /// The default of [`connect_timeout`](Self::connect_timeout).
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

    /// A target for all streams, with the default times.
    pub fn new(to: Template) -> Self {
        Forward { to, streams: Vec::new(), connect_timeout: Forward::CONNECT_TIMEOUT, backoff: Backoff::default() }
    }

    /// True if the stream is to be pushed to the target.
    pub fn takes(&self, key: &StreamKey) -> bool {
        self.streams.is_empty() || self.streams.iter().any(|pattern| pattern.matches(key.path()))
    }
}

/// Makes a virtual host or an application an edge: streams that clients play here are pulled from an origin, and streams
/// that clients publish here are published at an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// The servers that have the streams, in the order in which they are tried. Without any, a server that belongs to a
    /// cluster pulls from its other servers, by the times and limits here, and another server pulls nothing.
    pub origins: Vec<Origin>,
    /// How long each step of an attempt may take, as for [`Forward::connect_timeout`]. Default 3 s.
    pub connect_timeout: Duration,
    /// How long players wait for the first frame of a name before they get `NetStream.Play.StreamNotFound`. Default 10 s.
    pub wait: Duration,
    /// For how long a name that no origin has counts as absent: players of it are refused at once. At most 1 s. Default
    /// 1 s.
    pub negative_cache: Duration,
    /// How long a pull goes on after its last player has left. Default 10 s.
    pub linger: Duration,
    /// After how long without a frame of one origin the next one is tried, while the first goes on. Default 500 ms.
    pub stagger: Duration,
    /// How long an origin that has sent frames may be silent before the connection counts as lost. It is longer than the
    /// time after which a server like this one says that its publisher is gone. Default 15 s.
    pub silence: Duration,
    /// The most pulls of the virtual host or application at one time. A player that would need one more gets
    /// `NetStream.Play.StreamNotFound`. As many names that no server has may be waited for besides; the next one ends the
    /// waiting for the oldest. Default 1000.
    pub pulls: usize,
    /// Whether what clients publish here is published at an origin, which then has to grant it. Otherwise the streams
    /// stay on this server. Default: yes.
    pub publish: bool,
    /// How long all origins together may take to answer a client that publishes. Default 5 s.
    pub publish_wait: Duration,
    /// How long a publisher is kept without an origin, if the connection to the origin is lost. Default 30 s.
    pub keep: Duration,
    /// Whether the parameters of the client's URL go to the origin: those of the publisher, or of the first player.
    /// Default: yes.
    pub params: bool,
    /// How many redirects are followed one after another, each to a server in [`origins`](Self::origins). Default 3.
    pub redirects: u8,
    /// How long to wait after an attempt that failed at all origins.
    pub backoff: Backoff,
}

impl Edge {
    /// An edge of these origins with the default times.
    pub fn of(origins: Vec<Origin>) -> Self {
        Edge {
            origins,
            connect_timeout: Duration::from_secs(3),
            wait: Duration::from_secs(10),
            negative_cache: Duration::from_secs(1),
            linger: Duration::from_secs(10),
            stagger: Duration::from_millis(500),
            silence: Duration::from_secs(15),
            pulls: 1000,
            publish: true,
            publish_wait: Duration::from_secs(5),
            keep: Duration::from_secs(30),
            params: true,
            redirects: 3,
            backoff: Backoff { first: Duration::from_millis(500), cap: Duration::from_secs(5), ..Backoff::default() },
        }
    }
}

/// How long to wait between attempts. Each failure in a row doubles the time, up to the cap; the exact time is chosen
/// between three quarters of that and all of it, so that many servers do not try at the same moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure. Default 1 s.
    pub first: Duration,
    /// At most. Default 30 s.
    pub cap: Duration,
    /// After a refusal that the next attempt will not change: the name is taken, the key is wrong, a codec is not
    /// accepted. Default 60 s.
    pub refused: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { first: Duration::from_secs(1), cap: Duration::from_secs(30), refused: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// How long to wait after so many failures in a row, at least one. `random` is any number.
    pub(super) fn pause(&self, failures: u32, is_lasting: bool, random: u64) -> Duration {
        let full = if is_lasting {
            self.refused.max(self.first)
        } else {
            self.first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(self.cap.max(self.first))
        };
        let full = u64::try_from(full.as_micros()).unwrap_or(u64::MAX);
        let quarter = full / 4;
        Duration::from_micros(full - random % (quarter + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_cap_and_are_a_quarter_shorter_at_most() {
        let backoff = Backoff::default();
        for (failures, seconds) in [(1, 1), (2, 2), (3, 4), (6, 30), (1000, 30)] {
            for random in [0, 1, 12345, u64::MAX] {
                let pause = backoff.pause(failures, false, random);
                let full = Duration::from_secs(seconds);
                assert!(pause <= full && pause >= full * 3 / 4, "{failures} {random}: {pause:?}");
            }
        }
        assert!(backoff.pause(1, true, 0) == Duration::from_secs(60), "a refusal that stays");
    }
}
