use std::fs;
use std::path::PathBuf;

use anabranch_core::client::StreamHandle;
use anabranch_core::message::Message;
use anabranch_tests::media::{Tag, TagKind, ffmpeg_publishes, whole_tags};
use anabranch_tests::peer::Driver;
use anabranch_tests::program::{Launch, Program};
use anabranch_tests::{Folder, TIMEOUT, wait_for};

use super::media;
use crate::{launch, start};

/// A server that records, and its folder for that.
pub(super) struct Recording {
    pub(super) program: Program,
    pub(super) folder: Folder,
    /// Where its files are; not the folder itself, so that one may see what is beside it.
    files: PathBuf,
}

impl Recording {
    pub(super) fn start(more: &str) -> Recording {
        let folder = Folder::new();
        let files = folder.file("files");
        let streams = if more.contains("streams") { "" } else { "streams = ['live/*']\n" };
        let program = start(&format!("[defaults.record]\n{streams}folder = {files:?}\nmin_free = 0\n{more}"));
        Recording { program, folder, files }
    }

    /// A client of the application `live`.
    pub(super) fn visitor(&self) -> Driver {
        self.program.visitor()
    }

    /// Waits until so many files are complete.
    pub(super) fn wait(&self, count: usize) -> Vec<PathBuf> {
        self.program.wait_lines("recorded ", count);
        media::files(&self.files)
    }
}

pub(super) fn send(peer: &mut Driver, stream: StreamHandle, messages: &[Message]) {
    for message in messages {
        peer.client.send_message(stream, message.clone()).unwrap();
    }
    peer.flush();
}

/// The bodies of a medium.
fn bodies(tags: &[Tag], kind: TagKind) -> Vec<Vec<u8>> {
    tags.iter().filter(|tag| tag.kind == kind).map(|tag| tag.body.clone()).collect()
}

#[test]
fn a_recording_is_what_was_published() {
    let server = Recording::start("");
    let clip = media::clip(server.folder.path(), 6);
    ffmpeg_publishes(&server.program.url("live/cam"), &["-i", clip.to_str().unwrap()]).wait_success(TIMEOUT);
    // A publisher that is not to be recorded.
    ffmpeg_publishes(&server.program.url("other/cam"), &["-i", clip.to_str().unwrap()]).wait_success(TIMEOUT);
    let files = server.wait(1);
    let [file] = &files[..] else { panic!("{files:?}") };
    assert!(file.file_name().unwrap().to_str().unwrap().starts_with("cam-20"), "{file:?}");
    assert_eq!(file.parent().unwrap(), server.files.join("live"));
    assert_eq!(media::hashes(file), media::hashes(&clip));
    let (duration, codecs) = media::probe(file);
    assert!((5.9..6.1).contains(&duration), "{duration}");
    assert_eq!(codecs, ["h264", "aac"]);
    assert_eq!(media::pictures(file), 150);
    // A seek finds its key frame by the index.
    let frames = media::run(
        "ffprobe",
        "-v error -read_intervals 3%+#1 -select_streams v -show_entries packet=pts_time,flags -of csv=p=0"
            .split(' ')
            .chain([file.to_str().unwrap()]),
    );
    assert!(frames.starts_with("3.") && frames.contains('K'), "{frames}");
}

#[test]
fn each_publication_and_each_length_is_a_file_that_begins_with_a_key_frame() {
    let server = Recording::start("max_duration = '2s'\nfile = '{vhost}_{app}_{stream}.flv'\n");
    let clip = media::clip(server.folder.path(), 5);
    for _ in 0..2 {
        ffmpeg_publishes(&server.program.url("live/cam"), &["-i", clip.to_str().unwrap()]).wait_success(TIMEOUT);
    }
    let files = server.wait(6);
    let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names[0], "__defaultVhost___live_cam-1.flv", "{names:?}");
    assert_eq!(names.len(), 6);
    let mut pictures: Vec<_> = files.iter().map(|file| media::pictures(file)).collect();
    pictures.sort_unstable();
    assert_eq!(pictures, [25, 25, 50, 50, 50, 50]);
    for file in files {
        assert_eq!(media::probe(&file).1, ["h264", "aac"]);
        assert_eq!(whole_tags(&file).0[0].timestamp, 0);
    }
}

