use std::time::Duration;

use crate::bandwidth::BandwidthConfig;
use crate::hub::{Conflict, HubConfig};
use crate::pacing::Pacing;
use crate::policy::{Limits, Network, Refer, Security, Token, Vhosts};
use crate::session::SessionConfig;
use crate::source::{SourceLimits, StartLimits, StartRule, Timestamps, WireFormat};

/// The configuration of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// The settings of connections whose virtual host is not known yet, and of all if there are no virtual hosts.
    pub defaults: VhostConfig,
    /// Virtual hosts with settings of their own. Default none: all host names are one, and share their streams. With
    /// some, a name that none of them has is refused, unless one is called
    /// [`DEFAULT_VHOST`](crate::url::DEFAULT_VHOST).
    pub vhosts: Vhosts<VhostConfig>,
    /// Proxies that may say who is behind them (PROXY protocol 1 and 2, SRS's prefix). Default: none.
    pub trusted_proxies: Vec<Network>,
    /// Bytes of memory that all streams together may take, with all that they hold for players. When it becomes short,
    /// those that take more than their share give up what lies before their newest key frame, and if that is not
    /// enough, all of it: [`Hub::memory`](crate::hub::Hub::memory) says how
    /// much they take. A quarter as much is for messages of all connections that are not whole yet, beyond 256 KiB of
    /// each: one half of it for those that publish, the other for all others. If a half is short, connections that hold
    /// more than an equal part of it are closed. Default 1 GiB.
    pub memory: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            defaults: VhostConfig::default(),
            vhosts: Vhosts::default(),
            trusted_proxies: Vec::new(),
            memory: 1 << 30,
        }
    }
}

/// The settings of one virtual host.
#[derive(Debug, Clone)]
pub struct VhostConfig {
    /// How sessions talk, their limits and timeouts.
    pub session: SessionConfig,
    /// Bounds of each stream's log.
    pub source: SourceLimits,
    /// Where a new player of a running stream begins. Default: at the newest key frame.
    pub start_rule: StartRule,
    /// How long players wait for a start, and how old it may be.
    pub start_limits: StartLimits,
    /// What becomes of publishers' timestamps. Default: jumps are bridged, and time that behaves passes unchanged.
    pub timestamps: Timestamps,
    /// Whether sequence headers equal to the one in force are left out. Default: no.
    pub reduce_sequence_headers: bool,
    /// How long frames may wait before players are woken, and how long reads of publishers may.
    pub pacing: Pacing,
    /// What happens when a name that is being published is to be published again. Default: the newcomer is refused.
    /// Who shows the same `token` parameter has the same credentials.
    pub conflict: Conflict,
    /// How long players of a stream whose publisher went are left in peace before they are told that it is over.
    /// FFmpeg and rtmpdump end when they are told, so this is the time a publisher has to come back. Default 10 s.
    pub unpublish_grace: Duration,
    /// How long a publisher without any player is let go on. Default: for ever.
    pub idle_publisher: Option<Duration>,
    /// Media a player may miss at one time, because it is too slow, before it is closed. Default: any amount, it
    /// resumes at a key frame.
    pub max_gap: Option<Duration>,
    /// Whether multitrack messages go to every player, or only to those that announced that they understand them.
    /// Others get the default track alone. Default: only to those.
    pub multitrack_to_all: bool,
    /// Bytes of media queued for one player before no more are taken from the log. Default 64 KiB. One frame may go
    /// over it.
    pub high_water: usize,
    /// Who may publish and play, by address. Default: everybody.
    pub security: Security,
    /// Pages whose players are served. Default: all.
    pub refer: Refer,
    /// Signed URLs. Default: none needed.
    pub token: Option<Token>,
    /// How many of everything.
    pub limits: Limits,
    /// Makes the host one for SRS's bandwidth check: every connection to it is measured and then closed. Default: no.
    pub bandwidth_check: Option<BandwidthConfig>,
    /// What is asked of the outside before it is granted. Default: nothing.
    pub asks: Asks,
}

/// Which requests are granted only after the outside has said so, see [`Action::Ask`](super::Action::Ask).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asks {
    /// `connect`.
    pub connect: bool,
    /// `publish`.
    pub publish: bool,
    /// `play`.
    pub play: bool,
    /// Whether the server that this one is an edge of would grant `publish` or `play` (token traverse). Asked first.
    pub traverse: bool,
    /// How long to wait for a verdict. Default 10 s.
    pub timeout: Duration,
    /// Whether silence grants the request. Default: it refuses it.
    pub allow_on_timeout: bool,
}

impl Default for Asks {
    fn default() -> Self {
        let timeout = Duration::from_secs(10);
        Asks { connect: false, publish: false, play: false, traverse: false, timeout, allow_on_timeout: false }
    }
}

impl Default for VhostConfig {
    fn default() -> Self {
        VhostConfig {
            session: SessionConfig::default(),
            source: SourceLimits::default(),
            start_rule: StartRule::default(),
            start_limits: StartLimits::default(),
            timestamps: Timestamps::default(),
            reduce_sequence_headers: false,
            pacing: Pacing::default(),
            conflict: Conflict::default(),
            unpublish_grace: Duration::from_secs(10),
            idle_publisher: None,
            max_gap: None,
            multitrack_to_all: false,
            high_water: 64 << 10,
            security: Security::default(),
            refer: Refer::default(),
            token: None,
            limits: Limits::default(),
            bandwidth_check: None,
            asks: Asks::default(),
        }
    }
}

impl From<VhostConfig> for Config {
    /// One configuration for all host names.
    fn from(defaults: VhostConfig) -> Self {
        Config { defaults, ..Config::default() }
    }
}

impl VhostConfig {
    /// How sessions of this host talk. Metadata is never longer than what streams keep for players to come, with a
    /// sixteenth of that for the headers of codecs.
    pub(super) fn sessions(&self) -> SessionConfig {
        let kept = self.source.header_bytes / 16 * 15;
        let mut session = self.session.clone();
        session.limits.metadata = session.limits.metadata.min(u32::try_from(kept).unwrap_or(u32::MAX));
        session
    }

    pub(super) fn streams(&self) -> HubConfig {
        HubConfig {
            format: WireFormat { chunk_size: self.session.chunk_size },
            source: self.source,
            pacing: self.pacing,
            timestamps: self.timestamps,
            start_rule: self.start_rule,
            start_limits: self.start_limits,
            reduce_sequence_headers: self.reduce_sequence_headers,
        }
    }
}
