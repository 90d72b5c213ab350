use anabranch_core::policy::{HostPattern, Rule, StreamPattern};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::Bounds;
use super::hls::HlsSettings;
use super::values::{Most, Secret, Size, Time};
use super::written::{Of, Text};
use crate::hooks::HookSettings;
use crate::record::RecordSettings;
use crate::relays::{EdgeSettings, ForwardSettings};
use crate::run::RunSettings;

impl Text for Rule {
    const FORM: &'static str = "a rule such as \"allow publish 10.0.0.0/8\" or \"deny play all\"";

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Text for HostPattern {
    const FORM: &'static str = "a host such as \"example.com\" or \"*.example.com\"";

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Text for StreamPattern {
    const FORM: &'static str = "a pattern of streams such as \"live/*\"";

    fn text(&self) -> String {
        self.to_string()
    }
}

// What is only for connections has `x-connection` with the reason: applications cannot set it.
/// The settings of virtual hosts, and of the whole server if there are none.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct VhostSettings {
    #[schemars(extend("x-connection" = "the server needs it when a client connects, before it names a stream"))]
    pub(crate) session: Session,
    pub(crate) timeouts: Timeouts,
    pub(crate) play: Play,
    pub(crate) pacing: Pacing,
    pub(crate) publish: Publish,
    pub(crate) cache: Cache,
    pub(crate) limits: Limits,
    #[schemars(extend("x-ruled" = true))]
    pub(crate) security: Security,
    #[schemars(extend("x-ruled" = true))]
    pub(crate) refer: Refer,
    #[schemars(extend("x-ruled" = true))]
    pub(crate) token: Token,
    pub(crate) hooks: HookSettings,
    pub(crate) record: RecordSettings,
    #[schemars(extend("x-ruled" = true))]
    pub(crate) hls: HlsSettings,
    /// Programs that the server starts when a stream begins and ends when the stream is over. No shell is between. Of
    /// the server's environment a program gets PATH and what the keys name, and no open file except for its output. A
    /// virtual host or an application with entries has only these; `run = []` is none.
    #[schemars(extend("x-ruled" = true))]
    pub(crate) run: Vec<RunSettings>,
    #[schemars(extend("x-ruled" = true))]
    pub(crate) edge: EdgeSettings,
    #[schemars(extend("x-connection" = "a bandwidth check measures a connection, which names no stream"))]
    pub(crate) bandwidth_check: BandwidthCheck,
    pub(crate) bounds: Bounds,
    /// Pushes: other servers at which streams that are published here are published, too. A virtual host or application
    /// that has pushes has none of those of [defaults].
    #[schemars(extend("x-ruled" = true))]
    pub(crate) forward: Vec<ForwardSettings>,
    /// Applications: settings for some streams, by patterns of their names. For each stream the first application that
    /// matches holds. The applications of the stream's virtual host come first, in their order, then those of
    /// [defaults]. What an application does not set is as in the virtual host. An application may set every key, except
    /// for those that the server needs before the client names a stream.
    #[schemars(extend("x-connection" = "an application cannot have applications"))]
    pub(crate) application: Vec<Application>,
}

/// One application of a virtual host, with all settings of its streams.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Application {
    /// The streams, as APP/STREAM. * stands for any characters, including slashes, and ? for one character.
    pub(crate) streams: Vec<Of<StreamPattern>>,
    /// In the file these keys are in the same table as the streams. The schema adds them: see `schema.rs`.
    #[schemars(skip)]
    pub(crate) settings: VhostSettings,
    /// True if it is in [defaults] and applies in a virtual host.
    #[serde(default)]
    #[schemars(skip)]
    pub(crate) inherited: bool,
}

