//! Reading and writing of AMF 0 and AMF 3, the value formats of RTMP's command and data messages.
//!
//! A message body is a sequence of AMF 0 values. [`amf0::Decoder`] decodes them one at a time, so that a command can
//! be carried out even if a value after the arguments it needs does not decode; [`amf0::decode_all`] decodes all of
//! them. A body may switch to AMF 3 for one value with the marker `0x11`, which gives [`Value::Amf3`];
//! [`Value::into_amf0`] converts such values to their AMF 0 equivalent.
//!
//! Decoding never exceeds its [`Limits`], for any sizes that the input claims. One set of limits covers a whole body,
//! AMF 0 and AMF 3 together. Encoding cannot fail.
//!
//! ```
//! # use anabranch_core::amf::{self, Object, Value, amf0};
//! let status = Object::new().with("level", "status").with("code", "NetStream.Play.Start");
//! let mut body = Vec::new();
//! amf0::Encoder::new(&mut body).string("onStatus").number(0.0).null().object(&status);
//!
//! let values = amf0::decode_all(&body, &amf::Limits::default())?;
//! assert_eq!(values[0].as_str(), Some("onStatus"));
//! assert_eq!(values[2], Value::Null);
//! let status = values[3].as_object().expect("the fourth value is the status object");
//! assert_eq!(status.get("level").and_then(Value::as_str), Some("status"));
//! # Ok::<(), amf::AmfError>(())
//! ```

pub mod amf0;
pub mod amf3;
mod convert;
mod error;
mod input;
use input::size;
mod limits;
mod properties;
#[cfg(test)]
mod property_tests;
mod string;
mod value;

pub use error::AmfError;
pub use limits::{Limits, MAX_DEPTH};
pub use properties::{Iter, Object, Properties};
pub use string::AmfString;
pub(crate) use string::until_nul;
pub use value::Value;
