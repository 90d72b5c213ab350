//! Reading FLV files tag by tag (FLV 10.1 §E.2 to §E.4.1), from a file in memory or from bytes that arrive in pieces.
//!
//! The body of a tag is the body of the RTMP message of the same type, so a [`Tag`] becomes a
//! [`Message`](crate::message::Message) with `Message::from`, and is published with that:
//!
//! ```
//! use anabranch_core::flv::{Tags, tag};
//! use anabranch_core::message::Message;
//!
//! let mut file = Vec::new();
//! tag::write_file_header(true, false, &mut file);
//! tag::write_tag(8, 40, &[0xaf, 1, 0x21], &mut file)?;
//!
//! for tag in Tags::new(&file)? {
//!     let message = Message::from(tag?);
//!     assert_eq!((message.type_id, message.timestamp, &*message.payload), (8, 40, &[0xaf, 1, 0x21][..]));
//! }
//! # Ok::<(), anabranch_core::flv::FlvError>(())
//! ```
//!
//! [`TagReader`] does the same with bytes from a socket or a file that is too large for memory:
//!
//! ```
//! # use anabranch_core::flv::{TagReader, tag};
//! # let mut file = Vec::new();
//! # tag::write_file_header(true, false, &mut file);
//! # tag::write_tag(8, 40, &[0xaf, 1, 0x21], &mut file)?;
//! let mut reader = TagReader::default();
//! let mut tags = 0;
//! for mut piece in file.chunks(7) {
//!     while let Some(tag) = reader.read(&mut piece)? {
//!         tags += 1;
//!         assert_eq!(tag.timestamp, 40);
//!     }
//! }
//! assert_eq!((tags, reader.unfinished()), (1, 0));
//! # Ok::<(), anabranch_core::flv::FlvError>(())
//! ```
//!
//! Tags of any type and with any contents are returned as they are. The sizes behind tags (back pointers) are skipped and
//! not checked: some writers leave wrong ones, and players do not need them. [`tag`] writes files.

use std::iter::FusedIterator;

use super::tag::{self, FileHeader, MAX_TAG_BODY, TAG_HEADER_LENGTH, TagHeader};
use super::{FlvError, take};

/// Bytes of a file header without the back pointer behind it.
const FILE_HEADER: usize = 9;
/// Bytes of a back pointer.
const BACK_POINTER: usize = 4;
/// A [`TagReader`] allocates the room for a body of up to this size at once. Beyond that, memory follows the bytes that
/// have come. It is also the memory that is kept for the next tag.
const EAGER: usize = 64 << 10;

/// A tag of an FLV file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tag<'a> {
    /// 8 audio, 9 video, 18 script data such as `onMetaData`: the type of the RTMP message with the same body.
    pub type_id: u8,
    /// Whether the body is encrypted; players of a live stream cannot use it then.
    pub encrypted: bool,
    /// Milliseconds from the start of the file.
    pub timestamp: u32,
    /// The body, at most [`MAX_TAG_BODY`] bytes.
    pub body: &'a [u8],
}

crate::shown::debug_with_bytes!(Tag<'_> { type_id, encrypted, timestamp; body });

impl<'a> Tag<'a> {
    fn new(header: TagHeader, body: &'a [u8]) -> Self {
        Tag { type_id: header.type_id, encrypted: header.encrypted, timestamp: header.timestamp, body }
    }
}

/// The tags of a file in memory. Each step is constant work. A last tag that is cut off yields an error, which ends the
/// iteration; a missing back pointer behind it does not matter.
#[derive(Clone)]
pub struct Tags<'a> {
    header: FileHeader,
    rest: &'a [u8],
}

