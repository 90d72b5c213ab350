//! Playlists and segments of live streams of all kinds keep every rule: a separate checker reads each playlist.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anabranch_core::bytes::Bytes;
use anabranch_core::flv::{AccessUnit, AudioCodec, Codec, VideoCodec};
use anabranch_core::hls::{Config, Container, Decision, Found, NameKey, PlaylistRequest, Segmenter};
use mp4_atom::{Any, Decode};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

mod dash;
#[path = "../support/playlist.rs"]
mod playlist;

use playlist::{Checker, Playlist};

const AVC: &str = "0164001effe1001a6764001eacd940a02fea4c0440000003004000000c83c58b658001000668ebe3cb22c0fdf8f800";
const OTHER_AVC: &str = "017a0015ffe10019677a0015bcd941433f3e0220000003002000000643e28532c001000668fba3cb22c0fef8f800";
/// Some day in 2026, in milliseconds.
const NOW: u64 = 1_790_000_000_000;

/// A stream and its viewer, who reads each playlist and all media.
struct Stream {
    segmenter: Segmenter,
    checker: Checker,
    version: u64,
    now: u64,
    /// Where each track of the segments ends, by track and init segment.
    ends: BTreeMap<u32, u64>,
    read: BTreeSet<String>,
    publications: u64,
    /// What was listed: how long the longest playlist with it was, and how long all segments are since it is not.
    listed: BTreeMap<String, (u64, Option<u64>)>,
    /// Whether sound may be missing for a while.
    sound_pauses: bool,
}

impl Stream {
    fn new(config: Config) -> Self {
        let segmenter = Segmenter::new(config, NameKey::new([7; 32]), b"live/cam", NOW);
        Stream {
            segmenter,
            checker: Checker::default(),
            version: 0,
            now: NOW,
            ends: BTreeMap::new(),
            read: BTreeSet::new(),
            publications: 0,
            listed: BTreeMap::new(),
            sound_pauses: false,
        }
    }

    fn begin(&mut self) {
        self.publications += 1;
        self.segmenter.begin(self.publications, self.now);
        self.segmenter.header(Codec::Video(VideoCodec::Avc), 0, &hex::decode(AVC).unwrap());
        self.segmenter.header(Codec::Audio(AudioCodec::Aac), 0, &[0x12, 0x10]);
    }

    fn video(&mut self, timestamp: u64, key: bool) {
        self.push(AccessUnit {
            codec: VideoCodec::Avc.into(),
            track: 0,
            key,
            timestamp: timestamp as u32,
            nanoseconds: 0,
            composition_time: 0,
            payload: Bytes::from(vec![0; 100]).into(),
        });
    }

    fn audio(&mut self, timestamp: u64) {
        self.push(AccessUnit {
            codec: AudioCodec::Aac.into(),
            track: 0,
            key: true,
            timestamp: timestamp as u32,
            nanoseconds: 0,
            composition_time: 0,
            payload: Bytes::from(vec![1; 20]).into(),
        });
    }

    fn push(&mut self, unit: AccessUnit) {
        self.segmenter.push(unit);
        self.look();
    }

    fn look(&mut self) {
        if self.segmenter.version() == self.version {
            return;
        }
        self.version = self.segmenter.version();
        let whole = PlaylistRequest::default();
        let Some(text) = self.segmenter.media_playlist(&whole, &[]) else { return };
        let playlist = self.checker.check(&text).clone();
        let skip = PlaylistRequest { skip: true, ..whole };
        self.checker.check_skipped(&self.segmenter.media_playlist(&skip, &[]).unwrap());
        self.check_requests(&playlist);
        self.read_media(&playlist);
        self.check_retired(&playlist);
    }

