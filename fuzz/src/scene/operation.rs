//! What may happen in a scene, as `arbitrary` makes it of an input.

use std::time::Duration;

use anabranch_core::bandwidth::BandwidthConfig;
use anabranch_core::conn::{Asks, Config, VhostConfig};
use anabranch_core::hub::Conflict;
use anabranch_core::pacing::Pacing;
use anabranch_core::policy::{Application, Applications, Limits, Rate, Security, Vhost, Vhosts};
use anabranch_core::source::{SourceLimits, StartLimits, StartRule, Timestamps};
use anabranch_core::url::DEFAULT_VHOST;
use arbitrary::Arbitrary;

use crate::session;

/// The configuration of the server, and the manners of the adapter.
#[derive(Debug, Arbitrary)]
pub(super) struct Setup {
    host: HostSetup,
    /// Another virtual host, called `other`.
    other: Option<HostSetup>,
    /// A virtual host for bandwidth checks, called `check`.
    check: bool,
    /// Whether clients come from a proxy that may say which client is behind it.
    pub(super) proxied: bool,
    /// Whether the adapter reads although it is asked not to.
    pub(super) rude: bool,
}

#[derive(Debug, Arbitrary)]
struct HostSetup {
    asks: u8,
    log_bytes: u16,
    log_frames: u8,
    log_milliseconds: u16,
    header_bytes: u16,
    high_water: u16,
    chunk_size: u8,
    merge_window: u8,
    grace: u16,
    idle: Option<u8>,
    max_gap: Option<u16>,
    limits: Option<[u8; 5]>,
    rate: Option<u16>,
    flags: u8,
}

impl Setup {
    pub(super) fn config(&self) -> Config {
        let mut vhosts = Vec::new();
        if let Some(other) = &self.other {
            vhosts.push(Vhost::new("other", other.config()));
        }
        if self.check {
            vhosts.push(Vhost::new("check", checking(self.host.config())));
        }
        if !vhosts.is_empty() {
            vhosts.push(Vhost::new(DEFAULT_VHOST, self.host.config()));
        }
        config(self.host.config(), vhosts)
    }

    /// Other settings for the same server. No stream keeps fewer bytes of headers than `header_bytes`.
    pub(super) fn changed(&self, change: &Change, header_bytes: usize) -> Config {
        let rules = ["", "deny publish 192.0.2.1", "deny play 192.0.2.1", "allow publish 10.0.0.0/8; allow play all"];
        let security: Security = rules[usize::from(change.security % 4)].parse().expect("rules");
        let settings = |setup: &HostSetup| {
            let mut config = VhostConfig { security: security.clone(), ..setup.config() };
            config.source.header_bytes = config.source.header_bytes.max(header_bytes);
            config
        };
        let defaults = settings(change.host.as_ref().unwrap_or(&self.host));
        let other = change.other.as_ref().or(self.other.as_ref()).map_or_else(|| defaults.clone(), settings);
        let bit = |bit: u8| change.hosts >> bit & 1 != 0;
        let mut vhosts = Vec::new();
        if bit(0) {
            vhosts.push(Vhost { enabled: !bit(3), ..Vhost::new("other", other) });
        }
        if bit(1) {
            vhosts.push(Vhost::new("check", checking(defaults.clone())));
        }
        if bit(2) {
            // A name that was its own host may come to mean another host.
            let aliases = if bit(4) && !bit(0) { vec!["other".to_owned()] } else { Vec::new() };
            vhosts.push(Vhost { aliases, ..Vhost::new(DEFAULT_VHOST, defaults.clone()) });
        }
        config(defaults, vhosts)
    }
}

fn config(defaults: VhostConfig, vhosts: Vec<Vhost<VhostConfig>>) -> Config {
    Config {
        defaults,
        vhosts: Vhosts::new(vhosts).expect("three names"),
        trusted_proxies: vec!["192.0.2.0/24".parse().expect("a network")],
        ..Config::default()
    }
}

