//! This server in its cluster, and what the directory knows.

use schemars::JsonSchema;
use serde::Serialize;

use super::answers::json;
use super::context::{Context, milliseconds};
use super::reply::Reply;
use super::routes::Call;
use crate::cluster::{NodeRecord, View};

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Cluster {
    pub(super) data: ClusterState,
}

/// This server in its cluster. Without a cluster all texts are empty and all numbers 0.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct ClusterState {
    /// `off` if the server stands alone; `connected` while the directory answers; `lost` while it does not.
    pub(super) state: String,
    /// Since when, in milliseconds since 1970.
    pub(super) since_ms: u64,
    /// This server's id in the directory.
    pub(super) node: String,
    /// Where the others reach it.
    pub(super) advertise: String,
    /// The directory as it is configured, without password.
    pub(super) directory: String,
    /// The address of the Redis that was reached last; empty if none was.
    pub(super) address: String,
    /// The last error; empty if there was none.
    pub(super) last_error: String,
    /// In milliseconds since 1970; 0 if there was none.
    pub(super) last_error_ms: u64,
    /// Names of streams that this server has.
    pub(super) leases: usize,
    /// How many of them the directory has not confirmed.
    pub(super) unconfirmed: usize,
    /// Requests to the directory that have no reply yet.
    pub(super) outstanding: usize,
    /// The servers whose records the directory has, this one included; at most 1000.
    pub(super) nodes: Vec<ClusterNode>,
    /// When it listed them, in milliseconds since 1970; 0 if it has not. Each request for this page has them listed
    /// again, for the next request.
    pub(super) nodes_ms: u64,
}

/// A server of the cluster, as it says itself.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ClusterNode {
    /// Its id.
    pub(super) node: String,
    /// Where it is reached; empty if it does not say.
    pub(super) advertise: String,
    /// The version of the program.
    pub(super) version: String,
    /// Streams that are published there.
    pub(super) streams: u64,
    /// Its players.
    pub(super) players: u64,
    /// True if it accepts no new clients.
    pub(super) draining: bool,
    /// True for the server that answers.
    pub(super) is_this: bool,
}

pub(super) fn cluster(context: &Context, _: &Call<'_>) -> Reply {
    let data = match &context.workers.directory {
        Some(directory) => show(directory.view()),
        None => ClusterState { state: "off".to_owned(), ..ClusterState::default() },
    };
    json(context, Cluster { data })
}

fn show(view: View) -> ClusterState {
    let View { node, advertise, directory, state, leases, unconfirmed, outstanding, nodes, listed } = view;
    let (last_error_ms, last_error) = state.error.map_or((0, String::new()), |(at, words)| (milliseconds(at), words));
    ClusterState {
        state: if state.connected { "connected" } else { "lost" }.to_owned(),
        since_ms: milliseconds(state.since),
        advertise,
        directory,
        address: state.address,
        last_error,
        last_error_ms,
        leases,
        unconfirmed,
        outstanding,
        nodes: nodes.into_iter().map(|record| of_record(record, &node)).collect(),
        nodes_ms: listed.map_or(0, milliseconds),
        node: node.to_string(),
    }
}

fn of_record(record: NodeRecord, this: &str) -> ClusterNode {
    ClusterNode {
        advertise: record.address().unwrap_or_default().to_owned(),
        is_this: record.id == this,
        node: record.id,
        version: record.version,
        streams: record.load.streams,
        players: record.load.players,
        draining: record.draining,
    }
}
