use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_rtc::desk::{Effect, Remark, Role, SessionId};
use anabranch_rtc::peer::Path;

use super::peers::patience;
use super::remote::{Asked, Stage};
use super::wire::{FromPeer, is_binding_answer};
use super::{RtcSim, SOUND_PATIENCE};

/// Bytes that may be kept of a stream: its pictures since a key frame and those of the group before, and its sound.
const KEPT: usize = 256 << 10;
/// After a publisher has begun, or what is wrong has ended: how long until viewers have its pictures.
const BEGINNING: Duration = Duration::from_secs(4);

/// What was said of each session.
#[derive(Debug, Default)]
pub(super) struct Sessions(BTreeMap<SessionId, Said>);

#[derive(Debug, Default)]
struct Said {
    is_granted: bool,
    is_connected: bool,
    is_gone: bool,
    is_over: bool,
}

impl Sessions {
    pub(super) fn granted(&mut self, session: SessionId) {
        self.0.entry(session).or_default().is_granted = true;
    }

    /// Sessions that are not over.
    pub(super) fn open(&self) -> usize {
        self.0.values().filter(|said| !said.is_over).count()
    }

    fn said(&mut self, session: SessionId, what: &str) -> Result<&mut Said, String> {
        match self.0.get_mut(&session) {
            None => Err(format!("{what}: session {session} has not begun")),
            Some(said) if said.is_over => Err(format!("{what}: session {session} is over")),
            Some(said) => Ok(said),
        }
    }

