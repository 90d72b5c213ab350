//! Reads one direction of a connection, handshake first.

use anabranch_core::chunk::{ChunkLimits, ChunkReader, Leniency};
use anabranch_core::message::{Control, Message};

/// Bytes of a handshake in either direction.
pub(super) const HANDSHAKE: usize = 1 + 2 * 1536;

#[derive(Debug)]
pub(super) struct Listener {
    handshake: usize,
    reader: ChunkReader,
    lost: bool,
}

impl Default for Listener {
    fn default() -> Self {
        let limits = ChunkLimits { message: 0x00ff_ffff, streams: 100, partial: 1 << 26, eager: 64 };
        Listener { handshake: HANDSHAKE, reader: ChunkReader::new(limits, Leniency::Lenient), lost: false }
    }
}

impl Listener {
    /// Shows each message, and how many bytes of `bytes` lie behind its end.
    pub(super) fn listen(&mut self, bytes: &[u8], mut on_message: impl FnMut(&Message, usize)) -> Result<(), String> {
        let (_, mut rest) = bytes.split_at(bytes.len().min(self.handshake));
        self.handshake -= bytes.len() - rest.len();
        while !self.lost {
            match self.reader.read(&mut rest) {
                Ok(Some(message)) => {
                    match Control::parse(message.type_id, &message.payload) {
                        Ok(Some(Control::SetChunkSize(size))) => _ = self.reader.set_chunk_size(size),
                        Ok(Some(Control::Abort(chunk_stream))) => self.reader.abort(chunk_stream),
                        _ => {}
                    }
                    on_message(&message, rest.len());
                }
                Ok(None) => break,
                Err(error) => {
                    self.lost = true;
                    return Err(error.to_string());
                }
            }
        }
        Ok(())
    }
}
