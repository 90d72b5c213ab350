//! The qualities of a stream: other streams that its settings name, and the tracks of a publisher that sends several.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::answers;
use super::channel::{Channel, OtherTimes, Waiting};
use super::{LONGEST_TARGET, Packager, SILENCE, Ticket, Time};
use crate::flv::Codec;
use crate::hls::{self, AudioRendition, MOST_RENDITIONS, RenditionReport, Variant};
use crate::http::Answer;
use crate::url::StreamKey;

/// Most playlists that a stream has beside its own.
const MOST_MEMBERS: usize = 16;
/// How long the list waits for qualities that are published and have no segment yet.
const FIRST_SEGMENT: Duration = Duration::from_secs(12);
/// How long it waits for qualities that are not published, when the stream has begun: programs and relays begin later.
const LATE: Duration = Duration::from_secs(4);
/// Group of the tracks of sound that have their own playlists.
const SOUND: &str = "sound";

/// What has a playlist: the stream, and which of its tracks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ChannelKey {
    pub(super) stream: StreamKey,
    pub(super) video: Option<u8>,
    pub(super) audio: Option<u8>,
}

impl ChannelKey {
    /// The first track of each medium.
    pub(super) fn of(stream: &StreamKey) -> Self {
        ChannelKey { stream: stream.clone(), video: Some(0), audio: Some(0) }
    }

    pub(super) fn has_first_tracks(&self) -> bool {
        (self.video, self.audio) == (Some(0), Some(0))
    }

    pub(super) fn has(&self, codec: Codec, track: u8) -> bool {
        match codec {
            Codec::Video(_) => self.video == Some(track),
            Codec::Audio(_) => self.audio == Some(track),
        }
    }

    /// What its segments are named by.
    pub(super) fn text(&self) -> String {
        let name = format!("{}\n{}\n{}", self.stream.vhost(), self.stream.app(), self.stream.stream());
        if self.has_first_tracks() { name } else { format!("{name}\n{:?}\n{:?}", self.video, self.audio) }
    }
}

/// The tracks of a publication.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tracks {
    video: BTreeSet<u8>,
    audio: BTreeSet<u8>,
}

impl Tracks {
    /// A track has a configuration.
    pub(super) fn note(&mut self, codec: Codec, track: u8) {
        let tracks = match codec {
            Codec::Video(_) => &mut self.video,
            Codec::Audio(_) => &mut self.audio,
        };
        if tracks.len() < MOST_MEMBERS {
            tracks.insert(track);
        }
    }

    /// True if there is something to choose from.
    pub(super) fn are_several(&self) -> bool {
        self.video.len() > 1 || self.audio.len() > 1 && !self.video.is_empty()
    }
}

/// The qualities of one stream.
#[derive(Debug)]
pub(super) struct Qualities {
    /// What comes behind its name in the names of the others.
    renditions: Vec<Box<str>>,
    /// True if sound is in separate playlists, since there are several tracks of it. That stays as it is: players have
    /// chosen by it.
    separate: bool,
    members: Vec<Member>,
    /// Milliseconds since 1970 at media time 0.
    zero: Option<u64>,
    /// Since when there is one to list, with the publication of the stream itself.
    since: Option<(Option<u64>, Instant)>,
    /// The quality that had segments before the stream itself: the others begin with its times and numbers.
    begun: Option<ChannelKey>,
}

#[derive(Debug)]
struct Member {
    /// For the address.
    name: String,
    key: ChannelKey,
    /// True if it is listed as a quality or as a track of sound.
    is_listed: bool,
}

impl Qualities {
    fn new(zero: Option<u64>, begun: Option<ChannelKey>) -> Self {
        Qualities { renditions: Vec::new(), separate: false, members: Vec::new(), zero, since: None, begun }
    }

