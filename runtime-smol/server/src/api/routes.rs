//! The table of all routes. The router uses it, and the OpenAPI document is generated from it.

use std::collections::BTreeSet;

use anabranch_core::location::Located;
use hyper::header::{HOST, HeaderValue, IF_NONE_MATCH};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::captures::{Captures, OneCapture};
use super::cluster::{Cluster, SrsCluster, TooMany};
use super::context::Context;
use super::forwards::{Edges, Forwards, OneForward};
use super::health::{DrainAnswer, DrainUndoneAnswer, Health};
use super::hooks::HookUrls;
use super::recordings::Recordings;
use super::reply::Reply;
use super::runs::Runs;
use super::shapes::{
    Clients, Closes, Done, Envelope, Index, OneClient, OneStream, OneVhost, Reloaded, SettingsInForce, Streams,
    Summaries, Versions, Vhosts,
};
use super::{answers, captures, cluster, forwards, health, hooks, recordings, runs};
use crate::web::Page;

/// One method of one path.
pub(super) struct Route {
    pub(super) method: &'static str,
    /// The path. `{id}` stands for one segment.
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) query: &'static [Parameter],
    pub(super) content: Content,
    /// Statuses other than 200 and those that every route has.
    pub(super) failures: &'static [(StatusCode, &'static str)],
    /// True if it needs no credentials.
    pub(super) open: bool,
    answer: fn(&Context, &Call<'_>) -> Reply,
}

/// A parameter of the query.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) text: bool,
}

/// The kind of an answer.
pub(super) enum Content {
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// The same with any of the route's statuses.
    Status(fn(&mut SchemaGenerator) -> Schema),
    Text,
    /// Any JSON object.
    Document,
}

/// A request with its path parameter.
pub(super) struct Call<'a> {
    /// The segment in the place of `{id}`.
    pub(super) id: &'a str,
    query: &'a str,
    /// What the directory of the cluster has said about the stream that the request asks for.
    pub(super) located: Option<Result<Located, TooMany>>,
}

impl<'a> Call<'a> {
    /// A request with this query.
    pub(super) fn new(id: &'a str, query: &'a str) -> Self {
        Call { id, query, located: None }
    }
}

impl Call<'_> {
    /// A parameter that is not among these. A parameter that is ignored would change something in a way that was not asked
    /// for.
    fn unknown(&self, known: &[Parameter]) -> Option<String> {
        let names = self.query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split('=').next());
        let unknown = names.flatten().find(|name| known.iter().all(|parameter| parameter.name != *name));
        unknown.map(|name| {
            let known: Vec<_> = known.iter().map(|parameter| parameter.name).collect();
            let expected = if known.is_empty() { "no parameters".to_owned() } else { known.join(", ") };
            format!("{:?} is not a parameter: expected {expected}", shortened(name))
        })
    }

    /// The first parameter of that name, as it was sent. The query is not read as a form, in which a `+` is a space: in a
    /// URL or a token it is a `+`.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let mut pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// A parameter that must be a number, or an error text.
    pub(super) fn number(&self, name: &str, default: usize) -> Result<usize, String> {
        let Some(text) = self.parameter(name) else {
            return Ok(default);
        };
        text.parse().map_err(|_| format!("{name} is {:?}: expected a number", shortened(text)))
    }
}

/// A client's text, shortened for an answer.
fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

const PAGE: &[Parameter] = &[
    Parameter { name: "start", about: "How many entries to skip. Default 0", text: false },
    Parameter {
        name: "count",
        about: "How many entries to list, at most 1000; 0 for the total only. Default 10",
        text: false,
    },
];

const DRAIN: &[Parameter] = &[
    Parameter {
        name: "seconds",
        about: "After how many seconds to close the remaining connections, at most 86400. Default 30",
        text: false,
    },
    Parameter {
        name: "tc_url",
        about: "The URL that clients are asked to connect to, percent-encoded. Default: the same address",
        text: true,
    },
];

/// What SRS's `/api/v1/clusters` has.
const WHERE: &str = "Which server of the cluster has a stream, for servers of SRS";
const NO_NAME: (StatusCode, &str) = (StatusCode::BAD_REQUEST, "app and stream are no name of a stream");
const TOO_MANY: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "There are too many such requests at present");
const LOOKUP: &[Parameter] = &[
    Parameter { name: "vhost", about: "The virtual host of the stream. Default: the default one", text: true },
    Parameter { name: "ip", about: "The host that the client used. It is only repeated in the answer", text: true },
    Parameter { name: "app", about: "The application of the stream", text: true },
    Parameter { name: "stream", about: "The stream", text: true },
    Parameter { name: "coworker", about: "Not used", text: true },
];

