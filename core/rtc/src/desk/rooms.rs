//! Rooms of calls: applications `call/ROOM`, whose publishers learn of each other.

use std::collections::BTreeMap;

use anabranch_core::http::{Answer, Request};
use anabranch_core::packager::Ticket;
use anabranch_core::url::StreamKey;

use super::session::{Session, Stage};
use super::{Desk, SessionId, answers};
use crate::signal::SessionName;

/// The end of the URL of a publisher's session that tells the streams of its room.
pub(super) const PEERS: &str = "/peers";

/// The publishers in rooms.
pub(super) type Rooms = BTreeMap<SessionId, StreamKey>;

/// True if an application is a room.
fn is_room(app: &str) -> bool {
    app.starts_with("call/")
}

fn is_same_room(one: &StreamKey, other: &StreamKey) -> bool {
    one.vhost() == other.vhost() && one.app() == other.app()
}

impl<T: Ticket> Desk<T> {
    /// True if a client wants to publish in a room, and there are none. Names of applications have other forms, too:
    /// [`enter_room`](Self::enter_room) knows the one that counts.
    pub(super) fn has_no_rooms(&self, app: &str) -> bool {
        self.settings.most_in_room == 0 && is_room(app)
    }

    /// A client has got the right to publish. If that is in a room, it takes a place there, or is told that it cannot.
    pub(super) fn enter_room(&mut self, number: SessionId, key: &StreamKey) -> Result<(), Answer> {
        if !is_room(key.app()) {
            return Ok(());
        }
        let most = self.settings.most_in_room;
        if most == 0 {
            return Err(answers::no_rooms());
        }
        let here = self.rooms.values().filter(|other| is_same_room(other, key)).count();
        if here >= most {
            return Err(answers::too_many("the room is full"));
        }
        self.rooms.insert(number, key.clone());
        Ok(())
    }

    /// The streams that are published in the room of this session, for clients that may publish there, too.
    pub(super) fn peers_of(&self, id: &str, request: &Request) -> Answer {
        if !matches!(request.method(), "GET" | "HEAD") {
            return Answer::text(405, "the streams of a room can only be read").with("Allow", "GET, HEAD");
        }
        let name = SessionName::parse(id);
        let own = name.filter(|name| self.sessions.get(&name.number).is_some_and(|known| known.name.is(name)));
        let own = own.map(|name| name.number);
        let Some(room) = own.and_then(|own| self.rooms.get(&own)) else { return answers::no_session() };
        let is_connected = |number: &SessionId| matches!(&self.sessions.get(number), Some(Session { stage: Stage::Open(open), .. }) if open.is_connected);
        let is_here = |other: &(&SessionId, &StreamKey)| is_same_room(other.1, room) && is_connected(other.0);
        let streams: Vec<&str> = self.rooms.iter().filter(is_here).map(|(_, key)| key.stream()).collect();
        let answer = Answer::new(200).with("Content-Type", "application/json").with("Cache-Control", "no-store");
        answer.with_body(serde_json::json!({ "streams": streams }).to_string())
    }
}
