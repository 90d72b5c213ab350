//! Coded pictures as payloads of RTP packets. A picture is put into packets once for all viewers of a stream: headers and
//! encryption are each viewer's own, the payload is shared.
//!
//! Packets of one picture are all as large as they may be, but the last, so that a system that cuts one large datagram
//! into equal ones can send them (segmentation offload).

mod av1;
mod nal;
mod vp9;

use std::fmt;
use std::sync::Arc;

use anabranch_core::flv::{Codec, Slices, VideoCodec};
use bytes::Bytes;
use thiserror::Error;

pub use av1::Av1Packetizer;
pub use nal::{H264Packetizer, HevcPacketizer};
pub use vp9::Vp9Packetizer;

/// The largest payload of a packet. Datagrams then have at most 1200 bytes, which pass through all usual networks: 12 for
/// the header of RTP, 16 for its extensions, 16 for the tag of the encryption, 2 for the number of a packet that is
/// sent again (RFC 4588), and 4 to spare.
pub const MAX_PAYLOAD: usize = 1150;

/// Why a picture cannot be put into packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RtpError {
    /// There is no form of the codec in RTP here.
    #[error("{0:?} is not sent by WebRTC")]
    UnsupportedCodec(Codec),
    /// The decoder configuration of the stream cannot be read.
    #[error("the decoder configuration cannot be read")]
    BadConfiguration,
    /// The coded data does not have the form that the codec prescribes.
    #[error("the picture is not coded as its codec prescribes")]
    BadPicture,
}

/// A picture in packets.
#[derive(Clone, Default)]
pub struct Packets {
    /// The payloads, in order. The last one has the marker bit.
    pub payloads: Vec<Arc<[u8]>>,
    /// False if no other picture needs this one, so that it can be left out.
    pub is_reference: bool,
}

impl fmt::Debug for Packets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: usize = self.payloads.iter().map(|payload| payload.len()).sum();
        let number = self.payloads.len();
        write!(f, "{bytes} bytes in {number} packets, is_reference: {}", self.is_reference)
    }
}

/// Puts the pictures of one track into packets.
#[derive(Debug, Clone)]
pub enum VideoPacketizer {
    /// H.264 (RFC 6184).
    H264(H264Packetizer),
    /// HEVC (RFC 7798).
    Hevc(HevcPacketizer),
    /// AV1 (RTP Payload Format For AV1, v1.0).
    Av1(Av1Packetizer),
    /// VP9 (RFC 9628).
    Vp9(Vp9Packetizer),
}

impl VideoPacketizer {
    /// For a stream with this sequence header, as [`anabranch_core::flv::video`] returns its payload. VP9 needs none.
    ///
    /// # Errors
    ///
    /// The codec has no form here, or the header cannot be read.
    pub fn new(codec: VideoCodec, header: &[u8]) -> Result<Self, RtpError> {
        match codec {
            VideoCodec::Avc => H264Packetizer::new(header).map(VideoPacketizer::H264),
            VideoCodec::Hevc => HevcPacketizer::new(header).map(VideoPacketizer::Hevc),
            VideoCodec::Av1 => Av1Packetizer::new(header).map(VideoPacketizer::Av1),
            VideoCodec::Vp9 => Ok(VideoPacketizer::Vp9(Vp9Packetizer::default())),
            other => Err(RtpError::UnsupportedCodec(other.into())),
        }
    }

    /// Puts a picture into packets. A key frame gets the parameters of the decoder in front, if it does not have them.
    ///
    /// # Errors
    ///
    /// The picture cannot be read: then it must be left out, with all that follow up to the next key frame.
    pub fn packetize(&mut self, picture: &Slices, is_key: bool) -> Result<Packets, RtpError> {
        let picture: Bytes = picture.joined();
        match self {
            VideoPacketizer::H264(packetizer) => packetizer.packetize(&picture, is_key),
            VideoPacketizer::Hevc(packetizer) => packetizer.packetize(&picture, is_key),
            VideoPacketizer::Av1(packetizer) => packetizer.packetize(&picture, is_key),
            VideoPacketizer::Vp9(packetizer) => Ok(packetizer.packetize(&picture, is_key)),
        }
    }
}

#[cfg(test)]
mod tests;
