use std::fmt::Write;

use super::load::default_tree;
use super::schema::{Entry, Schema};
use super::show::bare;
use super::tree::{Node, Path};

const WIDTH: usize = 118;
const HEAD: &str = "\
# The configuration of anabranch. It lists every key with its default. To change a key, remove the # in front of it.
#
#     anabranch --config anabranch.toml
#     anabranch check anabranch.toml      lists the errors, or shows the settings in force and where each comes from
#
# Each key can also be set by an environment variable: ANABRANCH__ and the key's name, with two underscores for each
# dot, such as ANABRANCH__DEFAULTS__LIMITS__PLAYERS=100; lists may be written with commas. Variables take precedence
# over this file, and command line options over variables. Times need a unit (350ms, 10s, 5m, 1h, or never), sizes may
# have one (64KiB, 32MiB). At SIGHUP the server reads the file again. Keys marked (restart) need a restart to change.
";

/// The example file with all keys, generated from the schema.
pub(crate) fn example() -> String {
    let mut out = HEAD.to_owned();
    let schema = Schema::inlined();
    Example { schema: &schema, out: &mut out }.table(schema.root(), Some(&default_tree()), &Path::default());
    out
}

struct Example<'a> {
    schema: &'a Schema,
    out: &'a mut String,
}

impl Example<'_> {
    fn table(&mut self, entry: Entry<'_>, defaults: Option<&Node>, path: &Path) {
        let default = |key: &str| defaults.and_then(Node::table).and_then(|table| table.get(key));
        for (key, entry) in entry.keys().filter(|(_, entry)| !holds_tables(*entry)) {
            self.words(entry, &path.key(key), "# ");
            match default(key) {
                Some(node) => _ = writeln!(self.out, "#{} = {}", bare(key), node.value()),
                None => _ = writeln!(self.out, "#    {} = ...", bare(key)),
            }
        }
        for (key, entry) in entry.keys().filter(|(_, entry)| holds_tables(*entry)) {
            let path = path.key(key);
            let _ = writeln!(self.out);
            self.words(entry, &path, "# ");
            match entry.items().filter(|items| items.is_table()) {
                Some(items) => self.items(items, &path),
                None => {
                    if entry.keys().any(|(_, entry)| !holds_tables(entry)) {
                        // A table that is not there by default has an effect by being there, so it is a comment.
                        let mark = if default(key).is_some() { "" } else { "#    " };
                        let _ = writeln!(self.out, "{mark}[{path}]");
                    }
                    self.table(entry, default(key), &path);
                }
            }
        }
    }

    /// A list of tables: shows one entry. The list is empty by default, so all of it is a comment.
    fn items(&mut self, entry: Entry<'_>, path: &Path) {
        let _ = writeln!(self.out, "#\n#    [[{path}]]");
        for (key, entry) in entry.keys().filter(|(_, entry)| !holds_tables(*entry)) {
            self.words(entry, &path.index(0).key(key), "#    # ");
            let any = if entry.has_type("array") { "[\"...\"]" } else { "\"...\"" };
            let value = entry.default().unwrap_or_else(|| any.to_owned());
            let _ = writeln!(self.out, "#    {} = {value}", bare(key));
        }
        for (key, entry) in entry.keys().filter(|(_, entry)| holds_tables(*entry)) {
            let name = format!("[{path}.{}]", bare(key));
            let name = if entry.is_table() { name } else { format!("[{name}]") };
            let _ = writeln!(self.out, "#    {name}");
        }
    }

    fn words(&mut self, entry: Entry<'_>, path: &Path, indent: &str) {
        let restart = if self.schema.needs_restart(path) { " (restart)" } else { "" };
        let text = entry.description().unwrap_or_default().to_owned() + restart;
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() && indent.len() + line.len() + 1 + word.len() > WIDTH {
                let _ = writeln!(self.out, "{indent}{line}");
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        if !line.is_empty() {
            let _ = writeln!(self.out, "{indent}{line}");
        }
    }
}

fn holds_tables(entry: Entry<'_>) -> bool {
    entry.is_table() || entry.is_list_of_tables()
}
