use std::time::Instant;

use super::Config;
use crate::command::reply::{self, Level};
use crate::hub::{Player, Pulled, StreamId};
use crate::message::UserControl;
use crate::session::{Session, Track};
use crate::source::{Frame, FrameKind, Gap};

/// One message stream that plays.
#[derive(Debug)]
pub(super) struct Playing {
    /// Message stream id.
    stream_id: u32,
    player: Player,
    paused: bool,
    audio: bool,
    video: VideoState,
    /// True once the player was told that the publisher is gone.
    told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum VideoState {
    On,
    Off,
    /// Turned on again: from the next key frame.
    AwaitingKey,
}

impl Playing {
    pub(super) fn new(stream_id: u32, player: Player) -> Self {
        Playing { stream_id, player, paused: false, audio: true, video: VideoState::On, told: false }
    }

    pub(super) fn stream_id(&self) -> u32 {
        self.stream_id
    }

    pub(super) fn stream(&self) -> StreamId {
        self.player.stream_id()
    }

    pub(super) fn missed(&self) -> Gap {
        self.player.missed()
    }

    /// A player that resumes gets the live stream, not what it missed.
    pub(super) fn pause(&mut self, paused: bool) {
        if self.paused && !paused {
            self.player.restart();
        }
        self.paused = paused;
    }

    pub(super) fn receive(&mut self, track: Track, on: bool) {
        match track {
            Track::Audio => self.audio = on,
            Track::Video if !on => self.video = VideoState::Off,
            Track::Video if self.video == VideoState::Off => self.video = VideoState::AwaitingKey,
            Track::Video => {}
        }
    }

    /// Moves what is new from the stream into the session's outbound queue, up to the high-water mark. Returns when to
    /// look again if nobody publishes.
    pub(super) fn pull(&mut self, now: Instant, config: &Config, session: &mut Session) -> Option<Instant> {
        if self.paused || session.outbound().len() >= config.high_water {
            return None;
        }
        if self.told && self.player.is_live() {
            self.tell_published(session);
        }
        let (stream_id, audio, video) = (self.stream_id, self.audio, &mut self.video);
        let pulled = self.player.pull(|frame| {
            if wanted(frame, audio, video) {
                session.send_frame(stream_id, frame);
            }
            session.outbound().len() < config.high_water
        });
        let Pulled::Ended(Some(ended)) = pulled else {
            return None;
        };
        let end_of_grace = ended + config.unpublish_grace;
        if self.told {
            return None;
        }
        if end_of_grace > now {
            return Some(end_of_grace);
        }
        self.tell_unpublished(session);
        None
    }

    fn tell_published(&mut self, session: &mut Session) {
        self.told = false;
        session.send_user_control(UserControl::StreamBegin(self.stream_id));
        let description = format!("{} is now published.", self.player.key().stream());
        let notice = reply::on_status(Level::Status, "NetStream.Play.PublishNotify", &description);
        session.send_status(self.stream_id, &notice);
    }

    /// FFmpeg and rtmpdump end cleanly at this; other players wait for the next publisher.
    pub(super) fn tell_unpublished(&mut self, session: &mut Session) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        session.send_user_control(UserControl::StreamEof(self.stream_id));
        let description = format!("{} is now unpublished.", self.player.key().stream());
        let notice = reply::on_status(Level::Status, "NetStream.Play.UnpublishNotify", &description);
        session.send_status(self.stream_id, &notice);
    }
}

/// Headers always go out, so that a track turned on again finds its decoder ready.
fn wanted(frame: &Frame, audio: bool, video: &mut VideoState) -> bool {
    if *video == VideoState::AwaitingKey && frame.is_join_point() {
        *video = VideoState::On;
    }
    match frame.kind() {
        FrameKind::Audio => audio || frame.is_header(),
        FrameKind::Video => *video == VideoState::On || frame.is_header(),
        FrameKind::Data => true,
    }
}
