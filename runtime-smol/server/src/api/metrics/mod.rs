//! `/metrics`, in the text format of Prometheus. Names are SRS's where SRS has the number.

mod ledger;
mod relays;
#[cfg(feature = "webrtc")]
mod rtc;
mod segments;
mod workers;

use std::fmt;
use std::time::Instant;

use anabranch_core::conn::{ApplicationSnapshot, Delivery};
use anabranch_core::packager::PackagerStats;
use anabranch_core::policy::Refusal;
use anabranch_core::relay::RelaySnapshot;
use anabranch_host::{Stats, Totals, UplinkTotals};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

pub(super) use ledger::Ledger;
use ledger::Series;

use super::context::{Context, Workers};
use super::health;
use super::machine::{self, Process};

/// Reasons for closing that are not errors in SRS's sense.
const GOOD_ENDS: [&str; 5] = ["peer_closed", "bandwidth_checked", "drained", "shutdown", "closed"];

/// The `stream` label of the series that all streams without their own series share. No stream has an empty app.
const OTHERS: &str = "other";

/// So many applications have their own series.
const MOST_APPLICATIONS: usize = 1000;

/// All metrics of this moment.
pub(super) fn exposition(context: &Context) -> Result<String, fmt::Error> {
    let process = Process::look();
    let moment = Moment {
        labels: [
            ("server", context.identity.server_id().to_owned()),
            ("service", context.identity.service_id().to_owned()),
            ("pid", context.pid.clone()),
            ("major", env!("CARGO_PKG_VERSION_MAJOR").to_owned()),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("code", "Anabranch".to_owned()),
        ],
        start: context.start,
        cpu: process.map(|process| context.cpu.borrow_mut().process(Instant::now(), process.cpu)),
        process,
        stats: context.handle.stats(),
        totals: context.handle.totals(),
        relays: context.handle.relays(),
        uplinks: context.handle.uplink_totals(),
        segments: context.handle.packager_stats(),
        #[cfg(feature = "webrtc")]
        rtc: (context.handle.rtc_stats(), context.handle.rtc_sessions()),
        draining: context.handle.is_leaving(),
        streams: context.ledger.borrow_mut().look(&context.handle),
        workers: context.workers.clone(),
        wrong: health::count_reasons(context),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(moment));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry)?;
    Ok(text)
}

