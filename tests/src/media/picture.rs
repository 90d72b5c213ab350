use std::path::Path;

use crate::program::Process;

/// Pixels of the test picture.
const WIDTH: usize = 320;
/// Blocks of the bar at its top, and the side of one.
const BITS: usize = 16;
const BLOCK: usize = 20;

/// What the blocks of the test picture say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The number of the frame.
    Frame,
    /// When the frame was made, in milliseconds since 1970, modulo 2^16.
    Clock,
}

/// A publisher of a picture of 320 by 180 pixels, with a bar of 16 blocks at its top that are a number in binary, the lowest
/// bit first, and a tone: 30 frames a second, a key frame each two seconds.
#[derive(Debug, Clone, Copy)]
pub struct TestPicture<'a> {
    /// The program: ffmpeg.
    pub ffmpeg: &'a str,
    /// What the blocks say.
    pub mark: Mark,
    /// Options for the picture.
    pub video: &'a [&'a str],
    /// Options for the sound.
    pub sound: &'a [&'a str],
}

impl Default for TestPicture<'_> {
    /// H.264 without B-frames, and AAC.
    fn default() -> Self {
        TestPicture {
            ffmpeg: "ffmpeg",
            mark: Mark::Frame,
            video: &["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency"],
            sound: &["-c:a", "aac", "-ac", "2", "-b:a", "64k"],
        }
    }
}

/// ffmpeg as publisher of the test picture in H.264 and AAC, with more options.
///
/// # Panics
/// If it does not start.
pub fn test_picture(url: &str, mark: Mark, more: &[&str]) -> Process {
    TestPicture { mark, ..TestPicture::default() }.publish(url, more)
}

/// The same with other options for the sound.
///
/// # Panics
/// If it does not start.
pub fn test_picture_with(url: &str, mark: Mark, sound: &[&str], more: &[&str]) -> Process {
    TestPicture { mark, sound, ..TestPicture::default() }.publish(url, more)
}

impl TestPicture<'_> {
    /// Publishes it, with more options.
    ///
    /// # Panics
    /// If it does not start.
    pub fn publish(&self, url: &str, more: &[&str]) -> Process {
        self.publish_as("flv", url, more)
    }

    /// The same in another format than that of RTMP.
    ///
    /// # Panics
    /// If it does not start.
    pub fn publish_as(&self, format: &str, url: &str, more: &[&str]) -> Process {
        let source = format!("testsrc2=size={WIDTH}x180:rate=30");
        let filter = self.filter();
        let input = ["-nostdin", "-loglevel", "warning", "-re", "-f", "lavfi", "-i", &source];
        let tone = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"];
        let video = ["-vf", &filter, "-g", "60", "-pix_fmt", "yuv420p"];
        let output = ["-flush_packets", "1", "-f", format, url];
        let codecs = self.video.iter().chain(self.sound);
        let all = input.iter().chain(&tone).chain(&video).chain(codecs).chain(more).chain(&output);
        Process::start(self.ffmpeg, all)
    }

    /// Writes seconds of it into files: the picture alone, and the sound alone.
    ///
    /// # Panics
    /// If it cannot be encoded.
    pub fn encode(&self, seconds: u32, picture: &Path, sound: &Path) {
        let (source, filter) = (format!("testsrc2=size={WIDTH}x180:rate=30"), self.filter());
        let seconds = seconds.to_string();
        let [picture, sound] = [picture, sound].map(|file| file.to_str().expect("paths of tests are UTF-8"));
        let input = ["-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", &source];
        let tone = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"];
        let first = ["-t", &seconds, "-map", "0", "-vf", &filter, "-g", "60", "-pix_fmt", "yuv420p"];
        let second = ["-t", &seconds, "-map", "1"];
        let all = input.iter().chain(&tone).chain(&first).chain(self.video).chain([&picture]);
        Process::run(self.ffmpeg, all.chain(&second).chain(self.sound).chain([&sound]));
    }

    /// The filter that draws the blocks.
    fn filter(&self) -> String {
        let number = match self.mark {
            Mark::Frame => "n",
            Mark::Clock => "floor(t*1000)",
        };
        let mut filter = match self.mark {
            Mark::Frame => String::new(),
            // The clock of the machine, for the blocks only.
            Mark::Clock => "settb=1/1000000,setpts=RTCTIME-floor(RTCTIME/65536000)*65536000,".to_owned(),
        };
        filter += &format!("drawbox=x=0:y=0:w={WIDTH}:h={BLOCK}:color=black:t=fill");
        for bit in 0..BITS {
            let (x, above, value) = (bit * BLOCK, 1_u32 << (bit + 1), 1_u32 << bit);
            filter += &format!(
                ",drawbox=x={x}:y=0:w={BLOCK}:h={BLOCK}:color=white:t=fill:enable='gte(mod({number},{above}),{value})'"
            );
        }
        if self.mark == Mark::Clock {
            filter += ",setpts=N/30/TB";
        }
        filter
    }
}

/// JavaScript that reads the number back: from the first video element of the page, or null without a picture.
pub const READ_MARK: &str = "(() => { \
    const video = document.querySelector('video'); \
    if (!video || video.readyState < 2 || !video.videoWidth) return null; \
    const canvas = document.createElement('canvas'); \
    [canvas.width, canvas.height] = [320, 180]; \
    const context = canvas.getContext('2d'); \
    context.drawImage(video, 0, 0, 320, 180); \
    let number = 0; \
    for (let bit = 0; bit < 16; bit += 1) { \
        if (context.getImageData(bit * 20 + 10, 10, 1, 1).data[1] > 127) number += 2 ** bit; \
    } \
    return number; })()";
