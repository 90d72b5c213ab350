//! Rooms of calls: applications `call/ROOM`, whose publishers learn of each other.

use std::collections::BTreeMap;

use anabranch_core::http::{Answer, Request};
use anabranch_core::packager::Ticket;

use super::session::Stage;
use super::{Desk, SessionId, answers};
use crate::signal::SessionName;

/// The end of the URL of a publisher's session that tells the streams of its room.
pub(super) const PEERS: &str = "/peers";

/// The publishers in rooms: their applications and streams, as they have asked for them.
pub(super) type Rooms = BTreeMap<SessionId, (String, String)>;

/// True if an application is a room.
fn is_room(app: &str) -> bool {
    app.starts_with("call/")
}

impl<T: Ticket> Desk<T> {
    /// Why one more client may not publish in this application, if it is a room.
    pub(super) fn room_refuses(&mut self, app: &str) -> Option<Answer> {
        if !is_room(app) {
            return None;
        }
        let most = self.settings.most_in_room;
        if most == 0 {
            return Some(
                Answer::text(404, "there are no rooms here: rtc.rooms is 0").with("Cache-Control", "no-store"),
            );
        }
        let sessions = &self.sessions;
        self.rooms.retain(|number, _| sessions.contains_key(number));
        let here = self.rooms.values().filter(|(room, _)| room == app).count();
        (here >= most).then(|| answers::too_many("the room is full"))
    }

    /// A client is about to publish in this application.
    pub(super) fn enter_room(&mut self, number: SessionId, app: &str, stream: &str) {
        if is_room(app) {
            self.rooms.insert(number, (app.to_owned(), stream.to_owned()));
        }
    }

    /// The streams that are published in the room of this session, for clients that may publish there, too.
    pub(super) fn peers_of(&self, id: &str, request: &Request) -> Answer {
        if !matches!(request.method(), "GET" | "HEAD") {
            return Answer::text(405, "the streams of a room can only be read").with("Allow", "GET, HEAD");
        }
        let name = SessionName::parse(id);
        let own = name.filter(|name| self.sessions.get(&name.number).is_some_and(|known| known.name.is(name)));
        let own = own.map(|name| name.number);
        let Some((room, _)) = own.and_then(|own| self.rooms.get(&own)) else {
            return answers::no_session();
        };
        let vhost = |number: &SessionId| match &self.sessions.get(number)?.stage {
            Stage::Open(open) if open.is_connected => Some(open.key.vhost()),
            _ => None,
        };
        let own = own.and_then(|own| vhost(&own));
        let is_here = |number: &SessionId| own.is_some() && vhost(number) == own;
        let here = self.rooms.iter().filter(|(number, (app, _))| app == room && is_here(number));
        let streams: Vec<&str> = here.map(|(_, (_, stream))| &**stream).collect();
        let answer = Answer::new(200).with("Content-Type", "application/json").with("Cache-Control", "no-store");
        answer.with_body(serde_json::json!({ "streams": streams }).to_string())
    }
}
