//! AMF 0: "Action Message Format -- AMF 0", the format of every RTMP command and data message.

mod decode;
mod encode;
mod walk;

#[cfg(test)]
mod tests;

pub use decode::{Decoder, decode_all};
pub use encode::{Encoder, encode};
pub(crate) use walk::{Passed, Walker};

/// The markers of AMF 0 §2.1 that start a value.
pub(crate) mod marker {
    pub(crate) const NUMBER: u8 = 0x00;
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const STRING: u8 = 0x02;
    pub(crate) const OBJECT: u8 = 0x03;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const UNDEFINED: u8 = 0x06;
    pub(crate) const REFERENCE: u8 = 0x07;
    pub(crate) const ECMA_ARRAY: u8 = 0x08;
    pub(crate) const OBJECT_END: u8 = 0x09;
    pub(crate) const STRICT_ARRAY: u8 = 0x0a;
    pub(crate) const DATE: u8 = 0x0b;
    pub(crate) const LONG_STRING: u8 = 0x0c;
    pub(crate) const UNSUPPORTED: u8 = 0x0d;
    pub(crate) const XML_DOCUMENT: u8 = 0x0f;
    pub(crate) const TYPED_OBJECT: u8 = 0x10;
    pub(crate) const AVM_PLUS: u8 = 0x11;
}

/// The end of an object or ECMA array: an empty name and the object-end marker (AMF 0 §2.11).
pub(crate) const END: [u8; 3] = [0, 0, marker::OBJECT_END];
