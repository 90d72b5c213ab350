//! Why a body does not decode.

use thiserror::Error;

/// Why a message body, or the rest of one, does not decode.
///
/// Each error concerns one message only: the next message can be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AmfError {
    /// The body ends inside a value.
    #[error("AMF {what} is cut off: it needs {needed} bytes and {left} are left")]
    Truncated {
        /// The part that is cut off.
        what: &'static str,
        /// The bytes that this part needs.
        needed: usize,
        /// The bytes that the body still holds.
        left: usize,
    },
    /// A marker that the format does not define, or reserves (movie clip, record set).
    #[error("AMF {version} has no value with marker {marker:#04x} (byte {offset})")]
    UnknownMarker {
        /// 0 or 3.
        version: u8,
        /// The marker found.
        marker: u8,
        /// Where it stands, in bytes from the start of the body.
        offset: usize,
    },
    /// An AMF 0 object-end marker where a value was expected.
    #[error("AMF 0 object end where a value was expected (byte {offset})")]
    UnexpectedObjectEnd {
        /// Where it stands, in bytes from the start of the body.
        offset: usize,
    },
    /// An element count that the rest of the body cannot hold.
    #[error("AMF {what} claims {count} elements in {left} bytes")]
    CountOverInput {
        /// The value that claims them.
        what: &'static str,
        /// The elements claimed.
        count: usize,
        /// The bytes that the body still holds.
        left: usize,
    },
    /// More containers inside one another than [`Limits::depth`](super::Limits::depth).
    #[error("AMF values are nested deeper than {limit}")]
    TooDeep {
        /// The limit in force.
        limit: usize,
    },
    /// More values than [`Limits::values`](super::Limits::values).
    #[error("AMF body holds more than {limit} values")]
    TooManyValues {
        /// The limit in force.
        limit: usize,
    },
    /// More string bytes than [`Limits::bytes`](super::Limits::bytes).
    #[error("AMF body holds more than {limit} bytes of strings")]
    TooManyBytes {
        /// The limit in force.
        limit: usize,
    },
    /// A reference to an entry that its table does not have.
    #[error("AMF {table} reference {index}: the table has {len} entries")]
    BadReference {
        /// The table.
        table: &'static str,
        /// The index in the reference.
        index: usize,
        /// Number of entries in the table.
        len: usize,
    },
    /// An AMF 3 object of an externalizable class, which defines its own format, inside a container. Its end cannot be
    /// found (AMF 3 §3.12).
    #[error("AMF 3 object of class {class:?} has an unknown format and cannot be skipped")]
    Externalizable {
        /// The class, with invalid UTF-8 replaced.
        class: String,
    },
}
