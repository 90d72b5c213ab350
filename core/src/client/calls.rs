use super::event::{CallId, ClientEvent, NotAsked, NotSent, StreamHandle};
use super::streams::{ClientStream, Direction, PlayOptions, StreamState};
use super::{COMMAND_CHUNK_STREAM, Client, STREAM_CHUNK_STREAM};
use crate::amf::Value;
use crate::chunk::{MAX_CHUNK_SIZE, message_header, write_message};
use crate::command::{Command, PublishType};
use crate::endpoint::Cause;
use crate::flv::FrameClass;
use crate::message::{Control, Message, MessageType, UserControl};
use crate::source::{Frame, FrameKind};
use crate::time_limit::TimeLimit;

/// A request that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    pub(super) transaction: u32,
    pub(super) purpose: Purpose,
    pub(super) limit: TimeLimit,
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Connect,
    CreateStream(StreamHandle),
    /// `publish` or `play`: a notice is the answer, but a refusal may come as one to the call.
    Start(StreamHandle),
    Length(StreamHandle),
    /// The caller's own.
    Call,
}

/// What the client is to do.
impl Client {
    /// Publishes a stream, with its query, on its own message stream: releaseStream, FCPublish, createStream,
    /// publish, as FMLE and all after it. Whether `onFCPublish` comes does not matter.
    ///
    /// # Errors
    /// The connection is over, or too many streams are in use.
    pub fn publish(&mut self, name: &str, publish_type: PublishType) -> Result<StreamHandle, NotAsked> {
        self.add_stream(name, Direction::Publish(publish_type))
    }

    /// Plays a stream, with its query, on its own message stream: createStream, play, Set Buffer Length.
    ///
    /// # Errors
    /// The connection is over, or too many streams are in use.
    pub fn play(&mut self, name: &str, options: PlayOptions) -> Result<StreamHandle, NotAsked> {
        self.add_stream(name, Direction::Play { options, paused: false })
    }

    /// Ends what a stream does (FCUnpublish, deleteStream); it has no more events. Does nothing if the stream is gone.
    pub fn stop(&mut self, stream: StreamHandle) {
        let Some(stream) = self.remove_stream(stream) else {
            return;
        };
        if stream.is_publisher() && stream.state != StreamState::Waiting {
            self.notify("FCUnpublish", &[(&*stream.name).into()]);
        }
        self.delete_stream(stream.id);
    }

    /// Pauses a stream being played, or resumes it, at this time of it in milliseconds.
    pub fn pause(&mut self, stream: StreamHandle, pause: bool, milliseconds: u32) {
        let Some(stream) = self.streams.get(stream).filter(|stream| stream.is_active()) else {
            return;
        };
        let id = stream.id;
        if let Direction::Play { paused, .. } = &mut stream.direction {
            *paused = pause;
            let command = Command::new("pause", 0.0, Value::Null).with(pause).with(milliseconds);
            self.send_command(STREAM_CHUNK_STREAM, id, &command);
        }
    }

    /// Calls a procedure of the server. The answer comes as [`ClientEvent::Answer`].
    ///
    /// # Errors
    /// There is no connection yet or any more, or too many calls wait for their answer.
    pub fn call(&mut self, name: &str, object: Value, arguments: &[Value]) -> Result<CallId, NotAsked> {
        if !self.endpoint.state.is_connected() {
            return Err(NotAsked::NotConnected);
        }
        let limit = self.config.limits.calls;
        if self.pending.len() >= limit {
            return Err(NotAsked::TooManyCalls { limit });
        }
        let transaction = self.request(Purpose::Call);
        let command = Command { arguments: arguments.to_vec(), ..Command::new(name, transaction, object) };
        self.send_command(COMMAND_CHUNK_STREAM, 0, &command);
        Ok(CallId(self.last_transaction))
    }