    fn add(&mut self, name: String, key: ChannelKey, is_listed: bool) {
        if self.members.len() < MOST_MEMBERS && self.members.iter().all(|member| member.key != key) {
            self.members.push(Member { name, key, is_listed });
        }
    }

    fn add_tracks(&mut self, stream: &StreamKey, tracks: &Tracks) {
        let of = |video, audio| ChannelKey { stream: stream.clone(), video, audio };
        if self.separate {
            // Half of the places each.
            for track in tracks.audio.iter().take(MOST_MEMBERS / 2) {
                self.add(format!("a{track}"), of(None, Some(*track)), true);
            }
            for track in &tracks.video {
                self.add(format!("v{track}"), of(Some(*track), None), true);
            }
        } else {
            let sound = tracks.audio.first().copied().unwrap_or(0);
            for track in &tracks.video {
                self.add(format!("m{track}"), of(Some(*track), Some(sound)), true);
            }
        }
    }
}

impl<T: Ticket> Packager<T> {
    /// The stream is about to begin. If some of its qualities have segments already, it begins as they did; those that
    /// do not agree begin again.
    pub(super) fn expect_qualities(&mut self, time: Time, stream: &StreamKey, renditions: &[Box<str>]) {
        let names = renditions.iter().take(MOST_RENDITIONS).map(|end| format!("{}{end}", stream.stream()));
        let keys = names.filter_map(|name| StreamKey::new(stream.vhost(), stream.app(), &name).ok());
        let mut begun: Vec<_> = keys
            .map(|key| ChannelKey::of(&key))
            .filter_map(|key| {
                let channel = self.channels.get(&key).filter(|channel| channel.of.is_none())?;
                let segmenter = &channel.segmenter;
                let is_on = segmenter.has_segments() && !segmenter.has_ended();
                let moment = segmenter.moment().filter(|_| is_on && key.stream != *stream)?;
                Some((segmenter.discontinuities(), moment.wall.saturating_sub(moment.media), key))
            })
            .collect();
        begun.sort_by_key(|(number, ..)| *number);
        let Some((number, zero, key)) = begun.pop() else { return };
        self.qualities.insert(stream.clone(), Qualities::new(Some(zero), Some(key)));
        for (_, own, other) in begun {
            let Some(channel) = self.channels.get_mut(&other).filter(|_| own != zero) else { continue };
            // What its viewers have is like a playlist that has ended: the next one has higher numbers.
            channel.begin_again(self.clock.steady(time.now), self.hub.follow_for_clients(&other.stream));
            channel.segmenter.begin_discontinuities(number);
            channel.of = Some(stream.clone());
            self.feed(time, &other);
        }
    }

    /// The stream has several qualities from now on: `renditions` are the ends of names of other streams.
    pub(super) fn unite(&mut self, time: Time, stream: &StreamKey, renditions: &[Box<str>]) {
        let key = ChannelKey::of(stream);
        let Some(channel) = self.channels.get_mut(&key) else { return };
        channel.of.get_or_insert_with(|| stream.clone());
        let zero = channel.segmenter.moment().map(|moment| moment.wall.saturating_sub(moment.media));
        let qualities = self.qualities.entry(stream.clone()).or_insert_with(|| Qualities::new(zero, None));
        if qualities.members.is_empty() {
            qualities.separate = channel.tracks.audio.len() > 1 && !channel.tracks.video.is_empty();
            qualities.add("0".to_owned(), key.clone(), !qualities.separate);
        }
        if let (Some(channel), Some(qualities)) = (self.channels.get(&key), self.qualities.get_mut(stream)) {
            if qualities.renditions.is_empty() {
                qualities.renditions = renditions.iter().take(MOST_RENDITIONS).cloned().collect();
            }
            for (index, end) in qualities.renditions.clone().into_iter().enumerate() {
                let name = format!("{}{end}", stream.stream());
                if let Ok(rendition) = StreamKey::new(stream.vhost(), stream.app(), &name) {
                    qualities.add((index + 1).to_string(), ChannelKey::of(&rendition), true);
                }
            }
            if channel.tracks.are_several() {
                qualities.add_tracks(stream, &channel.tracks);
            }
        }
        self.begin_members(time, stream);
    }

