use std::sync::Arc;
use std::time::{Duration, Instant};

use super::application::Application;
use super::ask::StreamFacts;
use super::{LeftOut, Remark};
use crate::capture::Capturing;
use crate::command::reply::{self, Level};
use crate::hub::{Player, PullEnd, Pulled, Slowness, StreamId};
use crate::message::UserControl;
use crate::session::{Delivery, Due, DueKind, PlayRequest, Session, Track};
use crate::source::{Batch, Contents, Form, Frame, FrameKind, Gap, Place};
use crate::stats::ConnStats;
use crate::time_limit::TimeLimit;
use crate::url::StreamKey;

/// One message stream that plays.
#[derive(Debug)]
pub(super) struct Playing {
    /// Message stream id.
    message_stream_id: u32,
    player: Player,
    paused: bool,
    audio: bool,
    video: VideoState,
    /// True once the player got the message that the publisher is gone.
    told: bool,
    /// True if the player takes multitrack messages.
    multitrack: bool,
    /// True if it takes Opus, as it has announced, or as all players by HTTP do.
    opus: bool,
    /// True once the log has a remark that it does not get the sound.
    is_silent: bool,
    duration: PlayLength,
    application: Arc<Application>,
    by_pass: bool,
    /// What the back end was asked about it, if it was: the back end gets a notice of the end.
    asked: Option<StreamFacts>,
    /// True once it has missed more than its limit.
    too_slow: bool,
    /// How long it may wait for a publisher, while there is none.
    waiting: Option<TimeLimit>,
    /// When its publisher was gone, and how long the publisher may take to come back before the player gets a message.
    grace: Option<(Instant, TimeLimit)>,
    /// True once it has waited for too long.
    in_vain: bool,
    /// Whether it plays only to the end of the GOP, and whether that end has come.
    finishing: bool,
    finished: bool,
    /// True until it was served after a pause: the client wanted to miss the frames of the pause.
    resumed: bool,
    left_out: LeftOut,
    slowness: Slowness,
    beginning: Beginning,
    /// How it gets the stream, if that is in another way than through its connection: it gets no frames here, and only
    /// makes the stream a wanted one.
    elsewhere: Option<Delivery>,
}

/// Whether a player gets frames. A player that waits for a publisher is reported, and once more when the stream begins.
/// `since` is when the wait began, `reported` when the last report was that it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    New,
    /// The wait is reported.
    Waits {
        since: Instant,
        reported: Instant,
    },
    Gets {
        reported: Option<Instant>,
    },
    /// It waits again so soon after the last report that this wait is reported later, if it still lasts then.
    WaitsSilently {
        since: Instant,
        reported: Instant,
    },
}

/// How often a player is reported to wait: a publisher that comes and goes would fill the log with the lines of its
/// players.
const WAITS_EACH: Duration = Duration::from_secs(60);

/// How long to play, in milliseconds of the stream's time. RTMP 1.0 §7.2.2.1 says seconds, but librtmp, the one client
/// known to use it for live streams (`rtmpdump --stop`), sends milliseconds, and SRS reads them so.
#[derive(Debug, Clone, Copy)]
enum PlayLength {
    Unlimited,
    /// Nothing played yet.
    Of(u32),
    /// For so long, from this timestamp on.
    From(u32, u32),
    Over,
}

impl PlayLength {
    /// Zero and negative numbers mean all of it.
    fn of(argument: f64) -> Self {
        if argument >= 1.0 { PlayLength::Of(argument.min(f64::from(i32::MAX)) as u32) } else { PlayLength::Unlimited }
    }

