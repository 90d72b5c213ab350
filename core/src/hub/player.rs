use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Hub, Stream, StreamId, Wish};
use crate::endpoint::unique_number;
use crate::flv::{AudioCodec, VideoCodec};
use crate::source::{Batch, Cursor, Form, Frame, Gap, Next, Place, WireFormat};
use crate::stats::{StreamStatsView, Window};
use crate::url::StreamKey;

/// A player of one stream. Dropping it leaves the stream.
#[derive(Debug)]
pub struct Player {
    hub: Hub,
    stream: Arc<Stream>,
    cursor: Cursor,
    /// True if it counts as a client.
    client: bool,
    /// True if it gets what the stream's fallback plays.
    takes_fallback: bool,
    /// Its number among the stream's followers, if it is one.
    follows: Option<u64>,
    /// Publications that were over when it joined: their ends are not reported to it.
    over_before: u64,
    /// Publications that had begun by the last pull.
    begun: u64,
    /// See [`dated`](Self::dated).
    dated: Option<(u32, Instant)>,
    /// What relays know of it.
    wish: Option<Arc<Wish>>,
    /// True if the stream is pulled for it from where it is.
    asks: bool,
}

/// What [`Player::pull`] returns in addition to frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulled {
    /// What the player missed before the first frame of this pull, because it was too slow or because it paused. Each
    /// gap is returned once; the caller adds them up for a total.
    pub missed: Gap,
    /// Why there was no more.
    pub end: PullEnd,
}

/// Why [`Player::pull`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullEnd {
    /// The sink takes no more now; the stream may have more.
    Full,
    /// Nothing more until the publisher pushes.
    Pending,
    /// Nothing more until the stream is published again. The time is when its last publication ended, if that ended
    /// while the player was there, even if the player got no frame of it.
    Ended(Option<Instant>),
}

impl Player {
    pub(super) fn join(hub: Hub, stream: Arc<Stream>, client: bool, wish: Option<Arc<Wish>>) -> Self {
        stream.players.fetch_add(1, Ordering::Relaxed);
        let source = stream.source();
        let (cursor, begun) = (source.join(), source.epoch());
        let over_before = if source.is_live() { begun.saturating_sub(1) } else { begun };
        drop(source);
        let takes_fallback = client;
        let (follows, dated, asks) = (None, None, false);
        Player { hub, stream, cursor, client, takes_fallback, follows, over_before, begun, dated, wish, asks }
    }

    /// The same player, which gets each publication up to its end.
    pub(super) fn following(mut self) -> Self {
        let number = unique_number();
        self.stream.source().follow(number, self.cursor.clone());
        self.follows = Some(number);
        self
    }

    /// The same player, which gets what the stream's fallback plays, too.
    pub(super) fn taking_fallback(mut self) -> Self {
        self.takes_fallback = true;
        self
    }

    /// Has relays pull the stream for this player of the program, too: otherwise they pull only what clients play.
    pub fn want(&mut self) {
        if !std::mem::replace(&mut self.asks, true) {
            self.hub.ask(&self.stream.key, true);
        }
    }

    /// The stream's id.
    pub fn stream_id(&self) -> StreamId {
        self.stream.id
    }

    /// The stream's number, unique in the process: streams of different hubs have the same ids.
    pub(crate) fn stream_number(&self) -> u64 {
        self.stream.number
    }

    /// The stream's name.
    pub fn key(&self) -> &StreamKey {
        &self.stream.key
    }

    /// How the stream's frames are cut. A connection must announce this chunk size before it sends them.
    pub fn format(&self) -> WireFormat {
        self.stream.format
    }

    /// What lies between the player's place and the newest frame; nothing if it has not begun.
    pub fn unsent(&self) -> Gap {
        self.stream.source().unsent(&self.cursor)
    }

    /// Video frames left out because they came before the first key frame.
    pub fn undecodable(&self) -> u64 {
        self.cursor.undecodable()
    }

    /// True while the stream has a publisher. For clients also while its fallback plays.
    pub fn is_live(&self) -> bool {
        let source = self.stream.source();
        let counts = self.takes_fallback || !source.is_fallback();
        source.is_live() && counts || !self.takes_fallback && self.stream.awaited.load(Ordering::Relaxed)
    }

    /// When the stream's last publisher left, if it has none and that was after the player joined.
    pub(crate) fn ended(&self) -> Option<Instant> {
        let source = self.stream.source();
        if source.epoch() > self.over_before { source.ended() } else { None }
    }

    /// True while the stream's fallback plays.
    pub(crate) fn is_fallback(&self) -> bool {
        self.stream.source().is_fallback()
    }

    /// True if no origin has the stream, or none gives it to this client: there is no use in waiting for it.
    pub fn is_absent(&self) -> bool {
        self.stream.absent.load(Ordering::Relaxed) || self.wish.as_ref().is_some_and(|wish| wish.is_refused())
    }

    /// The codecs of the stream, as far as they are known.
    pub fn codecs(&self) -> (Option<VideoCodec>, Option<AudioCodec>) {
        self.stream.stats.get().map(StreamStatsView::codecs).unwrap_or_default()
    }

    /// Kilobits a second that the stream has had of late, as far as they are known.
    pub fn kbps(&self, now: Instant) -> Option<f64> {
        self.stream.stats.get().map(|stats| stats.snapshot(now).rate.kbps(Window::Seconds10))
    }

