use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::{AacToOpus, Contained, Settings, SoundError, Transcoder, Transcoders, begin};
use super::Recording;
use super::signal::{recorded, signal_to_noise};
use crate::desk::{OpusPacket, SoundJob};

fn convert(recording: &Recording) -> Vec<OpusPacket> {
    let mut transcoder = begin(&recording.config, Settings::default()).unwrap();
    let frames = recording.frames.iter().enumerate();
    frames.flat_map(|(n, frame)| transcoder.push(recording.time(n), frame).unwrap()).collect()
}

/// Decodes packets into samples of each channel.
fn decode(packets: &[OpusPacket], channels: usize) -> Vec<Vec<f64>> {
    let layout = if channels == 1 { ropus::Channels::Mono } else { ropus::Channels::Stereo };
    let mut decoder = ropus::Decoder::new(48_000, layout).unwrap();
    let mut decoded = vec![Vec::new(); channels];
    for packet in packets {
        let mut samples = vec![0.0; 960 * channels];
        assert_eq!(decoder.decode_float(&packet.data, &mut samples, ropus::DecodeMode::Normal), Ok(960));
        for (n, sample) in samples.into_iter().enumerate() {
            decoded[n % channels].push(f64::from(sample));
        }
    }
    decoded
}

/// How near the sound of a recording is to what was recorded, at the times of the packets, less the first and last 100 ms.
/// Half a sample early or late costs these sounds 1.5 to 4 dB, and two samples 10 dB.
fn nearness(recording: &Recording, channels: usize) -> Vec<f64> {
    let packets = convert(recording);
    // The first frame of these encoders has nothing of the sound yet.
    let begin = recording.time(1).as_secs_f64();
    let decoded = decode(&packets, channels);
    let first = packets[0].time.as_secs_f64();
    let near = decoded.iter().enumerate().map(|(channel, samples)| {
        let at = |n: usize| first + n as f64 / 48_000.0 - begin;
        let heard = samples.iter().enumerate().filter(|(n, _)| (0.1..0.9).contains(&at(*n)));
        signal_to_noise(heard.map(|(n, sample)| (recorded(channel, at(n)), *sample)))
    });
    near.collect()
}

#[test]
fn sound_at_48_khz_comes_out_at_its_time_in_both_channels() {
    let near = nearness(&Recording::lc_48000_stereo(), 2);
    assert!(near.iter().all(|decibels| *decibels > 16.0), "{near:?}");
}

#[test]
fn sound_at_44_1_khz_comes_out_at_its_time_in_both_channels() {
    let near = nearness(&Recording::lc_44100_stereo(), 2);
    assert!(near.iter().all(|decibels| *decibels > 12.5), "{near:?}");
}

#[test]
fn sound_of_one_channel_at_24_khz_comes_out_at_its_time() {
    let near = nearness(&Recording::lc_24000_mono(), 1);
    assert!(near.iter().all(|decibels| *decibels > 16.0), "{near:?}");
}

#[test]
fn packets_are_20_ms_apart_and_begin_with_the_first_frame() {
    let recording = Recording::lc_44100_stereo();
    let packets = convert(&recording);
    assert!(packets.len() >= 48, "{}", packets.len());
    for (n, packet) in packets.iter().enumerate() {
        assert_eq!(packet.time, recording.time(0) + Duration::from_millis(20) * n as u32);
        // 20 ms of CELT or a hybrid in one frame (RFC 6716 §3.1).
        assert!(packet.data[0] & 3 == 0 && matches!(packet.data[0] >> 3, 13 | 15 | 19 | 23 | 27 | 31), "{packet:?}");
    }
}

#[test]
fn the_bit_rate_is_the_one_that_is_set_and_less_for_one_channel() {
    let bits = |packets: &[OpusPacket]| packets.iter().map(|p| p.data.len() * 8).sum::<usize>() * 50 / packets.len();
    // Sounds as simple as these get more bits than others, in the mean of which it is so much.
    let stereo = bits(&convert(&Recording::lc_48000_stereo()));
    assert!((80_000..140_000).contains(&stereo), "{stereo}");
    let mono = bits(&convert(&Recording::lc_24000_mono()));
    assert!((30_000..stereo * 4 / 5).contains(&mono), "{mono}");
}

