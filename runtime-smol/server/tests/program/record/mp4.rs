//! Recordings as fragmented MP4.

use std::fs;
use std::path::Path;

use anabranch_core::fmp4::{FileHead, read_fragment};
use anabranch_core::message::Message;
use anabranch_tests::media::ffmpeg_publishes;
use anabranch_tests::program::Launch;
use anabranch_tests::{Folder, TIMEOUT, wait_for};

use super::files::{Recording, avc, send};
use super::media;
use crate::start;

/// Decoding time of each packet of a track, in seconds. FFmpeg may complain of media that tests made up.
fn packets(file: &Path, track: &str) -> Vec<f64> {
    let show = format!("-v quiet -select_streams {track} -show_entries packet=dts_time -of json");
    let shown = media::run("ffprobe", show.split(' ').chain([file.to_str().unwrap()]));
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let time = |packet: &serde_json::Value| packet["dts_time"].as_str().unwrap().parse().unwrap();
    shown["packets"].as_array().unwrap().iter().map(time).collect()
}

#[test]
fn a_recording_in_mp4_is_what_was_published_without_gaps() {
    let server = Recording::start("format = 'mp4'\n");
    let clip = media::clip(server.folder.path(), 6);
    ffmpeg_publishes(&server.program.url("live/cam"), &["-i", clip.to_str().unwrap()]).wait_success(TIMEOUT);
    let files = server.wait(1);
    let [file] = &files[..] else { panic!("{files:?}") };
    assert_eq!(file.extension().unwrap(), "mp4");
    assert_eq!(media::hashes(file), media::hashes(&clip));
    let (duration, codecs) = media::probe(file);
    assert!((5.9..6.1).contains(&duration), "{duration}");
    assert_eq!(codecs, ["h264", "aac"]);
    assert_eq!(media::pictures(file), 150);
    for (track, frame) in [("v", 0.04), ("a", 1024.0 / 44_100.0)] {
        let packets = packets(file, track);
        assert!(packets[0] < 0.05, "{track}: {packets:?}");
        assert!(packets.windows(2).all(|pair| (pair[1] - pair[0] - frame).abs() < 1e-5), "{track}: {packets:?}");
    }
    // Each fragment of the pictures begins where the one before ends.
    let bytes = fs::read(file).unwrap();
    let starts: Vec<_> = (0..bytes.len() - 8).filter(|at| &bytes[at + 4..at + 8] == b"moof").collect();
    let head = FileHead::read(&bytes[..starts[0]]).unwrap();
    let size = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let fragments = starts.iter().map(|&at| read_fragment(&bytes[at + 8..at + size(at)], &head).unwrap());
    let fragments: Vec<_> = fragments.filter(|fragment| fragment.start.is_some()).collect();
    assert!((6..=8).contains(&fragments.len()), "{fragments:?}");
    for pair in fragments.windows(2) {
        assert_eq!(Some(pair[0].end), pair[1].start);
    }
    // The index leads to fragments, and to all of them. (FFmpeg 5 seeks one too early in its own files, too.)
    let index = bytes.windows(4).position(|found| found == b"sidx").expect("it has an index") + 4;
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let entries = number(index + 28) & 0xFFFF;
    assert!(entries >= 5, "{entries}");
    let end = (0..entries).fold(starts[0], |at, entry| {
        assert!(starts.contains(&at), "{at}");
        at + number(index + 32 + entry * 12)
    });
    assert_eq!(end, bytes.len());
    for kind in [b"sidx", b"mehd"] {
        assert!(bytes[..64 << 10].windows(4).any(|found| found == kind), "{kind:?}");
    }
}

