//! The configuration as a tree of values, each with its origin: line and column of a file, a variable, an option.
//!
//! Written by hand, because every error names the origin. serde forgets it when it makes settings of values, and the
//! libraries that merge sources know the name of a file at most.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use toml::Value;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// A value in the configuration with its origin. serde converts the values into settings, but loses the origins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Leaf(Value, Origin),
    Table(Table, Origin),
    List(Vec<Node>, Origin),
}

/// The keys of a table, in the order in which they are shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Table(Vec<(String, Node)>);

/// The origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File {
        name: Arc<str>,
        line: usize,
        column: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A command line option.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Origin::Variable(name) => write!(f, "environment variable {name}"),
            Origin::Flag(name) => write!(f, "option {name}"),
        }
    }
}

/// The path to a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path(pub(crate) Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

impl Path {
    pub(crate) fn of(keys: &[&str]) -> Self {
        Path(keys.iter().map(|key| Step::Key((*key).to_owned())).collect())
    }

    pub(crate) fn key(&self, key: &str) -> Self {
        self.and(Step::Key(key.to_owned()))
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        self.and(Step::Index(index))
    }

    fn and(&self, step: Step) -> Self {
        let mut path = self.clone();
        path.0.push(step);
        path
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if position == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl Table {
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.0.iter_mut().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    pub(crate) fn insert(&mut self, key: &str, node: Node) {
        match self.get_mut(key) {
            Some(old) => *old = node,
            None => self.0.push((key.to_owned(), node)),
        }
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<Node> {
        let index = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.remove(index).1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(key, node)| (key.as_str(), node))
    }
}

impl Node {
    /// The value of a key that is not there.
    pub(crate) const NONE: Node = Node::List(Vec::new(), Origin::Default);

    /// A value that has one origin as a whole.
    pub(crate) fn new(value: Value, origin: &Origin) -> Self {
        match value {
            Value::Table(table) => {
                let entries = table.into_iter().map(|(key, value)| (key, Node::new(value, origin)));
                Node::Table(Table(entries.collect()), origin.clone())
            }
            Value::Array(items) => {
                Node::List(items.into_iter().map(|item| Node::new(item, origin)).collect(), origin.clone())
            }
            value => Node::Leaf(value, origin.clone()),
        }
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// It is not TOML; all places that could be found.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, Vec<(Origin, String)>> {
        let places = Places::new(name, text);
        let (table, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return places.table(table.get_ref(), Origin::Default).map_err(|error| vec![error]);
        }
        let place = |error: &toml::de::Error| places.at(error.span().map_or(0, |span| span.start));
        Err(errors.iter().map(|error| (place(error), error.message().to_owned())).collect())
    }

    pub(crate) fn value(&self) -> Value {
        match self {
            Node::Leaf(value, _) => value.clone(),
            Node::Table(table, _) => {
                Value::Table(table.iter().map(|(key, node)| (key.to_owned(), node.value())).collect())
            }
            Node::List(items, _) => Value::Array(items.iter().map(Node::value).collect()),
        }
    }

    pub(crate) fn origin(&self) -> &Origin {
        match self {
            Node::Leaf(_, origin) | Node::Table(_, origin) | Node::List(_, origin) => origin,
        }
    }

    pub(crate) fn table(&self) -> Option<&Table> {
        if let Node::Table(table, _) = self { Some(table) } else { None }
    }

    pub(crate) fn table_mut(&mut self) -> Option<&mut Table> {
        if let Node::Table(table, _) = self { Some(table) } else { None }
    }

    /// The value at the path, or the last value on the way to it.
    pub(crate) fn nearest(&self, path: &Path) -> &Node {
        let mut node = self;
        for step in &path.0 {
            match node.step(step) {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    pub(crate) fn get(&self, path: &Path) -> Option<&Node> {
        path.0.iter().try_fold(self, |node, step| node.step(step))
    }

    pub(crate) fn get_mut(&mut self, path: &Path) -> Option<&mut Node> {
        path.0.iter().try_fold(self, |node, step| match (node, step) {
            (Node::Table(table, _), Step::Key(key)) => table.get_mut(key),
            (Node::List(items, _), Step::Index(index)) => items.get_mut(*index),
            _ => None,
        })
    }

    fn step(&self, step: &Step) -> Option<&Node> {
        match (self, step) {
            (Node::Table(table, _), Step::Key(key)) => table.get(key),
            (Node::List(items, _), Step::Index(index)) => items.get(*index),
            _ => None,
        }
    }

    /// Merges `over` into this value: tables are merged key by key, other values are replaced.
    pub(crate) fn overlay(&mut self, over: Node) {
        match (self, over) {
            (Node::Table(below, _), Node::Table(above, _)) => {
                for (key, node) in above.0 {
                    match below.get_mut(&key) {
                        Some(old) => old.overlay(node),
                        None => below.0.push((key, node)),
                    }
                }
            }
            (below, above) => *below = above,
        }
    }

    /// Sets the value at the path, and creates the tables and the list's next item on the way to it.
    ///
    /// # Errors
    /// The path leads past the end of a list, or through a value that is not a table.
    pub(crate) fn set(&mut self, path: &Path, value: Node) -> Result<(), String> {
        let origin = value.origin().clone();
        let mut node = self;
        for (position, step) in path.0.iter().enumerate() {
            let empty = || match path.0.get(position + 1) {
                Some(Step::Index(_)) => Node::List(Vec::new(), origin.clone()),
                _ => Node::Table(Table::default(), origin.clone()),
            };
            node = match (node, step) {
                (Node::Table(table, _), Step::Key(key)) => {
                    if table.get(key).is_none() {
                        table.insert(key, empty());
                    }
                    table.get_mut(key).ok_or("no such key")?
                }
                (Node::List(items, _), Step::Index(index)) => {
                    if items.len() == *index {
                        items.push(empty());
                    }
                    let length = items.len();
                    items.get_mut(*index).ok_or_else(|| format!("the list has only {length} items before it"))?
                }
                (_, Step::Key(_)) => return Err("its parent is not a table".to_owned()),
                (_, Step::Index(_)) => return Err("its parent is not a list".to_owned()),
            };
        }
        *node = value;
        Ok(())
    }
}

/// Finds lines and columns.
struct Places<'a> {
    name: Arc<str>,
    text: &'a str,
    /// The ends of the lines. A file with thousands of virtual hosts has many keys, and each is looked up.
    ends: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(name: &str, text: &'a str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at).collect();
        Places { name: name.into(), text, ends }
    }

    fn at(&self, offset: usize) -> Origin {
        let offset = offset.min(self.text.len());
        let before = self.ends.partition_point(|end| *end < offset);
        let start = before.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(0, |end| end + 1);
        let (line, column) = (before + 1, self.text.get(start..offset).map_or(0, |text| text.chars().count()) + 1);
        Origin::File { name: self.name.clone(), line, column }
    }

    fn table(&self, table: &DeTable<'_>, origin: Origin) -> Result<Node, (Origin, String)> {
        let mut entries = Vec::new();
        for (key, value) in table {
            let origin = self.at(key.span().start);
            let node = self.node(value, origin)?;
            entries.push((key.get_ref().to_string(), node));
        }
        Ok(Node::Table(Table(entries), origin))
    }

    fn node(&self, value: &toml::Spanned<DeValue<'_>>, origin: Origin) -> Result<Node, (Origin, String)> {
        match value.get_ref() {
            DeValue::Table(table) => self.table(table, origin),
            DeValue::Array(items) => {
                let item = |item: &toml::Spanned<DeValue<'_>>| self.node(item, self.at(item.span().start));
                Ok(Node::List(items.iter().map(item).collect::<Result<_, _>>()?, origin))
            }
            // An integer too large for its type is found here.
            _ => match Value::deserialize(ValueDeserializer::from(value.clone())) {
                Ok(value) => Ok(Node::Leaf(value, origin)),
                Err(error) => Err((origin, error.message().to_owned())),
            },
        }
    }
}
