//! The answers in JSON. Names and units are SRS's. Fields that SRS does not have follow after SRS's fields.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

/// An error.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Failure {
    /// SRS's code if it has one (2014 no such virtual host, 2048 no such stream, 2049 no such client), or the HTTP
    /// status.
    #[schemars(range(min = 1))]
    pub(super) code: u32,
    /// The error as a text.
    pub(super) error: String,
}

/// The beginning of every answer.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}Answer")]
pub(super) struct Envelope<T> {
    /// Always 0.
    #[schemars(range(max = 0))]
    pub(super) code: u32,
    /// The id of the server, the same after a restart.
    pub(super) server: String,
    /// The id of this run of the program.
    pub(super) service: String,
    /// The process id.
    pub(super) pid: String,
    #[serde(flatten)]
    pub(super) content: T,
}

/// An answer without further content.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Done {}

/// All paths.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Index {
    /// Each path with its methods and a summary.
    pub(super) urls: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Versions {
    pub(super) data: Version,
}

/// The version of the program.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Version {
    /// The first number.
    pub(super) major: u32,
    /// The second number.
    pub(super) minor: u32,
    /// The third number.
    pub(super) revision: u32,
    /// The version as a text.
    pub(super) version: String,
    /// The program's name.
    pub(super) program: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Summaries {
    pub(super) data: Summary,
}

/// A summary of process and machine.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Summary {
    /// True if figures of the machine are available.
    pub(super) ok: bool,
    /// Milliseconds since 1970.
    pub(super) now_ms: u64,
    #[serde(rename = "self")]
    pub(super) process: ProcessSummary,
    pub(super) system: SystemSummary,
}

/// The process.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ProcessSummary {
    /// The program's version.
    pub(super) version: String,
    /// Process id.
    pub(super) pid: u32,
    /// The id of the parent process.
    pub(super) ppid: u32,
    /// The program as it was called, without its arguments, because they may have secrets.
    pub(super) argv: String,
    /// Working directory.
    pub(super) cwd: String,
    /// Resident memory in KiB.
    pub(super) mem_kbyte: u64,
    /// Resident memory as a part of the machine's, 0 to 1.
    pub(super) mem_percent: f64,
    /// CPU time as a part of one core since the last measurement, 1 for a whole core.
    pub(super) cpu_percent: f64,
    /// Seconds since the start.
    pub(super) srs_uptime: u64,
    /// True while the server grants nothing new, because it drains or stops.
    pub(super) draining: bool,
    /// Bytes of memory that all streams together hold.
    pub(super) stream_memory: usize,
    /// The limit of that memory.
    pub(super) stream_memory_limit: usize,
}

/// The machine. Unknown figures are 0; figures of disks are always 0.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SystemSummary {
    pub(super) cpu_percent: f64,
    #[serde(rename = "disk_read_KBps")]
    pub(super) disk_read_kbps: u64,
    #[serde(rename = "disk_write_KBps")]
    pub(super) disk_write_kbps: u64,
    pub(super) disk_busy_percent: f64,
    pub(super) mem_ram_kbyte: u64,
    pub(super) mem_ram_percent: f64,
    pub(super) mem_swap_kbyte: u64,
    pub(super) mem_swap_percent: f64,
    pub(super) cpus: usize,
    pub(super) cpus_online: usize,
    /// Seconds.
    pub(super) uptime: f64,
    /// Seconds, of all cores. The name is SRS's.
    pub(super) ilde_time: f64,
    pub(super) load_1m: f64,
    pub(super) load_5m: f64,
    pub(super) load_15m: f64,
    /// When the network was measured, in milliseconds since 1970.
    pub(super) net_sample_time: u64,
    pub(super) net_recv_bytes: u64,
    pub(super) net_send_bytes: u64,
    /// The same for the loopback interface.
    pub(super) net_recvi_bytes: u64,
    pub(super) net_sendi_bytes: u64,
    pub(super) srs_sample_time: u64,
    /// Received by this server from all clients so far.
    pub(super) srs_recv_bytes: u64,
    /// Sent by this server to all clients so far.
    pub(super) srs_send_bytes: u64,
    /// TCP sockets in use.
    pub(super) conn_sys: u64,
    pub(super) conn_sys_et: u64,
    pub(super) conn_sys_tw: u64,
    pub(super) conn_sys_udp: u64,
    /// Connections of this server.
    pub(super) conn_srs: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Vhosts {
    pub(super) vhosts: Vec<Vhost>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct OneVhost {
    pub(super) vhost: Vhost,
}

/// A virtual host.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Vhost {
    pub(super) id: String,
    pub(super) name: String,
    /// Whether clients may connect to it.
    pub(super) enabled: bool,
    /// Connections that are past `connect`.
    pub(super) clients: usize,
    pub(super) streams: usize,
    /// Sent to the clients that publish or play now.
    pub(super) send_bytes: u64,
    /// Received from the clients that publish or play now.
    pub(super) recv_bytes: u64,
    pub(super) kbps: Kbps,
    pub(super) hls: Hls,
    pub(super) publishers: usize,
    pub(super) players: usize,
    /// Its applications, in the order in which they are compared with the name of a stream.
    pub(super) applications: Vec<Application>,
}

