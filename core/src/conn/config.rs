use std::sync::Arc;
use std::time::Duration;

use crate::bandwidth::BandwidthConfig;
use crate::cluster::ClusterConfig;
use crate::hls;
use crate::http;
use crate::hub::{BackupRules, Conflict, HubConfig};
use crate::pacing::Pacing;
use crate::policy::{Applications, Limits, Network, Refer, Security, Token, Vhosts};
use crate::relay::{Edge, Forward};
use crate::session::SessionConfig;
use crate::source::{SourceLimits, StartLimits, StartRule, Timestamps, WireFormat};
use crate::url::StreamKey;

/// The configuration of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// The settings of connections whose virtual host is not known yet, and of all connections if there are no virtual
    /// hosts.
    pub defaults: VhostConfig,
    /// Virtual hosts with their own settings. Default none: all host names mean the same host, and share their streams.
    /// If there are some, a name that none of them has is refused, unless one is called
    /// [`DEFAULT_VHOST`](crate::url::DEFAULT_VHOST).
    pub vhosts: Vhosts<VhostConfig>,
    /// Proxies that may give the address of the client behind them (PROXY protocol 1 and 2, SRS's prefix, and
    /// `X-Forwarded-For` of requests by HTTP). Default: none.
    pub trusted_proxies: Vec<Network>,
    /// Settings of connections by HTTP. They hold for new connections.
    pub web: Arc<http::Settings>,
    /// Bytes of memory that all streams together may take, with all that they hold for players. When memory becomes
    /// short, streams that take more than their share drop what lies before their newest key frame, and if that is not
    /// enough, all frames. [`Hub::memory`](crate::hub::Hub::memory) returns how much the streams take. A quarter of
    /// this value limits the incomplete messages of all connections, beyond 256 KiB for each connection: one half of
    /// the quarter for connections that publish, the other half for all others. If a half is short, connections that
    /// hold more than an equal part of it are closed. Default 1 GiB.
    pub memory: usize,
    /// That the server belongs to a cluster, whose directory says which server has which stream. Default: it stands alone.
    pub cluster: Option<ClusterConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            defaults: VhostConfig::default(),
            vhosts: Vhosts::default(),
            trusted_proxies: Vec::new(),
            web: Arc::default(),
            memory: 1 << 30,
            cluster: None,
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
    /// How long players wait for a start, and how old the start may be.
    pub start_limits: StartLimits,
    /// How publishers' timestamps are corrected. Default: jumps are bridged, and timestamps without jumps pass
    /// unchanged.
    pub timestamps: Timestamps,
    /// Whether sequence headers equal to the one in force are left out. Default: no.
    pub reduce_sequence_headers: bool,
    /// How long frames may wait before players are woken, and how long reads of publishers may.
    pub pacing: Pacing,
    /// What happens when a client publishes a name that is already being published. Default: the new publisher is
    /// refused. Clients that send the same `token` parameter have the same credentials.
    pub conflict: Conflict,
    /// With [`Conflict::Backup`]: when the publisher that stands by takes over.
    pub backup: BackupRules,
    /// How long players stay attached after the publisher of their stream has ended, before the server tells them that
    /// the stream is over. FFmpeg and rtmpdump end at that message, so this is the time that a publisher has to come
    /// back. Default 10 s.
    pub unpublish_grace: Duration,
    /// What players of a stream get while it has no publisher. Default: nothing, they wait.
    pub fallback: Option<Fallback>,
    /// HTTP Live Streaming and MPEG-DASH. Default: segments are made once they are asked for.
    pub hls: hls::Settings,
    /// How long a publisher without any player may go on. Default: without limit.
    pub idle_publisher: Option<Duration>,
    /// How much media a player may miss at one time, because it is too slow, before its connection is closed. Default:
    /// any amount, it resumes at a key frame.
    pub max_gap: Option<Duration>,
    /// Whether multitrack messages go to every player, or only to those that announced support for them. Other players
    /// get only the default track. Default: only to those.
    pub multitrack_to_all: bool,
    /// When so many bytes of media are queued for one player, no more are taken from the log. Default 64 KiB. One frame
    /// may exceed it.
    pub high_water: usize,
    /// Which clients may publish and play, by address. Default: all.
    pub security: Security,
    /// Web pages whose players are served. Default: all.
    pub refer: Refer,
    /// Signed URLs. Default: not needed.
    pub token: Option<Token>,
    /// Limits on the number of connections, publishers, players, streams and questions.
    pub limits: Limits,
    /// Makes this a host for SRS's bandwidth check: every connection to it is measured and then closed. Default: no.
    pub bandwidth_check: Option<BandwidthConfig>,
    /// Which requests wait for a verdict of the back end. Default: none.
    pub asks: Asks,
    /// Where published streams are published, too. Default: nowhere.
    pub forward: Vec<Forward>,
    /// Origins that have the streams of clients that play, and that get the streams of clients that publish. Default:
    /// none, the streams are on this server.
    pub edge: Option<Edge>,
    /// Other settings for some of its streams, by patterns of their names; the first that matches holds. Each has all
    /// settings of its streams: those that it shares with its virtual host are the same there. What is only for
    /// connections has no effect in it: `limits.connections`, `limits.questions`, `bandwidth_check`, `asks.connect`, the
    /// session's values until a stream is granted, and further applications. `limits.publishers`, `limits.players` and
    /// `limits.streams` hold for the streams of the application, in addition to the limits of the virtual host. Default:
    /// none.
    pub applications: Applications<VhostConfig>,
}

