mod headers;
mod keyless;
mod model;
mod seeking;

use std::time::Duration;

use super::*;
use crate::message::{Message, MessageType, Payload};
use crate::source::WireFormat;

/// Bytes of a frame in addition to its body: one full header.
const HEADER: u64 = 12;

fn at(start: Instant, milliseconds: u64) -> Instant {
    start + Duration::from_millis(milliseconds)
}

fn any_instant() -> Instant {
    #[allow(clippy::disallowed_methods)] // any instant will do; nothing else reads the clock
    Instant::now()
}

fn frame(type_id: u8, timestamp: u32, body: &[u8]) -> Frame {
    let message = Message { chunk_stream: 4, timestamp, type_id, message_stream_id: 1, payload: Payload::from(body) };
    Frame::encode(message, WireFormat { chunk_size: 60_000 })
}

fn video_header(timestamp: u32, number: u8) -> Frame {
    frame(MessageType::VIDEO, timestamp, &[0x17, 0, 0, 0, 0, 1, 100, 0, 31, 0xff, number])
}

fn audio_header(timestamp: u32, number: u8) -> Frame {
    frame(MessageType::AUDIO, timestamp, &[0xaf, 0, 0x12, number])
}

fn metadata(timestamp: u32, number: u8) -> Frame {
    let body = [b"\x02\x00\x0aonMetaData\x08\x00\x00\x00\x00\x00\x00\x09".as_slice(), &[5, number]].concat();
    frame(MessageType::DATA_AMF0, timestamp, &body)
}

fn key(timestamp: u32, number: u8) -> Frame {
    frame(MessageType::VIDEO, timestamp, &[0x17, 1, 0, 0, 0, number])
}

fn inter(timestamp: u32, number: u8) -> Frame {
    frame(MessageType::VIDEO, timestamp, &[0x27, 1, 0, 0, 0, number])
}

fn audio(timestamp: u32, number: u8) -> Frame {
    frame(MessageType::AUDIO, timestamp, &[0xaf, 1, number])
}

/// A source with a publisher, and the time when the publisher began.
fn live(limits: SourceLimits) -> (Source, Instant) {
    let mut source = Source::new(limits);
    source.begin();
    (source, any_instant())
}

fn push_all(source: &mut Source, now: Instant, frames: impl IntoIterator<Item = Frame>) {
    for frame in frames {
        source.push(now, frame);
    }
}

/// A frame as one word: what it is, its number, its time.
fn word(frame: &Frame) -> String {
    let body = frame.payload();
    let kind = match (frame.kind(), &body[..2]) {
        (FrameKind::Data, _) => "meta",
        (FrameKind::Video, [0x17, 0]) => "vh",
        (FrameKind::Audio, [0xaf, 0]) => "ah",
        (FrameKind::Video, [0x17, 1]) => "K",
        (FrameKind::Video, _) => "v",
        (FrameKind::Audio, _) => "a",
    };
    format!("{kind}{}@{}", body.last().expect("no empty frames in these tests"), frame.timestamp())
}

/// All that a player gets now, up to `Pending` or `Ended`.
fn read(source: &Source, cursor: &mut Cursor) -> Vec<String> {
    let mut words = Vec::new();
    loop {
        match source.next(cursor) {
            Next::Start(start) => {
                let headers: Vec<String> = start.headers.iter().map(word).collect();
                words.push(format!("start@{} [{}] {}", start.timestamp, headers.join(" "), gap(start.gap)));
            }
            Next::Frame(frame) => words.push(word(frame)),
            Next::Pending => return words,
            Next::Ended => {
                words.push("end".into());
                return words;
            }
        }
    }
}

fn gap(gap: Gap) -> String {
    format!("-{}f {}b {}ms", gap.frames, gap.bytes, gap.milliseconds)
}

const NO_GAP: &str = "-0f 0b 0ms";

