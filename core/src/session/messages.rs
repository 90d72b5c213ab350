use super::state::State;
use super::{Error, Session, SessionEvent};
use crate::command::Command;
use crate::message::data::{self, DataLimits, PublisherData};
use crate::message::{Control, Message, MessageType, Payload, UserControl};

impl Session {
    pub(super) fn take_message(&mut self, message: Message) -> Result<(), Error> {
        // Media and data have their own bounds.
        let bounded = matches!(
            message.type_id,
            MessageType::AUDIO
                | MessageType::VIDEO
                | MessageType::AGGREGATE
                | MessageType::DATA_AMF0
                | MessageType::DATA_AMF3
        );
        let limit = self.config.limits.command;
        if !bounded && message.payload.len() > limit as usize {
            return Err(Error::MessageOverLimit { type_id: message.type_id, length: message.payload.len(), limit });
        }
        if matches!(self.endpoint.state, State::Measuring) && message.type_id > MessageType::SET_PEER_BANDWIDTH {
            let command = match message.type_id {
                MessageType::COMMAND_AMF0 | MessageType::COMMAND_AMF3 => {
                    Command::parse(message.type_id, &message.payload, &self.config.limits.amf).ok()
                }
                _ => None,
            };
            self.push_event(SessionEvent::Measured { command, bytes: message.payload.len() });
            return Ok(());
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
            // Many publishers never acknowledge, and TCP has its own window: nothing depends on it.
            Control::Acknowledgement(_) => {}
            Control::WindowAckSize(window) => self.endpoint.ack.set(window),
            // All clients send one and expect nothing.
            Control::SetPeerBandwidth { .. } => {}
            Control::User(UserControl::PingRequest(time)) => {
                self.send_control(&Control::User(UserControl::PingResponse(time)));
            }
            Control::User(UserControl::PingResponse(_) | UserControl::SetBufferLength { .. }) => {}
            Control::User(_) => self.counters.ignored_events += 1,
        }
        Ok(())
    }

    pub(super) fn handle_media(&mut self, mut message: Message) {
        match self.publishing(message.message_stream_id) {
            Some(message_stream_id) => {
                message.message_stream_id = message_stream_id;
                self.push_event(SessionEvent::Media(message));
            }
            None => self.counters.stray_media += 1,
        }
    }

    /// An aggregate is taken apart; its parts are then as if they had come one by one.
    ///
    /// They become events at once, so there may be as many as events may wait; real ones hold a few dozen. Each part
    /// beyond that, and each that cannot be read, counts as an unreadable message; the others are taken.
    fn handle_aggregate(&mut self, message: &Message) {
        let Some(message_stream_id) = self.publishing(message.message_stream_id) else {
            self.counters.stray_media += 1;
            return;
        };
        let mut room = self.config.limits.events.max(1);
        for part in message.parts() {
            let (Ok(part), Some(left)) = (part, room.checked_sub(1)) else {
                self.counters.unreadable_messages += 1;
                continue;
            };
            room = left;
            let part = Message { message_stream_id, ..part };
            match part.type_id {
                MessageType::AUDIO | MessageType::VIDEO => self.push_event(SessionEvent::Media(part)),
                MessageType::DATA_AMF0 | MessageType::DATA_AMF3 => self.handle_data(part),
                _ => self.counters.ignored_messages += 1,
            }
        }
    }

    pub(super) fn handle_data(&mut self, mut message: Message) {
        let Some(message_stream_id) = self.publishing(message.message_stream_id) else {
            self.counters.stray_media += 1;
            return;
        };
        message.message_stream_id = message_stream_id;
        let limits = &self.config.limits;
        let longest =
            DataLimits { metadata: limits.metadata as usize, other: limits.command as usize, amf: limits.amf };
        match data::from_publisher(message.type_id, &message.payload, &longest) {
            PublisherData::Metadata { body, shortened } => {
                self.counters.shortened_metadata += u64::from(shortened);
                self.push_data(message, body);
            }
            PublisherData::Other(body) => self.push_data(message, body),
            PublisherData::ClearMetadata => self.push_event(SessionEvent::ClearMetadata { message_stream_id }),
            PublisherData::Unreadable => self.counters.unreadable_messages += 1,
        }
    }

    fn push_data(&mut self, mut message: Message, body: Vec<u8>) {
        message.type_id = MessageType::DATA_AMF0;
        message.payload = Payload::from(body);
        self.push_event(SessionEvent::Media(message));
    }

    /// The published stream that a message on `message_stream_id` belongs to; notes that its publisher is alive.
    fn publishing(&mut self, message_stream_id: u32) -> Option<u32> {
        if !self.is_connected() {
            return None;
        }
        let message_stream_id = self.streams.publishing(message_stream_id)?;
        if self.endpoint.note_message() {
            // No longer the first one's.
            self.endpoint.limit_silence(self.config.timeouts.next_message);
        }
        Some(message_stream_id)
    }
}