    fn take(&mut self, effect: &Effect<Asked>) -> Result<(), String> {
        let what = || format!("{effect:?}");
        match effect {
            Effect::Open(opening) => {
                let newest = self.0.last_key_value().map(|(session, _)| *session);
                if newest.is_some_and(|newest| newest >= opening.session) {
                    return Err(format!("{}: the number was used", what()));
                }
                self.0.insert(opening.session, Said::default());
            }
            Effect::Leave(session) => {
                let said = self.said(*session, &what())?;
                said.is_over = true;
                if said.is_connected && !said.is_gone {
                    return Err(format!("{}: nothing has said why", what()));
                }
            }
            Effect::Publish(session, _) => {
                let said = self.said(*session, "media")?;
                if !said.is_connected || said.is_gone {
                    return Err(format!("session {session} publishes, which is not connected"));
                }
            }
            Effect::Sent { session, .. } => {
                let said = self.said(*session, &what())?;
                if said.is_gone {
                    return Err(format!("{}: it is gone", what()));
                }
            }
            Effect::Tell(Remark::Connected { session, .. }) => {
                let said = self.said(*session, &what())?;
                if !said.is_granted || said.is_gone || std::mem::replace(&mut said.is_connected, true) {
                    return Err(format!("{}: {said:?}", what()));
                }
            }
            Effect::Tell(Remark::Gone { session, .. }) => {
                let said = self.said(*session, &what())?;
                if !said.is_granted || std::mem::replace(&mut said.is_gone, true) {
                    return Err(format!("{}: {said:?}", what()));
                }
            }
            Effect::Tell(Remark::Skipped { session, .. }) => {
                let said = self.said(*session, &what())?;
                if !said.is_connected || said.is_gone {
                    return Err(format!("{}: {said:?}", what()));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl RtcSim {
    /// Checks what must hold at each moment. It runs twice a second, so tests need not call it.
    ///
    /// - A viewer gets the pictures and the sound of its stream as long as the stream has a publisher that sends them.
    /// - There are as many peers as sessions, and a bounded number of bytes of each stream is kept.
    ///
    /// In addition, when they change,
    /// - pictures are what was sent, whole, in order, at their times, with none missing from a key frame on but those that
    ///   nothing refers to, where there are B-frames; packets of each viewer have continuous numbers;
    /// - a picture is put into packets once for all its viewers;
    /// - nothing is said of a session before its beginning or after its end;
    /// - an address that is not proven is sent no more than what came from it;
    /// - the server does not spin.
    ///
    /// # Panics
    /// If any of this does not hold, with the seed and the time.
    pub fn check(&self) {
        let fault = self.peers.ledger().fault.clone();
        if let Some(fault) = fault {
            self.fail(&fault);
        }
        let (alive, sessions, stats) = (self.peers.ledger().alive, self.desk.sessions().len(), self.desk.stats());
        if alive != sessions || alive != stats.publishers + stats.players {
            self.fail(&format!("there are {alive} peers and {sessions} sessions: {stats:?}"));
        }
        if stats.kept > self.followed.len() * KEPT {
            self.fail(&format!("too much is kept: {stats:?}"));
        }
        if stats.sounds != self.transcoders.len() || stats.sounds > self.followed.len() {
            self.fail(&format!("{} works on sound are under way: {stats:?}", self.transcoders.len()));
        }
        let mut streams = BTreeMap::new();
        for (index, remote) in self.remotes.iter().enumerate().filter(|(_, remote)| remote.role == Role::Player) {
            let stream = &remote.stream;
            let newest =
                *streams.entry(stream).or_insert_with(|| self.newest_picture(stream).filter(|_| self.is_well(stream)));
            let (Some((since, newest)), true) = (newest, remote.is_well()) else { continue };
            let begun = remote.connected.unwrap_or(self.start).max(since).max(remote.troubled.unwrap_or(self.start));
            let patience = patience(remote.weather);
            if self.now < begun + BEGINNING + patience {
                continue;
            }
            let got = remote.viewing.newest(&self.archive);
            if got.is_none_or(|got| got + patience < newest) {
                let late = got.map(|got| newest - got);
                let place = remote.viewing.place();
                self.fail(&format!("viewer {index} of {stream} gets no pictures: {place:?} is {late:?} late"));
            }
            let has_sound = self.archive.iter().rev().find(|of| of.stream == *stream).is_some_and(|of| of.sounds > 0);
            let heard = remote.viewing.heard;
            if has_sound && heard.is_none_or(|heard| heard + patience + SOUND_PATIENCE < self.now) {
                self.fail(&format!("viewer {index} of {stream} gets no sound since {heard:?}"));
            }
        }
    }

    pub(super) fn check_effect(&mut self, effect: &Effect<Asked>) {
        if let Err(what) = self.sessions.take(effect) {
            self.fail(&what);
        }
    }

    /// The server has ended a session: nothing is said of it any more.
    pub(super) fn over(&mut self, session: SessionId) {
        self.sessions.0.entry(session).or_default().is_over = true;
    }

    pub(super) fn note_received(&mut self, path: Path, bytes: &[u8]) {
        if is_binding_answer(bytes) || FromPeer::parse(bytes) == Some(FromPeer::Hello) {
            // Only the peer that something has been sent to there can say that.
            self.proven.insert(path);
        }
        if !self.proven.contains(&path) {
            self.unproven.entry(path).or_default().0 += bytes.len();
        }
    }

    /// Something is sent to an address. One that is not proven may be that of a host that has asked for nothing.
    pub(super) fn note_sent(&mut self, path: Path, bytes: usize) {
        if self.proven.contains(&path) {
            self.unproven.remove(&path);
            return;
        }
        let (received, sent) = self.unproven.entry(path).or_default();
        *sent += bytes;
        if *sent > *received {
            let what = format!("{sent} bytes were sent to {path:?}, from which {received} came");
            self.fail(&what);
        }
    }

    /// Checks that each viewer that is there has the newest publication of its stream.
    ///
    /// # Panics
    /// If one does not.
    pub fn check_served(&self) {
        for (index, remote) in self.remotes.iter().enumerate() {
            let is_player = remote.role == Role::Player && remote.stage != Stage::Over && !remote.is_dismissed;
            if !is_player || self.newest_picture(&remote.stream).is_none() || !self.is_well(&remote.stream) {
                continue;
            }
            let newest = self.archive.iter().rposition(|of| of.stream == remote.stream);
            let place = remote.viewing.place();
            if remote.stage != Stage::Connected || place.map(|(publication, _)| publication) != newest {
                let (stage, statuses) = (remote.stage, &remote.statuses);
                self.fail(&format!("viewer {index} has {place:?}, not {newest:?}: {stage:?} after {statuses:?}"));
            }
        }
    }

    /// Checks that nothing is left after all have gone.
    ///
    /// # Panics
    /// If anything is.
    pub fn check_empty(&self) {
        let stats = self.desk.stats();
        let counts = [stats.publishers, stats.players, stats.connecting, stats.streams, stats.sounds, stats.kept];
        let alive = self.peers.ledger().alive;
        let left = [alive, self.seats_of(Role::Player), self.seats_of(Role::Publisher), self.sessions.open()];
        let held = [self.peers.ledger().waiting, self.followed.len(), self.subscribed.len(), self.transcoders.len()];
        if counts != [0; 6] || left != [0; 4] || held != [0; 4] || self.desk.deadline().is_some() {
            let due = self.desk.deadline().map(|due| due.saturating_duration_since(self.now));
            self.fail(&format!("something is left: {stats:?}, {left:?}, {held:?}, due in {due:?}"));
        }
        let streams: Vec<_> = self.core.hub().streams().into_iter().map(|stream| stream.key).collect();
        if !streams.is_empty() {
            self.fail(&format!("streams are left: {streams:?}"));
        }
    }
}