#[test]
fn a_player_joins_at_the_newest_key_frame_with_metadata_video_and_audio_headers() {
    let (mut source, now) = live(SourceLimits::default());
    let mut early = source.join();
    assert!(matches!(source.next(&mut early), Next::Pending));
    // The order in which headers come does not matter.
    push_all(&mut source, now, [audio_header(0, 1), video_header(0, 1), metadata(0, 1), metadata(0, 2)]);
    assert_eq!(read(&source, &mut early), [""; 0], "headers alone are no start");
    push_all(&mut source, now, [key(0, 1), inter(40, 2), key(80, 3), audio(85, 4), inter(120, 5)]);
    let mut late = source.join();
    let headers = "[meta2@0 vh1@0 ah1@0]";
    let expected = [format!("start@80 {headers} {NO_GAP}"), "K3@80".into(), "a4@85".into(), "v5@120".into()];
    assert_eq!(read(&source, &mut late), expected);
    // The player that waited gets everything from the first key frame on, and both continue with new frames.
    let all = [format!("start@0 {headers} {NO_GAP}"), "K1@0".into(), "v2@40".into()];
    assert_eq!(read(&source, &mut early), [&all[..], &expected[1..]].concat());
    source.push(now, inter(160, 6));
    assert_eq!(
        (read(&source, &mut late), read(&source, &mut early)),
        (vec!["v6@160".into()], vec!["v6@160".to_owned()])
    );
    assert_eq!(source.stats().key_frames, 2);
}

#[test]
fn a_header_that_changes_reaches_each_player_once_and_in_its_place() {
    let (mut source, now) = live(SourceLimits::default());
    push_all(&mut source, now, [video_header(0, 1), audio_header(0, 1), key(0, 1), inter(40, 2)]);
    let mut early = source.join();
    assert_eq!(read(&source, &mut early).len(), 3);
    push_all(&mut source, now, [audio_header(50, 2), audio(60, 3), video_header(70, 2)]);
    // A player that joins before the next key frame gets the old headers, and then the new ones where they came.
    let mut between = source.join();
    let start = format!("start@0 [vh1@0 ah1@0] {NO_GAP}");
    let expected = [&start, "K1@0", "v2@40", "ah2@50", "a3@60", "vh2@70"];
    assert_eq!(read(&source, &mut between), expected);
    push_all(&mut source, now, [key(80, 4), inter(120, 5)]);
    let mut late = source.join();
    assert_eq!(read(&source, &mut late), [&format!("start@80 [vh2@70 ah2@50] {NO_GAP}"), "K4@80", "v5@120"]);
    assert_eq!(read(&source, &mut early), ["ah2@50", "a3@60", "vh2@70", "K4@80", "v5@120"]);
    assert_eq!(read(&source, &mut between), ["K4@80", "v5@120"]);
}

#[test]
fn metadata_that_was_withdrawn_is_not_given_to_new_players() {
    let (mut source, now) = live(SourceLimits::default());
    push_all(&mut source, now, [metadata(0, 1), video_header(0, 1), key(0, 1)]);
    source.clear_metadata();
    let mut cursor = source.join();
    assert!(read(&source, &mut cursor)[0].contains("meta1"), "it was in force at that key frame");
    source.push(now, key(40, 2));
    let mut cursor = source.join();
    assert_eq!(read(&source, &mut cursor)[0], format!("start@40 [vh1@0] {NO_GAP}"));
    assert!(!source.headers().is_empty());
}

#[test]
fn a_gop_over_the_bound_cannot_be_joined_and_players_wait_for_the_next_key_frame() {
    let limits = SourceLimits { bytes: 100, ..SourceLimits::default() };
    let (mut source, now) = live(limits);
    push_all(&mut source, now, [video_header(0, 1), key(0, 1)]);
    for number in 0..20 {
        source.push(now, inter(40 + u32::from(number), number));
        assert!(source.log_bytes() <= 100);
    }
    let mut cursor = source.join();
    assert_eq!(read(&source, &mut cursor), [""; 0]);
    source.push(now, key(100, 2));
    assert_eq!(read(&source, &mut cursor), [&format!("start@100 [vh1@0] {NO_GAP}"), "K2@100"]);
}

#[test]
fn a_frame_larger_than_the_bound_stays_alone() {
    let (mut source, now) = live(SourceLimits { bytes: 100, ..SourceLimits::default() });
    push_all(&mut source, now, [video_header(0, 1), key(0, 1)]);
    let mut cursor = source.join();
    assert_eq!(read(&source, &mut cursor).len(), 2);
    let large = [[0x17, 1, 0, 0, 0].as_slice(), &[9; 500]].concat();
    source.push(now, frame(MessageType::VIDEO, 40, &large));
    assert_eq!((source.log_frames(), source.log_bytes()), (1, 517));
    assert_eq!(read(&source, &mut cursor), ["K9@40"]);
    source.push(now, inter(80, 1));
    assert_eq!(source.log_frames(), 1, "and is dropped with the next");
}

