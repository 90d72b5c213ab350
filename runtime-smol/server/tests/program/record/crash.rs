use std::fs;
use std::path::Path;

use anabranch_tests::media::{TagKind, ffmpeg_publishes, whole_tags};
use anabranch_tests::program::Launch;
use anabranch_tests::{Folder, TIMEOUT, wait_for};

use super::media;
use crate::start;

/// `ANABRANCH_CRASHES=200` is the long run.
#[test]
fn a_server_that_is_killed_leaves_files_that_play() {
    let count: u64 = std::env::var("ANABRANCH_CRASHES").map_or(8, |count| count.parse().unwrap());
    let home = Folder::new();
    let clip = media::clip(home.path(), 10);
    let clip = clip.to_str().unwrap();
    // No two runs kill at the same places; the place is shown if it fails.
    let mut random = u64::from(std::process::id()) | 1;
    let mut played = 0;
    for number in 0..count {
        // Marsaglia, "Xorshift RNGs".
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let size = 100_000 + random % 450_000;
        let files = home.file(&format!("files{number}"));
        let settings =
            format!("[defaults.record]\nstreams = ['*']\nfolder = {files:?}\nmin_free = 0\nmax_duration = '20s'\n");
        let program = start(&settings);
        let input = ["-stream_loop", "-1", "-readrate", "50", "-i", clip];
        let publisher = ffmpeg_publishes(&program.url("live/cam"), &input);
        wait_for("size", TIMEOUT, || {
            let lengths = media::files(&files).into_iter().map(|file| fs::metadata(file).unwrap().len());
            (lengths.sum::<u64>() >= size).then_some(())
        });
        program.kill();
        drop(publisher);
        for file in media::files(&files) {
            let (tags, rest) = whole_tags(&file);
            let longest = tags.iter().map(|tag| tag.body.len()).max().unwrap_or_default();
            assert!(rest <= longest + 15, "{size}: {rest} bytes behind the last tag");
            let frames = tags.iter().filter(|tag| tag.kind == TagKind::Video && tag.body[1] == 1).count();
            if frames < 10 {
                // It had only begun, with too little in it for a player to tell its length.
                continue;
            }
            played += 1;
            // All of it, but for the picture that may be cut off.
            let pictures = media::pictures_of_a_torso(&file);
            assert!(pictures >= frames.saturating_sub(1) && pictures <= frames + 1, "{size}: {pictures} of {frames}");
            let last = tags.last().map_or(0.0, |tag| f64::from(tag.timestamp) / 1000.0);
            if rest == 0 {
                // FFmpeg looks for the length at the very end, where otherwise there is a part of a tag.
                let (duration, codecs) = media::probe(&file);
                assert!((duration - last).abs() < 0.3, "{size}: {duration} {last}");
                assert_eq!(codecs, ["h264", "aac"]);
            }
            repair(&file, last);
        }
        fs::remove_dir_all(&files).unwrap();
    }
    assert!(played >= count, "each left at least one that plays: {played}");
}

/// The program's `repair`: nothing is lost but what was not whole, and no search is needed any more.
fn repair(file: &Path, last: f64) {
    let (before, _) = whole_tags(file);
    let path = file.to_str().unwrap();
    for _ in 0..2 {
        let said = media::run(env!("CARGO_BIN_EXE_anabranch"), ["repair", path]);
        assert!(said.contains(" bytes cut off"), "{said}");
        let (tags, rest) = whole_tags(file);
        assert_eq!((rest, tags.len()), (0, before.len()));
        assert_eq!(tags[1..], before[1..], "only the metadata is another");
        let has = |name: &str| tags[0].body.windows(name.len()).any(|bytes| bytes == name.as_bytes());
        assert!(has("duration") && has("filesize") && has("keyframes") && has("width"), "{:?}", &tags[0].body[..200]);
    }
    let (duration, codecs) = media::probe(file);
    assert!((duration - last).abs() < 0.3, "{duration} {last}");
    assert_eq!(codecs, ["h264", "aac"]);
}

#[test]
fn what_is_no_recording_is_not_repaired() {
    let home = Folder::new();
    let clip = media::clip(home.path(), 1);
    let other = home.write("text", "FLV? No.");
    for file in [&clip, &other, &home.file("none")] {
        let before = fs::read(file).unwrap_or_default();
        let repair = Launch::new(env!("CARGO_BIN_EXE_anabranch")).arg("repair").arg(file).run();
        assert!(!repair.status.success() && repair.stderr.contains(file.to_str().unwrap()), "{repair:?}");
        assert_eq!(fs::read(file).unwrap_or_default(), before);
    }
}

#[test]
fn a_file_that_cannot_be_repaired_does_not_keep_others_from_it() {
    let home = Folder::new();
    let (other, empty) = (home.write("text", "FLV? No."), home.write("empty.mp4", ""));
    let files = [other, empty.clone(), home.file("none"), empty];
    let repair = Launch::new(env!("CARGO_BIN_EXE_anabranch")).arg("repair").args(&files).run();
    assert!(!repair.status.success(), "{repair:?}");
    assert_eq!(repair.stdout.matches("empty.mp4: nothing to repair").count(), 2, "{repair:?}");
    let lines: Vec<_> = repair.stderr.lines().collect();
    assert!(lines[0].contains("text: not a recording") && lines[1].contains("none: "), "{repair:?}");
    assert!(repair.stderr.contains("2 of 4 files cannot be repaired"), "{repair:?}");
}
