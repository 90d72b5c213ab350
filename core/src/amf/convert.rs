//! Conversion of AMF 3 values to AMF 0, for players that do not use object encoding 3.

use super::{AmfString, MAX_DEPTH, Object, Properties, Value, amf3};

impl Value {
    /// The AMF 0 equivalent of an AMF 3 value.
    ///
    /// | AMF 3 | AMF 0 |
    /// |---|---|
    /// | integer, double | number |
    /// | Boolean, string, null, undefined, date | the same |
    /// | XML of either class | XML document |
    /// | array without names | strict array |
    /// | array with names | ECMA array: the names, then the numbered elements as "0", "1", ... |
    /// | object | object, or typed object if its class has a name: sealed members, then dynamic ones |
    /// | wrapper class of Flex | the wrapped value |
    /// | vector | strict array |
    /// | dictionary with strings and numbers for keys | ECMA array |
    /// | other dictionary, byte array, class of unknown format | unsupported |
    ///
    /// A value inside more than [`MAX_DEPTH`] containers becomes unsupported too.
    #[must_use]
    pub fn from_amf3(value: amf3::Value) -> Self {
        from_amf3(value, 0)
    }

    /// This value with every AMF 3 value in it, itself included, converted by [`from_amf3`](Self::from_amf3).
    #[must_use]
    pub fn into_amf0(self) -> Self {
        into_amf0(self, 0)
    }
}

fn into_amf0(value: Value, depth: usize) -> Value {
    let inner = |value| into_amf0(value, depth + 1);
    match value {
        Value::Amf3(value) => from_amf3(*value, depth),
        Value::Object(_) | Value::EcmaArray(_) | Value::StrictArray(_) | Value::TypedObject { .. }
            if depth >= MAX_DEPTH =>
        {
            Value::Unsupported
        }
        Value::Object(object) => Value::Object(object.map(inner)),
        Value::EcmaArray(object) => Value::EcmaArray(object.map(inner)),
        Value::TypedObject { class, object } => Value::TypedObject { class, object: object.map(inner) },
        Value::StrictArray(values) => Value::StrictArray(values.into_iter().map(inner).collect()),
        Value::Number(_)
        | Value::Boolean(_)
        | Value::String(_)
        | Value::Null
        | Value::Undefined
        | Value::Date { .. }
        | Value::Unsupported
        | Value::XmlDocument(_) => value,
    }
}

fn from_amf3(value: amf3::Value, depth: usize) -> Value {
    let inner = |value| from_amf3(value, depth + 1);
    match value {
        amf3::Value::Undefined => Value::Undefined,
        amf3::Value::Null => Value::Null,
        amf3::Value::Boolean(truth) => Value::Boolean(truth),
        amf3::Value::Integer(integer) => Value::Number(integer.into()),
        amf3::Value::Double(number) => Value::Number(number),
        amf3::Value::String(string) => Value::String(string),
        amf3::Value::XmlDocument(xml) | amf3::Value::Xml(xml) => Value::XmlDocument(xml),
        amf3::Value::Date { ms } => Value::Date { ms, time_zone: 0 },
        amf3::Value::VectorInt { items, .. } => numbers(items),
        amf3::Value::VectorUint { items, .. } => numbers(items),
        amf3::Value::VectorDouble { items, .. } => numbers(items),
        // As numbers, byte arrays would take nine times the space, and no client expects them.
        amf3::Value::ByteArray(_) | amf3::Value::Externalizable { content: amf3::Externalized::Opaque(_), .. } => {
            Value::Unsupported
        }
        amf3::Value::Array { .. }
        | amf3::Value::Object(_)
        | amf3::Value::Externalizable { .. }
        | amf3::Value::VectorObject { .. }
        | amf3::Value::Dictionary { .. }
            if depth >= MAX_DEPTH =>
        {
            Value::Unsupported
        }
        amf3::Value::Array { assoc, dense } if assoc.is_empty() => {
            Value::StrictArray(dense.into_iter().map(inner).collect())
        }
        amf3::Value::Array { assoc, dense } => {
            let numbered =
                dense.into_iter().enumerate().map(|(index, value)| (AmfString::from(index.to_string()), value));
            Value::EcmaArray(assoc.into_iter().chain(numbered).map(|(key, value)| (key, inner(value))).collect())
        }
        amf3::Value::Object(amf3::Object { class, sealed, dynamic }) => {
            let object: Object =
                sealed.into_iter().chain(dynamic.unwrap_or_default()).map(|(key, value)| (key, inner(value))).collect();
            if class.is_empty() { Value::Object(object) } else { Value::TypedObject { class, object } }
        }
        amf3::Value::Externalizable { content: amf3::Externalized::Value(value), .. } => inner(*value),
        amf3::Value::VectorObject { items, .. } => Value::StrictArray(items.into_iter().map(inner).collect()),
        amf3::Value::Dictionary { entries, .. } => entries
            .into_iter()
            .map(|(key, value)| Some((name(key)?, inner(value))))
            .collect::<Option<Vec<_>>>()
            .map_or(Value::Unsupported, |entries| Value::EcmaArray(Properties::from_entries(entries))),
    }
}

