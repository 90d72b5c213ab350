use super::event::StreamHandle;
use crate::command::PublishType;

/// The streams of one connection.
#[derive(Debug, Default)]
pub(super) struct ClientStreams {
    list: Vec<ClientStream>,
    last: u32,
}

/// One requested stream.
#[derive(Debug)]
pub(super) struct ClientStream {
    pub(super) handle: StreamHandle,
    /// Message stream id; 0 until the server has given one.
    pub(super) id: u32,
    pub(super) state: StreamState,
    pub(super) name: Box<str>,
    pub(super) direction: Direction,
}

/// The state of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamState {
    /// The connection is not established yet.
    Waiting,
    /// `createStream` waits for its answer.
    Creating,
    /// `publish` or `play` waits for its answer.
    Asking,
    Running,
    /// It was running, and the server reported its end.
    Ended,
}

/// The direction of its media.
#[derive(Debug)]
pub(super) enum Direction {
    Publish(PublishType),
    Play {
        options: PlayOptions,
        /// The server reports an end of stream when it pauses.
        paused: bool,
    },
}

/// The arguments of `play` (RTMP 1.0 §7.2.2.1) and of the commands sent with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlayOptions {
    /// Where to begin, in milliseconds as Flash Player, FFmpeg and librtmp send it: -2000, the default, for a live
    /// stream or, if there is none, a recorded one; -1000 for live only.
    pub start: f64,
    /// How long to play, in milliseconds; `None`, the default, for all of it.
    pub duration: Option<f64>,
    /// Whether to drop what is queued on the stream. Only sent with a duration; default true.
    pub reset: bool,
    /// Length of the client's buffer in milliseconds, sent with Set Buffer Length. Default 3000.
    pub buffer: u32,
    /// Whether to ask for the stream's duration first, as FFmpeg does. Default no.
    pub ask_length: bool,
}

impl Default for PlayOptions {
    fn default() -> Self {
        PlayOptions { start: -2000.0, duration: None, reset: true, buffer: 3000, ask_length: false }
    }
}

impl ClientStream {
    pub(super) fn is_publisher(&self) -> bool {
        matches!(self.direction, Direction::Publish(_))
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.state, StreamState::Running | StreamState::Ended)
    }

    pub(super) fn is_paused(&self) -> bool {
        matches!(self.direction, Direction::Play { paused: true, .. })
    }
}

impl ClientStreams {
    pub(super) fn add(&mut self, name: &str, direction: Direction) -> StreamHandle {
        self.last = self.last.wrapping_add(1);
        let handle = StreamHandle(self.last);
        self.list.push(ClientStream { handle, id: 0, state: StreamState::Waiting, name: name.into(), direction });
        handle
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn get(&mut self, handle: StreamHandle) -> Option<&mut ClientStream> {
        self.list.iter_mut().find(|stream| stream.handle == handle)
    }

    pub(super) fn peek(&self, handle: StreamHandle) -> Option<&ClientStream> {
        self.list.iter().find(|stream| stream.handle == handle)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ClientStream> {
        self.list.iter()
    }

    pub(super) fn remove(&mut self, handle: StreamHandle) -> Option<ClientStream> {
        let index = self.list.iter().position(|stream| stream.handle == handle)?;
        Some(self.list.remove(index))
    }

    /// The stream of a message on message stream `id`. Some servers use 0: that can only mean the one stream there is.
    pub(super) fn on(&mut self, id: u32) -> Option<&mut ClientStream> {
        match self.list.as_mut_slice() {
            [only] if id == 0 && only.id != 0 => self.list.first_mut(),
            _ if id == 0 => None,
            _ => self.list.iter_mut().find(|stream| stream.id == id),
        }
    }

    /// The one stream whose request has no answer yet, if there is exactly one.
    pub(super) fn only_asking(&mut self) -> Option<&mut ClientStream> {
        let mut asking = self.list.iter_mut().filter(|stream| stream.state == StreamState::Asking);
        match (asking.next(), asking.next()) {
            (Some(stream), None) => Some(stream),
            _ => None,
        }
    }
}
