use anabranch_tests::media::{TagKind, tags};
use anabranch_tests::program::{Process, Program, Runtime};
use anabranch_tests::{Folder, TIMEOUT};
use std::env;
use std::path::{Path, PathBuf};

use super::hashes::Hashes;

/// FFmpeg as the distribution has it, which knows neither Enhanced RTMP nor several tracks.
const FFMPEG_5: &str = "ffmpeg";

#[test]
fn h264_and_aac_arrive_bit_exact() {
    let codecs = "-map 0 -map 2 -c:v libx264 -preset ultrafast -bf 2 -c:a aac";
    arrives(&Case { codecs, old_players: true, ..Case::default() });
}

#[test]
fn sorenson_and_mp3_arrive_bit_exact() {
    let codecs = "-map 0 -map 2 -c:v flv -c:a libmp3lame -ar 44100";
    arrives(&Case { codecs, old_players: true, ..Case::default() });
}

#[test]
fn hevc_arrives_bit_exact() {
    let codecs = "-map 0 -map 2 -c:v libx265 -preset ultrafast -x265-params log-level=none:bframes=0 -c:a aac";
    arrives(&Case { codecs, announced: "hvc1", ..Case::default() });
}

#[test]
fn av1_and_opus_arrive_bit_exact() {
    let codecs = "-map 0 -map 2 -c:v libsvtav1 -preset 12 -c:a libopus -b:a 64k";
    arrives(&Case { codecs, announced: "av01", ..Case::default() });
}

#[test]
fn vp9_and_flac_arrive_bit_exact() {
    let codecs = "-map 0 -map 2 -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 300k -c:a flac";
    arrives(&Case { codecs, announced: "vp09", ..Case::default() });
}

#[test]
fn ac3_arrives_bit_exact() {
    arrives(&Case { codecs: "-map 0 -map 2 -c:v libx264 -preset ultrafast -c:a ac3", ..Case::default() });
}

#[test]
fn eac3_arrives_bit_exact() {
    arrives(&Case { codecs: "-map 0 -map 2 -c:v libx264 -preset ultrafast -c:a eac3", ..Case::default() });
}

const TWO_AND_TWO: &str =
    "-map 0 -map 1 -map 2 -map 3 -c:v libx264 -preset ultrafast -c:a:0 aac -b:a:0 96k -c:a:1 aac -b:a:1 64k";

#[test]
fn players_that_want_all_tracks_get_all_bit_exact() {
    arrives(&Case { codecs: TWO_AND_TWO, tracks: 4, multitrack_to_all: true, ..Case::default() });
}

#[test]
fn other_players_get_exactly_the_first_tracks() {
    arrives(&Case { codecs: TWO_AND_TWO, tracks: 4, old_players: true, ..Case::default() });
}

const MIXED: &str = "-map 0 -map 1 -map 2 -map 3 -c:v:0 libx264 -preset:v:0 ultrafast -c:v:1 libx265 \
                     -preset:v:1 ultrafast -x265-params log-level=none:bframes=0 -c:a:0 aac -c:a:1 libopus -b:a:1 64k";

#[test]
fn all_tracks_of_several_codecs_arrive_bit_exact() {
    arrives(&Case { codecs: MIXED, tracks: 4, multitrack_to_all: true, announced: "hvc1", ..Case::default() });
}

/// FFmpeg 9 marks what it says about the colours of a second track (packet type 4) as if it were about the first.
/// FFmpeg 5 takes that for a track in VP6 that never comes, and fails.
#[test]
fn of_tracks_of_several_codecs_the_first_arrive_bit_exact() {
    arrives(&Case { codecs: MIXED, tracks: 4, old_players: true, ..Case::default() });
}

/// What FFmpeg 9 publishes, and to which server.
#[derive(Debug)]
struct Case {
    /// Maps and codecs, of two pictures and two sounds.
    codecs: &'static str,
    tracks: usize,
    /// Codec that the publisher announces in connect.
    announced: &'static str,
    multitrack_to_all: bool,
    /// Whether FFmpeg 5 knows the codecs of the first tracks.
    old_players: bool,
}

impl Default for Case {
    fn default() -> Self {
        Case { codecs: "", tracks: 2, announced: "", multitrack_to_all: false, old_players: false }
    }
}