#[test]
fn a_slow_player_falls_off_and_its_gap_is_counted_exactly() {
    let limits = SourceLimits { frames: 5, ..SourceLimits::default() };
    let (mut source, now) = live(limits);
    push_all(&mut source, now, [video_header(0, 1), key(0, 1)]);
    let mut slow = source.join();
    assert_eq!(read(&source, &mut slow).len(), 2);
    push_all(&mut source, now, [inter(40, 2), audio(50, 3), inter(80, 4)]);
    assert_eq!(source.behind(&slow), 3);
    assert!(matches!(source.next(&mut slow), Next::Frame(frame) if word(frame) == "v2@40"));
    // It misses 6 frames: two that it had not read, and the four after them. Then it starts at a key frame.
    push_all(
        &mut source,
        now,
        [inter(120, 5), inter(160, 6), inter(200, 7), audio(210, 8), key(240, 9), inter(280, 10)],
    );
    let lost = [3u64, 6, 6, 6, 6, 3].iter().map(|body| body + HEADER).sum::<u64>();
    let start = format!("start@240 [vh1@0] -6f {lost}b 200ms");
    assert_eq!(read(&source, &mut slow), [&start, "K9@240", "v10@280"]);
    assert_eq!(source.behind(&slow), 0);
}

/// A start counts what was missed. If the player falls behind again before its first frame, the next start must not
/// count the same frames again.
#[test]
fn a_gap_is_counted_once() {
    let (mut source, now) = live(SourceLimits { frames: 2, ..SourceLimits::default() });
    push_all(&mut source, now, [key(0, 1)]);
    let mut cursor = source.join();
    assert_eq!(read(&source, &mut cursor).len(), 2);
    push_all(&mut source, now, [inter(40, 2), inter(80, 3), key(120, 4)]);
    let Next::Start(start) = source.next(&mut cursor) else { panic!("it fell off") };
    assert_eq!(start.gap.frames, 2);
    push_all(&mut source, now, [inter(160, 5), inter(200, 6), key(240, 7)]);
    let Next::Start(start) = source.next(&mut cursor) else { panic!("it fell off again") };
    assert_eq!((start.gap.frames, start.gap.milliseconds), (3, 120), "the key frame it never read, and two more");
}

#[test]
fn a_slow_player_gets_the_last_gop_of_a_publication_that_has_ended() {
    let limits = SourceLimits { frames: 4, ..SourceLimits::default() };
    let (mut source, now) = live(limits);
    let mut slow = source.join();
    push_all(&mut source, now, [key(0, 1)]);
    assert_eq!(read(&source, &mut slow)[1..], ["K1@0"]);
    push_all(&mut source, now, [inter(40, 2), inter(80, 3), key(120, 4), inter(160, 5), inter(200, 6)]);
    source.end(now);
    assert_eq!(read(&source, &mut slow)[1..], ["K4@120", "v5@160", "v6@200", "end"]);
    assert_eq!(read(&source, &mut source.join()), ["end"], "a player that joins later gets nothing of it");
}

#[test]
fn a_restart_goes_to_the_newest_key_frame_and_counts_what_lies_between() {
    let (mut source, now) = live(SourceLimits::default());
    push_all(&mut source, now, [key(0, 1), inter(40, 2)]);
    let mut cursor = source.join();
    assert_eq!(read(&source, &mut cursor).len(), 3);
    push_all(&mut source, now, [inter(80, 3), inter(120, 4), key(160, 5), inter(200, 6)]);
    source.restart(&mut cursor);
    assert_eq!(source.behind(&cursor), 0, "it waits for a start");
    let missed = 2 * (HEADER + 6);
    assert_eq!(read(&source, &mut cursor), [&format!("start@160 [] -2f {missed}b 120ms"), "K5@160", "v6@200"]);
}

#[test]
fn audio_alone_starts_at_its_newest_frame() {
    let (mut source, now) = live(SourceLimits::default());
    push_all(&mut source, now, [audio_header(0, 1), audio(0, 1), audio(23, 2), audio(46, 3)]);
    let mut cursor = source.join();
    assert_eq!(read(&source, &mut cursor), [&format!("start@46 [ah1@0] {NO_GAP}"), "a3@46"]);
    source.push(now, audio(69, 4));
    assert_eq!(read(&source, &mut cursor), ["a4@69"]);
    assert_eq!(source.stats().key_frames, 0, "audio frames are no key frames");
}

