use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, PoisonError};

use crate::Folder;
use crate::program::{Process, Program, target_tmp};

/// A file to publish, made by ffmpeg when a test first asks for it and kept in the target directory.
#[derive(Debug, Clone, Copy, Hash)]
pub struct Clip {
    /// Source of the picture, for ffmpeg's lavfi.
    pub picture: &'static str,
    /// Seconds.
    pub seconds: u32,
    /// Frames from key frame to key frame.
    pub gop: u32,
    /// Constant megabits per second; if not given, what the encoder likes.
    pub megabits: Option<u32>,
}

impl Clip {
    /// Path of the file.
    ///
    /// # Panics
    /// If ffmpeg cannot make it.
    pub fn file(&self) -> PathBuf {
        // One at a time: a second test that wants the same clip waits for the first.
        static MAKING: Mutex<()> = Mutex::new(());
        let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let arguments = self.arguments();
        let mut hasher = DefaultHasher::new();
        arguments.hash(&mut hasher);
        let folder = target_tmp().join("clips");
        let path = folder.join(format!("{:016x}.flv", hasher.finish()));
        if !path.exists() {
            fs::create_dir_all(&folder).expect("the target directory can be written");
            let unfinished = folder.join(format!("{}.flv", process::id()));
            let output = unfinished.to_str().expect("paths of tests are UTF-8").to_owned();
            Process::run("ffmpeg", arguments.into_iter().chain([output]));
            fs::rename(unfinished, &path).expect("a file can be renamed in its folder");
        }
        path
    }

    fn arguments(&self) -> Vec<String> {
        let Clip { picture, seconds, gop, megabits } = self;
        let mut line =
            format!("-nostdin -y -loglevel error -f lavfi -i {picture} -f lavfi -i sine=frequency=440 -t {seconds}");
        line += &format!(" -c:v libx264 -preset ultrafast -pix_fmt yuv420p -g {gop} -c:a aac -b:a 128k");
        line += &match megabits {
            Some(rate) => {
                format!(" -b:v {rate}M -minrate {rate}M -maxrate {rate}M -bufsize {rate}M -x264-params nal-hrd=cbr")
            }
            // B-frames, so that presentation times differ from decoding times.
            None => " -bf 2".to_owned(),
        };
        line.split(' ').map(str::to_owned).collect()
    }
}

/// ffmpeg as publisher. What it sends it also writes into a file, packet by packet the same.
#[derive(Debug)]
pub struct Publication {
    /// The publisher's process.
    pub process: Process,
    /// What was sent.
    pub sent: PathBuf,
}

impl Publication {
    /// Publishes a clip at the speed of its clock.
    pub fn of_clip(server: &Program, stream: &str, clip: &Clip, folder: &Folder) -> Self {
        let file = clip.file();
        let input = ["-re", "-i", file.to_str().expect("paths of tests are UTF-8"), "-map", "0", "-c", "copy"];
        Self::start(server, stream, &input, folder)
    }

    /// Publishes a clip as fast as it can be sent.
    pub fn at_once(server: &Program, stream: &str, clip: &Clip, folder: &Folder) -> Self {
        let file = clip.file();
        let input = ["-i", file.to_str().expect("paths of tests are UTF-8"), "-map", "0", "-c", "copy"];
        Self::start(server, stream, &input, folder)
    }

    /// Publishes what ffmpeg makes of the given options for inputs, maps and codecs.
    pub fn start(server: &Program, stream: &str, input: &[&str], folder: &Folder) -> Self {
        Self::to_url(&server.url(stream), input, folder)
    }

    /// The same to any server.
    pub fn to_url(url: &str, input: &[&str], folder: &Folder) -> Self {
        let sent = unused(folder);
        let options = "f=flv:flush_packets=1:flvflags=no_duration_filesize";
        let outputs = format!("[f=flv:onfail=abort]{url}|[{options}]{}", sent.display());
        let before = ["-nostdin", "-loglevel", "warning"];
        let after = ["-flags", "+global_header", "-f", "tee", &outputs];
        let process = Process::start("ffmpeg", before.iter().chain(input).chain(&after));
        Publication { process, sent }
    }
}

fn unused(folder: &Folder) -> PathBuf {
    let name = |number: u32| folder.file(&format!("sent-{number}.flv"));
    let path = (1..).map(name).find(|path| !Path::exists(path)).expect("numbers do not end");
    // Taken at once: the publisher writes it only when it has connected.
    fs::File::create(&path).expect("the folder can be written");
    path
}
