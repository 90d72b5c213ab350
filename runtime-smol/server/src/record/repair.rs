use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anabranch_core::flv::{classify_video, tag};
use anabranch_core::message::MessageType;
use clap::{Arg, ArgMatches, Command, value_parser};
use rustix::fs::{FlockOperation, flock};

use super::file::{FlvFile, RESERVED};

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
        .about("Complete recordings after a crash: cut off an incomplete tag, write length and index")
        .arg(files)
}

/// Repairs the files, one after the other.
///
/// # Errors
/// The first file that cannot be repaired, with its name. That file is unchanged.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode, String> {
    for path in matches.get_many::<PathBuf>(FILES).into_iter().flatten() {
        let repaired = repair(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let Repaired { length, milliseconds, cut } = repaired;
        let seconds = milliseconds as f64 / 1000.0;
        // The file is repaired even if this line cannot be written.
        let _ = writeln!(io::stdout(), "{}: {length} bytes, {seconds:.3} s, {cut} bytes cut off", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

struct Repaired {
    length: u64,
    milliseconds: u64,
    cut: u64,
}

fn repair(path: &Path) -> io::Result<Repaired> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if let Err(rustix::io::Errno::WOULDBLOCK) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        return Err(io::Error::new(ErrorKind::WouldBlock, "it is being written"));
    }
    let size = file.metadata()?.len();
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
    Ok(Repaired { length, milliseconds, cut: size.saturating_sub(length) })
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
