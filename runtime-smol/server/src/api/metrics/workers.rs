//! The metrics of the program's other parts: hooks, recordings, programs, captures, the directory of the cluster.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

use super::Writer;
use crate::api::Capturing;
use crate::api::context::Workers;
use crate::cluster::{self, Directory};
use crate::hooks::{BUCKETS, HttpHooks, UrlState};
use crate::record::Recorder;
use crate::run::Runner;
use crate::segments::{Outlets, Tally};

pub(super) fn encode(workers: &Workers, writer: &mut Writer<'_>) -> fmt::Result {
    let Workers { hooks, recorder, outlets, runner, captures, directory, .. } = workers;
    of_hooks(hooks, writer)?;
    of_recordings(recorder, writer)?;
    of_outlets(outlets, writer)?;
    of_runs(runner, writer)?;
    of_captures(captures, writer)?;
    directory.as_ref().map_or(Ok(()), |directory| of_directory(directory, writer))
}

fn of_hooks(hooks: &HttpHooks, writer: &mut Writer<'_>) -> fmt::Result {
    let label = |name: &'static str, value: &str| (name, value.to_owned());
    let tally = hooks.tally();
    let calls =
        tally.calls().map(|(action, outcome, count)| ([label("action", action), label("outcome", outcome)], count));
    writer.counters("anabranch_hooks_calls", "Calls to URLs of hooks, by call and outcome", calls)?;
    let times =
        tally.durations().map(|times| ([label("action", times.call)], times.sum, times.count, times.buckets.to_vec()));
    writer.histograms("anabranch_hooks_call_seconds", "How long these calls took, by call", &BUCKETS, times)?;
    let lost = tally.lost().map(|(action, reason, count)| ([label("action", action), label("reason", reason)], count));
    writer.counters("anabranch_hooks_notices_lost", "Notices that back ends did not get, by call and reason", lost)?;
    let words = "Questions that no back end answered, because it failed or too many waited";
    writer.counter("anabranch_hooks_questions_failed", words, tally.failed_questions())?;
    let urls = hooks.urls();
    let each = |value: fn(&UrlState) -> u64| urls.iter().map(move |state| ([label("url", &state.url)], value(state)));
    writer.gauges("anabranch_hooks_in_flight", "Calls under way", each(|state| state.in_flight as u64))?;
    let waiting = urls.iter().flat_map(|state| {
        [("question", state.questions_waiting), ("notice", state.notices_waiting)]
            .map(|(kind, count)| ([label("url", &state.url), label("kind", kind)], count as u64))
    });
    writer.gauges("anabranch_hooks_waiting", "Calls that wait, for a place or to be repeated", waiting)?;
    let words = "Memory of notices that are not delivered yet";
    writer.gauges("anabranch_hooks_notice_bytes", words, each(|state| state.notice_bytes as u64))?;
    let words = "Calls that failed since the last one that did not";
    writer.gauges("anabranch_hooks_consecutive_failures", words, each(|state| state.failures_in_a_row))?;
    let words = "When a call last did not fail, as Unix time; 0 if none has been made";
    let success = each(|state| {
        let last = state.last_success.and_then(|last| last.duration_since(UNIX_EPOCH).ok());
        last.map_or(0, |last| last.as_secs())
    });
    writer.gauges("anabranch_hooks_last_success_timestamp_seconds", words, success)
}

fn of_runs(runner: &Runner, writer: &mut Writer<'_>) -> fmt::Result {
    let counts = runner.counts();
    writer.gauge("anabranch_runs", "Programs of [[run]] that have a process", counts.running as u64)?;
    let words = "Programs of [[run]] that wait to be started, because they ended or a limit is reached";
    writer.gauge("anabranch_runs_waiting", words, counts.waiting as u64)?;
    writer.counter("anabranch_run_starts", "How often a program of [[run]] was started", counts.starts)?;
    let words = "How often of these it was started again for the same publication";
    writer.counter("anabranch_run_restarts", words, counts.restarts)?;
    let exits = counts.exits.into_iter().map(|(result, count)| ([("result", result.to_owned())], count));
    writer.counters("anabranch_run_exits", "How programs of [[run]] ended, or why they were not started", exits)
}

fn of_recordings(recorder: &Recorder, writer: &mut Writer<'_>) -> fmt::Result {
    let recordings = recorder.recordings();
    writer.gauge("anabranch_recordings", "Streams that are being recorded", recorder.active() as u64)?;
    let failing = recordings.running().iter().filter(|recording| recording.failing.is_some()).count();
    let words = "Streams of these that cannot be recorded now, because the disk is full or failed";
    writer.gauge("anabranch_recordings_failing", words, failing as u64)?;
    writer.counter("anabranch_recorded_files", "Files of recordings that were begun", recordings.files())?;
    let words = "Files of recordings that are complete";
    writer.counter("anabranch_recordings_completed", words, recordings.completed())?;
    let failures = recordings.failures().map(|(reason, count)| ([("reason", reason.to_owned())], count));
    writer.counters("anabranch_recording_failures", "How often a recording could not go on, by reason", failures)?;
    writer.counter("anabranch_recorded_bytes", "Bytes written to files of recordings", recordings.bytes())?;
    writer.counter("anabranch_recorded_seconds", "Media recorded", recordings.duration().as_secs_f64())?;
    let words = "Frames that recordings missed, because the disk was too slow";
    writer.counter("anabranch_recording_missed_frames", words, recordings.missed())?;
    let words = "How long recordings waited for the disk while they wrote";
    writer.counter("anabranch_recording_write_seconds", words, recordings.waited().as_secs_f64())
}

