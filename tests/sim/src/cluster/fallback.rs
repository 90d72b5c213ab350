use std::time::Instant;

use anabranch_core::conn::FallbackOf;
use anabranch_core::hub::{Player, Publisher, PullEnd};
use anabranch_core::message::Message;
use anabranch_core::source::{Frame, FrameKind};
use anabranch_core::url::StreamKey;

use super::ClusterSim;

/// The fallback of a stream that plays another stream: what the program does for it.
#[derive(Debug)]
pub(super) struct Fallback {
    other: Player,
    /// `None` until the other stream has something.
    publisher: Option<Publisher>,
}

impl Fallback {
    /// When the players of the stream are to be woken.
    pub(super) fn due(&self) -> Option<Instant> {
        self.publisher.as_ref().and_then(Publisher::wake_deadline)
    }
}

impl ClusterSim {
    /// Begins and ends the fallbacks of a server, and passes on what they have got.
    pub(super) fn play_fallbacks(&mut self, node: usize) {
        let now = self.now;
        let server = &mut self.nodes[node];
        let Some(core) = server.core.clone().filter(|_| server.config.fallback.is_some()) else {
            return;
        };
        let hub = core.hub();
        for key in hub.wants() {
            if hub.wants_fallback(&key)
                && let Some(FallbackOf::Stream(other)) = core.fallback(&key)
            {
                let other = hub.follow(&other);
                server.fallbacks.entry(key).or_insert(Fallback { other, publisher: None });
            }
        }
        let keys: Vec<StreamKey> = server.fallbacks.keys().cloned().collect();
        for key in keys {
            self.play_fallback(node, &key, now);
        }
    }

    fn play_fallback(&mut self, node: usize, key: &StreamKey, now: Instant) {
        let server = &mut self.nodes[node];
        let (Some(core), Some(fallback)) = (&server.core, server.fallbacks.get_mut(key)) else {
            return;
        };
        let (hub, mut frames, mut wakes) = (core.hub(), Vec::new(), Vec::new());
        let pulled = fallback.other.pull(|frame| {
            frames.push(frame.clone());
            true
        });
        let mut is_wanted = hub.clients(key) > 0;
        for frame in &frames {
            if !is_wanted {
                break;
            }
            if fallback.publisher.is_none() {
                fallback.publisher = core.publish_fallback(key).ok();
            }
            let pushed = fallback.publisher.as_mut().map(|publisher| publisher.push(now, message_of(frame)));
            is_wanted = pushed.is_some_and(|pushed| pushed.is_ok());
        }
        if let Some(publisher) = &mut fallback.publisher
            && publisher.take_wake(now)
        {
            wakes.push(publisher.stream_id());
        }
        if !is_wanted || matches!(pulled.end, PullEnd::Ended(_)) {
            wakes.extend(fallback.publisher.take().map(|publisher| publisher.stream_id()));
        }
        if !is_wanted || fallback.publisher.is_none() && !hub.wants_fallback(key) {
            server.fallbacks.remove(key);
        }
        self.touch_node(node);
        for stream in wakes {
            self.wake(node, stream);
        }
    }
}

fn message_of(frame: &Frame) -> Message {
    let (time, body) = (frame.timestamp(), frame.payload().into_owned());
    match frame.kind() {
        FrameKind::Audio => Message::audio(time, body),
        FrameKind::Video => Message::video(time, body),
        FrameKind::Data => Message::data(time, body),
    }
}
