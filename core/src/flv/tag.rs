//! The framing of FLV files (FLV 10.1 §E.2 to §E.4.1): writes files, and reads single headers.
//! [`tags`](super::tags) reads whole files.

use super::{FlvError, take};

/// Bytes of an FLV file header, including the empty back pointer after it.
pub const FILE_HEADER_LENGTH: usize = 13;
/// Bytes of a tag header.
pub const TAG_HEADER_LENGTH: usize = 11;
/// Most bytes in the body of a tag: its size field has 24 bits.
pub const MAX_TAG_BODY: usize = 0x00FF_FFFF;

const SIGNATURE: &[u8; 3] = b"FLV";
const VERSION: u8 = 1;
const HAS_AUDIO: u8 = 0x04;
const HAS_VIDEO: u8 = 0x01;
const ENCRYPTED: u8 = 0x20;

/// The header of an FLV file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Whether the header announces audio.
    pub audio: bool,
    /// Whether the header announces video.
    pub video: bool,
    /// Offset of the first back pointer from the start of the file, in bytes; 9 in every known file.
    pub data_offset: u32,
}

/// Appends an FLV file header with the back pointer of 0 that comes before the first tag.
pub fn write_file_header(audio: bool, video: bool, out: &mut Vec<u8>) {
    let flags = if audio { HAS_AUDIO } else { 0 } | if video { HAS_VIDEO } else { 0 };
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[VERSION, flags, 0, 0, 0, 9, 0, 0, 0, 0]);
}

/// Reads the nine bytes of an FLV file header.
///
/// # Errors
///
/// Fewer than nine bytes, another signature, or a data offset inside the header.
pub fn parse_file_header(bytes: &[u8]) -> Result<FileHeader, FlvError> {
    let (&[a, b, c, _version, flags, o0, o1, o2, o3], _) = take::array(bytes, "FLV file header")?;
    let data_offset = u32::from_be_bytes([o0, o1, o2, o3]);
    if [a, b, c] != *SIGNATURE || data_offset < 9 {
        return Err(FlvError::NotFlv);
    }
    Ok(FileHeader { audio: flags & HAS_AUDIO != 0, video: flags & HAS_VIDEO != 0, data_offset })
}

/// The header of an FLV tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagHeader {
    /// 8 audio, 9 video, 18 script data: the type of the RTMP message with the same body. Five bits.
    pub type_id: u8,
    /// Whether the body is encrypted; never in a live stream.
    pub encrypted: bool,
    /// Bytes of the body, 24 bits.
    pub size: u32,
    /// Milliseconds from the start of the file.
    pub timestamp: u32,
}

impl TagHeader {
    /// The encoded header. Only the low five bits of `type_id` and the low 24 bits of `size` are used.
    pub fn encode(&self) -> [u8; TAG_HEADER_LENGTH] {
        let [_, s0, s1, s2] = self.size.to_be_bytes();
        let [high, t0, t1, t2] = self.timestamp.to_be_bytes();
        let kind = self.type_id & 0x1F | if self.encrypted { ENCRYPTED } else { 0 };
        // The top byte of the timestamp comes after the others, and the stream id is always 0.
        [kind, s0, s1, s2, t0, t1, t2, high, 0, 0, 0]
    }
}

/// Reads the eleven bytes of a tag header.
///
/// # Errors
///
/// Fewer than eleven bytes.
pub fn parse_tag_header(bytes: &[u8]) -> Result<TagHeader, FlvError> {
    let (header, _) = take::array::<TAG_HEADER_LENGTH>(bytes, "FLV tag header")?;
    let (type_byte, size, timestamp) = fields(header);
    Ok(TagHeader { type_id: type_byte & 0x1F, encrypted: type_byte & ENCRYPTED != 0, size, timestamp })
}

/// First byte, size and timestamp of a tag header. Aggregate messages have the same framing.
pub(super) fn fields(header: &[u8; TAG_HEADER_LENGTH]) -> (u8, u32, u32) {
    let &[type_byte, s0, s1, s2, t0, t1, t2, high, _, _, _] = header;
    let size = take::u24([s0, s1, s2]);
    (type_byte, size, u32::from_be_bytes([high, t0, t1, t2]))
}

/// Appends one tag with its back pointer. `type_id` is the RTMP message type, `timestamp` in milliseconds.
///
/// # Errors
///
/// A body longer than [`MAX_TAG_BODY`]; `out` is unchanged then.
pub fn write_tag(type_id: u8, timestamp: u32, body: &[u8], out: &mut Vec<u8>) -> Result<(), FlvError> {
    let length = body.len();
    let size = u32::try_from(length).ok().filter(|_| length <= MAX_TAG_BODY).ok_or(FlvError::TagTooLong { length })?;
    let header = TagHeader { type_id, encrypted: false, size, timestamp };
    out.reserve(TAG_HEADER_LENGTH + length + 4);
    out.extend_from_slice(&header.encode());
    out.extend_from_slice(body);
    // The size has 24 bits, so the sum cannot overflow.
    out.extend_from_slice(&(size + 11).to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_reads_back() {
        let mut file = Vec::new();
        write_file_header(true, false, &mut file);
        assert_eq!(file.len(), FILE_HEADER_LENGTH);
        write_tag(8, 0x0102_0304, b"\xaf\x01x", &mut file).unwrap();

        let header = parse_file_header(&file).unwrap();
        assert_eq!((header.audio, header.video, header.data_offset), (true, false, 9));
        let tag = &file[FILE_HEADER_LENGTH..];
        assert_eq!(tag, b"\x08\0\0\x03\x02\x03\x04\x01\0\0\0\xaf\x01x\0\0\0\x0e");
        let header = parse_tag_header(tag).unwrap();
        assert_eq!((header.type_id, header.size, header.timestamp), (8, 3, 0x0102_0304));
        assert_eq!(header.encode(), tag[..TAG_HEADER_LENGTH]);
    }

    #[test]
    fn a_body_beyond_24_bits_is_refused() {
        let body = vec![0; MAX_TAG_BODY + 1];
        let mut out = Vec::new();
        let length = body.len();
        assert_eq!(write_tag(9, 0, &body, &mut out), Err(FlvError::TagTooLong { length }));
        assert!(out.is_empty());
        write_tag(9, 0, &body[1..], &mut out).unwrap();
        assert_eq!(out[out.len() - 4..], [0x01, 0, 0, 0x0A]);
    }

    #[test]
    fn other_files_are_refused() {
        assert_eq!(parse_file_header(b"FLA\x01\x05\0\0\0\x09"), Err(FlvError::NotFlv));
        assert_eq!(parse_file_header(b"FLV\x01\x05\0\0\0\x08"), Err(FlvError::NotFlv));
        assert!(matches!(parse_file_header(b"FLV\x01"), Err(FlvError::Truncated { .. })));
    }

    #[test]
    fn encryption_is_told_apart_from_the_type() {
        let header = TagHeader { type_id: 18, encrypted: true, size: 7, timestamp: 0 };
        assert_eq!(parse_tag_header(&header.encode()), Ok(header));
    }
}
