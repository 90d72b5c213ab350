//! The URLs that hooks call, and how the calls went.

use schemars::JsonSchema;
use serde::Serialize;

use super::answers::json;
use super::context::{Context, milliseconds};
use super::reply::Reply;
use super::routes::Call;
use crate::hooks::UrlState;

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct HookUrls {
    /// Each URL once. URLs that differ only in what is not shown, and one URL with several settings, are one entry.
    pub(super) hooks: Vec<HookUrlState>,
}

/// A URL that hooks call.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct HookUrlState {
    /// The URL without user, password and query.
    pub(super) url: String,
    /// `ok`; `failing` if the last call failed (with several settings: the last call with one of them); `unused` if none
    /// was made.
    pub(super) state: String,
    /// The hooks that call it, such as `on_publish`.
    pub(super) actions: Vec<String>,
    /// The virtual hosts whose hooks call it. An empty name stands for all that have no settings of hooks.
    pub(super) vhosts: Vec<String>,
    /// The applications of these virtual hosts whose hooks call it.
    pub(super) applications: Vec<HookApplication>,
    /// Calls made, repetitions included.
    pub(super) calls: u64,
    /// Calls that failed: the back end was not reached, was too slow, or answered with a server error. A refusal is not
    /// a failure.
    pub(super) failures: u64,
    /// How many calls failed since the last one that did not.
    pub(super) consecutive_failures: u64,
    /// The last error; empty if there was none.
    pub(super) last_error: String,
    /// In milliseconds since 1970; 0 if there was none.
    pub(super) last_error_ms: u64,
    /// The last call that did not fail, in milliseconds since 1970; 0 if there was none.
    pub(super) last_success_ms: u64,
    /// Calls under way.
    pub(super) in_flight: usize,
    /// Questions that wait for a free place.
    pub(super) questions_waiting: usize,
    /// Notices that wait for a free place or to be repeated.
    pub(super) notices_waiting: usize,
    /// Memory of all notices that are not delivered yet.
    pub(super) notice_bytes: usize,
}

/// An application whose hooks call a URL.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct HookApplication {
    /// The virtual host; empty for those that have no settings of hooks.
    pub(super) vhost: String,
    /// The patterns of its streams, such as `ingest/*, upload/*`.
    pub(super) streams: String,
}

pub(super) fn hooks(context: &Context, _: &Call<'_>) -> Reply {
    json(context, HookUrls { hooks: context.workers.hooks.urls().into_iter().map(show).collect() })
}

fn show(url: UrlState) -> HookUrlState {
    let state = match url.made {
        _ if url.is_failing() => "failing",
        0 => "unused",
        _ => "ok",
    };
    let (error_time, error) =
        url.last_failure.clone().map_or((0, String::new()), |(time, error)| (milliseconds(time), error));
    HookUrlState {
        url: url.url,
        state: state.to_owned(),
        actions: url.calls.iter().map(|call| (*call).to_owned()).collect(),
        vhosts: url.vhosts,
        applications: url.applications.into_iter().map(|(vhost, streams)| HookApplication { vhost, streams }).collect(),
        calls: url.made,
        failures: url.failed,
        consecutive_failures: url.failures_in_a_row,
        last_error: error,
        last_error_ms: error_time,
        last_success_ms: url.last_success.map_or(0, milliseconds),
        in_flight: url.in_flight,
        questions_waiting: url.questions_waiting,
        notices_waiting: url.notices_waiting,
        notice_bytes: url.notice_bytes,
    }
}