#[test]
fn a_frame_that_cannot_be_decoded_becomes_silence() {
    let recording = Recording::lc_48000_stereo();
    let mut transcoder = begin(&recording.config, Settings::default()).unwrap();
    let mut packets = Vec::new();
    for (n, frame) in recording.frames.iter().enumerate() {
        let frame = if n == 20 { &[0x21, 0xFF, 0xFF][..] } else { frame };
        packets.extend(transcoder.push(recording.time(n), frame).unwrap());
    }
    assert_eq!(packets.len(), convert(&recording).len());
    let decoded = decode(&packets, 2);
    let loudest = |from: usize, to: usize| decoded[0][from..to].iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    // Its middle, which no window of its neighbours reaches.
    assert!(loudest(20 * 1024 + 480, 20 * 1024 + 600) < 0.05);
    assert!(loudest(18 * 1024, 19 * 1024) > 0.4 && loudest(23 * 1024, 24 * 1024) > 0.4);
}

#[test]
fn sound_of_which_no_frame_can_be_decoded_ends() {
    let recording = Recording::lc_48000_stereo();
    // Frames of two channels, where the configuration has one.
    let mut transcoder = begin(&[0x11, 0x88], Settings::default()).unwrap();
    let mut frames = recording.frames.iter().cycle().enumerate();
    let error = frames.find_map(|(n, frame)| transcoder.push(recording.time(n), frame).err().map(|error| (n, error)));
    let (n, error) = error.unwrap();
    assert_eq!(n, 99);
    assert!(matches!(error, SoundError::Undecodable { frames: 100, .. }), "{error}");
    assert_eq!(transcoder.push(Duration::from_secs(9), &recording.frames[0]), Err(error));
}

#[test]
fn sound_that_cannot_be_converted_is_refused_with_its_kind() {
    for (config, kind) in [
        (&[0x09, 0x90][..], "AAC Main"),
        (&[0x21, 0x90], "AAC LTP"),
        (&[0x11, 0xB0], "AAC with 6 channels"),
        (&[0x11, 0xB8], "AAC with 8 channels"),
        (&[0x11, 0x80], "AAC with a program config element"),
        (&[0x11, 0x94], "AAC with 960 samples a frame"),
        (&[0xB9, 0x90], "AAC-LD"),
        (&[0xF9, 0x46, 0x40], "xHE-AAC"),
        (&[0x17, 0x80, 0x00, 0x0A, 0x10], "AAC with an unusual sample rate"),
    ] {
        let error = begin(config, Settings::default()).unwrap_err();
        assert_eq!(error, SoundError::Unsupported(kind.to_owned()), "{config:02X?}");
    }
    for config in [&[][..], &[0x11], &[0x00, 0x00], &[0x11, 0xD0], &[0x16, 0x90]] {
        assert_eq!(begin(config, Settings::default()).unwrap_err(), SoundError::Config, "{config:02X?}");
    }
}

#[test]
fn he_aac_is_heard_by_half_and_said() {
    let plain = Recording::lc_48000_stereo();
    assert_eq!(begin(&plain.config, Settings::default()).unwrap().remark(), None);
    for config in [
        // Object types 5 and 29, and the sync extension.
        &[0x2B, 0x11, 0x88, 0x00][..],
        &[0xEB, 0x09, 0x88, 0x00],
        &[0x13, 0x10, 0x56, 0xE5, 0x98],
    ] {
        let transcoder = begin(config, Settings::default()).unwrap();
        assert!(transcoder.remark().is_some_and(|said| said.contains("HE-AAC")), "{config:02X?}");
    }
}

#[test]
fn he_aac_that_is_not_said_is_found_in_its_frames() {
    for recording in [Recording::he_48000_stereo(), Recording::he_v2_48000_stereo()] {
        let mut transcoder = begin(&recording.config, Settings::default()).unwrap();
        assert_eq!(recording.rate, 24_000);
        let mut said = None;
        for (n, frame) in recording.frames.iter().enumerate() {
            transcoder.push(recording.time(n), frame).unwrap();
            said = said.or(transcoder.remark().map(|_| n));
        }
        assert_eq!(said, Some(31));
    }
}

