use anabranch_program::Masked;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json};
use toml::Value;

use super::Settings;
use super::tree::{Node, Path, Step};
use super::values::{Size, Time};
use super::written::Written;

/// Where the applications are.
const APPLICATIONS: [&str; 2] =
    ["/properties/defaults/properties/application/items", "/properties/vhost/items/properties/application/items"];

/// The schema of the settings, from their types and doc comments. All code that works with keys uses it, so that a new
/// key needs only its field.
#[derive(Debug)]
pub(crate) struct Schema(Json);

/// One part of the schema.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a>(&'a Json);

impl Schema {
    /// With all references resolved, so that it can be walked.
    pub(crate) fn inlined() -> Self {
        let generator = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        let mut schema = generator.into_generator().into_root_schema_for::<Settings>().to_value();
        let keys = schema.pointer("/properties/defaults/properties").and_then(Json::as_object).cloned();
        let keys = keys.map(keys_of_streams).unwrap_or_default();
        for place in APPLICATIONS {
            if let Some(application) = schema.pointer_mut(place).and_then(Json::as_object_mut) {
                add_keys(application, keys.clone());
            }
        }
        Schema(schema)
    }

    /// As a JSON Schema document.
    pub(crate) fn document() -> Json {
        let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Settings>().to_value();
        if let Some(object) = schema.as_object_mut() {
            object.insert("title".to_owned(), "The configuration of anabranch".into());
        }
        if let Some(application) = schema.pointer_mut("/$defs/Application")
            && let Some(with_keys) = Schema::inlined().0.pointer(APPLICATIONS[0])
        {
            *application = with_keys.clone();
        }
        schema
    }

    pub(crate) fn root(&self) -> Entry<'_> {
        Entry(&self.0)
    }

    pub(crate) fn at(&self, path: &Path) -> Option<Entry<'_>> {
        path.0.iter().try_fold(self.root(), |entry, step| entry.step(step))
    }

    /// True if a change of this key needs a restart.
    pub(crate) fn needs_restart(&self, path: &Path) -> bool {
        self.any_on_the_way(path, |entry| entry.flag("x-restart"))
    }

    /// True if the value must not be shown.
    pub(crate) fn is_secret(&self, path: &Path) -> bool {
        self.any_on_the_way(path, |entry| entry.flag("writeOnly"))
    }

    /// True if a replay does not need the key.
    pub(crate) fn is_ruled(&self, path: &Path) -> bool {
        self.any_on_the_way(path, |entry| entry.flag("x-ruled"))
    }

    fn any_on_the_way(&self, path: &Path, is: impl Fn(Entry<'_>) -> bool) -> bool {
        let mut entry = Some(self.root());
        for step in &path.0 {
            entry = entry.and_then(|entry| entry.step(step));
            if entry.is_some_and(&is) {
                return true;
            }
        }
        false
    }
}

impl<'a> Entry<'a> {
    /// The forms that the value may have; several for an option or an enum.
    fn forms(self) -> impl Iterator<Item = &'a Json> {
        let list = |name: &str| self.0.get(name).and_then(Json::as_array).into_iter().flatten();
        std::iter::once(self.0).chain(list("anyOf")).chain(list("oneOf")).chain(list("allOf"))
    }

    fn step(self, step: &Step) -> Option<Entry<'a>> {
        self.forms()
            .find_map(|form| match step {
                Step::Key(key) => form.get("properties").and_then(|properties| properties.get(key)).or_else(|| {
                    // A table whose keys the operator chooses.
                    form.get("additionalProperties").filter(|schema| schema.is_object())
                }),
                Step::Index(_) => form.get("items"),
            })
            .map(Entry)
    }

    pub(crate) fn key(self, key: &str) -> Option<Entry<'a>> {
        self.step(&Step::Key(key.to_owned()))
    }

    pub(crate) fn items(self) -> Option<Entry<'a>> {
        self.step(&Step::Index(0))
    }

    /// The keys of a table, in the order of the fields.
    pub(crate) fn keys(self) -> impl Iterator<Item = (&'a str, Entry<'a>)> {
        let properties = self.forms().filter_map(|form| form.get("properties").and_then(Json::as_object));
        properties.flatten().map(|(key, schema)| (key.as_str(), Entry(schema)))
    }

    pub(crate) fn is_table(self) -> bool {
        self.has_type("object")
    }

    pub(crate) fn has_type(self, name: &str) -> bool {
        self.forms().any(|form| match form.get("type") {
            Some(Json::Array(types)) => types.iter().any(|of| of == name),
            Some(of) => of == name,
            // An enum has only names as values.
            None => name == "string" && (form.get("enum").is_some() || form.get("const").is_some_and(Json::is_string)),
        })
    }

    pub(crate) fn description(self) -> Option<&'a str> {
        self.0.get("description").and_then(Json::as_str)
    }

    /// The default as TOML, if the schema has one.
    pub(crate) fn default(self) -> Option<String> {
        let default = self.0.get("default")?;
        Value::try_from(default).ok().map(|value| value.to_string())
    }

    /// True for a list of tables, each with its own heading.
    pub(crate) fn is_list_of_tables(self) -> bool {
        self.items().is_some_and(|items| items.is_table() && !items.has_type("string"))
    }

    /// Why a table cannot have a key that a similar table has.
    fn refusal(self, key: &str) -> Option<&'a str> {
        self.0.get(REFUSED)?.get(key)?.as_str()
    }

    fn flag(self, name: &str) -> bool {
        self.forms().any(|form| form.get(name).and_then(Json::as_bool) == Some(true))
    }

    /// Checks a value against the bounds in the schema.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn check(self, value: &Value) -> Result<(), String> {
        let number = |name: &str| self.0.get(name).and_then(Json::as_i64);
        let text = |name: &str| self.0.get(name).and_then(Json::as_str);
        if let Value::Integer(value) = value
            && let (least, most) = (number("minimum"), number("maximum"))
            && (least.is_some_and(|least| *value < least) || most.is_some_and(|most| *value > most))
        {
            let bound = |bound: Option<i64>| bound.map(|bound| bound.to_string());
            return Err(format!("{value} is not {}", range(bound(least), bound(most))));
        }
        let (least, most) = (text("x-minimum"), text("x-maximum"));
        if least.is_some() || most.is_some() {
            let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let is_time = [least, most].into_iter().flatten().any(|bound| Time::read(bound).is_ok());
            let amount = |text: &str| match is_time {
                true => Time::read(text).ok().map(|time| time.0.as_nanos()),
                false => Size::read(text).ok().map(|size| u128::from(size.0)),
            };
            let endless =
                matches!(written.as_str(), "never" | "unlimited") && (most.is_none() || self.flag("x-endless"));
            if endless {
                return Ok(());
            }
            let fits = |value: u128| {
                let below = least.and_then(amount).is_some_and(|least| value < least);
                let above = most.and_then(amount).is_some_and(|most| value > most);
                !below && !above
            };
            let value = amount(&written);
            if is_time && !value.is_some_and(fits) {
                let bounds = match (least, most) {
                    (Some(least), Some(most)) => format!(" from {least} to {most}"),
                    (Some(least), None) => format!(" of {least} or more"),
                    (None, Some(most)) => format!(" of {most} or less"),
                    (None, None) => String::new(),
                };
                let example =
                    ["10s", "1m", "1s", "1h", "100ms"].into_iter().find(|time| amount(time).is_some_and(fits));
                let example = example.or(most).unwrap_or_default();
                let written = Masked(&written).to_string();
                return Err(format!("{written:?} is not a time{bounds}, such as {example:?}"));
            }
            if value.is_some_and(|value| !fits(value)) {
                let (least, most) = (least.map(str::to_owned), most.map(str::to_owned));
                return Err(format!("{written} is not {}", range(least, most)));
            }
        }
        Ok(())
    }
}