/// Settings for some streams of a virtual host. Its numbers are part of those of the virtual host.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Application {
    /// The patterns of its streams.
    pub(super) streams: String,
    /// Streams that are published or waited for.
    pub(super) active: usize,
    pub(super) publishers: usize,
    pub(super) players: usize,
}

/// Kilobits per second.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
pub(super) struct Kbps {
    /// Received, as a mean over 30 seconds.
    pub(super) recv_30s: u64,
    /// Sent, as a mean over 30 seconds.
    pub(super) send_30s: u64,
}

/// HLS, which this server does not have.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub(super) struct Hls {
    pub(super) enabled: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Streams {
    pub(super) streams: Vec<Stream>,
    /// How many there are in all.
    pub(super) total: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct OneStream {
    pub(super) stream: Stream,
}

/// A stream that is published or waited for.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Stream {
    pub(super) id: String,
    pub(super) name: String,
    /// The virtual host's id.
    pub(super) vhost: String,
    pub(super) app: String,
    /// As the publisher sent it, without user, password and parameters.
    #[serde(rename = "tcUrl")]
    pub(super) tc_url: String,
    /// `/app/stream`.
    pub(super) url: String,
    /// Now, in milliseconds since 1970.
    pub(super) live_ms: u64,
    /// Publisher and players.
    pub(super) clients: usize,
    /// Coded video frames so far.
    pub(super) frames: u64,
    /// Sent to the current players.
    pub(super) send_bytes: u64,
    /// Bytes of all published messages so far, in the form that players get.
    pub(super) recv_bytes: u64,
    pub(super) kbps: Kbps,
    pub(super) publish: Publish,
    pub(super) video: Option<Video>,
    pub(super) audio: Option<Audio>,
    /// `app/stream`, and `app/stream?vhost=NAME` in another virtual host than the default one: the stream's name in
    /// logs, too.
    pub(super) key: String,
    /// The patterns of the application that it belongs to; empty if no application matches its name.
    pub(super) application: String,
    pub(super) players: usize,
    /// Coded audio frames so far.
    pub(super) audio_frames: u64,
    /// Video frames per second, as a mean over 30 seconds.
    pub(super) fps: f64,
    /// The time between the last two key frames, in milliseconds.
    pub(super) gop_ms: Option<u32>,
    /// How often timestamps jumped.
    pub(super) jumps: u64,
    /// True while there are pictures but no key frame to start at, so that players begin without one.
    pub(super) keyless: bool,
    /// Players that began without a key frame.
    pub(super) keyless_starts: u64,
    /// How long frames wait at most so that several are sent together, in milliseconds: `pacing.merge_window`, or up to
    /// `pacing.merge_window_max` while a thread that writes to players of the stream has much to do.
    pub(super) merge_window_ms: u64,
    /// Bytes of frames that are kept for players.
    pub(super) log_bytes: usize,
    /// Bytes of memory that the stream holds: these frames with their overhead, and the headers in force.
    pub(super) held_bytes: usize,
    /// Frames that the current players did not get.
    pub(super) dropped_frames: u64,
    /// Frames between the slowest player and the newest frame.
    pub(super) lag_frames: u64,
    /// Milliseconds since the last message.
    pub(super) idle_ms: Option<u64>,
}