/// H.264: a sequence header, a key frame, another frame.
pub(super) fn avc(profile: u8, time: u32) -> [Message; 3] {
    let header = vec![0x17, 0, 0, 0, 0, 1, profile, 0, 30, 0xFF, 0xE1, 0, 4, 0x67, profile, 0, 30, 1, 0, 2, 0x68, 1];
    [
        Message::video(time, header),
        Message::video(time, [0x17, 1, 0, 0, 0, profile].as_slice()),
        Message::video(time + 40, [0x27, 1, 0, 0, 0, profile].as_slice()),
    ]
}

#[test]
fn another_sequence_header_begins_another_file() {
    // Whatever the length of the one before.
    let server = Recording::start("min_duration = '0s'\n");
    let mut peer = server.visitor();
    let stream = peer.publish("cam").unwrap();
    send(&mut peer, stream, &avc(66, 0));
    // The same once more changes nothing.
    send(&mut peer, stream, &avc(66, 80));
    send(&mut peer, stream, &avc(100, 160));
    peer.drop_connection();
    let files = server.wait(2);
    let videos: Vec<_> = files.iter().map(|file| bodies(&whole_tags(file).0, TagKind::Video)).collect();
    let mut expected: Vec<Vec<Vec<u8>>> = vec![Vec::new(), Vec::new()];
    let body = |message: &Message| message.payload.to_vec();
    expected[0].extend(avc(66, 0).iter().map(body));
    expected[0].extend(avc(66, 80)[1..].iter().map(body));
    expected[1].extend(avc(100, 160).iter().map(body));
    let mut videos = videos;
    videos.sort_unstable_by_key(|bodies| std::cmp::Reverse(bodies.len()));
    assert_eq!(videos, expected);
    for file in files {
        let first = whole_tags(&file).0.into_iter().find(|tag| tag.kind == TagKind::Video).unwrap();
        assert_eq!(first.timestamp, 0, "each file has its own time");
    }
}

#[test]
fn extended_bodies_and_audio_alone_are_written_as_they_are() {
    let server = Recording::start("");
    let mut peer = server.visitor();
    let stream = peer.publish("hevc").unwrap();
    let hevc =
        |first: u8, time: u32, rest: &[u8]| Message::video(time, [&[first, b'h', b'v', b'c', b'1'], rest].concat());
    let mut record = vec![1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 93, 0xF0, 0, 0xFC, 0xFD, 0xF8, 0xF8, 0, 0, 0x0F, 0];
    record.resize(23, 0);
    let messages =
        [hevc(0x90, 0, &record), hevc(0x91, 0, &[0, 0, 0, 1, 2, 3]), hevc(0xA3, 40, &[4, 5]), hevc(0x93, 80, &[6])];
    send(&mut peer, stream, &messages);
    let audio = peer.publish("sound").unwrap();
    let sound: Vec<_> = [0xAF; 4]
        .into_iter()
        .enumerate()
        .map(|(number, first)| Message::audio(23 * number as u32, [first, u8::from(number > 0), 18, 16].as_slice()))
        .collect();
    send(&mut peer, audio, &sound);
    peer.drop_connection();
    let files = server.wait(2);
    let tags: Vec<_> = files.iter().map(|file| whole_tags(file).0).collect();
    let body = |message: &Message| message.payload.to_vec();
    assert_eq!(bodies(&tags[0], TagKind::Video), messages.iter().map(body).collect::<Vec<_>>());
    assert_eq!(bodies(&tags[1], TagKind::Audio), sound.iter().map(body).collect::<Vec<_>>());
    assert_eq!(fs::read(&files[0]).unwrap()[4], 1, "video only");
    assert_eq!(fs::read(&files[1]).unwrap()[4], 4, "audio only");
}

#[test]
fn no_name_leads_out_of_the_folder() {
    let server = Recording::start("streams = ['*']\n");
    let long = "x".repeat(900);
    let names =
        ["..", "../up", "a/../../up", "/etc/x", ".hidden", "...", "a\0b", "a\\..\\b", "%2e%2e%2fup", "c:x", " ", &long];
    let mut published = 0;
    for name in names {
        let mut peer = server.visitor();
        if let Ok(stream) = peer.publish(name) {
            published += 1;
            send(&mut peer, stream, &avc(66, 0));
        }
        peer.drop_connection();
    }
    let files = server.wait(published);
    assert!(published >= 5 && files.len() == published, "{published} {files:?}");
    let depth = |file: &PathBuf| file.strip_prefix(&server.files).unwrap().components().count();
    assert!(files.iter().all(|file| depth(file) == 2), "app and stream: {files:?}");
    let beside: Vec<_> = fs::read_dir(server.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside, ["files"]);
}