/// One virtual host. All that it does not set is as in [defaults].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vhost {
    /// The virtual host's name, as in the URL.
    pub(crate) name: String,
    /// Other names of this virtual host. "__defaultVhost__" stands for every name that no virtual host has.
    #[serde(default)]
    pub(crate) aliases: Vec<String>,
    /// Whether clients may connect to it.
    #[serde(default = "yes")]
    pub(crate) enabled: bool,
    /// In the file these keys are in the same table as the name.
    #[schemars(flatten)]
    pub(crate) settings: VhostSettings,
}

fn yes() -> bool {
    true
}

/// How the server talks to clients.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Session {
    /// The chunk size that the server sends with, in bytes.
    #[schemars(range(min = 128, max = 65_536))]
    pub(crate) chunk_size: u32,
    /// The Window Acknowledgement Size and peer bandwidth that the server announces to clients.
    #[schemars(extend("x-minimum" = "1KiB", "x-maximum" = "2GiB"))]
    pub(crate) ack_window: Size,
    /// Send onBWDone after connect, as Flash Media Server does.
    pub(crate) bandwidth_done: bool,
    /// Refuse a chunk stream whose first chunk has a compressed header (format 1, 2 or 3), as the specification says.
    /// librtmp sends such chunks.
    pub(crate) strict_chunks: bool,
}

/// Timeouts; "never" for no limit.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Timeouts {
    /// From the start of the connection to an accepted connect, including the handshake. Only the value in [defaults]
    /// has an effect.
    #[schemars(extend("x-minimum" = "1ms", "x-connection" = "it ends before the client names a stream"))]
    pub(crate) connect: Time,
    /// From connect to the first publish or play, and again after the client's last stream has ended.
    #[schemars(extend("x-minimum" = "1ms", "x-connection" = "it runs while the client has no stream"))]
    pub(crate) identify: Time,
    /// From an accepted publish to its first message.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub(crate) first_message: Time,
    /// Between two messages of a publisher.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub(crate) next_message: Time,
    /// How long bytes may wait while the client takes none of them.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub(crate) write: Time,
    /// How long a player waits while its stream has no publisher. Then the server sends StreamNotFound and closes the
    /// connection.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub(crate) wait_for_stream: Time,
    /// The time between pings to the client. Pings keep the network path open and show that a peer is gone.
    #[schemars(extend("x-minimum" = "1s"))]
    pub(crate) ping: Time,
    /// How long the server tries to send the final messages of a connection that it closes.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "1h"))]
    pub(crate) linger: Time,
}

/// How the server sends streams to players.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Play {
    /// Where a player of a running stream begins: at the newest key frame ("newest_key_frame"), or at the next one that
    /// the publisher sends ("next_key_frame"), which has the least delay but shows nothing until then.
    pub(crate) start: Start,
    /// With "newest_key_frame": the largest number of bytes from that key frame to the newest frame. With more, the
    /// player begins at the next key frame.
    pub(crate) start_bytes: Size,
    /// The same as a time.
    pub(crate) start_time: Time,
    /// The same as a number of frames.
    pub(crate) start_frames: Most,
    /// How long a player waits for a key frame while media arrive. Then it begins without one: with sound, and with
    /// pictures that some decoders can show. Sound that goes on for this long without pictures is also a place to
    /// begin.
    #[schemars(extend("x-minimum" = "100ms"))]
    pub(crate) start_wait: Time,
    /// How old, in the stream's time, a key frame may be for a player to begin there.
    #[schemars(extend("x-minimum" = "1s"))]
    pub(crate) start_age: Time,
    /// What the server does with publishers' timestamps: correct them so that they rise steadily ("monotonic"), or
    /// leave them as they are ("pass").
    pub(crate) timestamps: TimestampMode,
    /// How long players wait for a lost publisher to come back before the server tells them that the stream is over.
    pub(crate) unpublish_grace: Time,
    /// What players of a stream get while it has no publisher: "file:///path/loop.flv" plays a FLV file again and again,
    /// "app/stream" plays another stream of the same virtual host. "" plays nothing. A fallback is neither recorded nor
    /// pushed.
    pub(crate) fallback: String,
    /// How much media, as a time, a slow player may miss at once. The server closes players that miss more; with
    /// "never" it closes none. A player that misses less resumes at a key frame.
    pub(crate) max_gap: Time,
    /// The high-water mark of a player's queue, in bytes of media: above it the server queues nothing more for the
    /// player.
    #[schemars(extend("x-minimum" = "1", "x-maximum" = "1GiB"))]
    pub(crate) high_water: Size,
    /// Leave out a sequence header that is equal to the one in force.
    pub(crate) reduce_sequence_headers: bool,
    /// Send multitrack messages to all players, not only to those that announce that they understand them (FFmpeg 7.1
    /// and later understand them but do not announce it).
    pub(crate) multitrack_to_all: bool,
}

