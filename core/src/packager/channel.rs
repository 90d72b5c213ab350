use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::answers::{self, Reply};
use super::clock::Clock;
use super::ids::SessionId;
use super::qualities::{ChannelKey, Tracks};
use super::{IDLE, LONGEST_TARGET, SILENCE, Time};
use crate::flv::{HeaderKind, audio_header_slots, video_header_slots};
use crate::hls::{
    self, Complete, Container, Decision, Found, Manifest, Mode, Moment, PLAYLIST_TYPE, PlaylistRequest, Segmenter,
};
use crate::http::{self, Answer};
use crate::hub::{Player, PullEnd, Pulled, StreamId};
use crate::source::{Frame, FrameKind};
use crate::url::StreamKey;

/// Frames that are taken from a stream at once.
const BATCH: usize = 64;
/// The longest that caches may keep a playlist that was asked for without a number, in seconds.
const PLAYLIST_AGE: u32 = 1;

/// What a request wants.
#[derive(Debug)]
pub(super) enum Wanted {
    Playlist(PlaylistRequest),
    Manifest,
    /// A part that the playlist hints at.
    Part(String),
    /// What comes next in the manifest, until it is there.
    Next(String),
}

/// A request that may wait.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    wanted: Wanted,
    /// The session that it belongs to, if it has one.
    pub(super) session: Option<u64>,
    /// The client's address.
    pub(super) address: Option<IpAddr>,
    /// The session's number for its client. No other session has its address then, so that caches are not to answer for
    /// the server.
    pub(super) id: Option<SessionId>,
    pub(super) since: Instant,
    pub(super) until: Instant,
    /// How long it waits for a publisher.
    pub(super) wait: Duration,
    /// When it is answered whatever happens.
    latest: Instant,
    /// True once it waits for something of a stream that is there.
    pub(super) is_there: bool,
    /// The last component of the path, and the query without what is for the packager.
    pub(super) file: String,
    pub(super) own: String,
    /// The quality that it asks for, by its name.
    pub(super) quality: Option<String>,
    /// The stream that its viewer was granted.
    pub(super) viewed: Option<StreamKey>,
    pub(super) reply: Reply<T>,
}

impl<T> Waiting<T> {
    pub(super) fn new(
        now: Instant,
        wanted: Wanted,
        address: Option<IpAddr>,
        wait: (Duration, Duration),
        reply: Reply<T>,
    ) -> Self {
        let (wait, longest) = wait;
        Waiting {
            wanted,
            session: None,
            address,
            id: None,
            since: now,
            until: now + wait,
            wait,
            latest: now + longest,
            is_there: false,
            file: String::new(),
            own: String::new(),
            quality: None,
            viewed: None,
            reply,
        }
    }

    pub(super) fn of_file(mut self, file: String, own: String, quality: Option<String>) -> Self {
        (self.file, self.own, self.quality) = (file, own, quality);
        self
    }

    /// True if it asks for the stream, and not for one of its playlists or for what comes next in it.
    pub(super) fn is_for_stream(&self) -> bool {
        self.quality.is_none() && matches!(self.wanted, Wanted::Playlist(PlaylistRequest { segment: None, .. }))
    }

    /// The stream is there now. Before that it waited for a publisher; it waits so long for media.
    pub(super) fn waits_for_media(&mut self, until: Instant) {
        if !self.is_there {
            (self.is_there, self.until) = (true, until.min(self.latest));
        }
    }

    /// The answer with a playlist over several qualities.
    pub(super) fn multivariant(&self, text: String) -> Answer {
        let kept = Some(PLAYLIST_AGE).filter(|_| self.id.is_none());
        answers::playlist(vec![text.into()], PLAYLIST_TYPE, kept)
    }

    /// True if it wants the manifest of DASH.
    pub(super) fn is_for_manifest(&self) -> bool {
        matches!(self.wanted, Wanted::Manifest)
    }

    /// The answer when the time is over.
    pub(super) fn overdue(&self) -> Answer {
        match &self.wanted {
            Wanted::Playlist(PlaylistRequest { segment: Some(_), .. }) => answers::late(),
            Wanted::Part(_) | Wanted::Next(_) => answers::gone("what comes next did not come in time"),
            Wanted::Playlist(_) | Wanted::Manifest if self.is_there => {
                answers::gone("nothing that can be segmented came in time")
            }
            Wanted::Playlist(_) | Wanted::Manifest => answers::gone("the stream is not published"),
        }
    }
}

