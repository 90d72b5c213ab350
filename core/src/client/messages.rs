use super::Client;
use super::event::{ClientEvent, EndReason, Status};
use super::streams::StreamState;
use crate::amf::amf0;
use crate::endpoint::Cause;
use crate::endpoint::Error;
use crate::message::{Control, Message, MessageType, PeerBandwidthLimit, UserControl, strip_amf3_selector};

impl Client {
    pub(super) fn take_message(&mut self, message: Message) -> Result<(), Error> {
        let media = matches!(message.type_id, MessageType::AUDIO | MessageType::VIDEO | MessageType::AGGREGATE);
        let limit = self.config.limits.command;
        if !media && message.payload.len() > limit as usize {
            return Err(Error::MessageOverLimit { type_id: message.type_id, length: message.payload.len(), limit });
        }
        match message.type_id {
            MessageType::AUDIO | MessageType::VIDEO => self.handle_media(message),
            MessageType::AGGREGATE => self.handle_aggregate(&message),
            MessageType::DATA_AMF0 | MessageType::DATA_AMF3 => self.handle_data(message),
            MessageType::COMMAND_AMF0 | MessageType::COMMAND_AMF3 => self.handle_command(&message)?,
            type_id => match Control::parse(type_id, &message.payload)? {
                Some(control) => self.handle_control(&control)?,
                None => self.counters.ignored_messages += 1,
            },
        }
        Ok(())
    }

    fn handle_control(&mut self, control: &Control) -> Result<(), Error> {
        match *control {
            Control::SetChunkSize(size) => self.endpoint.reader.set_chunk_size(size)?,
            Control::Abort(chunk_stream) => self.endpoint.reader.abort(chunk_stream),
            // TCP has its own window, so the limit is not needed.
            Control::Acknowledgement(_) => {}
            Control::WindowAckSize(window) => self.endpoint.ack.set(window),
            Control::SetPeerBandwidth { window, limit } => self.set_peer_bandwidth(window, limit),
            Control::User(UserControl::PingRequest(time)) => {
                self.send_control(Cause::Peer, &Control::User(UserControl::PingResponse(time)));
            }
            Control::User(UserControl::StreamBegin(id)) => self.stream_begins(id),
            Control::User(UserControl::StreamEof(id)) => self.stream_eof(id),
            Control::User(_) => self.counters.ignored_events += 1,
        }
        Ok(())
    }

    /// Announces the window that the server wants if it differs from the one announced last (RTMP 1.0 §5.4.5).
    fn set_peer_bandwidth(&mut self, window: u32, limit: PeerBandwidthLimit) {
        let window = match limit {
            PeerBandwidthLimit::Soft if self.announced_window != 0 => window.min(self.announced_window),
            _ => window,
        };
        if window != self.announced_window {
            self.announced_window = window;
            self.send_control(Cause::Peer, &Control::WindowAckSize(window));
        }
    }

    fn stream_begins(&mut self, id: u32) {
        if let Some(stream) = self.streams.on(id)
            && stream.state == StreamState::Ended
            && !stream.is_publisher()
        {
            stream.state = StreamState::Running;
            let stream = stream.handle;
            self.push_event(ClientEvent::PublishNotify { stream });
        }
    }

    fn stream_eof(&mut self, id: u32) {
        // A server sends this also when it pauses.
        if let Some(stream) = self.streams.on(id)
            && stream.state == StreamState::Running
            && !stream.is_publisher()
            && !stream.is_paused()
        {
            stream.state = StreamState::Ended;
            let stream = stream.handle;
            self.push_event(ClientEvent::Ended { stream, reason: EndReason::Eof });
        }
    }

    fn handle_media(&mut self, message: Message) {
        let stream = self.streams.on(message.message_stream_id).filter(|stream| !stream.is_publisher());
        let Some(stream) = stream.filter(|_| self.endpoint.state.is_connected()) else {
            self.counters.stray_media += 1;
            return;
        };
        let handle = stream.handle;
        // Media means that the stream has begun, even without a notice.
        match std::mem::replace(&mut stream.state, StreamState::Running) {
            StreamState::Running => {}
            StreamState::Ended => self.push_event(ClientEvent::PublishNotify { stream: handle }),
            StreamState::Asking | StreamState::Creating | StreamState::Waiting => self.playing(handle),
        }
        self.push_event(ClientEvent::Media { stream: handle, message });
    }

    /// An aggregate is split; its parts are then handled as if they had come one by one.
    ///
    /// They become events at once, so the limit of events applies to them; real aggregates have a few dozen. Each part
    /// beyond the limit, and each that cannot be parsed, counts as an unreadable message; the others are handled.
    fn handle_aggregate(&mut self, message: &Message) {
        let mut room = self.config.limits.events.max(1);
        for part in message.parts() {
            let (Ok(part), Some(left)) = (part, room.checked_sub(1)) else {
                self.counters.unreadable_messages += 1;
                continue;
            };
            room = left;
            match part.type_id {
                MessageType::AUDIO | MessageType::VIDEO => self.handle_media(part),
                MessageType::DATA_AMF0 | MessageType::DATA_AMF3 => self.handle_data(part),
                _ => self.counters.ignored_messages += 1,
            }
        }
    }

    /// Data of the stream is media; notices of the server in data messages are not.
    fn handle_data(&mut self, mut message: Message) {
        let body = strip_amf3_selector(message.type_id, &message.payload);
        let name = |name: &str| {
            let rest = body.strip_prefix(&[2, 0, name.len() as u8])?;
            rest.strip_prefix(name.as_bytes())
        };
        // Tells whether a Flash program may read pixels.
        if name("|RtmpSampleAccess").is_some() {
            return;
        }
        if let Some(rest) = name("onPlayStatus").or_else(|| name("onStatus")) {
            match amf0::decode_all(rest, &self.config.limits.amf) {
                Ok(values) => {
                    let status = Status::read(values.iter().find(|value| value.as_object().is_some()));
                    self.handle_status(message.message_stream_id, status);
                }
                Err(_) => self.counters.unreadable_messages += 1,
            }
            return;
        }
        if message.type_id == MessageType::DATA_AMF3 {
            message.payload = body.into();
            message.type_id = MessageType::DATA_AMF0;
        }
        self.handle_media(message);
    }
}
