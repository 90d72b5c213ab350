use std::fmt::Write;

use anabranch_core::conn::Config;
use anabranch_program::Masked;
use toml::Value;

use super::load::{Loaded, Sources};
use super::schema::Schema;
use super::tree::{Node, Origin, Path, Table};

/// A value of the configuration in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShownValue {
    /// The path of its key.
    pub(crate) key: String,
    /// The value as TOML. Secrets are masked.
    pub(crate) value: String,
    pub(crate) origin: String,
    pub(crate) is_default: bool,
}

/// Shown instead of a secret.
pub(super) const MASK: &str = "***";
/// The column where comments begin, unless the line is longer.
const COLUMN: usize = 44;

impl Loaded {
    /// The configuration in force as TOML, each value with its origin. Secrets are masked.
    pub(crate) fn show(&self) -> String {
        let mut shown = Show { schema: Schema::inlined(), out: String::new() };
        if let Some(table) = self.tree.table() {
            shown.table(table, &Path::default(), "");
        }
        shown.out
    }

    /// The same as a list.
    pub(crate) fn values(&self) -> Vec<ShownValue> {
        let shown = Show { schema: Schema::inlined(), out: String::new() };
        let mut values = Vec::new();
        shown.values(&self.tree, &Path::default(), &mut values);
        values
    }

    /// What a replay of a capture needs, after the line `program`. It leaves out what only decides about grants,
    /// because the capture holds these decisions, and secrets.
    pub(crate) fn capture_header(&self, program: &str) -> String {
        let schema = Schema::inlined();
        let mut tree = Table::default();
        for (key, node) in self.tree.table().into_iter().flat_map(Table::iter) {
            if matches!(key, "server" | "web" | "defaults" | "vhost") {
                tree.insert(key, node.clone());
            }
        }
        let mut tree = Node::Table(tree, self.tree.origin().clone());
        prune(&mut tree, &Path::default(), &|path| {
            schema.needs_restart(path) || schema.is_secret(path) || schema.is_ruled(path)
        });
        // A table of plain values can always be written.
        format!("{program}\n{}", toml::to_string(&tree.value()).unwrap_or_default())
    }

    /// Keys whose value is different in `new`.
    pub(crate) fn changes(&self, new: &Loaded) -> Vec<String> {
        self.differences(new).iter().map(ToString::to_string).collect()
    }

    fn differences(&self, new: &Loaded) -> Vec<Path> {
        let mut found = Vec::new();
        differences(&self.tree, &new.tree, &Path::default(), &mut found);
        found
    }

    /// Keys whose value is different in `new` and that cannot change while the server runs.
    pub(crate) fn fixed_changes(&self, new: &Loaded) -> Vec<String> {
        let schema = Schema::inlined();
        let changed = self.differences(new);
        changed.iter().filter(|path| schema.needs_restart(path)).map(ToString::to_string).collect()
    }
}

/// Reads the configuration in a capture's header, after its first line.
///
/// # Errors
/// It is not a configuration of this program.
pub(crate) fn of_capture(header: &str) -> Result<Config, String> {
    let text = header.split_once('\n').map_or("", |(_, text)| text);
    let loaded = Sources::default().load_text("the capture's header", &with_todays_names(text));
    loaded.map(|loaded| loaded.config).map_err(|problems| problems.to_string())
}

/// Captures live longer than names of keys: `play.merge_window` is `pacing.merge_window` now.
fn with_todays_names(text: &str) -> String {
    let Ok(mut root) = text.parse::<toml::Table>() else {
        return text.to_owned();
    };
    let vhosts = root.get_mut("vhost").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
    let rename = |mut host: Value| {
        let window = host.get_mut("play").and_then(Value::as_table_mut).and_then(|play| play.remove("merge_window"));
        if let (Some(window), Some(host)) = (window, host.as_table_mut()) {
            let pacing = host.entry("pacing").or_insert_with(|| toml::Table::new().into());
            _ = pacing.as_table_mut().map(|pacing| pacing.insert("merge_window".to_owned(), window));
        }
        host
    };
    if let Some(defaults) = root.remove("defaults") {
        root.insert("defaults".to_owned(), rename(defaults));
    }
    if !vhosts.is_empty() {
        root.insert("vhost".to_owned(), vhosts.into_iter().map(rename).collect::<Vec<_>>().into());
    }
    toml::to_string(&root).unwrap_or_else(|_| text.to_owned())
}

fn prune(node: &mut Node, path: &Path, is_out: &dyn Fn(&Path) -> bool) {
    match node {
        Node::Table(table, _) => {
            let keys: Vec<String> = table.iter().map(|(key, _)| key.to_owned()).collect();
            for key in keys {
                let path = path.key(&key);
                if is_out(&path) {
                    table.remove(&key);
                } else if let Some(node) = table.get_mut(&key) {
                    prune(node, &path, is_out);
                }
            }
        }
        Node::List(items, _) => {
            for (index, item) in items.iter_mut().enumerate() {
                prune(item, &path.index(index), is_out);
            }
        }
        // A replay needs to know that a hook is set, but not the credentials in its URL.
        Node::Leaf(Value::String(url), _) if url.contains("://") => *url = Masked(url).to_string(),
        Node::Leaf(..) => {}
    }
}

