use toml::Value;

use super::schema::{Entry, Schema, unknown};
use super::tree::{Node, Origin, Path, Step};

/// The variable's name begins with this: `ANABRANCH__SERVER__LISTEN`, `ANABRANCH__VHOST__0__LIMITS__PLAYERS`.
const PREFIX: &str = "ANABRANCH__";
const SEPARATOR: &str = "__";

/// Replaces values of the tree by those of the variables that name keys.
pub(crate) fn overlay(
    tree: &mut Node,
    variables: &[(String, String)],
    schema: &Schema,
    found: &mut Vec<(Origin, Path, String)>,
) {
    let ours = variables.iter().filter(|(name, text)| name.starts_with(PREFIX) && !text.is_empty());
    let mut ours: Vec<_> = ours.map(|(name, text)| (path(name), name, text)).collect();
    // Items of a list in the order of their index.
    ours.sort();
    for (path, name, text) in ours {
        let origin = Origin::Variable(name.clone());
        let done = match entry(schema, &path) {
            Ok(entry) => tree.set(&path, Node::new(value(entry, text), &origin)),
            Err(words) => Err(words),
        };
        if let Err(words) = done {
            found.push((origin, path, words));
        }
    }
}

/// The names of the variables for all keys that are not in a list.
pub(crate) fn names_of_keys(schema: &Schema) -> Vec<String> {
    fn collect(entry: Entry<'_>, name: &str, names: &mut Vec<String>) {
        for (key, inner) in entry.keys() {
            let name = format!("{name}{}", key.to_ascii_uppercase());
            if inner.is_table() {
                collect(inner, &format!("{name}{SEPARATOR}"), names);
            } else {
                names.push(name);
            }
        }
    }
    let mut names = Vec::new();
    collect(schema.root(), PREFIX, &mut names);
    names
}

fn path(name: &str) -> Path {
    let steps = name.strip_prefix(PREFIX).unwrap_or(name).split(SEPARATOR);
    Path(steps.map(|step| step.parse().map_or_else(|_| Step::Key(step.to_ascii_lowercase()), Step::Index)).collect())
}

fn entry<'a>(schema: &'a Schema, path: &Path) -> Result<Entry<'a>, String> {
    let mut entry = schema.root();
    for step in &path.0 {
        let next = match step {
            Step::Key(key) => entry.key(key).ok_or_else(|| unknown(entry, key)),
            Step::Index(_) => entry.items().ok_or_else(|| "is not a list".to_owned()),
        };
        entry = next?;
    }
    Ok(entry)
}

/// Reads a variable's text as a value of the key's type: a TOML value, or the text itself; lists also with commas.
fn value(entry: Entry<'_>, text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("value"));
    match parsed {
        Some(value @ Value::Array(_)) if entry.has_type("array") => value,
        _ if entry.has_type("array") => {
            let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
            let item = |text: &str| entry.items().map_or_else(|| text.into(), |entry| value(entry, text));
            Value::Array(texts.map(item).collect())
        }
        Some(value @ Value::String(_)) if entry.has_type("string") => value,
        Some(value @ Value::Integer(_)) if entry.has_type("integer") || entry.has_type("number") => value,
        Some(value @ Value::Float(_)) if entry.has_type("number") => value,
        Some(value @ Value::Boolean(_)) if entry.has_type("boolean") => value,
        Some(value @ Value::Table(_)) if entry.is_table() => value,
        _ => text.into(),
    }
}
