use anabranch_core::http::{Answer, Request, Settings};

use super::Effect;
use crate::engine::{Candidates, Credentials};

/// The type of descriptions, and of parts of them.
pub(super) const SDP: &str = "application/sdp";
pub(super) const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

const ENDPOINT_METHODS: &str = "POST, GET, HEAD, OPTIONS";
const SESSION_METHODS: &str = "PATCH, DELETE, GET, HEAD, OPTIONS";
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

pub(super) fn endpoint_options() -> Answer {
    Answer::preflight(ENDPOINT_METHODS).with("Accept-Post", SDP)
}

pub(super) fn session_options() -> Answer {
    Answer::preflight(SESSION_METHODS).with("Accept-Patch", FRAGMENT)
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

pub(super) fn no_rooms() -> Answer {
    Answer::text(404, "there are no rooms here: rtc.rooms is 0").with("Cache-Control", "no-store")
}

pub(super) fn failed() -> Answer {
    Answer::text(500, "the server failed, which is a bug").with("Cache-Control", "no-store")
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

/// The new name and password of the server, and where it is.
pub(super) fn restarted(local: &Credentials, candidates: &Candidates, etag: &str) -> Answer {
    let Credentials { name, password } = local;
    let mut body = format!("a=ice-lite\r\na=ice-ufrag:{name}\r\na=ice-pwd:{password}\r\n");
    body += "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n";
    let udp = candidates.udp.iter().map(|address| ("UDP", address, ""));
    let tcp = candidates.tcp.iter().map(|address| ("TCP", address, " tcptype passive"));
    for (index, (transport, address, more)) in udp.chain(tcp).enumerate() {
        // Host candidates (RFC 8445 §5.1.2.1), UDP before TCP.
        let preference = if transport == "UDP" { 65_535 } else { 32_767 } - index as u32;
        let priority = 126 << 24 | preference << 8 | 255;
        let (ip, port) = (address.ip(), address.port());
        body += &format!("a=candidate:{} 1 {transport} {priority} {ip} {port} typ host{more}\r\n", index + 1);
    }
    body += "a=end-of-candidates\r\n";
    let answer = Answer::new(200).with("Content-Type", FRAGMENT).with("ETag", etag);
    answer.with("Cache-Control", "no-store").with_body(body)
}

pub(super) fn of_srs(answer: &str, session: &str) -> Answer {
    let body = serde_json::json!({ "code": 0, "server": "anabranch", "sdp": answer, "sessionid": session });
    let created = Answer::new(200).with("Content-Type", "application/json").with("Cache-Control", "no-store");
    created.with_body(body.to_string())
}
