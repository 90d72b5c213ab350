use anabranch_tests::media::{Clip, Publication, TagKind, decoded_sizes, media_tags};
use anabranch_tests::program::{Process, Program, Runtime};
use anabranch_tests::{Folder, TIMEOUT, wait_for};
use std::fs;
use std::path::Path;

anabranch_tests::on_both_programs!(a_publisher_with_the_same_token_takes_over_from_one_that_hangs);

const SMALL: Clip = Clip { picture: "testsrc2=size=320x180:rate=30", seconds: 30, gop: 30, megabits: None };
const LARGE: Clip = Clip { picture: "testsrc=size=640x360:rate=30", seconds: 10, gop: 30, megabits: None };

/// How long the second publisher may wait for the name, from its connection on, in microseconds.
const SOON: u64 = 1_000_000;

fn a_publisher_with_the_same_token_takes_over_from_one_that_hangs(runtime: Runtime) {
    let folder = Folder::new();
    let server = Program::start(runtime, &["--on-conflict", "takeover", "--unpublish-grace", "1"]);
    let files = ["ffmpeg.flv", "rtmpdump.flv", "rtmp2src.flv"].map(|name| folder.file(name));
    let source = format!("rtmp2src location={}", server.url("live/cam"));
    let sink = format!("filesink buffer-mode=unbuffered location={}", files[2].display());
    let mut players = [
        server.ffmpeg("live/cam", &files[0]),
        server.rtmpdump("live/cam", &files[1]),
        Process::start("gst-launch-1.0", format!("-e {source} ! {sink}").split(' ')),
    ];
    server.wait_players("live/cam", 3);

    let (hanging, its_id) = publish(&server, &SMALL, "secret");
    for file in &files {
        hanging.wait_for("pictures of the first publisher", || (pictures(file) >= 45).then_some(()));
    }
    freeze(its_id);
    let before = files.each_ref().map(|file| pictures(file));

    let second = Publication::of_clip(&server, "live/cam?token=secret", &LARGE, &folder);
    let publishers = server.wait_publishers("live/cam", 2);
    let [its_connection, newcomer] = [0, 1].map(|index| connection(&publishers[index].text).to_owned());
    let opened = server.process.wait_line(&format!(" conn {newcomer} opened from "));
    let took = microseconds_between(&opened.text, &publishers[1].text);
    eprintln!("{runtime}: the second publisher had the name {took} µs after it connected");
    assert!(took < SOON, "the second publisher had the name only after {took} µs");
    for (file, before) in files.iter().zip(before) {
        second.process.wait_for("pictures of the second publisher", || (pictures(file) >= before + 60).then_some(()));
    }

    // It goes on where it was: the first thing that it sends tells it that it is too late, unless it was silent for
    // so long that it is closed already.
    let closed = format!(" conn {its_connection} closed: ");
    let was_closed = !server.process.lines_with(&closed).is_empty();
    signal("CONT", its_id);
    let line = server.process.wait_line(&closed).text;
    assert!(line.contains("(taken_over)") || was_closed && line.contains("(next_message_timeout)"), "{line}");
    let (status, _) = hanging.wait_exit(TIMEOUT);
    assert!(!status.success(), "the first publisher did not notice");

    let (third, _) = publish(&server, &SMALL, "another");
    let (status, _) = third.wait_exit(TIMEOUT);
    assert!(!status.success(), "a publisher with another token was let in");
    let words = third.stderr().join("\n");
    assert!(words.contains("already being published"), "the third publisher says: {words}");
    server.process.wait_line("NetStream.Publish.BadName (rejected)");
    assert!(second.process.is_running(), "the third publisher came too late to disturb");
    assert!(players.iter().all(Process::is_running), "a player has ended with the first publisher");

    second.process.wait_success(TIMEOUT);
    for player in &mut players {
        player.wait_success(TIMEOUT);
    }
    assert_eq!(server.process.lines_with(" is player of ").len(), 3, "a player had to come again");
    assert_eq!(server.process.lines_with(" is publisher of ").len(), 2);
    for file in &files {
        assert_eq!(decoded_sizes(file), ["320,180", "640,360"], "{}", file.display());
        assert_decodes(file);
        assert_times_rise(file);
    }
    // FFmpeg writes its own tags; the other two files have what came.
    for file in &files[1..] {
        assert_ends_with(file, &second.sent);
    }
    server.stop();
}

