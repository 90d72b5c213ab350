use super::*;

fn hex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

fn video(codec: VideoCodec, payload: &str) -> VideoSummary {
    match summarize(codec, &hex(payload)) {
        Some(CodecSummary::Video(summary)) => summary,
        other => panic!("{codec}: {other:?}"),
    }
}

fn audio(codec: AudioCodec, payload: &[u8]) -> AudioSummary {
    match summarize(codec, payload) {
        Some(CodecSummary::Audio(summary)) => summary,
        other => panic!("{codec}: {other:?}"),
    }
}

// Made with x264, x265 and libaom of FFmpeg 5.1; the sizes are the requested ones, none a multiple of 16.
const AVC_638X362: &str =
    "0164001effe1001a6764001eacd940a02fea4c0440000003004000000c83c58b658001000668ebe3cb22c0fdf8f800";
const AVC_320X180_INTERLACED_422: &str =
    "017a0015ffe10019677a0015bcd941433f3e0220000003002000000643e28532c001000668fba3cb22c0fef8f800";
const HEVC_638X362: &str = concat!(
    "0102200000009000000000003ff000fcfdfafa00000f02",
    "a00001001840010c01ffff02200000030090000003000003003f959809",
    "a10001002b42010102200000030090000003000003003fa005020171d48d96566924caf0168080000003008000000c84a2",
);
const AV1_322X182: &str = "812000000a0d200000043d06d4daf92021a004";

#[test]
fn video_configurations_of_real_encoders() {
    let summary = video(VideoCodec::Avc, AVC_638X362);
    assert_eq!(summary.profile_name, Some("High"));
    assert_eq!(summary.level.unwrap().to_string(), "3.0");
    assert_eq!(summary.size, Some((638, 362)));

    let summary = video(VideoCodec::Avc, AVC_320X180_INTERLACED_422);
    assert_eq!(summary.profile_name, Some("High 4:2:2"));
    assert_eq!(summary.size, Some((320, 180)));

    let summary = video(VideoCodec::Hevc, HEVC_638X362);
    assert_eq!(summary.profile_name, Some("Main 10"));
    assert_eq!(summary.level, Some(Level { major: 2, minor: 1 }));
    assert_eq!(summary.size, Some((638, 362)));

    let summary = video(VideoCodec::Av1, AV1_322X182);
    assert_eq!(summary.profile_name, Some("High"));
    assert_eq!(summary.level.unwrap().to_string(), "2.0");
    assert_eq!(summary.size, Some((322, 182)));
}

#[test]
fn configurations_without_a_picture_size() {
    let summary = video(VideoCodec::Av1, "800481000c00");
    assert_eq!((summary.profile, summary.size), (0, None));
    let record = video(VideoCodec::Vp9, "00298202020200000000");
    assert_eq!(record.level, Some(Level { major: 4, minor: 1 }));
    assert_eq!(record, video(VideoCodec::Vp9, "010000000029820202020000"));
}

#[test]
fn aac_plain_and_extended() {
    let plain = audio(AudioCodec::Aac, &[0x12, 0x10]);
    assert_eq!(plain.profile_name, Some("LC"));
    assert_eq!((plain.sample_rate, plain.channels), (44_100, Some(2)));

    // object type 2, rate index 15 with 24 bits 12,345, one channel
    let explicit = audio(AudioCodec::Aac, &[0x17, 0x80, 0x18, 0x1C, 0x88]);
    assert_eq!((explicit.sample_rate, explicit.channels), (12_345, Some(1)));

    // hierarchical: object type 5, 24 kHz core, two channels, 48 kHz
    let sbr = audio(AudioCodec::Aac, &[0x2B, 0x11, 0x88, 0x00]);
    assert_eq!(sbr.profile_name, Some("HE-AAC"));
    assert_eq!((sbr.sample_rate, sbr.channels), (48_000, Some(2)));

    // backward compatible: LC 24 kHz mono, then 2b7 with SBR at 48 kHz and 548 with PS
    let ps = audio(AudioCodec::Aac, &[0x13, 0x08, 0x56, 0xE5, 0x9D, 0x48, 0x80]);
    assert_eq!(ps.profile_name, Some("HE-AAC v2"));
    assert_eq!((ps.sample_rate, ps.channels), (48_000, Some(2)));
}

#[test]
fn opus_and_flac() {
    let opus = audio(AudioCodec::Opus, b"OpusHead\x01\x06\x38\x01\x44\xac\0\0\0\0\x01");
    assert_eq!((opus.sample_rate, opus.channels), (44_100, Some(6)));
    let mut flac = b"fLaC\x80\0\0\x22".to_vec();
    flac.extend([0; 10]);
    flac.extend([0x0B, 0xB8, 0x02, 0xF0]);
    let flac = audio(AudioCodec::Flac, &flac);
    assert_eq!((flac.sample_rate, flac.channels), (48_000, Some(2)));
}

#[test]
fn what_cannot_be_read_has_no_summary() {
    assert_eq!(summarize(VideoCodec::Avc, &[2, 100, 0, 30, 255, 225]), None);
    assert_eq!(summarize(VideoCodec::Vvc, &[0; 64]), None);
    assert_eq!(summarize(AudioCodec::Opus, b""), None);
    assert_eq!(summarize(AudioCodec::Flac, &[b'f', b'L', b'a', b'C', 0, 0, 0, 34]), None);
    assert_eq!(summarize(AudioCodec::Aac, &[]), None);
}

#[test]
fn a_truncated_configuration_loses_its_size_at_most() {
    for (codec, text) in
        [(VideoCodec::Avc, AVC_638X362), (VideoCodec::Hevc, HEVC_638X362), (VideoCodec::Av1, AV1_322X182)]
    {
        let whole = hex(text);
        let full = video(codec, text);
        for length in 0..whole.len() {
            if let Some(CodecSummary::Video(cut)) = summarize(codec, &whole[..length]) {
                assert!(cut.size.is_none() || cut.size == full.size, "{codec} at {length}");
            }
        }
    }
}
