//! Recordings that run, and the files that ended last.

use schemars::JsonSchema;
use serde::Serialize;

use super::answers::json;
use super::context::{Context, milliseconds};
use super::reply::Reply;
use super::routes::Call;
use crate::identity::Identity;
use crate::record::{Failing, RecordedFile, RunningRecording};

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Recordings {
    /// The streams that are being recorded, the oldest first.
    pub(super) recordings: Vec<Recording>,
    /// The files that ended last, the newest first; at most 100.
    pub(super) ended: Vec<EndedFile>,
}

/// A stream that is being recorded.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Recording {
    /// The stream's name as in the log: `app/stream`, `app/stream?vhost=NAME`.
    pub(super) key: String,
    /// The client that publishes; empty if the server itself does.
    pub(super) client_id: String,
    /// `recording`; `waiting` if there is no file yet; `failing` if the disk is full or failed.
    pub(super) state: String,
    /// When the publication began, in milliseconds since 1970.
    pub(super) since_ms: u64,
    /// The file that is being written; empty if there is none. The next fields are of this file.
    pub(super) file: String,
    /// When it began, in milliseconds since 1970; 0 if there is none.
    pub(super) begun_ms: u64,
    /// Bytes that are written.
    pub(super) bytes: u64,
    /// Seconds of media.
    pub(super) duration: f64,
    /// Frames of the whole recording that are missing because the disk was too slow.
    pub(super) missed_frames: u64,
    /// Why nothing is written now: the reason's name and the error; empty if something is.
    pub(super) error: String,
    /// When it is tried again, in milliseconds since 1970; 0 if there is no error.
    pub(super) again_ms: u64,
}

/// A file that got its last byte.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct EndedFile {
    /// The stream's name as in the log: `app/stream`, `app/stream?vhost=NAME`.
    pub(super) key: String,
    /// The client that published when the file began; empty if the server itself did.
    pub(super) client_id: String,
    /// `complete`, or `failed` if the file lacks something: see `error`.
    pub(super) state: String,
    /// The file; empty if nothing could be written.
    pub(super) file: String,
    /// Why it ended: `unpublished`, `max_duration`, `max_size`, `header_changed`, `stopped`, or what failed:
    /// `disk_full`, `folder`, `disk_failed`.
    pub(super) reason: String,
    /// The error; empty if there was none.
    pub(super) error: String,
    /// In milliseconds since 1970.
    pub(super) begun_ms: u64,
    /// In milliseconds since 1970.
    pub(super) ended_ms: u64,
    pub(super) bytes: u64,
    /// Seconds of media.
    pub(super) duration: f64,
    /// Frames that are missing because the disk was too slow.
    pub(super) missed_frames: u64,
}

pub(super) fn recordings(context: &Context, _: &Call<'_>) -> Reply {
    let (recordings, identity) = (context.workers.recorder.recordings(), &context.identity);
    let running = recordings.running().into_iter().map(|recording| show_running(recording, identity)).collect();
    let ended = recordings.ended().into_iter().map(|file| show_ended(file, identity)).collect();
    json(context, Recordings { recordings: running, ended })
}

fn show_running(recording: RunningRecording, identity: &Identity) -> Recording {
    let RunningRecording { key, connection, since, file, missed, failing } = recording;
    let state = match (&file, &failing) {
        (_, Some(_)) => "failing",
        (Some(_), None) => "recording",
        (None, None) => "waiting",
    };
    Recording {
        key: key.to_string(),
        client_id: connection.map(|connection| identity.client_id(connection)).unwrap_or_default(),
        state: state.to_owned(),
        since_ms: milliseconds(since),
        file: file.as_ref().map(|file| file.path.display().to_string()).unwrap_or_default(),
        begun_ms: file.as_ref().map_or(0, |file| milliseconds(file.begun)),
        bytes: file.as_ref().map_or(0, |file| file.bytes),
        duration: file.as_ref().map_or(0.0, |file| file.duration.as_secs_f64()),
        missed_frames: missed,
        again_ms: failing.as_ref().map_or(0, |failing| milliseconds(failing.again)),
        error: failing.map(|Failing { failure, error, .. }| format!("{}: {error}", failure.name())).unwrap_or_default(),
    }
}

fn show_ended(file: RecordedFile, identity: &Identity) -> EndedFile {
    let RecordedFile { key, publisher, path, begun, ended, bytes, duration, missed, reason, error } = file;
    EndedFile {
        key: key.to_string(),
        client_id: publisher.connection.map(|connection| identity.client_id(connection)).unwrap_or_default(),
        state: if error.is_some() { "failed" } else { "complete" }.to_owned(),
        file: path.display().to_string(),
        reason: reason.name().to_owned(),
        error: error.unwrap_or_default(),
        begun_ms: milliseconds(begun),
        ended_ms: milliseconds(ended),
        bytes,
        duration: duration.as_secs_f64(),
        missed_frames: missed,
    }
}