#[test]
fn nothing_is_recorded_where_space_is_short() {
    let server = Recording::start("");
    let folder = server.files.display().to_string();
    let program = start(&format!("[defaults.record]\nstreams = ['*']\nfolder = {folder:?}\nmin_free = '1000000GiB'\n"));
    let mut peer = program.visitor();
    let stream = peer.publish("cam").unwrap();
    send(&mut peer, stream, &avc(66, 0));
    program.wait_lines("1024000000 are to stay free", 1);
    assert!(media::files(&server.files).is_empty());
    // The stream goes on, and so does the server.
    send(&mut peer, stream, &avc(66, 80));
    program.finish();
}

#[test]
fn the_end_of_the_server_is_the_end_of_its_files() {
    let server = Recording::start("");
    let mut peer = server.visitor();
    let stream = peer.publish("cam").unwrap();
    send(&mut peer, stream, &avc(66, 0));
    server.program.wait_lines("recording of", 1);
    wait_for("frames in the file", TIMEOUT, || {
        media::files(&server.files).first().is_some_and(|file| whole_tags(file).0.len() == 4).then_some(())
    });
    let recording = media::files(&server.files);
    let repair = Launch::new(env!("CARGO_BIN_EXE_anabranch")).arg("repair").args(&recording).run();
    assert!(repair.stderr.contains("it is being written"), "{repair:?}");
    server.program.finish();
    let [file] = &media::files(&server.files)[..] else { panic!("one file") };
    let (tags, rest) = whole_tags(file);
    assert_eq!((tags.len(), rest), (4, 0));
    assert!(tags[0].body.windows(8).any(|bytes| bytes == b"filesize"), "it is complete");
}

#[test]
fn a_publisher_that_comes_back_at_once_is_recorded_again() {
    const ROUNDS: u8 = 30;
    let server = Recording::start("min_duration = '0s'\n");
    for number in 0..ROUNDS {
        // The connection before may not be over yet; then the name is taken for a moment.
        let (mut peer, stream) = wait_for("free name", TIMEOUT, || {
            let mut peer = server.visitor();
            peer.publish("cam").ok().map(|stream| (peer, stream))
        });
        send(&mut peer, stream, &avc(number, 0));
        peer.drop_connection();
    }
    let is_recorded = |number: u8| {
        let picture = vec![0x27, 1, 0, 0, 0, number];
        let files = media::files(&server.files);
        files.iter().any(|file| bodies(&whole_tags(file).0, TagKind::Video).contains(&picture))
    };
    for number in 0..ROUNDS {
        wait_for(&format!("recording of round {number}"), TIMEOUT, || is_recorded(number).then_some(()));
    }
}

/// Headers that change faster than files may begin go into the file that there is, in their order.
#[test]
fn headers_that_change_often_go_into_one_file() {
    let server = Recording::start("");
    let mut peer = server.visitor();
    let stream = peer.publish("cam").unwrap();
    let profiles = [66, 77, 100, 66, 100];
    for number in 0..200 {
        send(&mut peer, stream, &avc(profiles[number % 5], number as u32 * 40));
    }
    peer.client.stop(stream);
    peer.flush();
    let files = server.wait(1);
    let [file] = &files[..] else { panic!("{files:?}") };
    let videos = bodies(&whole_tags(file).0, TagKind::Video);
    let expected: Vec<_> =
        (0..200).flat_map(|number| avc(profiles[number % 5], 0)).map(|message| message.payload.to_vec()).collect();
    assert!(videos == expected, "all {} bodies, not {}, and in their order", expected.len(), videos.len());
    assert!(fs::metadata(file).unwrap().len() < 100_000);
}

