use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anabranch_core::flv::{classify_video, tag};
use anabranch_core::fmp4::{FileHead, FileIndex, read_fragment};
use anabranch_core::message::MessageType;
use clap::{Arg, ArgMatches, Command, value_parser};
use rustix::fs::{FlockOperation, flock};

use super::file::{FlvFile, RESERVED};
use super::mp4::write_index;

/// The most bytes of what an MP4 file begins with, and of the head of a fragment. Fragments of the server are much smaller;
/// configurations of decoders are messages.
const MOST_HEAD: u64 = 64 << 20;

/// The subcommand that completes recordings.
pub(crate) const REPAIR: &str = "repair";
const FILES: &str = "files";

pub(crate) fn command() -> Command {
    let files = Arg::new(FILES)
        .value_name("FILE")
        .required(true)
        .num_args(1..)
        .value_parser(value_parser!(PathBuf))
        .help("A recording of this program that is no longer being written");
    Command::new(REPAIR)
        .about("Complete recordings after a crash: cut off an incomplete tag or fragment, write length and index")
        .arg(files)
}

/// Repairs the files, one after the other.
///
/// # Errors
/// Some cannot be repaired, which are unchanged; each is told with its name on standard error.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode, String> {
    let (mut count, mut failed) = (0, 0);
    for path in matches.get_many::<PathBuf>(FILES).into_iter().flatten() {
        count += 1;
        // What was done to the files does not depend on whether these lines can be written.
        let _ = match repair(path) {
            Ok(Some(Repaired { length, milliseconds, cut })) => {
                let seconds = milliseconds as f64 / 1000.0;
                writeln!(io::stdout(), "{}: {length} bytes, {seconds:.3} s, {cut} bytes cut off", path.display())
            }
            // A file of MP4 is empty until its first fragment is complete.
            Ok(None) => writeln!(io::stdout(), "{}: nothing to repair, it is empty", path.display()),
            Err(error) => {
                failed += 1;
                writeln!(io::stderr(), "{}: {error}", path.display())
            }
        };
    }
    match failed {
        0 => Ok(ExitCode::SUCCESS),
        failed => Err(format!("{failed} of {count} files cannot be repaired")),
    }
}

struct Repaired {
    length: u64,
    milliseconds: u64,
    cut: u64,
}

/// `None` if the file is empty.
fn repair(path: &Path) -> io::Result<Option<Repaired>> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if let Err(rustix::io::Errno::WOULDBLOCK) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        return Err(io::Error::new(ErrorKind::WouldBlock, "it is being written"));
    }
    let size = file.metadata()?.len();
    if size == 0 {
        return Ok(None);
    }
    let mut start = [0; 8];
    read(&mut &file, &mut start)?.ok_or_else(not_ours)?;
    (&file).seek(SeekFrom::Start(0))?;
    let (length, milliseconds) = if start.ends_with(b"ftyp") { repair_mp4(file, size)? } else { repair_flv(file)? };
    Ok(Some(Repaired { length, milliseconds, cut: size.saturating_sub(length) }))
}

/// Returns length and duration.
fn repair_flv(file: File) -> io::Result<(u64, u64)> {
    let mut reader = BufReader::new(&file);
    let mut header = [0; tag::FILE_HEADER_LENGTH];
    read(&mut reader, &mut header)?.ok_or_else(not_ours)?;
    tag::parse_file_header(&header).map_err(|_| not_ours())?;
    let metadata = read_tag(&mut reader)?.filter(|tag| tag.type_id == MessageType::DATA_AMF0);
    let metadata = metadata.filter(|tag| tag.body.len() == RESERVED).ok_or_else(not_ours)?;
    let mut length = (tag::FILE_HEADER_LENGTH + metadata.length()) as u64;
    let mut found = FlvFile::found(&metadata.body);
    while let Some(tag) = read_tag(&mut reader)? {
        let key_frame = tag.type_id == MessageType::VIDEO && classify_video(&tag.body).is_join_point();
        found.note(tag.type_id, tag.timestamp, key_frame, length);
        length += tag.length() as u64;
    }
    let milliseconds = found.duration();
    file.set_len(length)?;
    finish(found, file, length)?;
    Ok((length, milliseconds))
}