/// What players of a stream get while it has no publisher. It is no publisher itself: it is counted nowhere, and neither
/// recorded nor pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fallback {
    /// A FLV file, again and again. Its path.
    File(Box<str>),
    /// Another stream of the same virtual host, written as `app/stream`.
    Stream(Box<str>),
}

/// The fallback of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FallbackOf {
    /// A FLV file. Its path.
    File(Box<str>),
    /// Another stream.
    Stream(StreamKey),
}

impl Fallback {
    /// The fallback of a stream; `None` if that would be the stream itself, or if the name is no name.
    pub fn of(&self, key: &StreamKey) -> Option<FallbackOf> {
        match self {
            Fallback::File(path) => Some(FallbackOf::File(path.clone())),
            Fallback::Stream(path) => {
                let (app, stream) = path.split_once('/')?;
                let other = StreamKey::new(key.vhost(), app, stream).ok()?;
                (other != *key).then_some(FallbackOf::Stream(other))
            }
        }
    }
}

/// Which requests the server grants only after the back end has allowed them, see [`Action::Ask`](super::Action::Ask).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asks {
    /// `connect`.
    pub connect: bool,
    /// `publish`.
    pub publish: bool,
    /// `play`.
    pub play: bool,
    /// Whether the origin of this edge would grant `publish` or `play` (token traverse). Asked first.
    pub traverse: bool,
    /// How long to wait for a verdict. Default 10 s.
    pub timeout: Duration,
    /// Whether a request is granted when no verdict comes in time. Default: it is refused.
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
            backup: BackupRules::default(),
            unpublish_grace: Duration::from_secs(10),
            fallback: None,
            hls: hls::Settings::default(),
            idle_publisher: None,
            max_gap: None,
            multitrack_to_all: false,
            high_water: 64 << 10,
            security: Security::default(),
            refer: Refer::default(),
            token: None,
            limits: Limits::default(),
            bandwidth_check: None,
            applications: Applications::default(),
            asks: Asks::default(),
            forward: Vec::new(),
            edge: None,
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
    /// The edge, if it has origins. Without any it only says how streams are pulled from other servers of a cluster.
    pub(super) fn edge_of_origins(&self) -> Option<&Edge> {
        self.edge.as_ref().filter(|edge| !edge.origins.is_empty())
    }

    /// The settings of this host's sessions. Metadata is never longer than what streams keep for later players, minus a
    /// sixteenth of that for sequence headers.
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
            backup: self.backup,
        }
    }
}