#[test]
fn video_alone_starts_at_key_frames() {
    let (mut source, now) = live(SourceLimits::default());
    let mut cursor = source.join();
    push_all(&mut source, now, [video_header(0, 1), inter(0, 1), inter(40, 2)]);
    assert_eq!(read(&source, &mut cursor), [""; 0], "frames before the first key frame would not decode");
    push_all(&mut source, now, [key(80, 3), inter(120, 4)]);
    assert_eq!(read(&source, &mut cursor), [&format!("start@80 [vh1@0] {NO_GAP}"), "K3@80", "v4@120"]);
}

#[test]
fn audio_before_the_first_video_is_sent_and_video_waits_for_its_key_frame() {
    let (mut source, now) = live(SourceLimits::default());
    let mut early = source.join();
    push_all(&mut source, now, [audio_header(0, 1), audio(0, 1)]);
    assert_eq!(read(&source, &mut early), [&format!("start@0 [ah1@0] {NO_GAP}"), "a1@0"]);
    push_all(&mut source, now, [video_header(10, 1), inter(10, 2), audio(23, 3)]);
    assert_eq!(read(&source, &mut early), ["vh1@10", "a3@23"], "video that cannot be decoded is left out");
    // Until there is a key frame, players start at the last audio frame before the video.
    let mut between = source.join();
    assert_eq!(read(&source, &mut between), [&format!("start@0 [ah1@0] {NO_GAP}"), "a1@0", "vh1@10", "a3@23"]);
    push_all(&mut source, now, [key(40, 4), inter(80, 5)]);
    assert_eq!(read(&source, &mut early), ["K4@40", "v5@80"]);
    let mut late = source.join();
    assert_eq!(read(&source, &mut late), [&format!("start@40 [vh1@10 ah1@0] {NO_GAP}"), "K4@40", "v5@80"]);
}

#[test]
fn publishers_come_and_go_and_cursors_stay() {
    let (mut source, now) = live(SourceLimits::default());
    push_all(&mut source, now, [metadata(0, 1), video_header(0, 1), audio_header(0, 1), key(0, 1), inter(40, 2)]);
    let mut cursor = source.join();
    assert!(matches!(source.next(&mut cursor), Next::Start(_)));
    assert!(matches!(source.next(&mut cursor), Next::Frame(_)));
    let mut reader = source.join();
    source.end(at(now, 50));
    assert_eq!((source.is_live(), source.ended()), (false, Some(at(now, 50))));
    // A player can still read the frames that it has not read.
    let mut done = cursor.clone();
    assert_eq!(read(&source, &mut done), ["v2@40", "end"]);
    assert_eq!(read(&source, &mut reader), ["end"], "no player starts with a stream that is over");

    let epoch = source.epoch();
    source.begin();
    assert_eq!((source.epoch(), source.ended()), (epoch + 1, None));
    assert_eq!(source.log_bytes(), 0);
    assert_eq!(read(&source, &mut cursor), [""; 0]);
    push_all(&mut source, at(now, 100), [video_header(90, 2), key(90, 3)]);
    // The old publisher's last frame was not read, so it counts as missed. The header before the key frame and the time
    // between the two publishers do not count.
    let lost = HEADER + 6;
    assert_eq!(read(&source, &mut cursor), [&format!("start@90 [vh2@90] -1f {lost}b 40ms"), "K3@90"]);
    assert_eq!(read(&source, &mut reader), [&format!("start@90 [vh2@90] {NO_GAP}"), "K3@90"]);
}

#[test]
fn a_player_that_waited_gets_a_publication_that_was_over_before_it_read() {
    let mut source = Source::new(SourceLimits::default());
    let mut waited = source.join();
    for number in [1, 2] {
        source.begin();
        let now = any_instant();
        let mut joined = source.join();
        push_all(&mut source, now, [video_header(0, number), key(0, number), inter(40, number)]);
        source.end(now);
        let frames = [format!("K{number}@0"), format!("v{number}@40"), "end".into()];
        assert_eq!(read(&source, &mut waited)[1..], frames);
        assert_eq!(read(&source, &mut joined)[1..], frames);
        assert_eq!(read(&source, &mut source.join()), ["end"], "a player that joins later gets nothing of it");
    }
}

