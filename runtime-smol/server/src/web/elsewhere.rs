use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use anabranch_core::http::{Answer, Request};
use anabranch_host::Reply;
use anabranch_host::webrtc::signal::Target;
use smol::channel::{Receiver, Sender, TrySendError, bounded};
use ureq::Agent;

use crate::cluster::Directory;

/// Requests that may wait to be passed on.
const WAITING: usize = 64;
/// So many are passed on at the same time.
const THREADS: usize = 4;
/// How long the other server may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the directory may take to say where it is.
const LOOK: Duration = Duration::from_secs(2);
/// The longest answer that is passed back.
const LONGEST: u64 = 128 << 10;
/// The field of a request that was passed on: it is passed on once.
const PASSED: &str = "X-Anabranch-Passed";
/// The fields of requests that matter to sessions, and to which pages may make them.
const ASKED: [&str; 7] = [
    "Host",
    "Content-Type",
    "If-Match",
    "Authorization",
    "Origin",
    "Access-Control-Request-Method",
    "Access-Control-Request-Headers",
];
/// Those of answers, besides those for pages of other origins.
const ANSWERED: [&str; 8] =
    ["content-type", "location", "etag", "accept-patch", "allow", "link", "retry-after", "vary"];
const FOR_PAGES: &str = "access-control-";

/// Requests for sessions of WebRTC that another server of the cluster has: that server gets them. Clients reach any server
/// of a cluster, for example behind a load balancer, and the URL of a session names the one that has it. Clones are the
/// same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Elsewhere {
    calls: Arc<OnceLock<Sender<Call>>>,
}

/// A request, and the server that it is for.
#[derive(Debug)]
struct Call {
    node: String,
    request: Request,
    reply: Reply,
}

impl Elsewhere {
    /// Passes requests on from now on.
    ///
    /// # Errors
    /// The system starts no thread.
    pub(crate) fn start(&self, directory: &Directory) -> Result<(), String> {
        let (sender, receiver) = bounded(WAITING);
        for _ in 0..THREADS {
            let (directory, receiver) = (directory.clone(), receiver.clone());
            let thread =
                thread::Builder::new().name("elsewhere".to_owned()).spawn(move || follow(&directory, &receiver));
            thread.map_err(|error| format!("cannot start a thread for requests to other servers: {error}"))?;
        }
        // It is started once.
        let _ = self.calls.set(sender);
        Ok(())
    }

    /// Passes a request on if it is for a session of another server; otherwise gives it back.
    pub(super) fn pass(&self, request: Request, reply: Reply) -> Option<(Request, Reply)> {
        let Some(target @ Target::Session { .. }) = Target::of(&request) else {
            return Some((request, reply));
        };
        let node = target.session().map(|name| name.node).filter(|node| !node.is_empty());
        let (Some(node), Some(calls)) = (node.filter(|_| request.field(PASSED).is_none()), self.calls.get()) else {
            reply.give(no_session());
            return None;
        };
        match calls.try_send(Call { node, request, reply }) {
            Ok(()) => {}
            Err(TrySendError::Full(call) | TrySendError::Closed(call)) => {
                let words = "too many requests wait for other servers";
                call.reply.give(Answer::text(503, words).with("Retry-After", "1"));
            }
        }
        None
    }
}

fn no_session() -> Answer {
    Answer::text(404, "there is no such session").with("Cache-Control", "no-store")
}

fn follow(directory: &Directory, calls: &Receiver<Call>) {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(concat!("anabranch/", env!("CARGO_PKG_VERSION")))
        .timeout_global(Some(TIMEOUT));
    let agent: Agent = config.build().into();
    while let Ok(Call { node, request, reply }) = calls.recv_blocking() {
        let answer = match directory.web_of(&node, LOOK) {
            Some(base) => ask(&agent, &base, &request).unwrap_or_else(|error| {
                let words = format!("the server that has the session does not answer: {error}");
                Answer::text(502, &words).with("Cache-Control", "no-store")
            }),
            None => no_session(),
        };
        reply.give(answer);
    }
}

/// Asks another server the same.
fn ask(agent: &Agent, base: &str, request: &Request) -> Result<Answer, ureq::Error> {
    let mut builder = ureq::http::Request::builder()
        .method(request.method())
        .uri(format!("{base}{}", request.path()))
        .header(PASSED, "1");
    for name in ASKED {
        if let Some(value) = request.field(name) {
            builder = builder.header(name, value);
        }
    }
    let mut response = agent.run(builder.body(&request.body()[..])?)?;
    let mut answer = Answer::new(response.status().as_u16());
    for (name, value) in response.headers() {
        let is_passed = ANSWERED.contains(&name.as_str()) || name.as_str().starts_with(FOR_PAGES);
        if let Some(value) = value.to_str().ok().filter(|_| is_passed) {
            answer = answer.with(name.as_str(), value);
        }
    }
    let body = response.body_mut().with_config().limit(LONGEST).read_to_vec()?;
    Ok(answer.with("Cache-Control", "no-store").with_body(body))
}
