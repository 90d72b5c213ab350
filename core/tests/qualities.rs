//! Streams in several qualities: what a viewer gets, in virtual time, with each playlist read by the checker of all rules.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anabranch_core::hls;
use anabranch_core::http::{self, Answer};
use anabranch_core::hub::{Hub, HubConfig, Publisher};
use anabranch_core::message::{Message, MessageType, Payload};
use anabranch_core::packager::{Effect, Packager, Target, Ticket, Time};
use anabranch_core::url::{DEFAULT_VHOST, StreamKey};

#[path = "support/playlist.rs"]
#[allow(dead_code)] // each test uses a part of it
mod playlist;

use playlist::{Checker, Playlist};

const AVC: &str = "0164001effe1001a6764001eacd940a02fea4c0440000003004000000c83c58b658001000668ebe3cb22c0fdf8f800";
const AAC: [u8; 2] = [0x12, 0x10];
/// The track of sound that is in Opus, and its configuration.
const OPUS: u8 = 3;
const OPUS_HEAD: &[u8] = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0";
/// Some day in 2026, in milliseconds.
const WALL: u64 = 1_790_000_000_000;
/// Units of a millisecond in the times of pictures.
const TICKS: u64 = 90;

struct Number(u32);

impl Ticket for Number {
    fn is_gone(&self) -> bool {
        false
    }
}

fn key(stream: &str) -> StreamKey {
    StreamKey::new(DEFAULT_VHOST, "live", stream).expect("a good name")
}

fn message(type_id: u8, timestamp: u32, body: &[u8]) -> Message {
    Message { chunk_stream: 6, timestamp, type_id, message_stream_id: 1, payload: Payload::from(body) }
}

/// A publisher of 25 pictures a second, and of sound.
struct Encoder {
    publisher: Publisher,
    /// Milliseconds from key frame to key frame.
    group: u64,
    /// What its timestamps are behind the time of the test.
    behind: u64,
    /// Numbers of the tracks of each medium.
    video: Vec<u8>,
    audio: Vec<u8>,
    /// Bytes of a picture.
    picture: usize,
    has_begun: bool,
}

impl Encoder {
    fn push(&mut self, now: Instant, type_id: u8, timestamp: u32, body: &[u8]) {
        self.publisher.push(now, message(type_id, timestamp, body)).expect("it has the name");
    }

    fn step(&mut self, now: Instant, time: u64) {
        let time = time - self.behind;
        let timestamp = u32::try_from(time).expect("a short test");
        let (video, audio) = (self.video.clone(), self.audio.clone());
        if !std::mem::replace(&mut self.has_begun, true) {
            let avc = hex::decode(AVC).expect("hexadecimal digits");
            for track in &video {
                self.push(now, MessageType::VIDEO, timestamp, &picture_head(*track, true, 0, &avc));
            }
            for track in &audio {
                self.push(now, MessageType::AUDIO, timestamp, &sound_head(*track, 0, &AAC));
            }
        }
        let data = [&[0, 0, 0, 4, 9, 1, 2, 3][..], &vec![7; self.picture]].concat();
        for track in &video {
            let body = picture_head(*track, time.is_multiple_of(self.group), 1, &data);
            self.push(now, MessageType::VIDEO, timestamp, &body);
        }
        for offset in [0, 20] {
            for track in &audio {
                self.push(now, MessageType::AUDIO, timestamp + offset, &sound_head(*track, 1, &[7, *track]));
            }
        }
    }
}

/// A message of pictures: of track 0 in the plain form, as OBS sends it.
fn picture_head(track: u8, key: bool, packet: u8, data: &[u8]) -> Vec<u8> {
    let kind = if key { 0x10 } else { 0x20 };
    match track {
        0 => [&[kind | 7, packet, 0, 0, 0][..], data].concat(),
        track => {
            let composition: &[u8] = if packet == 1 { &[0, 0, 0] } else { &[] };
            [&[0x80 | kind | 6, packet][..], b"avc1", &[track], composition, data].concat()
        }
    }
}

fn sound_head(track: u8, packet: u8, data: &[u8]) -> Vec<u8> {
    match track {
        0 => [&[0xaf, packet][..], data].concat(),
        OPUS => [&[0x95, packet][..], b"Opus", &[track], if packet == 0 { OPUS_HEAD } else { data }].concat(),
        track => [&[0x95, packet][..], b"mp4a", &[track], data].concat(),
    }
}

