use anabranch_core::policy::{HostPattern, Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::Bounds;
use super::values::{Most, Secret, Size, Time};
use super::written::{Of, Text};
use crate::hooks::HookSettings;
use crate::record::RecordSettings;

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

/// The settings of virtual hosts, and of the whole server if there are none.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct VhostSettings {
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
    pub(crate) bandwidth_check: BandwidthCheck,
    pub(crate) bounds: Bounds,
}

/// One virtual host. All that it does not set is as in [defaults].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vhost {
    /// Its name, as in the URL.
    pub(crate) name: String,
    /// Other names that mean it. "__defaultVhost__" is every name that no virtual host has.
    #[serde(default)]
    pub(crate) aliases: Vec<String>,
    /// Whether clients are let in.
    #[serde(default = "yes")]
    pub(crate) enabled: bool,
    /// In the file they are beside the name.
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
    /// Chunk size of what the server sends, in bytes.
    #[schemars(range(min = 128, max = 65_536))]
    pub(crate) chunk_size: u32,
    /// Window Acknowledgement Size and peer bandwidth announced to clients.
    #[schemars(extend("x-minimum" = "1KiB", "x-maximum" = "2GiB"))]
    pub(crate) ack_window: Size,
    /// Send onBWDone after connect, as Flash Media Server does.
    pub(crate) bandwidth_done: bool,
    /// Refuse chunk streams that start with a header that inherits from nothing, as the specification says; librtmp sends
    /// such.
    pub(crate) strict_chunks: bool,
}

/// How long things may take; "never" for ever.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Timeouts {
    /// From the first moment to an accepted connect, handshake included. A virtual host's own has no effect.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub(crate) connect: Time,
    /// From connect to the first publish or play, and again after the last stream ended.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub(crate) identify: Time,
    /// From an accepted publish to its first message.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub(crate) first_message: Time,
    /// Between two messages of a publisher.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub(crate) next_message: Time,
    /// Without any progress in writing while bytes wait.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub(crate) write: Time,
    /// For a player, while its stream has no publisher; then it is told that there is none, and closed.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub(crate) wait_for_stream: Time,
    /// Between pings to the client; a ping keeps the path alive and makes a dead one show.
    #[schemars(extend("x-minimum" = "1s"))]
    pub(crate) ping: Time,
    /// For the last bytes of a connection that is being closed.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "1h"))]
    pub(crate) linger: Time,
}

/// How players are served.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Play {
    /// Where a player of a running stream begins: at the newest key frame that is there ("newest_key_frame"), or at the
    /// next one that comes ("next_key_frame"), which has the least delay and shows nothing until then.
    pub(crate) start: Start,
    /// With "newest_key_frame": bytes from there to the present, at most; else at the next one.
    pub(crate) start_bytes: Size,
    /// With "newest_key_frame": time from there to the present, at most.
    pub(crate) start_time: Time,
    /// With "newest_key_frame": frames from there to the present, at most.
    pub(crate) start_frames: Most,
    /// How long a player waits for a key frame while media come; then it begins with what there is: sound, and pictures
    /// that some decoders make something of. Sound that goes on for so long without pictures is a place to begin, too.
    #[schemars(extend("x-minimum" = "100ms"))]
    pub(crate) start_wait: Time,
    /// How old a key frame may be for a player to begin there, by the stream's time.
    #[schemars(extend("x-minimum" = "1s"))]
    pub(crate) start_age: Time,
    /// What becomes of publishers' timestamps: made to rise steadily ("monotonic"), or passed on as they are ("pass").
    pub(crate) timestamps: TimestampMode,
    /// How long players wait for a lost publisher to come back before they are told that the stream is over.
    pub(crate) unpublish_grace: Time,
    /// Media a player may miss at one time, because it is too slow, before it is closed; "never" closes none, it resumes
    /// at a key frame.
    pub(crate) max_gap: Time,
    /// Bytes of media queued for one player before no more are taken from the stream.
    #[schemars(extend("x-minimum" = "1", "x-maximum" = "1GiB"))]
    pub(crate) high_water: Size,
    /// Leave out sequence headers equal to the one in force.
    pub(crate) reduce_sequence_headers: bool,
    /// Send multitrack messages to every player, not only to those that say they understand them (FFmpeg 7.1 and later
    /// do, and do not say so).
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

/// What becomes of timestamps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TimestampMode {
    #[default]
    Monotonic,
    Pass,
}