fn checking(settings: VhostConfig) -> VhostConfig {
    let check = BandwidthConfig { limit_kbps: 100, interval: Duration::from_secs(1), ..Default::default() };
    VhostConfig { bandwidth_check: Some(check), ..settings }
}

/// What a later configuration of the server has that the first has not.
#[derive(Debug, Arbitrary)]
pub(super) struct Change {
    host: Option<HostSetup>,
    other: Option<HostSetup>,
    /// Which virtual hosts there are, one bit each; without any, all names are one.
    hosts: u8,
    security: u8,
    /// Which connections look only after their next turn whether they may stay.
    late: u8,
}

impl Change {
    pub(super) fn is_late(&self, client: usize) -> bool {
        self.late >> (client % 8) & 1 != 0
    }
}

impl HostSetup {
    fn config(&self) -> VhostConfig {
        let flag = |bit: u8| self.flags >> bit & 1 != 0;
        let ask = |bit: u8| self.asks >> bit & 1 != 0;
        let most = |index: usize| self.limits.map(|limits| u32::from(limits[index] % 4));
        let mut session = session::config(true);
        session.chunk_size = [128, 300, 4096, 60_000][usize::from(self.chunk_size % 4)];
        session.timeouts.write = Duration::from_secs(5);
        let config = VhostConfig {
            session,
            source: SourceLimits {
                bytes: usize::from(self.log_bytes),
                frames: usize::from(self.log_frames),
                milliseconds: u32::from(self.log_milliseconds),
                header_bytes: usize::from(self.header_bytes % 3000),
                tracks: 2,
            },
            start_rule: if flag(0) { StartRule::NextKeyFrame } else { StartRule::default() },
            start_limits: StartLimits {
                wait: Duration::from_millis(u64::from(self.merge_window)),
                milliseconds: u32::from(self.log_milliseconds),
            },
            timestamps: if flag(1) { Timestamps::Pass } else { Timestamps::default() },
            reduce_sequence_headers: flag(2),
            pacing: Pacing { merge_window: Duration::from_millis(u64::from(self.merge_window)), ..Pacing::default() },
            conflict: if flag(3) { Conflict::TakeOver } else { Conflict::Reject },
            unpublish_grace: Duration::from_millis(u64::from(self.grace)),
            idle_publisher: self.idle.map(|seconds| Duration::from_secs(u64::from(seconds))),
            max_gap: self.max_gap.map(|gap| Duration::from_millis(u64::from(gap))),
            multitrack_to_all: flag(4),
            high_water: usize::from(self.high_water),
            limits: Limits {
                questions: Limits::default().questions,
                connections: most(0).map(|most| most + 1),
                publishers: most(1),
                players: most(2),
                stream_players: most(3),
                streams: most(4),
                publisher_rate: self.rate.map(|rate| Rate::new(u64::from(rate))),
                ..Limits::default()
            },
            asks: Asks {
                connect: ask(0),
                publish: ask(1),
                play: ask(2),
                traverse: ask(3),
                timeout: Duration::from_millis([1, 10, 1000, 100_000][usize::from(self.asks >> 4 & 3)]),
                allow_on_timeout: ask(6),
            },
            ..VhostConfig::default()
        };
        // Other rules for one of the names that clients use. The bounds are the same.
        let limits = Limits { publishers: most(2), players: most(1), streams: most(3), ..config.limits };
        let asks = Asks { publish: ask(2), play: ask(1), ..config.asks.clone() };
        let settings = VhostConfig { limits, asks, ..config.clone() };
        let streams = vec!["*/screen".parse().expect("a pattern")];
        let application = flag(5).then_some(Application { streams, settings });
        VhostConfig { applications: Applications::new(application), ..config }
    }
}