/// A server in virtual time, whose viewers are all granted what they ask for.
struct Server {
    hub: Hub,
    packager: Packager<Number>,
    encoders: BTreeMap<String, Encoder>,
    start: Instant,
    /// Milliseconds since the start.
    time: u64,
    settings: hls::Settings,
    asks: bool,
    answers: HashMap<u32, Answer>,
    viewers: u64,
    left: u64,
    short: Vec<hls::Shortage>,
    last: u32,
}

impl Server {
    fn new(renditions: &[&str]) -> Self {
        let hub = Hub::new(HubConfig::default());
        #[allow(clippy::disallowed_methods)] // any instant will do; nothing else reads the clock
        let start = Instant::now();
        let renditions = renditions.iter().map(|end| Box::from(*end)).collect();
        Server {
            packager: Packager::new(hub.clone(), [7; 32]),
            hub,
            encoders: BTreeMap::new(),
            start,
            time: 60_000,
            settings: hls::Settings { renditions, ..hls::Settings::default() },
            asks: false,
            answers: HashMap::new(),
            viewers: 0,
            left: 0,
            short: Vec::new(),
            last: 0,
        }
    }

    fn now(&self) -> Time {
        Time { now: self.start + Duration::from_millis(self.time), wall: WALL + self.time }
    }

    fn publish(&mut self, stream: &str, group: u64, behind: u64) -> &mut Encoder {
        let publisher = self.hub.publish(&key(stream)).expect("it is free");
        self.encode(stream, publisher, group, behind)
    }

    fn encode(&mut self, stream: &str, publisher: Publisher, group: u64, behind: u64) -> &mut Encoder {
        let (video, audio) = (vec![0], vec![0]);
        let encoder = Encoder { publisher, group, behind, video, audio, picture: 100, has_begun: false };
        self.encoders.insert(stream.to_owned(), encoder);
        self.encoders.get_mut(stream).expect("it was inserted")
    }

    fn unpublish(&mut self, stream: &str) {
        let Encoder { publisher, .. } = self.encoders.remove(stream).expect("it publishes");
        let id = publisher.stream_id();
        publisher.end(self.now().now);
        self.packager.wake(id);
        self.turn();
    }

    fn run(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / 40 {
            let (time, now) = (self.time, self.now().now);
            for encoder in self.encoders.values_mut() {
                encoder.step(now, time);
                self.packager.wake(encoder.publisher.stream_id());
            }
            self.turn();
            self.time += 40;
        }
    }

    fn turn(&mut self) {
        self.packager.turn(self.now());
        self.act();
    }

    fn act(&mut self) {
        while let Some(effect) = self.packager.poll() {
            match effect {
                Effect::Answer(Number(ticket), answer) => {
                    assert!(self.answers.insert(ticket, answer).is_none(), "one answer for each request");
                }
                Effect::View(view) => {
                    self.viewers += 1;
                    let key = key(&view.path.stream);
                    self.packager.granted(self.now(), view.session, &key, &self.settings, self.asks);
                }
                Effect::Leave(_) => self.left += 1,
                Effect::Follow(stream) => _ = self.packager.wake(stream),
                Effect::Short(_, shortage) => self.short.push(shortage),
                Effect::Unfollow(_) | Effect::Complete(..) => {}
            }
        }
    }

    fn ask(&mut self, target: &str) -> u32 {
        let text = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut reader = http::RequestReader::new(http::Limits::default());
        let request = reader.read(&mut text.as_bytes()).expect("it is legal").expect("it is whole");
        let target = Target::of(&request).expect("it is for segments");
        self.last += 1;
        let address = SocketAddr::from(([10, 0, 0, 1], 5000));
        let (now, ticket) = (self.now(), Number(self.last));
        self.packager.request(now, target, &request, Some(address), &http::Settings::default(), ticket);
        self.act();
        self.last
    }

    /// Status and body, as soon as they come.
    fn bytes(&mut self, uri: &str) -> (u16, Vec<u8>) {
        let ticket = self.ask(&format!("/live/{uri}"));
        for _ in 0..1000 {
            if let Some(answer) = self.answers.remove(&ticket) {
                return (answer.status, answer.pieces().flat_map(|piece| piece.to_vec()).collect());
            }
            self.run(40);
        }
        panic!("no answer to {uri}");
    }