    /// What was listed can be got for as long as it takes to play the longest playlist that had it, and it.
    fn check_retired(&mut self, playlist: &Playlist) {
        let total: u64 = playlist.segments.iter().map(|segment| segment.duration).sum();
        let names: BTreeMap<_, _> = playlist.segments.iter().map(|segment| (&segment.uri, segment.duration)).collect();
        let is_new = |name: &String| !self.listed.contains_key(name);
        let more: u64 = names.iter().filter(|(name, _)| is_new(name)).map(|(_, duration)| duration).sum();
        if more == 0 {
            return;
        }
        let mut over = Vec::new();
        for (name, (longest, since)) in &mut self.listed {
            if let Some(duration) = names.get(name) {
                (*longest, *since) = ((*longest).max(total + duration), None);
                continue;
            }
            // It was taken off when the newest segment came.
            let gone = since.map_or(0, |since| since + more);
            *since = Some(gone);
            if gone >= *longest {
                over.push(name.clone());
            } else {
                let found = self.segmenter.find(name);
                assert!(matches!(found, Found::Media(_)), "{name} is gone after {gone} of {longest}");
            }
        }
        over.iter().for_each(|name| _ = self.listed.remove(name));
        for (name, duration) in names {
            self.listed.entry(name.clone()).or_insert((total + duration, None));
        }
    }

    /// Reads what is new: all of it is there, whole and by parts the same, and its times touch.
    fn read_media(&mut self, playlist: &Playlist) {
        for (_, segment) in playlist.numbered() {
            if let Some(part) = segment.parts.last().filter(|_| segment.uri.is_empty()) {
                assert!(!self.media(&part.uri).is_empty());
            }
            if segment.uri.is_empty() || !self.read.insert(segment.uri.clone()) {
                continue;
            }
            let whole = self.media(&segment.uri);
            let by_parts: Vec<u8> = segment.parts.iter().flat_map(|part| self.media(&part.uri)).collect();
            assert!(segment.parts.is_empty() || whole == by_parts, "a segment is its parts");
            if segment.discontinuity {
                self.ends.clear();
            }
            if let Some(map) = &segment.map {
                let init = self.media(map);
                assert!(init.windows(4).any(|four| four == b"moov"));
                self.read_fragments(&whole);
            } else {
                assert!(whole.len().is_multiple_of(188) && whole[0] == 0x47);
            }
        }
    }

    fn read_fragments(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let Any::Moof(moof) = Any::decode(&mut rest).unwrap() else { continue };
            let mut times = Vec::new();
            // A part in which a picture goes on has no samples.
            for traf in moof.traf.iter().filter(|traf| !traf.trun.is_empty()) {
                let start = traf.tfdt.as_ref().unwrap().base_media_decode_time;
                let scale = if traf.tfhd.track_id == 1 { 90_000 } else { 44_100 };
                times.push(start * 1000 / scale);
                if let Some(end) = self.ends.get(&traf.tfhd.track_id) {
                    let pauses = self.sound_pauses && traf.tfhd.track_id == 2 && start > *end;
                    assert!(start == *end || pauses, "times touch: {start} {end}");
                }
                let samples = traf.trun.iter().flat_map(|run| run.samples.iter());
                let durations = samples.map(|sample| sample.duration.or(traf.tfhd.default_sample_duration).unwrap());
                let length: u64 = durations.inspect(|duration| assert!(*duration > 0)).map(u64::from).sum();
                self.ends.insert(traf.tfhd.track_id, start + length);
            }
            let (first, last) = (times.iter().min(), times.iter().max());
            let apart = last.zip(first).map_or(0, |(last, first)| last - first);
            assert!(apart <= 2500, "the tracks of a part are of one time: {times:?}");
        }
    }

    fn media(&self, name: &str) -> Vec<u8> {
        match self.segmenter.find(name) {
            Found::Media(media) => {
                let bytes = media.pieces.concat();
                assert_eq!(bytes.len(), media.length);
                bytes
            }
            other => panic!("{name}: {other:?}"),
        }
    }

    /// The answer to each request fits the playlist.
    fn check_requests(&self, playlist: &Playlist) {
        let decide =
            |segment, part| self.segmenter.decide(&PlaylistRequest { segment: Some(segment), part, skip: false });
        let last = playlist.media_sequence + playlist.segments.len() as u64 - 1;
        let parts = playlist.open.as_ref().map_or(0, |open| open.parts.len() as u64);
        if playlist.ended {
            assert_eq!(decide(last + 100, Some(100)), Decision::Now);
            return;
        }
        let waits =
            |decision| matches!(decision, Decision::Wait(most) if most == Duration::from_secs(3 * playlist.target));
        assert_eq!(decide(0, None), Decision::Now, "too old is answered with all");
        assert_eq!(decide(last, None), Decision::Now);
        assert!(waits(decide(last + 1, None)) && waits(decide(last + 2, None)));
        assert_eq!(decide(last + 3, None), Decision::BadRequest);
        if parts > 0 {
            assert_eq!(decide(last + 1, Some(parts - 1)), Decision::Now);
        }
        assert!(waits(decide(last + 1, Some(parts))));
        assert_eq!(decide(last + 1, Some(parts + 100)), Decision::BadRequest);
        if let Some(hint) = &playlist.hint {
            assert_eq!(self.segmenter.find(hint), Found::Later);
        }
    }

    fn end(&mut self) {
        self.segmenter.end(self.now);
        self.look();
    }
}