#[test]
fn an_abandoned_publication_ended_with_its_last_frame() {
    let (mut source, now) = live(SourceLimits::default());
    source.abandon();
    assert_eq!((source.is_live(), source.ended()), (false, None));
    source.begin();
    source.push(at(now, 7), key(0, 1));
    source.abandon();
    assert_eq!(source.ended(), Some(at(now, 7)));
}

#[test]
fn the_timeline_of_a_later_publisher_goes_on_where_the_earlier_ended() {
    let mut source = Source::new(SourceLimits::default());
    let now = any_instant();
    let mut first = source.begin();
    assert_eq!(first.map(now, FrameKind::Video, true, 5000), 5000, "the first passes unchanged");
    source.push(now, key(5000, 1));
    source.end(at(now, 10));
    let mut second = source.begin();
    // The next publisher begins 3 s later, with another clock.
    assert_eq!(second.map(at(now, 3000), FrameKind::Video, true, 70), 8000);
    assert_eq!(second.map(at(now, 3040), FrameKind::Video, true, 110), 8040);
    // The next one begins at once, and time passes the wrap.
    for time in [0x4000_0000, 0xa000_0000, u32::MAX] {
        source.push(at(now, 9000), key(time, 2));
    }
    let mut third = source.begin();
    assert_eq!(third.map(at(now, 9000), FrameKind::Video, true, 0), 0);
}

#[test]
fn memory_stays_within_each_bound_over_a_long_run() {
    let bounds = [
        SourceLimits { bytes: 3000, ..SourceLimits::default() },
        SourceLimits { frames: 100, ..SourceLimits::default() },
        SourceLimits { milliseconds: 2000, ..SourceLimits::default() },
    ];
    for limits in bounds {
        let (mut source, now) = live(limits);
        let mut most = (0, 0, 0);
        push_all(&mut source, now, [video_header(0, 1), audio_header(0, 1)]);
        for number in 0..20_000u32 {
            let time = number * 20;
            source.push(now, if number % 50 == 0 { key(time, 1) } else { inter(time, 2) });
            source.push(now, audio(time, 3));
            let oldest = source.log.front().expect("never empty").frame.timestamp();
            most = (most.0.max(source.log_bytes()), most.1.max(source.log_frames()), most.2.max(time - oldest));
            assert_eq!(source.log_bytes(), source.log.iter().map(|entry| entry.frame.wire().len()).sum::<usize>());
        }
        assert!(most.0 <= limits.bytes && most.1 <= limits.frames, "{most:?} with {limits:?}");
        // A GOP is one second here. It is always kept; older frames are kept only within the bound.
        assert!(most.2 <= limits.milliseconds.max(1000), "{most:?} with {limits:?}");
        assert!(most.2 >= 900, "{most:?}: something is kept");
    }
}

#[test]
fn without_players_only_the_newest_gop_is_kept() {
    let (mut source, now) = live(SourceLimits::default());
    let gops = |from: u32| (from..from + 5).flat_map(|number| [key(number * 1000, 1), inter(number * 1000 + 40, 2)]);
    push_all(&mut source, now, gops(0));
    assert_eq!(source.log_frames(), 10);
    source.keep_past(false);
    push_all(&mut source, now, gops(5));
    assert_eq!(source.log_frames(), 2);
    let mut cursor = source.join();
    assert!(matches!(source.next(&mut cursor), Next::Start(start) if start.timestamp == 9000));
    source.keep_past(true);
    push_all(&mut source, now, gops(10));
    assert_eq!(source.log_frames(), 12, "kept again, from the oldest frame that is left");
}

#[test]
fn a_gop_longer_than_the_time_bound_is_kept() {
    let (mut source, now) = live(SourceLimits { milliseconds: 100, ..SourceLimits::default() });
    push_all(&mut source, now, [key(0, 1), inter(500, 2), key(1000, 3), inter(5000, 4), inter(9000, 5)]);
    assert_eq!(source.log_frames(), 3);
    let mut cursor = source.join();
    assert_eq!(read(&source, &mut cursor)[1..], ["K3@1000", "v4@5000", "v5@9000"]);
}

/// A sequence header of AV1 for `tracks`, in one message.
fn many_tracks(tracks: impl IntoIterator<Item = u8>, length: usize) -> Frame {
    let mut body = b"\x96\x10av01".to_vec();
    for track in tracks {
        body.push(track);
        body.extend_from_slice(&u32::try_from(length).expect("short").to_be_bytes()[1..]);
        body.resize(body.len() + length, track);
    }
    frame(MessageType::VIDEO, 0, &body)
}

