use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use anabranch_core::conn::Config;
use anabranch_program::{CaptureLimits, ChosenFolder, Masked, file_cure};
use toml::Value;

use super::schema::{self, Schema};
use super::show::MASK;
use super::tree::{Node, Origin, Path, Step, Table};
use super::vhost::VhostSettings;
use super::{Settings, environment};

/// At most so many errors are listed.
const MOST_PROBLEMS: usize = 20;
const DEFAULTS: &str = "defaults";
const VHOSTS: &str = "vhost";
/// The name under which serde finds a virtual host's settings; in the file they are in the same table as its name.
const SETTINGS: &str = "settings";
/// The keys that only a virtual host has.
const IDENTITY: [&str; 3] = ["name", "aliases", "enabled"];

/// The sources of the configuration: each one takes precedence over those before it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    pub(crate) file: Option<PathBuf>,
    /// The environment.
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) flags: Vec<(Path, Value, Origin)>,
}

/// A configuration without errors.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) settings: Settings,
    /// The settings as core's configuration.
    pub(crate) config: Config,
    /// Every value with its origin. Virtual hosts have only what they set themselves.
    pub(crate) tree: Node,
}

/// The errors, each with its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Problems(Vec<Problem>);

/// One error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) origin: Origin,
    /// The key, as it is written in the file; empty if there is none.
    pub(crate) path: Path,
    /// Place, key and reason.
    pub(crate) line: String,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().take(MOST_PROBLEMS).map(|problem| problem.line.as_str()).collect();
        f.write_str(&lines.join("\n"))?;
        match self.0.len().saturating_sub(MOST_PROBLEMS) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl Problems {
    fn add(&mut self, origin: &Origin, path: &Path, words: &str) {
        let line = match (origin, path.0.is_empty()) {
            (Origin::Default, true) => words.to_owned(),
            (Origin::Default, false) => format!("{path}: {words}"),
            (_, true) => format!("{origin}: {words}"),
            (_, false) => format!("{origin}: {path}: {words}"),
        };
        // One error may be found more than once, because virtual hosts inherit it.
        if *origin == Origin::Default || self.0.iter().all(|known| known.origin != *origin) {
            self.0.push(Problem { origin: origin.clone(), path: path.clone(), line });
        }
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The errors of the file, in their order there.
    fn sorted(mut self) -> Self {
        self.0.sort_by_key(|problem| match problem.origin {
            Origin::File { line, column, .. } => (line, column),
            _ => (usize::MAX, 0),
        });
        self
    }
}

impl Loaded {
    /// Where captures go that are begun through the API.
    pub(crate) fn chosen_folder(&self, program: &str) -> ChosenFolder {
        let capture = &self.settings.capture;
        ChosenFolder {
            folder: capture.api_folder.clone(),
            files: capture.files,
            bytes: capture.file_size.0,
            waiting: CaptureLimits::default().waiting,
            header: self.capture_header(program),
        }
    }

    /// One section of the settings for each virtual host, by its name.
    pub(crate) fn of_vhosts<T: Clone>(&self, section: impl Fn(&VhostSettings) -> &T) -> HashMap<String, T> {
        let vhosts = self.settings.vhost.iter();
        vhosts.map(|vhost| (vhost.name.clone(), section(&vhost.settings).clone())).collect()
    }
}

impl Sources {
    /// The variables of this process. A variable that is not UTF-8 names no key.
    pub(crate) fn environment() -> Vec<(String, String)> {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// Reads the sources again.
    ///
    /// # Errors
    /// All errors, each with its place and reason in one line.
    pub(crate) fn load(&self) -> Result<Loaded, Problems> {
        whole(self.read())
    }

    /// The same with `text` as the content of the file.
    ///
    /// # Errors
    /// As [`Sources::load`].
    pub(crate) fn load_text(&self, name: &str, text: &str) -> Result<Loaded, Problems> {
        whole(self.read_text(name, text))
    }

    /// Reads the sources again, and returns the errors beside what could be read: keys with an error have their
    /// defaults. Nothing could be read if there is no file, or it is not TOML.
    pub(crate) fn read(&self) -> (Problems, Option<Loaded>) {
        let Some(file) = &self.file else {
            return self.read_text("", "");
        };
        let name = file.display().to_string();
        match fs::read_to_string(file) {
            Ok(text) => self.read_text(&name, &text),
            Err(error) => {
                let line = format!("{name}: {error}: {}", file_cure(file, &error));
                let problem = Problem { origin: Origin::Default, path: Path::default(), line };
                (Problems(vec![problem]), None)
            }
        }
    }

    fn read_text(&self, name: &str, text: &str) -> (Problems, Option<Loaded>) {
        let schema = Schema::inlined();
        let mut problems = Problems::default();
        let mut tree = default_tree();
        let parsed = Node::parse(name, text);
        let is_toml = parsed.is_ok();
        match parsed {
            Ok(node) => tree.overlay(node),
            Err(errors) => errors.iter().for_each(|(at, words)| problems.add(at, &Path::default(), words)),
        }
        let mut wrong = Vec::new();
        environment::overlay(&mut tree, &self.variables, &schema, &mut wrong);
        for (origin, path, words) in wrong {
            problems.add(&origin, &path, &words);
        }
        for (path, value, origin) in &self.flags {
            if let Err(words) = tree.set(path, Node::new(value.clone(), origin)) {
                problems.add(origin, path, &words);
            }
        }
        let mut found = Vec::new();
        schema::check(schema.root(), &tree, &Path::default(), &mut found);
        for (path, words, _) in &found {
            problems.add(tree.nearest(path).origin(), path, words);
        }
        for (path, ..) in found.iter().filter(|(.., is_unknown)| *is_unknown) {
            remove(&mut tree, path);
        }
        let settings = deserialize(inherited(&tree), &schema, &mut problems);
        let loaded = settings.filter(|_| is_toml).map(|settings| {
            let config = settings.config().unwrap_or_else(|wrong| {
                for (path, words) in wrong {
                    problems.add(tree.nearest(&path).origin(), &path, &words);
                }
                Config::default()
            });
            Loaded { settings, config, tree }
        });
        (problems.sorted(), loaded)
    }
}

/// The configuration, if nothing is wrong with it.
fn whole((problems, loaded): (Problems, Option<Loaded>)) -> Result<Loaded, Problems> {
    loaded.filter(|_| problems.is_empty()).ok_or(problems)
}

/// All keys with their defaults.
pub(crate) fn default_tree() -> Node {
    // Settings are tables of plain values.
    let value = Value::try_from(Settings::default()).unwrap_or_else(|_| Value::Table(toml::Table::new()));
    Node::new(value, &Origin::Default)
}

/// The tree in which each virtual host gets from the defaults what it does not set itself.
fn inherited(tree: &Node) -> Node {
    let mut tree = tree.clone();
    let Some(table) = tree.table_mut() else {
        return tree;
    };
    let defaults = table.get(DEFAULTS).cloned();
    if let (Some(defaults), Some(Node::List(vhosts, _))) = (defaults, table.get_mut(VHOSTS)) {
        for vhost in vhosts {
            let origin = vhost.origin().clone();
            if let Some(own) = vhost.table_mut() {
                let mut all = defaults.clone();
                let mut named = Table::default();
                for (key, node) in own.iter() {
                    if !IDENTITY.contains(&key) {
                        let mut one = Table::default();
                        one.insert(key, node.clone());
                        all.overlay(Node::Table(one, origin.clone()));
                    } else {
                        named.insert(key, node.clone());
                    }
                }
                named.insert(SETTINGS, all);
                *own = named;
            }
        }
    }
    tree
}

/// Converts the tree into settings. Where that fails the default is taken, so that all errors are found at once.
fn deserialize(mut tree: Node, schema: &Schema, problems: &mut Problems) -> Option<Settings> {
    for _ in 0..=MOST_PROBLEMS {
        let error = match serde_path_to_error::deserialize::<_, Settings>(tree.value()) {
            Ok(settings) => return Some(settings),
            Err(error) => error,
        };
        let path = Path(
            error
                .path()
                .iter()
                .filter_map(|segment| match segment {
                    serde_path_to_error::Segment::Map { key } => Some(Step::Key(key.clone())),
                    serde_path_to_error::Segment::Seq { index } => Some(Step::Index(*index)),
                    _ => None,
                })
                .collect(),
        );
        let nearest = tree.nearest(&path).origin().clone();
        let mut words = error.inner().message().to_owned();
        // A text where another type belongs may be a secret, or a URL with one in it.
        if let Some(Node::Leaf(Value::String(text), _)) = tree.get(&path) {
            let at = shown(&path);
            let secret = schema.is_secret(&at) || schema.is_secret(&at.index(0));
            let mask = if secret { MASK.to_owned() } else { Masked(text).to_string() };
            words = words.replace(&format!("{text:?}"), &format!("{mask:?}"));
        }
        problems.add(&nearest, &shown(&path), &words);
        if !replace_by_default(&mut tree, &path) {
            return None;
        }
    }
    None
}

/// The path as it is written in the file.
fn shown(path: &Path) -> Path {
    let is_inner = |step: &Step| *step == Step::Key(SETTINGS.to_owned());
    let mut steps = path.0.clone();
    if steps.first() == Some(&Step::Key(VHOSTS.to_owned())) && steps.get(2).is_some_and(is_inner) {
        steps.remove(2);
    }
    Path(steps)
}

/// Returns false if that changes nothing.
fn replace_by_default(tree: &mut Node, path: &Path) -> bool {
    let mut steps = path.0.clone();
    let in_vhost = steps.first() == Some(&Step::Key(VHOSTS.to_owned())) && shown(path) != *path;
    let mut defaults = steps.clone();
    if in_vhost {
        defaults = [Step::Key(DEFAULTS.to_owned())].into_iter().chain(steps.iter().skip(3).cloned()).collect();
    }
    let all = default_tree();
    // An item of a list has no default; the list has one.
    while !steps.is_empty() {
        if let (Some(default), Some(node)) = (all.get(&Path(defaults.clone())), tree.get_mut(&Path(steps.clone()))) {
            let changed = node.value() != default.value();
            *node = default.clone();
            return changed;
        }
        let optional = matches!(steps.last(), Some(Step::Key(_))) && tree.get(&Path(steps.clone())).is_some();
        if optional && (!in_vhost || steps.len() > 3) {
            return remove(tree, &Path(steps));
        }
        steps.pop();
        defaults.pop();
    }
    false
}

fn remove(tree: &mut Node, path: &Path) -> bool {
    let mut above = path.clone();
    match (above.0.pop(), tree.get_mut(&above)) {
        (Some(Step::Key(key)), Some(Node::Table(table, _))) => table.remove(&key).is_some(),
        _ => false,
    }
}