/// One thing that happens. Clients and their connections are numbered; a number without one does nothing.
#[derive(Debug, Arbitrary)]
pub(super) enum Operation {
    /// A connection is accepted, and the client has its handshake behind it.
    Connect {
        client: u8,
    },
    /// A connection is accepted, and nothing is sent yet.
    ConnectSilently {
        client: u8,
    },
    /// The same up to what a publisher waits for, on the first or on another message stream.
    Publish {
        client: u8,
        on: u8,
        host: u8,
        stream: Stream,
        multitrack: bool,
    },
    /// The same for a player.
    Play {
        client: u8,
        on: u8,
        host: u8,
        stream: Stream,
        multitrack: bool,
    },
    Command {
        client: u8,
        on: u8,
        transaction: u8,
        command: Command,
    },
    Media {
        client: u8,
        on: u8,
        kind: Kind,
        later: i16,
        filler: u16,
    },
    /// The player pauses, goes on, or both.
    Pause {
        client: u8,
        on: u8,
        paused: Option<bool>,
    },
    /// A message stream is given up.
    Leave {
        client: u8,
        on: u8,
    },
    Control {
        client: u8,
        type_id: u8,
        word: u32,
        second: u32,
    },
    /// Bytes as they are.
    Raw {
        client: u8,
        bytes: Vec<u8>,
    },
    /// The first bytes of what the client has to say, which it says before anything else.
    Partly {
        client: u8,
        bytes: u16,
    },
    /// What waits for the client is written, so many bytes of it.
    Write {
        client: u8,
        bytes: u16,
    },
    WriteAll {
        client: u8,
    },
    /// Whether each client takes what there is at once.
    Greedy {
        client: u8,
        greedy: bool,
    },
    Pass {
        milliseconds: u16,
    },
    /// Time passes up to the next deadline.
    PassToDeadline,
    Answer {
        client: u8,
        question: u8,
        verdict: Decision,
    },
    Disconnect {
        client: u8,
        broken: bool,
    },
    Close {
        client: u8,
    },
    Shutdown {
        client: u8,
    },
    /// The adapter drops the connection without a word.
    Forget {
        client: u8,
    },
    Reconnect {
        client: u8,
    },
    Drain {
        client: u8,
        milliseconds: u16,
    },
    DrainServer,
    /// From now on nothing is polled, or all is again.
    Hold {
        hold: bool,
    },
    /// The queue is taken out for writing, something happens, and it is put back.
    Lend {
        client: u8,
        kind: Kind,
        publisher: u8,
    },
    /// Other settings are put in force.
    Reconfigure(Box<Change>),
}

/// A name, mostly one that others use too.
#[derive(Debug, Arbitrary)]
pub(super) enum Stream {
    Cam,
    Screen,
    CamOfOther,
    CamWithToken(u8),
    Text(String),
}

impl Stream {
    pub(super) fn name(&self) -> String {
        match self {
            Stream::Cam => "cam".to_owned(),
            Stream::Screen => "screen".to_owned(),
            Stream::CamOfOther => "cam?vhost=other".to_owned(),
            Stream::CamWithToken(token) => format!("cam?token={}", token % 2),
            Stream::Text(text) => text.clone(),
        }
    }
}

#[derive(Debug, Arbitrary)]
pub(super) enum Command {
    Connect { host: u8, multitrack: bool },
    CreateStream,
    ReleaseStream(Stream),
    FcPublish(Stream),
    FcUnpublish(Stream),
    Publish(Stream),
    Play { stream: Stream, duration: Option<u16> },
    DeleteStream(Option<u8>),
    CloseStream,
    Pause(bool),
    ReceiveAudio(bool),
    ReceiveVideo(bool),
    Seek,
    Other(String),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Kind {
    KeyFrame,
    Frame,
    Audio,
    VideoHeader,
    AudioHeader,
    Metadata,
    SetMetadata,
    ClearMetadata,
    Multitrack { packet_type: u8, track: u8 },
    MultitrackAudio { packet_type: u8, track: u8 },
    Aggregate,
    Malformed,
}

#[derive(Debug, Arbitrary)]
pub(super) enum Decision {
    Allow,
    Deny,
    Redirect,
    /// Under the name that a stream has of its own application.
    Rename,
}
