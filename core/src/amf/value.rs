//! One AMF 0 value.

use super::{AmfString, Object, amf3};

/// One AMF 0 value of a command or data message.
///
/// There is no variant for references (AMF 0 §2.9): the decoder replaces a reference by a copy of its value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A double (AMF 0 §2.2), the only kind of number. It may be NaN, infinite, negative or fractional, even if its
    /// property does not allow that.
    Number(f64),
    /// A Boolean (AMF 0 §2.3).
    Boolean(bool),
    /// A string, short or long (AMF 0 §2.4 and §2.14): the length decides its form on the wire.
    String(AmfString),
    /// An anonymous object (AMF 0 §2.5).
    Object(Object),
    /// Null (AMF 0 §2.7).
    Null,
    /// Undefined (AMF 0 §2.8).
    Undefined,
    /// An array with names instead of numbers (AMF 0 §2.10): the usual argument of `onMetaData`.
    EcmaArray(Object),
    /// An array of values (AMF 0 §2.12).
    StrictArray(Vec<Value>),
    /// A point in time (AMF 0 §2.13).
    Date {
        /// Milliseconds since 1970-01-01 00:00 UTC.
        ms: f64,
        /// Reserved: should be ignored and sent as 0. Kept so that a relayed value stays unchanged.
        time_zone: i16,
    },
    /// A value that the sender could not express (AMF 0 §2.15).
    Unsupported,
    /// XML text (AMF 0 §2.17).
    XmlDocument(AmfString),
    /// An object of a named class (AMF 0 §2.18).
    TypedObject {
        /// The class name, which both sides registered.
        class: AmfString,
        /// Its properties.
        object: Object,
    },
    /// An AMF 3 value (AMF 0 §3.1). Flash sends them in messages of type 17 and 15.
    Amf3(Box<amf3::Value>),
}

impl Value {
    /// The number, also of an AMF 3 integer or double.
    #[must_use]
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Amf3(value) => value.as_number(),
            _ => None,
        }
    }

    /// The string, also of an AMF 3 string.
    #[must_use]
    pub fn as_string(&self) -> Option<&AmfString> {
        match self {
            Self::String(string) => Some(string),
            Self::Amf3(value) => value.as_string(),
            _ => None,
        }
    }

    /// The text of [`as_string`](Self::as_string), unless it is not UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.as_string().and_then(AmfString::as_str)
    }

    /// The value of a Boolean, or of a number as a Boolean: any number except 0 and NaN is true, as in ActionScript.
    /// Some clients send `1` as a Boolean.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(truth) => Some(*truth),
            Self::Amf3(value) => value.as_bool(),
            _ => self.as_number().map(|number| number != 0.0 && !number.is_nan()),
        }
    }

    /// The properties of an object, an ECMA array or a typed object: encoders use them interchangeably.
    ///
    /// `None` for an AMF 3 object; convert it to an AMF 0 object first, with [`into_amf0`](Self::into_amf0).
    #[must_use]
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) | Self::EcmaArray(object) | Self::TypedObject { object, .. } => Some(object),
            _ => None,
        }
    }

    /// The elements of a strict array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::StrictArray(values) => Some(values),
            _ => None,
        }
    }

    /// Whether this is null or undefined, of either format: both mean "no argument".
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        match self {
            Self::Null | Self::Undefined => true,
            Self::Amf3(value) => matches!(**value, amf3::Value::Null | amf3::Value::Undefined),
            _ => false,
        }
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(f64::from(number))
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Boolean(truth)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl From<AmfString> for Value {
    fn from(string: AmfString) -> Self {
        Self::String(string)
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

impl From<Vec<Value>> for Value {
    fn from(values: Vec<Value>) -> Self {
        Self::StrictArray(values)
    }
}

impl From<amf3::Value> for Value {
    fn from(value: amf3::Value) -> Self {
        Self::Amf3(Box::new(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_serve_as_booleans() {
        assert_eq!(Value::from(1_u32).as_bool(), Some(true));
        assert_eq!(Value::from(-0.0).as_bool(), Some(false));
        assert_eq!(Value::from(f64::NAN).as_bool(), Some(false));
        assert_eq!(Value::from(false).as_bool(), Some(false));
        assert_eq!(Value::from("true").as_bool(), None);
        assert_eq!(Value::from(amf3::Value::Integer(2)).as_bool(), Some(true));
    }

    #[test]
    fn an_amf3_value_is_read_like_an_amf0_one() {
        assert_eq!(Value::from(amf3::Value::Integer(-5)).as_number(), Some(-5.0));
        assert_eq!(Value::from(amf3::Value::String("live".into())).as_str(), Some("live"));
        assert!(Value::from(amf3::Value::Undefined).is_nothing());
        assert!(!Value::from(amf3::Value::Integer(0)).is_nothing());
    }

    #[test]
    fn every_kind_of_object_lends_its_properties() {
        let object = Object::new().with("a", 1.0);
        for value in [
            Value::Object(object.clone()),
            Value::EcmaArray(object.clone()),
            Value::TypedObject { class: "C".into(), object: object.clone() },
        ] {
            assert_eq!(value.as_object(), Some(&object));
        }
        assert_eq!(Value::Null.as_object(), None);
    }
}