    /// Sends a frame on a stream being published; its payload is shared, not copied. A frame that is longer than a
    /// chunk and was cut to larger ones than ours changes our chunk size; one cut to smaller ones is copied and cut
    /// again, so [`ClientConfig::chunk_size`](super::ClientConfig::chunk_size) is best the one that frames are encoded
    /// with.
    ///
    /// Metadata goes out behind `@setDataFrame`, which servers want from publishers to keep it for players to come.
    ///
    /// # Errors
    /// The frame cannot be sent, and nothing of it was.
    pub fn send_frame(&mut self, stream: StreamHandle, frame: &Frame) -> Result<(), NotSent> {
        let id = self.publishing(stream)?;
        if frame.kind() == FrameKind::Data && frame.class() == FrameClass::Metadata {
            let mut body = b"\x02\x00\x0d@setDataFrame".to_vec();
            body.extend_from_slice(&frame.payload());
            let payload = body.into();
            let (timestamp, type_id) = (frame.timestamp(), MessageType::DATA_AMF0);
            return self
                .send_message(stream, Message { chunk_stream: 0, timestamp, type_id, message_stream_id: id, payload });
        }
        if !frame.is_cut_for(self.endpoint.chunk_size) {
            // Never a smaller size than before: nginx-rtmp then loses what it has read already.
            if frame.chunk_size() < self.endpoint.chunk_size {
                let (timestamp, type_id) = (frame.timestamp(), frame.kind().type_id());
                self.send_cut(id, timestamp, type_id, &frame.payload());
                return Ok(());
            }
            self.set_chunk_size(frame.chunk_size());
        }
        frame.pieces(id, |piece| self.endpoint.outbound.push(piece));
        Ok(())
    }

    /// True if frames cut for chunks of this size go out on the stream as they are encoded, all but metadata.
    pub(crate) fn takes_frames_of(&self, stream: StreamHandle, chunk_size: u32) -> bool {
        self.publishing(stream) == Ok(Frame::MESSAGE_STREAM_ID) && self.endpoint.chunk_size == chunk_size
    }

    /// Sends a message of any type on a stream being published; its chunk stream and message stream do not matter. A
    /// body that fits one chunk is not copied.
    ///
    /// # Errors
    /// The message cannot be sent, and nothing of it was.
    pub fn send_message(&mut self, stream: StreamHandle, message: Message) -> Result<(), NotSent> {
        let id = self.publishing(stream)?;
        let Message { timestamp, type_id, payload, .. } = message;
        let length = payload.len();
        if length > MAX_CHUNK_SIZE as usize {
            return Err(NotSent::TooLong { length });
        }
        if length <= self.endpoint.chunk_size as usize {
            let head = message_header(media_chunk_stream(type_id), timestamp, length as u32, type_id, id);
            self.endpoint.outbound.push(payload.into_headed(&head));
        } else {
            self.send_cut(id, timestamp, type_id, &payload);
        }
        Ok(())
    }

    fn send_cut(&mut self, id: u32, timestamp: u32, type_id: u8, body: &[u8]) {
        let mut out = Vec::new();
        write_message(&mut out, self.endpoint.chunk_size, media_chunk_stream(type_id), timestamp, type_id, id, body);
        self.endpoint.outbound.push(out.into());
    }

    fn add_stream(&mut self, name: &str, direction: Direction) -> Result<StreamHandle, NotAsked> {
        if self.is_closing() {
            return Err(NotAsked::NotConnected);
        }
        let limit = self.config.limits.streams;
        if self.streams.len() >= limit {
            return Err(NotAsked::TooManyStreams { limit });
        }
        let handle = self.streams.add(name, direction);
        if self.endpoint.state.is_connected() {
            self.create_stream(handle);
        }
        Ok(handle)
    }

    /// What a connection begins with, now that it is there.
    pub(super) fn begin(&mut self) {
        if self.announced_window == 0 {
            self.announced_window = self.config.window;
            self.send_control(Cause::Own, &Control::WindowAckSize(self.config.window));
        }
        self.set_chunk_size(self.config.chunk_size.clamp(1, MAX_CHUNK_SIZE));
        let handles: Vec<_> = self.streams.iter().map(|stream| stream.handle).collect();
        for handle in handles {
            self.create_stream(handle);
        }
    }

    fn create_stream(&mut self, handle: StreamHandle) {
        let Some(stream) = self.streams.get(handle) else {
            return;
        };
        stream.state = StreamState::Creating;
        if stream.is_publisher() {
            let name = Value::from(&*stream.name);
            self.notify("releaseStream", std::slice::from_ref(&name));
            self.notify("FCPublish", &[name]);
        }
        let transaction = self.request(Purpose::CreateStream(handle));
        self.send_command(COMMAND_CHUNK_STREAM, 0, &Command::new("createStream", transaction, Value::Null));
    }