const FORWARD: &[Parameter] = &[
    Parameter {
        name: "stream",
        about: "The stream that is pushed, published or not: its name, APP/STREAM or APP/STREAM?vhost=NAME, or its id",
        text: true,
    },
    Parameter {
        name: "url",
        about: "Where to publish it, percent-encoded: rtmp://HOST/APP/STREAM or rtmps://HOST/APP/STREAM",
        text: true,
    },
];

const CAPTURE: &[Parameter] = &[
    Parameter {
        name: "client",
        about: "The id of a client, or the number of its connection. Exactly one of client, address and stream is needed",
        text: true,
    },
    Parameter { name: "address", about: "An address, or a network such as 10.0.0.0/8", text: true },
    Parameter {
        name: "stream",
        about: "The id of a stream, or its name: APP/STREAM, APP/STREAM?vhost=NAME",
        text: true,
    },
    Parameter {
        name: "role",
        about: "With stream: only its \"publisher\", or each \"player\". Default: both",
        text: true,
    },
    Parameter {
        name: "bytes",
        about: "The largest size of a file, at least 65536. Default, and most: capture.file_size",
        text: false,
    },
    Parameter { name: "seconds", about: "How long it runs, at most 86400. Default 600", text: false },
    Parameter {
        name: "connections",
        about: "How many connections it takes, a file for each, at most 100. Default 10; 1 with client",
        text: false,
    },
];

fn json<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Envelope<T>>()
}

const NO_VHOST: (StatusCode, &str) = (StatusCode::NOT_FOUND, "There is no such virtual host (code 2014)");
const NO_STREAM: (StatusCode, &str) = (StatusCode::NOT_FOUND, "There is no such stream (code 2048)");
const NO_CLIENT: (StatusCode, &str) = (StatusCode::NOT_FOUND, "There is no such client (code 2049)");
const NO_FORWARD: (StatusCode, &str) = (StatusCode::NOT_FOUND, "There is no such push");
const NO_CAPTURE: (StatusCode, &str) = (StatusCode::NOT_FOUND, "There is no such capture");
const BAD_NUMBER: (StatusCode, &str) =
    (StatusCode::BAD_REQUEST, "A parameter is not a number, or not within its bounds");
const TOLD_TO_STOP: (StatusCode, &str) =
    (StatusCode::CONFLICT, "The server was told to stop by a signal, which cannot be undone");