/// One stream that is segmented.
#[derive(Debug)]
pub(super) struct Channel<T> {
    key: ChannelKey,
    pub(super) settings: hls::Settings,
    pub(super) segmenter: Segmenter,
    player: Player,
    /// The publication of the log that is on.
    publication: Option<u64>,
    /// The number of the last publication for the segmenter.
    last_id: u64,
    pub(super) waiting: Vec<Waiting<T>>,
    pub(super) last_request: Instant,
    /// The version for which those that wait were decided about.
    decided: u64,
    /// The number of the next segment to tell.
    next_told: u64,
    shelf: Shelf,
    /// The stream whose quality this is, if it has several.
    pub(super) of: Option<StreamKey>,
    /// The tracks of the publication that is on.
    pub(super) tracks: Tracks,
    /// True once a request for the stream was answered with its only playlist.
    pub(super) is_single: bool,
    /// By how many milliseconds it comes later than what it is made from.
    late: i64,
    /// When something came for its segments.
    newest: Option<Instant>,
    /// How many segments there have been, and when the last one was complete.
    completed: (u64, Instant),
    /// When another quality had one more discontinuity.
    pub(super) breaks_since: Option<Instant>,
}

/// What is known of the times of a stream's other qualities.
#[derive(Debug)]
pub(super) struct OtherTimes {
    /// Milliseconds since 1970 at media time 0, once it is known.
    pub(super) zero: Option<u64>,
    /// Moments of the same stream, each with its publication.
    pub(super) same: Vec<(Option<u64>, Moment)>,
    /// A moment of the stream from which this one may be made, and how many milliseconds it is behind that at most.
    pub(super) source: Option<(Moment, i64)>,
}

/// How far the timestamps of a stream that is made from another one may be ahead of those, in milliseconds: sound and
/// pictures do not come in the order of their times.
const LEAD: i64 = 1000;

impl OtherTimes {
    /// The moment of the first frame of a publication. `newest` is the timestamp of the frame that came with the least
    /// delay: the first one may come late, with others from the last key frame on. `arrival` is when the first one would have
    /// come with that delay, in milliseconds since 1970.
    pub(super) fn first(&self, publication: u64, timestamp: u32, newest: u32, arrival: u64) -> Moment {
        let same = self.same.iter().find(|(known, _)| *known == Some(publication)).map(|(_, moment)| moment);
        let source = self.source.as_ref().filter(|(source, longest)| {
            let delay = i64::from(source.timestamp.wrapping_sub(newest) as i32);
            (-LEAD..=*longest).contains(&delay)
        });
        let known = same.or_else(|| source.map(|(source, _)| source));
        let wall = known.map_or(arrival, |moment| moment.wall_at(timestamp));
        let media = self.zero.map_or(timestamp.into(), |zero| wall.saturating_sub(zero));
        Moment { timestamp, media, wall }
    }
}

/// The text of playlists, made once for all viewers.
#[derive(Default)]
struct Shelf {
    version: u64,
    whole: Option<Bytes>,
    skipped: Option<Bytes>,
    manifest: Option<(ManifestVersion, Manifest)>,
}

/// What a manifest was made for.
type ManifestVersion = (Option<u64>, Option<u64>, bool);

/// Without the texts.
impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("version", &self.version).finish_non_exhaustive()
    }
}

impl<T> Channel<T> {
    pub(super) fn new(
        now: Instant,
        key: ChannelKey,
        settings: hls::Settings,
        segmenter: Segmenter,
        player: Player,
    ) -> Self {
        Channel {
            key,
            settings,
            segmenter,
            player,
            publication: None,
            last_id: 0,
            waiting: Vec::new(),
            last_request: now,
            decided: 0,
            next_told: 0,
            shelf: Shelf::default(),
            of: None,
            tracks: Tracks::default(),
            is_single: false,
            late: 0,
            newest: None,
            completed: (0, now),
            breaks_since: None,
        }
    }

    pub(super) fn stream(&self) -> StreamId {
        self.player.stream_id()
    }

    pub(super) fn is_live(&self) -> bool {
        self.player.is_live()
    }

    /// True while it has what the stream's fallback plays.
    pub(super) fn is_fallback(&self) -> bool {
        self.player.is_fallback()
    }

    /// Has other servers send the stream.
    pub(super) fn want(&mut self) {
        self.player.want();
    }

    /// True if no other server has the stream.
    pub(super) fn is_absent(&self) -> bool {
        !self.is_live() && self.player.is_absent()
    }

    /// The number of the publication that is on.
    pub(super) fn publication(&self) -> Option<u64> {
        self.publication
    }

