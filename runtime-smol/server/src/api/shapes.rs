//! What is answered, in JSON. The names and units are SRS's where SRS has it; what it has not stands behind that.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

/// What went wrong.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Failure {
    /// SRS's code where it has one: 2014 no such virtual host, 2048 no such stream, 2049 no such client; else that of
    /// HTTP.
    #[schemars(range(min = 1))]
    pub(super) code: u32,
    /// In words.
    pub(super) error: String,
}

/// What every answer begins with.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}Answer")]
pub(super) struct Envelope<T> {
    /// 0.
    #[schemars(range(max = 0))]
    pub(super) code: u32,
    /// Names this run of the server.
    pub(super) server: String,
    /// Names this run of the program.
    pub(super) service: String,
    /// The process.
    pub(super) pid: String,
    #[serde(flatten)]
    pub(super) content: T,
}

/// Nothing more to say.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Done {}

/// The URLs there are.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Index {
    /// Path, with methods, to what it is.
    pub(super) urls: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Versions {
    pub(super) data: Version,
}

/// The version of the program.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Version {
    /// First number.
    pub(super) major: u32,
    /// Second number.
    pub(super) minor: u32,
    /// Third number.
    pub(super) revision: u32,
    /// As text.
    pub(super) version: String,
    /// The program's name.
    pub(super) program: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Summaries {
    pub(super) data: Summary,
}

/// Process and machine at a glance.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Summary {
    /// True if the machine could be looked at.
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
    /// That of its parent.
    pub(super) ppid: u32,
    /// The program as it was called, without its arguments, which may hold secrets.
    pub(super) argv: String,
    /// Working directory.
    pub(super) cwd: String,
    /// Resident memory in KiB.
    pub(super) mem_kbyte: u64,
    /// Resident memory as a part of the machine's, 0 to 1.
    pub(super) mem_percent: f64,
    /// CPU time as a part of one core's since the last look, 1 for a whole core.
    pub(super) cpu_percent: f64,
    /// Seconds since the start.
    pub(super) srs_uptime: u64,
    /// True once nobody is granted anything new.
    pub(super) draining: bool,
    /// Bytes of memory that all streams together take.
    pub(super) stream_memory: usize,
    /// Bytes that they may take.
    pub(super) stream_memory_limit: usize,
}

/// The machine. What is not known is 0; disks are not looked at.
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
    /// When the network was looked at, in milliseconds since 1970.
    pub(super) net_sample_time: u64,
    pub(super) net_recv_bytes: u64,
    pub(super) net_send_bytes: u64,
    /// The same, of the loopback.
    pub(super) net_recvi_bytes: u64,
    pub(super) net_sendi_bytes: u64,
    pub(super) srs_sample_time: u64,
    /// Received by this server from all clients so far.
    pub(super) srs_recv_bytes: u64,
    /// Sent by this server to all clients so far.
    pub(super) srs_send_bytes: u64,
    /// Sockets that TCP has in use.
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
    /// True: there is none that is not.
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
}

/// Kilobits per second.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
pub(super) struct Kbps {
    /// Received, mean of 30 seconds.
    pub(super) recv_30s: u64,
    /// Sent, mean of 30 seconds.
    pub(super) send_30s: u64,
}

/// HLS, which this server has not.
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
    /// Sent to the players of now.
    pub(super) send_bytes: u64,
    /// Bytes of all messages so far, as players get them.
    pub(super) recv_bytes: u64,
    pub(super) kbps: Kbps,
    pub(super) publish: Publish,
    pub(super) video: Option<Video>,
    pub(super) audio: Option<Audio>,
    /// `vhost/app/stream`.
    pub(super) key: String,
    pub(super) players: usize,
    /// Coded audio frames so far.
    pub(super) audio_frames: u64,
    /// Video frames per second, mean of 30 seconds.
    pub(super) fps: f64,
    /// From one key frame to the next, the newest; in milliseconds.
    pub(super) gop_ms: Option<u32>,
    /// Timestamps that jumped.
    pub(super) jumps: u64,
    /// True while its pictures have no key frame to start at: players begin with what there is.
    pub(super) keyless: bool,
    /// Players that began so.
    pub(super) keyless_starts: u64,
    /// Bytes that are held for players to come.
    pub(super) log_bytes: usize,
    /// Bytes of memory that the stream takes: those, what they cost beside, and the headers in force.
    pub(super) held_bytes: usize,
    /// Frames that the players of now did not get.
    pub(super) dropped_frames: u64,
    /// Frames between the slowest player and the newest frame.
    pub(super) lag_frames: u64,
    /// Milliseconds since the newest message.
    pub(super) idle_ms: Option<u64>,
}

/// Who publishes.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Publish {
    /// True while somebody does.
    pub(super) active: bool,
    /// The publisher's id as a client; empty where there is none, or it is the program itself.
    pub(super) cid: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Video {
    pub(super) codec: String,
    /// Empty if it is not known, as the following.
    pub(super) profile: String,
    pub(super) level: String,
    /// Pixels; 0 if they are not known, as the following.
    pub(super) width: u32,
    pub(super) height: u32,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Audio {
    pub(super) codec: String,
    /// Hertz; 0 if it is not known.
    pub(super) sample_rate: u32,
    /// Channels; 0 if they are not known.
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
    /// The id of the stream it publishes or plays; of several, the first. Empty if there is none, as the following.
    pub(super) stream: String,
    pub(super) ip: String,
    /// As the client sent it, without user, password and parameters; as the following.
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
    /// `fmle-publish`, `haivision-publish`, `flash-publish`, `rtmp-play`, or `unknown` if it does neither.
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
    /// `handshake`, `connect`, `connected`, `publishing` or `playing`.
    pub(super) phase: String,
    /// All it publishes and plays.
    pub(super) streams: Vec<Attached>,
    /// Audio, video and data messages.
    pub(super) recv_frames: u64,
    pub(super) send_frames: u64,
    /// Frames it did not get because it was slow or paused.
    pub(super) dropped_frames: u64,
    pub(super) dropped_ms: u64,
    /// Frames between its place in the stream and the newest.
    pub(super) lag_frames: u64,
}

/// What a connection is to a stream.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Attached {
    /// `publisher` or `player`.
    pub(super) role: String,
    /// `vhost/app/stream`.
    pub(super) key: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Drain {
    pub(super) data: DrainBegun,
}

/// The server takes leave.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DrainBegun {
    /// After so many seconds, connections that are left are closed.
    pub(super) seconds: u64,
    /// Connections that are open.
    pub(super) connections: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Reloaded {
    /// What the reload has to say.
    pub(super) data: serde_json::Value,
}