    /// Has all qualities of a stream followed.
    fn begin_members(&mut self, time: Time, stream: &StreamKey) {
        let Some(settings) = self.channels.get(&ChannelKey::of(stream)).map(|channel| channel.settings.clone()) else {
            return;
        };
        for key in self.members(stream) {
            self.channel_of(time, &key, &settings, Some(stream));
            if let Some(channel) = self.channels.get_mut(&key) {
                channel.of.get_or_insert_with(|| stream.clone());
                channel.last_request = time.now;
                if key.stream != *stream {
                    channel.want();
                }
            }
        }
    }

    /// The stream of which this is a quality.
    pub(super) fn listed_by(&self, key: &ChannelKey) -> Option<StreamKey> {
        let has = |qualities: &Qualities| qualities.members.iter().any(|member| member.key == *key);
        self.qualities.iter().find(|(_, qualities)| has(qualities)).map(|(stream, _)| stream.clone())
    }

    fn members(&self, stream: &StreamKey) -> Vec<ChannelKey> {
        let members = self.qualities.get(stream).map(|qualities| &qualities.members);
        members.into_iter().flatten().map(|member| member.key.clone()).collect()
    }

    /// The channel that a viewer of `stream` asks for; `None` if there is no such quality.
    pub(super) fn chosen(&mut self, time: Time, stream: &StreamKey, quality: Option<&str>) -> Option<ChannelKey> {
        let first = ChannelKey::of(stream);
        self.channels.get(&first)?;
        if self.qualities.contains_key(stream) {
            self.begin_members(time, stream);
        }
        let Some(name) = quality.filter(|name| *name != "0") else { return Some(first) };
        let members = &self.qualities.get(stream)?.members;
        members.iter().find(|member| member.name == name).map(|member| member.key.clone())
    }

    /// The answer to a request for what a channel has; `None` while it waits.
    pub(super) fn decide(&mut self, time: Time, key: &ChannelKey, waiting: &mut Waiting<T>) -> Option<Answer> {
        if waiting.is_for_stream() && key.has_first_tracks() && self.has_several(time, &key.stream) {
            return self.multivariant(time, &key.stream, waiting);
        }
        let qualities = waiting.viewed.as_ref().and_then(|stream| self.qualities.get(stream));
        if qualities.is_some_and(|qualities| self.is_over_alone(time, qualities, key)) {
            return Some(answers::gone("this quality is not published any more"));
        }
        let mut answer = self.channels.get_mut(key)?.decide(time, waiting)?;
        let qualities = waiting.viewed.as_ref().and_then(|stream| self.qualities.get(stream));
        if let Some(qualities) = qualities.filter(|_| waiting.quality.is_some() && answer.status == 200) {
            let reports = self.reports(time, qualities, key, waiting);
            answer.more.extend((!reports.is_empty()).then(|| hls::rendition_reports(&reports).into()));
        }
        Some(answer)
    }

    /// True if a request for the stream gets a list of its qualities. That is settled at the first one that is answered.
    fn has_several(&mut self, time: Time, stream: &StreamKey) -> bool {
        if self.qualities.contains_key(stream) {
            return true;
        }
        let Some(channel) = self.channels.get_mut(&ChannelKey::of(stream)) else { return false };
        if channel.is_single || !channel.segmenter.has_segments() || channel.segmenter.has_ended() {
            return false;
        }
        channel.is_single = !channel.tracks.are_several();
        if !channel.is_single {
            self.unite(time, stream, &[]);
            return true;
        }
        false
    }

