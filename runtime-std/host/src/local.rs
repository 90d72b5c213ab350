//! Streams without a socket: what the program that embeds the server publishes and plays itself.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anabranch_core::hub::{Player, Publisher, PullEnd, Pulled, StreamId, Superseded};
use anabranch_core::message::Message;
use anabranch_core::source::{Frame, Gap};
use anabranch_core::url::StreamKey;
use event_listener::{Event, EventListener, Listener};

use crate::handle::Control;

/// Frames that a subscription takes from the stream at once.
const BATCH: usize = 32;

/// A stream that the program publishes. Dropping it ends the stream.
///
/// Message bodies are as in RTMP: FLV audio and video tag bodies, and AMF0 data. Push sequence headers before the
/// frames that need them. Timestamps are in milliseconds and rise.
pub struct Publication {
    /// `None` only while it is dropped.
    publisher: Option<Publisher>,
    control: Arc<dyn Control>,
    /// The time of the wake-up that was planned last.
    planned: Option<Instant>,
}

/// Why nothing more can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Another publisher has taken the stream over.
    TakenOver,
    /// The server has stopped.
    Stopped,
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Over::TakenOver => "another publisher has taken the stream over",
            Over::Stopped => "the server has stopped",
        })
    }
}

impl std::error::Error for Over {}

impl Publication {
    pub(crate) fn new(publisher: Publisher, control: Arc<dyn Control>) -> Self {
        Publication { publisher: Some(publisher), control, planned: None }
    }

    /// True once another publisher has taken the stream over.
    pub(crate) fn is_over(&self) -> bool {
        self.publisher.as_ref().is_none_or(Publisher::is_superseded)
    }

    /// Publishes one message: [`Message::video`], [`Message::audio`] or [`Message::data`]. It does not wait for
    /// players, and the time does not depend on their number. Messages that no player could use are dropped and
    /// [counted](Self::malformed).
    ///
    /// # Errors
    /// Players get neither this message nor later ones.
    pub fn push(&mut self, message: Message) -> Result<(), Over> {
        if self.control.is_stopping() {
            return Err(Over::Stopped);
        }
        let Some(publisher) = &mut self.publisher else {
            return Err(Over::Stopped);
        };
        let now = Instant::now();
        publisher.push(now, message).map_err(|Superseded| Over::TakenOver)?;
        let stream = publisher.stream_id();
        if publisher.take_wake(now) {
            self.control.wake(stream);
        } else if let Some(due) = publisher.wake_deadline()
            && self.planned != Some(due)
        {
            // Also if no more is pushed by then.
            self.planned = Some(due);
            self.control.clone().wake_at(stream, due);
        }
        Ok(())
    }

    /// The stream's name.
    pub fn key(&self) -> Option<&StreamKey> {
        self.publisher.as_ref().map(Publisher::key)
    }

    /// Messages dropped because no player could use them: too short for their kind, longer than RTMP can carry, or not
    /// audio, video or data.
    pub fn malformed(&self) -> u64 {
        self.publisher.as_ref().map_or(0, Publisher::malformed)
    }

    /// How many players play the stream or wait for it.
    pub fn players(&self) -> usize {
        self.publisher.as_ref().map_or(0, Publisher::players)
    }
}

impl fmt::Debug for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publication").field("publisher", &self.publisher).finish_non_exhaustive()
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        if let Some(publisher) = self.publisher.take() {
            let stream = publisher.stream_id();
            publisher.end(Instant::now());
            self.control.wake(stream);
            self.control.unpublishes(stream);
        }
    }
}

/// A stream that the program plays, published or not yet. It begins like any player: headers first, then the newest key
/// frame. Frames are shared with all other players, not copied. As with a slow player, frames that are not fetched in
/// time are missed; they take no memory. If a publication ends or is taken over, its frames that are not fetched yet are
/// kept, as many as the stream's log may hold, and come before those of the next publication.
pub struct Subscription {
    player: Player,
    queue: VecDeque<Update>,
    /// Publications whose end was reported, or that were over before.
    over: u64,
    event: Arc<Event>,
    control: Arc<dyn Control>,
}

/// What a [`Subscription`] returns.
#[derive(Debug, Clone)]
pub enum Update {
    /// The next frame: [`kind`](Frame::kind), [`timestamp`](Frame::timestamp), [`payload`](Frame::payload).
    Frame(Frame),
    /// Frames before the next one were missed, because they were not fetched in time.
    Missed(Gap),
    /// The publisher is gone, also if it sent no frame. If a publisher comes back, frames follow. If several came and
    /// went between two calls without a frame, there is one `Ended` for them.
    Ended,
}