/// A publication: when its pictures come in milliseconds, and which are key frames; sound comes between.
fn play(stream: &mut Stream, start: u64, pictures: impl Iterator<Item = (u64, bool)>) {
    let mut sound = 0u64;
    for (time, key) in pictures {
        while sound * 1024 * 1000 / 44_100 <= time {
            stream.audio(start + sound * 1024 * 1000 / 44_100);
            sound += 1;
        }
        stream.now = NOW + start + time;
        stream.video(start + time, key);
    }
}

/// 30 pictures a second in whole milliseconds: 33 and 34 between them.
fn steady(seconds: u64, group: u64) -> impl Iterator<Item = (u64, bool)> {
    (0..seconds * 30).map(move |frame| (frame * 1000 / 30, frame % group == 0))
}

#[test]
fn a_steady_stream_keeps_all_rules() {
    for group in [15, 30, 60, 61, 90, 120, 240] {
        let mut stream = Stream::new(Config::default());
        stream.begin();
        play(&mut stream, 5000, steady(60, group));
        let stats = stream.segmenter.stats();
        assert_eq!((stats.short_parts, stats.forced_cuts, stats.gaps), (0, 0, 0), "group {group}");
        let playlist = Playlist::parse(&stream.segmenter.media_playlist(&PlaylistRequest::default(), &[]).unwrap());
        assert_eq!(playlist.target, if group == 240 { 8 } else { 4 });
        assert_eq!(playlist.part_target, Some(513_000), "15 frames and the jitter of milliseconds");
        assert!(playlist.independent_segments && playlist.segments.len() == if group == 240 { 7 } else { 8 });
        assert!(stats.segments >= 60 / playlist.target - 1);
    }
}

#[test]
fn the_first_playlist_has_parts_so_that_players_wait_for_the_next_part_and_not_for_a_segment() {
    for (rate, group, container) in [(30, 60, Container::Fmp4), (25, 50, Container::Fmp4), (30, 90, Container::MpegTs)]
    {
        let mut stream = Stream::new(Config { container, ..Config::default() });
        stream.begin();
        let pictures = (0..=group + 1).map(|frame| (frame * 1000 / rate, frame % group == 0));
        play(&mut stream, 0, pictures);
        let playlist = Playlist::parse(&stream.segmenter.media_playlist(&PlaylistRequest::default(), &[]).unwrap());
        let [segment] = &playlist.segments[..] else { panic!("{} segments", playlist.segments.len()) };
        let durations: Vec<_> = segment.parts.iter().map(|part| part.duration).collect();
        let target = playlist.part_target.unwrap();
        assert_eq!(durations.iter().sum::<u64>(), segment.duration);
        assert!(durations.iter().all(|duration| *duration <= target), "{durations:?}");
        let (_, full) = durations.split_last().unwrap();
        assert!(full.len() > 2 && full.iter().all(|duration| duration * 100 >= target * 85), "{durations:?}");
        let independent: Vec<_> = segment.parts.iter().map(|part| part.independent).collect();
        assert!(independent[0] && independent[1..].iter().all(|independent| !independent));
    }
    // Sound alone has parts, too, and each can be decoded by itself.
    let mut stream = Stream::new(Config::default());
    stream.segmenter.begin(1, NOW);
    stream.segmenter.header(Codec::Audio(AudioCodec::Aac), 0, &[0x12, 0x10]);
    (0..200).for_each(|sound| stream.audio(sound * 1024 * 1000 / 44_100));
    let playlist = Playlist::parse(&stream.segmenter.media_playlist(&PlaylistRequest::default(), &[]).unwrap());
    let parts = &playlist.segments[0].parts;
    assert!(parts.len() > 1 && parts.iter().all(|part| part.independent));
}

