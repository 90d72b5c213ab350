use std::sync::Arc;
use std::time::Instant;

use super::{Hub, Stream, StreamId};
use crate::flv::FrameClass;
use crate::message::{Message, MessageType};
use crate::source::{Flush, Frame, Timeline};
use crate::url::StreamKey;

/// The publish lock of one stream. Dropping it ends the publication and frees the name.
#[derive(Debug)]
pub struct Publisher {
    hub: Hub,
    stream: Arc<Stream>,
    timeline: Timeline,
    flush: Flush,
    /// Messages too damaged to be of use to any player.
    malformed: u64,
    /// The time of the latest call: when the publication ended, if it is dropped without a word.
    now: Option<Instant>,
}

impl Publisher {
    pub(super) fn begin(hub: Hub, stream: Arc<Stream>) -> Self {
        let timeline = stream.source().begin();
        Publisher { hub, stream, timeline, flush: Flush::default(), malformed: 0, now: None }
    }

    /// The stream's id.
    pub fn stream_id(&self) -> StreamId {
        self.stream.id
    }

    /// The stream's name.
    pub fn key(&self) -> &StreamKey {
        &self.stream.key
    }

    /// Appends a message of type 8, 9 or 18 to the stream. Afterwards [`flush_deadline`](Self::flush_deadline) says
    /// when players are to be woken.
    pub fn push(&mut self, now: Instant, mut message: Message) {
        self.now = Some(now);
        // Metadata has no place in time, and FFmpeg players take it for a subtitle unless it is at 0.
        if message.type_id != MessageType::DATA_AMF0 || message.timestamp != 0 {
            message.timestamp = self.timeline.map(now, message.timestamp);
        }
        let frame = Frame::encode(message, self.hub.config().format);
        if frame.class() == FrameClass::Malformed {
            self.malformed += 1;
            return;
        }
        self.flush.pushed(now, self.hub.config().merge_window, &frame);
        self.stream.source().push(now, frame);
    }

    /// Withdraws the stream's metadata.
    pub fn clear_metadata(&mut self) {
        self.stream.source().clear_metadata();
    }

    /// When players must be woken for frames that wait.
    pub fn flush_deadline(&self) -> Option<Instant> {
        self.flush.deadline()
    }

    /// True once when that time has come: wake the stream's players.
    pub fn take_flush(&mut self, now: Instant) -> bool {
        self.flush.take_due(now)
    }

    /// Messages dropped because no player could use them.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Ends the publication. Players are to be woken: they have something to learn.
    pub fn end(mut self, now: Instant) {
        self.now = Some(now);
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // First the source, then the name: the next publisher must find the source ended.
        if let Some(now) = self.now {
            self.stream.source().end(now);
        } else {
            self.stream.source().abandon();
        }
        self.hub.release(&self.stream.key, |entry| entry.published = false);
    }
}
