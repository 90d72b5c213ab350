use std::fmt;
use std::fs;
use std::path::PathBuf;

use anabranch_core::conn::Config;
use anabranch_program::{CaptureLimits, ChosenFolder, Masked, file_cure};
use toml::Value;

use super::of_streams::{OfStreams, OfVhost};
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
/// The applications of the defaults and of virtual hosts, and the key that only an application has.
const APPLICATIONS: &str = "application";
const STREAMS: &str = "streams";
/// The mark of an application of the defaults in a virtual host.
const INHERITED: &str = "inherited";
/// The most applications, with each of those of the defaults counted in each virtual host. Each has all settings.
const MOST_APPLICATIONS: usize = 10_000;
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
            min_free: capture.min_free.0,
            bytes: capture.file_size.0,
            waiting: CaptureLimits::default().waiting,
            header: self.capture_header(program),
        }
    }

    /// One section of the settings for all streams.
    pub(crate) fn of_streams<T: Clone>(&self, section: impl Fn(&VhostSettings) -> &T) -> OfStreams<T> {
        let of = |settings: &VhostSettings| OfVhost {
            own: section(settings).clone(),
            applications: settings.applications().map(|one| section(&one.settings.1.settings).clone()),
        };
        // Core has the names in the spelling that streams have.
        let vhosts = self.config.vhosts.iter().zip(&self.settings.vhost);
        OfStreams {
            defaults: of(&self.settings.defaults),
            vhosts: vhosts.map(|(vhost, written)| (vhost.name.clone(), of(&written.settings))).collect(),
        }
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
        limit_applications(&mut tree, &mut problems);
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

/// Removes all applications if there are too many.
fn limit_applications(tree: &mut Node, problems: &mut Problems) {
    let defaults = Path::of(&[DEFAULTS, APPLICATIONS]);
    let count = |node: Option<&Node>| if let Some(Node::List(items, _)) = node { items.len() } else { 0 };
    let shared = count(tree.get(&defaults));
    let vhosts = tree.get(&Path::of(&[VHOSTS]));
    let Some(Node::List(vhosts, _)) = vhosts else {
        return;
    };
    let own: usize = vhosts.iter().map(|vhost| count(vhost.table().and_then(|table| table.get(APPLICATIONS)))).sum();
    let all = shared.saturating_mul(vhosts.len() + 1).saturating_add(own);
    if all <= MOST_APPLICATIONS {
        return;
    }
    let words = format!(
        "there are {all} applications, the most is {MOST_APPLICATIONS}; those of [defaults] count in each virtual host"
    );
    problems.add(tree.nearest(&defaults).origin(), &defaults, &words);
    let hosts: Vec<_> = (0..vhosts.len()).map(|index| Path::of(&[VHOSTS]).index(index).key(APPLICATIONS)).collect();
    for path in hosts.iter().chain([&defaults]) {
        remove(tree, path);
    }
}

/// The tree in which each virtual host gets from the defaults what it does not set itself, and each application what it
/// does not set from its virtual host.
fn inherited(tree: &Node) -> Node {
    let mut tree = tree.clone();
    let Some(table) = tree.table_mut() else {
        return tree;
    };
    let Some(mut defaults) = table.get(DEFAULTS).cloned() else {
        return tree;
    };
    let shared = take_applications(&mut defaults);
    if let Some(Node::List(vhosts, _)) = table.get_mut(VHOSTS) {
        for vhost in vhosts {
            let applications = take_applications(vhost);
            if let Some(mut named) = split(vhost, &IDENTITY, &defaults) {
                if let Some(settings) = named.get_mut(SETTINGS) {
                    add_applications(settings, &applications, &shared);
                }
                *vhost = Node::Table(named, vhost.origin().clone());
            }
        }
    }
    add_applications(&mut defaults, &shared, &[]);
    table.insert(DEFAULTS, defaults);
    tree
}

/// Moves all keys of a table, except for its own ones, into its settings, where the keys that it does not set are those
/// of `base`.
fn split(node: &Node, own_keys: &[&str], base: &Node) -> Option<Table> {
    let mut named = Table::default();
    let mut all = base.clone();
    for (key, value) in node.table()?.iter() {
        if own_keys.contains(&key) {
            named.insert(key, value.clone());
        } else {
            let mut one = Table::default();
            one.insert(key, value.clone());
            all.overlay(Node::Table(one, node.origin().clone()));
        }
    }
    named.insert(SETTINGS, all);
    Some(named)
}

/// Removes the list of applications. What is not a list of tables stays, and is an error.
fn take_applications(node: &mut Node) -> Vec<Node> {
    let Some(table) = node.table_mut() else {
        return Vec::new();
    };
    match table.get(APPLICATIONS) {
        Some(Node::List(items, _)) if items.iter().all(|item| item.table().is_some()) => {}
        _ => return Vec::new(),
    }
    if let Some(Node::List(items, _)) = table.remove(APPLICATIONS) { items } else { Vec::new() }
}

/// Adds the applications of a virtual host to its settings, and after them those of the defaults.
fn add_applications(settings: &mut Node, own: &[Node], shared: &[Node]) {
    let base = settings.clone();
    let own = own.iter().map(|node| (node, false));
    let mut list = Vec::new();
    for (node, inherited) in own.chain(shared.iter().map(|node| (node, true))) {
        if let Some(mut named) = split(node, &[STREAMS], &base) {
            if inherited {
                named.insert(INHERITED, Node::Leaf(Value::Boolean(true), node.origin().clone()));
            }
            list.push(Node::Table(named, node.origin().clone()));
        }
    }
    if let (Some(table), false) = (settings.table_mut(), list.is_empty()) {
        table.insert(APPLICATIONS, Node::List(list, Origin::Default));
    }
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
            let at = shown(&tree, &path);
            let secret = schema.is_secret(&at) || schema.is_secret(&at.index(0));
            let mask = if secret { MASK.to_owned() } else { Masked(text).to_string() };
            words = words.replace(&format!("{text:?}"), &format!("{mask:?}"));
        }
        problems.add(&nearest, &shown(&tree, &path), &words);
        if !replace_by_default(&mut tree, &path) {
            return None;
        }
    }
    None
}