    /// Milliseconds of the longest group of pictures that the stream has had, as far as it is known.
    pub(crate) fn longest_group(&self) -> Option<u32> {
        self.stream.stats.get().and_then(StreamStatsView::longest_group)
    }

    /// Frames between the player's place and the newest frame.
    pub fn behind(&self) -> u64 {
        self.stream.source().behind(&self.cursor)
    }

    /// True if the log has dropped the last frame that the player got.
    pub fn outlives_last(&self) -> bool {
        self.stream.source().has_dropped_last_of(&self.cursor)
    }

    /// Publications of the stream that were over when the player joined.
    pub fn over_before(&self) -> u64 {
        self.over_before
    }

    /// Publications of the stream that had begun by the last [`pull`](Self::pull), or by the time the player joined.
    /// The frames of that pull belong to the last of them; all others are over. A [follower](Hub::follow) that still
    /// reads a publication that is over gets the number of that one.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// What maps timestamps of the publication that [`begun`](Self::begun) counts to the time in which they came: the
    /// timestamp of a frame that was not late, and when it came. `None` while the publication has no coded frame.
    pub(crate) fn dated(&self) -> Option<(u32, Instant)> {
        self.dated
    }

    /// The player's place in the stream, once it has begun.
    pub fn place(&self) -> Option<Place> {
        self.cursor.place()
    }

    /// What follows a place in the stream, see [`Source::batch`](crate::source::Source::batch).
    pub fn batch(&self, place: &Place, most: usize) -> Option<Batch> {
        self.batch_as(Form::Rtmp, place, most)
    }

    /// The same in any form.
    pub(crate) fn batch_as(&self, form: Form, place: &Place, most: usize) -> Option<Batch> {
        let batch = self.stream.source().batch_in_pieces(place, most, form)?.joined();
        // A form may have nothing for these frames.
        Some(batch).filter(|batch| !batch.wire().is_empty())
    }

    /// Moves the player to `place`: it was sent all up to there.
    pub fn pass_to(&mut self, place: Place) {
        self.cursor.pass_to(place);
    }

    /// Moves the player from `from` to `place`, for a write that began at `from` and has only now been confirmed. If
    /// the player was to [restart](Self::restart) since then, it restarts from `place`. Returns false if it was not at
    /// `from`.
    pub(crate) fn pass_late(&mut self, from: &Place, place: Place) -> bool {
        match self.cursor.pass_late(from, place) {
            Some(true) => self.restart(),
            Some(false) => {}
            None => return false,
        }
        true
    }

    /// Makes the next pull continue at the newest key frame; the frames between count as missed. If the player is
    /// already past that key frame, it stays where it is: it gets no frame twice.
    pub fn restart(&mut self) {
        let mut source = self.stream.source();
        if source.has_newer_start(&self.cursor) {
            source.restart(&mut self.cursor);
            if let Some(number) = self.follows {
                source.note_followed(number, &self.cursor);
            }
        }
    }

    /// Hands all new frames to `sink` until it returns false, and headers before a start. Only clients get what a
    /// stream's fallback plays.
    ///
    /// The stream is locked during the call: `sink` should only keep a clone.
    pub fn pull(&mut self, mut sink: impl FnMut(&Frame) -> bool) -> Pulled {
        let mut source = self.stream.source();
        if let Some(number) = self.follows
            && let Some(rest) = source.read_rest(number, &mut self.cursor, &mut sink)
        {
            self.stream.settle(&source);
            (self.begun, self.dated) = (rest.epoch, rest.dated);
            let end = if rest.is_over { PullEnd::Ended(rest.ended) } else { PullEnd::Full };
            return Pulled { missed: rest.missed, end };
        }
        if !self.takes_fallback && source.is_fallback() {
            return Pulled { missed: Gap::default(), end: PullEnd::Ended(None) };
        }
        (self.begun, self.dated) = (source.epoch(), source.dated());
        let mut missed = Gap::default();
        let end = loop {
            match source.next(&mut self.cursor) {
                Next::Frame(frame) => {
                    if !sink(frame) {
                        break PullEnd::Full;
                    }
                }
                // Headers are few and small: all of them go to the sink, even if it returns false.
                Next::Start(start) => {
                    missed.add(start.gap);
                    if start.keyless {
                        self.stream.keyless_starts.fetch_add(1, Ordering::Relaxed);
                    }
                    for header in start.frames() {
                        sink(&header);
                    }
                }
                Next::Pending => break PullEnd::Pending,
                Next::Ended => break PullEnd::Ended(source.ended().filter(|_| self.begun > self.over_before)),
            }
        };
        if let Some(number) = self.follows {
            source.note_followed(number, &self.cursor);
        }
        Pulled { missed, end }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        if self.asks {
            self.hub.ask(&self.stream.key, false);
        }
        self.stream.players.fetch_sub(1, Ordering::Relaxed);
        if let Some(number) = self.follows {
            let mut source = self.stream.source();
            source.unfollow(number);
            self.stream.settle(&source);
        }
        let (removed, was_last) = self.hub.registry().leave(&self.stream.key, self.client, self.wish.as_deref());
        if was_last {
            self.hub.changed(&self.stream.key);
        }
        if let Some(stream) = removed {
            stream.release();
        }
    }
}