crate::shown::debug_with_bytes!(Tags<'_> { header; rest });

impl<'a> Tags<'a> {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// The bytes are not an FLV file, or its header is cut off.
    pub fn new(file: &'a [u8]) -> Result<Self, FlvError> {
        let header = tag::parse_file_header(file)?;
        let start = usize::try_from(header.data_offset).unwrap_or(usize::MAX).saturating_add(BACK_POINTER);
        Ok(Tags { header, rest: file.get(start..).unwrap_or_default() })
    }

    /// The header of the file.
    pub fn header(&self) -> FileHeader {
        self.header
    }

    /// The bytes after the last tag that was returned.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn read_next(&mut self) -> Result<Tag<'a>, FlvError> {
        // If an error ends the iteration below, later calls return `None`.
        let bytes = std::mem::take(&mut self.rest);
        let header = tag::parse_tag_header(bytes)?;
        let size = usize::try_from(header.size).unwrap_or(usize::MAX);
        let (body, after) = take::slice(bytes.get(TAG_HEADER_LENGTH..).unwrap_or_default(), size, "FLV tag body")?;
        self.rest = after.get(BACK_POINTER..).unwrap_or_default();
        Ok(Tag::new(header, body))
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = Result<Tag<'a>, FlvError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.rest.is_empty()).then(|| self.read_next())
    }
}

impl FusedIterator for Tags<'_> {}

/// Reads a file whose bytes come in pieces, cut anywhere. The same bytes give the same tags.
///
/// It holds one incomplete tag: at most twice the bytes that have come of it, and no body that is longer than its limit.
pub struct TagReader {
    limit: usize,
    header: Option<FileHeader>,
    state: State,
    /// The bytes of an incomplete header or body. While a back pointer is skipped, the body before it.
    held: Vec<u8>,
}

crate::shown::debug_with_bytes!(TagReader { limit, header, state; held });

#[derive(Clone, Debug)]
enum State {
    FileHeader,
    /// Bytes that belong to no tag: the rest of the file header, or a back pointer.
    Skip(u64),
    TagHeader,
    Body(TagHeader),
    Failed(FlvError),
}

impl Default for TagReader {
    /// A reader that takes every body that a tag can have, up to [`MAX_TAG_BODY`] bytes (16 MiB).
    fn default() -> Self {
        TagReader::with_limit(MAX_TAG_BODY)
    }
}