type Answer = fn(&Context, &Call<'_>) -> Reply;

const fn route(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    content: Content,
    answer: Answer,
) -> Route {
    Route { method, path, summary, query: &[], content, failures: &[], open: false, answer }
}

const fn get(path: &'static str, summary: &'static str, content: Content, answer: Answer) -> Route {
    route("GET", path, summary, content, answer)
}

/// All routes.
pub(super) const ROUTES: &[Route] = &[
    get("/api/v1", "This list", Content::Json(json::<Index>), answers::index),
    get("/api/v1/versions", "The program's version", Content::Json(json::<Versions>), answers::versions),
    get("/api/v1/summaries", "A summary of process and machine", Content::Json(json::<Summaries>), answers::summaries),
    get("/api/v1/vhosts", "The virtual hosts", Content::Json(json::<Vhosts>), answers::vhosts),
    Route {
        failures: &[NO_VHOST],
        ..get("/api/v1/vhosts/{id}", "A virtual host", Content::Json(json::<OneVhost>), answers::vhost)
    },
    Route {
        query: PAGE,
        failures: &[BAD_NUMBER],
        ..get("/api/v1/streams", "The streams, by name", Content::Json(json::<Streams>), answers::streams)
    },
    Route {
        failures: &[NO_STREAM],
        ..get("/api/v1/streams/{id}", "A stream", Content::Json(json::<OneStream>), answers::stream)
    },
    Route {
        failures: &[NO_STREAM, (StatusCode::CONFLICT, "No client publishes it")],
        ..route(
            "DELETE",
            "/api/v1/streams/{id}",
            "Close the connection of the stream's publisher",
            Content::Json(json::<Done>),
            answers::kick_publisher,
        )
    },
    Route {
        query: PAGE,
        failures: &[BAD_NUMBER],
        ..get("/api/v1/clients", "The connections, the oldest first", Content::Json(json::<Clients>), answers::clients)
    },
    Route {
        failures: &[NO_CLIENT],
        ..get("/api/v1/clients/{id}", "A connection", Content::Json(json::<OneClient>), answers::client)
    },
    Route {
        failures: &[NO_CLIENT],
        ..route("DELETE", "/api/v1/clients/{id}", "Close a connection", Content::Json(json::<Done>), answers::kick)
    },
    Route {
        query: PAGE,
        failures: &[BAD_NUMBER],
        ..get(
            "/api/v1/closes",
            "The connections that ended last, the newest first",
            Content::Json(json::<Closes>),
            answers::closes,
        )
    },
    Route {
        query: DRAIN,
        failures: &[BAD_NUMBER, TOLD_TO_STOP],
        ..route(
            "POST",
            "/api/v1/drain",
            "Drain: grant nothing new, ask clients to connect again, close the rest later",
            Content::Json(json::<DrainAnswer>),
            health::drain,
        )
    },
    Route {
        failures: &[TOLD_TO_STOP],
        ..route(
            "DELETE",
            "/api/v1/drain",
            "Undo a drain: accept new clients again",
            Content::Json(json::<DrainUndoneAnswer>),
            health::stop_draining,
        )
    },
    Route {
        failures: &[(StatusCode::SERVICE_UNAVAILABLE, "The server drains or stops, and accepts no new clients")],
        ..get("/api/v1/health", "Health: what is wrong, and the drain", Content::Status(json::<Health>), health::health)
    },
    get(
        "/api/v1/recordings",
        "The recordings that run, and the files that ended last",
        Content::Json(json::<Recordings>),
        recordings::recordings,
    ),
    get(
        "/api/v1/runs",
        "The programs that run, or wait to, because a stream began",
        Content::Json(json::<Runs>),
        runs::runs,
    ),
    get(
        "/api/v1/cluster",
        "This server in its cluster: the directory's state, and the servers that it knows",
        Content::Json(json::<Cluster>),
        cluster::cluster,
    ),
    Route {
        query: LOOKUP,
        failures: &[NO_NAME, TOO_MANY],
        ..get(cluster::LOOKUP, WHERE, Content::Json(json::<SrsCluster>), cluster::lookup)
    },
    Route {
        query: LOOKUP,
        failures: &[NO_NAME, TOO_MANY],
        ..route("POST", cluster::LOOKUP, WHERE, Content::Json(json::<SrsCluster>), cluster::lookup)
    },
    Route {
        query: PAGE,
        failures: &[BAD_NUMBER],
        ..get(
            "/api/v1/forwards",
            "The pushes to other servers, with their state",
            Content::Json(json::<Forwards>),
            forwards::forwards,
        )
    },
    Route {
        query: FORWARD,
        failures: &[
            (StatusCode::BAD_REQUEST, "The parameters are not valid"),
            (StatusCode::NOT_FOUND, "There is no such virtual host (code 2014) or id of a stream (2048)"),
            (StatusCode::CONFLICT, "The stream has this target already, or there are too many; the text says which"),
        ],
        ..route(
            "POST",
            "/api/v1/forwards",
            "Push a stream to one more server, until the push is removed or the server ends",
            Content::Json(json::<OneForward>),
            forwards::add,
        )
    },
    Route {
        failures: &[NO_FORWARD],
        ..get("/api/v1/forwards/{id}", "A push", Content::Json(json::<OneForward>), forwards::forward)
    },
    Route {
        failures: &[NO_FORWARD],
        ..route("DELETE", "/api/v1/forwards/{id}", "End a push", Content::Json(json::<Done>), forwards::remove)
    },
    Route {
        query: PAGE,
        failures: &[BAD_NUMBER],
        ..get(
            "/api/v1/edge",
            "What is pulled from and published at origins, with its state",
            Content::Json(json::<Edges>),
            forwards::edge,
        )
    },
    get("/api/v1/hooks", "The URLs that hooks call, and their state", Content::Json(json::<HookUrls>), hooks::hooks),
    get(
        "/api/v1/captures",
        "The captures that were begun through the API",
        Content::Json(json::<Captures>),
        captures::list,
    ),
    Route {
        query: CAPTURE,
        failures: &[
            (StatusCode::BAD_REQUEST, "The parameters are not valid"),
            (
                StatusCode::NOT_FOUND,
                "There is no such client (code 2049), virtual host (2014) or id of a stream (2048)",
            ),
            (StatusCode::CONFLICT, "Nothing more can be captured now; the text says why"),
            (StatusCode::INSUFFICIENT_STORAGE, "The folder cannot be used"),
        ],
        ..route(
            "POST",
            "/api/v1/captures",
            "Capture one client, or the clients of an address, a network or a stream",
            Content::Json(json::<OneCapture>),
            captures::begin,
        )
    },
    Route {
        failures: &[NO_CAPTURE],
        ..get("/api/v1/captures/{id}", "A capture", Content::Json(json::<OneCapture>), captures::one)
    },
    Route {
        failures: &[NO_CAPTURE],
        ..route("DELETE", "/api/v1/captures/{id}", "End a capture", Content::Json(json::<OneCapture>), captures::end)
    },
    Route {
        failures: &[
            (StatusCode::UNPROCESSABLE_ENTITY, "The configuration is not valid; the old one stays in force"),
            (StatusCode::NOT_IMPLEMENTED, "This server has no configuration to read again"),
        ],
        ..route(
            "POST",
            "/api/v1/reload",
            "Read the configuration again",
            Content::Json(json::<Reloaded>),
            answers::reload,
        )
    },
    Route {
        failures: &[(StatusCode::NOT_IMPLEMENTED, "This server has no configuration to show")],
        ..get(
            "/api/v1/settings",
            "The configuration in force, each value with its origin",
            Content::Json(json::<SettingsInForce>),
            answers::settings,
        )
    },
    Route { open: true, ..get("/healthz", "Whether the process lives", Content::Text, answers::healthz) },
    Route {
        open: true,
        failures: &[(StatusCode::SERVICE_UNAVAILABLE, "The server drains or stops")],
        ..get("/readyz", "Whether the server takes new clients", Content::Text, answers::readyz)
    },
    get("/metrics", "Metrics for Prometheus", Content::Text, answers::metrics),
    get("/openapi.json", "This interface as an OpenAPI 3.1 document", Content::Document, answers::openapi),
];

/// Finds the route and answers the request, if it is allowed.
pub(super) fn answer(context: &Context, request: &Parts, located: Option<Result<Located, TooMany>>) -> Reply {
    let path = request.uri.path();
    let path = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path);
    let asked = if request.method == Method::HEAD { "GET" } else { request.method.as_str() };
    if let Some(page) = context.pages.find(request.uri.path()) {
        return answer_page(context, request, page);
    }
    let mut allowed = BTreeSet::new();
    let mut found = None;
    for route in ROUTES {
        if let Some(id) = matches(route.path, path) {
            allowed.insert(route.method);
            if route.method == asked {
                found = Some((route, id));
            }
        }
    }
    let is_open = |route: &Route| route.open || route.path == cluster::LOOKUP && context.srs_lookup;
    if let Some(refusal) = context.guard.refuse(request, found.as_ref().is_some_and(|(route, _)| is_open(route))) {
        return refusal;
    }
    match found {
        Some((route, id)) => {
            let call = Call { located, ..Call::new(id, request.uri.query().unwrap_or_default()) };
            // What only reads may have parameters for other programs, such as a time against caches.
            if route.method != "GET"
                && let Some(words) = call.unknown(route.query)
            {
                return Reply::error(StatusCode::BAD_REQUEST, 400, words);
            }
            (route.answer)(context, &call)
        }
        None if allowed.is_empty() => {
            Reply::error(StatusCode::NOT_FOUND, 404, "there is no such path: /api/v1 lists all paths")
        }
        None => {
            if allowed.contains("GET") {
                allowed.insert("HEAD");
            }
            Reply::not_allowed(&allowed.into_iter().collect::<Vec<_>>().join(", "))
        }
    }
}

