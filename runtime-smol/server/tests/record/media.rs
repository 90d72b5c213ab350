//! FFmpeg, and FLV files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{str, thread};

use anabranch_core::flv::tag;

use crate::peer::PATIENCE;

/// Counts the pictures that can be decoded.
const COUNT: &str = "-v error -count_frames -select_streams v -show_entries stream=nb_read_frames -of csv=p=0";

/// One tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) type_id: u8,
    pub(crate) timestamp: u32,
    pub(crate) body: Vec<u8>,
}

/// The whole tags of a file, and the bytes of one that is cut off behind them.
pub(crate) fn tags(path: &Path) -> (Vec<Tag>, usize) {
    let bytes = fs::read(path).unwrap();
    let header = tag::parse_file_header(&bytes).unwrap();
    assert_eq!(header.data_offset, 9);
    let mut rest = &bytes[tag::FILE_HEADER_LENGTH..];
    let mut tags = Vec::new();
    while let Ok(header) = tag::parse_tag_header(rest) {
        let end = tag::TAG_HEADER_LENGTH + header.size as usize;
        if rest.len() < end + 4 {
            break;
        }
        assert!(matches!(header.type_id, 8 | 9 | 18), "{header:?}");
        assert_eq!(rest[end..end + 4], (header.size + 11).to_be_bytes());
        let body = rest[tag::TAG_HEADER_LENGTH..end].to_vec();
        tags.push(Tag { type_id: header.type_id, timestamp: header.timestamp, body });
        rest = &rest[end + 4..];
    }
    (tags, rest.len())
}

/// All files below a folder, in order.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Waits until that holds.
pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "no {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A clip with a key frame each second.
pub(crate) fn clip(folder: &Path, seconds: u32) -> PathBuf {
    let path = folder.join("clip.flv");
    let length = seconds.to_string();
    let inputs = "-f lavfi -i testsrc2=size=320x180:rate=25 -f lavfi -i sine=sample_rate=44100 -t";
    let codecs = "-c:v libx264 -preset ultrafast -g 25 -keyint_min 25 -sc_threshold 0 -c:a aac -f flv";
    let arguments = inputs.split(' ').chain([length.as_str()]).chain(codecs.split(' '));
    run("ffmpeg", ["-v", "error", "-nostdin"].into_iter().chain(arguments).chain([path.to_str().unwrap()]));
    path
}

/// Publishes a file without a look at the time.
pub(crate) fn publish(input: &Path, more: &[&str], url: &str) -> Child {
    Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin"])
        .args(more)
        .arg("-i")
        .arg(input)
        .args(["-c", "copy", "-f", "flv", url])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What a program says that must succeed and complain of nothing.
pub(crate) fn run<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) -> String {
    let Output { status, stdout, stderr } = Command::new(program).args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success() && stderr.is_empty(), "{program}: {status}: {stderr}");
    String::from_utf8(stdout).unwrap()
}

/// A hash of each stream's packets, as they are.
pub(crate) fn hashes(path: &Path) -> String {
    let path = path.to_str().unwrap();
    run("ffmpeg", "-v error -nostdin -i".split(' ').chain([path]).chain("-map 0 -c copy -f streamhash -".split(' ')))
}

/// Length in seconds, and the codecs.
pub(crate) fn probe(path: &Path) -> (f64, Vec<String>) {
    let path = path.to_str().unwrap();
    let show = "-v error -show_entries format=duration:stream=codec_name -of json".split(' ');
    let shown: serde_json::Value = serde_json::from_str(&run("ffprobe", show.chain([path]))).unwrap();
    let streams = shown["streams"].as_array().unwrap().iter();
    let codecs = streams.map(|stream| stream["codec_name"].as_str().unwrap_or("none").to_owned()).collect();
    (shown["format"]["duration"].as_str().unwrap().parse().unwrap(), codecs)
}

/// Plays a file to its end without complaint; gives the number of pictures.
pub(crate) fn pictures(path: &Path) -> usize {
    run("ffprobe", COUNT.split(' ').chain([path.to_str().unwrap()])).trim().trim_end_matches(',').parse().unwrap()
}

/// The same of a file whose last tag may be cut off, which is worth a complaint.
pub(crate) fn pictures_of_a_torso(path: &Path) -> usize {
    let output = Command::new("ffprobe").args(COUNT.split(' ')).arg(path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    str::from_utf8(&output.stdout).unwrap().trim().trim_end_matches(',').parse().unwrap()
}
