use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use schemars::{Schema, json_schema};
use serde::de::{self, Visitor};

/// A type that has a text form in the configuration.
pub(crate) trait Written: Sized {
    /// The name of its schema.
    const NAME: &'static str;
    /// The text form, described for error messages.
    const FORM: &'static str;

    fn read(text: &str) -> Result<Self, String>;
    fn write(&self) -> String;

    /// Reads a number that is written without quotes.
    fn read_number(number: i64) -> Result<Self, String> {
        Self::read(&number.to_string())
    }

    /// The number that the value is written as, if it is one.
    fn number(&self) -> Option<i64> {
        None
    }

    /// Its schema.
    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

pub(crate) struct Reader<T>(PhantomData<T>);

impl<T> Default for Reader<T> {
    fn default() -> Self {
        Reader(PhantomData)
    }
}

impl<T: Written> Visitor<'_> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::FORM)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::read(text).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        T::read_number(number).map_err(E::custom)
    }
}

/// Makes types that are [`Written`] values of the configuration.
macro_rules! written {
    ($([$($parameter:ident: $bound:ident)?] $type:ty;)*) => {$(
        impl<'de $(, $parameter: $bound)?> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any($crate::settings::written::Reader::default())
            }
        }

        impl $(<$parameter: $bound>)? serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match $crate::settings::written::Written::number(self) {
                    Some(number) => serializer.serialize_i64(number),
                    None => serializer.serialize_str(&$crate::settings::written::Written::write(self)),
                }
            }
        }

        impl $(<$parameter: $bound>)? schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                <$type as $crate::settings::written::Written>::NAME.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                <$type as $crate::settings::written::Written>::schema()
            }
        }
    )*};
}

pub(crate) use written;

written! {
    [T: Text] Of<T>;
}

/// A type of another crate that has a text form (`FromStr`).
pub(crate) trait Text: FromStr<Err: fmt::Display> {
    const FORM: &'static str;

    fn text(&self) -> String;
}

/// Such a type in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Of<T>(pub(crate) T);

impl<T: Text> Written for Of<T> {
    const NAME: &'static str = T::FORM;
    const FORM: &'static str = T::FORM;

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map(Of).map_err(|error: T::Err| error.to_string())
    }

    fn write(&self) -> String {
        self.0.text()
    }
}
