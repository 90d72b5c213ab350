use bytes::Bytes;

use super::ids::SessionId;
use super::sessions::QUALITY;
use super::{Effect, Ticket};
use crate::hls::Media;
use crate::http::{Answer, Request, Settings};

const METHODS: &str = "GET, HEAD, OPTIONS";
/// When to come again, in seconds.
const RETRY_AFTER: &str = "1";

/// Where an answer goes.
#[derive(Debug)]
pub(super) struct Reply<T> {
    ticket: T,
    /// Fields for pages of other origins.
    fields: Vec<(String, String)>,
}

impl<T> Reply<T> {
    pub(super) fn new(ticket: T, request: &Request, settings: &Settings) -> Self {
        Reply { ticket, fields: settings.field_list(request) }
    }

    pub(super) fn is_gone(&self) -> bool
    where
        T: Ticket,
    {
        self.ticket.is_gone()
    }

    pub(super) fn give(self, mut answer: Answer) -> Effect<T> {
        answer.fields.extend(self.fields);
        Effect::Answer(self.ticket, answer)
    }

    pub(super) fn options(self) -> Effect<T> {
        self.give(Answer::preflight(METHODS))
    }

    pub(super) fn not_allowed(self) -> Effect<T> {
        self.give(Answer::text(405, "a stream can only be got").with("Allow", METHODS))
    }
}

/// A playlist, which caches may keep for so many seconds; `None`: they must ask each time.
pub(super) fn playlist(pieces: Vec<Bytes>, content_type: &str, max_age: Option<u32>) -> Answer {
    let cache = max_age.map_or("no-cache".to_owned(), |seconds| format!("max-age={seconds}"));
    Answer::new(200).with("Content-Type", content_type).with("Cache-Control", &cache).with_pieces(pieces)
}

pub(super) fn segment(media: Media, max_age: u32) -> Answer {
    of_segment(media, &format!("public, max-age={max_age}, immutable"))
}

/// A segment that not all clients that know its name may have.
pub(super) fn segment_for_viewer(media: Media, max_age: u32) -> Answer {
    of_segment(media, &format!("private, max-age={max_age}"))
}

pub(super) fn for_viewers() -> Answer {
    let answer = Answer::text(403, "this segment is for viewers of the stream");
    answer.with("Cache-Control", "no-store")
}

fn of_segment(media: Media, cache: &str) -> Answer {
    let answer = Answer::new(200).with("Content-Type", media.content_type).with("Cache-Control", cache);
    answer.with_pieces(media.pieces)
}

pub(super) fn gone(words: &str) -> Answer {
    Answer::text(404, words).with("Cache-Control", "max-age=1")
}

pub(super) fn ended_by_server() -> Answer {
    Answer::text(403, "this session was ended by the server").with("Cache-Control", "no-store")
}

pub(super) fn late() -> Answer {
    Answer::text(503, "nothing new came in time").with("Retry-After", RETRY_AFTER).with("Cache-Control", "no-store")
}

pub(super) fn too_many() -> Answer {
    let answer = Answer::text(503, "too many requests wait").with("Retry-After", RETRY_AFTER);
    answer.with("Cache-Control", "no-store")
}

pub(super) fn too_far_ahead() -> Answer {
    Answer::text(400, "the playlist is not near what _HLS_msn and _HLS_part ask for").with("Cache-Control", "no-store")
}

/// Leads to the address of the session: the same file with one more parameter.
pub(super) fn to_session(file: &str, query: &str, id: SessionId, quality: Option<&str>) -> Answer {
    let answer = Answer::text(302, "the session has its own address");
    answer.with("Location", &address(file, query, Some(id), quality)).with("Cache-Control", "no-store")
}

/// The address of a playlist, from another one in the same folder.
pub(super) fn address(file: &str, query: &str, id: Option<SessionId>, quality: Option<&str>) -> String {
    // What comes before a colon would be a scheme.
    let mut address = if file.contains(':') { format!("./{file}") } else { file.to_owned() };
    let query = Some(query).filter(|query| !query.is_empty()).map(str::to_owned);
    let parameters = [query, id.map(|id| format!("s={id}")), quality.map(|name| format!("{QUALITY}={name}"))];
    for (index, parameter) in parameters.into_iter().flatten().enumerate() {
        address.push(if index == 0 { '?' } else { '&' });
        address += &parameter;
    }
    address
}