/// A player that is there from the beginning gets every packet as it was sent, and one that comes late gets the
/// configuration of every track and every packet from then on.
fn arrives(case: &Case) {
    let folder = Folder::new();
    let clip = encode(case, &folder);
    let mut options = vec!["--unpublish-grace", "1"];
    if case.multitrack_to_all {
        options.push("--multitrack-to-all");
    }
    let server = Program::start(Runtime::Smol, &options);
    let url = server.url("live/cam");
    let dumped = folder.file("rtmpdump.flv");
    let mut early = Hashes::start(&ffmpeg_9(), &url);
    let mut rtmpdump = server.rtmpdump("live/cam", &dumped);
    let mut old = case.old_players.then(|| Hashes::start(FFMPEG_5, &url));
    let players = 2 + usize::from(case.old_players);
    server.wait_players("live/cam", players);
    let (mut publisher, sent) = publish(&url, case.announced, &clip, &folder);
    publisher.wait_for("second of the stream", || (newest(&sent) >= 2000).then_some(()));
    let mut late = Hashes::start(&ffmpeg_9(), &url);
    let mut decoding = decode(&url);
    server.wait_players("live/cam", players + 2);
    for process in [&mut publisher, &mut early, &mut rtmpdump, &mut late, &mut decoding] {
        process.wait_success(TIMEOUT);
    }

    let all = Hashes::of_file(&ffmpeg_9(), sent.display());
    assert_eq!(all.tracks.len(), case.tracks, "the publisher did not send what it should");
    assert!(all.of_kind("video").all(|track| track.packets.len() >= 120), "video is missing");
    assert!(all.of_kind("audio").all(|track| track.packets.len() >= 80), "audio is missing");
    let expected = if case.multitrack_to_all { all } else { all.first_tracks() };
    expected.assert_same(&Hashes::parse(&early));
    expected.assert_ends_with(&Hashes::parse(&late));
    // librtmp writes messages as they come, so this is what was on the wire.
    expected.assert_same(&Hashes::of_file(&ffmpeg_9(), dumped.display()));
    assert_eq!(decoding.stderr(), [""; 0], "FFmpeg 9 complains");
    if let Some(old) = &mut old {
        old.wait_success(TIMEOUT);
        Hashes::of_file(FFMPEG_5, dumped.display()).assert_same(&Hashes::parse(old));
        let payloads = |hashes: &Hashes| -> Vec<Vec<_>> {
            hashes.tracks.iter().map(|track| track.packets.iter().map(|packet| packet.hash.clone()).collect()).collect()
        };
        assert_eq!(payloads(&Hashes::parse(old)), payloads(&expected), "FFmpeg 5 and 9 differ");
    }
    if !case.multitrack_to_all {
        assert_has_no_multitrack(&dumped);
    }
    server.wait_closed_without_loss(players + 3);
    server.stop();
}

/// No message is in the multitrack form: Enhanced RTMP v2, video packet type 6 and audio packet type 5.
fn assert_has_no_multitrack(file: &Path) {
    for tag in tags(file) {
        let first = tag.body.first().copied().unwrap_or_default();
        let is_multitrack = match tag.kind {
            TagKind::Video => first & 0x8f == 0x86,
            TagKind::Audio => first == 0x95,
            TagKind::Data => false,
        };
        assert!(!is_multitrack, "{:?} at {} ms is for many tracks", tag.kind, tag.timestamp);
    }
}

/// Milliseconds that a file has so far.
fn newest(file: &Path) -> u32 {
    if file.exists() { tags(file).last().map_or(0, |tag| tag.timestamp) } else { 0 }
}

fn encode(case: &Case, folder: &Folder) -> PathBuf {
    let file = folder.file("clip.flv");
    let inputs = "-nostdin -loglevel error -f lavfi -i testsrc2=size=320x180:rate=30 -f lavfi -i \
                  testsrc=size=160x90:rate=30 -f lavfi -i sine=frequency=440:sample_rate=48000 -f lavfi -i \
                  sine=frequency=880:sample_rate=48000 -t 5 -pix_fmt yuv420p -g 30";
    let file_argument = file.to_str().expect("paths of tests are UTF-8");
    let line = inputs.split_whitespace().chain(case.codecs.split_whitespace()).chain([file_argument]);
    Process::run(ffmpeg_9(), line);
    file
}

/// FFmpeg 9 as publisher; what it sends it also writes into a file.
fn publish(url: &str, announced: &str, clip: &Path, folder: &Folder) -> (Process, PathBuf) {
    let sent = folder.file("sent.flv");
    let file = clip.to_str().expect("paths of tests are UTF-8");
    let announced = if announced.is_empty() { String::new() } else { format!(":rtmp_enhanced_codecs={announced}") };
    let options = "f=flv:flush_packets=1:flvflags=no_duration_filesize";
    let outputs = format!("[f=flv:onfail=abort{announced}]{url}|[{options}]{}", sent.display());
    let line = ["-nostdin", "-loglevel", "warning", "-re", "-i", file, "-map", "0", "-c", "copy", "-f", "tee"];
    (Process::start(ffmpeg_9(), line.into_iter().chain([&*outputs])), sent)
}

/// FFmpeg 9 as player that decodes every track.
fn decode(url: &str) -> Process {
    let line = ["-nostdin", "-loglevel", "warning", "-i", url, "-map", "0:v", "-map", "0:a", "-f", "null", "-"];
    Process::start(ffmpeg_9(), line)
}

pub(crate) fn ffmpeg_9() -> String {
    env::var("ANABRANCH_FFMPEG_9").expect("tests/run --all-clients installs FFmpeg 9 and says where")
}
