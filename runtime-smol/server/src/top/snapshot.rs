use std::time::Instant;

use serde_json::Value;

use crate::remote::Remote;
use crate::terminal_text::clean;

/// The most streams that are asked for.
const STREAMS: usize = 1000;
/// The most connections that have ended.
const CLOSES: usize = 20;

/// What a server says of itself at one moment. All texts are safe to show on a terminal.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) at: Instant,
    pub(super) version: String,
    pub(super) uptime: u64,
    pub(super) is_draining: bool,
    pub(super) connections: u64,
    pub(super) publishers: u64,
    pub(super) players: u64,
    /// As a part of one core.
    pub(super) cpu: f64,
    pub(super) memory_kib: u64,
    /// Bytes of all connections so far.
    pub(super) received: u64,
    pub(super) sent: u64,
    /// Bytes that streams hold, and may hold.
    pub(super) stream_memory: (u64, u64),
    pub(super) streams: Vec<Stream>,
    /// All of them, if the list is not complete.
    pub(super) total: u64,
    /// The newest first.
    pub(super) closes: Vec<Close>,
}

/// A stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Stream {
    /// `app/stream`.
    pub(super) name: String,
    pub(super) is_live: bool,
    pub(super) in_kbps: u64,
    pub(super) out_kbps: u64,
    pub(super) fps: f64,
    pub(super) players: u64,
    pub(super) lag: u64,
    pub(super) dropped: u64,
    /// How long frames wait for others, in milliseconds.
    pub(super) window: u64,
    /// Such as `H264 1920x1080` and `AAC`.
    pub(super) video: String,
    pub(super) audio: String,
}

/// A connection that has ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Close {
    /// Seconds since 1970.
    pub(super) time: u64,
    /// The role, or the request that was refused.
    pub(super) role: String,
    pub(super) stream: String,
    pub(super) address: String,
    /// The code of the refusal, or the name of the reason.
    pub(super) reason: String,
    pub(super) seconds: u64,
}

/// What passes each second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) in_kbps: f64,
    pub(super) out_kbps: f64,
}

impl Rates {
    /// Between two moments; before the second one, as the streams say.
    pub(super) fn of(before: Option<&Snapshot>, now: &Snapshot) -> Self {
        let elapsed = before.map_or(0.0, |before| now.at.saturating_duration_since(before.at).as_secs_f64());
        match before {
            // A server that was started again counts from 0.
            Some(before) if elapsed > 0.1 && now.received >= before.received && now.sent >= before.sent => {
                let rate = |new: u64, old: u64| (new - old) as f64 * 8.0 / 1000.0 / elapsed;
                Rates { in_kbps: rate(now.received, before.received), out_kbps: rate(now.sent, before.sent) }
            }
            _ => {
                let sum = |rate: fn(&Stream) -> u64| now.streams.iter().map(rate).sum::<u64>() as f64;
                Rates { in_kbps: sum(|stream| stream.in_kbps), out_kbps: sum(|stream| stream.out_kbps) }
            }
        }
    }
}

impl Snapshot {
    /// Asks a server.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) fn ask(remote: &Remote) -> Result<Self, String> {
        let summary = remote.get("/api/v1/summaries")?;
        let streams = remote.get(&format!("/api/v1/streams?count={STREAMS}"))?;
        let vhosts = remote.get("/api/v1/vhosts")?;
        // An older server has no such list.
        let closes = remote.get(&format!("/api/v1/closes?count={CLOSES}")).unwrap_or_default();
        Ok(Snapshot::of(&summary["data"], &streams, &vhosts, &closes))
    }

    fn of(summary: &Value, streams: &Value, vhosts: &Value, closes: &Value) -> Self {
        let (process, system) = (&summary["self"], &summary["system"]);
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let sum = |name: &str| items(&vhosts["vhosts"]).map(|vhost| number(&vhost[name])).sum();
        Snapshot {
            at: Instant::now(),
            version: text(&process["version"]),
            uptime: number(&process["srs_uptime"]),
            is_draining: process["draining"].as_bool().unwrap_or_default(),
            connections: number(&system["conn_srs"]),
            publishers: sum("publishers"),
            players: sum("players"),
            cpu: process["cpu_percent"].as_f64().unwrap_or_default(),
            memory_kib: number(&process["mem_kbyte"]),
            received: number(&system["srs_recv_bytes"]),
            sent: number(&system["srs_send_bytes"]),
            stream_memory: (number(&process["stream_memory"]), number(&process["stream_memory_limit"])),
            streams: items(&streams["streams"]).map(Stream::of).collect(),
            total: number(&streams["total"]),
            closes: items(&closes["closes"]).map(Close::of).collect(),
        }
    }
}

