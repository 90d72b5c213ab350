//! A server that plays an FLV file as a live stream, again and again:
//! `cargo run -p anabranch-smol --example file -- FILE.flv [STREAM] [ADDRESS]`.
//!
//! The program publishes the stream itself, without a socket, at the pace of the file's timestamps. Make a file with
//! `ffmpeg -i FILM -c:v libx264 -g 60 -c:a aac FILE.flv`, and watch it with `ffplay rtmp://127.0.0.1/live/film`.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};
use std::{env, thread};

use anabranch_smol::core::flv::TagReader;
use anabranch_smol::core::message::{Message, MessageType};
use anabranch_smol::{Publication, Server};

/// The time from the last frame of the file to the first one of its next round, in milliseconds.
const SEAM: u64 = 40;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let file = arguments.next().ok_or("usage: file FILE.flv [STREAM] [ADDRESS]")?;
    let stream = arguments.next().unwrap_or_else(|| "live/film".into());
    let address = arguments.next().unwrap_or_else(|| "1935".into());

    let server = Server::builder().listen(address.parse()?).build()?;
    for address in server.addresses() {
        println!("listening on {address}");
    }
    let handle = server.handle();
    let publication = handle.publish(&stream)?;
    println!("publishing {file} as {stream}");
    let publishing = thread::spawn(move || {
        let result = publish(publication, &file).map_err(|error| format!("{file}: {error}"));
        handle.stop(); // otherwise `run` would go on without the stream
        result
    });
    server.run();
    publishing.join().map_err(|_| "the publishing thread panicked")??;
    Ok(())
}

/// Publishes the file again and again. Returns only when that is not possible any more.
fn publish(mut publication: Publication, file: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    let start = Instant::now();
    // Milliseconds from the start of the stream to the present round.
    let mut base = 0;
    loop {
        let end = publish_once(&mut publication, file, start, base)?;
        base = end.ok_or("it has no audio and no video")? + SEAM;
    }
}

/// One round. Returns the time of the last frame in the stream, `None` if there is no frame.
fn publish_once(
    publication: &mut Publication,
    file: &str,
    start: Instant,
    base: u64,
) -> Result<Option<u64>, Box<dyn Error + Send + Sync>> {
    let mut file = File::open(file)?;
    let mut reader = TagReader::default();
    let mut buffer = vec![0; 64 << 10];
    // A file may begin at any timestamp.
    let (mut first, mut last) = (None, None);
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(last);
        }
        let mut bytes = &buffer[..count];
        while let Some(tag) = reader.read(&mut bytes)? {
            let time = if matches!(tag.type_id, MessageType::AUDIO | MessageType::VIDEO) {
                let first = *first.get_or_insert(tag.timestamp);
                let time = base + u64::from(tag.timestamp.saturating_sub(first));
                last = last.max(Some(time));
                // Until its time, counted from the start: so delays of `sleep` do not add up.
                thread::sleep((start + Duration::from_millis(time)).saturating_duration_since(Instant::now()));
                time
            } else {
                last.unwrap_or(base)
            };
            // The clock of RTMP has 32 bits.
            publication.push(Message { timestamp: time as u32, ..Message::from(tag) })?;
        }
    }
}
