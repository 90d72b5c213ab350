use super::event::{ConnectRequest, PlayRequest, PublishRequest, SessionEvent, Track};
use super::identify::Sign;
use super::state::{Change, State};
use super::streams::Activity;
use super::{COMMAND_CHUNK_STREAM, Error, Session};
use crate::command::reply::{self, Level};
use crate::command::{Command, Request};
use crate::message::{Message, UserControl};

impl Session {
    /// What each command does. The answer carries the transaction id of its request; a request with transaction id 0
    /// wants none, except those that clients wait for all the same.
    pub(super) fn handle_command(&mut self, message: &Message) -> Result<(), Error> {
        let limits = &self.config.limits;
        let limits = if self.is_connected() { &limits.amf } else { &limits.amf_before_connect };
        let command = match Command::parse(message.type_id, &message.payload, limits) {
            Ok(command) => command,
            // Without a readable `connect` the connection cannot continue.
            Err(error) if !self.is_connected() => return Err(error.into()),
            Err(_) => {
                self.counters.unreadable_messages += 1;
                return Ok(());
            }
        };
        let request = Request::from_command(&command);
        let transaction = command.transaction;
        match (&self.endpoint.state, request) {
            (State::AwaitingConnect, Request::Connect(info)) => {
                self.ask(Change::ConnectAsked, SessionEvent::Connect(ConnectRequest { transaction, info }));
            }
            // Before `connect` nothing else means anything, and a second `connect` never does.
            (State::AwaitingConnect, _) | (_, Request::Connect(_) | Request::Answer | Request::SetPlaylist) => {
                self.counters.ignored_messages += 1;
            }
            (_, request) => self.handle_request(message.message_stream_id, transaction, request),
        }
        Ok(())
    }

    fn handle_request(&mut self, on_stream: u32, transaction: f64, request: Request) {
        match request {
            Request::CreateStream => self.create_stream(transaction),
            Request::ReleaseStream(_) => {
                self.identification = self.identification.after(Sign::Announce);
                self.send_result(transaction);
            }
            Request::FcPublish(_) => {
                self.identification = self.identification.after(Sign::Announce);
                self.fc_publish = Some(transaction);
                self.send_result(transaction);
            }
            Request::FcUnpublish(name) => self.unpublish(transaction, &name),
            Request::Publish { name, publish_type } => {
                let client = self.identification.publisher();
                if let Some(message_stream_id) = self.stream_for_activity(on_stream, transaction) {
                    let request = PublishRequest { message_stream_id, name, publish_type, client };
                    self.ask(Change::StreamAsked, SessionEvent::Publish(request));
                }
            }
            Request::Play(arguments) => {
                if let Some(message_stream_id) = self.stream_for_activity(on_stream, transaction) {
                    self.ask(Change::StreamAsked, SessionEvent::Play(PlayRequest { message_stream_id, arguments }));
                }
            }
            Request::DeleteStream(Some(message_stream_id)) => {
                self.end_activity(message_stream_id);
                self.streams.delete(message_stream_id);
            }
            Request::DeleteStream(None) => {
                for message_stream_id in self.streams.ids() {
                    self.end_activity(message_stream_id);
                    self.streams.delete(message_stream_id);
                }
            }
            Request::CloseStream => self.close_stream(on_stream),
            Request::ReceiveAudio(on) => self.receive(on_stream, Track::Audio, on),
            Request::ReceiveVideo(on) => self.receive(on_stream, Track::Video, on),
            Request::Pause(paused) => self.pause(on_stream, paused),
            Request::Seek(_) => self.refuse_seek(on_stream),
            Request::FcSubscribe(_) => {
                self.send_result(transaction);
                self.send_command(COMMAND_CHUNK_STREAM, 0, &reply::on_fc_subscribe());
            }
            // Zero: a live stream has no length.
            Request::GetStreamLength(_) => {
                self.answer(transaction, &reply::result(transaction).with(0.0));
            }
            Request::FcUnsubscribe(_) => self.send_result(transaction),
            Request::CheckBandwidth => {
                self.send_result(transaction);
                // A client that asks with a transaction id waits for it. Nothing is measured.
                if transaction != 0.0 {
                    self.send_command(COMMAND_CHUNK_STREAM, 0, &reply::on_bandwidth_done());
                }
            }
            Request::Other => {
                self.answer(transaction, &reply::call_failed(transaction, "No such call on this server."));
            }
            Request::Connect(_) | Request::Answer | Request::SetPlaylist => {}
        }
    }

