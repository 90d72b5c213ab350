//! Media: files and frames to publish, real clients that publish and play, and whether what arrived is the same.

mod clip;
mod flv;
pub mod frames;
mod packets;
mod picture;
mod players;

pub use clip::{Clip, Publication};
pub use flv::{Tag, TagKind, assert_same_media, assert_same_tags, media_tags, tags, whole_tags};
pub use packets::{assert_same_packets, decoded_sizes, packets, read};
pub use picture::{Mark, READ_MARK, TestPicture, test_picture, test_picture_with};
pub use players::{ffmpeg_publishes, rtmpdump};
