use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::rules::StreamRules;
use crate::endpoint::{Due, DueKind};
use crate::hub::{Busy, Publisher, StreamId, Superseded};
use crate::message::data::{self, PublisherData};
use crate::message::{Message, MessageType, Payload};
use crate::pacing::{ReadTimer, Sockets};
use crate::time_limit::TimeLimit;
use crate::url::StreamKey;

/// The part of an uplink that publishes here what an origin sends.
#[derive(Debug)]
pub(super) struct Pull {
    rules: Arc<StreamRules>,
    connection: u64,
    peer: SocketAddr,
    /// While the origin sends frames.
    publisher: Option<Publisher>,
    reads: ReadTimer,
    /// How long the origin may be silent from the last frame that a look has seen.
    silence: Option<TimeLimit>,
    last_frame: Option<Instant>,
}

impl Pull {
    pub(super) fn new(rules: &Arc<StreamRules>, connection: u64, peer: SocketAddr) -> Self {
        Pull {
            rules: rules.clone(),
            connection,
            peer,
            publisher: None,
            reads: ReadTimer::default(),
            silence: None,
            last_frame: None,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.publisher.is_some()
    }

    pub(super) fn stream(&self) -> Option<StreamId> {
        self.publisher.as_ref().map(Publisher::stream_id)
    }

    /// Begins to publish.
    pub(super) fn begin(&mut self, now: Instant, key: &StreamKey) -> Result<StreamId, Busy> {
        let mut publisher = self.rules.hub.publish_relay(key, self.connection, self.peer)?;
        publisher.begun(now);
        let stream = publisher.stream_id();
        self.publisher = Some(publisher);
        self.silence = Some(TimeLimit::new(now, self.longest_silence()));
        Ok(stream)
    }

    fn longest_silence(&self) -> Duration {
        self.rules.edge.as_ref().map_or(Duration::from_secs(15), |edge| edge.silence)
    }

    /// Appends a message. Data is treated as that of a publisher.
    pub(super) fn push(&mut self, now: Instant, mut message: Message) -> Result<(), Superseded> {
        let Some(publisher) = &mut self.publisher else {
            return Ok(());
        };
        self.last_frame = Some(now);
        if message.type_id == MessageType::DATA_AMF0 {
            match data::from_publisher(message.type_id, &message.payload, &self.rules.data) {
                PublisherData::Metadata { body, .. } | PublisherData::Other(body) => {
                    message.payload = Payload::from(body);
                }
                PublisherData::ClearMetadata => {
                    publisher.clear_metadata();
                    return Ok(());
                }
                PublisherData::Unreadable => return Ok(()),
            }
        }
        publisher.push(now, message)
    }

    /// Ends the publication. Returns the stream whose players are to be woken.
    pub(super) fn end(&mut self, now: Instant) -> Option<StreamId> {
        self.silence = None;
        let publisher = self.publisher.take()?;
        let stream = publisher.stream_id();
        publisher.end(now);
        Some(stream)
    }

    /// The stream whose players are to be woken now.
    pub(super) fn take_wake(&mut self, now: Instant) -> Option<StreamId> {
        let publisher = self.publisher.as_mut()?;
        if !publisher.is_played() {
            publisher.cancel_wake(now);
            return None;
        }
        publisher.take_wake(now).then(|| publisher.stream_id())
    }

    pub(super) fn due(&self) -> Option<Due> {
        let wake = self.publisher.as_ref()?.wake_deadline().map(|at| Due::new(at, DueKind::Wake));
        let silence = self.silence.as_ref().map(|silence| Due::new(silence.next_check(), DueKind::Silence));
        Due::first(wake.into_iter().chain(silence))
    }

    /// When to read the origin next; `None`: as soon as it sends something.
    pub(super) fn next_read(&mut self, now: Instant, received: u64, sockets: &Sockets) -> Option<Instant> {
        let publisher = self.publisher.as_ref()?;
        self.reads.next(now, received, sockets, |last| publisher.next_read(now, last, sockets))
    }

    /// True if the origin has sent no frame for too long.
    pub(super) fn is_silent(&mut self, now: Instant) -> bool {
        let longest = self.longest_silence();
        let Some(silence) = &mut self.silence else {
            return false;
        };
        if now < silence.next_check() {
            return false;
        }
        // A frame does not touch the limit: it is moved when it is looked at.
        match self.last_frame.take() {
            Some(last) => {
                *silence = TimeLimit::until(last + longest, longest);
                false
            }
            None => silence.is_over(now),
        }
    }
}
