//! This server in its cluster, and what the directory knows.

use std::sync::Arc;
use std::time::Duration;

use anabranch_core::cluster::ClusterSnapshot;
use anabranch_core::location::Located;
use anabranch_core::url::StreamKey;
use hyper::StatusCode;
use hyper::http::request::Parts;
use schemars::JsonSchema;
use serde::Serialize;
use smol::Timer;
use smol::future::FutureExt as _;

use super::answers::json;
use super::context::{Context, milliseconds};
use super::health::decoded;
use super::reply::Reply;
use super::routes::Call;
use crate::cluster::{Advertise, NodeRecord, View};

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
    /// The names that clients publish here; at most 1000.
    pub(super) names: Vec<ClusterName>,
    /// Streams of other servers that players here want; at most 1000. `/api/v1/edge` has the state of these pulls.
    pub(super) pulls: Vec<ClusterPull>,
    /// The streams that other servers get from this one; at most 1000.
    pub(super) children: Vec<ClusterChildren>,
    /// Claims that wait for an answer of the directory.
    pub(super) waiting: usize,
    /// When it listed them, in milliseconds since 1970; 0 if it has not. Each request for this page has them listed
    /// again, for the next request.
    pub(super) nodes_ms: u64,
}

/// A name of this server.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ClusterName {
    pub(super) vhost: String,
    pub(super) app: String,
    pub(super) stream: String,
    /// The number of its lease; 0 while the directory has not confirmed it.
    pub(super) lease: u64,
}

/// A stream of another server.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ClusterPull {
    pub(super) vhost: String,
    pub(super) app: String,
    pub(super) stream: String,
    /// The server that has it.
    pub(super) node: String,
    /// Where that is reached.
    pub(super) address: String,
}

/// The servers that get a stream from this one.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ClusterChildren {
    pub(super) vhost: String,
    pub(super) app: String,
    pub(super) stream: String,
    /// Their ids.
    pub(super) nodes: Vec<String>,
}

/// What SRS says where a stream is, in its own shape.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SrsCluster {
    pub(super) data: SrsLookup,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SrsLookup {
    pub(super) query: SrsQuery,
    /// The server that has the stream; null if none does, if the directory does not answer, or if that server is reached
    /// with TLS only.
    pub(super) origin: Option<SrsOrigin>,
}

/// What was asked for.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SrsQuery {
    pub(super) ip: String,
    pub(super) vhost: String,
    pub(super) app: String,
    pub(super) stream: String,
}

/// A server that has a stream.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SrsOrigin {
    /// Its host.
    pub(super) ip: String,
    /// Its port for RTMP.
    pub(super) port: u16,
    pub(super) vhost: String,
    /// Empty: servers do not tell each other where their APIs are.
    pub(super) api: String,
    /// Empty: a stream comes from the server that has it.
    pub(super) routers: Vec<String>,
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
        Some(directory) => show(directory.view(), directory.streams(LISTED)),
        None => ClusterState { state: "off".to_owned(), ..ClusterState::default() },
    };
    json(context, Cluster { data })
}

/// The path that servers of SRS ask where a stream is.
pub(super) const LOOKUP: &str = "/api/v1/clusters";
/// How long the directory has for that.
const LOOKUP_LIMIT: Duration = Duration::from_secs(2);

/// The stream that a request asks for.
fn wanted(context: &Context, call: &Call<'_>) -> Result<(StreamKey, SrsQuery), String> {
    let given = |name: &str| call.parameter(name).map(decoded).unwrap_or_default().into_owned();
    let query = SrsQuery { ip: given("ip"), vhost: given("vhost"), app: given("app"), stream: given("stream") };
    let host = if query.vhost.is_empty() { String::new() } else { format!("?vhost={}", query.vhost) };
    let key = context.handle.stream_key(&format!("{}/{}{host}", query.app, query.stream));
    let key = key.map_err(|error| format!("app and stream: {error}"))?;
    Ok((key, query))
}

