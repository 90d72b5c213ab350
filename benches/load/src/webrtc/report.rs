use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use super::bare::BareCost;
use crate::Histogram;
use crate::report::{Cost, times, times_json};

/// What came of viewers of WebRTC.
#[derive(Debug, Clone)]
pub struct WebrtcReport {
    /// Viewers that were connected when it was measured.
    pub viewers: u64,
    /// Viewers that there were to be.
    pub wanted: u64,
    /// Seconds until all were connected.
    pub rising: f64,
    /// Seconds of the server's CPU for each of them, meanwhile.
    pub join_cpu: Option<f64>,
    /// Bytes of memory that the server has more for each of them.
    pub viewer_bytes: Option<f64>,
    /// How long it was measured.
    pub seconds: f64,
    /// Bytes of packets with media that came meanwhile, all of the datagrams.
    pub bytes: u64,
    /// Those packets.
    pub packets: u64,
    /// Packets that did not come, by their numbers, from the beginning on.
    pub missing: u64,
    /// Pictures that viewers read meanwhile.
    pub pictures: u64,
    /// Pictures that these viewers did not get, from the beginning on.
    pub gaps: u64,
    /// From a picture's sending to its receipt as a whole.
    pub latency: Histogram,
    /// From an offer to the end of the handshake.
    pub connecting: Histogram,
    /// From an offer to the first packet.
    pub first_packet: Histogram,
    /// How often what went wrong.
    pub errors: BTreeMap<String, u64>,
    /// What the server took, if its process was named.
    pub server: Option<Cost>,
    /// What the bare loop took, if it ran.
    pub bare: Option<BareCost>,
}

impl WebrtcReport {
    /// All errors.
    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Seconds of the server's CPU for each GB (10^9 bytes) that viewers received.
    pub fn cpu_per_gigabyte(&self) -> Option<f64> {
        let server = self.server.filter(|_| self.bytes > 0)?;
        Some(server.cpu / (self.bytes as f64 / 1e9))
    }

    /// The server's cost as a multiple of the bare loop's.
    pub fn ratio(&self) -> Option<f64> {
        Some(self.cpu_per_gigabyte()? / self.bare?.per_gigabyte())
    }

    /// For programs to read. Durations are in milliseconds.
    pub fn to_json(&self) -> Value {
        let server = self.server.map(|cost| {
            json!({
                "cpu_seconds": cost.cpu,
                "cpu_seconds_per_gigabyte": self.cpu_per_gigabyte(),
                "resident_bytes": cost.resident,
                "bytes_per_viewer": self.viewer_bytes,
                "cpu_seconds_per_join": self.join_cpu,
            })
        });
        let bare = self.bare.map(|bare| {
            json!({
                "cpu_seconds": bare.cpu,
                "cpu_seconds_per_gigabyte": bare.per_gigabyte(),
                "encryption_seconds": bare.encryption,
                "bytes": bare.bytes,
                "received_bytes": bare.received,
            })
        });
        json!({
            "viewers": self.viewers,
            "viewers_wanted": self.wanted,
            "rising_seconds": self.rising,
            "seconds": self.seconds,
            "bytes": self.bytes,
            "packets": self.packets,
            "packets_missing": self.missing,
            "pictures": self.pictures,
            "pictures_missing": self.gaps,
            "latency_ms": times_json(&self.latency),
            "connecting_ms": times_json(&self.connecting),
            "first_packet_ms": times_json(&self.first_packet),
            "errors": self.errors,
            "server": server,
            "bare": bare,
            "ratio": self.ratio(),
        })
    }
}

impl fmt::Display for WebrtcReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: String| writeln!(f, "{name:<22}{value}");
        let rate = self.viewers as f64 / self.rising.max(0.001);
        line("viewers", format!("{} of {}, in {:.2} s, {rate:.0} a second", self.viewers, self.wanted, self.rising))?;
        line("connecting", times(&self.connecting))?;
        line("first packet", times(&self.first_packet))?;
        line("measured", format!("{:.2} s", self.seconds))?;
        let megabits = self.bytes as f64 * 8.0 / 1e6 / self.seconds;
        line("delivered", format!("{:.1} MB, {megabits:.1} Mb/s, {} packets", self.bytes as f64 / 1e6, self.packets))?;
        line("packets missing", self.missing.to_string())?;
        line("pictures checked", format!("{}, {} missing", self.pictures, self.gaps))?;
        line("latency", times(&self.latency))?;
        if let Some(server) = self.server {
            let per_gigabyte = self.cpu_per_gigabyte().map_or_else(String::new, |cost| format!(", {cost:.3} s/GB"));
            line("server CPU", format!("{:.2} s{per_gigabyte}", server.cpu))?;
            line("server memory", format!("{:.1} MiB", server.resident as f64 / f64::from(1 << 20)))?;
        }
        if let (Some(bytes), Some(cpu)) = (self.viewer_bytes, self.join_cpu) {
            line("for each viewer", format!("{:.0} KiB, {:.2} ms of CPU to join", bytes / 1024.0, cpu * 1000.0))?;
        }
        if let Some(bare) = self.bare {
            let (cpu, part) = (bare.cpu, bare.encryption / bare.cpu.max(1e-9) * 100.0);
            let cost = bare.per_gigabyte();
            line("bare loop", format!("{cpu:.2} s, {cost:.3} s/GB, {part:.0} % of it for encryption"))?;
            line("bare loop lost", format!("{} of {} bytes", bare.bytes - bare.received.min(bare.bytes), bare.bytes))?;
        }
        if let Some(ratio) = self.ratio() {
            line("server to bare loop", format!("{ratio:.2}"))?;
        }
        line("errors", self.error_count().to_string())?;
        for (error, count) in &self.errors {
            writeln!(f, "  {count:>8}  {error}")?;
        }
        Ok(())
    }
}