/// When players are woken for frames.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Pacing {
    /// How long frames may wait to leave together: more saves CPU, less saves latency.
    #[schemars(extend("x-maximum" = "10s"))]
    pub(crate) merge_window: Time,
}

/// How publishers are treated.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Publish {
    /// What happens when a name that is being published is to be published again: the newcomer is refused ("reject"), or
    /// takes over if its URL has the same token parameter ("takeover").
    pub(crate) conflict: OnConflict,
    /// How long a publisher without any player is let go on.
    #[schemars(extend("x-minimum" = "1s"))]
    pub(crate) idle: Time,
}

/// What happens when a name is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnConflict {
    #[default]
    Reject,
    Takeover,
}

/// The recent frames that each stream keeps, for players that join and for those that fall behind.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cache {
    /// Memory for them; a GOP must fit for players to start at once.
    #[schemars(extend("x-minimum" = "64KiB", "x-maximum" = "4GiB"))]
    pub(crate) bytes: Size,
    /// Frames.
    #[schemars(range(min = 16, max = 1_000_000))]
    pub(crate) frames: usize,
    /// Media kept before the newest key frame while there are players; the GOP since then is kept whatever its length.
    #[schemars(extend("x-maximum" = "1h"))]
    pub(crate) time: Time,
    /// Memory for the headers in force: metadata, sequence headers.
    #[schemars(extend("x-minimum" = "1KiB", "x-maximum" = "64MiB"))]
    pub(crate) header_bytes: Size,
    /// Tracks of each medium, beside the default one, whose headers are kept.
    #[schemars(range(min = 0, max = 256))]
    pub(crate) tracks: usize,
}

/// How many of everything there may be in this virtual host; "unlimited" or a number, 0 for none. All but questions are
/// counted when they are granted: no client takes a place while a back end is asked.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Connections, whatever they do: those that connect to the virtual host, and those that come to a stream of it from
    /// another one, by ?vhost=.
    pub(crate) connections: Most,
    /// Publishers.
    pub(crate) publishers: Most,
    /// Players of all streams.
    pub(crate) players: Most,
    /// Players of each stream.
    pub(crate) stream_players: Most,
    /// Streams that have a publisher or players who wait for one.
    pub(crate) streams: Most,
    /// Bytes a second that each publisher may send, whatever it sends: a bitrate divided by eight, and some percent for
    /// the protocol.
    pub(crate) publisher_rate: Size,
    /// The time over which that rate may be uneven.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "1h"))]
    pub(crate) publisher_rate_window: Time,
    /// Clients that wait for the answer of a back end at a time; what comes beyond is refused. One address gets at most
    /// half of the places, and one network (IPv4 /24, IPv6 /48) two thirds, so that others are always asked about. No
    /// more than hooks.queue, which does not know whose question it is.
    pub(crate) questions: Most,
}

/// Who may publish and play, by address.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Security {
    /// Rules such as "allow publish 10.0.0.0/8" or "deny play all", in any order: who is denied may not; with rules that
    /// allow something, nobody else may do it.
    pub(crate) rules: Vec<Of<Rule>>,
}

/// Web pages whose players and publishers are served, by the pageUrl that they send; [] for all. "example.com" is that
/// host and all below it, "*.example.com" only those below it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Refer {
    /// Pages that may do anything at all.
    pub(crate) all: Vec<Of<HostPattern>>,
    /// Pages that may publish, if they are among `all` too.
    pub(crate) publish: Vec<Of<HostPattern>>,
    /// Pages that may play, if they are among `all` too.
    pub(crate) play: Vec<Of<HostPattern>>,
}

/// Signed URLs: ?expires=UNIX_TIME&token=SIGNATURE. Each is good in one virtual host, though others may have its secret.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Token {
    /// What needs a signed URL: "nothing", "publish", "play" or "both".
    pub(crate) required_for: TokenScope,
    /// Secrets that sign, of 16 bytes at least. Several at once while they are changed.
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

/// SRS's bandwidth check: every connection to the virtual host is measured and then closed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BandwidthCheck {
    /// Whether the virtual host is one for it.
    pub(crate) enabled: bool,
    /// The secret that clients show in their URL as key=; "" for none.
    pub(crate) key: Secret,
    /// The least time between two checks.
    pub(crate) interval: Time,
    /// What either direction is throttled to, in kbit/s.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(crate) limit_kbps: u32,
}