/// Where a player begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Start {
    #[default]
    NewestKeyFrame,
    NextKeyFrame,
}

/// What the server does with timestamps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TimestampMode {
    #[default]
    Monotonic,
    Pass,
}

/// How long frames wait so that several are sent together, and how long the server waits before it reads from
/// publishers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Pacing {
    /// How long frames may wait so that several are sent with one write. More saves CPU time, less saves latency.
    #[schemars(extend("x-maximum" = "10s"))]
    pub(crate) merge_window: Time,
    /// How long they may wait while the server is busy: a thread that would write to players for more than half its time, or
    /// has so much other work that it would be nearly full, lets frames wait longer, up to this; those of the streams that
    /// take most of its time first. With a merge_window of "0s", or of no less than this, frames never wait longer than
    /// that.
    #[schemars(extend("x-maximum" = "10s"))]
    pub(crate) merge_window_max: Time,
    /// How long the server may wait before it reads from a publisher whose media no player waits for: because its
    /// stream has no players and many clients publish, or because frames wait longer than 80ms. One read then takes
    /// several messages. The server notices at most this much later that a publisher has gone and its name is free.
    /// "0s" reads everything at once.
    #[schemars(extend("x-maximum" = "1s"))]
    pub(crate) read_wait: Time,
    /// With fewer publishers on the whole server, it reads streams without players at once.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(crate) read_wait_publishers: usize,
}

/// Rules for publishers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Publish {
    /// What happens when a client wants to publish a name that already has a publisher: the new client is refused
    /// ("reject"), takes the name over if its URL has the same token parameter ("takeover"), or stands by as backup and
    /// goes on air when the other one is lost or stalls ("backup"). One client may stand by.
    pub(crate) conflict: OnConflict,
    /// With conflict = "backup": how long the publisher on air may send no media, or no pictures while the backup does,
    /// before the backup goes on air.
    #[schemars(extend("x-minimum" = "500ms", "x-maximum" = "1m"))]
    pub(crate) backup_after: Time,
    /// With conflict = "backup": whether the first publisher goes on air again when it is back and has sent media for 5 s.
    /// Otherwise it stands by.
    pub(crate) backup_return: bool,
    /// How long a publisher may go on without a player before the server closes it.
    #[schemars(extend("x-minimum" = "1s"))]
    pub(crate) idle: Time,
}

/// What happens when a name already has a publisher.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnConflict {
    #[default]
    Reject,
    Takeover,
    Backup,
}

/// The recent frames that each stream keeps, for players that join and for those that fall behind.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cache {
    /// Memory for the frames of one stream. A whole GOP must fit, so that players can start at once.
    #[schemars(extend("x-minimum" = "64KiB", "x-maximum" = "4GiB"))]
    pub(crate) bytes: Size,
    /// The largest number of frames.
    #[schemars(range(min = 16, max = 1_000_000))]
    pub(crate) frames: usize,
    /// How much media before the newest key frame is kept while there are players. The newest GOP is kept at any
    /// length.
    #[schemars(extend("x-maximum" = "1h"))]
    pub(crate) time: Time,
    /// Memory for the headers in force: metadata and sequence headers.
    #[schemars(extend("x-minimum" = "1KiB", "x-maximum" = "64MiB"))]
    pub(crate) header_bytes: Size,
    /// For how many tracks of each medium, besides the default track, headers are kept.
    #[schemars(range(min = 0, max = 256))]
    pub(crate) tracks: usize,
}

