//! Programs that run because a stream began.

use schemars::JsonSchema;
use serde::Serialize;

use super::answers::json;
use super::context::{Context, milliseconds};
use super::reply::Reply;
use super::routes::Call;
use crate::identity::Identity;
use crate::run::RunSnapshot;

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Runs {
    /// The programs of live streams, the oldest first.
    pub(super) runs: Vec<Run>,
}

/// A program for a stream.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Run {
    /// Its number: a publication has one for each of its programs.
    pub(super) id: u64,
    /// Its name, as in the log.
    pub(super) name: String,
    /// The program, without its arguments.
    pub(super) program: String,
    /// The stream's name as in the log: `app/stream`, `app/stream?vhost=NAME`.
    pub(super) key: String,
    /// The client that publishes the stream; empty if the server itself does.
    pub(super) client_id: String,
    /// `waiting`, `starting`, `running`, `ending` after SIGTERM, or `over` if it is not started again.
    pub(super) state: String,
    /// Why it waits: `turn`, `restart`, or the limit that is reached: `limits_runs`, `starts`, `limits_run_starts`.
    pub(super) why: String,
    /// The number of its process, which is that of its process group, too; 0 if it has none.
    pub(super) pid: u32,
    /// When it was started, in milliseconds since 1970; 0 if it does not run.
    pub(super) since_ms: u64,
    /// When it is started again at the earliest, in milliseconds since 1970; 0 if it does not wait for a time.
    pub(super) again_ms: u64,
    /// How often it was started for this publication.
    pub(super) starts: u64,
    /// How often of these it was started again.
    pub(super) restarts: u64,
    /// How it ended last: `success`, `failure`, `signal`, `not_started` or `refused`; empty if it has not ended.
    pub(super) last_result: String,
    /// The same in words, such as the exit code; empty if it has not ended.
    pub(super) last_exit: String,
}

pub(super) fn runs(context: &Context, _: &Call<'_>) -> Reply {
    let list = context.workers.runner.list();
    json(context, Runs { runs: list.into_iter().map(|run| show(run, &context.identity)).collect() })
}

fn show(run: RunSnapshot, identity: &Identity) -> Run {
    let (last_result, last_exit) = run.last.unwrap_or_default();
    Run {
        id: run.id,
        name: run.label,
        program: run.program,
        key: run.key.to_string(),
        client_id: if run.connection == 0 { String::new() } else { identity.client_id(run.connection) },
        state: run.state.to_owned(),
        why: run.why.to_owned(),
        pid: run.pid.unwrap_or_default(),
        since_ms: run.since.map_or(0, milliseconds),
        again_ms: run.again.map_or(0, milliseconds),
        starts: run.starts,
        restarts: run.starts.saturating_sub(1),
        last_result: last_result.to_owned(),
        last_exit,
    }
}
