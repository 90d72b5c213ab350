use std::fs::File;
use std::io;
use std::time::Duration;

use anabranch_core::flv::Codec;
use anabranch_core::message::MessageType;
use anabranch_core::source::{Frame, FrameKind};

use super::file::FlvFile;
use super::mp4::Mp4File;
use super::settings::Format;

/// A file of a recording, in one of the formats.
#[derive(Debug)]
pub(super) enum Media {
    Flv(Box<FlvFile>),
    Mp4(Box<Mp4File>),
}

impl Media {
    /// Begins an empty file. `metadata` is the body of the encoder's `onMetaData`.
    ///
    /// # Errors
    /// Errors of the system.
    pub(super) fn begin(format: Format, file: File, metadata: Option<&[u8]>) -> io::Result<Self> {
        Ok(match format {
            Format::Flv => Media::Flv(Box::new(FlvFile::begin(file, metadata)?)),
            Format::Mp4 => Media::Mp4(Box::new(Mp4File::begin(file))),
        })
    }

    /// Appends a frame. Without a timestamp it does not move the file's time.
    ///
    /// # Errors
    /// Errors of the system. The file can then be played up to the last whole tag or fragment.
    pub(super) fn push(&mut self, frame: &Frame, timestamp: Option<u32>) -> io::Result<()> {
        match self {
            Media::Flv(file) => {
                let type_id = match frame.kind() {
                    FrameKind::Audio => MessageType::AUDIO,
                    FrameKind::Video => MessageType::VIDEO,
                    FrameKind::Data => MessageType::DATA_AMF0,
                };
                file.push(type_id, timestamp, frame.is_join_point(), &frame.payload())
            }
            Media::Mp4(file) => file.push(frame, timestamp),
        }
    }

    /// True if the frames behind these headers need another file: in FLV, headers may change anywhere.
    pub(super) fn needs_other(&self, headers: &[Frame]) -> bool {
        match self {
            Media::Flv(_) => false,
            Media::Mp4(file) => file.needs_other() || headers.iter().any(|header| !file.takes(header)),
        }
    }

    /// A codec whose frames the format cannot hold; told once for each file.
    pub(super) fn take_left_out(&mut self) -> Option<Codec> {
        match self {
            Media::Flv(_) => None,
            Media::Mp4(file) => file.take_left_out(),
        }
    }

    /// Writes what is collected and complete.
    ///
    /// # Errors
    /// Errors of the system. The file can then be played up to the last whole tag or fragment.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Media::Flv(file) => file.flush(),
            Media::Mp4(file) => file.flush(),
        }
    }

    /// Writes all that is collected, because no more comes.
    ///
    /// # Errors
    /// Errors of the system. The file can then be played up to the last whole tag or fragment.
    pub(super) fn close(&mut self) -> io::Result<()> {
        match self {
            Media::Flv(file) => file.flush(),
            Media::Mp4(file) => file.close(),
        }
    }

    /// Writes length and index.
    ///
    /// # Errors
    /// Errors of the system. The file can be played all the same.
    pub(super) fn finish(self) -> io::Result<File> {
        match self {
            Media::Flv(file) => file.finish(),
            Media::Mp4(file) => file.finish(),
        }
    }

    /// The file's duration in milliseconds if it had a frame with that timestamp.
    pub(super) fn duration_with(&self, timestamp: u32) -> u64 {
        match self {
            Media::Flv(file) => file.duration_with(timestamp),
            Media::Mp4(file) => file.duration_with(timestamp),
        }
    }

    /// The duration in milliseconds.
    pub(super) fn duration(&self) -> u64 {
        match self {
            Media::Flv(file) => file.duration(),
            Media::Mp4(file) => file.duration(),
        }
    }

    /// Bytes that are written.
    pub(super) fn written(&self) -> u64 {
        match self {
            Media::Flv(file) => file.written(),
            Media::Mp4(file) => file.written(),
        }
    }

    /// Bytes, including those that are not written yet.
    pub(super) fn length(&self) -> u64 {
        match self {
            Media::Flv(file) => file.length(),
            Media::Mp4(file) => file.length(),
        }
    }

    /// How long writes took since the last call.
    pub(super) fn take_waited(&mut self) -> Duration {
        match self {
            Media::Flv(file) => file.take_waited(),
            Media::Mp4(file) => file.take_waited(),
        }
    }
}
