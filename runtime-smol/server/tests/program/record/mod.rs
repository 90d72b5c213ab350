//! Recording, looked at with FFmpeg and byte by byte.

mod crash;
mod files;
mod media;
