//! Which headers are in force, and what makes them void.

use super::*;

/// The colour metadata of the default track, for a codec.
fn colours(codec: &[u8; 4], number: u8) -> Frame {
    frame(MessageType::VIDEO, 0, &[b"\x94".as_slice(), codec, &[2, 0, 0, number]].concat())
}

/// The last byte of each header in force.
fn in_force(source: &Source) -> Vec<u8> {
    source.headers().iter().map(|frame| *frame.payload().last().expect("not empty")).collect()
}

#[test]
fn a_header_of_another_codec_voids_the_other_entries_of_its_track() {
    let (mut source, now) = live(SourceLimits::default());
    push_all(&mut source, now, [many_tracks([0], 4), colours(b"av01", 7), audio_track_header(0)]);
    assert_eq!(in_force(&source), [0, 7, 0x10]);
    push_all(&mut source, now, [many_tracks([0], 5)]);
    assert_eq!(in_force(&source), [0, 7, 0x10], "the same codec: the colours stay");
    push_all(&mut source, now, [colours(b"avc1", 8)]);
    assert_eq!(in_force(&source), [0, 8, 0x10], "colours replace colours, and nothing else");
    push_all(&mut source, now, [video_header(0, 9)]);
    assert_eq!(in_force(&source), [9, 0x10], "another codec: no colours, and the audio stays");
}

#[test]
fn colours_that_name_their_track_belong_to_it() {
    let (mut source, now) = live(SourceLimits::default());
    let named = frame(MessageType::VIDEO, 0, b"\x96\x04av01\x01\x02\x00\x00\x05");
    assert_eq!(named.class(), FrameClass::Metadata);
    push_all(&mut source, now, [video_header(0, 9), many_tracks([1], 4), colours(b"avc1", 7), named]);
    assert_eq!(in_force(&source), [9, 7, 1, 5]);
    // Another header of a track that has ended makes all its entries void.
    push_all(&mut source, now, [sequence_end(1), many_tracks([1], 4)]);
    assert_eq!(in_force(&source), [9, 7, 1]);
}

/// After a file loops or at a splice, pictures go on without a new header. Players that joined before that need the old
/// one.
#[test]
fn players_that_begin_after_the_end_of_a_track_still_get_its_header() {
    let (mut source, now) = live(SourceLimits::default());
    push_all(&mut source, now, [many_tracks([0], 4), many_tracks([1], 4), colours(b"av01", 7), audio_track_header(0)]);
    assert_eq!(in_force(&source), [0, 7, 1, 0x10]);
    push_all(&mut source, now, [sequence_end(0)]);
    assert_eq!(in_force(&source), [0, 7, 1, 0x10]);
    push_all(&mut source, now, [many_tracks([0], 4)]);
    assert_eq!(in_force(&source), [0, 1, 0x10], "the other entries of the ended sequence are void");
}

#[test]
fn the_last_header_counts_if_a_message_names_a_track_twice() {
    let (mut source, now) = live(SourceLimits::default());
    push_all(&mut source, now, [many_tracks([1, 2, 1], 4)]);
    assert_eq!((source.headers().iter().count(), source.stats().unkept_headers), (1, 0), "one message");
    push_all(&mut source, now, [many_tracks([1], 5), many_tracks([2], 5)]);
    assert_eq!(in_force(&source), [1, 2], "nothing is left of the first");
}

#[test]
fn a_message_that_sets_nothing_is_no_header() {
    assert!(many_tracks([0], 4).is_header());
    assert!(!many_tracks([], 0).is_header());
}

#[test]
fn a_header_of_several_tracks_is_a_repeat_only_if_it_is_one_for_each_track() {
    let (source, now) = live(SourceLimits::default());
    let mut source = source.with_reduced_sequence_headers(true);
    let (both, first) = (many_tracks([0, 1], 4), many_tracks([0], 5));
    push_all(&mut source, now, [both.clone(), first]);
    assert_eq!(source.headers().iter().count(), 2);
    source.push(now, both);
    assert_eq!(source.headers().iter().count(), 1, "the second track's part alone is the same");
}

#[test]
fn a_reader_that_follows_a_stream_sees_each_change() {
    let mut headers = Headers::default();
    for (header, changes) in [
        (video_header(0, 1), true),
        (video_header(40, 1), false),
        (audio_header(40, 1), true),
        (video_header(80, 2), true),
        (audio_header(80, 1), false),
    ] {
        assert_eq!(headers.note(&header), changes, "{header:?}");
    }
    let in_force: Vec<_> = headers.iter().map(|frame| (frame.kind(), frame.payload().last().copied())).collect();
    assert_eq!(in_force, [(FrameKind::Video, Some(2)), (FrameKind::Audio, Some(1))]);
}