    /// True if a quality is not there any more while others are, so that players are to choose one of those. Otherwise
    /// all wait for their publishers.
    fn is_over_alone(&self, time: Time, qualities: &Qualities, key: &ChannelKey) -> bool {
        let is_gone = |key: &ChannelKey| {
            let channel = self.channels.get(key);
            channel.is_none_or(|channel| channel.is_silent(time.now) || channel.segmenter.has_ended())
        };
        // A fallback is for viewers that have nothing else.
        let is_fallback = |key: &ChannelKey| self.channels.get(key).is_some_and(Channel::is_fallback);
        let others = qualities.members.iter().filter(|member| member.is_listed && member.key != *key);
        let mut others = others.filter(|other| !is_gone(&other.key));
        if is_gone(key) {
            return others.next().is_some();
        }
        is_fallback(key) && others.any(|other| !is_fallback(&other.key))
    }

    /// True if the stream is published in any quality.
    pub(super) fn is_united_live(&self, time: Time, stream: &StreamKey) -> bool {
        let is_live = |key: &ChannelKey| self.channels.get(key).is_some_and(|channel| is_on(channel, time));
        self.members(stream).iter().any(is_live)
    }

    /// The playlist over the qualities of a stream; `None` while it waits for them.
    fn multivariant(&mut self, time: Time, stream: &StreamKey, waiting: &mut Waiting<T>) -> Option<Answer> {
        let publication = self.channels.get(&ChannelKey::of(stream))?.publication();
        let Qualities { members, since, .. } = self.qualities.get_mut(stream)?;
        let listed = || members.iter().filter(|member| member.is_listed);
        let channels: Vec<_> = listed().filter_map(|member| Some((member, self.channels.get(&member.key)?))).collect();
        let mut on: Vec<_> = channels.iter().filter(|(_, channel)| is_on(channel, time)).collect();
        if on.iter().any(|(_, channel)| !channel.is_fallback()) {
            on.retain(|(_, channel)| !channel.is_fallback());
        }
        if !on.is_empty() {
            let longest = Duration::from_secs(u64::from(SILENCE * LONGEST_TARGET));
            waiting.waits_for_media(time.now + longest.max(waiting.wait));
        }
        let found: Vec<_> = match on.is_empty() {
            // All have gone for a while.
            true => channels.iter().filter(|(_, channel)| !channel.segmenter.has_ended()).collect(),
            false => on,
        };
        let (ready, late): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|(_, channel)| channel.segmenter.has_segments());
        let has_picture = ready.iter().any(|(member, _)| member.key.video.is_some());
        if !has_picture {
            *since = None;
            return None;
        }
        let (_, begun) = *since.insert(
            since.filter(|(of, _)| publication.is_none() || *of == publication).unwrap_or((publication, time.now)),
        );
        let age = time.now.saturating_duration_since(begun);
        let may_come = |channel: &Channel<T>| !channel.is_live() && !channel.is_absent();
        let comes = ready.len() < channels.len() && channels.iter().any(|(_, channel)| may_come(channel));
        if age < FIRST_SEGMENT && !late.is_empty() || age < LATE && comes {
            return None;
        }
        let id = waiting.session.and_then(|number| self.sessions.id(number));
        let uri = |member: &Member| answers::address(&waiting.file, &waiting.own, id, Some(&member.name));
        let infos = ready.iter().filter_map(|(member, channel)| Some((member, channel.segmenter.info()?)));
        let (sounds, pictures): (Vec<_>, Vec<_>) = infos.partition(|(member, _)| member.key.video.is_none());
        let of_sounds: Vec<_> = sounds.iter().map(|(_, info)| info.clone()).collect();
        let variants: Vec<_> = pictures
            .into_iter()
            .map(|(member, info)| {
                let is_apart = member.key.audio.is_none() && !of_sounds.is_empty();
                let info = if is_apart { info.with_sounds(&of_sounds) } else { info };
                Variant { uri: uri(member), info, audio: is_apart.then(|| SOUND.to_owned()) }
            })
            .collect();
        let sounds: Vec<_> = sounds
            .iter()
            .enumerate()
            .map(|(index, (member, _))| AudioRendition {
                group: SOUND.to_owned(),
                name: (index + 1).to_string(),
                uri: Some(uri(member)),
                default: index == 0,
            })
            .collect();
        Some(waiting.multivariant(hls::multivariant(&variants, &sounds)))
    }

    fn reports(
        &self,
        time: Time,
        Qualities { members, .. }: &Qualities,
        key: &ChannelKey,
        waiting: &Waiting<T>,
    ) -> Vec<RenditionReport> {
        let id = waiting.session.and_then(|number| self.sessions.id(number));
        let others = members.iter().filter(|member| member.is_listed && member.key != *key);
        let report = |member: &Member| {
            let channel = self.channels.get(&member.key).filter(|channel| is_on(channel, time))?;
            channel.segmenter.report(answers::address(&waiting.file, &waiting.own, id, Some(&member.name)))
        };
        let has_reports = |channel: &Channel<T>| channel.segmenter.is_low_latency() && !channel.segmenter.has_ended();
        if !self.channels.get(key).is_some_and(has_reports) {
            return Vec::new();
        }
        others.filter_map(report).collect()
    }

    /// What a channel that begins has in common with the other qualities of a stream.
    pub(super) fn agree(&self, stream: &StreamKey, key: &ChannelKey, channel: &mut Channel<T>) {
        let mut others = self.members(stream);
        if *key == ChannelKey::of(stream) {
            let begun = self.qualities.get(stream).and_then(|qualities| qualities.begun.as_ref());
            if let Some(first) = begun.and_then(|begun| self.channels.get(begun)) {
                channel.segmenter.begin_discontinuities(first.segmenter.discontinuities());
            }
            others.extend(begun.cloned());
        }
        let mut others = others.iter().filter(|other| *other != key).filter_map(|other| self.channels.get(other));
        if let Some(first) = self.channels.get(&ChannelKey::of(stream)).filter(|_| *key != ChannelKey::of(stream)) {
            channel.segmenter.begin_discontinuities(first.segmenter.discontinuities());
        }
        if let Some(targets) = others.find_map(|other| other.segmenter.targets()) {
            channel.segmenter.take_targets(targets);
        }
    }

    /// What is known of the times of a stream's other qualities.
    pub(super) fn other_times(&self, stream: &StreamKey, key: &ChannelKey) -> Option<OtherTimes> {
        let qualities = self.qualities.get(stream)?;
        let same = self.fed_by(&key.stream).filter(|other| *other != key);
        let same = same.filter_map(|other| self.channels.get(other));
        let same = same.filter_map(|other| Some((other.publication(), other.segmenter.moment()?))).collect();
        let source = || {
            let longest = self.hub.delay_behind_source(&key.stream).filter(|_| key.stream != *stream)?;
            let moment = self.channels.get(&ChannelKey::of(stream))?.segmenter.moment()?;
            Some((moment, longest.as_millis() as i64))
        };
        let source = source();
        Some(OtherTimes { zero: qualities.zero, same, source })
    }

    /// Something came for one of several qualities: keeps what they have in common.
    pub(super) fn keep_together(&mut self, time: Time, stream: &StreamKey, key: &ChannelKey) {
        let members = self.members(stream);
        let Some(channel) = self.channels.get(key) else { return };
        if let (Some(moment), Some(qualities)) = (channel.segmenter.moment(), self.qualities.get_mut(stream)) {
            qualities.zero.get_or_insert(moment.wall.saturating_sub(moment.media));
        }
        let targets = channel.segmenter.targets();
        let on = members.iter().filter_map(|key| self.channels.get(key)).map(|channel| &channel.segmenter);
        let on = on.filter(|segmenter| segmenter.has_segments() && !segmenter.has_ended());
        let highest = on.map(hls::Segmenter::discontinuities).max();
        for other in members.iter().filter(|other| *other != key) {
            let Some(other) = self.channels.get_mut(other) else { continue };
            if let Some(targets) = targets {
                other.segmenter.take_targets(targets);
            }
            // The segments of one moment are to have the same number. Most breaks are at about the same time in all.
            if !other.segmenter.has_segments() || other.segmenter.has_ended() {
                if let Some(highest) = highest {
                    other.segmenter.begin_discontinuities(highest);
                }
                continue;
            }
            let missing = highest.unwrap_or_default().saturating_sub(other.segmenter.discontinuities());
            if missing == 0 {
                // It has caught up. The next difference is another one.
                other.breaks_since = None;
            }
            if !(1..=MOST_BREAKS).contains(&missing) {
                continue;
            }
            let wait = Duration::from_secs(u64::from(SILENCE * other.segmenter.target().unwrap_or(LONGEST_TARGET)));
            let since = *other.breaks_since.get_or_insert(time.now);
            if time.now.saturating_duration_since(since) >= wait {
                other.breaks_since = None;
                other.segmenter.break_next();
            }
        }
        let has_more = key.has_first_tracks() && key.stream == *stream && self.misses_tracks(stream);
        if has_more {
            self.unite(time, stream, &[]);
        }
        self.share_bytes(stream);
    }

    fn misses_tracks(&self, stream: &StreamKey) -> bool {
        let (Some(channel), Some(qualities)) = (self.channels.get(&ChannelKey::of(stream)), self.qualities.get(stream))
        else {
            return false;
        };
        let has =
            |track: &u8| qualities.members.iter().any(|one| one.key.stream == *stream && one.key.video == Some(*track));
        let has_room = (1..MOST_MEMBERS).contains(&qualities.members.len());
        channel.tracks.are_several() && has_room && !channel.tracks.video.iter().all(has)
    }

    /// The tracks of a stream have the memory of its segments together.
    fn share_bytes(&mut self, stream: &StreamKey) {
        let keys: Vec<_> = self.fed_by(stream).cloned().collect();
        let Some(most) = self.channels.get(&ChannelKey::of(stream)).map(|first| first.settings.config.bytes) else {
            return;
        };
        let bytes = |channels: &Self, key: &ChannelKey| {
            channels.channels.get(key).map_or(0, |channel| channel.segmenter.bytes())
        };
        let is_over = |channels: &Self| keys.iter().map(|key| bytes(channels, key)).sum::<usize>() > most;
        if keys.len() > 1 && is_over(self) {
            let all = keys.iter().filter_map(|key| self.channels.get(key));
            let needed = all.map(|channel| channel.segmenter.needed_for_window()).sum();
            if let Some(first) = self.channels.get_mut(&ChannelKey::of(stream)) {
                first.segmenter.note_shared_shortage(needed);
            }
        }
        while keys.len() > 1 && is_over(self) {
            let Some(largest) = keys.iter().max_by_key(|key| bytes(self, key)) else { return };
            let Some(channel) = self.channels.get_mut(largest) else { return };
            if !channel.segmenter.give_up_oldest() {
                return;
            }
        }
    }

    /// The stream has no viewers any more.
    pub(super) fn part(&mut self, stream: &StreamKey) {
        let Some(Qualities { members, .. }) = self.qualities.remove(stream) else { return };
        for Member { key, .. } in members {
            if key.stream == *stream {
                self.drop_channel(&key);
            } else if let Some(channel) = self.channels.get_mut(&key) {
                channel.of.take_if(|of| of == stream);
            }
        }
    }
}

/// Most discontinuities that are added at once. More are missing when a quality was segmented before the others.
const MOST_BREAKS: u64 = 8;

/// True if players can choose it now.
fn is_on<T>(channel: &Channel<T>, time: Time) -> bool {
    channel.is_live() && !channel.is_silent(time.now)
}
