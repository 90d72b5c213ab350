//! Tag bodies of FLV and Enhanced RTMP.

use anabranch_core::flv::audio::{self, MultichannelConfig};
use anabranch_core::flv::config::{self, CodecSummary};
use anabranch_core::flv::{
    self, AudioCodec, FlvError, FourCC, FrameClass, MAX_MOD_EX, MAX_TRACKS, ModExList, TagReader, Tags, VideoCodec,
    aggregate, rebuild, tag, video,
};

use crate::cuts::{Cuts, take_byte};

/// The body of a video message.
pub fn video(body: &[u8]) {
    let info = flv::classify_video(body);
    let Ok(read) = video::parse(body) else {
        assert!(matches!(info.class, FrameClass::Malformed | FrameClass::Empty));
        assert!(rebuild::plain_video(body).is_none() && rebuild::one_video_track(body, 0).is_none());
        assert_eq!(flv::video_header_slots(body).count(), 0);
        return;
    };
    check_mod_ex(&read.mod_ex, body);
    assert_eq!(info.enhanced, read.enhanced);
    assert_eq!(info.multitrack, read.multitrack_kind().is_some());
    assert!(!info.is_join_point() || info.class == FrameClass::KeyFrame);
    let tracks: Vec<_> = read.tracks().collect();
    assert!(tracks.len() <= MAX_TRACKS + 1);
    let good: Vec<_> = tracks.iter().flatten().collect();
    assert!(good.iter().map(|track| track.payload.len()).sum::<usize>() <= body.len(), "nothing is read twice");
    let slots: Vec<_> = flv::video_header_slots(body).collect();
    assert!(slots.len() <= good.len());
    for slot in &slots {
        let _ = config::summarize(slot.codec, slot.payload);
    }

    let plain = rebuild::plain_video(body);
    if info.multitrack {
        // The first track of that number, as far as the tracks can be read.
        let first = good.iter().find(|track| track.id == 0);
        if let (Some(plain), Some(first)) = (&plain, first) {
            let plain_info = flv::classify_video(plain);
            assert!(!plain_info.multitrack && plain_info.default_track);
            let again = video::parse(plain).expect("what we build can be read");
            assert_eq!((again.frame_type, again.packet_type), (read.frame_type, read.packet_type));
            let track = again.tracks().next();
            assert!(track.is_none_or(|track| track == Ok(**first)), "the track is as it was");
        }
    } else {
        assert_eq!(plain.as_deref(), Some(body), "what is plain stays as it is");
    }
    for track in &good {
        let one = rebuild::one_video_track(body, track.id).expect("a track that is there");
        let again = video::parse(&one).expect("what we build can be read");
        let only: Vec<_> = again.tracks().collect();
        let first = good.iter().find(|other| other.id == track.id);
        assert_eq!(only.iter().flatten().collect::<Vec<_>>(), first.map(|first| vec![*first]).unwrap_or_default());
        let class = flv::classify_video(&one).class;
        assert!(class == info.class || info.class == FrameClass::Malformed, "{class:?} of {:?}", info.class);
        if good.len() > 16 {
            break;
        }
    }
}

/// The body of an audio message.
pub fn audio(body: &[u8]) {
    let info = flv::classify_audio(body);
    let Ok(read) = audio::parse(body) else {
        assert!(matches!(info.class, FrameClass::Malformed | FrameClass::Empty));
        assert!(rebuild::plain_audio(body).is_none() && rebuild::one_audio_track(body, 0).is_none());
        assert_eq!(flv::audio_header_slots(body).count(), 0);
        return;
    };
    check_mod_ex(&read.mod_ex, body);
    assert_eq!(info.enhanced, read.is_enhanced());
    assert_eq!(info.multitrack, read.multitrack_kind().is_some());
    let tracks: Vec<_> = read.tracks().collect();
    assert!(tracks.len() <= MAX_TRACKS + 1);
    let good: Vec<_> = tracks.iter().flatten().collect();
    assert!(good.iter().map(|track| track.payload.len()).sum::<usize>() <= body.len(), "nothing is read twice");
    assert!(flv::audio_header_slots(body).count() <= good.len());
    for track in &good {
        let _ = config::summarize(track.codec, track.payload);
        let _ = MultichannelConfig::parse(track.payload);
    }
    let plain = rebuild::plain_audio(body);
    if !info.multitrack {
        assert_eq!(plain.as_deref(), Some(body), "what is plain stays as it is");
    } else if let (Some(plain), Some(first)) = (&plain, good.iter().find(|track| track.id == 0)) {
        assert!(!flv::classify_audio(plain).multitrack);
        let again = audio::parse(plain).expect("what we build can be read");
        let track = again.tracks().next();
        assert!(track.is_none_or(|track| track == Ok(**first)), "the track is as it was");
    }
    if let Some(track) = good.last() {
        let one = rebuild::one_audio_track(body, track.id).expect("a track that is there");
        let again = audio::parse(&one).expect("what we build can be read");
        let first = good.iter().find(|other| other.id == track.id);
        assert_eq!(again.tracks().flatten().next().as_ref(), first.copied());
    }
}

