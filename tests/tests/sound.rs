//! Opus that is made of AAC, decoded by FFmpeg and libopus, beside what they make of the same AAC.

use std::f64::consts::TAU;
use std::path::Path;
use std::time::Duration;

use anabranch_rtc::desk::OpusPacket;
use anabranch_rtc::sound::{Settings, begin};
use anabranch_tests::Folder;
use anabranch_tests::program::Process;

const SECONDS: f64 = 8.0;

#[test]
fn opus_of_music_at_48_khz_is_within_3_db_of_what_ffmpeg_makes() {
    compare(48_000);
}

#[test]
fn opus_of_music_at_44_1_khz_is_within_3_db_of_what_ffmpeg_makes() {
    compare(44_100);
}

/// Music becomes AAC by FFmpeg, and that Opus by both.
fn compare(rate: u32) {
    let folder = Folder::new();
    let [music, aac, theirs, ours] = ["music.s16", "music.aac", "theirs.ogg", "ours.ogg"].map(|name| folder.file(name));
    std::fs::write(&music, music_at(rate)).unwrap();
    let rate_text = rate.to_string();
    ffmpeg(&[
        "-f",
        "s16le",
        "-ar",
        &rate_text,
        "-ac",
        "2",
        "-i",
        text(&music),
        "-c:a",
        "aac",
        "-b:a",
        "160k",
        text(&aac),
    ]);
    ffmpeg(&["-i", text(&aac), "-c:a", "libopus", "-b:a", "96k", "-compression_level", "5", text(&theirs)]);

    let packets = convert(&std::fs::read(&aac).unwrap(), rate);
    std::fs::write(&ours, ogg(&packets)).unwrap();

    // What both were given. All three have the same first sample.
    let wanted = decoded(&aac, &folder);
    let their_noise = signal_to_noise(&wanted, &decoded(&theirs, &folder));
    let our_noise = signal_to_noise(&wanted, &decoded(&ours, &folder));
    let our_bits = packets.iter().map(|packet| packet.data.len() * 8).sum::<usize>() as f64 / SECONDS;
    println!("{rate} Hz: {our_noise:.2} dB at {our_bits:.0} b/s, and {their_noise:.2} dB by FFmpeg");
    assert!(our_noise > their_noise - 3.0 && our_noise > 15.0, "{our_noise:.2} dB, FFmpeg has {their_noise:.2} dB");
    assert!((85_000.0..115_000.0).contains(&our_bits), "{our_bits} b/s");
}

/// Strings that are plucked, one after the other, and beats, as 16 bits of two channels.
fn music_at(rate: u32) -> Vec<u8> {
    const NOTES: [f64; 12] = [220.0, 277.2, 329.6, 440.0, 196.0, 246.9, 293.7, 392.0, 174.6, 349.2, 261.6, 523.3];
    let rate = f64::from(rate);
    let count = (rate * SECONDS) as usize;
    let mut samples = vec![0.0; 2 * count];
    for note in 0..(SECONDS * 4.0) as usize {
        let (begin, pan) = ((note as f64 * 0.25 * rate) as usize, (note % 5) as f64 / 4.0);
        for n in 0..(rate as usize).min(count - begin) {
            let t = n as f64 / rate;
            let sound: f64 = (1..12)
                .map(|harmonic| {
                    let harmonic = f64::from(harmonic);
                    let frequency = NOTES[note * 5 % 12] * harmonic * (1.0 + 0.0003 * harmonic * harmonic);
                    (TAU * frequency * t).sin() * (-t * (2.0 + harmonic)).exp() / harmonic
                })
                .sum();
            samples[2 * (begin + n)] += sound * 0.12 * (1.0 - 0.6 * pan);
            samples[2 * (begin + n) + 1] += sound * 0.12 * (0.4 + 0.6 * pan);
        }
    }
    let mut noise = 1_u64;
    for beat in 0..(SECONDS * 2.0) as usize {
        let begin = (beat as f64 * 0.5 * rate) as usize;
        for n in 0..(0.15 * rate) as usize {
            noise = noise.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            let sound = ((noise >> 40) as f64 / f64::from(1 << 23) - 1.0) * (n as f64 / rate * -40.0).exp() * 0.15;
            samples[2 * (begin + n)] += sound;
            samples[2 * (begin + n) + 1] += sound * 0.8;
        }
    }
    samples.iter().flat_map(|sample: &f64| ((sample * 32_767.0) as i16).to_le_bytes()).collect()
}