#[test]
fn a_first_segment_with_a_frame_that_is_longer_than_a_part_lists_none() {
    let mut stream = Stream::new(Config::default());
    stream.begin();
    play(&mut stream, 0, [(0, true), (33, false), (66, false), (2500, false), (2533, true)].into_iter());
    let playlist = Playlist::parse(&stream.segmenter.media_playlist(&PlaylistRequest::default(), &[]).unwrap());
    assert!(playlist.part_target.is_some() && playlist.segments[0].parts.is_empty());
}

#[test]
fn a_target_that_is_configured_holds_with_any_key_frames() {
    for (target, group) in [(2, 60), (2, 300), (4, 1_000_000), (6, 50), (1, 7)] {
        let mut stream = Stream::new(Config { target: Some(target), ..Config::default() });
        stream.begin();
        play(&mut stream, 0, steady(60, group));
        let playlist = Playlist::parse(&stream.segmenter.media_playlist(&PlaylistRequest::default(), &[]).unwrap());
        assert_eq!(playlist.target, u64::from(target));
        let is_longer = group * 1000 / 30 > u64::from(target) * 1000 + 499;
        assert_eq!(stream.segmenter.stats().forced_cuts > 0, is_longer, "{target} {group}");
        assert!(!is_longer || !playlist.independent_segments);
    }
}

#[test]
fn jitter_and_other_frame_rates_keep_all_rules() {
    for rate in [10, 12, 15, 25, 50, 60] {
        for seed in 0..2 {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut stream = Stream::new(Config::default());
            stream.begin();
            let jitter = move |frame: u64| frame * 1000 / rate + 10 + random.next_u64() % 3;
            let pictures: Vec<_> = (0..rate * 24).map(jitter).zip(0..).collect();
            play(&mut stream, 77, pictures.into_iter().map(|(time, frame)| (time, frame % (2 * rate) == 0)));
            let stats = stream.segmenter.stats();
            assert_eq!((stats.short_parts, stats.gaps, stats.forced_cuts), (0, 0, 0), "rate {rate} seed {seed}");
        }
    }
}

#[test]
fn variable_frame_rates_and_missing_key_frames_keep_the_targets() {
    for seed in 0..8 {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let part = [200, 333, 500, 1000][seed as usize % 4];
        let mut stream = Stream::new(Config { part: Some(Duration::from_millis(part)), ..Config::default() });
        stream.checker = Checker::lenient();
        stream.begin();
        let mut time = 0;
        let pictures: Vec<_> = (0..800)
            .map(|frame: u32| {
                time += 5 + random.next_u64() % 120;
                (time, frame == 0 || random.next_u64() % 150 == 0)
            })
            .collect();
        play(&mut stream, 0, pictures.into_iter());
        assert!(stream.segmenter.stats().segments > 3);
        // A frame is at most an eighth of such a part.
        assert!(part < 1000 || stream.checker.short_parts == 0);
    }
}