    /// Publishes or plays on the message stream that the server has given.
    pub(super) fn start(&mut self, handle: StreamHandle, id: u32) {
        let Some(stream) = self.streams.get(handle) else {
            // It was stopped before the answer came.
            return self.delete_stream(id);
        };
        stream.id = id;
        stream.state = StreamState::Asking;
        let name = Value::from(&*stream.name);
        match stream.direction {
            Direction::Publish(publish_type) => {
                let word = match publish_type {
                    PublishType::Live => "live",
                    PublishType::Record => "record",
                    PublishType::Append => "append",
                };
                let transaction = self.request(Purpose::Start(handle));
                let command = Command::new("publish", transaction, Value::Null).with(name).with(word);
                self.send_command(STREAM_CHUNK_STREAM, id, &command);
            }
            Direction::Play { options, .. } => {
                if options.ask_length {
                    let transaction = self.request(Purpose::Length(handle));
                    let command = Command::new("getStreamLength", transaction, Value::Null).with(name.clone());
                    self.send_command(STREAM_CHUNK_STREAM, id, &command);
                }
                let transaction = self.request(Purpose::Start(handle));
                let mut command = Command::new("play", transaction, Value::Null).with(name).with(options.start);
                if let Some(duration) = options.duration {
                    command = command.with(duration).with(options.reset);
                }
                self.send_command(STREAM_CHUNK_STREAM, id, &command);
                let buffer = UserControl::SetBufferLength { message_stream_id: id, milliseconds: options.buffer };
                self.send_control(Cause::Own, &Control::User(buffer));
            }
        }
    }

    /// The stream as it was, and with it all that waits for its answers but the id of its message stream: that has to
    /// be deleted when it comes.
    pub(super) fn remove_stream(&mut self, handle: StreamHandle) -> Option<ClientStream> {
        let stream = self.streams.remove(handle)?;
        self.pending.retain(|pending| ![Purpose::Start(handle), Purpose::Length(handle)].contains(&pending.purpose));
        Some(stream)
    }

    pub(super) fn delete_stream(&mut self, id: u32) {
        if id != 0 {
            self.notify("deleteStream", &[id.into()]);
        }
    }

    /// Notes that an answer is waited for; the request's transaction id.
    pub(super) fn request(&mut self, purpose: Purpose) -> f64 {
        let timeouts = &self.config.timeouts;
        let time = if purpose == Purpose::Connect { timeouts.connect } else { timeouts.answer };
        let transaction = self.next_transaction();
        self.pending.push(Pending { transaction, purpose, limit: TimeLimit::new(self.endpoint.now, time) });
        f64::from(transaction)
    }

    /// Ends the wait for answers that did not come in time.
    pub(super) fn expire_requests(&mut self) {
        // `connect` has a separate timer, which began with the handshake.
        while let Some(at) = self.pending.iter_mut().position(|pending| pending.limit.is_over(self.endpoint.now)) {
            let Pending { transaction, purpose, .. } = self.pending.remove(at);
            match purpose {
                Purpose::CreateStream(stream) | Purpose::Start(stream) => {
                    if let Some(removed) = self.remove_stream(stream) {
                        self.delete_stream(removed.id);
                        self.push_event(ClientEvent::Unanswered { stream });
                    }
                }
                Purpose::Call => self.push_event(ClientEvent::Answer { call: CallId(transaction), answer: None }),
                Purpose::Connect | Purpose::Length(_) => {}
            }
        }
    }

    /// A call whose answer does not matter.
    fn notify(&mut self, name: &str, arguments: &[Value]) {
        let transaction = f64::from(self.next_transaction());
        let command = Command { arguments: arguments.to_vec(), ..Command::new(name, transaction, Value::Null) };
        self.send_command(COMMAND_CHUNK_STREAM, 0, &command);
    }

    fn next_transaction(&mut self) -> u32 {
        // Never 0, which asks for no answer.
        self.last_transaction = self.last_transaction.checked_add(1).unwrap_or(2);
        self.last_transaction
    }

    fn set_chunk_size(&mut self, size: u32) {
        self.send_control(Cause::Own, &Control::SetChunkSize(size));
        self.endpoint.chunk_size = size;
    }

    /// The message stream id, if media may be sent.
    fn publishing(&self, stream: StreamHandle) -> Result<u32, NotSent> {
        let stream = self.streams.peek(stream).filter(|stream| stream.is_publisher());
        let running = stream.filter(|stream| stream.state == StreamState::Running).ok_or(NotSent::NotPublishing)?;
        let waiting = self.endpoint.outbound.len() + self.endpoint.outbound.lent_len();
        if waiting >= self.config.limits.outbound {
            return Err(NotSent::Full { waiting });
        }
        Ok(running.id)
    }
}

/// The chunk streams of frames.
fn media_chunk_stream(type_id: u8) -> u8 {
    match type_id {
        MessageType::AUDIO => 4,
        MessageType::VIDEO => 6,
        _ => 5,
    }
}
