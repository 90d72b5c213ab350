//! Named values in order: the content of objects and associative arrays.

use std::slice;

use super::{AmfString, Value};

/// The properties of an AMF 0 object or ECMA array.
pub type Object = Properties<Value>;

/// Named values in the order in which their names first appeared; each name once.
///
/// `V` is [`Value`] in AMF 0 ([`Object`]) and [`amf3::Value`](super::amf3::Value) in AMF 3. Names are compared as
/// bytes, so case matters. A lookup searches all names, because objects on the wire have few.
#[derive(Clone, Debug, PartialEq)]
pub struct Properties<V> {
    entries: Vec<(AmfString, V)>,
}

/// Above this many properties, duplicate names are found by sorting: comparing each name with all others would cost
/// millions of comparisons for a message with a few thousand names.
const COMPARE_ALL: usize = 16;

impl<V> Properties<V> {
    /// No properties.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// These properties with `key` set to `value`, to build an object in one expression.
    #[must_use]
    pub fn with(mut self, key: impl Into<AmfString>, value: impl Into<V>) -> Self {
        self.insert(key, value);
        self
    }

    /// Sets `key` to `value` and returns its previous value. A known name keeps its place, a new name becomes the last.
    pub fn insert(&mut self, key: impl Into<AmfString>, value: impl Into<V>) -> Option<V> {
        let (key, value) = (key.into(), value.into());
        match self.entries.iter_mut().find(|(known, _)| *known == key) {
            Some((_, slot)) => Some(std::mem::replace(slot, value)),
            None => {
                self.entries.push((key, value));
                None
            }
        }
    }

    /// Removes `key` and returns its value; the others keep their order.
    pub fn remove(&mut self, key: &str) -> Option<V> {
        let index = self.entries.iter().position(|(known, _)| *known == *key)?;
        Some(self.entries.remove(index).1)
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&V> {
        self.iter().find(|(known, _)| **known == *key).map(|(_, value)| value)
    }

    /// The value of `key`, mutable.
    #[must_use]
    pub fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        self.entries.iter_mut().find(|(known, _)| *known == *key).map(|(_, value)| value)
    }

    /// Whether there is a property `key`.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The properties in order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, V> {
        Iter { entries: self.entries.iter() }
    }

    /// Number of properties.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keeps only the properties for which `keep` returns true.
    pub fn retain(&mut self, mut keep: impl FnMut(&AmfString, &mut V) -> bool) {
        self.entries.retain_mut(|(key, value)| keep(key, value));
    }

    /// The same names with `convert` applied to the values.
    pub(crate) fn map<W>(self, mut convert: impl FnMut(V) -> W) -> Properties<W> {
        let entries = self.entries.into_iter();
        Properties { entries: entries.map(|(key, value)| (key, convert(value))).collect() }
    }

    /// Properties in the order of `entries`. A name that occurs twice has the place of the first and the value of the
    /// last, as if they were set one after the other. Takes O(n log n).
    pub(crate) fn from_entries(mut entries: Vec<(AmfString, V)>) -> Self {
        if entries.len() <= COMPARE_ALL {
            let mut properties = Self { entries: Vec::with_capacity(entries.len()) };
            for (key, value) in entries {
                properties.insert(key, value);
            }
            return properties;
        }
        let mut order: Vec<usize> = (0..entries.len()).collect();
        let key = |index: &usize| entries.get(*index).map(|(key, _)| key);
        order.sort_by(|a, b| key(a).cmp(&key(b)).then(a.cmp(b)));
        let mut keep = vec![true; entries.len()];
        let mut moves = Vec::new();
        for same in order.chunk_by(|a, b| key(a) == key(b)) {
            if let [first, .., last] = same {
                moves.push((*first, *last));
                for index in same.iter().skip(1) {
                    if let Some(keep) = keep.get_mut(*index) {
                        *keep = false;
                    }
                }
            }
        }
        for (first, last) in moves {
            entries.swap(first, last);
        }
        let mut keep = keep.into_iter();
        entries.retain(|_| keep.next().unwrap_or(true));
        Self { entries }
    }
}

impl<V> Default for Properties<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Into<AmfString>, T: Into<V>, V> FromIterator<(K, T)> for Properties<V> {
    fn from_iter<I: IntoIterator<Item = (K, T)>>(iter: I) -> Self {
        Self::from_entries(iter.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

impl<V> IntoIterator for Properties<V> {
    type Item = (AmfString, V);
    type IntoIter = std::vec::IntoIter<(AmfString, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<'a, V> IntoIterator for &'a Properties<V> {
    type Item = (&'a AmfString, &'a V);
    type IntoIter = Iter<'a, V>;

    fn into_iter(self) -> Iter<'a, V> {
        self.iter()
    }
}

/// The properties of an object in order; made by [`Properties::iter`].
#[derive(Clone, Debug)]
pub struct Iter<'a, V> {
    entries: slice::Iter<'a, (AmfString, V)>,
}

impl<'a, V> Iterator for Iter<'a, V> {
    type Item = (&'a AmfString, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        self.entries.next().map(|(key, value)| (key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl<V> DoubleEndedIterator for Iter<'_, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.entries.next_back().map(|(key, value)| (key, value))
    }
}

impl<V> ExactSizeIterator for Iter<'_, V> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insert_replaces_in_place_and_remove_keeps_the_order() {
        let mut object = Object::new().with("a", 1.0).with("b", 2.0).with("c", 3.0);
        assert_eq!(object.insert("a", true), Some(Value::Number(1.0)));
        assert_eq!(object.remove("b"), Some(Value::Number(2.0)));
        assert_eq!(object.remove("b"), None);
        let names: Vec<String> = object.iter().map(|(key, _)| key.to_string()).collect();
        assert_eq!(names, ["a", "c"]);
        assert_eq!(object.get("a"), Some(&Value::Boolean(true)));
        assert_eq!(object.get("A"), None);
    }

    #[test]
    fn many_duplicates_collapse_as_few_do() {
        for names in [3_usize, 7, 50] {
            for total in 1..200_usize {
                let key = |index: usize| (index * 31 % names).to_string();
                let collapsed: Object = (0..total).map(|i| (key(i), i.to_string())).collect();
                let mut inserted = Object::new();
                for index in 0..total {
                    inserted.insert(key(index), index.to_string());
                }
                assert_eq!(collapsed, inserted, "{total} entries of {names} names");
            }
        }
    }
}
