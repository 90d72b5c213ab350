use anabranch_core::http::{Answer, Request};
use anabranch_host::{Reply, Web};
use smol::channel::{Receiver, Sender, TrySendError, bounded};

use super::{Page, Pages};

/// Requests that may wait for the thread of the API.
const WAITING: usize = 256;

/// The program's part of an entrance for HTTP: the pages, and the API if it has credentials.
#[derive(Debug)]
pub(crate) struct Site {
    pages: Pages,
    /// To the thread of the API; `None` if it has no credentials. Without these everybody could use it here.
    api: Option<Sender<WebCall>>,
    #[cfg(feature = "webrtc")]
    elsewhere: super::Elsewhere,
}

/// A request for the API, which its thread answers.
#[derive(Debug)]
pub(crate) struct WebCall {
    pub(crate) request: Request,
    pub(crate) reply: Reply,
}

impl Site {
    /// The site, and its requests for the API if this has credentials.
    pub(crate) fn new(api_has_credentials: bool, has_rooms: bool) -> (Self, Option<Receiver<WebCall>>) {
        let (sender, receiver) = api_has_credentials.then(|| bounded(WAITING)).unzip();
        let site = Site {
            pages: Pages::new(None, has_rooms),
            api: sender,
            #[cfg(feature = "webrtc")]
            elsewhere: super::Elsewhere::default(),
        };
        (site, receiver)
    }

    /// What passes requests on to other servers of the cluster, once it is started.
    #[cfg(feature = "webrtc")]
    pub(crate) fn elsewhere(&self) -> super::Elsewhere {
        self.elsewhere.clone()
    }

    /// The answer to a request that is not for the API.
    fn answer(&self, request: &Request) -> Answer {
        let Some(page) = self.pages.find(request.path()) else {
            return Answer::text(404, "there is no such page");
        };
        if !matches!(request.method(), "GET" | "HEAD") {
            return Answer::text(405, "a page can only be read").with("Allow", "GET, HEAD");
        }
        answer(page, request.field("Host"), request.field("If-None-Match"))
    }
}

impl Web for Site {
    fn request(&self, request: Request, reply: Reply) {
        #[cfg(feature = "webrtc")]
        let Some((request, reply)) = self.elsewhere.pass(request, reply) else {
            return;
        };
        if !is_for_api(request.path()) {
            reply.give(self.answer(&request));
            return;
        }
        let Some(api) = &self.api else {
            reply.give(failure(
                404,
                "the API is served here only with credentials: set api.token, or api.user and api.password",
            ));
            return;
        };
        match api.try_send(WebCall { request, reply }) {
            Ok(()) => {}
            Err(TrySendError::Full(call) | TrySendError::Closed(call)) => {
                call.reply.give(failure(503, "too many requests wait for the API").with("Retry-After", "1"));
            }
        }
    }
}

/// Whether a path is one of the API. `/metrics` and the probes are only where the API itself listens.
fn is_for_api(path: &str) -> bool {
    path.strip_prefix("/api").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A page, or that it has not changed.
fn answer(page: &Page, host: Option<&str>, if_none_match: Option<&str>) -> Answer {
    let is_known = if_none_match.is_some_and(|tags| page.is_known(tags));
    let answer = if is_known { Answer::new(304) } else { Answer::new(200).with_body(page.body.clone()) };
    page.headers(host).fold(answer.with("Content-Type", page.kind), |answer, (name, value)| answer.with(name, &value))
}

/// A failure in the API's form.
fn failure(status: u16, words: &str) -> Answer {
    let body = serde_json::json!({ "code": status, "error": words }).to_string();
    Answer::new(status).with("Content-Type", "application/json").with("Cache-Control", "no-store").with_body(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_the_api_are_for_it() {
        for path in ["/api", "/api/", "/api/v1", "/api/v1/streams/x"] {
            assert!(is_for_api(path), "{path}");
        }
        for path in ["/", "/apis", "/metrics", "/healthz", "/watch/api", "/live/api"] {
            assert!(!is_for_api(path), "{path}");
        }
    }

    #[test]
    fn a_page_that_the_browser_has_is_not_sent_again() {
        let (site, requests) = Site::new(false, false);
        assert!(requests.is_none(), "nothing is for the API");
        let page = site.pages.find("/").unwrap();
        let first = answer(page, None, None);
        assert!(first.status == 200 && first.body == page.body);
        let again = answer(page, None, Some(&page.tag));
        assert!(again.status == 304 && again.body.is_empty());
        assert!(again.fields.iter().any(|(name, _)| name == "content-security-policy"));
    }
}
