use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use super::encoding::{Put, Take, unzigzag};
use super::record::{Polled, Record, Returned, Written, tag};
use super::{Joined, Opening};

const MAGIC: &[u8; 7] = b"ANACAP\0";
/// Of captures that begin with their connection.
const VERSION: u8 = 1;
/// Of captures that begin in the middle of a connection.
const JOINED_VERSION: u8 = 2;

/// A recorded connection.
#[derive(Clone)]
pub struct Capture {
    header: String,
    opening: Opening,
    joined: Option<Box<Joined>>,
    pub(crate) records: Vec<(Duration, Record)>,
    end: End,
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Capture");
        shown.field("opening", &self.opening).field("records", &self.records.len()).field("end", &self.end);
        shown.finish_non_exhaustive()
    }
}

/// How a capture ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With the end of the connection.
    Closed,
    /// The connection was still open, or the server ended before it was.
    Open,
    /// In the middle of a record: the file is incomplete.
    Cut,
    /// With a record that says why the recording stopped.
    Stopped(String),
}

/// A file that is not a capture, or is a damaged one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// It does not begin with the magic.
    #[error("this file is not a capture")]
    NotACapture,
    /// It has another version of the format.
    #[error("captures of version {0} cannot be read, only those of versions {VERSION} and {JOINED_VERSION}")]
    UnknownVersion(u8),
    /// It ends before the opening of the connection.
    #[error("the capture ends before the connection begins")]
    NoOpening,
    /// A record cannot be read.
    #[error("the capture is damaged at byte {offset}")]
    Damaged {
        /// Where that record begins, in bytes from the beginning of the file.
        offset: u64,
    },
}

/// The beginning of a capture. `text` is defined by the program: it holds what is needed to make the same configuration
/// again.
pub fn file_header(text: &str) -> Vec<u8> {
    versioned_header(VERSION, text)
}

/// The same for a capture that begins in the middle of a connection.
pub fn joined_file_header(text: &str) -> Vec<u8> {
    versioned_header(JOINED_VERSION, text)
}

fn versioned_header(version: u8, text: &str) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.push(version);
    header.text(text);
    header
}

/// A last record that says why no more records follow, for taps with a limit.
pub fn stopped_record(words: &str) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.text(words);
    let mut record = vec![tag::STOPPED, 0];
    record.number(payload.len() as u64);
    record.extend_from_slice(&payload);
    record
}

impl Capture {
    /// Reads a file. A file that ends in the middle of a record is read up to there.
    ///
    /// # Errors
    /// The file is not a capture, has another version or is damaged.
    pub fn parse(file: impl Into<Bytes>) -> Result<Capture, FormatError> {
        let file = file.into();
        let length = file.len();
        let mut take = Take::new(file);
        let magic = take.bytes(MAGIC.len()).ok_or(FormatError::NotACapture)?;
        if magic != MAGIC[..] {
            return Err(FormatError::NotACapture);
        }
        let version = take.byte().ok_or(FormatError::NoOpening)?;
        if !matches!(version, VERSION | JOINED_VERSION) {
            return Err(FormatError::UnknownVersion(version));
        }
        let header = take.text().ok_or(FormatError::NoOpening)?;
        let (mut opening, mut joined) = (None, None);
        let (mut records, mut end) = (Vec::new(), End::Open);
        let (mut at, mut last) = (0i64, Written::default());
        while take.left() > 0 {
            let damaged = FormatError::Damaged { offset: (length - take.left()) as u64 };
            let Some((kind, time, payload)) = frame(&mut take) else {
                end = End::Cut;
                break;
            };
            at = at.saturating_add(time).max(0);
            let record = Record::take(kind, &mut last, payload).ok_or_else(|| damaged.clone())?;
            match record {
                Record::Opening(first) if opening.is_none() && version == VERSION => opening = Some(first),
                Record::Joined(first) if opening.is_none() && version == JOINED_VERSION => {
                    opening = Some(first.opening.clone());
                    joined = Some(first);
                }
                Record::Opening(_) | Record::Joined(_) => return Err(damaged),
                _ if opening.is_none() => return Err(damaged),
                Record::Output(_) if joined.is_none() => return Err(damaged),
                Record::Stopped(words) => {
                    end = End::Stopped(words);
                    break;
                }
                record => {
                    if matches!(&record, Record::Returned(Returned { what: Polled::Closed(_), .. })) {
                        end = End::Closed;
                    }
                    records.push((Duration::from_nanos(at.unsigned_abs()), record));
                }
            }
        }
        Ok(Capture { header, opening: opening.ok_or(FormatError::NoOpening)?, joined, records, end })
    }

    /// The text that the program wrote into the header.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// The opening of the connection.
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// Where the connection was, if the capture began in its middle.
    pub fn joined(&self) -> Option<&Joined> {
        self.joined.as_deref()
    }

    /// How the capture ends.
    pub fn end(&self) -> &End {
        &self.end
    }
}

/// Tag, time and payload of the next record; `None` if it is incomplete.
fn frame(take: &mut Take) -> Option<(u8, i64, Bytes)> {
    let (kind, time, length) = (take.byte()?, unzigzag(take.number()?), take.size()?);
    Some((kind, time, take.bytes(length)?))
}