    /// Counts a frame; true while it is still to be played.
    fn covers(&mut self, frame: &Frame) -> bool {
        match *self {
            PlayLength::Unlimited => return true,
            // The timestamp of such a frame may be meaningless.
            _ if !frame.class().is_coded() => return true,
            PlayLength::Of(length) => *self = PlayLength::From(length, frame.timestamp()),
            // Audio and video interleave: a frame may lie a little before the first.
            PlayLength::From(length, start) => {
                let played = frame.timestamp().wrapping_sub(start);
                if played >= length && played < 1 << 31 {
                    *self = PlayLength::Over;
                }
            }
            PlayLength::Over => {}
        }
        !matches!(self, PlayLength::Over)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum VideoState {
    On,
    Off,
    /// Turned on again: plays from the next key frame, or without one if none comes for too long after the first
    /// picture.
    AwaitingKey {
        since: Option<Instant>,
    },
}

impl Playing {
    pub(super) fn new(
        request: &PlayRequest,
        player: Player,
        (understands_multitrack, opus): (bool, bool),
        application: Arc<Application>,
        asked: Option<StreamFacts>,
        by_pass: bool,
        elsewhere: Option<Delivery>,
    ) -> Self {
        Playing {
            message_stream_id: request.message_stream_id(),
            player,
            opus,
            is_silent: false,
            multitrack: understands_multitrack || application.config.multitrack_to_all,
            application,
            by_pass,
            asked,
            too_slow: false,
            waiting: None,
            grace: None,
            in_vain: false,
            finishing: false,
            finished: false,
            resumed: false,
            left_out: LeftOut::default(),
            slowness: Slowness::default(),
            beginning: Beginning::New,
            elsewhere,
            paused: false,
            audio: true,
            video: VideoState::On,
            told: false,
            duration: PlayLength::of(request.arguments().duration),
        }
    }

    /// True when the player has got as much as it asked for.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.duration, PlayLength::Over)
    }

    pub(super) fn message_stream_id(&self) -> u32 {
        self.message_stream_id
    }

    /// The application of its stream.
    pub(super) fn application(&self) -> &Arc<Application> {
        &self.application
    }

    /// Whether a pass permitted it.
    pub(super) fn is_by_pass(&self) -> bool {
        self.by_pass
    }

    pub(super) fn key(&self) -> &StreamKey {
        self.player.key()
    }

    pub(super) fn stream(&self) -> StreamId {
        self.player.stream_id()
    }

    /// The stream's number, unique in the process.
    pub(super) fn stream_number(&self) -> u64 {
        self.player.stream_number()
    }

    /// Plays to the end of the GOP and no further.
    pub(super) fn finish(&mut self) {
        self.finishing = true;
        // There is no GOP here to end.
        self.finished |= self.elsewhere.is_some();
    }

    /// Plays on after that GOP, even if its end has come and the connection is still open.
    pub(super) fn go_on(&mut self) {
        (self.finishing, self.finished) = (false, false);
    }

    /// True once its publisher is gone for so long that it was told so.
    pub(super) fn is_told(&self) -> bool {
        self.told
    }

    /// True once the end of that GOP has come.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// True once it has missed more at one time than its limit.
    pub(super) fn is_too_slow(&self) -> bool {
        self.too_slow
    }

    /// True once it has waited for a publisher for too long.
    pub(super) fn is_in_vain(&self) -> bool {
        self.in_vain
    }

    /// Takes what the back end was asked about it.
    pub(super) fn take_asked(&mut self) -> Option<StreamFacts> {
        self.asked.take()
    }

    /// What it has not got yet.
    pub(super) fn unsent(&self) -> Gap {
        self.player.unsent()
    }

    pub(super) fn left_out(&self) -> LeftOut {
        LeftOut { undecodable: self.player.undecodable(), ..self.left_out }
    }

    /// True if its stream has dropped the frame that it got last.
    pub(super) fn outlives_last(&self) -> bool {
        self.player.outlives_last()
    }

    /// Its place in the stream, if it gets all that comes next unchanged.
    pub(super) fn fast_path_place(&self, session: &Session) -> Option<(Form, Place)> {
        let takes_all = !self.paused && self.audio && self.video == VideoState::On;
        let goes_on =
            matches!(self.duration, PlayLength::Unlimited) && !self.finishing && !self.finished && !self.too_slow;
        let as_encoded = self.message_stream_id == Frame::MESSAGE_STREAM_ID;
        if !(takes_all && goes_on && as_encoded) || self.told {
            return None;
        }
        let form = session.form(self.player.format().chunk_size)?;
        self.player.place().map(|place| (form, place))
    }

    /// What it takes as it is.
    pub(super) fn takes(&self) -> Contents {
        if self.opus { Contents::ALL } else { Contents::ALL.without(Contents::ANNOUNCED) }
    }

    /// What follows at that place, in its form.
    pub(super) fn batch(&self, form: Form, place: &Place, most: usize) -> Option<Batch> {
        self.player.batch_as(form, place, most)
    }

    /// It has got all frames up to that place.
    pub(super) fn pass_to(&mut self, place: Place) {
        self.player.pass_to(place);
    }

    /// It has got all frames from `from` up to that place, and was called during the write.
    pub(super) fn pass_late(&mut self, from: &Place, place: Place) -> bool {
        self.player.pass_late(from, place)
    }

    /// A player that resumes gets the live stream, not what it missed.
    pub(super) fn pause(&mut self, paused: bool) {
        if self.paused && !paused {
            self.player.restart();
            self.resumed = true;
        }
        self.paused = paused;
    }

    pub(super) fn receive(&mut self, track: Track, on: bool) {
        match track {
            Track::Audio => self.audio = on,
            Track::Video if !on => self.video = VideoState::Off,
            Track::Video if self.video == VideoState::Off => self.video = VideoState::AwaitingKey { since: None },
            Track::Video => {}
        }
    }

    /// Moves what is new from the stream into the session's outbound queue, up to the high-water mark. Returns when to
    /// check again if the stream has no publisher, or if the player is slow.
    pub(super) fn pull(
        &mut self,
        now: Instant,
        session: &mut Session,
        stats: &mut ConnStats,
        mut capturing: Option<&mut Capturing>,
        remarks: &mut Vec<Remark>,
    ) -> Option<Due> {
        match self.elsewhere {
            // How long it waits depends on its requests.
            Some(delivery) if delivery.is_segmented() => {
                self.in_vain = !self.player.is_live() && self.player.is_absent();
                return None;
            }
            Some(_) => return self.watch(now, session, remarks),
            None => {}
        }
        let config = &self.application.config;
        if self.finished || self.in_vain {
            return None;
        }
        if self.paused {
            // Looks for a publisher only after a long pause.
            self.in_vain = self.is_absent(now, capturing.as_deref_mut());
            if self.in_vain {
                return None;
            }
            if let Some(next_check) = self.wait(now) {
                return Some(next_check);
            }
            let absent = !self.player.is_live();
            self.in_vain = capturing.map_or(absent, |capturing| capturing.absent(now, absent));
            self.waiting = None;
            return if self.in_vain { None } else { self.wait(now) };
        }
        if session.media_held() >= config.high_water {
            if session.holds_media_back() {
                // It begins at a time that the session knows.
                return None;
            }
            // It takes nothing, and the stream goes on without it.
            stats.set_lag(self.player.behind());
            return self.find_stuck(now, session.outbound().written(), remarks);
        }
        let live = capturing.as_deref().and_then(Capturing::recorded_live);
        let live = self.told && live.unwrap_or_else(|| self.player.is_live());
        if live {
            self.told = false;
            tell_published(self.message_stream_id, self.player.key().stream(), session);
        }
        let (message_stream_id, multitrack, audio) = (self.message_stream_id, self.multitrack, self.audio);
        let (opus, is_silent) = (self.opus, &mut self.is_silent);
        let was_silent = *is_silent;
        let (video, duration) = (&mut self.video, &mut self.duration);
        let left_out = &mut self.left_out;
        let longest = config.start_limits.wait * GROUPS;
        let (finishing, finished) = (self.finishing, &mut self.finished);
        let (mut drawn, mut queued) = (false, 0);
        let sink = |frame: &Frame| {
            *finished |= finishing && frame.is_join_point();
            if *finished || !duration.covers(frame) {
                return false;
            }
            drawn = true;
            let changed = (!opus && frame.is_for_announced()).then(|| frame.without_sound());
            let frame = match &changed {
                None => Some(frame),
                Some(changed) => changed.as_ref(),
            };
            let Some(frame) = frame else {
                left_out.unannounced += 1;
                *is_silent = true;
                return session.media_held() < config.high_water;
            };
            match frame.for_player(multitrack) {
                None => left_out.multitrack += 1,
                Some(frame) if !wanted(frame, audio, video, now, longest) => left_out.unwanted += 1,
                Some(frame) => {
                    // One connection may play streams of several hosts, and streams from before a change of settings.
                    session.set_chunk_size(frame.chunk_size());
                    session.send_frame(message_stream_id, frame);
                    queued += 1;
                }
            }
            session.media_held() < config.high_water
        };
        let Pulled { missed, end } = match capturing.as_deref_mut() {
            None => self.player.pull(sink),
            Some(capturing) => capturing.pull(now, message_stream_id, live, sink, |sink| self.player.pull(sink)),
        };
        if self.is_silent && !was_silent {
            remarks.push(Remark::NoSound(self.player.key().clone()));
        }
        if queued > 0 {
            stats.queued_frames(now, queued);
        }
        if missed.frames > 0 {
            // What clients miss is counted here and nowhere else; their reports take it from these statistics.
            stats.dropped(missed);
            let resumed = std::mem::take(&mut self.resumed);
            self.too_slow |=
                !resumed && config.max_gap.is_some_and(|most| u128::from(missed.milliseconds) > most.as_millis());
            if !resumed && self.slowness.missed(now, missed) {
                let (key, behind) = (self.player.key().clone(), 0);
                remarks.push(Remark::Slow { key, missed, behind });
            }
        }
        stats.set_lag(if end == PullEnd::Full { self.player.behind() } else { 0 });
        let slow = match end {
            PullEnd::Full if session.holds_media_back() => None,
            PullEnd::Full => self.find_stuck(now, session.outbound().written(), remarks),
            PullEnd::Pending | PullEnd::Ended(_) => self.find_keeping_up(now, remarks),
        };
        let silent = self.remark_beginning(now, drawn, end, remarks);
        let PullEnd::Ended(ended) = end else {
            if end == PullEnd::Pending || drawn {
                self.waiting = None;
            }
            return slow;
        };
        if self.is_absent(now, capturing) {
            self.in_vain = true;
            return None;
        }
        let Some(next_check) = self.wait(now) else {
            self.in_vain = true;
            return None;
        };
        let told = ended.and_then(|ended| self.end_grace(now, ended, session));
        Due::first(told.into_iter().chain([next_check]).chain(slow).chain(silent))
    }

    /// It gets the stream in another way. Looks whether there is one. Returns when to look again.
    fn watch(&mut self, now: Instant, session: &mut Session, remarks: &mut Vec<Remark>) -> Option<Due> {
        if self.finished || self.in_vain {
            return None;
        }
        if self.player.is_live() {
            self.waiting = None;
            return self.remark_beginning(now, true, PullEnd::Pending, remarks);
        }
        let ended = self.player.ended();
        let silent = self.remark_beginning(now, false, PullEnd::Ended(ended), remarks);
        self.in_vain = self.player.is_absent();
        let next_check = if self.in_vain { None } else { self.wait(now) };
        self.in_vain |= next_check.is_none();
        let told = ended.filter(|_| !self.in_vain).and_then(|ended| self.end_grace(now, ended, session));
        Due::first(told.into_iter().chain(next_check).chain(silent))
    }

    /// Its queue is full. Returns when to check again whether it takes anything.
    fn find_stuck(&mut self, now: Instant, written: u64, remarks: &mut Vec<Remark>) -> Option<Due> {
        let (begins, due) = self.slowness.is_full(now, written);
        if begins {
            let (key, behind) = (self.player.key().clone(), self.player.behind());
            remarks.push(Remark::Slow { key, missed: Gap::default(), behind });
        }
        due
    }

    /// It has got all frames. Returns when to check again if it was slow until a short time ago.
    fn find_keeping_up(&mut self, now: Instant, remarks: &mut Vec<Remark>) -> Option<Due> {
        let (over, due) = self.slowness.has_all(now);
        if let Some((time, missed)) = over {
            remarks.push(Remark::KeepsUp { key: self.player.key().clone(), time, missed });
        }
        due
    }

    /// Called when it begins: if it waits for a publisher, that is reported.
    pub(super) fn waits_from(&mut self, now: Instant) -> Option<Remark> {
        if self.player.is_live() {
            return None;
        }
        self.beginning = Beginning::Waits { since: now, reported: now };
        Some(Remark::Waits(self.player.key().clone()))
    }

    /// Returns when to check again whether it waits.
    fn remark_beginning(&mut self, now: Instant, drawn: bool, end: PullEnd, remarks: &mut Vec<Remark>) -> Option<Due> {
        let key = || self.player.key().clone();
        if drawn {
            self.beginning = match self.beginning {
                Beginning::Waits { since, reported } => {
                    remarks.push(Remark::Began { key: key(), waited: now.saturating_duration_since(since) });
                    Beginning::Gets { reported: Some(reported) }
                }
                Beginning::WaitsSilently { reported, .. } => Beginning::Gets { reported: Some(reported) },
                Beginning::New => Beginning::Gets { reported: None },
                same @ Beginning::Gets { .. } => same,
            };
        }
        if !matches!(end, PullEnd::Ended(_)) {
            return None;
        }
        let (since, reported) = match self.beginning {
            Beginning::New => {
                remarks.push(Remark::Waits(key()));
                self.beginning = Beginning::Waits { since: now, reported: now };
                return None;
            }
            Beginning::Waits { .. } => return None,
            Beginning::Gets { reported } => (now, reported),
            Beginning::WaitsSilently { since, reported } => (since, Some(reported)),
        };
        if let Some(reported) = reported
            && now.saturating_duration_since(reported) < WAITS_EACH
        {
            self.beginning = Beginning::WaitsSilently { since, reported };
            return Some(Due::new(reported + WAITS_EACH, DueKind::WaitForStream));
        }
        remarks.push(Remark::WaitsAgain(key()));
        self.beginning = Beginning::Waits { since, reported: now };
        None
    }

    /// True if no origin has the stream.
    fn is_absent(&self, now: Instant, capturing: Option<&mut Capturing>) -> bool {
        let absent = self.player.is_absent();
        capturing.map_or(absent, |capturing| capturing.absent_at_origins(now, absent))
    }

    /// There is no publisher: returns when to check again whether it has waited for too long; none if it has.
    fn wait(&mut self, now: Instant) -> Option<Due> {
        let longest = self.application.config.session.timeouts.wait_for_stream;
        let waiting = self.waiting.get_or_insert_with(|| TimeLimit::new(now, longest));
        if waiting.is_over(now) { None } else { Some(Due::new(waiting.next_check(), DueKind::WaitForStream)) }
    }

    /// Tells the player, after the time for it, that the publisher is gone. Returns when to check that.
    fn end_grace(&mut self, now: Instant, ended: Instant, session: &mut Session) -> Option<Due> {
        // A player that came after the publisher had gone waits like one that came before any publisher. A player that
        // came before that gets the message, even if it got no frame.
        if self.told {
            return None;
        }
        let mut time = self.application.config.unpublish_grace;
        if self.application.config.fallback.is_some() {
            // It begins in a moment.
            time = time.max(FALLBACK_BEGINS);
        }
        let (_, grace) = match &mut self.grace {
            Some(grace) if grace.0 == ended => grace,
            // The new publisher may wait to be accepted, if the process was stopped.
            other => other.insert((ended, TimeLimit::new(ended, time))),
        };
        if !grace.is_over(now) {
            return Some(Due::new(grace.next_check(), DueKind::UnpublishNotice));
        }
        self.tell_unpublished(session);
        None
    }

    /// FFmpeg and rtmpdump end cleanly at this; other players wait for the next publisher.
    pub(super) fn tell_unpublished(&mut self, session: &mut Session) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        session.send_user_control(UserControl::StreamEof(self.message_stream_id));
        let description = format!("{} is now unpublished.", self.player.key().stream());
        let notice = reply::on_status(Level::Status, "NetStream.Play.UnpublishNotify", &description);
        session.send_status(self.message_stream_id, &notice);
    }
}

