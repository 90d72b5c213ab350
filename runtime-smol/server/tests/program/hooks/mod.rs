//! HTTP hooks, towards back ends that are written to the documentation of SRS and nginx-rtmp.

mod failures;
mod many;
mod nginx;
mod srs;