#[test]
fn a_file_in_mp4_ends_at_a_key_frame_where_it_is_full() {
    let server = Recording::start("format = 'mp4'\nmax_duration = '2s'\nfile = '{stream}.{format}'\n");
    let clip = media::clip(server.folder.path(), 5);
    ffmpeg_publishes(&server.program.url("live/cam"), &["-i", clip.to_str().unwrap()]).wait_success(TIMEOUT);
    let files = server.wait(3);
    let pictures: Vec<_> = files.iter().map(|file| media::pictures(file)).collect();
    assert_eq!(pictures.iter().sum::<usize>(), 125);
    assert_eq!(pictures.iter().filter(|count| **count == 50).count(), 2, "{pictures:?}");
    for file in files {
        assert_eq!(media::probe(&file).1, ["h264", "aac"]);
        assert!(packets(&file, "v")[0] < 0.1, "each file has its own time");
    }
}

/// Whatever `min_duration` says: MP4 has one configuration for a track.
#[test]
fn another_header_begins_another_file_in_mp4_at_once() {
    let server = Recording::start("format = 'mp4'\n");
    let mut peer = server.visitor();
    let stream = peer.publish("cam").unwrap();
    send(&mut peer, stream, &avc(66, 0));
    send(&mut peer, stream, &avc(66, 80));
    send(&mut peer, stream, &avc(100, 160));
    peer.drop_connection();
    let files = server.wait(2);
    let mut counts: Vec<_> = files.iter().map(|file| packets(file, "v").len()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [2, 4]);
    assert_eq!(server.program.lines("recorded ").len(), 2);
}

#[test]
fn sound_alone_and_extended_codecs_are_recorded_in_mp4_and_what_it_cannot_hold_is_told_once() {
    let server = Recording::start("format = 'mp4'\n");
    let mut peer = server.visitor();
    let stream = peer.publish("hevc").unwrap();
    let hevc =
        |first: u8, time: u32, rest: &[u8]| Message::video(time, [&[first, b'h', b'v', b'c', b'1'], rest].concat());
    let mut record = vec![1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 93, 0xF0, 0, 0xFC, 0xFD, 0xF8, 0xF8, 0, 0, 0x0F, 0];
    record.resize(23, 0);
    send(
        &mut peer,
        stream,
        &[hevc(0x90, 0, &record), hevc(0x91, 0, &[0, 0, 0, 0, 0, 0, 2, 0x26, 1]), hevc(0xA3, 40, &[0, 0, 0, 2, 2, 1])],
    );
    // Speex beside it.
    for time in 0..3 {
        send(&mut peer, stream, &[Message::audio(20 * time, [0xB2, 1, 2].as_slice())]);
    }
    let audio = peer.publish("sound").unwrap();
    let sound: Vec<_> = (0..100)
        .map(|number: u32| Message::audio(23 * number, [0xAF, u8::from(number > 0), 18, 16].as_slice()))
        .collect();
    send(&mut peer, audio, &sound);
    let speex = peer.publish("speex").unwrap();
    send(&mut peer, speex, &[Message::audio(0, [0xB2, 1, 2].as_slice())]);
    peer.drop_connection();
    server.program.wait_lines("closed: ", 1);
    let files = wait_for("end of the file without a frame", TIMEOUT, || {
        server.program.wait_lines("is without Speex", 2);
        Some(server.wait(2)).filter(|files| files.len() == 2)
    });
    let codecs = |file: &Path| {
        let show = "-v quiet -show_entries stream=codec_name -of csv=p=0".split(' ');
        media::run("ffprobe", show.chain([file.to_str().unwrap()])).trim().to_owned()
    };
    assert_eq!([codecs(&files[0]), codecs(&files[1])], ["hevc", "aac"]);
    let times = packets(&files[1], "a");
    assert_eq!(times.len(), 99);
    assert_eq!(times[0].to_bits(), 0.0_f64.to_bits());
    assert_eq!(server.program.wait_lines("is without Speex, which MP4 cannot hold", 2).len(), 2, "once for a file");
}