impl Subscription {
    pub(crate) fn new(player: Player, control: Arc<dyn Control>) -> Self {
        let event = control.subscribers().subscribe(player.stream_id());
        let (queue, over) = (VecDeque::new(), player.over_before());
        Subscription { player, queue, over, event, control }
    }

    /// Has the server pull the stream from where it is, as for a client.
    pub(crate) fn wanting(mut self) -> Self {
        self.player.want();
        self
    }

    /// The stream's name.
    pub fn key(&self) -> &StreamKey {
        self.player.key()
    }

    /// True while the stream has a publisher.
    pub fn is_live(&self) -> bool {
        self.player.is_live()
    }

    /// The next update, if there is one now.
    pub fn try_recv(&mut self) -> Option<Update> {
        if self.queue.is_empty() {
            self.pull();
        }
        self.queue.pop_front()
    }

    /// Blocks until there is an update. `None`: the server has stopped.
    pub fn recv(&mut self) -> Option<Update> {
        loop {
            match self.next_or_listen() {
                Ok(update) => return update,
                Err(listener) => listener.wait(),
            }
        }
    }

    /// Blocks until there is an update, up to `time`. `None`: no update came, or the server has stopped.
    pub fn recv_timeout(&mut self, time: Duration) -> Option<Update> {
        let deadline = Instant::now().checked_add(time);
        loop {
            let Some(deadline) = deadline else {
                return self.recv();
            };
            match self.next_or_listen() {
                Ok(update) => return update,
                Err(listener) => listener.wait_deadline(deadline)?,
            }
        }
    }

    /// Waits until there is an update, in any async runtime. `None`: the server has stopped. Nothing is lost if the
    /// future is dropped.
    pub async fn recv_async(&mut self) -> Option<Update> {
        loop {
            match self.next_or_listen() {
                Ok(update) => return update,
                Err(listener) => listener.await,
            }
        }
    }

    /// The next update, `None` if there will be no more, or a listener for the next wake-up.
    fn next_or_listen(&mut self) -> Result<Option<Update>, EventListener> {
        if let Some(update) = self.try_recv() {
            return Ok(Some(update));
        }
        // The listener notices updates from here on; check once more for those that came before.
        let listener = self.event.listen();
        match self.try_recv() {
            None if !self.control.is_stopping() => Err(listener),
            update => Ok(update),
        }
    }

    fn pull(&mut self) {
        let queue = &mut self.queue;
        let Pulled { missed, end } = self.player.pull(|frame| {
            queue.push_back(Update::Frame(frame.clone()));
            queue.len() < BATCH
        });
        // The pulled frames are of the last publication: those before it are over.
        let begun = self.player.begun();
        let goes_on = !self.queue.is_empty() || !matches!(end, PullEnd::Ended(_));
        if begun > self.over + 1 && goes_on {
            self.over = begun - 1;
            self.queue.push_front(Update::Ended);
        }
        // A pull that is too far behind skips frames before it takes its first one.
        if missed.frames > 0 {
            self.queue.push_front(Update::Missed(missed));
        }
        if matches!(end, PullEnd::Ended(_)) && begun > self.over {
            self.over = begun;
            self.queue.push_back(Update::Ended);
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("player", &self.player).finish_non_exhaustive()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.control.subscribers().unsubscribe(self.player.stream_id());
    }
}

/// The streams that parts of the program play.
#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    /// How many there are, so that a wake-up without any costs nothing.
    count: AtomicUsize,
    streams: Mutex<HashMap<StreamId, Topic>>,
}

#[derive(Debug, Default)]
struct Topic {
    event: Arc<Event>,
    count: usize,
}

impl Subscribers {
    fn subscribe(&self, stream: StreamId) -> Arc<Event> {
        let mut streams = self.streams();
        let topic = streams.entry(stream).or_default();
        topic.count += 1;
        self.count.fetch_add(1, Ordering::SeqCst);
        topic.event.clone()
    }

    fn unsubscribe(&self, stream: StreamId) {
        let mut streams = self.streams();
        if let Some(topic) = streams.get_mut(&stream) {
            topic.count -= 1;
            self.count.fetch_sub(1, Ordering::SeqCst);
            if topic.count == 0 {
                streams.remove(&stream);
            }
        }
    }

    pub(crate) fn wake(&self, stream: StreamId) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let event = self.streams().get(&stream).map(|topic| topic.event.clone());
        if let Some(event) = event {
            event.notify(usize::MAX);
        }
    }

    pub(crate) fn wake_all(&self) {
        // A subscription that is woken may be dropped, which locks the list: so notify without the lock.
        let events: Vec<_> = self.streams().values().map(|topic| topic.event.clone()).collect();
        for event in events {
            event.notify(usize::MAX);
        }
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<StreamId, Topic>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