    fn create_stream(&mut self, transaction: f64) {
        self.identification = self.identification.after(Sign::CreateStream);
        let answer = match self.streams.create(self.config.limits.streams) {
            Some(message_stream_id) => reply::create_stream_result(transaction, message_stream_id),
            None => reply::call_failed(transaction, "Too many streams on this connection."),
        };
        self.send_command(COMMAND_CHUNK_STREAM, 0, &answer);
    }

    /// The stream that `publish` or `play` on `on_stream` means, made idle if it was in use.
    fn stream_for_activity(&mut self, on_stream: u32, transaction: f64) -> Option<u32> {
        let known = self.streams.resolve(on_stream);
        // Players without createStream exist, and always mean the first stream, some of them with its id big-endian.
        let implied = || {
            (on_stream <= 1 || on_stream.swap_bytes() == 1)
                .then(|| self.streams.create(self.config.limits.streams))
                .flatten()
        };
        let Some(message_stream_id) = known.or_else(implied) else {
            self.answer(transaction, &reply::call_failed(transaction, "No such stream on this connection."));
            return None;
        };
        self.end_activity(message_stream_id);
        Some(message_stream_id)
    }

    /// FCUnpublish: answered even where nothing was published, so that a client waiting for it can go on.
    fn unpublish(&mut self, transaction: f64, name: &str) {
        if let Some(message_stream_id) = self.streams.published_as(name) {
            self.send_status(message_stream_id, &reply::on_fc_unpublish());
            self.send_result(transaction);
            self.send_unpublished(message_stream_id);
            self.end_activity(message_stream_id);
        } else {
            self.send_result(transaction);
        }
    }

    fn close_stream(&mut self, on_stream: u32) {
        if let Some(message_stream_id) = self.streams.resolve(on_stream) {
            if self.streams.activity(message_stream_id) == Activity::Publishing {
                self.send_unpublished(message_stream_id);
            }
            self.end_activity(message_stream_id);
        }
    }

    fn send_unpublished(&mut self, message_stream_id: u32) {
        let status = reply::on_status(Level::Status, "NetStream.Unpublish.Success", "Stream is now unpublished.");
        self.send_status(message_stream_id, &status);
    }

    fn receive(&mut self, on_stream: u32, track: Track, on: bool) {
        let Some(message_stream_id) = self.playing(on_stream) else {
            return;
        };
        self.push_event(SessionEvent::Receive { message_stream_id, track, on });
        if on {
            // RTMP 1.0 §7.2.2.4: the server answers that a track is on again with the messages of a seek and a start.
            let seek = reply::on_status(Level::Status, "NetStream.Seek.Notify", "Seeking to the newest frame.");
            self.send_status(message_stream_id, &seek);
            let start = reply::on_status(Level::Status, "NetStream.Play.Start", "Started playing.");
            self.send_status(message_stream_id, &start);
        }
    }

    fn pause(&mut self, on_stream: u32, paused: bool) {
        let Some(message_stream_id) = self.playing(on_stream) else {
            return;
        };
        self.push_event(SessionEvent::Pause { message_stream_id, paused });
        if paused {
            let status = reply::on_status(Level::Status, "NetStream.Pause.Notify", "Paused stream.");
            self.send_status(message_stream_id, &status);
            self.send_user_control(UserControl::StreamEof(message_stream_id));
        } else {
            let status = reply::on_status(Level::Status, "NetStream.Unpause.Notify", "Unpaused stream.");
            self.send_status(message_stream_id, &status);
            self.send_user_control(UserControl::StreamBegin(message_stream_id));
        }
    }

    /// A seek does nothing, but the player gets the notice that it was done: libavformat (FFmpeg, mpv) drops every
    /// packet until it gets that notice, and players of every kind end on an error.
    fn refuse_seek(&mut self, on_stream: u32) {
        if let Some(message_stream_id) = self.playing(on_stream) {
            let words = "This is a live stream; it goes on at its newest frame.";
            let status = reply::on_status(Level::Status, "NetStream.Seek.Notify", words);
            self.send_status(message_stream_id, &status);
        }
    }

    fn playing(&self, on_stream: u32) -> Option<u32> {
        self.streams.resolve(on_stream).filter(|id| self.streams.activity(*id) == Activity::Playing)
    }

    fn send_result(&mut self, transaction: f64) {
        self.answer(transaction, &reply::result(transaction));
    }

    /// Transaction id 0 asks for no answer.
    fn answer(&mut self, transaction: f64, command: &Command) {
        if transaction != 0.0 {
            self.send_command(COMMAND_CHUNK_STREAM, 0, command);
        }
    }
}