fn tell_published(message_stream_id: u32, name: &str, session: &mut Session) {
    session.send_user_control(UserControl::StreamBegin(message_stream_id));
    let description = format!("{name} is now published.");
    let notice = reply::on_status(Level::Status, "NetStream.Play.PublishNotify", &description);
    session.send_status(message_stream_id, &notice);
}

/// How long the fallback of a stream may take to begin before its players are told that the publisher is gone.
const FALLBACK_BEGINS: Duration = Duration::from_secs(5);

/// A player that turned video on again waits so many times as long for a key frame as one that begins: it shows a
/// picture already, and GOPs may be longer.
const GROUPS: u32 = 4;

/// Headers always go out, so that a track turned on again finds its decoder ready.
fn wanted(frame: &Frame, audio: bool, video: &mut VideoState, now: Instant, longest: std::time::Duration) -> bool {
    if let VideoState::AwaitingKey { since } = video
        && frame.kind() == FrameKind::Video
        && frame.class().is_coded()
    {
        let since = *since.get_or_insert(now);
        if frame.is_join_point() || now.saturating_duration_since(since) >= longest {
            *video = VideoState::On;
        }
    }
    match frame.kind() {
        FrameKind::Audio => audio || frame.is_header(),
        FrameKind::Video => *video == VideoState::On || frame.is_header(),
        FrameKind::Data => true,
    }
}