/// Neither other headers, with no least length, nor publishing again makes files by the hundred.
#[test]
fn a_name_does_not_have_files_by_the_hundred() {
    for again in [false, true] {
        let server = Recording::start("min_duration = '0s'\nfile = '{stream}.flv'\n");
        let mut peer = server.visitor();
        let mut stream = peer.publish("cam").unwrap();
        let start = std::time::Instant::now();
        for number in 0..200 {
            if again && number > 0 {
                peer.client.stop(stream);
                stream = peer.publish("cam").unwrap();
            }
            send(&mut peer, stream, &avc([66, 77][number % 2], number as u32 * 40));
            if again && number < 60 {
                server.program.wait_lines("recording of live/cam into ", number + 1);
            }
        }
        if again {
            server.program.wait_lines("recording of live/cam waits: ", 1);
        }
        peer.client.stop(stream);
        peer.flush();
        // One more, of another name: all that came before is done.
        stream = peer.publish("other").unwrap();
        send(&mut peer, stream, &avc(66, 0));
        server.program.wait_lines("recording of live/other", 1);
        peer.drop_connection();
        // Writes what there is, and ends.
        server.program.finish();
        let seconds = start.elapsed().as_secs() as usize;
        let mut files = media::files(&server.files);
        files.retain(|file| file.file_name().unwrap().to_str().unwrap().starts_with("cam"));
        assert!((60..=61 + seconds).contains(&files.len()), "{} files in {seconds} s", files.len());
        assert_eq!(
            server.program.lines("cam waits: ").len(),
            usize::from(again),
            "told once, where something is not recorded"
        );
    }
}

/// Publishers that leave without a frame, with headers only, or without a key frame leave nothing behind.
#[test]
fn a_publisher_that_leaves_without_a_key_frame_leaves_nothing_behind() {
    let more = "[defaults.limits]\nstreams = 5\n";
    let server = Recording::start(more);
    let program = &server.program;
    let visit = |number: usize| {
        let mut peer = program.visitor();
        let [header, _, picture] = avc(66, 0);
        for kind in 0..4 {
            let stream = peer.publish(&format!("cam{number}-{kind}")).unwrap();
            match kind {
                0 => {}
                1 => send(&mut peer, stream, std::slice::from_ref(&header)),
                2 => send(&mut peer, stream, &[header.clone(), picture.clone()]),
                _ => send(&mut peer, stream, &[Message::data(0, [2, 0, 1, b'x'].as_slice())]),
            }
            // Some take their leave, some are cut off.
            if kind < 3 || number.is_multiple_of(2) {
                peer.client.stop(stream);
                peer.flush();
            }
        }
        peer.drop_connection();
    };
    // By then it runs, with all its threads.
    let mut unrecorded = Driver::to(&program.url("other/x"));
    unrecorded.publish("cam").unwrap();
    unrecorded.drop_connection();
    program.wait_lines("closed: ", 1);
    let before = (program.threads(), program.open_files());
    for number in 0..50 {
        // With a limit of five streams: those before have given theirs back, but for the last at most.
        visit(number);
        program.wait_lines("closed: ", number + 2);
        wait_for("end of the recordings", TIMEOUT, || (program.threads() <= before.0).then_some(()));
    }
    wait_for("end of all", TIMEOUT, || (program.open_files() <= before.1).then_some(()));
    assert!(media::files(&server.files).is_empty(), "there was nothing to record");
    let mut peer = program.visitor();
    let granted = (0..9).take_while(|number| peer.publish(&format!("last{number}")).is_ok()).count();
    assert!((4..=5).contains(&granted), "{granted}");
}

/// A disk that takes nothing has no empty files, and one line.
#[test]
fn a_disk_that_is_full_is_left_alone() {
    let home = Folder::new();
    let files = home.file("files");
    // No file may be longer than that: less than a file begins with, or than its first frames take.
    for blocks in [16, 128] {
        let settings = format!("[defaults.record]\nstreams = ['*']\nfolder = {files:?}\nmin_free = 0\n");
        let program = launch().behind(&format!("trap '' XFSZ; ulimit -f {blocks}")).settings(&settings).start();
        let mut peer = program.visitor();
        let stream = peer.publish("cam").unwrap();
        for number in 0..5 {
            let [header, mut key, picture] = avc(66, number * 80);
            key.payload = [&key.payload.to_vec()[..], &[0; 40_000]].concat().into();
            send(&mut peer, stream, &[header, key, picture]);
        }
        program.wait_line("trying again in 10s");
        peer.drop_connection();
        program.wait_line("closed: ");
        wait_for("end of the file", TIMEOUT, || media::files(&files).is_empty().then_some(()));
        assert_eq!(program.lines("recording of live/cam: ").len(), 1);
        program.finish();
    }
}
