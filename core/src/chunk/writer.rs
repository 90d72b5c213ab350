use super::EXTENDED;

/// The longest chunk header this crate writes: one byte of basic header, eleven of message header, four of extended
/// timestamp.
pub const MAX_HEADER: usize = 16;

/// A chunk header of up to [`MAX_HEADER`] bytes, on the stack.
#[derive(Debug, Clone, Copy)]
pub struct HeaderBytes {
    bytes: [u8; MAX_HEADER],
    len: u8,
}

impl HeaderBytes {
    fn new() -> Self {
        HeaderBytes { bytes: [0; MAX_HEADER], len: 0 }
    }

    fn put(&mut self, bytes: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }
}

impl std::ops::Deref for HeaderBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The full (format 0) header of a message's first chunk, RTMP 1.0 §5.3.1.
///
/// `chunk_stream` is clamped to 2..=63 (the one-byte form, because some peers cannot read the others); `length` is in
/// bytes and at most 0xffffff; `timestamp` is absolute, in milliseconds.
pub fn message_header(
    chunk_stream: u8,
    timestamp: u32,
    length: u32,
    type_id: u8,
    message_stream_id: u32,
) -> HeaderBytes {
    debug_assert!((2..64).contains(&chunk_stream) && length <= 0xff_ffff);
    let mut header = HeaderBytes::new();
    let field = timestamp.min(EXTENDED).to_be_bytes();
    let size = length.to_be_bytes();
    header.put(&[chunk_stream & 0x3f, field[1], field[2], field[3], size[1], size[2], size[3], type_id]);
    header.put(&message_stream_id.to_le_bytes());
    if timestamp >= EXTENDED {
        header.put(&timestamp.to_be_bytes());
    }
    header
}

/// The format 3 header of a message's later chunks.
///
/// The extended timestamp is repeated in each of them: FFmpeg and librtmp lose framing without it.
pub fn continuation_header(chunk_stream: u8, timestamp: u32) -> HeaderBytes {
    let mut header = HeaderBytes::new();
    header.put(&[0xc0 | (chunk_stream & 0x3f)]);
    if timestamp >= EXTENDED {
        header.put(&timestamp.to_be_bytes());
    }
    header
}

/// Appends one whole message to `out`: a format 0 chunk, then format 3 chunks.
///
/// Full headers cost 12 bytes per message and make messages independent of each other, so that any message can be left
/// out. A `payload` of more than 0xffffff bytes is cut; no caller in this crate passes one.
pub fn write_message(
    out: &mut Vec<u8>,
    chunk_size: u32,
    chunk_stream: u8,
    timestamp: u32,
    type_id: u8,
    message_stream_id: u32,
    payload: &[u8],
) {
    let payload = &payload[..payload.len().min(0xff_ffff)];
    let chunk_size = chunk_size.max(1) as usize;
    out.reserve(payload.len() + MAX_HEADER + payload.len() / chunk_size);
    out.extend_from_slice(&message_header(chunk_stream, timestamp, payload.len() as u32, type_id, message_stream_id));
    let mut chunks = payload.chunks(chunk_size);
    out.extend_from_slice(chunks.next().unwrap_or_default());
    for chunk in chunks {
        out.extend_from_slice(&continuation_header(chunk_stream, timestamp));
        out.extend_from_slice(chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_chunk_size_is_sixteen_bytes() {
        let mut out = Vec::new();
        write_message(&mut out, 128, 2, 0, 1, 0, &60_000u32.to_be_bytes());
        assert_eq!(out, [2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0xea, 0x60]);
    }

    #[test]
    fn the_stream_id_is_little_endian_and_the_rest_big() {
        let header = message_header(6, 0x010203, 0x040506, 9, 0x0708_090a);
        assert_eq!(&header[..], [6, 1, 2, 3, 4, 5, 6, 9, 0x0a, 9, 8, 7]);
    }

    #[test]
    fn an_extended_timestamp_is_repeated_in_each_chunk() {
        let mut out = Vec::new();
        write_message(&mut out, 2, 6, 0x0100_0000, 9, 1, &[1, 2, 3]);
        assert_eq!(out[..16], [6, 0xff, 0xff, 0xff, 0, 0, 3, 9, 1, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(out[16..], [1, 2, 0xc6, 1, 0, 0, 0, 3]);
    }

    #[test]
    fn the_value_ffffff_itself_is_extended() {
        assert_eq!(message_header(4, 0xff_ffff, 0, 8, 1).len(), 16);
        assert_eq!(message_header(4, 0xff_fffe, 0, 8, 1).len(), 12);
    }
}