impl TagReader {
    /// A reader that takes no body of more than `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        TagReader { limit, header: None, state: State::FileHeader, held: Vec::new() }
    }

    /// Takes bytes from the front of `input` until a tag is complete. `None`: all bytes were taken, and more are needed.
    ///
    /// # Errors
    /// The bytes are not an FLV file, or a body is over the limit. The reader cannot go on: each later call returns the
    /// same error.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Tag<'_>>, FlvError> {
        loop {
            match self.state.clone() {
                State::FileHeader => {
                    if !self.fill(FILE_HEADER, input) {
                        return Ok(None);
                    }
                    let header = tag::parse_file_header(&self.held).map_err(|error| self.fail(error))?;
                    self.header = Some(header);
                    let more = u64::from(header.data_offset) - FILE_HEADER as u64;
                    self.state = State::Skip(more + BACK_POINTER as u64);
                }
                State::Skip(left) => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    *input = &input[count..];
                    let left = left - count as u64;
                    if left > 0 {
                        self.state = State::Skip(left);
                        return Ok(None);
                    }
                    self.begin(State::TagHeader);
                }
                State::TagHeader => {
                    if !self.fill(TAG_HEADER_LENGTH, input) {
                        return Ok(None);
                    }
                    let header = tag::parse_tag_header(&self.held).map_err(|error| self.fail(error))?;
                    let length = header.size as usize;
                    if length > self.limit {
                        return Err(self.fail(FlvError::TagOverLimit { length, limit: self.limit }));
                    }
                    self.begin(State::Body(header));
                    self.held.reserve_exact(length.min(EAGER));
                }
                State::Body(header) => {
                    if !self.fill(header.size as usize, input) {
                        return Ok(None);
                    }
                    self.state = State::Skip(BACK_POINTER as u64);
                    return Ok(Some(Tag::new(header, &self.held)));
                }
                State::Failed(error) => return Err(error),
            }
        }
    }

    /// The header of the file, once it has come.
    pub fn header(&self) -> Option<FileHeader> {
        self.header
    }

    /// How many bytes of an incomplete tag, or of an incomplete file header, have come. 0 where a file may end.
    pub fn unfinished(&self) -> usize {
        match &self.state {
            State::FileHeader | State::TagHeader => self.held.len(),
            State::Body(_) => TAG_HEADER_LENGTH + self.held.len(),
            State::Skip(_) | State::Failed(_) => 0,
        }
    }

    /// Holds bytes until there are `length`; true once there are.
    fn fill(&mut self, length: usize, input: &mut &[u8]) -> bool {
        let count = length.saturating_sub(self.held.len()).min(input.len());
        let (piece, rest) = input.split_at(count);
        self.held.extend_from_slice(piece);
        *input = rest;
        self.held.len() >= length
    }

    fn begin(&mut self, state: State) {
        self.state = state;
        self.held.clear();
        self.held.shrink_to(EAGER);
    }

    fn fail(&mut self, error: FlvError) -> FlvError {
        self.begin(State::Failed(error.clone()));
        error
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Owned = (u8, u32, Vec<u8>);

    fn owned(tag: &Tag<'_>) -> Owned {
        (tag.type_id, tag.timestamp, tag.body.to_vec())
    }

    fn file(tags: &[Owned]) -> Vec<u8> {
        let mut file = Vec::new();
        tag::write_file_header(true, true, &mut file);
        for (type_id, timestamp, body) in tags {
            tag::write_tag(*type_id, *timestamp, body, &mut file).unwrap();
        }
        file
    }

    /// What a reader returns for pieces of these sizes, repeated, and its error or how many bytes it still holds.
    fn in_pieces(reader: &mut TagReader, bytes: &[u8], sizes: &[usize]) -> (Vec<Owned>, Result<usize, FlvError>) {
        let mut tags = Vec::new();
        let mut rest = bytes;
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (mut piece, after) = rest.split_at((*size).clamp(1, rest.len()));
            rest = after;
            loop {
                match reader.read(&mut piece) {
                    Ok(Some(tag)) => tags.push(owned(&tag)),
                    Ok(None) => break assert!(piece.is_empty(), "all bytes were taken"),
                    Err(error) => return (tags, Err(error)),
                }
            }
        }
        (tags, Ok(reader.unfinished()))
    }

    #[test]
    fn a_file_reads_as_the_tags_it_was_written_from() {
        let tags = [(18, 0, b"meta".to_vec()), (9, 0, vec![0x17, 0, 0, 0, 0]), (8, u32::MAX, vec![]), (9, 7, vec![1])];
        let file = file(&tags);
        let read: Vec<_> = Tags::new(&file).unwrap().map(|tag| owned(&tag.unwrap())).collect();
        assert_eq!(read, tags);
        let mut reader = TagReader::default();
        assert_eq!(in_pieces(&mut reader, &file, &[1]), (tags.to_vec(), Ok(0)));
        assert_eq!(reader.header(), Some(Tags::new(&file).unwrap().header()));
        assert!(reader.header().is_some_and(|header| header.audio && header.video));
    }

    #[test]
    fn a_tag_is_there_before_its_back_pointer_and_without_it() {
        let file = file(&[(8, 3, b"ab".to_vec())]);
        let end = file.len() - BACK_POINTER;
        for missing in end..file.len() {
            let mut tags = Tags::new(&file[..missing]).unwrap();
            assert_eq!(tags.next().unwrap().unwrap().body, b"ab");
            assert!(tags.next().is_none());
            assert_eq!(in_pieces(&mut TagReader::default(), &file[..missing], &[2]).1, Ok(0));
        }
        // Wrong ones are no error.
        let mut wrong = file.clone();
        wrong[end..].fill(0xff);
        wrong.extend_from_slice(&file[13..]);
        assert_eq!(Tags::new(&wrong).unwrap().map(|tag| tag.unwrap().body.len()).collect::<Vec<_>>(), [2, 2]);
    }

    #[test]
    fn a_tag_that_is_cut_off_is_an_error_once() {
        let file = file(&[(8, 3, b"abc".to_vec()), (9, 4, b"def".to_vec())]);
        let second = 13 + 11 + 3 + 4;
        for cut in second + 1..file.len() - BACK_POINTER {
            let mut tags = Tags::new(&file[..cut]).unwrap();
            assert!(tags.next().unwrap().is_ok());
            assert!(matches!(tags.next(), Some(Err(FlvError::Truncated { .. }))), "cut at {cut}");
            assert!(tags.next().is_none() && tags.next().is_none());
            let mut reader = TagReader::default();
            let (read, left) = in_pieces(&mut reader, &file[..cut], &[4]);
            assert_eq!((read.len(), left), (1, Ok(cut - second)));
        }
    }

    #[test]
    fn a_longer_file_header_is_skipped() {
        let mut bytes = file(&[(8, 3, b"ab".to_vec())]);
        bytes.splice(9..9, [1, 2, 3]);
        bytes[8] = 12;
        assert_eq!(Tags::new(&bytes).unwrap().count(), 1);
        assert_eq!(in_pieces(&mut TagReader::default(), &bytes, &[5]).0.len(), 1);
        // One beyond the end of the file has no tags.
        bytes[5..9].fill(0xff);
        assert_eq!(Tags::new(&bytes).unwrap().count(), 0);
        assert_eq!(in_pieces(&mut TagReader::default(), &bytes, &[5]), (vec![], Ok(0)));
    }

    #[test]
    fn what_is_no_flv_file_or_too_long_stays_an_error() {
        let mut reader = TagReader::default();
        for _ in 0..2 {
            assert_eq!(reader.read(&mut &b"GIF89a..."[..]), Err(FlvError::NotFlv));
        }
        assert!(matches!(Tags::new(b"FLV\x01"), Err(FlvError::Truncated { .. })));
        let bytes = file(&[(9, 0, vec![7; 100]), (9, 0, vec![7; 101])]);
        let error = FlvError::TagOverLimit { length: 101, limit: 100 };
        let mut reader = TagReader::with_limit(100);
        let (read, end) = in_pieces(&mut reader, &bytes, &[3]);
        assert_eq!((read.len(), end), (1, Err(error.clone())));
        assert_eq!(reader.read(&mut &bytes[..]), Err(error));
    }

    #[test]
    fn memory_follows_the_bytes_that_have_come() {
        let mut reader = TagReader::default();
        let mut file = file(&[]);
        file.extend_from_slice(&TagHeader { type_id: 9, encrypted: false, size: 0xff_ffff, timestamp: 0 }.encode());
        assert_eq!(reader.read(&mut &file[..]), Ok(None));
        assert!(reader.held.capacity() <= EAGER, "nothing of 16 MiB has come");
        let piece = vec![5; 10_000];
        let mut come = 0;
        while come + piece.len() < 0xff_ffff {
            assert_eq!(reader.read(&mut &piece[..]), Ok(None));
            come += piece.len();
            assert!(reader.held.capacity() <= (2 * come).max(EAGER));
        }
        let rest = vec![5; 0xff_ffff - come];
        assert_eq!(reader.read(&mut &rest[..]).unwrap().map(|tag| tag.body.len()), Some(0xff_ffff));
        assert_eq!(reader.read(&mut &[0; 5][..]), Ok(None));
        assert!(reader.held.capacity() <= EAGER, "the room of a large tag is given back");
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            tags in prop::collection::vec((0u8..32, any::<u32>(), prop::collection::vec(any::<u8>(), 0..60)), 0..6),
            sizes in prop::collection::vec(1usize..40, 1..5),
            end in any::<prop::sample::Index>(),
        ) {
            let bytes = file(&tags);
            prop_assert_eq!(in_pieces(&mut TagReader::default(), &bytes, &sizes), (tags, Ok(0)));
            let cut = &bytes[..end.index(bytes.len())];
            let whole: Vec<_> = Tags::new(cut).into_iter().flatten().flatten().map(|tag| owned(&tag)).collect();
            prop_assert_eq!(in_pieces(&mut TagReader::default(), cut, &sizes).0, whole);
        }

        #[test]
        fn any_bytes_read_the_same_whole_and_in_pieces(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            sizes in prop::collection::vec(1usize..40, 1..5),
        ) {
            let bytes = [b"FLV\x01\x05\0\0\0\x09".as_slice(), &bytes].concat();
            let whole: Vec<_> = Tags::new(&bytes).unwrap().flatten().map(|tag| owned(&tag)).collect();
            let (pieces, end) = in_pieces(&mut TagReader::default(), &bytes, &sizes);
            prop_assert_eq!(pieces, whole);
            prop_assert!(end.is_ok());
        }
    }
}
