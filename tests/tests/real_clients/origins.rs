//! Players at an edge while its origin is killed, and while another origin with other headers takes over.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anabranch_tests::media::{Clip, Publication, Tag, TagKind, decoded_sizes, media_tags};
use anabranch_tests::program::{Launch, Line, Process, Program, Runtime, free_address};
use anabranch_tests::{Folder, TIMEOUT};

const SMALL: Clip = Clip { picture: "testsrc2=size=320x180:rate=30", seconds: 30, gop: 30, megabits: None };
const LARGE: Clip = Clip { picture: "testsrc=size=640x360:rate=30", seconds: 30, gop: 30, megabits: None };

/// Pictures that each player must get before and after.
const PICTURES: usize = 45;

/// Players of one stream at an edge. All write what they get, and GStreamer and one FFmpeg decode it while it comes.
struct Players {
    processes: Vec<Process>,
    files: Vec<PathBuf>,
}

impl Players {
    fn start(edge: &Program, folder: &Folder) -> Self {
        let files = ["ffmpeg.flv", "rtmpdump.flv", "gstreamer.flv"].map(|name| folder.file(name));
        let pipeline = format!(
            "rtmp2src location={} ! tee name=both \
             both. ! queue ! filesink async=false buffer-mode=unbuffered location={} \
             both. ! queue ! flvdemux name=media \
             media.video ! queue ! h264parse ! avdec_h264 ! fakesink async=false sync=false silent=false name=pictures \
             media.audio ! queue ! aacparse ! avdec_aac ! fakesink async=false sync=false silent=false name=sounds",
            edge.url("live/cam"),
            files[2].display()
        );
        let processes = vec![
            edge.ffmpeg("live/cam", &files[0]),
            edge.rtmpdump("live/cam", &files[1]),
            Process::start("gst-launch-1.0", ["-e", "-v"].into_iter().chain(pipeline.split_whitespace())),
            edge.ffmpeg_decoding("live/cam"),
        ];
        let players = Players { processes, files: files.into() };
        edge.wait_players("live/cam", players.processes.len());
        players.wait_more(&[0; 5]);
        players
    }

    /// How many pictures each has got or decoded.
    fn counts(&self) -> [usize; 5] {
        let written = |file: &Path| media_tags(file).iter().filter(|tag| tag.is_picture()).count();
        let frames = |line: &String| line.strip_prefix("frame=")?.trim().parse().ok();
        let [_, _, gstreamer, ffmpeg] = &self.processes[..] else { unreachable!("there are four") };
        [
            written(&self.files[0]),
            written(&self.files[1]),
            written(&self.files[2]),
            gstreamer.lines_with("(pictures:sink)").len(),
            ffmpeg.stdout().iter().rev().find_map(frames).unwrap_or(0),
        ]
    }

    /// Waits until each of them has more pictures than before.
    fn wait_more(&self, before: &[usize; 5]) {
        self.processes[0].wait_for("pictures of all players", || {
            self.counts().iter().zip(before).all(|(now, before)| *now >= before + PICTURES).then_some(())
        });
    }

    /// They end with the stream, all that they have got can be decoded, and the times of each medium rise.
    fn assert_served(self, edge: &Program, sizes: &[&str], sounds: &[&str]) {
        assert!(self.processes.iter().all(Process::is_running), "a player has ended with the origin");
        assert_eq!(edge.lines(" is player of ").len(), self.processes.len(), "a player had to come again");
        for player in &self.processes {
            player.signal("INT");
        }
        for player in &self.processes {
            player.wait_exit(TIMEOUT);
        }
        for file in &self.files {
            assert_eq!(decoded_sizes(file), sizes, "{}", file.display());
            assert_eq!(headers_of_sound(file), sounds, "{}", file.display());
            for is_of_kind in [Tag::is_picture, |tag: &Tag| tag.kind == TagKind::Audio] {
                let times: Vec<_> =
                    media_tags(file).iter().filter(|tag| is_of_kind(tag)).map(|tag| tag.timestamp).collect();
                assert!(times.len() >= 2 * PICTURES, "{} packets in {}", times.len(), file.display());
                assert!(times.is_sorted(), "time goes back in {}: {times:?}", file.display());
            }
        }
        let gstreamer = &self.processes[2];
        assert_eq!(gstreamer.lines_with("ERROR").len(), 0);
        for size in sizes {
            let size = size.replace(',', ", height=(int)");
            let decoded = |line: &Line| line.text.contains(&format!("width=(int){size}"));
            let caps = gstreamer.lines_with("GstFakeSink:pictures.GstPad:sink: caps = video/x-raw");
            assert!(caps.iter().any(decoded), "GStreamer has decoded no pictures of {size}");
        }
        let caps = gstreamer.lines_with("GstFakeSink:sounds.GstPad:sink: caps = audio/x-raw");
        assert!(caps.len() >= sounds.len(), "GStreamer has decoded {caps:?}");
    }
}

/// The configurations of AAC in a file, each change once, in hexadecimal.
fn headers_of_sound(file: &Path) -> Vec<String> {
    let is_header = |tag: &Tag| tag.kind == TagKind::Audio && tag.is_header();
    let tags = media_tags(file).into_iter().filter(is_header);
    let mut headers: Vec<_> =
        tags.map(|tag| tag.body[2..4].iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    headers.dedup();
    headers
}

fn edge(origins: &[SocketAddr]) -> Program {
    let origins: Vec<_> = origins.iter().map(|origin| format!("rtmp://{origin}")).collect();
    let settings = format!("[defaults.edge]\norigins = {origins:?}\nbackoff = '50ms'\nmax_backoff = '200ms'\n");
    Launch::of(Runtime::Smol).settings(&settings).start()
}

#[test]
fn players_stay_and_go_on_when_the_origin_is_killed_and_is_back_after_three_seconds() {
    let (folder, address) = (Folder::new(), free_address());
    let origin = Launch::of(Runtime::Smol).start_at(address);
    let edge = edge(&[address]);
    let _first = Publication::of_clip(&origin, "live/cam", &SMALL, &folder);
    origin.wait_publishers("live/cam", 1);
    let players = Players::start(&edge, &folder);
    origin.kill();
    // What the issue of a killed origin is about is this time, in which nothing comes.
    thread::sleep(Duration::from_secs(3));
    let before = players.counts();
    let origin = Launch::of(Runtime::Smol).start_at(address);
    let _second = Publication::of_clip(&origin, "live/cam", &SMALL, &folder);
    players.wait_more(&before);
    players.assert_served(&edge, &["320,180"], &["1208"]);
    edge.stop();
}

#[test]
fn players_stay_and_go_on_when_another_origin_with_other_headers_takes_over() {
    let folder = Folder::new();
    let origins = [0; 2].map(|_| Program::start(Runtime::Smol, &[]));
    let edge = edge(&origins.each_ref().map(Program::address));
    let _first = Publication::of_clip(&origins[0], "live/cam", &SMALL, &folder);
    let file = LARGE.file();
    let input = ["-re", "-i", file.to_str().expect("paths of tests are UTF-8"), "-map", "0", "-c:v", "copy"];
    let stereo = ["-c:a", "aac", "-ar", "48000", "-ac", "2"];
    let _second = Publication::start(&origins[1], "live/cam", &[&input[..], &stereo].concat(), &folder);
    for origin in &origins {
        origin.wait_publishers("live/cam", 1);
    }
    let players = Players::start(&edge, &folder);
    let before = players.counts();
    origins[0].kill();
    players.wait_more(&before);
    players.assert_served(&edge, &["320,180", "640,360"], &["1208", "1190"]);
    edge.stop();
}