/// The publisher of a stream.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Publish {
    /// True while the stream has a publisher.
    pub(super) active: bool,
    /// The publisher's client id; empty if there is none, or if the server itself publishes.
    pub(super) cid: String,
    /// The client id of the publisher that stands by (`publish.conflict = "backup"`); empty if there is none.
    pub(super) backup: String,
    /// How often the publisher that stood by has gone on air.
    pub(super) switches: u64,
    /// True while the stream has no publisher and plays its fallback.
    pub(super) fallback: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Video {
    pub(super) codec: String,
    /// Empty if it is not known; the same holds for the next fields.
    pub(super) profile: String,
    pub(super) level: String,
    /// In pixels; 0 if it is not known; the same holds for the next field.
    pub(super) width: u32,
    pub(super) height: u32,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Audio {
    pub(super) codec: String,
    /// In hertz; 0 if it is not known.
    pub(super) sample_rate: u32,
    /// The number of channels; 0 if it is not known.
    pub(super) channel: u8,
    /// Empty if it is not known.
    pub(super) profile: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Clients {
    pub(super) clients: Vec<Client>,
    /// How many there are in all.
    pub(super) total: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct OneClient {
    pub(super) client: Client,
}

/// A connection.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Client {
    /// The connection's number, as in the log.
    pub(super) id: String,
    /// The virtual host's id.
    pub(super) vhost: String,
    /// The id of the stream that it publishes or plays, or of the first of several. Empty if there is none; the same
    /// holds for the next fields.
    pub(super) stream: String,
    pub(super) ip: String,
    /// As the client sent it, without user, password and parameters; the same holds for the next fields.
    #[serde(rename = "pageUrl")]
    pub(super) page_url: String,
    #[serde(rename = "swfUrl")]
    pub(super) swf_url: String,
    #[serde(rename = "tcUrl")]
    pub(super) tc_url: String,
    /// `/app/stream`.
    pub(super) url: String,
    /// The stream's name.
    pub(super) name: String,
    /// `fmle-publish`, `haivision-publish`, `flash-publish`, `rtc-publish`, `rtmp-play`, `flv-play`, `mp4-play`, `hls-play`,
    /// `dash-play`, `rtc-play`, or `unknown` if it neither publishes nor plays.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// True if it publishes.
    pub(super) publish: bool,
    /// Seconds.
    pub(super) alive: f64,
    pub(super) send_bytes: u64,
    pub(super) recv_bytes: u64,
    pub(super) kbps: Kbps,
    pub(super) port: u16,
    pub(super) app: String,
    /// The client's own name and version.
    #[serde(rename = "flashVer")]
    pub(super) flash_ver: String,
    /// How it gets what it plays: `rtmp`, `http-flv`, `ws-flv`, `http-mp4`, `ws-mp4`, `hls`, `dash` or `webrtc`. Empty if
    /// it plays nothing.
    pub(super) form: String,
    /// The field `User-Agent` of a player by HTTP; otherwise empty.
    pub(super) user_agent: String,
    /// `handshake`, `connect`, `connected`, `publishing` or `playing`.
    pub(super) phase: String,
    /// All streams that it publishes or plays.
    pub(super) streams: Vec<Attached>,
    /// Audio, video and data messages.
    pub(super) recv_frames: u64,
    pub(super) send_frames: u64,
    /// Frames that it did not get because it was slow or paused.
    pub(super) dropped_frames: u64,
    pub(super) dropped_ms: u64,
    /// Frames between its position in the stream and the newest frame.
    pub(super) lag_frames: u64,
    /// What only a client by WebRTC has, once its offer is answered.
    pub(super) rtc: Option<OverRtc>,
}

/// A client by WebRTC, as it was within the last second.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct OverRtc {
    /// True if packets reach it.
    pub(super) connected: bool,
    /// `udp` or `tcp`.
    pub(super) transport: String,
    /// The address and port that its packets come from and go to; empty until it is connected.
    pub(super) address: String,
    /// Time to it and back.
    pub(super) round_trip_ms: Option<f64>,
    /// Part of the packets that was lost of late, 0 to 1: of those to a player, as it reports, or of those of a publisher.
    pub(super) loss: Option<f64>,
    /// How much the times of these packets on their way differ.
    pub(super) jitter_ms: Option<f64>,
    /// Packets that their receiver has asked for again.
    pub(super) nacks: u64,
    /// Key frames that their receiver has asked for.
    pub(super) keys_wanted: u64,
    /// What a player believes it could receive, if it tells.
    pub(super) estimate_kbps: Option<u64>,
    /// Pictures that it did not get because its network is too slow.
    pub(super) skipped_pictures: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Closes {
    pub(super) closes: Vec<Close>,
    /// How many are kept.
    pub(super) total: usize,
}

/// A connection that has ended.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Close {
    /// The connection's number, as in the log.
    pub(super) id: String,
    /// When it ended, in milliseconds since 1970.
    pub(super) time_ms: u64,
    /// As the log shows addresses (`log.addresses`). Empty if it is not known.
    pub(super) ip: String,
    /// `publisher` or `player`; empty if it was neither.
    pub(super) role: String,
    /// The stream that it published last, or played if it never published, as `app/stream`, with `?vhost=NAME` in
    /// another virtual host than the default one. If a request was refused, what it asked for. Empty if there was none.
    pub(super) stream: String,
    /// The request whose refusal ended the connection: `connect`, `publish` or `play`; empty if there was none.
    pub(super) request: String,
    /// The code of the refusal, if a rule ended the connection; else empty.
    pub(super) code: String,
    /// The name of the reason, as in the log and in the metrics.
    pub(super) reason: String,
    /// The reason in words.
    pub(super) words: String,
    /// How long it was open, in seconds.
    pub(super) alive: f64,
    pub(super) send_bytes: u64,
    pub(super) recv_bytes: u64,
    /// Frames that it did not get because it was slow or paused.
    pub(super) dropped_frames: u64,
}

/// A stream of a connection, and the connection's role.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Attached {
    /// `publisher`, `backup` for a publisher that stands by, or `player`.
    pub(super) role: String,
    /// `app/stream`, and `app/stream?vhost=NAME` in another virtual host than the default one: the stream's name in
    /// logs, too.
    pub(super) key: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Reloaded {
    /// The result of the reload.
    pub(super) data: serde_json::Value,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SettingsInForce {
    /// Every value, in the order of the configuration file.
    pub(super) values: Vec<SettingInForce>,
}

/// A value of the configuration.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SettingInForce {
    /// The key with its table, such as `defaults.publish.timeout` or `vhost[0].name`.
    pub(super) key: String,
    /// The value as it is written in the file. `***` stands for what may be secret.
    pub(super) value: String,
    /// Where it comes from: `default`, a file with line and column, a variable of the environment, or an option.
    pub(super) origin: String,
    /// True if nothing sets it.
    pub(super) is_default: bool,
}