/// There are too many such requests.
#[derive(Debug)]
pub(super) struct TooMany;

/// Asks the directory where the stream of a request is, if the request is one that asks that and is allowed.
pub(super) async fn locate(context: &Context, request: &Parts) -> Option<Result<Located, TooMany>> {
    let directory = context.workers.directory.as_ref()?;
    let is_open = context.srs_lookup;
    if request.uri.path().trim_end_matches('/') != LOOKUP || context.guard.refuse(request, is_open).is_some() {
        return None;
    }
    let (key, _) = wanted(context, &Call::new("", request.uri.query().unwrap_or_default())).ok()?;
    let (sender, answer) = smol::channel::bounded(1);
    let find = directory.look_up(&key.as_str().into(), move |located| {
        // The client may have gone.
        let _ = sender.try_send(located);
    });
    let Some(_find) = find else {
        return Some(Err(TooMany));
    };
    let late = async {
        Timer::after(LOOKUP_LIMIT).await;
        None
    };
    async { answer.recv().await.ok() }.or(late).await.map(Ok)
}

pub(super) fn lookup(context: &Context, call: &Call<'_>) -> Reply {
    let (key, query) = match wanted(context, call) {
        Ok(wanted) => wanted,
        Err(words) => return Reply::error(StatusCode::BAD_REQUEST, 400, words),
    };
    let address: Option<Advertise> = match (&call.located, &context.workers.directory) {
        (Some(Err(TooMany)), _) => {
            let words = "too many look-ups at present; ask again in a second";
            return Reply::error(StatusCode::SERVICE_UNAVAILABLE, 503, words);
        }
        (Some(Ok(Located::Here)), Some(directory)) => Some(directory.advertised().clone()),
        // What the directory said before it was lost may be wrong by now.
        (Some(Ok(Located::At { owner, stale: false })), _) => {
            owner.address.as_ref().and_then(|address| address.parse().ok())
        }
        _ => None,
    };
    // Servers of SRS connect without TLS.
    let origin = address.filter(|address| !address.tls).map(|address| SrsOrigin {
        ip: address.host,
        port: address.port,
        vhost: key.vhost().to_owned(),
        api: String::new(),
        routers: Vec::new(),
    });
    json(context, SrsCluster { data: SrsLookup { query, origin } })
}

fn show(view: View, streams: ClusterSnapshot) -> ClusterState {
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
        names: streams.names.into_iter().map(|(key, lease)| of_name(&key, lease)).collect(),
        pulls: streams.places.into_iter().map(|(key, node, address)| of_pull(&key, &node, &address)).collect(),
        children: streams.children.into_iter().map(|(key, nodes)| of_children(&key, &nodes)).collect(),
        waiting: streams.waiting,
        nodes: nodes.into_iter().map(|record| of_record(record, &node)).collect(),
        nodes_ms: listed.map_or(0, milliseconds),
        node: node.to_string(),
    }
}

/// The most entries of a list.
const LISTED: usize = 1000;

fn of_name(key: &StreamKey, lease: Option<u64>) -> ClusterName {
    let [vhost, app, stream] = [key.vhost(), key.app(), key.stream()].map(str::to_owned);
    ClusterName { vhost, app, stream, lease: lease.unwrap_or(0) }
}

fn of_pull(key: &StreamKey, node: &str, address: &str) -> ClusterPull {
    let [vhost, app, stream] = [key.vhost(), key.app(), key.stream()].map(str::to_owned);
    ClusterPull { vhost, app, stream, node: node.to_owned(), address: address.to_owned() }
}

fn of_children(key: &StreamKey, nodes: &[Arc<str>]) -> ClusterChildren {
    let [vhost, app, stream] = [key.vhost(), key.app(), key.stream()].map(str::to_owned);
    ClusterChildren { vhost, app, stream, nodes: nodes.iter().map(|node| node.to_string()).collect() }
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
