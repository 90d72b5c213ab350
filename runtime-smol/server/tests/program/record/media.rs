//! What recordings look like to FFmpeg.

use std::fs;
use std::path::{Path, PathBuf};

use anabranch_tests::program::Launch;

/// Counts the pictures that can be decoded.
const COUNT: &str = "-v error -count_frames -select_streams v -show_entries stream=nb_read_frames -of csv=p=0";

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

/// What a program says that must succeed and complain of nothing.
pub(crate) fn run<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) -> String {
    let ended = Launch::new(program).args(arguments).run();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{program}: {}: {}", ended.status, ended.stderr);
    ended.stdout
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

/// The same of a file whose last tag may be cut off, of which FFmpeg may complain.
pub(crate) fn pictures_of_a_torso(path: &Path) -> usize {
    let ended = Launch::new("ffprobe").args(COUNT.split(' ')).arg(path).run();
    assert!(ended.status.success(), "{ended:?}");
    ended.stdout.trim().trim_end_matches(',').parse().unwrap()
}