/// Where each whole fragment ends.
fn whole_fragments(bytes: &[u8]) -> Vec<usize> {
    let (mut at, mut ends) = (0, Vec::new());
    while let Some(size) = bytes.get(at..at + 4) {
        let size = u32::from_be_bytes(size.try_into().unwrap()) as usize;
        if at + size > bytes.len() {
            break;
        }
        if &bytes[at + 4..at + 8] == b"mdat" {
            ends.push(at + size);
        }
        at += size;
    }
    ends
}

/// `ANABRANCH_CRASHES=200` is the long run.
#[test]
fn a_server_that_is_killed_leaves_files_in_mp4_that_play() {
    let count: u64 = std::env::var("ANABRANCH_CRASHES").map_or(4, |count| count.parse().unwrap());
    let home = Folder::new();
    let clip = media::clip(home.path(), 10);
    let clip = clip.to_str().unwrap();
    let mut random = u64::from(std::process::id()) | 1;
    for number in 0..count {
        // Marsaglia, "Xorshift RNGs".
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let size = 200_000 + random % 450_000;
        let files = home.file(&format!("files{number}"));
        let settings = format!(
            "[defaults.record]\nstreams = ['*']\nfolder = {files:?}\nmin_free = 0\nmax_duration = '20s'\n\
             format = 'mp4'\n"
        );
        let program = start(&settings);
        let input = ["-stream_loop", "-1", "-readrate", "50", "-i", clip];
        let publisher = ffmpeg_publishes(&program.url("live/cam"), &input);
        wait_for("size", TIMEOUT, || {
            let lengths = media::files(&files).into_iter().map(|file| fs::metadata(file).unwrap().len());
            (lengths.sum::<u64>() >= size).then_some(())
        });
        program.kill();
        drop(publisher);
        let all = media::files(&files);
        let mut fragments = 0;
        for (place, file) in all.iter().enumerate() {
            let bytes = fs::read(file).unwrap();
            let ends = whole_fragments(&bytes);
            fragments += ends.len();
            let Some(&end) = ends.last() else {
                assert_eq!(place + 1, all.len(), "only the last one had just begun");
                continue;
            };
            // As it is: a cut fragment does not keep the others from being played.
            let torso = media::pictures_of_a_torso(file);
            let path = file.to_str().unwrap();
            for round in 0..2 {
                let said = media::run(env!("CARGO_BIN_EXE_anabranch"), ["repair", path]);
                let cut = if round == 0 { bytes.len() - end } else { 0 };
                assert!(said.contains(&format!(" {cut} bytes cut off")), "{said}");
                let repaired = fs::read(file).unwrap();
                assert_eq!(repaired.len(), end);
                let first = whole_fragments(&repaired)[0];
                assert_eq!(repaired[first..], bytes[first..end], "only length and index are other ones");
            }
            let pictures = media::pictures(file);
            assert!(pictures > 0 && torso >= pictures, "{size}: {torso} {pictures}");
            let (duration, codecs) = media::probe(file);
            assert!((duration - pictures as f64 / 25.0).abs() < 0.3, "{size}: {duration} {pictures}");
            assert_eq!(codecs, ["h264", "aac"]);
        }
        assert!(fragments > 0, "{size}");
        fs::remove_dir_all(&files).unwrap();
    }
}

#[test]
fn an_mp4_file_of_another_program_is_not_repaired() {
    let home = Folder::new();
    let clip = media::clip(home.path(), 1);
    let (clip, other) = (clip.to_str().unwrap(), home.file("other.mp4"));
    let remux = "-v error -nostdin -i".split(' ').chain([clip]).chain("-c copy -movflags empty_moov".split(' '));
    media::run("ffmpeg", remux.chain([other.to_str().unwrap()]));
    let before = fs::read(&other).unwrap();
    let repair = Launch::new(env!("CARGO_BIN_EXE_anabranch")).arg("repair").arg(&other).run();
    assert!(!repair.status.success() && repair.stderr.contains("not a recording of this program"), "{repair:?}");
    assert_eq!(fs::read(&other).unwrap(), before);
}
