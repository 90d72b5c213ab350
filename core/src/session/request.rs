use super::event::{ConnectRequest, PlayRequest, PublishRequest, Rejection};
use super::state::Change;
use super::streams::Activity;
use super::{COMMAND_CHUNK_STREAM, STATUS_CHUNK_STREAM, Session};
use crate::amf::{Object, Value, amf0};
use crate::command::Command;
use crate::command::reply::{self, Level};
use crate::endpoint::Timer;
use crate::message::{Control, PeerBandwidthLimit, UserControl};
use crate::time_limit::{TimeLimit, deadline_after};

/// A request of the peer, which the server answers once: [`ConnectRequest`], [`PublishRequest`], [`PlayRequest`].
pub trait Answerable: sealed::Sealed {}

mod sealed {
    use super::{Rejection, Session};

    pub trait Sealed {
        fn accept(self, session: &mut Session);
        fn reject(self, session: &mut Session, rejection: &Rejection);
    }
}

impl Answerable for ConnectRequest {}

impl sealed::Sealed for ConnectRequest {
    fn accept(self, session: &mut Session) {
        if !session.endpoint.state.change(Change::ConnectGranted) {
            return;
        }
        if session.is_web() {
            return session.web_connected();
        }
        session.endpoint.reader.set_limits(session.config.limits.chunks);
        session.announce();
        // Type 20 for requests of both types: FFmpeg hangs on an answer of type 17.
        let result = reply::connect_result(self.transaction, self.info.object_encoding);
        session.send_command(COMMAND_CHUNK_STREAM, 0, &result);
        if session.config.bandwidth_done {
            session.send_command(COMMAND_CHUNK_STREAM, 0, &reply::on_bandwidth_done());
        }
        if self.info.capabilities != Default::default() {
            session.capabilities = Some(Box::new(self.info.capabilities));
        }
        let timeouts = &session.config.timeouts;
        let now = session.endpoint.now;
        session.endpoint.timers.limit(Timer::Setup, TimeLimit::new(now, timeouts.identify));
        session.endpoint.timers.set(Timer::Ping, deadline_after(now, timeouts.ping));
    }

    fn reject(self, session: &mut Session, rejection: &Rejection) {
        ConnectRequest::refuse(session, self.transaction, rejection);
    }
}

impl ConnectRequest {
    /// Refuses a `connect` with this transaction id, even one that could not be parsed.
    pub(super) fn refuse(session: &mut Session, transaction: f64, rejection: &Rejection) {
        session.announce();
        let error = reply::connect_error(transaction, rejection.information());
        session.send_command(COMMAND_CHUNK_STREAM, 0, &error);
    }
}

impl Session {
    /// The messages before the answer to `connect`. The position of Set Chunk Size matters: FFmpeg uses that size for
    /// what it publishes, and OBS ignores the message once it publishes.
    fn announce(&mut self) {
        self.announce_window();
        self.send_control(&Control::SetChunkSize(self.endpoint.chunk_size));
    }

    pub(super) fn announce_window(&mut self) {
        let window = self.config.window;
        self.send_control(&Control::WindowAckSize(window));
        self.send_control(&Control::SetPeerBandwidth { window, limit: PeerBandwidthLimit::Dynamic });
    }
}

impl Answerable for PublishRequest {}

impl sealed::Sealed for PublishRequest {
    fn accept(self, session: &mut Session) {
        if !session.endpoint.state.change(Change::StreamGranted) {
            return;
        }
        if session.is_web() {
            return session.elsewhere_begins(Activity::Publishing);
        }
        session.streams.begin(self.message_stream_id, Activity::Publishing, &self.name);
        session.endpoint.reader.set_limits(session.config.limits.chunks_publishing());
        session.activity_changed();
        if let Some(transaction) = session.fc_publish.take() {
            session.send_command(STATUS_CHUNK_STREAM, self.message_stream_id, &reply::on_fc_publish(transaction));
        }
        session.send_user_control(UserControl::StreamBegin(self.message_stream_id));
        let description = format!("{} is now published.", self.name);
        let start = reply::on_status(Level::Status, "NetStream.Publish.Start", &description);
        session.send_status(self.message_stream_id, &start);
    }

    fn reject(self, session: &mut Session, rejection: &Rejection) {
        session.send_error_status(self.message_stream_id, rejection);
    }
}

impl Answerable for PlayRequest {}

impl sealed::Sealed for PlayRequest {
    fn accept(self, session: &mut Session) {
        if !session.endpoint.state.change(Change::StreamGranted) {
            return;
        }
        if session.is_web() {
            return session.web_plays();
        }
        let id = self.message_stream_id;
        let name = &self.arguments.name;
        session.streams.begin(id, Activity::Playing, name);
        session.activity_changed();
        session.send_user_control(UserControl::StreamBegin(id));
        if self.arguments.reset {
            let description = format!("Playing and resetting {name}.");
            session.send_status(id, &reply::on_status(Level::Status, "NetStream.Play.Reset", &description));
        }
        let description = format!("Started playing {name}.");
        session.send_status(id, &reply::on_status(Level::Status, "NetStream.Play.Start", &description));
        let mut access = Vec::with_capacity(32);
        amf0::encode(&Value::from("|RtmpSampleAccess"), &mut access);
        amf0::encode(&Value::Boolean(true), &mut access);
        amf0::encode(&Value::Boolean(true), &mut access);
        session.send_data(id, &access);
    }

    fn reject(self, session: &mut Session, rejection: &Rejection) {
        session.send_error_status(self.message_stream_id, rejection);
    }
}

impl Rejection {
    fn information(&self) -> Object {
        let information = reply::information(Level::Error, self.code, &self.description);
        match &self.redirect {
            None => information,
            Some(url) => {
                let tc_url = url.rsplit_once('/').map_or(url.as_str(), |(tc_url, _)| tc_url);
                let ex = Object::default().with("code", 302.0).with("redirect", tc_url).with("redirect2", url.as_str());
                information.with("ex", Value::Object(ex))
            }
        }
    }
}

impl Session {
    pub(super) fn send_error_status(&mut self, message_stream_id: u32, rejection: &Rejection) {
        let status = Command::new("onStatus", 0.0, Value::Null).with(Value::Object(rejection.information()));
        // A redirect is a message about the connection: SRS sends it so, and the players made for SRS expect that.
        let message_stream_id = if rejection.redirect.is_some() { 0 } else { message_stream_id };
        self.send_status(message_stream_id, &status);
    }
}