/// Limits of this virtual host: a number, with 0 for none, or "unlimited". All except questions are counted when the
/// server grants the request: no client takes a place while a back end is asked. In an application, publishers, players
/// and streams are those of the application; the limits of its virtual host hold for all its applications together.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Connections: those that connect to this virtual host, and those that publish or play a stream of it from another
    /// virtual host, by ?vhost=.
    #[schemars(extend("x-connection" = "connections are counted before the client names a stream"))]
    pub(crate) connections: Most,
    /// Publishers.
    pub(crate) publishers: Most,
    /// Players of all streams.
    pub(crate) players: Most,
    /// Players of each stream.
    pub(crate) stream_players: Most,
    /// Streams that have a publisher, or players that wait for one.
    pub(crate) streams: Most,
    /// Bytes a second that each publisher may send. Everything that it sends counts: for a bitrate, divide by eight and
    /// add some percent for the protocol.
    pub(crate) publisher_rate: Size,
    /// The time over which the rate is averaged.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "1h"))]
    pub(crate) publisher_rate_window: Time,
    /// Clients that wait for a back end's answer at the same time. The server refuses further ones. One address gets at
    /// most half of the places and one network (IPv4 /24, IPv6 /48) two thirds, so that clients of other networks are
    /// always asked about. Set no more than hooks.queue, which does not distinguish clients.
    #[schemars(extend("x-connection" = "the clients of a virtual host share them"))]
    pub(crate) questions: Most,
    /// Programs of [[run]] that run at the same time. Further ones wait. [limits] has the same for the whole server.
    #[schemars(extend("x-connection" = "the programs of a virtual host share it"))]
    pub(crate) runs: Most,
}

/// Rules by address for publishing and playing.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Security {
    /// Rules such as "allow publish 10.0.0.0/8" or "deny play all". Their order does not matter. A client that a rule
    /// denies is refused. If any rule allows publishing (or playing), only the clients that such a rule names may do
    /// it.
    pub(crate) rules: Vec<Of<Rule>>,
}

/// Web pages whose players and publishers are served, by the pageUrl that they send; [] for all pages. "example.com"
/// means that host and all hosts below it, "*.example.com" only the hosts below it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Refer {
    /// Pages from which clients may connect at all.
    pub(crate) all: Vec<Of<HostPattern>>,
    /// Pages from which clients may publish. They must be in `all`, too.
    pub(crate) publish: Vec<Of<HostPattern>>,
    /// Pages from which clients may play. They must be in `all`, too.
    pub(crate) play: Vec<Of<HostPattern>>,
}

/// Signed URLs: ?expires=UNIX_TIME&token=SIGNATURE. A signed URL is valid in one virtual host only, even if another one
/// has the same secret.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Token {
    /// What needs a signed URL: "nothing", "publish", "play" or "both".
    pub(crate) required_for: TokenScope,
    /// Secrets for signing, each of at least 16 bytes. The list may have several, so that a secret can be replaced.
    pub(crate) secrets: Vec<Secret>,
}

/// What needs a signed URL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TokenScope {
    #[default]
    Nothing,
    Publish,
    Play,
    Both,
}

/// SRS's bandwidth check: the server measures each connection to the virtual host and then closes it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BandwidthCheck {
    /// Whether the virtual host is for bandwidth checks.
    pub(crate) enabled: bool,
    /// The secret that clients must send in their URL as key=; "" for none.
    pub(crate) key: Secret,
    /// The least time between two checks.
    pub(crate) interval: Time,
    /// The rate that the check is limited to in each direction, in kbit/s.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(crate) limit_kbps: u32,
}