#[test]
fn a_picture_that_stands_is_no_discontinuity_and_no_short_segment() {
    for (step, sound, part) in
        [(600, true, 500), (1000, true, 500), (1900, true, 333), (1000, false, 500), (1900, true, 1000)]
    {
        let audio = sound.then_some(0);
        let part = Some(Duration::from_millis(part));
        let mut stream = Stream::new(Config { audio, part, ..Config::default() });
        stream.begin();
        let slow = (0..60_000 / step).map(|frame| (10_000 + frame * step, frame % 4 == 0));
        let end = 10_000 + 60_000 / step * step;
        let after = steady(20, 60).map(|(time, key)| (end + time, key));
        play(&mut stream, 0, steady(10, 60).chain(slow).chain(after));
        assert_eq!(stream.segmenter.stats().gaps, 0, "{step}");
        let playlist = stream.checker.last_checked();
        assert_eq!(playlist.discontinuity_sequence, NOW / 1000 % (1 << 14), "{step}");
        assert!(playlist.numbered().all(|(_, segment)| !segment.discontinuity), "{step}");
    }
}

#[test]
fn sound_alone_that_pauses_goes_on_without_a_discontinuity() {
    let mut stream = Stream::new(Config { video: None, ..Config::default() });
    stream.begin();
    let times = (0..400u64).map(|frame| frame * 23).chain((0..30).map(|frame| 9_200 + frame * 1500));
    times.for_each(|time| stream.audio(time));
    assert_eq!(stream.segmenter.stats().gaps, 0);
    assert!(stream.checker.last_checked().numbered().all(|(_, segment)| !segment.discontinuity));
}

#[test]
fn sound_that_comes_back_after_a_pause_is_beside_the_pictures_of_its_time() {
    for (pause, part) in [(2500, true), (2500, false), (3300, true), (600_000, true), (600_000, false)] {
        let part = part.then_some(Duration::from_millis(500));
        let mut stream = Stream::new(Config { part, ..Config::default() });
        stream.sound_pauses = true;
        stream.begin();
        let mut sound = 0;
        for (time, key) in steady(30 + pause / 1000, 60) {
            while sound * 1024 * 1000 / 44_100 <= time {
                let at = sound * 1024 * 1000 / 44_100;
                if !(10_100..10_100 + pause).contains(&at) {
                    stream.audio(at);
                }
                sound += 1;
            }
            stream.now = NOW + time;
            stream.video(time, key);
        }
        let last = stream.checker.last_checked().segments.last().unwrap().uri.clone();
        let media = stream.media(&last);
        let mut rest = &media[..];
        let Any::Styp(_) = Any::decode(&mut rest).unwrap() else { panic!("a segment begins with its type") };
        let Any::Moof(moof) = Any::decode(&mut rest).unwrap() else { panic!("a fragment follows") };
        assert_eq!(moof.traf.len(), 2, "{pause}: the sound is there again");
        assert!(stream.segmenter.stats().left_out < 60 * 4, "{pause}: {:?}", stream.segmenter.stats());
    }
}

#[test]
fn a_hundred_republishes_at_random_phase_never_turn_a_playlist_back() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(9);
    let mut stream = Stream::new(Config::default());
    let mut start = 0;
    for _ in 0..100 {
        stream.begin();
        let seconds = 1 + random.next_u64() % 9;
        let rest = (random.next_u64() % 1000) as usize;
        let skipped = (random.next_u64() % 60) as usize;
        play(&mut stream, start, steady(seconds, 60).take((seconds * 30) as usize - rest % 29).skip(skipped));
        stream.end();
        start += seconds * 1000 + random.next_u64() % 20_000;
    }
    assert!(stream.segmenter.stats().segments > 100);
}

