use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Histogram;

/// What came of a load.
#[derive(Debug, Clone)]
pub struct Report {
    /// Publishers that were up when it was measured.
    pub publishers: u64,
    /// Players that were up when it was measured, stalled ones included.
    pub players: u64,
    /// Players that there were to be.
    pub wanted: u64,
    /// How long it was measured.
    pub seconds: f64,
    /// Bytes that players received meanwhile, all of the connections.
    pub bytes: u64,
    /// Frames that players took apart meanwhile.
    pub frames: u64,
    /// Frames that players did not get, from the beginning on.
    pub gaps: u64,
    /// From a frame's sending to its receipt as a whole, of those that came while it was measured.
    pub latency: Histogram,
    /// From the opening of a player's connection to its first key frame, of those that stayed.
    pub first_frame: Histogram,
    /// The same of those that came and left while it was measured, if there were to be any.
    pub churn: Option<Histogram>,
    /// How often what went wrong, from the beginning on.
    pub errors: BTreeMap<String, u64>,
    /// Seconds of CPU that this program took meanwhile.
    pub own_cpu: f64,
    /// What the server took, if its process was named.
    pub server: Option<Cost>,
}

/// What the server's process took while it was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Seconds of CPU.
    pub cpu: f64,
    /// Bytes of memory at the end.
    pub resident: u64,
}

impl Report {
    /// All errors.
    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Megabits a second that players received.
    pub fn megabits_per_second(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1e6 / self.seconds
    }

    /// CPU seconds of the server for each GB (10^9 bytes) that players received.
    pub fn cpu_per_gigabyte(&self) -> Option<f64> {
        let server = self.server.filter(|_| self.bytes > 0)?;
        Some(server.cpu / (self.bytes as f64 / 1e9))
    }

    /// Players a second that came and left.
    pub fn churn_per_second(&self) -> Option<f64> {
        self.churn.as_ref().map(|times| times.count() as f64 / self.seconds)
    }

    /// For programs to read. Durations are in milliseconds.
    pub fn to_json(&self) -> Value {
        let server = self.server.map(|cost| {
            json!({
                "cpu_seconds": cost.cpu,
                "cpu_seconds_per_gigabyte": self.cpu_per_gigabyte(),
                "resident_bytes": cost.resident,
            })
        });
        let churn = self
            .churn
            .as_ref()
            .map(|times| json!({ "players_per_second": self.churn_per_second(), "first_frame_ms": times_json(times) }));
        json!({
            "publishers": self.publishers,
            "players": self.players,
            "players_wanted": self.wanted,
            "seconds": self.seconds,
            "bytes": self.bytes,
            "megabits_per_second": self.megabits_per_second(),
            "frames": self.frames,
            "gaps": self.gaps,
            "latency_ms": times_json(&self.latency),
            "first_frame_ms": times_json(&self.first_frame),
            "churn": churn,
            "errors": self.errors,
            "own_cpu_seconds": self.own_cpu,
            "server": server,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: String| writeln!(f, "{name:<22}{value}");
        line("publishers", self.publishers.to_string())?;
        line("players", format!("{} of {}", self.players, self.wanted))?;
        line("measured", format!("{:.2} s", self.seconds))?;
        line("delivered", format!("{:.1} MB, {:.1} Mb/s", self.bytes as f64 / 1e6, self.megabits_per_second()))?;
        line("frames checked", self.frames.to_string())?;
        line("frames missing", self.gaps.to_string())?;
        line("latency", times(&self.latency))?;
        line("first frame", times(&self.first_frame))?;
        if let (Some(rate), Some(churn)) = (self.churn_per_second(), &self.churn) {
            line("came and left", format!("{} players, {rate:.1} a second", churn.count()))?;
            line("their first frame", times(churn))?;
        }
        line("own CPU", format!("{:.2} s", self.own_cpu))?;
        if let Some(server) = self.server {
            let per_gigabyte = self.cpu_per_gigabyte().map_or_else(String::new, |cost| format!(", {cost:.3} s/GB"));
            line("server CPU", format!("{:.2} s{per_gigabyte}", server.cpu))?;
            line("server memory", format!("{:.1} MiB", server.resident as f64 / f64::from(1 << 20)))?;
        }
        line("errors", self.error_count().to_string())?;
        for (error, count) in &self.errors {
            writeln!(f, "  {count:>8}  {error}")?;
        }
        Ok(())
    }
}

fn milliseconds(time: Option<Duration>) -> Option<f64> {
    time.map(|time| time.as_secs_f64() * 1000.0)
}

pub(crate) fn times_json(times: &Histogram) -> Value {
    json!({
        "count": times.count(),
        "p50": milliseconds(times.quantile(0.5)),
        "p99": milliseconds(times.quantile(0.99)),
        "max": milliseconds(times.max()),
    })
}

pub(crate) fn times(times: &Histogram) -> String {
    match [times.quantile(0.5), times.quantile(0.99), times.max()].map(milliseconds) {
        [Some(p50), Some(p99), Some(max)] => format!("p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms"),
        _ => "-".to_owned(),
    }
}