/// The path as it is written in the file.
fn shown(tree: &Node, path: &Path) -> Path {
    let mut steps = Vec::new();
    for (position, step) in path.0.iter().enumerate() {
        match step {
            Step::Key(key) if key == SETTINGS && matches!(steps.last(), Some(Step::Index(_))) => {}
            Step::Index(index) if steps.last() == Some(&Step::Key(APPLICATIONS.to_owned())) => {
                let list = Path(path.0.iter().take(position).cloned().collect());
                match own_applications(tree, &list).filter(|own| own <= index) {
                    Some(own) => {
                        steps = Path::of(&[DEFAULTS, APPLICATIONS]).0;
                        steps.push(Step::Index(index - own));
                    }
                    None => steps.push(step.clone()),
                }
            }
            step => steps.push(step.clone()),
        }
    }
    Path(steps)
}

/// How many applications of a list are not inherited from the defaults.
fn own_applications(tree: &Node, list: &Path) -> Option<usize> {
    let Some(Node::List(items, _)) = tree.get(list) else {
        return None;
    };
    let is_own = |item: &Node| item.table().is_some_and(|table| table.get(INHERITED).is_none());
    Some(items.iter().take_while(|item| is_own(item)).count())
}

/// Returns false if that changes nothing.
fn replace_by_default(tree: &mut Node, path: &Path) -> bool {
    let mut steps = path.0.clone();
    // A virtual host and an application have settings like the defaults.
    let settings = steps.iter().rposition(|step| *step == Step::Key(SETTINGS.to_owned()));
    let in_vhost = steps.first() == Some(&Step::Key(VHOSTS.to_owned()));
    let mut defaults = match settings {
        Some(at) => [Step::Key(DEFAULTS.to_owned())].into_iter().chain(steps.iter().skip(at + 1).cloned()).collect(),
        None => steps.clone(),
    };
    let all = default_tree();
    // An item of a list has no default; the list has one.
    while !steps.is_empty() {
        if let (Some(default), Some(node)) = (all.get(&Path(defaults.clone())), tree.get_mut(&Path(steps.clone()))) {
            let changed = node.value() != default.value();
            *node = default.clone();
            return changed;
        }
        let optional = matches!(steps.last(), Some(Step::Key(_))) && tree.get(&Path(steps.clone())).is_some();
        // What identifies a virtual host or an application is not optional.
        let inside = settings.map_or(!in_vhost, |at| steps.len() > at + 1);
        if optional && inside && !is_streams(&steps) {
            return remove(tree, &Path(steps));
        }
        steps.pop();
        defaults.pop();
    }
    false
}

fn is_streams(steps: &[Step]) -> bool {
    let is = |step: &Step, key: &str| *step == Step::Key(key.to_owned());
    matches!(steps, [.., list, Step::Index(_), last] if is(list, APPLICATIONS) && is(last, STREAMS))
}

fn remove(tree: &mut Node, path: &Path) -> bool {
    let mut above = path.clone();
    match (above.0.pop(), tree.get_mut(&above)) {
        (Some(Step::Key(key)), Some(Node::Table(table, _))) => table.remove(&key).is_some(),
        _ => false,
    }
}