/// All values at one moment.
#[derive(Debug)]
struct Moment {
    labels: [(&'static str, String); 6],
    start: f64,
    /// The part of a core that the process used.
    cpu: Option<f64>,
    process: Option<Process>,
    stats: Stats,
    totals: Totals,
    relays: Vec<RelaySnapshot>,
    uplinks: UplinkTotals,
    segments: PackagerStats,
    #[cfg(feature = "webrtc")]
    rtc: (anabranch_host::RtcStats, Vec<anabranch_host::RtcSession>),
    draining: bool,
    streams: Vec<Series>,
    workers: Workers,
    /// How many things are wrong, by code.
    wrong: [(&'static str, u64); 3],
}

impl Collector for Moment {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer { encoder };
        self.process(&mut writer)?;
        self.server(&mut writer)?;
        self.applications(&mut writer)?;
        relays::encode(&self.relays, &self.uplinks, &mut writer)?;
        segments::encode(&self.segments, &mut writer)?;
        #[cfg(feature = "webrtc")]
        rtc::encode(&self.rtc.0, &self.rtc.1, &mut writer)?;
        workers::encode(&self.workers, &mut writer)?;
        self.streams(&mut writer)
    }
}

impl Moment {
    fn process(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let [name, node, release, version] = machine::kernel();
        let machine = std::env::consts::ARCH.to_owned();
        let uname =
            [("sysname", name), ("nodename", node), ("release", release), ("version", version), ("machine", machine)];
        // Gauges, as in SRS: in this format an info metric would differ only in its name.
        writer.gauges("srs_node_uname_info", "The machine", [(&uname[..], 1u64)])?;
        writer.gauges("srs_build_info", "The program and this run of it", [(&self.labels[..], 1u64)])?;
        writer.gauge("process_start_time_seconds", "Start of the process, as Unix time", self.start)?;
        if let Some(process) = &self.process {
            writer.gauge("process_resident_memory_bytes", "Resident memory", process.resident_kib << 10)?;
            writer.gauge("process_virtual_memory_bytes", "Virtual memory", process.virtual_kib << 10)?;
            writer.counter("process_cpu_seconds", "CPU time of all threads", process.cpu)?;
            writer.gauge("process_threads", "Threads", process.threads)?;
            writer.gauge("srs_memory", "Resident memory in KiB, as in SRS", process.resident_kib)?;
        }
        if let Some(cpu) = self.cpu {
            let words = "CPU time since the last measurement, 100 for a whole core, as in SRS";
            writer.gauge("srs_cpu_percent", words, cpu * 100.0)?;
        }
        if let Some(files) = machine::open_files() {
            writer.gauge("process_open_fds", "Open file descriptors", files as u64)?;
        }
        if let Some(files) = machine::max_files() {
            writer.gauge("process_max_fds", "Limit of open file descriptors", files)?;
        }
        Ok(())
    }

    fn server(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let Moment { stats, totals, .. } = self;
        let publishers: usize = stats.vhosts.iter().map(|vhost| vhost.publishers).sum();
        let players: usize = stats.vhosts.iter().map(|vhost| vhost.players).sum();
        let errors: u64 =
            totals.closed.iter().filter(|(name, _)| !GOOD_ENDS.contains(name)).map(|(_, count)| count).sum();
        writer.counter("srs_receive_bytes", "Bytes received from all clients, handshakes included", totals.bytes_in)?;
        writer.counter("srs_send_bytes", "Bytes sent to all clients, handshakes included", totals.bytes_out)?;
        writer.gauge("srs_streams", "Streams that are published or waited for", stats.streams.len() as u64)?;
        writer.gauge("srs_clients", "Clients that publish or play", (publishers + players) as u64)?;
        writer.counter(
            "srs_clients",
            "How often a client began to publish or to play",
            totals.published + totals.played,
        )?;
        writer.counter("srs_clients_errs", "Connections that ended by an error or a refusal", errors)?;
        writer.gauge("anabranch_connections", "Connections that are open", stats.connections as u64)?;
        let words = "Connections by HTTP that play no live stream";
        writer.gauge("anabranch_web_connections", words, stats.web_connections as u64)?;
        writer.counter("anabranch_connections_accepted", "Connections that were accepted", totals.accepted)?;
        writer.counter(
            "anabranch_connections_turned_away",
            "Connections that were closed at once because open files were nearly used up",
            totals.turned_away,
        )?;
        let closed = totals.closed.iter().map(|(reason, count)| ([("reason", (*reason).to_owned())], *count));
        writer.counters("anabranch_connections_closed", "Connections that ended, by the reason", closed)?;
        // All codes from the start: a rate needs the count before the first refusal.
        let refused = |code| totals.refused.get(code).copied().unwrap_or_default();
        let refusals = Refusal::CODES.map(|code| ([("code", code.to_owned())], refused(code)));
        writer.counters("anabranch_refusals", "Requests that were refused, by the code of the refusal", refusals)?;
        writer.gauge("anabranch_publishers", "Clients that publish", publishers as u64)?;
        writer.gauge("anabranch_players", "Clients that play", players as u64)?;
        // All forms from the start: a rate needs the count before the first player.
        let forms = || Delivery::ALL.map(|form| (form, totals.forms.get(&form).copied().unwrap_or_default()));
        let label = |form: Delivery| [("form", form.name().to_owned())];
        let players = forms().map(|(form, totals)| (label(form), totals.players));
        writer.gauges(
            "anabranch_form_players",
            "Streams that clients play now, by the form in which they get them",
            players,
        )?;
        let sent = forms().map(|(form, totals)| (label(form), totals.bytes_out));
        let words = "Bytes sent to connections that play or played, by the form in which they get streams";
        writer.counters("anabranch_form_send_bytes", words, sent)?;
        writer.counter("anabranch_publishes", "How often a client began to publish", totals.published)?;
        writer.counter("anabranch_plays", "How often a client began to play", totals.played)?;
        let words = "Audio, video and data messages received";
        writer.counter("anabranch_received_frames", words, totals.frames_in)?;
        let words = "Audio, video and data messages sent to players, or queued for them";
        writer.counter("anabranch_sent_frames", words, totals.frames_out)?;
        let words = "Frames that players did not get because they were slow or paused";
        writer.counter("anabranch_dropped_frames", words, totals.dropped.frames)?;
        writer.counter("anabranch_dropped_bytes", "The bytes of those frames", totals.dropped.bytes)?;
        let memory = &stats.memory;
        writer.gauge("anabranch_stream_memory_bytes", "Memory that all streams together hold", memory.held as u64)?;
        let words = "Limit of the memory of all streams together";
        writer.gauge("anabranch_stream_memory_limit_bytes", words, memory.limit as u64)?;
        let words = "Bytes that streams dropped because all of them together held too much memory";
        writer.counter("anabranch_stream_memory_given_bytes", words, memory.given)?;
        let words = "How often a stream dropped all its recent frames because of that";
        writer.counter("anabranch_stream_logs_given", words, memory.logs_given)?;
        let longest = stats.streams.iter().map(|stream| stream.merge_window).max().unwrap_or_default();
        let words = "How long frames wait at most so that several are sent together: the longest of all streams";
        writer.gauge("anabranch_merge_window_seconds", words, longest.as_secs_f64())?;
        let threads = || stats.threads.iter().enumerate();
        let thread = |number: usize| [("thread", number.to_string())];
        let busy = threads().map(|(number, thread_is)| (thread(number), thread_is.busy));
        let words = "The part of its time that the thread has something to do, over a quarter of a second";
        writer.gauges("anabranch_thread_busy_ratio", words, busy)?;
        let sweeping = threads().map(|(number, thread_is)| (thread(number), thread_is.sweeping));
        let words = "The part of its time that the thread writes new frames to players";
        writer.gauges("anabranch_thread_sweep_ratio", words, sweeping)?;
        writer.gauge("anabranch_draining", "1 while the server grants nothing new", u64::from(self.draining))?;
        let wrong = self.wrong.iter().map(|(code, count)| ([("code", (*code).to_owned())], *count));
        writer.gauges("anabranch_health_reasons", "Things that are wrong, as in /api/v1/health, by code", wrong)
    }

    fn applications(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let vhosts = self.stats.vhosts.iter();
        let all: Vec<_> =
            vhosts.flat_map(|vhost| vhost.applications.iter().map(move |one| (&vhost.name, one))).collect();
        let all = &all[..all.len().min(MOST_APPLICATIONS)];
        let series = |count: fn(&ApplicationSnapshot) -> usize| {
            let labels = |vhost: &str, one: &ApplicationSnapshot| {
                [("vhost", vhost.to_owned()), ("application", one.name.to_string())]
            };
            all.iter().map(move |(vhost, one)| (labels(vhost, one), count(one) as u64))
        };
        let words = "Streams of the application that are published or waited for";
        writer.gauges("anabranch_application_streams", words, series(|one| one.streams))?;
        let words = "Clients that publish a stream of the application";
        writer.gauges("anabranch_application_publishers", words, series(|one| one.publishers))?;
        let words = "Clients that play a stream of the application";
        writer.gauges("anabranch_application_players", words, series(|one| one.players))
    }

    fn streams(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let labels: Vec<_> = self.streams.iter().map(labels).collect();
        let all = || labels.iter().zip(&self.streams);
        let kinds = all().flat_map(|(labels, series)| {
            let kind = |kind: &str| [labels.as_slice(), &[("kind", kind.to_owned())]].concat();
            [(kind("audio"), series.counts.audio_frames), (kind("video"), series.counts.video_frames)]
        });
        let live = all().map(|(labels, series)| (labels.as_slice(), u64::from(series.state.live)));
        writer.gauges("anabranch_stream_live", "1 while the stream has a publisher", live)?;
        let players = all().map(|(labels, series)| (labels.as_slice(), series.state.players));
        writer.gauges(
            "anabranch_stream_players",
            "Players of the stream, including those that wait for it",
            players,
        )?;
        let lag = all().map(|(labels, series)| (labels.as_slice(), series.state.lag));
        writer.gauges("anabranch_stream_lag_frames", "Frames between the slowest player and the newest frame", lag)?;
        let words = "Bytes of all published messages, in the form that players get";
        writer.counters(
            "anabranch_stream_bytes",
            words,
            all().map(|(labels, series)| (labels.as_slice(), series.counts.bytes)),
        )?;
        writer.counters("anabranch_stream_frames", "Coded frames published", kinds)?;
        let words = "Video frames published that a player can start at";
        let counts = all().map(|(labels, series)| (labels.as_slice(), series.counts.key_frames));
        writer.counters("anabranch_stream_key_frames", words, counts)?;
        let words = "Players and recordings that began without a key frame, because none came";
        let counts = all().map(|(labels, series)| (labels.as_slice(), series.counts.keyless_starts));
        writer.counters("anabranch_stream_keyless_starts", words, counts)?;
        let words = "How often the publisher that stood by as backup went on air";
        let counts = all().map(|(labels, series)| (labels.as_slice(), series.counts.switches));
        writer.counters("anabranch_stream_switches", words, counts)?;
        let words = "Bytes sent to the stream's players, handshakes included";
        let counts = all().map(|(labels, series)| (labels.as_slice(), series.counts.sent_bytes));
        writer.counters("anabranch_stream_sent_bytes", words, counts)?;
        let words = "Audio, video and data messages sent to the stream's players, or queued for them";
        let counts = all().map(|(labels, series)| (labels.as_slice(), series.counts.sent_frames));
        writer.counters("anabranch_stream_sent_frames", words, counts)?;
        let words = "Frames that the stream's players did not get because they were slow or paused";
        let counts = all().map(|(labels, series)| (labels.as_slice(), series.counts.dropped_frames));
        writer.counters("anabranch_stream_dropped_frames", words, counts)
    }
}

fn labels(series: &Series) -> Vec<(&'static str, String)> {
    let [vhost, app, stream] = match &series.key {
        Some(key) => [key.vhost(), key.app(), key.stream()],
        None => ["", "", OTHERS],
    };
    vec![("vhost", vhost.to_owned()), ("app", app.to_owned()), ("stream", stream.to_owned())]
}

/// Writes metrics one after the other; the encoder adds `_total` to the names of counters.
struct Writer<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Writer<'_> {
    fn counter<N>(&mut self, name: &str, words: &str, value: N) -> fmt::Result
    where
        ConstCounter<N>: EncodeMetric,
    {
        let encoder = self.encoder.encode_descriptor(name, words, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    fn gauge<N>(&mut self, name: &str, words: &str, value: N) -> fmt::Result
    where
        ConstGauge<N>: EncodeMetric,
    {
        let encoder = self.encoder.encode_descriptor(name, words, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        words: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.encoder.encode_descriptor(name, words, None, MetricType::Counter)?;
        for (labels, value) in values {
            ConstCounter::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// Histograms of one family: labels, sum, count, and the observations of each bucket of `bounds` and above them.
    fn histograms<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        words: &str,
        bounds: &[f64],
        values: impl IntoIterator<Item = (L, f64, u64, Vec<u64>)>,
    ) -> fmt::Result {
        let mut encoder = self.encoder.encode_descriptor(name, words, None, MetricType::Histogram)?;
        for (labels, sum, count, buckets) in values {
            let bounds = bounds.iter().copied().chain([f64::MAX]);
            let buckets: Vec<_> = bounds.zip(buckets).collect();
            encoder.encode_family(&labels)?.encode_histogram::<[(String, String); 0]>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    fn gauges<L: EncodeLabelSet, N>(
        &mut self,
        name: &str,
        words: &str,
        values: impl IntoIterator<Item = (L, N)>,
    ) -> fmt::Result
    where
        ConstGauge<N>: EncodeMetric,
    {
        let mut encoder = self.encoder.encode_descriptor(name, words, None, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