#[test]
fn sound_at_a_low_rate_that_is_not_he_aac_is_not_taken_for_it() {
    let recording = Recording::lc_24000_mono();
    // Without the sync extension, and with one that says that there is no SBR.
    for config in [&recording.config[..], &[0x13, 0x08, 0x56, 0xE5, 0x00]] {
        let mut transcoder = begin(config, Settings::default()).unwrap();
        for (n, frame) in recording.frames.iter().cycle().take(40).enumerate() {
            transcoder.push(recording.time(n), frame).unwrap();
        }
        assert_eq!(transcoder.remark(), None);
    }
}

#[test]
fn a_panic_is_an_error_of_this_sound_and_it_is_not_asked_again() {
    #[derive(Debug)]
    struct Broken(u32);
    impl Transcoder for Broken {
        fn push(&mut self, _: Duration, _: &[u8]) -> Result<Vec<OpusPacket>, SoundError> {
            self.0 += 1;
            panic!("index {} is out of range", self.0);
        }
        fn remark(&self) -> Option<&'static str> {
            None
        }
    }
    let mut contained = Contained { inner: Broken(0), failed: None };
    let error = contained.push(Duration::ZERO, &[]).unwrap_err();
    assert_eq!(error, SoundError::Bug("index 1 is out of range".to_owned()));
    assert_eq!(contained.push(Duration::ZERO, &[]), Err(error));
}

#[test]
fn works_of_several_streams_do_not_disturb_each_other_and_each_says_once_what_is_wrong() {
    let (plain, half) = (Recording::lc_44100_stereo(), Recording::he_48000_stereo());
    let mut transcoders = Transcoders::default();
    let begin = |job, config: &[u8]| SoundJob::Begin { job, config: config.to_vec().into() };
    let refused = transcoders.take(begin(3, &[0x11, 0xB0])).unwrap();
    assert!(refused.job == 3 && refused.made.is_err() && transcoders.is_empty());
    assert_eq!(transcoders.take(begin(1, &plain.config)), None);
    assert_eq!(transcoders.take(begin(2, &half.config)), None);
    let (mut packets, mut remarks) = (Vec::new(), Vec::new());
    for n in 0..plain.frames.len() {
        for (job, recording) in [(1, &plain), (2, &half), (3, &plain)] {
            let Some(frame) = recording.frames.get(n).cloned() else { continue };
            let done = transcoders.take(SoundJob::Frame { job, time: recording.time(n), data: frame.into() });
            let Some(done) = done else { continue };
            assert!(done.job == job && job != 3, "{done:?}");
            remarks.extend(done.remark.map(|_| job));
            if job == 1 {
                packets.extend(done.made.unwrap());
            }
        }
    }
    assert_eq!(packets, convert(&plain));
    assert_eq!(remarks, [2]);
    assert_eq!(transcoders.len(), 2);
    assert_eq!(transcoders.take(SoundJob::End { job: 1 }), None);
    let frame = SoundJob::Frame { job: 1, time: Duration::from_secs(9), data: plain.frames[0].clone().into() };
    assert_eq!(transcoders.take(frame), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_configuration_panics(config in vec(any::<u8>(), 0..12)) {
        let _ = AacToOpus::new(&config, Settings::default());
    }

    #[test]
    fn no_frame_panics(frames in vec((0..200_000u64, vec(any::<u8>(), 0..300)), 0..8), mono: bool) {
        let config = if mono { [0x11, 0x88] } else { [0x12, 0x10] };
        let mut transcoder = AacToOpus::new(&config, Settings::default()).unwrap();
        for (time, frame) in frames {
            let _ = transcoder.push(Duration::from_micros(time), &frame);
        }
    }

    #[test]
    fn no_change_of_a_frame_panics(changes in vec(any::<(Index, Index, u8)>(), 1..12)) {
        let mut recording = Recording::lc_44100_stereo();
        for (frame, at, byte) in changes {
            let frame = frame.index(7) + 1;
            let at = at.index(recording.frames[frame].len());
            recording.frames[frame][at] = byte;
        }
        let mut transcoder = AacToOpus::new(&recording.config, Settings::default()).unwrap();
        for (n, frame) in recording.frames.iter().enumerate().take(8) {
            transcoder.push(recording.time(n), frame).unwrap();
        }
    }
}