fn sequence_end(track: u8) -> Frame {
    frame(MessageType::VIDEO, 0, &[b"\x96\x02av01".as_slice(), &[track]].concat())
}

fn audio_track_header(track: u8) -> Frame {
    frame(MessageType::AUDIO, 0, &[b"\x95\x00mp4a".as_slice(), &[track, 0x12, 0x10]].concat())
}

#[test]
fn headers_of_more_tracks_than_allowed_are_relayed_but_not_kept() {
    let (mut source, now) = live(SourceLimits::default());
    push_all(&mut source, now, [key(0, 0)]);
    let mut there = source.join();
    assert_eq!(read(&source, &mut there).len(), 2);
    push_all(&mut source, now, [many_tracks(0..=255, 1), key(40, 1)]);
    assert!(source.headers().is_empty());
    assert_eq!(
        (source.stats().unkept_headers, read(&source, &mut there).len()),
        (1, 2),
        "a player that is there gets it"
    );
    // The default track and sixteen more of each medium.
    push_all(&mut source, now, (0..=16).map(|track| many_tracks([track], 1)));
    push_all(&mut source, now, (0..=16).map(audio_track_header));
    assert_eq!((source.stats().unkept_headers, source.headers().iter().count()), (1, 34));
    push_all(&mut source, now, [many_tracks([17], 1), audio_track_header(17), many_tracks([0, 3, 16], 1)]);
    assert_eq!((source.stats().unkept_headers, source.headers().iter().count()), (3, 32));
    push_all(&mut source, now, [sequence_end(5), many_tracks([17], 1)]);
    assert_eq!(
        (source.stats().unkept_headers, source.headers().iter().count()),
        (3, 32),
        "there is room for another one"
    );
}

#[test]
fn headers_in_force_stay_within_their_bytes_and_what_they_replace_is_void() {
    let (mut source, now) = live(SourceLimits { header_bytes: 3000, ..SourceLimits::default() });
    push_all(&mut source, now, (1..=16).map(|track| many_tracks([track], 900)));
    assert!(source.headers().bytes() <= 3000);
    assert_eq!((source.headers().iter().count(), source.stats().unkept_headers), (3, 13));
    // A new header of a track replaces the old one and takes over its bytes.
    push_all(&mut source, now, [many_tracks([2], 800)]);
    assert_eq!((source.headers().iter().count(), source.stats().unkept_headers), (3, 13));
    push_all(&mut source, now, [many_tracks([2], 3000), key(0, 1)]);
    let tracks: Vec<u8> = source.headers().iter().map(|frame| frame.payload()[6]).collect();
    assert_eq!((tracks, source.stats().unkept_headers), (vec![1, 3], 14), "a header out of date would mislead");
    assert_eq!(source.stats().frames, 19, "all were relayed");
}

#[test]
fn key_frames_share_the_headers_of_many_tracks() {
    let (mut source, now) = live(SourceLimits::default());
    for time in 0..200 {
        push_all(&mut source, now, [many_tracks(0..16, 10), audio_header(time, 1), key(time, 1)]);
    }
    let sets: Vec<_> = source.log.iter().filter_map(|entry| entry.headers.as_ref()).collect();
    assert_eq!(sets.len(), 200);
    let of_log: Vec<_> = source.log.iter().map(|entry| entry.frame.wire().as_ptr()).collect();
    assert!(sets.iter().all(|set| set.iter().all(|header| of_log.contains(&header.wire().as_ptr()))));
    // 17 entries each, of a few machine words, for any number of tracks in the message.
    assert!(sets.iter().all(|set| set.iter().count() == 2 && set.structure_bytes() <= 1024));
}

#[test]
fn the_plain_form_of_a_multitrack_message_counts_towards_the_log() {
    let (mut source, now) = live(SourceLimits { bytes: 10_000, ..SourceLimits::default() });
    for _ in 0..20 {
        source.push(now, many_tracks([0], 900));
    }
    assert_eq!(source.log_frames(), 5, "the log holds two forms of each");
    assert!(source.log_bytes() <= 10_000);
}