impl Stream {
    fn of(stream: &Value) -> Self {
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let (video, audio) = (&stream["video"], &stream["audio"]);
        let size = match (number(&video["width"]), number(&video["height"])) {
            (0, _) | (_, 0) => String::new(),
            (width, height) => format!(" {width}x{height}"),
        };
        Stream {
            name: text(&stream["key"]),
            is_live: stream["publish"]["active"].as_bool().unwrap_or_default(),
            in_kbps: number(&stream["kbps"]["recv_30s"]),
            out_kbps: number(&stream["kbps"]["send_30s"]),
            fps: stream["fps"].as_f64().unwrap_or_default(),
            players: number(&stream["players"]),
            lag: number(&stream["lag_frames"]),
            dropped: number(&stream["dropped_frames"]),
            window: number(&stream["merge_window_ms"]),
            video: format!("{}{size}", text(&video["codec"])),
            audio: text(&audio["codec"]),
        }
    }
}

impl Close {
    fn of(close: &Value) -> Self {
        Close {
            time: close["time_ms"].as_u64().unwrap_or_default() / 1000,
            role: match (text(&close["role"]), text(&close["request"])) {
                (role, request) if request.is_empty() => role,
                (_, request) => request,
            },
            stream: text(&close["stream"]),
            address: text(&close["ip"]),
            reason: match (text(&close["reason"]), text(&close["code"])) {
                (reason, code) if code.is_empty() => reason,
                (_, code) => code,
            },
            seconds: close["alive"].as_f64().unwrap_or_default().max(0.0) as u64,
        }
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// Clients choose names: what a terminal would obey is removed here, for all that is shown.
fn text(value: &Value) -> String {
    clean(value.as_str().unwrap_or_default())
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A server with two streams, one of which has a hostile name.
    pub(in super::super) fn example() -> Snapshot {
        let summary = json!({
            "self": {"version": "1.2.3", "srs_uptime": 90_061, "draining": false, "cpu_percent": 0.5, "mem_kbyte": 20_480,
                     "stream_memory": 1_048_576, "stream_memory_limit": 10_485_760},
            "system": {"conn_srs": 12, "srs_recv_bytes": 1000, "srs_send_bytes": 2000},
        });
        let streams = json!({"total": 3, "streams": [
            {"key": "live/cam", "publish": {"active": true}, "kbps": {"recv_30s": 4500, "send_30s": 40_500}, "fps": 29.97,
             "players": 9, "lag_frames": 3, "dropped_frames": 120, "merge_window_ms": 65,
             "video": {"codec": "H264", "width": 1920, "height": 1080}, "audio": {"codec": "AAC"}},
            {"key": "live/\u{1b}[2J\u{1b}]0;owned\u{7}", "publish": {"active": false}, "kbps": {}, "players": 1,
             "video": null, "audio": null},
        ]});
        let vhosts = json!({"vhosts": [{"publishers": 1, "players": 10}, {"publishers": 2, "players": 0}]});
        let closes = json!({"closes": [
            {"time_ms": 1_764_100_000_000_u64, "id": "abcd-17", "role": "publisher", "stream": "live/x\u{9b}31m", "ip": "10.0.0.1",
             "reason": "peer_lost", "alive": 62.5},
            {"time_ms": 1_764_100_000_000_u64, "id": "abcd-18", "role": "", "request": "publish", "stream": "live/y", "ip": "10.0.0.2",
             "code": "token_expired", "reason": "rejected", "alive": 0.5},
        ]});
        Snapshot::of(&summary, &streams, &vhosts, &closes)
    }

    #[test]
    fn nothing_that_clients_choose_reaches_the_terminal_as_it_is() {
        let shown = format!("{:?}", example());
        assert!(!shown.contains("\\u{1b}") && !shown.contains("\\u{9b}") && !shown.contains("\\u{7}"), "{shown}");
        assert_eq!(example().streams[1].name, "live/?[2J?]0;owned?");
        assert_eq!(example().closes[0].stream, "live/x?31m");
    }

    #[test]
    fn a_client_that_was_refused_has_its_request_and_the_code() {
        let Close { role, stream, reason, .. } = example().closes.remove(1);
        assert_eq!([role, stream, reason], ["publish", "live/y", "token_expired"]);
    }

    #[test]
    fn rates_are_those_between_two_moments() {
        let before = example();
        let mut now = example();
        assert_eq!(Rates::of(None, &now), Rates { in_kbps: 4500.0, out_kbps: 40_500.0 });
        now.at = before.at + std::time::Duration::from_secs(2);
        (now.received, now.sent) = (before.received + 1_000_000, before.sent + 2_000_000);
        assert_eq!(Rates::of(Some(&before), &now), Rates { in_kbps: 4000.0, out_kbps: 8000.0 });
        // Started again.
        now.received = 0;
        assert_eq!(Rates::of(Some(&before), &now).in_kbps, 4500.0);
    }

    #[test]
    fn an_answer_of_any_shape_is_shown() {
        let nothing = Value::Null;
        let snapshot =
            Snapshot::of(&nothing, &json!({"streams": [1, null, {"key": 7}]}), &json!([]), &json!({"closes": {}}));
        assert_eq!((snapshot.streams.len(), snapshot.closes.len()), (3, 0));
    }
}