    fn get(&mut self, uri: &str) -> (u16, String) {
        let (status, body) = self.bytes(uri);
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    fn ok(&mut self, uri: &str) -> String {
        let (status, body) = self.get(uri);
        assert_eq!(status, 200, "{uri}: {body}");
        body
    }
}

/// The addresses of a multivariant playlist, each with what is said of it.
fn variants(list: &str) -> Vec<(String, String)> {
    let lines: Vec<_> = list.lines().collect();
    let pairs = lines.windows(2).filter(|pair| pair[0].starts_with("#EXT-X-STREAM-INF:"));
    pairs.map(|pair| (pair[1].to_owned(), pair[0].to_owned())).collect()
}

fn addresses(list: &str) -> Vec<String> {
    variants(list).into_iter().map(|(uri, _)| uri).collect()
}

fn number(said: &str, name: &str) -> u64 {
    let (_, rest) = said.split_once(&format!("{name}=")).unwrap_or_else(|| panic!("{said} has {name}"));
    rest.split([',', '.']).next().and_then(|digits| digits.parse().ok()).expect("a number")
}

/// Milliseconds of the day.
fn time_of_day(date: &str) -> u64 {
    let part = |range: std::ops::Range<usize>| date[range].parse::<u64>().expect("digits");
    ((part(11..13) * 60 + part(14..16)) * 60 + part(17..19)) * 1000 + part(20..23)
}

/// What the dates of a playlist are ahead of the media times of its segments, in milliseconds: the same for all.
fn ahead(server: &mut Server, playlist: &Playlist) -> u64 {
    let mut found = None;
    for segment in &playlist.segments {
        let (_, bytes) = server.bytes(&segment.uri);
        let at = bytes.windows(4).position(|window| window == b"tfdt").expect("it is a fragment") + 8;
        let ticks = u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let date = segment.date_time.as_ref().expect("it has a date");
        let ahead = time_of_day(date) * TICKS - ticks;
        let first = *found.get_or_insert(ahead);
        assert!(ahead.abs_diff(first) <= 2 * TICKS, "{ahead} {first}");
    }
    found.expect("there is a segment")
}

/// Plays all qualities of a list for so long, and reads each playlist with the checker.
fn play_all(server: &mut Server, uris: &[String], milliseconds: u64) -> Vec<Playlist> {
    let mut checkers: Vec<_> = uris.iter().map(|_| Checker::lenient()).collect();
    let end = server.time + milliseconds;
    while server.time < end {
        for (uri, checker) in uris.iter().zip(&mut checkers) {
            checker.check(&server.ok(uri));
        }
        server.run(400);
    }
    checkers.iter().map(|checker| checker.last_checked().clone()).collect()
}

#[test]
fn qualities_that_are_published_are_listed_and_keep_all_rules_and_a_viewer_of_all_is_one() {
    let mut server = Server::new(&["_low", "_none"]);
    server.publish("cam", 2000, 0);
    server.run(3000);
    // Another encoder, with another clock and other key frames.
    server.publish("cam_low", 3000, 47_000).picture = 20;
    let list = server.ok("cam.m3u8");
    assert_eq!(addresses(&list), ["cam.m3u8?_quality=0", "cam.m3u8?_quality=1"], "{list}");
    let said = variants(&list);
    for (_, said) in &said {
        assert!(said.contains("CODECS=\"avc1.64001e,mp4a.40.2\"") && said.contains("RESOLUTION=638x362"), "{said}");
        assert_eq!(number(said, "FRAME-RATE"), 25, "{said}");
        assert!(number(said, "BANDWIDTH") >= number(said, "AVERAGE-BANDWIDTH"), "{said}");
    }
    assert!(number(&said[0].1, "AVERAGE-BANDWIDTH") > number(&said[1].1, "AVERAGE-BANDWIDTH"), "{list}");
    let playlists = play_all(&mut server, &addresses(&list), 60_000);
    let [first, second] = &playlists[..] else { panic!("two of them") };
    assert_eq!((first.target, first.part_target), (second.target, second.part_target));
    assert_eq!(first.discontinuity_sequence, second.discontinuity_sequence);
    assert!(ahead(&mut server, first).abs_diff(ahead(&mut server, second)) <= 2 * TICKS, "pictures of one moment");
    let of =
        |playlist: &Playlist, folder: &str| playlist.segments.iter().all(|segment| segment.uri.starts_with(folder));
    assert!(of(first, "cam/") && of(second, "cam_low/"));
    assert_eq!((server.viewers, server.left), (1, 0));
    for quality in ["2", "3", "m1", "cam_secret", ""] {
        assert_eq!(server.get(&format!("cam.m3u8?_quality={quality}")).0, 404, "{quality}");
    }
    server.run(60_000);
    assert_eq!((server.left, server.packager.stats().segmenters), (1, 0), "they end together");
}

#[test]
fn the_playlists_of_a_session_have_its_number_and_a_new_session_keeps_the_quality() {
    let mut server = Server::new(&["_low"]);
    server.asks = true;
    server.publish("cam", 2000, 0);
    server.publish("cam_low", 2000, 0);
    let ticket = server.ask("/live/cam.m3u8?user=me");
    let answer = server.answers.remove(&ticket).expect("it is answered at once");
    let location = |answer: &Answer| {
        let field = answer.fields.iter().find(|(name, _)| name == "Location");
        field.map(|(_, value)| value.clone()).expect("it leads to the session")
    };
    let address = location(&answer);
    let list = server.ok(&address);
    assert_eq!(addresses(&list), [format!("{address}&_quality=0"), format!("{address}&_quality=1")]);
    for uri in addresses(&list) {
        let playlist = server.ok(&uri);
        let other = addresses(&list).into_iter().find(|other| *other != uri).expect("the other one");
        assert!(playlist.contains(&format!("#EXT-X-RENDITION-REPORT:URI=\"{other}\",LAST-MSN=")), "{playlist}");
    }
    assert_eq!(server.viewers, 1);
    server.run(30_000);
    assert_eq!(server.left, 1, "it was silent");
    let ticket = server.ask(&format!("/live/{address}&_quality=1"));
    let answer = server.answers.remove(&ticket).expect("it is answered at once");
    let again = location(&answer);
    assert!(answer.status == 302 && again.ends_with("&_quality=1") && again != address, "{again}");
    assert!(server.ok(&again).contains("cam_low/"));
}

#[test]
fn reports_say_what_the_other_playlists_have_at_that_moment() {
    let mut server = Server::new(&["_low"]);
    server.publish("cam", 2000, 0);
    server.publish("cam_low", 3000, 10_000);
    let list = server.ok("cam.m3u8");
    assert!(!server.ok("cam.m3u8?_quality=0").contains("_quality=0"), "it does not report about itself");
    for _ in 0..40 {
        server.run(360);
        let [first, second] = [0, 1].map(|quality| server.ok(&format!("cam.m3u8?_quality={quality}")));
        let report = first.lines().find_map(|line| line.strip_prefix("#EXT-X-RENDITION-REPORT:")).expect("one report");
        assert!(report.starts_with(&format!("URI=\"{}\"", addresses(&list)[1])), "{report}");
        let second = Playlist::parse(&second);
        let (last, segment) = second.numbered().last().expect("it has segments");
        assert_eq!(number(report, "LAST-MSN"), last, "{report}");
        if !segment.parts.is_empty() {
            assert_eq!(number(report, "LAST-PART") + 1, segment.parts.len() as u64, "{report}");
        }
    }
}

#[test]
fn a_quality_that_ends_is_gone_while_others_go_on_and_can_come_back() {
    for gone in ["cam", "cam_low"] {
        let mut server = Server::new(&["_low"]);
        server.publish("cam", 2000, 0);
        server.publish("cam_low", 2000, 0);
        let both = addresses(&server.ok("cam.m3u8"));
        let (lost, kept) = if gone == "cam" { (&both[0], &both[1]) } else { (&both[1], &both[0]) };
        play_all(&mut server, &both, 10_000);
        server.unpublish(gone);
        assert_eq!(server.ok("cam.m3u8").matches("#EXT-X-STREAM-INF").count(), 1, "what is live is listed");
        for _ in 0..11 {
            server.run(1000);
            assert!(!server.ok(lost).contains("#EXT-X-ENDLIST"), "its publisher may come back");
            server.ok(kept);
        }
        server.run(2000);
        // A player that is told that it is not there takes another one; one that is told of an end stops.
        for _ in 0..80 {
            server.run(1000);
            assert_eq!(server.get(lost).0, 404);
            assert!(!server.ok(kept).contains("#EXT-X-ENDLIST"));
        }
        assert_eq!(addresses(&server.ok("cam.m3u8")), std::slice::from_ref(kept));
        assert_eq!((server.viewers, server.left), (1, 0), "its viewer is there all the time");
        server.publish(gone, 2000, 0);
        server.run(10_000);
        assert_eq!(addresses(&server.ok("cam.m3u8")), both);
        play_all(&mut server, &both, 10_000);
        assert_eq!((server.viewers, server.left), (1, 0));
    }
}

#[test]
fn a_stream_is_there_when_only_another_quality_is_published() {
    let mut server = Server::new(&["_low"]);
    server.publish("cam_low", 2000, 0);
    let list = server.ok("cam.m3u8");
    assert_eq!(addresses(&list), ["cam.m3u8?_quality=1"], "{list}");
    play_all(&mut server, &addresses(&list), 10_000);
    server.publish("cam", 2000, 0);
    server.run(8000);
    let list = server.ok("cam.m3u8");
    assert_eq!(addresses(&list).len(), 2, "{list}");
    let playlists = play_all(&mut server, &addresses(&list), 20_000);
    assert_eq!(playlists[0].target, playlists[1].target);
}

/// The discontinuity sequence number of the newest segment.
fn newest_number(server: &mut Server, uri: &str) -> u64 {
    let playlist = Playlist::parse(&server.ok(uri));
    let listed = playlist.segments.iter().filter(|segment| segment.discontinuity).count();
    playlist.discontinuity_sequence + listed as u64
}

fn republish(server: &mut Server, stream: &str) {
    server.unpublish(stream);
    server.run(1000);
    server.publish(stream, 2000, 0);
    server.run(3000);
}

#[test]
fn a_quality_that_was_viewed_before_its_stream_has_the_same_numbers_and_times() {
    for milliseconds in [5000, 30_000] {
        let mut server = Server::new(&["_low", "_mid"]);
        for stream in ["cam", "cam_low", "cam_mid"] {
            server.publish(stream, 2000, if stream == "cam_low" { 10_000 } else { 0 });
        }
        server.ok("cam_low.m3u8");
        for _ in 0..milliseconds / 1000 {
            server.run(1000);
            server.ok("cam_low.m3u8");
        }
        server.ok("cam_mid.m3u8");
        let all = addresses(&server.ok("cam.m3u8"));
        assert_eq!(all.len(), 3);
        let playlists = play_all(&mut server, &all, 50_000);
        let first = ahead(&mut server, &playlists[0]);
        for playlist in &playlists {
            assert_eq!(playlist.discontinuity_sequence, playlists[0].discontinuity_sequence);
            assert_eq!(playlist.target, playlists[0].target);
            assert!(playlist.segments.iter().all(|segment| !segment.discontinuity), "nothing was missing");
            assert!(ahead(&mut server, playlist).abs_diff(first) <= 2 * TICKS, "pictures of one moment");
        }
    }
}

#[test]
fn a_quality_that_begins_late_or_again_has_the_discontinuity_number_of_its_moment() {
    let mut server = Server::new(&["_low"]);
    server.publish("cam", 2000, 0);
    server.ok("cam.m3u8");
    let both = ["cam.m3u8?_quality=0", "cam.m3u8?_quality=1"];
    for _ in 0..2 {
        for _ in 0..12 {
            republish(&mut server, "cam");
            server.ok(both[0]);
        }
        server.publish("cam_low", 2000, 0);
        server.run(10_000);
        assert_eq!(newest_number(&mut server, both[0]), newest_number(&mut server, both[1]));
        server.unpublish("cam_low");
        // Its playlist ends.
        for _ in 0..70 {
            server.run(1000);
            server.ok(both[0]);
        }
    }
}

#[test]
fn encoders_that_come_back_one_after_the_other_make_one_discontinuity_each_time() {
    let mut server = Server::new(&["_low"]);
    server.publish("cam", 2000, 0);
    server.publish("cam_low", 2000, 0);
    let both = addresses(&server.ok("cam.m3u8"));
    play_all(&mut server, &both, 20_000);
    let before = newest_number(&mut server, &both[0]);
    for times in 1..=6 {
        server.unpublish("cam");
        server.publish("cam", 2000, 0);
        // The other one closes a segment before it goes.
        server.run(8000);
        server.unpublish("cam_low");
        server.publish("cam_low", 2000, 0);
        play_all(&mut server, &both, 30_000 + times * 600);
        let numbers = [&both[0], &both[1]].map(|uri| newest_number(&mut server, uri));
        assert_eq!(numbers, [before + times; 2]);
    }
}

#[test]
fn a_quality_whose_hold_is_short_is_gone_and_does_not_end_the_stream() {
    let mut server = Server::new(&["_low"]);
    server.settings.config.hold = Duration::from_secs(2);
    server.publish("cam", 2000, 0);
    server.publish("cam_low", 2000, 0);
    let both = addresses(&server.ok("cam.m3u8"));
    play_all(&mut server, &both, 10_000);
    server.unpublish("cam_low");
    for second in 0..20 {
        let (status, playlist) = server.get(&both[1]);
        assert!(!playlist.contains("#EXT-X-ENDLIST"), "{playlist}");
        assert!(status == 404 || second < 4, "{second}: {playlist}");
        server.ok(&both[0]);
        server.run(1000);
    }
    server.unpublish("cam");
    server.run(3000);
    let playlist = server.ok(&both[0]);
    assert!(playlist.contains("#EXT-X-ENDLIST") && !playlist.contains("RENDITION-REPORT"), "{playlist}");
}

#[test]
fn the_fallback_of_one_quality_is_for_viewers_that_have_no_other() {
    let mut server = Server::new(&["_low"]);
    server.publish("cam", 2000, 0);
    server.publish("cam_low", 2000, 0);
    let both = addresses(&server.ok("cam.m3u8"));
    play_all(&mut server, &both, 10_000);
    server.unpublish("cam");
    let fallback = server.hub.publish_fallback(&key("cam")).expect("it is free");
    server.encode("cam", fallback, 2000, 0);
    for _ in 0..10 {
        server.run(1000);
        assert_eq!(server.get(&both[0]).0, 404);
        assert_eq!(addresses(&server.ok("cam.m3u8")), both[1..]);
        server.ok(&both[1]);
    }
    server.unpublish("cam_low");
    server.run(14_000);
    assert_eq!(addresses(&server.ok("cam.m3u8")), both[..1]);
    server.ok(&both[0]);
}

#[test]
fn all_qualities_end_when_none_is_published_any_more() {
    let mut server = Server::new(&["_low"]);
    server.publish("cam", 2000, 0);
    server.publish("cam_low", 2000, 0);
    let both = addresses(&server.ok("cam.m3u8"));
    play_all(&mut server, &both, 10_000);
    server.unpublish("cam");
    server.unpublish("cam_low");
    for _ in 0..59 {
        server.run(1000);
        for uri in &both {
            assert!(!server.ok(uri).contains("#EXT-X-ENDLIST"));
        }
    }
    server.run(2000);
    for uri in &both {
        assert!(server.ok(uri).contains("#EXT-X-ENDLIST"), "{uri}");
    }
    server.run(60_000);
    assert_eq!(server.packager.stats().segmenters, 0);
    assert_eq!(server.get("cam.m3u8").0, 404);
}

#[test]
fn discontinuities_of_one_quality_are_in_the_others_after_a_while() {
    let mut server = Server::new(&["_low"]);
    server.publish("cam", 2000, 0);
    server.publish("cam_low", 2000, 0);
    let both = addresses(&server.ok("cam.m3u8"));
    for _ in 0..3 {
        server.unpublish("cam");
        server.run(3000);
        server.publish("cam", 2000, 0);
        server.run(2000);
        play_all(&mut server, &both, 30_000);
    }
    let newest = both.iter().map(|uri| {
        let playlist = Playlist::parse(&server.ok(uri));
        playlist.discontinuity_sequence
            + playlist.segments.iter().filter(|segment| segment.discontinuity).count() as u64
    });
    let newest: Vec<_> = newest.collect();
    assert_eq!(newest[0], newest[1]);
    let list = play_all(&mut server, &both, 1000);
    assert!(ahead(&mut server, &list[0]).abs_diff(ahead(&mut server, &list[1])) <= 2 * TICKS);
}

/// What the server's own programs publish has the timestamps of what they read, and comes later.
#[test]
fn a_quality_that_a_program_makes_has_the_dates_of_its_source() {
    let mut server = Server::new(&["_low"]);
    server.publish("cam", 2000, 0);
    server.run(1000);
    let publisher = server.hub.publish_passed(&key("cam_low")).expect("it is free");
    // 3,3 seconds late, with the timestamps of the source.
    server.encode("cam_low", publisher, 2000, 3320);
    let both = addresses(&server.ok("cam.m3u8"));
    assert_eq!(both.len(), 2);
    play_all(&mut server, &both, 20_000);
    let dates = both.iter().map(|uri| Playlist::parse(&server.ok(uri)));
    let key_frames = |playlist: &Playlist| -> Vec<u64> {
        let dates = playlist.segments.iter().filter_map(|segment| segment.date_time.as_deref());
        dates.map(|date| time_of_day(date) % 2000).collect()
    };
    // A key frame is at a whole number of two seconds of its publisher's time, and begins a segment.
    let phases: Vec<_> = dates.map(|playlist| key_frames(&playlist)).collect();
    let first = phases[0][0];
    assert!(phases.iter().flatten().all(|phase| phase.abs_diff(first) <= 2), "{phases:?}");
}

#[test]
fn the_pictures_of_a_publisher_of_several_are_qualities_with_the_same_sound() {
    let mut server = Server::new(&[]);
    let encoder = server.publish("cam", 2000, 0);
    encoder.video = vec![0, 1, 4];
    let list = server.ok("cam.m3u8");
    let names = ["0", "m1", "m4"].map(|name| format!("cam.m3u8?_quality={name}"));
    assert_eq!(addresses(&list), names, "{list}");
    assert!(!list.contains("#EXT-X-MEDIA"), "{list}");
    let playlists = play_all(&mut server, &names, 30_000);
    let ahead: Vec<_> = playlists.iter().map(|playlist| ahead(&mut server, playlist)).collect();
    assert!(ahead.iter().all(|one| one.abs_diff(ahead[0]) <= 2 * TICKS), "{ahead:?}");
    let uris: Vec<_> = playlists.iter().map(|playlist| playlist.segments[0].uri.clone()).collect();
    assert!(uris[0] != uris[1] && uris[1] != uris[2] && uris[0] != uris[2], "{uris:?}");
    for uri in &uris {
        let (status, bytes) = server.bytes(uri);
        let tracks = bytes.windows(4).filter(|window| window == b"traf").count();
        assert!(status == 200 && tracks >= 2, "{uri}: pictures and sound");
    }
    assert_eq!((server.viewers, server.packager.stats().segmenters), (1, 3));
}

#[test]
fn several_tracks_of_sound_have_their_own_playlists() {
    let mut server = Server::new(&[]);
    let encoder = server.publish("cam", 2000, 0);
    (encoder.video, encoder.audio) = (vec![0, 1], vec![0, 2]);
    let list = server.ok("cam.m3u8");
    assert_eq!(addresses(&list), ["cam.m3u8?_quality=v0", "cam.m3u8?_quality=v1"], "{list}");
    for (_, said) in variants(&list) {
        assert!(said.contains("CODECS=\"avc1.64001e,mp4a.40.2\"") && said.contains("AUDIO=\"sound\""), "{said}");
    }
    let sounds: Vec<_> = list.lines().filter(|line| line.starts_with("#EXT-X-MEDIA:TYPE=AUDIO")).collect();
    assert_eq!(sounds.len(), 2, "{list}");
    assert!(sounds[0].contains("DEFAULT=YES") && sounds[0].ends_with("URI=\"cam.m3u8?_quality=a0\""), "{list}");
    assert!(sounds[1].contains("DEFAULT=NO") && sounds[1].ends_with("URI=\"cam.m3u8?_quality=a2\""), "{list}");
    let all = ["v0", "v1", "a0", "a2"].map(|name| format!("cam.m3u8?_quality={name}"));
    let playlists = play_all(&mut server, &all, 20_000);
    for (playlist, sound) in playlists.iter().zip([None, None, Some(0), Some(2)]) {
        let (_, bytes) = server.bytes(&playlist.segments[0].uri);
        assert!(bytes.windows(4).any(|window| window == b"moof"));
        if let Some(track) = sound {
            assert!(bytes.ends_with(&[7, track]), "the sound of its track");
        }
    }
}

#[test]
fn each_variant_names_the_codecs_of_all_its_tracks_of_sound() {
    let mut server = Server::new(&[]);
    let encoder = server.publish("cam", 2000, 0);
    (encoder.video, encoder.audio) = (vec![0, 1], vec![0, 2, OPUS]);
    let list = server.ok("cam.m3u8");
    assert_eq!(list.lines().filter(|line| line.starts_with("#EXT-X-MEDIA:TYPE=AUDIO")).count(), 3, "{list}");
    for (_, said) in variants(&list) {
        assert!(said.contains("CODECS=\"avc1.64001e,mp4a.40.2,opus\""), "{said}");
    }
}

#[test]
fn a_stream_of_one_quality_has_no_list_and_players_of_it_never_get_one() {
    let mut server = Server::new(&[]);
    server.publish("cam", 2000, 0);
    let mut checker = Checker::default();
    checker.check(&server.ok("cam.m3u8"));
    // Its publisher comes back with more tracks.
    server.unpublish("cam");
    server.publish("cam", 2000, 0).video = vec![0, 1];
    for _ in 0..20 {
        server.run(1000);
        checker.check(&server.ok("cam.m3u8"));
    }
    assert_eq!(server.packager.stats().segmenters, 1);
    // Those that come when no viewer is left do.
    server.run(16_000);
    assert_eq!(server.left, 1);
    assert_eq!(addresses(&server.ok("cam.m3u8")).len(), 2);
}

#[test]
fn more_tracks_than_there_is_room_for_and_names_that_lead_back_are_bounded() {
    let mut server = Server::new(&["", "_low", "_low", "/../x", "\r\n"]);
    let encoder = server.publish("cam", 2000, 0);
    (encoder.video, encoder.audio) = ((0..=255).collect(), (0..=255).collect());
    let list = server.ok("cam.m3u8");
    let found = addresses(&list);
    assert!((1..=16).contains(&found.len()), "{list}");
    assert!(server.packager.stats().segmenters <= 17, "{:?}", server.packager.stats());
    for uri in found {
        server.ok(&uri);
    }
    server.unpublish("cam");
    server.run(120_000);
    assert_eq!(server.packager.stats().segmenters, 0);
}

#[test]
fn the_tracks_of_a_stream_share_its_memory() {
    let mut server = Server::new(&[]);
    server.settings.config.bytes = 300_000;
    let encoder = server.publish("cam", 2000, 0);
    (encoder.video, encoder.picture) = (vec![0, 1, 2, 3], 400);
    let found = addresses(&server.ok("cam.m3u8"));
    assert_eq!(found.len(), 4);
    for _ in 0..60 {
        server.run(1000);
        server.ok(&found[0]);
        assert!(server.packager.stats().bytes <= 450_000, "{:?}", server.packager.stats());
    }
    assert!(server.packager.stats().segmented.dropped > 0);
    let [shortage] = &server.short[..] else { panic!("it is told once: {:?}", server.short) };
    assert!(shortage.bytes == 300_000 && shortage.needed > 300_000, "{shortage:?}");
}

#[test]
fn a_stream_that_is_a_quality_by_its_name_has_no_list() {
    let mut server = Server::new(&["_low"]);
    server.publish("cam_low", 2000, 0);
    let mut checker = Checker::default();
    let begun = server.time;
    checker.check(&server.ok("cam_low.m3u8"));
    assert!(server.time - begun < 3000, "it waits for nothing but its first segment");
    assert_eq!(server.packager.stats().segmenters, 1);
}

/// Segments are made while streams are published, before anybody views them.
#[test]
fn qualities_that_are_not_viewed_yet_have_one_clock_as_well() {
    let mut server = Server::new(&["_low"]);
    server.settings.mode = hls::Mode::Always;
    server.publish("cam", 2000, 0);
    server.packager.publishes(server.now(), &key("cam"), &server.settings);
    server.run(4000);
    let publisher = server.hub.publish_passed(&key("cam_low")).expect("it is free");
    server.encode("cam_low", publisher, 2000, 2320);
    server.packager.publishes(server.now(), &key("cam_low"), &server.settings);
    server.run(20_000);
    let both = addresses(&server.ok("cam.m3u8"));
    let playlists = play_all(&mut server, &both, 10_000);
    let [first, second] = &playlists[..] else { panic!("two of them: {both:?}") };
    assert_eq!(first.discontinuity_sequence, second.discontinuity_sequence);
    assert!(ahead(&mut server, first).abs_diff(ahead(&mut server, second)) <= 2 * TICKS);
    let phase = |playlist: &Playlist| time_of_day(playlist.segments[0].date_time.as_deref().expect("a date")) % 2000;
    assert!(phase(first).abs_diff(phase(second)) <= 2, "the key frames are those of the source");
}