#[test]
fn a_playlist_ends_after_its_hold_and_the_next_one_goes_on_with_higher_numbers() {
    let mut stream = Stream::new(Config::default());
    stream.begin();
    play(&mut stream, 0, steady(20, 60));
    stream.end();
    let due = stream.segmenter.deadline().unwrap();
    assert_eq!(due, stream.now + 60_000);
    assert!(!stream.segmenter.handle_timeout(due - 1) && stream.segmenter.handle_timeout(due));
    stream.look();
    let ended = stream.checker.last_checked().clone();
    assert!(ended.ended && ended.hint.is_none());
    assert!(ended.discontinuity_sequence < 20_000, "hls.js goes through all numbers up to it at each playlist");
    let last = ended.media_sequence + ended.segments.len() as u64;
    stream.checker = Checker::default();
    stream.ends.clear();
    stream.listed.clear();
    stream.now += 100_000;
    stream.begin();
    play(&mut stream, 120_000, steady(10, 60));
    let next = stream.checker.last_checked();
    assert!(next.media_sequence >= last && !next.ended);
    assert!(next.discontinuity_sequence > ended.discontinuity_sequence);
}

#[test]
fn another_configuration_and_missing_tracks_make_discontinuities() {
    let mut stream = Stream::new(Config::default());
    stream.begin();
    play(&mut stream, 0, steady(10, 60));
    stream.segmenter.header(Codec::Video(VideoCodec::Avc), 0, &hex::decode(OTHER_AVC).unwrap());
    play(&mut stream, 10_000, steady(10, 60));
    // Pictures stop, and the sound goes on; then they come back.
    for frame in 0..1000u64 {
        stream.audio(20_000 + frame * 23);
    }
    play(&mut stream, 43_000, steady(10, 60));
    let text = stream.segmenter.media_playlist(&PlaylistRequest::default(), &[]).unwrap();
    let playlist = Playlist::parse(&text);
    let maps: BTreeSet<_> = playlist.numbered().map(|(_, segment)| segment.map.clone()).collect();
    assert!(maps.len() >= 2, "{text}");
    assert!(stream.segmenter.info().unwrap().codecs.contains("mp4a.40.2"));
    assert_eq!(stream.segmenter.info().unwrap().resolution, Some((320, 180)));
}

#[test]
fn sound_alone_and_pictures_alone_have_playlists() {
    let mut stream = Stream::new(Config { video: None, ..Config::default() });
    stream.begin();
    play(&mut stream, 0, steady(60, 60));
    assert_eq!(stream.segmenter.info().unwrap().codecs, "mp4a.40.2");
    assert_eq!(stream.segmenter.stats().short_parts, 0);
    let mut stream = Stream::new(Config { audio: None, ..Config::default() });
    stream.begin();
    play(&mut stream, 0, steady(60, 60));
    assert_eq!(stream.segmenter.info().unwrap().codecs, "avc1.64001e");
}

#[test]
fn transport_streams_and_streams_without_parts_keep_the_rules() {
    for config in [
        Config { container: Container::MpegTs, part: None, ..Config::default() },
        Config { container: Container::MpegTs, ..Config::default() },
        Config { part: None, ..Config::default() },
    ] {
        let mut stream = Stream::new(config);
        stream.begin();
        play(&mut stream, 0, steady(60, 60));
        assert!(stream.segmenter.stats().segments > 10);
    }
}

#[test]
fn a_gap_in_the_times_is_a_discontinuity_and_no_long_segment() {
    let mut stream = Stream::new(Config::default());
    stream.begin();
    play(&mut stream, 0, steady(10, 60));
    play(&mut stream, 40_000, steady(10, 60));
    assert_eq!(stream.segmenter.stats().gaps, 1);
}

#[test]
fn with_less_room_the_playlist_is_shorter_and_segments_stay_for_their_time() {
    // 30 pictures of 100 bytes a second take about 7 KiB with what is kept of each.
    for (window, bytes, most) in [(8, 64 << 20, 8), (8, 400_000, 7), (3, 64 << 20, 4), (40, 540_000, 12)] {
        let mut stream = Stream::new(Config { window, bytes, ..Config::default() });
        stream.begin();
        play(&mut stream, 0, steady(200, 60));
        let listed = stream.checker.last_checked().segments.len();
        assert!((3..=most).contains(&listed), "{window} {bytes}: {listed}");
        assert_eq!(stream.segmenter.stats().dropped, 0, "{window} {bytes}");
        assert!(stream.segmenter.bytes() <= bytes);
    }
}

