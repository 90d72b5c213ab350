//! Limits on decoding one message body.

/// The deepest nesting that is decoded or encoded, for any [`Limits::depth`]: 128 containers.
///
/// Both directions recurse, so this limits their use of the stack. Programs can build deeper values; the encoders write
/// values below this depth as undefined.
pub const MAX_DEPTH: usize = 128;

/// Limits on decoding one message body, for any sizes that the body claims.
///
/// The limits cover the whole body: all its values, in AMF 0 and AMF 3 together. A reference is decoded into a copy of
/// its value and costs as much as if the value were sent again, so a small body cannot use references to become large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most containers (objects, arrays, vectors of objects, dictionaries) inside one another. Default 32; real clients
    /// nest at most three or four. Values above [`MAX_DEPTH`] act as [`MAX_DEPTH`].
    pub depth: usize,
    /// Most values in the body. Containers, all values in them, both sides of each dictionary entry, and each element
    /// of a numeric vector count. Default 4096.
    pub values: usize,
    /// Most bytes of strings, property names, XML and byte arrays in the body. Default 1 MiB. Without references these
    /// cannot exceed the length of the body.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 32, values: 4096, bytes: 1024 * 1024 }
    }
}
