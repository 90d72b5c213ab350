//! Clients without a socket: they have asked by HTTP on another connection, and their media goes another way, in segments
//! or by WebRTC.

use std::time::Instant;

use super::{Stage, Web};
use crate::command::{PlayArguments, PublishType};
use crate::endpoint::{Error, Role, Timer};
use crate::http::{Answer, Request, encoded};
use crate::message::{Message, MessageType};
use crate::session::as_play::{RETRY_AFTER, connect_info, folder};
use crate::session::event::{CloseReason, PlayRequest, PublishRequest, SessionEvent, TimeoutKind};
use crate::session::forwarded::Forwarded;
use crate::session::state::Change;
use crate::session::streams::Activity;
use crate::session::{ClientKind, ConnectRequest, Delivery, Session};
use crate::source::Frame;

/// What becomes of a client without a socket, see [`Core::view`](crate::conn::Core::view) and
/// [`Core::offer`](crate::conn::Core::offer).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It may play or publish the stream.
    Granted,
    /// It may not, or may no longer: the answer to its requests.
    Refused(Answer),
}

/// What a client without a socket wants.
#[derive(Debug)]
pub(super) struct Elsewhere {
    /// The name in `play` or `publish`.
    name: String,
    publishes: bool,
}

impl Elsewhere {
    pub(super) fn plays(&self) -> bool {
        !self.publishes
    }

    /// What took too long if it is not granted in time.
    pub(super) fn timeout(&self) -> TimeoutKind {
        if self.publishes { TimeoutKind::Connect } else { TimeoutKind::WaitForStream }
    }
}

impl Session {
    /// Begins as a player that gets a stream in this way. Nothing comes in or goes out.
    pub(crate) fn view(&mut self, request: &Request, app: &str, stream: String, delivery: Delivery) {
        self.begin_elsewhere(request, app, Elsewhere { name: stream, publishes: false }, delivery);
    }

    /// Begins as a publisher by WebRTC. Its media comes by [`publish_media`](Self::publish_media).
    pub(crate) fn offer(&mut self, request: &Request, app: &str, stream: String) {
        self.begin_elsewhere(request, app, Elsewhere { name: stream, publishes: true }, Delivery::WebRtc);
    }

    fn begin_elsewhere(&mut self, request: &Request, app: &str, client: Elsewhere, delivery: Delivery) {
        if !self.endpoint.state.change(Change::WebBegun) {
            return;
        }
        self.endpoint.speak_no_chunks();
        let settings = self.door.settings.clone().unwrap_or_default();
        let mut web = Box::new(Web::new(settings, Forwarded::new(None, None), self.start));
        (web.count, web.is_last, web.delivery) = (1, true, delivery);
        let info = if delivery.is_segmented() {
            connect_info(request, app, folder(request), false)
        } else {
            // Its path may be `/rtc/v1/whip/`, which names no stream.
            let folder: String = app.split('/').map(|part| format!("/{}", encoded(part))).collect();
            connect_info(request, app, &folder, false)
        };
        web.stage = Stage::Elsewhere(client);
        self.web = Some(web);
        let request = ConnectRequest { transaction: 1.0, info: Box::new(info) };
        self.ask(Change::ConnectAsked, SessionEvent::Connect(request));
    }

    /// How a client without a socket plays.
    pub(crate) fn plays_elsewhere(&self) -> Option<Delivery> {
        let web = self.web.as_deref()?;
        matches!(&web.stage, Stage::Elsewhere(client) if client.plays()).then_some(web.delivery)
    }

    /// True if it has no socket.
    pub(in crate::session) fn is_elsewhere(&self) -> bool {
        matches!(self.web.as_deref(), Some(Web { stage: Stage::Elsewhere(_), .. }))
    }

    /// What it is told, once.
    pub(crate) fn take_admission(&mut self) -> Option<Admission> {
        self.web.as_mut().and_then(|web| web.admission.take())
    }

    /// Its `connect` is granted: what it wants follows.
    pub(super) fn elsewhere_connected(&mut self) {
        let Some(Web { stage: Stage::Elsewhere(client), .. }) = self.web.as_deref() else {
            return;
        };
        let (message_stream_id, name) = (Frame::MESSAGE_STREAM_ID, client.name.clone());
        let event = if client.publishes {
            let (publish_type, client) = (PublishType::Live, ClientKind::WebRtc);
            SessionEvent::Publish(PublishRequest { message_stream_id, name, publish_type, client })
        } else {
            let arguments = PlayArguments { name, start: -1.0, duration: -1.0, reset: false };
            SessionEvent::Play(PlayRequest { message_stream_id, arguments })
        };
        self.endpoint.timers.clear(Timer::Setup);
        self.streams.create(1);
        self.ask(Change::StreamAsked, event);
    }

    /// What it wants is granted.
    pub(in crate::session) fn elsewhere_begins(&mut self, activity: Activity) {
        let Some(web) = self.web.as_mut() else {
            return;
        };
        if let Stage::Elsewhere(client) = &web.stage {
            web.admission = Some(Admission::Granted);
            self.streams.begin(Frame::MESSAGE_STREAM_ID, activity, &client.name);
            self.activity_changed();
        }
    }

    /// The end is about to be settled.
    pub(super) fn end_elsewhere(&mut self, reason: &CloseReason) {
        let answer = match reason {
            CloseReason::StreamOver | CloseReason::Timeout(TimeoutKind::WaitForStream) => {
                Answer::text(404, "the stream is not published")
            }
            CloseReason::TakenOver => Answer::text(409, "another publisher has taken the stream over"),
            // Its client is not to begin again by itself.
            CloseReason::Closed(_) => Answer::text(403, "the session was closed by the server"),
            _ => Answer::text(503, "the server cannot answer at present").with("Retry-After", RETRY_AFTER),
        };
        self.queue_last_answer(&answer);
    }

    /// Takes media of a publisher without a socket, as if it had come in a message of RTMP.
    pub(crate) fn publish_media(&mut self, now: Instant, message: Message) {
        self.endpoint.now = now;
        let (type_id, length) = (message.type_id, message.payload.len());
        let limit = self.config.limits.chunks.message;
        match type_id {
            _ if self.is_closing() || !self.is_elsewhere() => self.counters.stray_media += 1,
            _ if length > limit as usize => self.fail(Error::MessageOverLimit { type_id, length, limit }),
            MessageType::AUDIO | MessageType::VIDEO => self.handle_media(message),
            MessageType::DATA_AMF0 => self.handle_data(message),
            _ => self.counters.ignored_messages += 1,
        }
    }

    /// The client says that it leaves: what it does is over before its connection is.
    pub(crate) fn leave(&mut self, now: Instant) {
        self.endpoint.now = now;
        for message_stream_id in self.streams.ids() {
            self.end_activity(message_stream_id);
        }
        self.handle_disconnect(now, CloseReason::PeerClosed);
    }
}
