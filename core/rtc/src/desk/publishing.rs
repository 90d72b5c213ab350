//! Peers that publish.

use std::time::{Duration, Instant};

use anabranch_core::flv::Codec;
use anabranch_core::packager::Ticket;

use super::session::{Kind, Session, Stage};
use super::{Desk, Effect, SessionId};
use crate::peer::{Medium, Unit};
use crate::publication::Publication;

/// A publisher is asked for a key frame at most so often.
const ASK: Duration = Duration::from_secs(1);
/// Browsers send key frames only if they are asked. Players that join, segments and recordings need them now and then.
const KEY_INTERVAL: Duration = Duration::from_secs(2);

/// What a peer that publishes has sent.
#[derive(Debug)]
pub(super) struct Publishing {
    publication: Publication,
    wants_key: bool,
    /// When it was asked for a key frame.
    asked: Option<Instant>,
    /// When one came, or was asked for.
    last_key: Option<Instant>,
}

impl Publishing {
    pub(super) fn new(media: &[Medium]) -> Self {
        Publishing { publication: Publication::new(media), wants_key: false, asked: None, last_key: None }
    }

    /// When it is to be asked for a key frame.
    pub(super) fn due(&self) -> Option<Instant> {
        let asked = self.asked.filter(|_| self.wants_key)?;
        Some(asked + ASK)
    }

    fn note(&mut self, now: Instant, unit: &Unit) {
        let is_video = matches!(unit.codec, Codec::Video(_));
        if is_video && unit.is_key {
            (self.last_key, self.wants_key) = (Some(now), false);
        }
        let is_old = |last: Instant| now.saturating_duration_since(last) >= KEY_INTERVAL;
        self.wants_key |= self.publication.wants_key() || is_video && self.last_key.is_none_or(is_old);
    }

    /// True if it is to be asked now.
    fn takes_wish(&mut self, now: Instant) -> bool {
        let is_time = self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ASK);
        if !self.wants_key || !is_time {
            return false;
        }
        (self.asked, self.wants_key) = (Some(now), false);
        self.last_key = Some(now);
        true
    }
}

impl<T: Ticket> Desk<T> {
    /// A publisher has sent something.
    pub(super) fn published(&mut self, now: Instant, number: SessionId, unit: &Unit) {
        let done = self.contained(number, |desk| {
            let Some(Session { stage: Stage::Open(open), .. }) = desk.sessions.get_mut(&number) else { return };
            let Kind::Publisher(publishing) = &mut open.kind else { return };
            for message in publishing.publication.unit(unit) {
                desk.effects.push_back(Effect::Publish(number, message));
            }
            publishing.note(now, unit);
        });
        if done.is_some() {
            self.ask_if_due(now, number);
        }
    }

    /// Something needs a key frame of a publisher.
    pub(super) fn want_key(&mut self, now: Instant, number: SessionId) {
        let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number) else { return };
        if let Kind::Publisher(publishing) = &mut open.kind {
            publishing.wants_key = true;
            self.ask_if_due(now, number);
        }
    }

    /// Asks a publisher for a key frame, if one is wanted and it is not too soon.
    pub(super) fn ask_if_due(&mut self, now: Instant, number: SessionId) {
        let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number) else { return };
        let Kind::Publisher(publishing) = &mut open.kind else { return };
        if open.is_connected && publishing.takes_wish(now) {
            open.peer.ask_for_key(now);
        }
        self.drain(now, number, None);
    }
}