#[test]
fn timestamps_that_go_back_are_a_discontinuity_and_the_wall_clock_goes_on() {
    let mut stream = Stream::new(Config::default());
    stream.begin();
    play(&mut stream, 3_600_000, steady(20, 60));
    let before = stream.segmenter.stats().segments;
    play(&mut stream, 5, steady(21, 60));
    assert!(stream.segmenter.stats().segments >= before + 5);
    assert_eq!(stream.segmenter.stats().gaps, 1);
    let playlist = stream.checker.last_checked();
    assert_eq!(playlist.numbered().filter(|(_, segment)| segment.discontinuity).count(), 1);
    let newest = playlist.segments.last().unwrap().date_time.clone().unwrap();
    assert!(("2026-09-21T14:13:50".."2026-09-21T14:14:00").contains(&newest.as_str()), "{newest}");
}

#[test]
fn a_hint_is_there_from_the_first_moment_of_a_publication_and_goes_with_it() {
    let mut stream = Stream::new(Config::default());
    stream.begin();
    play(&mut stream, 0, steady(10, 60));
    let mut version = stream.segmenter.version();
    let hint = |stream: &Stream| {
        let text = stream.segmenter.media_playlist(&PlaylistRequest::default(), &[]).unwrap();
        Playlist::parse(&text).hint
    };
    assert!(hint(&stream).is_some());
    for is_on in [false, true, false, true] {
        if is_on {
            stream.segmenter.begin(9, stream.now);
        } else {
            stream.segmenter.end(stream.now);
        }
        assert_eq!(hint(&stream).is_some(), is_on);
        // hls.js stops if the segment that is announced has another number of discontinuities than its place.
        let text = stream.segmenter.media_playlist(&PlaylistRequest::default(), &[]).unwrap();
        let announced =
            text.split_once("#EXT-X-DISCONTINUITY\n").expect("it is there from the end of the one before").1;
        assert_eq!(announced.starts_with("#EXT-X-PRELOAD-HINT"), is_on, "{text}");
        assert!(is_on || announced.is_empty(), "{text}");
        assert!(stream.segmenter.version() > version, "the text is made again");
        version = stream.segmenter.version();
    }
}

#[test]
fn memory_is_bounded() {
    let config = Config { bytes: 200_000, ..Config::default() };
    let mut stream = Stream::new(config);
    stream.begin();
    for frame in 0..3000u64 {
        stream.segmenter.push(AccessUnit {
            codec: VideoCodec::Avc.into(),
            track: 0,
            key: frame % 60 == 0,
            timestamp: (frame * 33) as u32,
            nanoseconds: 0,
            composition_time: 0,
            payload: Bytes::from(vec![0; 5000]).into(),
        });
        assert!(stream.segmenter.bytes() <= 320_000, "{}", stream.segmenter.bytes());
    }
    assert!(stream.segmenter.stats().dropped > 0);
    // Sound that never moves on, beside pictures that have stopped.
    for _ in 0..100_000 {
        stream.segmenter.push(AccessUnit {
            codec: AudioCodec::Aac.into(),
            track: 0,
            key: true,
            timestamp: 99_000,
            nanoseconds: 0,
            composition_time: 0,
            payload: Bytes::new().into(),
        });
    }
    assert!(stream.segmenter.bytes() <= 320_000);
}