/// Answers a request for a page of the console. Like the open routes it needs no credentials: there is nothing in it.
fn answer_page(context: &Context, request: &Parts, page: &Page) -> Reply {
    if let Some(refusal) = context.guard.refuse(request, true) {
        return refusal;
    }
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return Reply::not_allowed("GET, HEAD");
    }
    let field = |name| request.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    Reply::page(page, field(HOST), field(IF_NONE_MATCH))
}

/// The segment in the place of `{id}`, if the path matches.
fn matches<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    match pattern.strip_suffix("{id}") {
        Some(start) => path.strip_prefix(start).filter(|id| !id.is_empty() && !id.contains('/')),
        None => (pattern == path).then_some(""),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use anabranch_program::{ChosenCaptures, ChosenFolder};

    use super::super::{ApiSettings, Capturing, Reload, Workers};
    use super::*;
    use crate::hooks::HttpHooks;
    use crate::identity::Identity;
    use crate::record::Recorder;
    use crate::run::Runner;
    use crate::segments::Outlets;
    use crate::settings::OfStreams;
    use crate::settings::Sources;
    use crate::web::Pages;

    #[test]
    fn paths_match_as_a_whole() {
        assert_eq!(matches("/api/v1/streams/{id}", "/api/v1/streams/vid-1"), Some("vid-1"));
        assert_eq!(matches("/api/v1/streams/{id}", "/api/v1/streams/"), None);
        assert_eq!(matches("/api/v1/streams/{id}", "/api/v1/streams/a/b"), None);
        assert_eq!(matches("/api/v1/streams", "/api/v1/streams"), Some(""));
        assert_eq!(matches("/api/v1/streams", "/api/v1/streamsx"), None);
    }

    #[test]
    fn no_two_routes_are_the_same() {
        let all: BTreeSet<_> = ROUTES.iter().map(|route| (route.path, route.method)).collect();
        assert_eq!(all.len(), ROUTES.len());
    }

    #[test]
    fn parameters_are_read_with_care() {
        let call = |query| Call::new("", query);
        assert_eq!(call("a=1&b=2&b=3").parameter("b"), Some("2"));
        assert_eq!(call("a").parameter("a"), Some(""));
        assert_eq!(call("").number("start", 7).unwrap(), 7);
        for query in ["start=-1", "start=", "start=99999999999999999999999", "start=%00", "start=1.5"] {
            assert!(call(query).number("start", 0).unwrap_err().contains("expected a number"), "{query}");
        }
    }

    fn context(reload: Option<Reload>) -> Context {
        let server = anabranch_smol::Server::builder().build().unwrap();
        let hooks = HttpHooks::new(Identity::new(None), &OfStreams::default()).unwrap();
        let folder = std::env::temp_dir().join(format!("anabranch-routes-{}", std::process::id()));
        let (bytes, waiting) = (1 << 20, 1 << 20);
        let folder = ChosenFolder { folder, files: 10, min_free: 0, bytes, waiting, header: String::new() };
        let captures = Capturing::Chosen(ChosenCaptures::new(folder));
        let runner = Runner::new(&Sources::default().load().unwrap()).unwrap();
        let workers = Workers {
            hooks,
            recorder: Recorder::default(),
            outlets: Outlets::default(),
            runner,
            captures,
            directory: None,
            srs_lookup: false,
        };
        Context::new(
            &ApiSettings::default(),
            Identity::new(None),
            server.handle(),
            reload,
            None,
            workers,
            Pages::new(None, false),
        )
    }

    fn asked(context: &Context, method: &str, path: &str) -> Option<Reply> {
        let request = hyper::Request::builder().method(method).uri(path).body(()).ok()?;
        Some(answer(context, &request.into_parts().0, None))
    }

    #[test]
    fn a_reload_tells_what_came_of_it() {
        let status = |reload: Option<Reload>| asked(&context(reload), "POST", "/api/v1/reload").unwrap().status;
        assert_eq!(status(None), StatusCode::NOT_IMPLEMENTED);
        assert_eq!(status(Some(Arc::new(|| Ok(serde_json::json!({"changed": ["log"]}))))), StatusCode::OK);
        assert_eq!(status(Some(Arc::new(|| Err("line 3: no".to_owned())))), StatusCode::UNPROCESSABLE_ENTITY);
    }

    #[test]
    fn every_request_has_an_answer() {
        let context = context(None);
        let pieces = [
            "/",
            "api",
            "v1",
            "streams",
            "clients",
            "vhosts",
            "metrics",
            "drain",
            "{id}",
            "%00",
            "..",
            "vid-1",
            "-1",
            "?",
            "&",
            "=",
            "start=",
            "count=18446744073709551616",
            "%",
            "\u{e9}",
            "18446744073709551615",
            "seconds=18446744073709551615",
        ];
        let (mut random, mut answered) = (anabranch_load::Random::new(1), 0);
        for _ in 0..20_000 {
            let mut path = String::from("/");
            for _ in 0..8 {
                path.push_str(pieces[random.below(pieces.len() as u64) as usize]);
            }
            let method = ["GET", "HEAD", "POST", "DELETE", "PUT", "OPTIONS", "X"][random.below(7) as usize];
            if let Some(reply) = asked(&context, method, &path) {
                answered += 1;
                assert!(
                    !reply.status.is_server_error() || reply.status == StatusCode::NOT_IMPLEMENTED,
                    "{method} {path}"
                );
            }
        }
        assert!(answered > 5000, "{answered}");
    }
}