/// Returns length and duration.
fn repair_mp4(mut file: File, size: u64) -> io::Result<(u64, u64)> {
    let head = read_mp4_head(&mut file, size)?.ok_or_else(not_ours)?;
    let (mut length, mut milliseconds, mut index) = (head.end(), 0, FileIndex::default());
    while let Some((b"moof", moof)) = read_box_head(&mut file, length)?.as_ref().map(|(kind, size)| (kind, *size)) {
        let Some((b"mdat", mdat)) = read_box_head(&mut file, length + moof)?.as_ref().map(|(kind, size)| (kind, *size))
        else {
            break;
        };
        let end = length + moof + mdat;
        if end > size || moof > MOST_HEAD {
            break;
        }
        let Some(body) = read_at(&mut file, length + 8, moof - 8)? else { break };
        let Some(fragment) = read_fragment(&body, &head) else { break };
        index.note(length, &fragment);
        milliseconds = milliseconds.max(fragment.milliseconds);
        length = end;
    }
    file.set_len(length)?;
    write_index(&mut file, &index, &head, length)?;
    file.sync_all()?;
    Ok((length, milliseconds))
}

/// What the file begins with; `None` if another program made it.
fn read_mp4_head(file: &mut File, size: u64) -> io::Result<Option<FileHead>> {
    let mut end = 0;
    while let Some((kind, length)) = read_box_head(file, end)? {
        if !matches!(&kind, b"ftyp" | b"moov" | b"free" | b"sidx") {
            break;
        }
        end += length;
        if end > size.min(MOST_HEAD) {
            return Ok(None);
        }
    }
    Ok(read_at(file, 0, end)?.and_then(|bytes| FileHead::read(&bytes)))
}

/// Type and size of the box at that place; `None` if there is none.
fn read_box_head(file: &mut File, at: u64) -> io::Result<Option<([u8; 4], u64)>> {
    let Some(bytes) = read_at(file, at, 8)? else { return Ok(None) };
    let Some(([s0, s1, s2, s3], kind)) = bytes.split_first_chunk().map(|(size, kind)| (*size, kind)) else {
        return Ok(None);
    };
    let size = u64::from(u32::from_be_bytes([s0, s1, s2, s3]));
    Ok(<[u8; 4]>::try_from(kind).ok().filter(|_| size >= 8).map(|kind| (kind, size)))
}

/// The bytes at that place; `None` if the file is too short.
fn read_at(file: &mut File, at: u64, length: u64) -> io::Result<Option<Vec<u8>>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| not_ours())?];
    Ok(read(file, &mut bytes)?.map(|()| bytes))
}

fn finish(found: FlvFile<()>, mut file: File, length: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(length))?;
    found.of(file, length).finish()?.sync_all()
}

struct Tag {
    type_id: u8,
    timestamp: u32,
    body: Vec<u8>,
}

impl Tag {
    /// The length in the file.
    fn length(&self) -> usize {
        tag::TAG_HEADER_LENGTH + self.body.len() + 4
    }
}

/// The next tag; `None` if there is no complete one.
fn read_tag(reader: &mut impl Read) -> io::Result<Option<Tag>> {
    let mut header = [0; tag::TAG_HEADER_LENGTH];
    if read(reader, &mut header)?.is_none() {
        return Ok(None);
    }
    let Ok(header) = tag::parse_tag_header(&header) else {
        return Ok(None);
    };
    let media = [MessageType::AUDIO, MessageType::VIDEO, MessageType::DATA_AMF0];
    let mut body = vec![0; header.size as usize];
    let mut back = [0; 4];
    if !media.contains(&header.type_id) || read(reader, &mut body)?.is_none() || read(reader, &mut back)?.is_none() {
        return Ok(None);
    }
    let whole = u32::from_be_bytes(back) == header.size + tag::TAG_HEADER_LENGTH as u32;
    Ok(whole.then_some(Tag { type_id: header.type_id, timestamp: header.timestamp, body }))
}

/// Fills the buffer; `None` if the file is too short.
fn read(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<Option<()>> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(Some(())),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn not_ours() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "not a recording of this program")
}
