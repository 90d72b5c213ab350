use anabranch_core::http::{Answer, Request, Settings};

use super::Effect;

/// The type of descriptions, and of parts of them.
pub(super) const SDP: &str = "application/sdp";
pub(super) const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

const ENDPOINT_METHODS: &str = "POST, GET, HEAD, OPTIONS";
const SESSION_METHODS: &str = "PATCH, DELETE, GET, HEAD, OPTIONS";
/// Pages may send these: a star does not include the first one.
const REQUEST_FIELDS: &str = "Authorization, Content-Type, If-Match, *";
/// When to come again, in seconds.
const RETRY_AFTER: &str = "2";

/// Where an answer goes.
#[derive(Debug)]
pub(super) struct Reply<T> {
    pub(super) ticket: T,
    /// Fields for pages of other origins.
    fields: Vec<(String, String)>,
    /// True if the client is one of SRS's, whose answers are JSON.
    pub(super) is_srs: bool,
}

impl<T> Reply<T> {
    pub(super) fn new(ticket: T, request: &Request, settings: &Settings) -> Self {
        Reply { ticket, fields: settings.field_list(request), is_srs: false }
    }

    pub(super) fn give(self, mut answer: Answer) -> Effect<T> {
        answer.fields.extend(self.fields);
        Effect::Answer(self.ticket, answer)
    }
}

/// True if the body of a request is said to be of this type.
pub(super) fn has_type(request: &Request, wanted: &str) -> bool {
    let given = request.field("Content-Type").and_then(|value| value.split(';').next());
    given.is_some_and(|given| given.trim().eq_ignore_ascii_case(wanted))
}

fn options(methods: &str) -> Answer {
    let answer = Answer::new(204).with("Allow", methods).with("Access-Control-Allow-Methods", methods);
    answer.with("Access-Control-Allow-Headers", REQUEST_FIELDS).with("Access-Control-Max-Age", "86400")
}

pub(super) fn endpoint_options() -> Answer {
    options(ENDPOINT_METHODS).with("Accept-Post", SDP)
}

pub(super) fn session_options() -> Answer {
    options(SESSION_METHODS).with("Accept-Patch", FRAGMENT)
}

pub(super) fn not_for_endpoint() -> Answer {
    Answer::text(405, "an offer is sent with POST").with("Allow", ENDPOINT_METHODS)
}

pub(super) fn not_for_session() -> Answer {
    Answer::text(405, "a session is changed with PATCH and ended with DELETE").with("Allow", SESSION_METHODS)
}

pub(super) fn not_sdp() -> Answer {
    Answer::text(415, "the body must be an offer, with the type application/sdp").with("Accept-Post", SDP)
}

pub(super) fn not_a_fragment() -> Answer {
    Answer::text(415, "the body must have the type application/trickle-ice-sdpfrag").with("Accept-Patch", FRAGMENT)
}

pub(super) fn bad_fragment() -> Answer {
    Answer::text(400, "the body cannot be read as a part of a session description")
}

pub(super) fn too_long(most: usize) -> Answer {
    Answer::text(413, &format!("an offer may have {most} bytes"))
}

pub(super) fn too_many(words: &str) -> Answer {
    Answer::text(503, words).with("Retry-After", RETRY_AFTER).with("Cache-Control", "no-store")
}

pub(super) fn not_live() -> Answer {
    Answer::text(404, "the stream is not published").with("Cache-Control", "no-store")
}

pub(super) fn no_session() -> Answer {
    Answer::text(404, "there is no such session").with("Cache-Control", "no-store")
}

pub(super) fn created(answer: String, location: &str, etag: &str) -> Answer {
    let created = Answer::new(201).with("Content-Type", SDP).with("Location", location).with("ETag", etag);
    created.with("Accept-Patch", FRAGMENT).with("Cache-Control", "no-store").with_body(answer)
}

pub(super) fn of_srs(answer: &str, session: &str) -> Answer {
    let body = serde_json::json!({ "code": 0, "server": "anabranch", "sdp": answer, "sessionid": session });
    let created = Answer::new(200).with("Content-Type", "application/json").with("Cache-Control", "no-store");
    created.with_body(body.to_string())
}