    /// True if nothing has come for its segments for so long that players had better choose another quality.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        let silence = Duration::from_secs(u64::from(SILENCE * self.target()));
        match self.newest {
            Some(newest) => now.saturating_duration_since(newest) >= silence,
            None => !self.is_live(),
        }
    }

    /// Takes what is new from the log. `others` is what is known of the times of the stream's other qualities.
    pub(super) fn pump(&mut self, now: Instant, clock: &Clock, others: Option<&OtherTimes>) {
        self.take_all(now, clock, others);
        let segments = self.segmenter.stats().segments;
        if self.completed.0 != segments {
            self.completed = (segments, now);
        }
    }

    fn take_all(&mut self, now: Instant, clock: &Clock, others: Option<&OtherTimes>) {
        let mut before = None;
        loop {
            let mut frames = Vec::new();
            let end = self.pull(&mut frames);
            let begun = self.player.begun();
            if self.publication.is_some_and(|publication| publication != begun) {
                self.end(clock.steady(now));
            }
            let first = frames.iter().find(|frame| frame.class().is_coded()).map(Frame::timestamp);
            if let Some((timestamp, came)) = self.player.dated() {
                let date = clock.date(came);
                if let (None, Some(first)) = (self.publication, first) {
                    // Different from all others of the stream, also from those before a restart.
                    self.last_id = clock.steady(now).max(self.last_id + 1);
                    let distance = first.wrapping_sub(timestamp) as i32;
                    let arrival = date.saturating_add_signed(distance.into());
                    self.late = 0;
                    match others {
                        Some(others) => {
                            let moment = others.first(begun, first, timestamp, arrival);
                            self.late = arrival.wrapping_sub(moment.wall) as i64;
                            self.segmenter.begin_at(self.last_id, moment);
                        }
                        None => self.segmenter.begin(self.last_id, arrival),
                    }
                    self.publication = Some(begun);
                    self.tracks = Tracks::default();
                    let group = self.player.longest_group().unwrap_or_default();
                    self.segmenter.expect_group(Duration::from_millis(group.into()));
                }
                self.segmenter.date(timestamp, date.saturating_add_signed(-self.late));
            }
            for frame in &frames {
                self.take(now, frame);
            }
            match end {
                PullEnd::Pending => return,
                PullEnd::Full => {}
                PullEnd::Ended(_) => {
                    self.end(clock.steady(now));
                    if frames.is_empty() && before == Some(begun) {
                        return;
                    }
                }
            }
            before = Some(begun);
        }
    }

    /// Ends the playlist, and takes what comes for the next one from `player`.
    pub(super) fn begin_again(&mut self, steady: u64, player: Player) {
        self.end(steady);
        self.segmenter.end_playlist();
        self.player = player;
    }

    /// The publication is over, if there is one.
    fn end(&mut self, steady: u64) {
        if self.publication.take().is_some() {
            self.segmenter.end(steady);
        }
    }

    fn pull(&mut self, frames: &mut Vec<Frame>) -> PullEnd {
        let Pulled { end, .. } = self.player.pull(|frame| {
            frames.push(frame.clone());
            frames.len() < BATCH
        });
        end
    }

    fn take(&mut self, now: Instant, frame: &Frame) {
        if frame.is_header() && frame.kind() != FrameKind::Data {
            let body = frame.payload();
            let segmenter = &mut self.segmenter;
            let slots = match frame.kind() {
                FrameKind::Video => video_header_slots(&body),
                _ => audio_header_slots(&body),
            };
            for slot in slots.filter(|slot| slot.kind == HeaderKind::SequenceHeader) {
                segmenter.header(slot.codec, slot.track, slot.payload);
            }
        }
        let (key, newest, tracks) = (&self.key, &mut self.newest, &mut self.tracks);
        frame.access_units(|unit| {
            tracks.note(unit.codec, unit.track);
            if key.has(unit.codec, unit.track) {
                *newest = Some(now);
                self.segmenter.push(unit);
            }
        });
    }

    /// The segments that are complete and were not taken yet.
    pub(super) fn take_complete(&mut self) -> Vec<Complete> {
        let complete: Vec<_> = self.segmenter.complete_from(self.next_told).collect();
        if let Some(last) = complete.last() {
            self.next_told = last.number + 1;
        }
        complete
    }

    /// True if [`has_changed`](Self::has_changed) says so next.
    pub(super) fn is_changed(&self) -> bool {
        self.segmenter.version() != self.decided
    }

    /// True if those that wait are to be decided about again.
    pub(super) fn has_changed(&mut self) -> bool {
        let version = self.segmenter.version();
        std::mem::replace(&mut self.decided, version) != version
    }

    /// The answer to a request; `None` while it waits.
    pub(super) fn decide(&mut self, time: Time, waiting: &mut Waiting<T>) -> Option<Answer> {
        let decision = match &waiting.wanted {
            Wanted::Playlist(request) => self.segmenter.decide(request),
            Wanted::Manifest if self.settings.config.container == Container::MpegTs => {
                return Some(answers::gone("DASH needs fragmented MP4, and this stream has transport streams"));
            }
            Wanted::Manifest => self.segmenter.decide(&PlaylistRequest::default()),
            Wanted::Part(name) => match self.segmenter.find(name) {
                Found::Media(media) => return Some(answers::segment(media, self.max_age())),
                Found::Missing | Found::ForViewers(_) | Found::Next => {
                    return Some(answers::gone("the part does not come"));
                }
                Found::Later => self.wait_for_next(),
            },
            Wanted::Next(name) => match self.segmenter.find(name) {
                Found::Next => self.wait_for_next(),
                _ => return Some(answers::gone("the manifest has something new")),
            },
        };
        match decision {
            Decision::BadRequest => Some(answers::too_far_ahead()),
            Decision::Wait(time_left) => {
                let is_there = self.segmenter.has_segments() || self.player.is_live();
                if is_there {
                    let until = if self.segmenter.has_segments() {
                        waiting.since + time_left
                    } else {
                        time.now + time_left.max(waiting.wait)
                    };
                    waiting.waits_for_media(until);
                }
                None
            }
            Decision::Now => Some(self.text(time, waiting)),
        }
    }

    /// Something new comes within that, or not at all.
    fn wait_for_next(&self) -> Decision {
        Decision::Wait(Duration::from_secs(u64::from(SILENCE * self.target())))
    }

    fn text(&mut self, time: Time, waiting: &Waiting<T>) -> Answer {
        let none = || answers::gone("the stream is not published");
        let kept = |age: u32| Some(age).filter(|_| waiting.id.is_none());
        match &waiting.wanted {
            Wanted::Playlist(request) => {
                let Some(text) = self.playlist(request.skip) else { return none() };
                // The answer to a number is the same until the playlist has moved on by that much.
                let age = if request.segment.is_some() { 6 * self.target() } else { PLAYLIST_AGE };
                answers::playlist(vec![text], PLAYLIST_TYPE, kept(age))
            }
            _ => {
                let location = waiting.id.map(|id| answers::address(&waiting.file, &waiting.own, Some(id), None));
                let since = time.now.saturating_duration_since(self.completed.1);
                let Some(manifest) = self.manifest() else { return none() };
                let pieces = manifest.pieces(location.as_deref(), manifest.clock(time.wall, since));
                answers::playlist(pieces, http::Container::Dash.media_type(), kept(PLAYLIST_AGE))
            }
        }
    }

    fn manifest(&mut self) -> Option<&Manifest> {
        let version = self.segmenter.manifest_version();
        if self.shelf.manifest.as_ref().is_none_or(|(of, _)| *of != version) {
            self.shelf.manifest = self.segmenter.manifest().map(|manifest| (version, manifest));
        }
        self.shelf.manifest.as_ref().map(|(_, manifest)| manifest)
    }

    fn playlist(&mut self, skip: bool) -> Option<Bytes> {
        let version = self.segmenter.version();
        if self.shelf.version != version {
            self.shelf = Shelf { version, manifest: self.shelf.manifest.take(), ..Shelf::default() };
        }
        let place = if skip { &mut self.shelf.skipped } else { &mut self.shelf.whole };
        if place.is_none() {
            let request = PlaylistRequest { skip, ..PlaylistRequest::default() };
            *place = self.segmenter.media_playlist(&request, &[]).map(Bytes::from);
        }
        place.clone()
    }

    fn target(&self) -> u32 {
        self.segmenter.target().unwrap_or(LONGEST_TARGET)
    }

    /// How long caches may keep a segment, in seconds: as long as a playlist lists it.
    pub(super) fn max_age(&self) -> u32 {
        u32::try_from(self.settings.config.window).unwrap_or(u32::MAX).saturating_mul(self.target())
    }

    /// True if nothing needs it any more.
    pub(super) fn is_over(&self, now: Instant, is_viewed: bool) -> bool {
        if is_viewed || !self.waiting.is_empty() {
            return false;
        }
        let is_live = self.player.is_live();
        if is_live && self.settings.mode == Mode::Always {
            return false;
        }
        let holds = self.segmenter.has_segments() && !self.segmenter.has_ended();
        // Nothing is lost with one that never had a frame.
        let idle = match self.last_id {
            0 => Duration::ZERO,
            _ => IDLE.max(Duration::from_secs(u64::from(SILENCE * self.target()))),
        };
        let is_idle = now.saturating_duration_since(self.last_request) >= idle;
        // While it holds the playlist open, a publisher may come back.
        is_idle && (is_live || !holds)
    }
}