#[test]
fn names_cannot_be_guessed_and_depend_on_key_and_stream() {
    let first = |key: u8, stream: &[u8]| {
        let mut segmenter = Stream::new(Config::default());
        segmenter.segmenter = Segmenter::new(Config::default(), NameKey::new([key; 32]), stream, NOW);
        segmenter.begin();
        play(&mut segmenter, 0, steady(10, 60));
        segmenter.checker.last_checked().segments[0].uri.clone()
    };
    let names = [first(1, b"live/a"), first(2, b"live/a"), first(1, b"live/b")];
    assert!(names[0] != names[1] && names[0] != names[2]);
    let mut stream = Stream::new(Config::default());
    stream.begin();
    play(&mut stream, 0, steady(10, 60));
    let name = stream.checker.last_checked().segments[0].uri.clone();
    let wrong = name.replace('-', "-0")[..name.len()].to_owned();
    for wrong in [&wrong[..], "", "1", "i-", "../etc/passwd", "1.99999999999999999999-", &name[..name.len() - 1]] {
        assert_eq!(stream.segmenter.find(wrong), Found::Missing, "{wrong}");
    }
}

#[test]
fn directives_are_read_as_the_draft_says() {
    let parse = PlaylistRequest::parse;
    assert_eq!(parse(""), Ok(PlaylistRequest::default()));
    let request = PlaylistRequest { segment: Some(7), part: Some(2), skip: true };
    assert_eq!(parse("s=1&_HLS_msn=7&_HLS_part=2&_HLS_skip=YES"), Ok(request));
    assert!(parse("_HLS_part=2").is_err() && parse("_HLS_msn=-1").is_err() && parse("_HLS_msn=").is_err());
    assert!(parse("_HLS_msn=99999999999999999999").is_err());
    let fresh = Segmenter::new(Config::default(), NameKey::new([0; 32]), b"", NOW);
    assert!(matches!(fresh.decide(&PlaylistRequest::default()), Decision::Wait(_)));
    assert_eq!(fresh.media_playlist(&PlaylistRequest::default(), &[]), None);
}

#[test]
fn dates_follow_the_time_when_timestamps_jump() {
    for (jump, known) in [(3_600_000i64, true), (-3_600_000, true), (-3_600_000, false)] {
        let mut stream = Stream::new(Config::default());
        stream.begin();
        let begin = 4_000_000u64;
        for frame in 0..1000u64 {
            let time = (begin + frame * 40).saturating_add_signed(if frame < 500 { 0 } else { jump });
            if frame == 500 && known {
                stream.segmenter.date(time as u32, NOW + frame * 40);
            }
            stream.video(time, frame % 50 == 0);
            stream.audio(time);
            stream.audio(time + 20);
        }
        let playlist = stream.segmenter.media_playlist(&PlaylistRequest::default(), &[]).expect("it has segments");
        let last = playlist.lines().filter_map(|line| line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:")).next_back();
        // The newest segment, or the one that is made, begins in the last six of the forty seconds.
        let date = last.expect("it has dates");
        let seconds: u64 = date[17..19].parse().expect("seconds");
        assert!(date.starts_with("2026-09-21T14:13:5") && (54..60).contains(&seconds), "{jump}: {date}");
    }
}

#[test]
fn a_segment_is_a_few_pieces_for_all_that_it_is_sent_to() {
    let mut stream = Stream::new(Config { part: None, ..Config::default() });
    stream.begin();
    for frame in 0..500 {
        stream.video(frame * 40, frame % 50 == 0);
        stream.audio(frame * 40);
    }
    for complete in stream.segmenter.complete_from(0) {
        assert_eq!(complete.media.pieces.len(), 1, "{complete:?}");
    }
    // What is long is not copied.
    let long = Bytes::from(vec![7; 100_000]);
    for frame in 500..700 {
        let key = frame % 50 == 0;
        let payload = if key { long.clone() } else { Bytes::from_static(b"picture") };
        stream.push(AccessUnit {
            codec: VideoCodec::Avc.into(),
            track: 0,
            key,
            timestamp: frame * 40,
            nanoseconds: 0,
            composition_time: 0,
            payload: payload.into(),
        });
    }
    let newest = stream.segmenter.complete_from(0).last().expect("there is one").media;
    assert!(newest.pieces.len() <= 5, "{newest:?}");
    assert!(newest.pieces.iter().any(|piece| piece.as_ptr() == long.as_ptr()), "it is shared");
}