fn check_mod_ex(mod_ex: &ModExList<'_>, body: &[u8]) {
    assert!(mod_ex.iter().count() <= MAX_MOD_EX);
    assert_eq!(mod_ex.is_empty(), mod_ex.iter().next().is_none());
    assert!(mod_ex.iter().map(|one| one.data.len()).sum::<usize>() < body.len().max(1));
    assert!(mod_ex.timestamp_offset_nanos() < 1_000_000);
}

/// Four bytes for the timestamp, then the body of an aggregate message.
pub fn aggregate(mut input: &[u8]) {
    let timestamp = u32::from_be_bytes(std::array::from_fn(|_| take_byte(&mut input)));
    let mut parsed = aggregate::parse(input, timestamp);
    let messages: Vec<_> = parsed.by_ref().collect();
    assert!(parsed.next().is_none());
    assert!(messages.len() <= input.len() / 11 + 1, "each takes a header");
    let mut out = Vec::new();
    let good: Vec<_> = messages.iter().flatten().collect();
    for message in &good {
        assert_ne!(message.type_id, 22);
        // Five bits are the type on disk.
        if message.type_id < 32 {
            tag::write_tag(message.type_id, message.timestamp, message.payload, &mut out).expect("it fitted before");
        }
    }
    if let Some(first) = good.iter().find(|message| message.type_id < 32) {
        let again: Vec<_> = aggregate::parse(&out, first.timestamp).map(|message| message.expect("our own")).collect();
        let same = good.iter().filter(|message| message.type_id < 32);
        assert!(again.iter().eq(same.copied()), "writing and reading change nothing");
    }

    let _ = tag::parse_file_header(input);
    if let Ok(header) = tag::parse_tag_header(input) {
        assert_eq!(tag::parse_tag_header(&header.encode()), Ok(header));
    }
}

/// A byte for the limit of a body, cuts, and a file.
pub fn tags(mut input: &[u8]) {
    let limit = match take_byte(&mut input) {
        0 => tag::MAX_TAG_BODY,
        limit => usize::from(limit) * 16,
    };
    let cuts = Cuts::take(&mut input);
    let whole = Tags::new(input);
    let mut reader = TagReader::with_limit(limit);
    let mut read = Vec::new();
    let mut error = None;
    'file: for mut piece in cuts.pieces(input) {
        loop {
            match reader.read(&mut piece) {
                Ok(Some(tag)) => read.push((tag.type_id, tag.encrypted, tag.timestamp, tag.body.to_vec())),
                Ok(None) => break assert!(piece.is_empty(), "all bytes were taken"),
                Err(first) => {
                    assert_eq!(reader.read(&mut &input[..]), Err(first.clone()), "an error stays");
                    error = Some(first);
                    break 'file;
                }
            }
        }
        assert!(reader.unfinished() <= input.len());
    }
    match whole {
        Ok(tags) => {
            assert_eq!(reader.header(), Some(tags.header()));
            let whole = tags.map_while(Result::ok).take_while(|tag| tag.body.len() <= limit);
            let whole: Vec<_> =
                whole.map(|tag| (tag.type_id, tag.encrypted, tag.timestamp, tag.body.to_vec())).collect();
            assert_eq!(read, whole, "cuts change nothing");
            assert!(error.is_none_or(|error| matches!(error, FlvError::TagOverLimit { .. })));
        }
        Err(FlvError::NotFlv) => assert_eq!((error, read.len()), (Some(FlvError::NotFlv), 0)),
        Err(_) => assert!(error.is_none() && read.is_empty() && input.len() < 9, "the header is cut off"),
    }

    let mut out = Vec::new();
    tag::write_file_header(true, true, &mut out);
    for (type_id, _, timestamp, body) in &read {
        tag::write_tag(*type_id, *timestamp, body, &mut out).expect("it fitted before");
    }
    let again = Tags::new(&out).expect("our own").map(|tag| tag.expect("our own"));
    let again = again.map(|tag| (tag.type_id, tag.timestamp, tag.body));
    assert!(again.eq(read.iter().map(|tag| (tag.0, tag.2, &tag.3[..]))), "writing and reading change nothing");
}

/// A byte for the codec, then its configuration.
pub fn config(mut input: &[u8]) {
    let selector = take_byte(&mut input);
    let fourccs = [
        *b"avc1", *b"hvc1", *b"vvc1", *b"av01", *b"vp08", *b"vp09", *b"mp4a", *b"Opus", *b"fLaC", *b"ac-3", *b"ec-3",
        *b".mp3",
    ];
    let fourcc = FourCC(fourccs[usize::from(selector >> 1) % fourccs.len()]);
    let summary = match selector & 1 {
        0 => config::summarize(VideoCodec::from_fourcc(fourcc), input),
        _ => config::summarize(AudioCodec::from_fourcc(fourcc), input),
    };
    match summary {
        Some(CodecSummary::Video(_)) => assert_eq!(selector & 1, 0),
        Some(CodecSummary::Audio(_)) => assert_eq!(selector & 1, 1),
        _ => {}
    }
    let _ = MultichannelConfig::parse(input);
}
