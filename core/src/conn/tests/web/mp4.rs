//! Live streams as fragmented MP4.

use mp4_atom::{Any, Decode, Moof, Moov, Trun};

use super::*;
use crate::source::SourceLimits;

/// A sequence header of AVC, made with x264.
const RECORD: &str = "0164001effe1001a6764001eacd940a02fea4c0440000003004000000c83c58b658001000668ebe3cb22c0fdf8f800";

fn avc_header() -> Vec<u8> {
    [&[0x17, 0, 0, 0, 0][..], &hex::decode(RECORD).expect("hex")].concat()
}

/// The same with another profile.
fn other_header() -> Vec<u8> {
    let mut header = avc_header();
    header[6] = 0x4d;
    header
}

fn published() -> (Harness, Client) {
    published_with(Config::default())
}

fn published_with(config: Config) -> (Harness, Client) {
    let harness = Harness::with(config);
    let mut publisher = harness.publisher("cam");
    let headers = [peer::video(0, &avc_header()), peer::audio(0, peer::AUDIO_HEADER)].concat();
    publisher.send(&harness, &[headers, gop(0, 1), gop(80, 2)].concat());
    (harness, publisher)
}

/// What a player has got, as another reader sees it.
#[derive(Debug, Default)]
struct File {
    inits: Vec<Moov>,
    /// Samples of each fragment.
    fragments: Vec<Vec<Sample>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Sample {
    track: u32,
    time: u64,
    composition: i64,
    duration: u32,
    is_key: bool,
    payload: Vec<u8>,
}

impl File {
    fn of(mut bytes: &[u8]) -> Self {
        let mut file = File::default();
        while !bytes.is_empty() {
            let before = bytes;
            match Any::decode(&mut bytes).expect("boxes") {
                Any::Ftyp(_) => assert_eq!(file.inits.is_empty(), file.fragments.is_empty()),
                Any::Moov(moov) => file.inits.push(moov),
                Any::Moof(moof) => {
                    assert!(matches!(Any::decode(&mut bytes), Ok(Any::Mdat(_))), "payloads follow");
                    file.fragments.push(samples(&moof, before));
                }
                other => panic!("{other:?}"),
            }
        }
        file
    }

    fn track(&self, track: u32) -> Vec<Sample> {
        self.fragments.iter().flatten().filter(|sample| sample.track == track).cloned().collect()
    }

    fn times(&self, track: u32) -> Vec<u64> {
        self.track(track).iter().map(|sample| sample.time).collect()
    }

