//! Recording, looked at with FFmpeg and byte by byte.

mod crash;
mod files;
pub(crate) mod media;
mod mp4;