fn range(least: Option<String>, most: Option<String>) -> String {
    match (least, most) {
        (Some(least), Some(most)) => format!("within {least} to {most}"),
        (Some(least), None) => format!("{least} or more"),
        (None, Some(most)) => format!("{most} or less"),
        (None, None) => "right".to_owned(),
    }
}

/// The errors that the schema alone shows: unknown keys, with a suggestion, and numbers out of their bounds. True for
/// unknown keys.
pub(crate) fn check(entry: Entry<'_>, node: &Node, path: &Path, found: &mut Vec<(Path, String, bool)>) {
    match node {
        Node::Table(table, _) if entry.is_table() => {
            for (key, node) in table.iter() {
                match entry.key(key) {
                    Some(entry) => check(entry, node, &path.key(key), found),
                    None => found.push((path.key(key), unknown(entry, key), true)),
                }
            }
        }
        Node::List(items, _) => {
            for (index, item) in items.iter().enumerate() {
                if let Some(entry) = entry.items() {
                    check(entry, item, &path.index(index), found);
                }
            }
        }
        Node::Leaf(value, _) => {
            if let Err(words) = entry.check(value) {
                found.push((path.clone(), words, false));
            }
        }
        Node::Table(..) => {}
    }
}

/// The keys that a table cannot have, each with the reason.
const REFUSED: &str = "x-refused";
/// The mark of keys that are only for connections, with the reason.
const CONNECTION: &str = "x-connection";
/// The keys that only a virtual host has.
const OF_VHOSTS: [&str; 3] = ["name", "aliases", "enabled"];

/// The keys of virtual hosts that applications may have, and why they cannot have the others.
fn keys_of_streams(keys: Map<String, Json>) -> (Map<String, Json>, Map<String, Json>) {
    let (mut kept, mut refused) = (Map::new(), Map::new());
    for (key, mut schema) in keys {
        if let Some(reason) = schema.get(CONNECTION).and_then(Json::as_str) {
            refused.insert(key, format!("cannot be set for an application: {reason}").into());
            continue;
        }
        if let Some(section) = schema.as_object_mut() {
            // What an application does not set is as in its virtual host.
            section.remove("default");
            if let Some(Json::Object(inner)) = section.remove("properties") {
                add_keys(section, keys_of_streams(inner));
            }
        }
        kept.insert(key, schema);
    }
    (kept, refused)
}

fn add_keys(table: &mut Map<String, Json>, (keys, mut refused): (Map<String, Json>, Map<String, Json>)) {
    let properties = table.entry("properties").or_insert_with(|| Map::new().into());
    if let Some(properties) = properties.as_object_mut() {
        if properties.contains_key("streams") {
            let reason = "cannot be set for an application: names are those of virtual hosts";
            refused.extend(OF_VHOSTS.map(|key| (key.to_owned(), reason.into())));
        }
        properties.extend(keys);
    }
    if !refused.is_empty() {
        table.insert(REFUSED.to_owned(), refused.into());
    }
}

/// The error for an unknown key, with the known key that is most like it.
pub(crate) fn unknown(entry: Entry<'_>, key: &str) -> String {
    if let Some(reason) = entry.refusal(key) {
        return reason.to_owned();
    }
    let likeness = |known: &str| strsim::jaro_winkler(known, key);
    let nearest = entry.keys().map(|(known, _)| known).max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest.filter(|known| likeness(known) > 0.75) {
        Some(known) => format!("unknown key; did you mean {known}?"),
        None => {
            let known: Vec<_> = entry.keys().map(|(known, _)| known).collect();
            format!("unknown key; known keys are {}", known.join(", "))
        }
    }
}