    /// Numbers of the tracks that the init segment has.
    fn tracks(&self) -> Vec<u32> {
        self.inits[0].trak.iter().map(|track| track.tkhd.track_id).collect()
    }
}

fn samples(moof: &Moof, bytes: &[u8]) -> Vec<Sample> {
    let mut samples = Vec::new();
    for traf in &moof.traf {
        let mut time = traf.tfdt.as_ref().expect("a time").base_media_decode_time;
        for Trun { data_offset, samples: run } in &traf.trun {
            let mut place = data_offset.expect("a place") as usize;
            for entry in run {
                let size = entry.size.or(traf.tfhd.default_sample_size).expect("a size") as usize;
                let duration = entry.duration.or(traf.tfhd.default_sample_duration).expect("a duration");
                let flags = entry.flags.or(traf.tfhd.default_sample_flags).expect("flags");
                samples.push(Sample {
                    track: traf.tfhd.track_id,
                    time,
                    composition: entry.cts.unwrap_or(0),
                    duration,
                    is_key: flags & 0x1_0000 == 0,
                    payload: bytes[place..place + size].to_vec(),
                });
                time += u64::from(duration);
                place += size;
            }
        }
    }
    samples
}

/// What a WebSocket has got, without the heads of messages.
fn messages(browser: &Browser) -> Vec<u8> {
    let (_, mut rest) = browser.answer();
    let mut all = Vec::new();
    while let [0x82, length, after @ ..] = rest {
        let (length, after) = match length {
            126 => (usize::from(u16::from_be_bytes([after[0], after[1]])), &after[2..]),
            length => (usize::from(*length), after),
        };
        all.extend_from_slice(&after[..length]);
        rest = &after[length..];
    }
    assert!(rest.is_empty() || rest[0] == 0x88, "{rest:?}");
    all
}

#[test]
fn a_player_by_mp4_begins_with_an_init_segment_and_the_newest_key_frame() {
    let (harness, mut publisher) = published();
    let mut browser = Browser::asking(&harness, &get("/live/cam.mp4"));
    let (head, _) = browser.answer();
    assert!(head.contains("Content-Type: video/mp4; codecs=\"avc1.64001e,mp4a.40.2\"\r\n"), "{head}");
    assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
    let file = File::of(&browser.body().0);
    assert_eq!((file.inits.len(), file.tracks()), (1, vec![1, 2]));
    let first = &file.fragments[0];
    // How long the key frame lasts is known.
    let expected =
        [(1, 7200, 3600, true, &peer::key_frame(2)[5..]), (1, 10_800, 3600, false, &peer::inter_frame(2)[5..])];
    let found: Vec<_> = first.iter().map(|s| (s.track, s.time, s.duration, s.is_key, &s.payload[..])).collect();
    assert_eq!(found[..2], expected);
    assert_eq!(found[2], (2, 90 * 44_100 / 1000, 1024, true, &peer::audio_frame(2)[2..]));
    publisher.send(&harness, &gop(160, 3));
    browser.poll(&harness);
    let file = File::of(&browser.body().0);
    assert_eq!(file.times(1), [7200, 10_800, 14_400, 18_000]);
    assert_eq!(file.times(2), [3969, 170 * 44_100 / 1000]);
    assert_eq!(browser.conn.stats().snapshot(harness.now).frames_out, 2 + 3 + 3, "with the headers");
}

#[test]
fn players_by_mp4_share_a_batch() {
    let (harness, mut publisher) = published();
    let requests = [get("/live/cam.mp4"), get("/live/cam.live.mp4"), upgrade("/live/cam.mp4"), get("/live/cam.flv")];
    let mut browsers = requests.map(|request| Browser::asking(&harness, &request));
    publisher.send(&harness, &gop(160, 3));
    let mut batches = Batches::default();
    let mut pointers = Vec::new();
    for browser in &mut browsers {
        let share = batches.share(&mut browser.conn).expect("there is something new");
        let bytes = share.bytes().clone();
        pointers.push(bytes.as_ptr());
        assert!(browser.conn.wrote(harness.now, share, bytes.len()).expect("its own"));
        browser.received.extend_from_slice(&bytes);
    }
    assert_eq!(pointers[0], pointers[1], "it is made once");
    let files = [browsers[0].body().0, browsers[1].body().0, messages(&browsers[2])].map(|body| File::of(&body));
    for file in &files {
        let last = file.fragments.last().expect("there are some");
        assert_eq!(last.len(), 3, "one fragment for all");
        assert_eq!((last[0].time, last[1].time, last[2].time), (14_400, 18_000, 7497));
        // The time between the last frames tells how long the newest one lasts.
        assert_eq!(last.iter().map(|sample| sample.duration).collect::<Vec<_>>(), [3600, 3600, 1024]);
        assert_eq!(last[2].payload, peer::audio_frame(3)[2..]);
    }
    assert!(browsers[3].tags().last().expect("a tag").contains("9 at 200"));
    // One by one the same samples come.
    let mut polled = Browser::asking(&harness, &get("/live/cam.mp4"));
    let mut shared = Browser::asking(&harness, &get("/live/cam.mp4"));
    publisher.send(&harness, &gop(240, 4));
    polled.poll(&harness);
    let share = Batches::default().share(&mut shared.conn).expect("there is something new");
    shared.received.extend_from_slice(&share.bytes().clone());
    let [polled, shared] = [polled, shared].map(|browser| File::of(&browser.body().0));
    for track in [1, 2] {
        let without_durations = |file: &File| -> Vec<_> {
            file.track(track).into_iter().map(|sample| Sample { duration: 0, ..sample }).collect()
        };
        assert_eq!(without_durations(&polled), without_durations(&shared));
    }
}

#[test]
fn a_batch_of_mp4_that_is_begun_is_completed() {
    for count in [0, 1, 20, 200] {
        let (harness, mut publisher) = published();
        let mut browser = Browser::asking(&harness, &get("/live/cam.mp4"));
        publisher.send(&harness, &gop(160, 3));
        let share = Batches::default().share(&mut browser.conn).expect("there is something new");
        browser.received.extend_from_slice(&share.bytes()[..count]);
        assert!(!browser.conn.wrote(harness.now, share, count).expect("its own"));
        publisher.send(&harness, &gop(240, 4));
        browser.poll(&harness);
        let times = File::of(&browser.body().0).times(1);
        assert_eq!(times, [7200, 10_800, 14_400, 18_000, 21_600, 25_200], "{count}");
    }
}

#[test]
fn the_head_of_mp4_waits_for_the_first_pictures_or_a_second() {
    let mut harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    publisher.send(&harness, &[peer::video(0, &avc_header()), peer::audio(0, peer::AUDIO_HEADER)].concat());
    let mut browser = Browser::asking(&harness, &get("/live/cam.mp4"));
    assert_eq!(browser.status(), 0);
    publisher.send(&harness, &peer::video(0, &peer::key_frame(1)));
    browser.poll(&harness);
    assert_eq!(browser.status(), 0, "how long it lasts is not known");
    browser.run(&mut harness, Duration::from_millis(999));
    assert_eq!(browser.status(), 0);
    browser.run(&mut harness, Duration::from_millis(100));
    let file = File::of(&browser.body().0);
    assert_eq!((file.tracks(), file.track(1)[0].duration), (vec![1, 2], 45_000));
    // A large key frame does not wait: the queue may have no room for more.
    let mut publisher = harness.publisher("large");
    publisher.send(&harness, &[peer::video(0, &avc_header()), peer::audio(0, peer::AUDIO_HEADER)].concat());
    publisher.send(&harness, &peer::video(0, &[peer::key_frame(1), vec![1; 40_000]].concat()));
    let browser = Browser::asking(&harness, &get("/live/large.mp4"));
    assert_eq!(File::of(&browser.body().0).track(1)[0].payload.len(), 40_001);
}

#[test]
fn a_stream_without_sound_or_without_pictures_has_one_track() {
    let video = [peer::video(0, &avc_header()), gop(0, 1)].concat();
    let audio = [peer::audio(0, peer::AUDIO_HEADER), peer::audio(0, &peer::audio_frame(1))].concat();
    let silent = [peer::video(0, &avc_header()), peer::video(0, &peer::key_frame(1))].concat();
    let silent = [silent, peer::video(40, &peer::inter_frame(1))].concat();
    // Sound without configuration cannot be decoded.
    for (sent, tracks, kind) in [
        (&silent, vec![1], "video/mp4; codecs=\"avc1.64001e\""),
        (&video, vec![1], "video/mp4; codecs=\"avc1.64001e\""),
        (&audio, vec![2], "audio/mp4; codecs=\"mp4a.40.2\""),
    ] {
        let mut harness = Harness::new();
        let mut publisher = harness.publisher("cam");
        publisher.send(&harness, sent);
        let mut browser = Browser::asking(&harness, &get("/live/cam.mp4"));
        for time in 1..30_u32 {
            browser.run(&mut harness, Duration::from_millis(100));
            publisher.send(
                &harness,
                &if tracks == [1] {
                    peer::video(time * 100, &peer::inter_frame(2))
                } else {
                    peer::audio(time * 100, &peer::audio_frame(2))
                },
            );
            browser.poll(&harness);
        }
        let (head, _) = browser.answer();
        assert!(head.contains(&format!("Content-Type: {kind}\r\n")), "{head}");
        let file = File::of(&browser.body().0);
        assert_eq!(file.tracks(), tracks);
        assert!(file.track(tracks[0]).len() >= 29, "{file:?}");
    }
}

#[test]
fn another_configuration_gives_a_web_socket_another_init_segment_and_ends_a_file() {
    let (harness, mut publisher) = published();
    let mut socket = Browser::asking(&harness, &upgrade("/live/cam.mp4"));
    let mut file = Browser::asking(&harness, &get("/live/cam.mp4"));
    // The same header again changes nothing.
    publisher.send(&harness, &[peer::video(160, &avc_header()), gop(160, 3)].concat());
    for browser in [&mut socket, &mut file] {
        browser.poll(&harness);
    }
    assert_eq!(File::of(&messages(&socket)).inits.len(), 1);
    publisher.send(&harness, &[peer::video(240, &other_header()), gop(240, 4)].concat());
    assert!(Batches::default().share(&mut socket.conn).is_none(), "it is polled");
    for browser in [&mut socket, &mut file] {
        browser.poll(&harness);
    }
    let got = File::of(&messages(&socket));
    assert_eq!(got.inits.len(), 2);
    assert_eq!(got.times(1), [7200, 10_800, 14_400, 18_000, 21_600, 25_200]);
    let (body, is_complete) = file.body();
    assert!(is_complete, "it ends in good order");
    assert_eq!(File::of(&body).times(1), [7200, 10_800, 14_400, 18_000]);
    assert_eq!(file.reason(), "stream_over");
    // Batches go on.
    publisher.send(&harness, &gop(320, 5));
    assert!(Batches::default().share(&mut socket.conn).is_some());

    // Sound at another rate has other units.
    let (harness, mut publisher) = published();
    let mut socket = Browser::asking(&harness, &upgrade("/live/cam.mp4"));
    publisher.send(&harness, &[peer::audio(160, &[0xaf, 0, 0x11, 0x90]), gop(160, 3)].concat());
    socket.poll(&harness);
    assert_eq!(File::of(&messages(&socket)).times(2), [3969, 170 * 48]);
}

#[test]
fn a_track_that_comes_later_ends_the_answer() {
    let mut harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    let video = [peer::video(0, &avc_header()), peer::video(0, &peer::key_frame(1))].concat();
    publisher.send(&harness, &[video, peer::video(40, &peer::inter_frame(1))].concat());
    let mut socket = Browser::asking(&harness, &upgrade("/live/cam.mp4"));
    socket.run(&mut harness, Duration::from_secs(2));
    assert_eq!(File::of(&messages(&socket)).tracks(), [1]);
    publisher.send(&harness, &[peer::audio(50, peer::AUDIO_HEADER), gop(80, 2)].concat());
    socket.poll(&harness);
    assert_eq!(
        (socket.reason(), &socket.received[socket.received.len() - 4..]),
        ("stream_over", &[0x88, 2, 3, 0xe8][..])
    );
    let mut again = Browser::asking(&harness, &upgrade("/live/cam.mp4"));
    again.poll(&harness);
    assert_eq!(File::of(&messages(&again)).tracks(), [1, 2]);
}

#[test]
fn a_publisher_that_comes_back_in_time_goes_on_in_the_file() {
    let (mut harness, mut publisher) = published();
    let mut browser = Browser::asking(&harness, &get("/live/cam.mp4"));
    publisher.disconnect(&harness);
    browser.poll(&harness);
    browser.run(&mut harness, Duration::from_secs(9));
    let mut again = harness.publisher("cam");
    let headers = [peer::video(0, &avc_header()), peer::audio(0, peer::AUDIO_HEADER)].concat();
    again.send(&harness, &[headers, gop(0, 5)].concat());
    browser.poll(&harness);
    let file = File::of(&browser.body().0);
    assert_eq!((file.inits.len(), file.track(1).len()), (1, 4));
    assert!(file.times(1).is_sorted() && file.times(1)[2] > 10_800, "{:?}", file.times(1));
    again.disconnect(&harness);
    browser.poll(&harness);
    browser.run(&mut harness, Duration::from_secs(11));
    assert_eq!((browser.body().1, browser.reason()), (true, "stream_over"));
}

#[test]
fn a_slow_player_by_mp4_skips_to_a_key_frame() {
    let source = SourceLimits { milliseconds: 100, ..SourceLimits::default() };
    let (mut harness, mut publisher) = published_with(VhostConfig { source, ..VhostConfig::default() }.into());
    let mut browser = Browser::asking(&harness, &get("/live/cam.mp4"));
    for number in 3..23 {
        harness.pass(Duration::from_millis(40));
        let large = [peer::key_frame(number), vec![number; 40_000]].concat();
        publisher.send(&harness, &peer::video(40 * u32::from(number), &large));
        browser.poll_full(&harness);
    }
    assert!(browser.conn.outbound().remaining() < 200_000, "its queue is bounded");
    browser.poll(&harness);
    let file = File::of(&browser.body().0);
    let pictures = file.track(1);
    assert!(pictures.last().expect("the newest").is_key && pictures.len() < 12, "{}", pictures.len());
    assert!(file.times(1).is_sorted());
    assert!(browser.conn.stats().snapshot(harness.now).dropped.frames > 0);
}

#[test]
fn a_stream_that_mp4_has_no_form_for_is_refused() {
    let mut harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    // Sorenson H.263.
    publisher.send(&harness, &peer::video(0, &[0x12, 0, 0, 0x84, 0]));
    for request in [get("/live/cam.mp4"), upgrade("/live/cam.mp4")] {
        let mut browser = Browser::asking(&harness, &request);
        browser.run(&mut harness, Duration::from_secs(2));
        assert_eq!(browser.status(), 406);
        publisher.send(&harness, &peer::video(2000, &[0x12, 0, 0, 0x84, 0]));
        browser.poll(&harness);
        browser.run(&mut harness, Duration::from_secs(5));
        assert_eq!(browser.reason(), "served");
    }
}

#[test]
fn times_go_on_when_timestamps_begin_again() {
    let harness = Harness::new();
    let mut publisher = harness.publisher("cam");
    let headers = [peer::video(0, &avc_header()), peer::audio(0, peer::AUDIO_HEADER)].concat();
    let begin = u32::MAX - 99;
    let gop = |time: u32, number: u8| {
        let inter = peer::video(time.wrapping_add(40), &peer::inter_frame(number));
        [peer::video(time, &peer::key_frame(number)), inter].concat()
    };
    publisher.send(&harness, &[headers, gop(begin, 1)].concat());
    let mut browser = Browser::asking(&harness, &get("/live/cam.mp4"));
    let first = File::of(&browser.body().0).times(1)[0];
    publisher.send(&harness, &gop(begin.wrapping_add(80), 2));
    browser.poll(&harness);
    let mut shared = Batches::default();
    publisher.send(&harness, &gop(begin.wrapping_add(160), 3));
    // The first times after the beginning are far from where it counts from.
    if let Some(share) = shared.share(&mut browser.conn) {
        let bytes = share.bytes().clone();
        assert!(browser.conn.wrote(harness.now, share, bytes.len()).expect("its own"));
        browser.received.extend_from_slice(&bytes);
    }
    browser.poll(&harness);
    let times = File::of(&browser.body().0).times(1);
    let passed: Vec<u64> = times.iter().map(|time| (time - first) / 90).collect();
    assert_eq!(passed, [0, 40, 80, 120, 160, 200]);
}

#[test]
fn times_that_go_back_and_forth_are_shown_where_they_should_be() {
    let (harness, mut publisher) = published();
    let mut browser = Browser::asking(&harness, &get("/live/cam.mp4"));
    // An encoder that sends the times of presentation.
    let times = [160_u32, 280, 200, 240];
    publisher.send(&harness, &peer::video(times[0], &peer::key_frame(3)));
    for time in &times[1..] {
        publisher.send(&harness, &peer::video(*time, &peer::inter_frame(3)));
    }
    let mut shared = Browser::asking(&harness, &get("/live/cam.mp4"));
    browser.poll(&harness);
    shared.poll(&harness);
    for browser in [&browser, &shared] {
        let file = File::of(&browser.body().0);
        let pictures = file.track(1);
        let last = &pictures[pictures.len() - 4..];
        assert!(last.windows(2).all(|pair| pair[0].time < pair[1].time), "decoding goes forward: {last:?}");
        let shown: Vec<i64> = last.iter().map(|s| (s.time.cast_signed() + s.composition) / 90).collect();
        assert_eq!(shown, times.map(i64::from));
    }
}

/// Browsers leave out pictures up to a key frame behind one that is decoded more than twice as long after another as that
/// lasts.
#[test]
fn pictures_at_a_variable_rate_are_decoded_without_gaps_and_shown_at_their_times() {
    let (harness, mut publisher) = published();
    let mut browser = Browser::asking(&harness, &get("/live/cam.mp4"));
    let mut shared = Batches::default();
    let times = [160_u32, 200, 240, 280, 320, 1020, 1060, 1100, 3100, 5900, 5940, 5980, 6020];
    for (index, time) in times.into_iter().enumerate() {
        let picture = if index == 0 { peer::key_frame(3) } else { peer::inter_frame(3) };
        publisher.send(&harness, &peer::video(time, &picture));
        if index % 2 == 0 {
            browser.poll(&harness);
        } else if let Some(share) = shared.share(&mut browser.conn) {
            let bytes = share.bytes().clone();
            assert!(browser.conn.wrote(harness.now, share, bytes.len()).expect("its own"));
            browser.received.extend_from_slice(&bytes);
        }
    }
    browser.poll(&harness);
    let pictures = File::of(&browser.body().0).track(1);
    let last = &pictures[pictures.len() - times.len()..];
    for pair in last.windows(2) {
        let passed = pair[1].time.checked_sub(pair[0].time).expect("decoding goes forward");
        assert!(passed <= 2 * u64::from(pair[0].duration), "{pair:?}");
    }
    let shown: Vec<i64> = last.iter().map(|s| (s.time.cast_signed() + s.composition) / 90).collect();
    assert_eq!(shown, times.map(i64::from));
}