#[test]
fn players_that_join_share_the_headers_payload() {
    let (mut source, now) = live(SourceLimits::default());
    let body = [&[0x17, 0, 0, 0, 0][..], &vec![1; 200_000]].concat();
    let header = frame(MessageType::VIDEO, 0, &body);
    let shared = header.wire().as_ptr_range();
    // Before and after the time at which all chunk headers begin to have an extended timestamp.
    push_all(&mut source, now, [header, key(40, 1)]);
    for time in [40, 0x0100_0000] {
        source.push(now, key(time, 1));
        let mut cursor = source.join();
        let Next::Start(start) = source.next(&mut cursor) else { panic!("a key frame is there") };
        let mut own = 0;
        for header in start.frames() {
            assert_eq!(header.timestamp(), time);
            header.pieces(1, |piece| own += if shared.contains(&piece.as_ptr()) { 0 } else { piece.len() });
        }
        assert!((1..50).contains(&own), "{own} bytes of its own");
    }
}

#[test]
fn a_repeated_header_of_many_tracks_is_told_from_one_that_is_partly_replaced() {
    let mut source = Source::new(SourceLimits::default()).with_reduced_sequence_headers(true);
    source.begin();
    let now = any_instant();
    push_all(&mut source, now, [many_tracks([1, 2], 5), many_tracks([1, 2], 5)]);
    assert_eq!(source.stats().repeated_headers, 1);
    push_all(&mut source, now, [many_tracks([2], 6), many_tracks([1, 2], 5)]);
    assert_eq!((source.stats().repeated_headers, source.headers().iter().count()), (1, 1));
}

#[test]
fn headers_do_not_change_the_time_of_the_stream() {
    let (mut source, now) = live(SourceLimits { milliseconds: 1_000, ..SourceLimits::default() });
    push_all(&mut source, now, [key(50_000, 1), inter(50_040, 2)]);
    let mut cursor = source.join();
    while !matches!(source.next(&mut cursor), Next::Pending) {}
    // A header far ahead makes no frame old. A header at 0 makes no gap longer, and the next publisher does not begin
    // there.
    push_all(&mut source, now, [video_header(9_000_000, 3), metadata(0, 4), key(50_080, 5)]);
    assert_eq!((source.log_frames(), source.unsent(&cursor).milliseconds), (5, 40));
    source.next(&mut cursor);
    source.next(&mut cursor);
    assert_eq!(source.unsent(&cursor).milliseconds, 40);
    source.push(now, metadata(0, 6));
    source.end(now);
    assert_eq!(source.begin().map(now, FrameKind::Video, true, 7), 50_081);
}

/// A player without multitrack gets only the default track, as a plain message.
#[test]
fn players_without_multitrack_get_the_default_track() {
    let plain = key(40, 1);
    for multitrack in [true, false] {
        let shown = plain.for_player(multitrack).expect("every player understands it");
        assert_eq!(shown.payload(), plain.payload());
    }
    let both = many_tracks([0, 1], 4);
    let all = both.for_player(true).expect("it is understood");
    assert_eq!(all.payload(), both.payload());
    let default = both.for_player(false).expect("it holds the default track");
    assert!(!crate::flv::classify_video(&default.payload()).multitrack);
    assert!(default.payload().ends_with(&[0; 4]) && default.timestamp() == both.timestamp());
    let moved = both.at(77);
    assert_eq!(moved.for_player(false).map(Frame::timestamp), Some(77));
    let other = many_tracks([1], 4);
    assert!(other.for_player(true).is_some() && other.for_player(false).is_none());
}

/// FFmpeg 9 sends the colour metadata of every track without a track id: only the codec shows which track it belongs
/// to.
#[test]
fn metadata_of_another_tracks_codec_is_kept_from_players_without_multitrack() {
    let metadata = |codec: &[u8; 4]| frame(MessageType::VIDEO, 0, &[b"\x94".as_slice(), codec, &[2, 0, 0, 5]].concat());
    assert_eq!(metadata(b"av01").class(), FrameClass::Metadata);
    let shown = |first: &[Frame], then: Frame| {
        let (mut source, now) = live(SourceLimits::default());
        push_all(&mut source, now, first.iter().cloned().chain([key(0, 1)]));
        let mut cursor = source.join();
        while !matches!(source.next(&mut cursor), Next::Pending) {}
        source.push(now, then);
        match source.next(&mut cursor) {
            Next::Frame(frame) => frame.for_player(false).is_some(),
            other => panic!("{other:?}"),
        }
    };
    // The default track is AVC; AV1 is on another.
    assert!(!shown(&[video_header(0, 1), many_tracks([1], 4)], metadata(b"av01")));
    assert!(shown(&[video_header(0, 1), many_tracks([1], 4)], metadata(b"avc1")), "the default track's own");
    assert!(shown(&[video_header(0, 1)], metadata(b"av01")), "no other track has it");
    assert!(shown(&[many_tracks([0], 4), many_tracks([1], 4)], metadata(b"av01")), "both have it");
}