fn numbers<T: Into<f64>>(items: Vec<T>) -> Value {
    Value::StrictArray(items.into_iter().map(|item| Value::Number(item.into())).collect())
}

/// The property name for a key of a dictionary.
fn name(key: amf3::Value) -> Option<AmfString> {
    match key {
        amf3::Value::String(string) => Some(string),
        amf3::Value::Integer(integer) => Some(integer.to_string().into()),
        amf3::Value::Double(number) => Some(number.to_string().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn array(assoc: Properties<amf3::Value>, dense: Vec<amf3::Value>) -> amf3::Value {
        amf3::Value::Array { assoc, dense }
    }

    #[test]
    fn arrays_become_strict_unless_they_have_names() {
        let dense = vec![amf3::Value::Integer(7), amf3::Value::Boolean(true)];
        assert_eq!(
            Value::from_amf3(array(Properties::new(), dense.clone())),
            Value::StrictArray(vec![7.0.into(), true.into()])
        );
        let assoc = Properties::new().with("a", amf3::Value::Null);
        assert_eq!(
            Value::from_amf3(array(assoc, dense)),
            Value::EcmaArray(Object::new().with("a", Value::Null).with("0", 7.0).with("1", true))
        );
    }

    #[test]
    fn objects_keep_a_class_that_has_a_name() {
        let object = amf3::Object {
            class: "C".into(),
            sealed: Properties::new().with("x", amf3::Value::Integer(5)),
            dynamic: Some(Properties::new().with("y", amf3::Value::Double(0.5))),
        };
        let members = Object::new().with("x", 5.0).with("y", 0.5);
        let anonymous = amf3::Object { class: AmfString::default(), ..object.clone() };
        assert_eq!(Value::from_amf3(object.into()), Value::TypedObject { class: "C".into(), object: members.clone() });
        assert_eq!(Value::from_amf3(anonymous.into()), Value::Object(members));
    }

    #[test]
    fn dictionaries_need_keys_that_are_names() {
        let entries = vec![
            (amf3::Value::String("a".into()), amf3::Value::Integer(1)),
            (amf3::Value::Integer(2), amf3::Value::Null),
        ];
        let dictionary = |entries| amf3::Value::Dictionary { weak: false, entries };
        assert_eq!(
            Value::from_amf3(dictionary(entries)),
            Value::EcmaArray(Object::new().with("a", 1.0).with("2", Value::Null))
        );
        let entries = vec![(amf3::Value::Null, amf3::Value::Null)];
        assert_eq!(Value::from_amf3(dictionary(entries)), Value::Unsupported);
    }

    #[test]
    fn an_array_collection_is_what_it_wraps_and_bytes_are_nothing() {
        let wrapped = array(Properties::new(), vec![amf3::Value::ByteArray(Bytes::from_static(b"x"))]);
        assert_eq!(
            Value::from_amf3(amf3::Value::Externalizable {
                class: "flex.messaging.io.ArrayCollection".into(),
                content: amf3::Externalized::Value(Box::new(wrapped)),
            }),
            Value::StrictArray(vec![Value::Unsupported])
        );
    }

    #[test]
    fn into_amf0_reaches_into_containers() {
        let value = Value::StrictArray(vec![Value::Object(Object::new().with("a", amf3::Value::Integer(1)))]);
        assert_eq!(value.into_amf0(), Value::StrictArray(vec![Value::Object(Object::new().with("a", 1.0))]));
    }

    #[test]
    fn values_too_deep_to_recurse_into_are_cut() {
        let mut value = amf3::Value::Null;
        for _ in 0..2000 {
            value = array(Properties::new(), vec![value]);
        }
        let mut depth = 0;
        let mut converted = &Value::from(value).into_amf0();
        while let Some([inner]) = converted.as_array() {
            depth += 1;
            converted = inner;
        }
        assert_eq!((depth, converted), (MAX_DEPTH, &Value::Unsupported));
    }
}
