//! Streams and the peers that play them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use anabranch_core::packager::{Ticket, Time};
use anabranch_core::url::StreamKey;

use super::effect::{OpusPacket, SoundJob};
use super::session::{Kind, Session, Stage};
use super::stream::{News, Stream};
use super::viewer::burst;
use super::{Desk, Effect, Remark, Role, SessionId};
use crate::peer::Gone;

/// How long a viewer waits for the pictures of a stream that has sound.
const PICTURE_WAIT: Duration = Duration::from_secs(1);

impl<T: Ticket> Desk<T> {
    /// Follows a stream for a session.
    pub(super) fn follow(&mut self, now: Instant, key: &StreamKey) {
        if self.streams.contains_key(key) {
            return;
        }
        let player = self.hub.follow_for_clients(key);
        self.streams_made += 1;
        let stream = Stream::new(player, self.streams_made << 32);
        self.followed.insert(stream.id(), key.clone());
        self.effects.push_back(Effect::Follow(stream.id()));
        self.streams.insert(key.clone(), stream);
        self.feed(now, key);
    }

    /// A session that played a stream, or waited for it, is over.
    pub(super) fn leave_stream(&mut self, key: &StreamKey, number: SessionId, takes_sound: bool) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.waiting.remove(&number);
        stream.entering.remove(&number);
        if stream.viewers.remove(&number) && takes_sound {
            stream.listeners = stream.listeners.saturating_sub(1);
        }
        // Its publisher may be one of them, and does not follow it.
        let has_peers = |session: &Session<T>| {
            let is_of_stream = matches!(&session.stage, Stage::Open(open) if open.key == *key);
            session.role == super::Role::Player && is_of_stream
        };
        let is_over = stream.viewers.is_empty() && stream.waiting.is_empty() && stream.entering.is_empty();
        // Peers that are about to connect want what is kept.
        if is_over && !self.sessions.values().any(has_peers) {
            let Some(stream) = self.streams.remove(key) else { return };
            self.followed.remove(&stream.id());
            self.effects.push_back(Effect::Unfollow(stream.id()));
            let news = stream.end();
            self.work(key, news.jobs);
        }
    }

    /// Takes what is new of a stream.
    pub(super) fn feed(&mut self, now: Instant, key: &StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if self.queue.is_empty() {
            stream.log.trim();
        }
        let (mut news, before) = (News::default(), stream.log.start());
        let most = self.settings.most_kept;
        if catch_unwind(AssertUnwindSafe(|| stream.pump(now, most, &mut news))).is_err() {
            return self.end_stream(key);
        }
        let has_key = stream.log.start().is_some_and(|start| Some(start) != before);
        self.tell(key, news);
        if has_key {
            self.let_in(key);
        }
        self.leave_quality(now, key);
        self.enqueue_all(key);
        let waiting: Vec<_> =
            self.streams.get(key).map(|stream| stream.waiting.iter().copied().collect()).unwrap_or_default();
        for number in waiting {
            self.try_answer(now, number);
        }
    }

    /// The work on a stream has failed: all that play it or wait for it are at their end, and others are not.
    fn end_stream(&mut self, key: &StreamKey) {
        let is_of_it = |session: &Session<T>| match &session.stage {
            Stage::Asking(_) => false,
            Stage::Waiting(_, of) => of == key,
            Stage::Open(open) => matches!(&open.kind, Kind::Viewer(viewer)
                if open.key == *key || viewer.quality.next.as_ref() == Some(key)),
        };
        let all: Vec<_> =
            self.sessions.iter().filter(|(_, session)| is_of_it(session)).map(|(number, _)| *number).collect();
        for number in all {
            if let Some(Session { stage: Stage::Open(_), .. }) = self.sessions.get(&number) {
                self.gone(number, Gone::Bug);
            } else if let Some(Session { stage: Stage::Waiting(offer, _), .. }) = self.remove(number) {
                self.effects.push_back(offer.reply.give(super::answers::failed()));
                self.effects.push_back(Effect::Leave(number));
            }
        }
    }

    fn tell(&mut self, key: &StreamKey, news: News) {
        let News { leaves_out, no_sound, no_picture, left_out, jobs, has_changed } = news;
        self.stats.left_out += left_out;
        self.work(key, jobs);
        if leaves_out {
            self.effects.push_back(Effect::Tell(Remark::LeavesOut { key: key.clone() }));
        }
        if let Some(because) = no_sound {
            self.effects.push_back(Effect::Tell(Remark::NoSound { key: key.clone(), because }));
        }
        if let Some(because) = no_picture {
            self.effects.push_back(Effect::Tell(Remark::NoPicture { key: key.clone(), because }));
        }
        if has_changed {
            self.part_with_others(key);
        }
    }

    /// Ends the sessions of viewers that cannot have the pictures that a stream has now.
    fn part_with_others(&mut self, key: &StreamKey) {
        let Some((stream, now)) = self.streams.get(key).zip(self.now) else { return };
        let video = stream.video();
        let cannot = |number: &SessionId| {
            let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get(number) else { return false };
            let Kind::Viewer(viewer) = &open.kind else { return false };
            viewer.wants_video && viewer.video != video
        };
        let parted: Vec<_> = stream.viewers.iter().copied().filter(cannot).collect();
        for number in parted {
            self.end_as_changed(now, number);
        }
    }

    /// A viewer cannot have what its stream has now.
    fn end_as_changed(&mut self, now: Instant, number: SessionId) {
        self.close(now, number);
        self.effects.push_back(Effect::Tell(Remark::Gone { session: number, why: Gone::Changed }));
        self.effects.push_back(Effect::Leave(number));
    }

    fn work(&mut self, key: &StreamKey, jobs: Vec<SoundJob>) {
        for job in jobs {
            match &job {
                SoundJob::Begin { job, .. } => _ = self.jobs.insert(*job, key.clone()),
                SoundJob::End { job } => _ = self.jobs.remove(job),
                SoundJob::Frame { .. } => {}
            }
            self.effects.push_back(Effect::Sound(job));
        }
    }

    /// Sound has been put into Opus. The packets are in order.
    ///
    /// `Err` says why that is not possible; nothing more comes for this job then.
    pub fn sound(&mut self, time: Time, job: u64, made: Result<Vec<OpusPacket>, String>) {
        let now = self.at(time);
        let Some(key) = self.jobs.get(&job).cloned() else { return };
        let Some(stream) = self.streams.get_mut(&key).filter(|stream| stream.job() == Some(job)) else { return };
        match made {
            Ok(packets) => stream.made(now, &packets, self.settings.most_kept),
            Err(because) => {
                if stream.not_made() {
                    self.effects.push_back(Effect::Tell(Remark::NoSound { key: key.clone(), because }));
                }
            }
        }
        self.enqueue_all(&key);
    }

    /// Viewers hear the sound of this job in part, as the end of a sentence says that begins with "the sound of this stream".
    pub fn sound_lacks(&mut self, job: u64, how: &'static str) {
        if let Some(key) = self.jobs.get(&job).cloned() {
            self.effects.push_back(Effect::Tell(Remark::LessSound { key, how }));
        }
    }

    /// A peer is connected: if it plays, it gets packets from now on.
    pub(super) fn begin_playing(&mut self, now: Instant, number: SessionId) {
        let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number) else { return };
        let key = open.key.clone();
        let Some(viewer) = open.viewer() else { return };
        let (has_sound, video, wants_video) = (viewer.has_sound, viewer.video, viewer.wants_video);
        self.follow(now, &key);
        let Some(stream) = self.streams.get_mut(&key) else { return };
        if wants_video && stream.video().is_some_and(|present| video != Some(present)) {
            // It has changed since the offer was answered.
            return self.end_as_changed(now, number);
        }
        stream.viewers.insert(number);
        stream.listeners += usize::from(has_sound);
        if let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number)
            && let Some(viewer) = open.viewer()
        {
            viewer.begin(&stream.log);
        }
        if stream.log.start().is_none()
            && let Some(publisher) = self.publishers.get(&key).copied()
        {
            self.want_key(now, publisher);
        }
        self.enqueue(number);
    }

    fn enqueue_all(&mut self, key: &StreamKey) {
        let Some(stream) = self.streams.get(key) else { return };
        for number in &stream.viewers {
            let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(number) else { continue };
            if let Kind::Viewer(viewer) = &mut open.kind
                && !viewer.is_queued
                && viewer.is_behind(&stream.log)
            {
                viewer.is_queued = true;
                self.queue.push_back(*number);
            }
        }
    }

    /// Has a peer get the packets that there are for it.
    pub(super) fn enqueue(&mut self, number: SessionId) {
        let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number) else { return };
        let Some(stream) = self.streams.get(&open.key) else { return };
        if let Kind::Viewer(viewer) = &mut open.kind
            && !viewer.is_queued
            && viewer.is_behind(&stream.log)
        {
            viewer.is_queued = true;
            self.queue.push_back(number);
        }
    }

    /// Makes the packets that there are for a peer.
    pub(super) fn serve(&mut self, now: Instant, number: SessionId) {
        if self.contained(number, |desk| desk.write(now, number)).is_some() {
            self.drain(now, number, None);
        }
    }

    fn write(&mut self, now: Instant, number: SessionId) {
        let Some(Session { stage: Stage::Open(open), .. }) = self.sessions.get_mut(&number) else { return };
        let Some(stream) = self.streams.get(&open.key) else { return };
        let (peer, Kind::Viewer(viewer)) = (&mut open.peer, &mut open.kind) else { return };
        viewer.is_queued = false;
        let mut has_written = false;
        let most = if viewer.is_catching_up() { burst(stream.kbps(now)) } else { 0 };
        let missed = viewer.take(now, &stream.log, most, |packet| {
            peer.write(now, packet);
            has_written = true;
        });
        if let Some(pictures) = missed.filter(|pictures| *pictures > 0) {
            self.stats.skipped += pictures;
            self.effects.push_back(Effect::Tell(Remark::Skipped { session: number, pictures }));
        }
        if has_written {
            peer.handle_timeout(now);
        }
    }

    /// Answers a client that waits for a stream, if it is there now.
    pub(super) fn try_answer(&mut self, now: Instant, number: SessionId) {
        let Some(Session { role, stage: Stage::Waiting(offer, key), .. }) = self.sessions.get_mut(&number) else {
            return;
        };
        if *role == Role::Publisher {
            // It waits for its turn, and not for a stream.
            return;
        }
        let Some(stream) = self.streams.get(key) else { return };
        let (video, sound) = stream.codecs();
        match stream.live_since() {
            Some(_) if video.is_some() => self.answer(now, number, video, sound),
            // Pictures may come a moment after the sound.
            Some(since) if sound.is_some() && now.saturating_duration_since(since) >= PICTURE_WAIT => {
                self.answer(now, number, None, sound);
            }
            _ if stream.is_absent() || offer.until <= now => {
                if let Some(Session { stage: Stage::Waiting(offer, _), .. }) = self.remove(number) {
                    self.effects.push_back(offer.reply.give(super::answers::not_live()));
                    self.effects.push_back(Effect::Leave(number));
                }
            }
            _ => {}
        }
    }
}
