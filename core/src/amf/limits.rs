//! What one message body may cost to decode.

/// The deepest nesting that is decoded or encoded, whatever [`Limits::depth`] says: 128 containers.
///
/// Both directions recurse, so this bounds their use of the stack. Deeper values can be built by hand; the encoders
/// write what lies below this depth as undefined.
pub const MAX_DEPTH: usize = 128;

/// What one message body may cost to decode, whatever it claims about its own sizes.
///
/// The limits cover the whole body: all its values, in AMF 0 and AMF 3 together. A value that is reached through a
/// reference is decoded into a copy and costs as much as if it had been sent again, so references cannot be used to
/// blow up a small body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many containers (objects, arrays, vectors of objects, dictionaries) may be open at once. Default 32; real
    /// clients nest at most three or four. Values above [`MAX_DEPTH`] act as [`MAX_DEPTH`].
    pub depth: usize,
    /// How many values the body may hold, counting containers, everything in them, both sides of each dictionary
    /// entry, and each element of a numeric vector. Default 4096.
    pub values: usize,
    /// How many bytes of strings, property names, XML and byte arrays the body may hold. Default 1 MiB. Without
    /// references this can never exceed the length of the body.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 32, values: 4096, bytes: 1024 * 1024 }
    }
}