#[test]
fn gaps_add_up() {
    let mut gap = Gap { frames: 2, bytes: 30, milliseconds: 400 };
    gap.add(Gap { frames: 5, bytes: 70, milliseconds: 11 });
    assert_eq!(gap, Gap { frames: 7, bytes: 100, milliseconds: 411 });
}

#[test]
fn video_is_in_force_once_its_header_is() {
    let (mut source, now) = live(SourceLimits::default());
    push_all(&mut source, now, [metadata(0, 1), audio_header(0, 1), key(0, 1)]);
    assert!(!source.headers().has_video());
    source.push(now, video_header(0, 1));
    assert!(source.headers().has_video());
}

#[test]
fn a_batch_holds_what_next_would_return_and_only_ordinary_frames() {
    let (mut source, now) = live(SourceLimits::default());
    push_all(&mut source, now, [key(0, 1), audio(10, 2)]);
    let mut cursor = source.join();
    while !matches!(source.next(&mut cursor), Next::Pending) {}
    let place = cursor.place().expect("it has begun");
    assert!(source.batch(&place, 1 << 20).is_none(), "there is nothing new");

    push_all(&mut source, now, [inter(40, 3), audio(50, 4), inter(80, 5)]);
    let batch = source.batch(&place, 1 << 20).expect("there is something new");
    let mut expected = Vec::new();
    while let Next::Frame(frame) = source.next(&mut cursor) {
        expected.extend_from_slice(frame.wire());
    }
    assert_eq!((batch.frames(), &batch.wire()[..]), (3, &expected[..]));
    assert!(batch.follows(&place) && !batch.follows(&cursor.place().expect("it goes on")));
    let mut passed = place;
    batch.pass(&mut passed);
    assert!(passed.is_same(&cursor.place().expect("it goes on")));

    assert!(source.batch(&place, expected.len()).is_some());
    assert!(source.batch(&place, expected.len() - 1).is_none(), "more than was asked for");
    source.end(now);
    assert!(source.batch(&place, 1 << 20).is_none(), "its publisher is gone");
    source.begin();
    push_all(&mut source, now, [key(0, 1)]);
    assert!(source.batch(&place, 1 << 20).is_none(), "another one has begun");
}

#[test]
fn the_next_publisher_begins_after_the_medium_that_was_furthest() {
    let (mut source, start) = live(SourceLimits::default());
    push_all(&mut source, start, [key(14_000, 1), audio(10_000, 1)]);
    let mut next = source.begin();
    assert_eq!(next.map(at(start, 1_000), FrameKind::Video, true, 7), 14_001);
    source.push(at(start, 1_000), key(14_001, 2));
    assert_eq!(source.begin().map(at(start, 6_000), FrameKind::Audio, true, 7), 19_001, "in real time");
}

#[test]
fn the_date_of_a_publication_is_that_of_the_frame_that_was_least_late_at_its_beginning() {
    let (mut source, start) = live(SourceLimits::default());
    assert_eq!(source.dated(), None);
    // What another server kept comes at once, then frames come at their time, and later.
    push_all(&mut source, start, [video_header(0, 1), key(1000, 1), inter(2000, 2), inter(3000, 3)]);
    assert_eq!(source.dated(), Some((3000, start)));
    for (timestamp, came) in [(3040, 50), (3080, 20), (4000, 1500), (13_500, 10_600)] {
        source.push(at(start, came), inter(timestamp, 4));
    }
    assert_eq!(source.dated(), Some((3080, at(start, 20))));
    // After ten seconds only what jumps counts.
    source.push(at(start, 20_000), inter(23_100, 5));
    source.push(at(start, 80_000), inter(82_000, 6));
    assert_eq!(source.dated(), Some((3080, at(start, 20))));
    source.push(at(start, 80_040), inter(3_600_000, 7));
    assert_eq!(source.dated(), Some((3_600_000, at(start, 80_040))));
    source.push(at(start, 80_080), inter(1000, 8));
    assert_eq!(source.dated(), Some((1000, at(start, 80_080))));
    source.end(at(start, 80_080));
    source.begin();
    assert_eq!(source.dated(), None);
}