/// The packets of the frames of an ADTS file with two channels.
fn convert(mut adts: &[u8], rate: u32) -> Vec<OpusPacket> {
    let rate_index: u8 = if rate == 48_000 { 3 } else { 4 };
    let config = [2 << 3 | rate_index >> 1, rate_index << 7 | 2 << 3];
    let mut transcoder = begin(&config, Settings::default()).unwrap();
    let (mut packets, mut frame) = (Vec::new(), 0);
    while let &[0xFF, _, _, third, fourth, fifth, ..] = adts {
        let length = usize::from(third & 3) << 11 | usize::from(fourth) << 3 | usize::from(fifth >> 5);
        let time = Duration::from_millis(frame * 1024 * 1000 / u64::from(rate));
        packets.extend(transcoder.push(time, &adts[7..length]).unwrap());
        (adts, frame) = (&adts[length..], frame + 1);
    }
    packets
}

/// An Ogg file of packets of 20 ms (RFC 3533, RFC 7845), each on a page.
fn ogg(packets: &[OpusPacket]) -> Vec<u8> {
    let head = [&b"OpusHead\x01\x02"[..], &[0, 0], &48_000_u32.to_le_bytes(), &[0, 0, 0]].concat();
    let tags = [&b"OpusTags"[..], &[0; 8]].concat();
    let mut file = page(2, 0, 0, &head);
    file.extend(page(0, 0, 1, &tags));
    for (n, packet) in packets.iter().enumerate() {
        assert_eq!(packet.time, Duration::from_millis(20) * n as u32);
        let kind = if n + 1 == packets.len() { 4 } else { 0 };
        file.extend(page(kind, (n as u64 + 1) * 960, n as u32 + 2, &packet.data));
    }
    file
}

fn page(kind: u8, position: u64, number: u32, packet: &[u8]) -> Vec<u8> {
    let mut page =
        [&b"OggS\0"[..], &[kind], &position.to_le_bytes(), &[7, 0, 0, 0], &number.to_le_bytes(), &[0; 4]].concat();
    page.push((packet.len() / 255 + 1) as u8);
    page.extend(std::iter::repeat_n(255, packet.len() / 255));
    page.push((packet.len() % 255) as u8);
    page.extend(packet);
    let checksum = page.iter().fold(0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte) << 24, |sum, _| sum << 1 ^ if sum >> 31 == 1 { 0x04C1_1DB7 } else { 0 })
    });
    page[22..26].copy_from_slice(&checksum.to_le_bytes());
    page
}

/// The samples of a file at 48 kHz, by FFmpeg.
fn decoded(file: &Path, folder: &Folder) -> Vec<f64> {
    let samples = folder.file("decoded.s16");
    ffmpeg(&["-i", text(file), "-f", "s16le", "-ar", "48000", "-ac", "2", text(&samples)]);
    let bytes = std::fs::read(samples).unwrap();
    bytes.chunks_exact(2).map(|sample| f64::from(i16::from_le_bytes([sample[0], sample[1]]))).collect()
}

fn signal_to_noise(wanted: &[f64], found: &[f64]) -> f64 {
    assert!(wanted.len().abs_diff(found.len()) < 48_000, "{} and {} samples", wanted.len(), found.len());
    // Less the first and last half second.
    let middle = 48_000..wanted.len().min(found.len()) - 48_000;
    let pairs = wanted[middle.clone()].iter().zip(&found[middle]);
    let (signal, noise) = pairs.fold((0.0, 1.0), |(signal, noise), (a, b)| (signal + a * a, noise + (a - b) * (a - b)));
    10.0 * f64::log10(signal / noise)
}

fn ffmpeg(arguments: &[&str]) {
    Process::run("ffmpeg", [&["-v", "error", "-y"], arguments].concat());
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}