/// ffmpeg as a publisher with a token, which it sends as part of the stream's name; and its process id.
fn publish(server: &Program, clip: &Clip, token: &str) -> (Process, u32) {
    let (file, url) = (clip.file(), server.url(&format!("live/cam?token={token}")));
    let input = ["-nostdin", "-loglevel", "warning", "-re", "-i", file.to_str().expect("paths of tests are UTF-8")];
    let output = ["-map", "0", "-c", "copy", "-flags", "+global_header", "-f", "flv", &url];
    let shell = ["-c", "echo process $$; exec ffmpeg \"$@\"", "sh"];
    let process = Process::start("sh", shell.iter().chain(&input).chain(&output));
    let line = process.wait_line("process ").text;
    let id = line.rsplit(' ').next().and_then(|id| id.parse().ok());
    (process, id.unwrap_or_else(|| panic!("no process id in {line:?}")))
}

/// Stops a process where it stands. The system keeps its connections open and acknowledges what comes.
fn freeze(process: u32) {
    signal("STOP", process);
    wait_for("frozen process", TIMEOUT, || {
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process is there");
        status.lines().any(|line| line.starts_with("State:\tT")).then_some(())
    });
}

fn signal(name: &str, process: u32) {
    Process::run("sh", ["-c", &format!("kill -{name} {process}")]);
}

/// The number of the connection that a line of the log is about.
fn connection(line: &str) -> &str {
    let number = line.split_once(" conn ").and_then(|(_, rest)| rest.split(' ').next());
    number.unwrap_or_else(|| panic!("no connection in {line:?}"))
}

/// From one line of the log to a later one, by the times in the lines.
fn microseconds_between(earlier: &str, later: &str) -> u64 {
    const DAY: u64 = 86_400_000_000;
    (microseconds_of_day(later) + DAY - microseconds_of_day(earlier)) % DAY
}

/// The time in a line such as `2001-02-03T04:05:06.789012Z  INFO conn 1 opened`.
fn microseconds_of_day(line: &str) -> u64 {
    let time = line.split_once('T').and_then(|(_, rest)| rest.split_once('Z')).map(|(time, _)| time);
    let numbers: Option<Vec<u64>> =
        time.and_then(|time| time.split([':', '.']).map(|part| part.parse().ok()).collect());
    match numbers.as_deref() {
        Some(&[hours, minutes, seconds, microseconds]) => {
            ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + microseconds
        }
        _ => panic!("no time in {line:?}"),
    }
}

fn pictures(file: &Path) -> usize {
    media_tags(file).iter().filter(|tag| tag.is_picture()).count()
}

/// Sound and picture decode from beginning to end without a word from the decoders.
fn assert_decodes(file: &Path) {
    let input = ["-nostdin", "-loglevel", "warning", "-i", file.to_str().expect("paths of tests are UTF-8")];
    // In milliseconds, as the stream has them: at the pictures' rate two may fall on one number after a change of
    // clocks.
    let output = ["-map", "0:v", "-map", "0:a", "-enc_time_base", "1:1000", "-f", "null", "-"];
    let ffmpeg = Process::start("ffmpeg", input.iter().chain(&output));
    ffmpeg.wait_success(TIMEOUT);
    assert_eq!(ffmpeg.stderr(), [""; 0], "decoding {}", file.display());
}

/// Decoding times as ffprobe sees them never go back, neither those of the pictures nor those of the sound.
fn assert_times_rise(file: &Path) {
    for kind in ["v", "a"] {
        let arguments = ["-loglevel", "error", "-select_streams", kind, "-show_entries", "packet=dts", "-of"];
        let file = file.to_str().expect("paths of tests are UTF-8");
        let lines = Process::run("ffprobe", arguments.iter().chain(&["csv=print_section=0", file]));
        // Where a packet has side data, as new headers are, a comma follows.
        let time = |line: &String| line.trim_end_matches(',').parse::<i64>();
        let times: Vec<_> =
            lines.iter().map(|line| time(line).unwrap_or_else(|_| panic!("no time: {line:?}"))).collect();
        assert!(times.len() > 300, "{} packets of {kind} in {file}", times.len());
        for pair in times.windows(2) {
            assert!(pair[0] <= pair[1], "{kind}: time goes back from {} to {} in {file}", pair[0], pair[1]);
        }
    }
}

/// The last thing in the file is all that was sent, every frame of it.
fn assert_ends_with(file: &Path, sent: &Path) {
    let [received, sent] = [file, sent].map(|file| {
        let tags = media_tags(file).into_iter();
        // librtmp throws away the end of sequence.
        let frames = tags.filter(|tag| !tag.is_header() && (tag.kind != TagKind::Video || tag.body.len() > 5));
        frames.map(|tag| (tag.kind, tag.body)).collect::<Vec<_>>()
    });
    assert!(sent.len() > 600, "only {} frames were sent", sent.len());
    let start = received.len().checked_sub(sent.len()).expect("more was received than the second publisher sent");
    let different = (0..sent.len()).find(|&index| received[start + index] != sent[index]);
    assert_eq!(different, None, "the first frame of {} that {} does not have", sent.len(), file.display());
}