fn of_outlets(outlets: &Outlets, writer: &mut Writer<'_>) -> fmt::Result {
    let each = |value: fn(&Tally) -> u64| {
        outlets.tallies().into_iter().map(move |(to, tally)| ([("to", to.to_owned())], value(tally)))
    };
    let words = "Segments that are stored in folders or S3";
    writer.counters("anabranch_segments_stored", words, each(|tally| tally.segments.load(Ordering::Relaxed)))?;
    let words = "Bytes of these segments";
    writer.counters("anabranch_segments_stored_bytes", words, each(|tally| tally.bytes.load(Ordering::Relaxed)))?;
    let words = "Segments that are not stored, because the folder or the store failed or was too slow";
    writer.counters("anabranch_segments_lost", words, each(|tally| tally.lost.load(Ordering::Relaxed)))?;
    let words = "Attempts to store a file that failed";
    writer.counters("anabranch_segments_failures", words, each(|tally| tally.failures.load(Ordering::Relaxed)))?;
    let words = "Bytes of segments that wait to be stored";
    writer.gauges("anabranch_segments_waiting_bytes", words, each(|tally| tally.waiting.load(Ordering::Relaxed) as u64))
}

fn of_captures(captures: &Capturing, writer: &mut Writer<'_>) -> fmt::Result {
    let tally = captures.tally();
    let words = "Captures through the API that run";
    writer.gauge("anabranch_captures", words, captures.running() as u64)?;
    writer.gauge("anabranch_capture_files_open", "Files of captures that are being written", tally.open())?;
    writer.counter("anabranch_capture_files", "Files of captures that were begun", tally.begun())?;
    writer.counter("anabranch_capture_bytes", "Bytes captured", tally.bytes())?;
    let ended = tally.ended().map(|(reason, count)| ([("reason", reason.to_owned())], count));
    writer.counters("anabranch_capture_files_ended", "Files of captures that have ended, by reason", ended)
}

fn of_directory(directory: &Directory, writer: &mut Writer<'_>) -> fmt::Result {
    let (view, tally) = (directory.view(), directory.tally());
    let words = "1 while the directory of the cluster answers";
    writer.gauge("anabranch_cluster_connected", words, u64::from(view.state.connected))?;
    writer.gauge("anabranch_cluster_leases", "Names of streams that this server has", view.leases as u64)?;
    let words = "Names of these that the directory has not confirmed";
    writer.gauge("anabranch_cluster_leases_unconfirmed", words, view.unconfirmed as u64)?;
    let words = "Servers that the directory knew when it was last asked";
    writer.gauge("anabranch_cluster_nodes", words, view.nodes.len() as u64)?;
    let words = "Requests to the directory that have no reply yet";
    writer.gauge("anabranch_cluster_requests_outstanding", words, view.outstanding as u64)?;
    let requests = tally
        .requests()
        .map(|(kind, outcome, count)| ([("kind", kind.to_owned()), ("outcome", outcome.to_owned())], count));
    writer.counters("anabranch_cluster_requests", "Replies of the directory, by request and outcome", requests)?;
    let times = tally.durations();
    let times = [([("directory", view.directory)], times.sum, times.count, times.buckets)];
    let words = "How long the directory took to reply";
    writer.histograms("anabranch_cluster_request_seconds", words, &cluster::BUCKETS, times)?;
    let words = "How often the directory was connected to";
    writer.counter("anabranch_cluster_connections", words, tally.connected())?;
    let words = "Connections to the directory that were lost";
    writer.counter("anabranch_cluster_connections_lost", words, tally.lost())?;
    let words = "Attempts to connect to the directory that failed";
    writer.counter("anabranch_cluster_connections_failed", words, tally.failed())?;
    writer.counter("anabranch_cluster_notices", "Notices of other servers that came", tally.notices())?;
    let words = "Names that this server lost to another, or could not renew";
    writer.counter("anabranch_cluster_names_lost", words, tally.names_lost())?;
    let streams = directory.streams(0);
    let totals = streams.totals;
    let claims = [
        ("granted", totals.granted - totals.unconfirmed),
        ("unconfirmed", totals.unconfirmed),
        ("held", totals.held),
        ("refused", totals.refused),
    ];
    let claims = claims.map(|(result, count)| ([("result", result.to_owned())], count));
    let words = "Claims of names for clients that publish, by result; unconfirmed ones were granted without an answer";
    writer.counters("anabranch_cluster_claims", words, claims)?;
    let words = "Streams of other servers that players here want";
    writer.gauge("anabranch_cluster_pulls", words, streams.pulls as u64)?;
    let words = "Questions where a stream is";
    writer.counter("anabranch_cluster_finds", words, totals.finds)?;
    let words = "Servers that did not have a stream that the directory said they have";
    writer.counter("anabranch_cluster_denied", words, totals.denied)?;
    let children = streams.served as u64;
    let words = "Copies of streams that this server sends to others of the cluster";
    writer.gauge("anabranch_cluster_children", words, children)?;
    let words = "Servers that wanted a stream and were sent to another one that gets it from here";
    writer.counter("anabranch_cluster_referred", words, streams.tree.referred)?;
    let words = "Servers that got a stream beyond cluster.children, because none of the others could give it to them";
    writer.counter("anabranch_cluster_beyond_children", words, streams.tree.over)
}
