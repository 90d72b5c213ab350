use super::calls::Purpose;
use super::event::{
    Answer, CallId, ClientCloseReason, ClientEvent, ClientRejection, Connected, EndReason, Status, StreamHandle,
};
use super::state::State;
use super::streams::StreamState;
use super::{COMMAND_CHUNK_STREAM, Client};
use crate::amf::Value;
use crate::command::{Capabilities, Command, reply};
use crate::endpoint::Error;
use crate::endpoint::{Cause, Timer};
use crate::message::Message;
use crate::url::{self, TcUrl};

/// Commands that the server sends.
impl Client {
    pub(super) fn handle_command(&mut self, message: &Message) -> Result<(), Error> {
        let command = match Command::parse(message.type_id, &message.payload, &self.config.limits.amf) {
            Ok(command) => command,
            // Without a readable answer to `connect` the connection cannot continue.
            Err(error) if !self.endpoint.state.is_connected() => return Err(error.into()),
            Err(_) => {
                self.counters.unreadable_messages += 1;
                return Ok(());
            }
        };
        match command.name.as_bytes() {
            b"_result" => self.handle_answer(command, true),
            b"_error" => self.handle_answer(command, false),
            b"onStatus" => {
                let status = Status::read(command.arguments.first());
                self.handle_status(message.message_stream_id, status);
            }
            // Told to publishers and players of some servers besides the notice that counts.
            b"onFCPublish" | b"onFCUnpublish" | b"onFCSubscribe" | b"onFCUnsubscribe" => {}
            // The end of a bandwidth check, which this client did not request.
            b"onBWDone" | b"_onbwdone" => {}
            // Each step of it is answered by the number of those before: that there were none ends it soonest.
            b"_onbwcheck" | b"onBWCheck" if command.transaction != 0.0 => {
                self.reply(&reply::result(command.transaction).with(0.0));
            }
            b"close" => self.settle(ClientCloseReason::ToldToClose),
            _ => {
                if command.transaction != 0.0 {
                    self.reply(&reply::call_failed(command.transaction, "No such call on this client."));
                }
                self.push_event(ClientEvent::Call(Box::new(command)));
            }
        }
        Ok(())
    }

    fn reply(&mut self, command: &Command) {
        self.endpoint.send_command(Cause::Peer, COMMAND_CHUNK_STREAM, 0, command);
    }

    fn handle_answer(&mut self, command: Command, success: bool) {
        let known = |transaction: u32| f64::from(transaction) == command.transaction;
        let Some(at) = self.pending.iter().position(|pending| known(pending.transaction)) else {
            // The answer to a command whose answer does not matter: releaseStream and the like.
            self.counters.ignored_messages += 1;
            return;
        };
        let purpose = self.pending[at].purpose;
        // A notice reports the success of `publish` and `play`.
        if success && matches!(purpose, Purpose::Start(_)) {
            return;
        }
        let transaction = self.pending.remove(at).transaction;
        match purpose {
            Purpose::Connect => self.handle_connect_answer(&command, success),
            Purpose::CreateStream(handle) => {
                let granted = command.arguments.first().and_then(Value::as_number).and_then(message_stream_id);
                match granted.filter(|_| success) {
                    // nginx-rtmp knows one message stream a connection, and gives it to every request.
                    Some(id) if self.streams.iter().any(|stream| stream.id == id) => {
                        let description = format!("The server gave message stream {id} a second time.");
                        self.reject(handle, Status { description, ..Status::default() });
                    }
                    Some(id) => self.start(handle, id),
                    None => self.reject(handle, Status::read(command.arguments.first())),
                }
            }
            Purpose::Start(handle) => self.reject(handle, Status::read(command.arguments.first())),
            Purpose::Length(stream) => {
                if let Some(seconds) = command.arguments.first().and_then(Value::as_number).filter(|_| success) {
                    self.push_event(ClientEvent::Length { stream, seconds });
                }
            }
            Purpose::Call => {
                let answer = Answer { success, object: command.object, values: command.arguments };
                self.push_event(ClientEvent::Answer { call: CallId(transaction), answer: Some(Box::new(answer)) });
            }
        }
    }

