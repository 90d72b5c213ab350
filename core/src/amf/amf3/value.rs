//! One AMF 3 value.

use std::fmt;

use bytes::Bytes;

use super::super::{AmfString, Properties};
use crate::shown::Shown;

/// One AMF 3 value.
///
/// There is no variant for references (AMF 3 §2.2): the decoder replaces a reference by a copy of its value.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// Undefined (AMF 3 §3.2).
    Undefined,
    /// Null (AMF 3 §3.3).
    Null,
    /// False or true (AMF 3 §3.4 and §3.5), each with its own marker.
    Boolean(bool),
    /// A signed integer of 29 bits (AMF 3 §3.6): -2^28 to 2^28 - 1. Others are written as doubles.
    Integer(i32),
    /// A double (AMF 3 §3.7).
    Double(f64),
    /// A string (AMF 3 §3.8).
    String(AmfString),
    /// XML text of the older class (AMF 3 §3.9).
    XmlDocument(AmfString),
    /// XML text of the newer class, E4X (AMF 3 §3.13).
    Xml(AmfString),
    /// A point in time (AMF 3 §3.10), without a time zone.
    Date {
        /// Milliseconds since 1970-01-01 00:00 UTC.
        ms: f64,
    },
    /// An array (AMF 3 §3.11). Each of the two parts may be empty.
    Array {
        /// The elements with names.
        assoc: Properties<Value>,
        /// The elements numbered from 0.
        dense: Vec<Value>,
    },
    /// An object (AMF 3 §3.12).
    Object(Object),
    /// An object in a format that its class defines (AMF 3 §3.12, "externalizable").
    Externalizable {
        /// The class.
        class: AmfString,
        /// The data that the class wrote.
        content: Externalized,
    },
    /// Bytes (AMF 3 §3.14).
    ByteArray(Bytes),
    /// Signed integers of 32 bits (AMF 3 §3.15).
    VectorInt {
        /// Whether the sender's vector cannot grow.
        fixed: bool,
        /// The elements.
        items: Vec<i32>,
    },
    /// Unsigned integers of 32 bits (AMF 3 §3.15).
    VectorUint {
        /// Whether the sender's vector cannot grow.
        fixed: bool,
        /// The elements.
        items: Vec<u32>,
    },
    /// Doubles (AMF 3 §3.15).
    VectorDouble {
        /// Whether the sender's vector cannot grow.
        fixed: bool,
        /// The elements.
        items: Vec<f64>,
    },
    /// Values of one class (AMF 3 §3.15).
    VectorObject {
        /// Whether the sender's vector cannot grow.
        fixed: bool,
        /// The class of the elements; `*` is any.
        class: AmfString,
        /// The elements.
        items: Vec<Value>,
    },
    /// Pairs of values (AMF 3 §3.16).
    Dictionary {
        /// Whether the sender's keys are held weakly.
        weak: bool,
        /// Keys and values, in order.
        entries: Vec<(Value, Value)>,
    },
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Undefined => f.write_str("Undefined"),
            Value::Null => f.write_str("Null"),
            Value::Boolean(value) => f.debug_tuple("Boolean").field(value).finish(),
            Value::Integer(value) => f.debug_tuple("Integer").field(value).finish(),
            Value::Double(value) => f.debug_tuple("Double").field(value).finish(),
            Value::String(text) => f.debug_tuple("String").field(text).finish(),
            Value::XmlDocument(text) => f.debug_tuple("XmlDocument").field(text).finish(),
            Value::Xml(text) => f.debug_tuple("Xml").field(text).finish(),
            Value::Date { ms } => f.debug_struct("Date").field("ms", ms).finish(),
            Value::Array { assoc, dense } => {
                f.debug_struct("Array").field("assoc", assoc).field("dense", dense).finish()
            }
            Value::Object(object) => f.debug_tuple("Object").field(object).finish(),
            Value::Externalizable { class, content } => {
                f.debug_struct("Externalizable").field("class", class).field("content", content).finish()
            }
            Value::ByteArray(bytes) => f.debug_tuple("ByteArray").field(&Shown(bytes)).finish(),
            Value::VectorInt { fixed, items } => {
                f.debug_struct("VectorInt").field("fixed", fixed).field("items", items).finish()
            }
            Value::VectorUint { fixed, items } => {
                f.debug_struct("VectorUint").field("fixed", fixed).field("items", items).finish()
            }
            Value::VectorDouble { fixed, items } => {
                f.debug_struct("VectorDouble").field("fixed", fixed).field("items", items).finish()
            }
            Value::VectorObject { fixed, class, items } => {
                let mut shown = f.debug_struct("VectorObject");
                shown.field("fixed", fixed).field("class", class).field("items", items).finish()
            }
            Value::Dictionary { weak, entries } => {
                f.debug_struct("Dictionary").field("weak", weak).field("entries", entries).finish()
            }
        }
    }
}

/// An AMF 3 object in the standard format.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    /// The class; empty for anonymous objects.
    pub class: AmfString,
    /// The members that the class declares.
    pub sealed: Properties<Value>,
    /// The additional members of this object; `None` if the class allows none.
    pub dynamic: Option<Properties<Value>>,
}

/// The data of an externalizable object.
#[derive(Clone, PartialEq)]
pub enum Externalized {
    /// One AMF 3 value: `ArrayCollection`, `ArrayList` and `ObjectProxy` of `flex.messaging.io`, the classes that
    /// Flex clients and servers wrap arrays and objects in.
    Value(Box<Value>),
    /// Bytes of an unknown class, to the end of the message.
    Opaque(Bytes),
}

impl fmt::Debug for Externalized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Externalized::Value(value) => f.debug_tuple("Value").field(value).finish(),
            Externalized::Opaque(bytes) => f.debug_tuple("Opaque").field(&Shown(bytes)).finish(),
        }
    }
}

/// The externalizable classes whose data is one AMF 3 value.
const WRAPPERS: [&str; 3] =
    ["flex.messaging.io.ArrayCollection", "flex.messaging.io.ArrayList", "flex.messaging.io.ObjectProxy"];

/// Whether externalizable objects of `class` consist of one AMF 3 value.
pub(super) fn is_wrapper(class: &AmfString) -> bool {
    WRAPPERS.iter().any(|wrapper| class == wrapper)
}

impl Value {
    /// The number in an integer or double.
    #[must_use]
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Integer(integer) => Some(f64::from(*integer)),
            Self::Double(number) => Some(*number),
            _ => None,
        }
    }

    /// The string.
    #[must_use]
    pub fn as_string(&self) -> Option<&AmfString> {
        match self {
            Self::String(string) => Some(string),
            _ => None,
        }
    }

    /// The value of a Boolean, or of a number as a Boolean: any number except 0 and NaN is true.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(truth) => Some(*truth),
            _ => self.as_number().map(|number| number != 0.0 && !number.is_nan()),
        }
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}