/// The paths where two trees differ; for lists of different length, the path of the list.
fn differences(old: &Node, new: &Node, path: &Path, found: &mut Vec<Path>) {
    match (old, new) {
        (Node::Table(old, _), Node::Table(new, _)) => {
            let (nothing, none) = (Node::Table(Table::default(), Origin::Default), Node::NONE);
            for (key, node) in old.iter() {
                let other = new.get(key).unwrap_or(if node.table().is_some() { &nothing } else { &none });
                differences(node, other, &path.key(key), found);
            }
            for (key, node) in new.iter().filter(|(key, _)| old.get(key).is_none()) {
                let other = if node.table().is_some() { &nothing } else { &none };
                differences(other, node, &path.key(key), found);
            }
        }
        (Node::List(old, _), Node::List(new, _))
            if old.len() == new.len() && new.iter().any(|node| node.table().is_some()) =>
        {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                differences(old, new, &path.index(index), found);
            }
        }
        _ if old.value() != new.value() => found.push(path.clone()),
        _ => {}
    }
}

struct Show {
    schema: Schema,
    out: String,
}

impl Show {
    /// First the table's own values, then the tables in it.
    fn table(&mut self, table: &Table, path: &Path, name: &str) {
        let mut inner = Vec::new();
        for (key, node) in table.iter() {
            let path = path.key(key);
            let is_list_of_tables = self.schema.at(&path).is_some_and(|entry| entry.is_list_of_tables());
            if node.table().is_some() || is_list_of_tables {
                inner.push((key, node, path));
            } else {
                let line = format!("{} = {}", bare(key), self.masked(node, &path));
                let _ = writeln!(self.out, "{line:COLUMN$} # {}", node.origin());
            }
        }
        for (key, node, path) in inner {
            let name = if name.is_empty() { bare(key) } else { format!("{name}.{}", bare(key)) };
            match node {
                Node::Table(inner, _) => {
                    let is_value = |(key, node): (&str, &Node)| {
                        let entry = self.schema.at(&path.key(key));
                        node.table().is_none() && !entry.is_some_and(|entry| entry.is_list_of_tables())
                    };
                    if inner.iter().any(is_value) {
                        let _ = writeln!(self.out, "\n[{name}]");
                    }
                    self.table(inner, &path, &name);
                }
                Node::List(items, _) => {
                    for (index, item) in items.iter().enumerate() {
                        let _ = writeln!(
                            self.out,
                            "\n[[{name}]]{:width$} # {}",
                            "",
                            item.origin(),
                            width = COLUMN.saturating_sub(name.len() + 4)
                        );
                        if let Some(inner) = item.table() {
                            self.table(inner, &path.index(index), &name);
                        }
                    }
                }
                Node::Leaf(..) => {}
            }
        }
    }

    fn values(&self, node: &Node, path: &Path, values: &mut Vec<ShownValue>) {
        match node {
            Node::Table(table, _) => {
                for (key, node) in table.iter() {
                    self.values(node, &path.key(key), values);
                }
            }
            Node::List(items, _) if self.schema.at(path).is_some_and(|entry| entry.is_list_of_tables()) => {
                for (index, item) in items.iter().enumerate() {
                    self.values(item, &path.index(index), values);
                }
            }
            _ => values.push(ShownValue {
                key: path.to_string(),
                value: self.masked(node, path).to_string(),
                origin: node.origin().to_string(),
                is_default: *node.origin() == Origin::Default,
            }),
        }
    }

    fn masked(&self, node: &Node, path: &Path) -> Value {
        match node {
            Node::List(items, _) => {
                let item = |(index, item)| self.masked(item, &path.index(index));
                Value::Array(items.iter().enumerate().map(item).collect())
            }
            Node::Table(table, _) => Value::Table(
                table.iter().map(|(key, node)| (key.to_owned(), self.masked(node, &path.key(key)))).collect(),
            ),
            Node::Leaf(Value::String(text), _) if text.is_empty() => Value::String(String::new()),
            Node::Leaf(..) if self.schema.is_secret(path) => Value::String(MASK.to_owned()),
            Node::Leaf(Value::String(url), _) if url.contains("://") => Value::String(Masked(url).to_string()),
            Node::Leaf(value, _) => value.clone(),
        }
    }
}

/// A key as it is written in a file, with quotes if it needs them.
pub(super) fn bare(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(plain) { key.to_owned() } else { Value::String(key.to_owned()).to_string() }
}