    fn handle_connect_answer(&mut self, command: &Command, success: bool) {
        let status = Status::read(command.arguments.first());
        self.endpoint.timers.clear(Timer::Setup);
        if !success || status.is_error() {
            let code = status.code.clone();
            self.push_event(ClientEvent::Rejected { stream: None, rejection: Box::new(status.into()) });
            return self.settle(ClientCloseReason::Rejected(code));
        }
        self.endpoint.state = State::Connected;
        if let Some(limit) = self.config.timeouts.read {
            self.endpoint.limit_silence(limit);
        }
        let properties = command.object.as_object().cloned().unwrap_or_default();
        // Servers put them into either.
        let capabilities = [&properties, &status.information].map(Capabilities::of_object);
        let capabilities = capabilities.into_iter().find(|found| *found != Capabilities::default());
        let capabilities = capabilities.unwrap_or_default();
        let connected = Connected { properties, information: status.information, capabilities };
        self.push_event(ClientEvent::Connected(Box::new(connected)));
        self.begin();
    }

    /// A notice on message stream `id`.
    pub(super) fn handle_status(&mut self, id: u32, status: Status) {
        if status.code == "NetConnection.Connect.ReconnectRequest"
            && let Ok(tc_url) = self.reconnect_url(&status)
        {
            let description = status.description;
            return self.push_event(ClientEvent::ReconnectRequest { tc_url: tc_url.map(Box::new), description });
        }
        // SRS redirects a stream by a notice to the connection.
        let redirects = status.redirect().is_some();
        let stream = if id == 0 && redirects { self.streams.only_asking() } else { self.streams.on(id) };
        let Some(stream) = stream else {
            if redirects {
                return self.push_event(ClientEvent::Rejected { stream: None, rejection: Box::new(status.into()) });
            }
            return self.push_event(ClientEvent::Status { stream: None, status: Box::new(status) });
        };
        let (handle, publisher, state) = (stream.handle, stream.is_publisher(), stream.state);
        if status.is_error() || redirects {
            return self.reject(handle, status);
        }
        let end = match (publisher, status.code.as_str()) {
            (false, "NetStream.Play.UnpublishNotify") | (true, "NetStream.Unpublish.Success") => {
                Some(EndReason::Unpublished)
            }
            (false, "NetStream.Play.Stop") => Some(EndReason::Stopped),
            (false, "NetStream.Play.Complete") => Some(EndReason::Complete),
            _ => None,
        };
        if let Some(reason) = end.filter(|_| state == StreamState::Running) {
            stream.state = StreamState::Ended;
            return self.push_event(ClientEvent::Ended { stream: handle, reason });
        }
        match (publisher, state, status.code.as_str()) {
            (true, StreamState::Asking, "NetStream.Publish.Start") => {
                stream.state = StreamState::Running;
                self.answered(handle);
                self.push_event(ClientEvent::Publishing { stream: handle });
            }
            (false, StreamState::Asking, "NetStream.Play.Start") => {
                stream.state = StreamState::Running;
                self.playing(handle);
            }
            (false, StreamState::Running | StreamState::Ended, "NetStream.Play.PublishNotify") => {
                stream.state = StreamState::Running;
                self.push_event(ClientEvent::PublishNotify { stream: handle });
            }
            _ => self.push_event(ClientEvent::Status { stream: Some(handle), status: Box::new(status) }),
        }
    }

    /// A stream begins to be played.
    pub(super) fn playing(&mut self, stream: StreamHandle) {
        self.answered(stream);
        self.push_event(ClientEvent::Playing { stream });
    }

    fn answered(&mut self, stream: StreamHandle) {
        self.pending.retain(|pending| pending.purpose != Purpose::Start(stream));
    }

    fn reject(&mut self, handle: StreamHandle, status: Status) {
        if let Some(stream) = self.remove_stream(handle) {
            self.delete_stream(stream.id);
            let rejection = Box::new(ClientRejection::from(status));
            self.push_event(ClientEvent::Rejected { stream: Some(handle), rejection });
        }
    }

    /// Where a reconnect request leads; `None` for the same address.
    fn reconnect_url(&self, status: &Status) -> Result<Option<TcUrl>, url::UrlError> {
        let Some(reference) = status.information.get("tcUrl").and_then(Value::as_str).filter(|url| !url.is_empty())
        else {
            return Ok(None);
        };
        match TcUrl::parse(&self.config.tc_url) {
            Ok(base) => url::resolve(&base, reference).map(Some),
            Err(_) => TcUrl::parse(reference).map(Some),
        }
    }
}

/// 0 is the connection itself.
fn message_stream_id(number: f64) -> Option<u32> {
    (1.0..=f64::from(u32::MAX)).contains(&number).then_some(number as u32)
}
