//! Warnings about settings that are valid but probably a mistake.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path as FilePath;

use anabranch_core::policy::StreamPattern;
use anabranch_program::Masked;
use toml::Value;

use super::Settings;
use super::load::Loaded;
use super::schema::Schema;
use super::tree::{Node, Origin, Path, Table};
use super::written::Of;

/// Everybody on the machine may read it.
const READABLE_BY_ALL: u32 = 0o004;

impl Loaded {
    /// One line for each warning, for `check` and for the log at the start and after a reload. `file` is the
    /// configuration file.
    pub(crate) fn advice(&self, file: Option<&FilePath>) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(file) = file.filter(|file| is_open(file))
            && has_secrets(&self.tree, &Path::default(), &Schema::inlined())
        {
            let file = file.display();
            lines.push(format!("{file} has secrets and all users of this machine can read it: chmod o-r {file}"));
        }
        for certificate in &self.settings.tls.certificates {
            if is_open(&certificate.key) {
                let key = certificate.key.display();
                lines
                    .push(format!("{key} is a private key and all users of this machine can read it: chmod o-r {key}"));
            }
        }
        lines.extend(self.hidden_applications());
        let broken = self.config.agreements().into_iter().filter(|agreement| !agreement.holds());
        lines.extend(broken.map(|agreement| format!("limits contradict each other: {agreement}")));
        lines
    }
}

impl Loaded {
    /// Applications that never hold, because an application before them matches all their streams.
    fn hidden_applications(&self) -> Vec<String> {
        let Settings { defaults, vhost, .. } = &self.settings;
        let mut lines = Vec::new();
        let hosts = vhost.iter().map(|vhost| (format!("vhost {:?}", vhost.name), &vhost.settings));
        for (place, settings) in std::iter::once(("defaults".to_owned(), defaults)).chain(hosts) {
            let own = || settings.application.iter().filter(|one| !one.inherited);
            let mut before: Vec<&StreamPattern> = Vec::new();
            for (index, one) in own().enumerate() {
                let hides = |later: &StreamPattern| before.iter().find(|earlier| earlier.covers(later));
                let hidden: Option<Vec<_>> = one.streams.iter().map(|Of(pattern)| hides(pattern)).collect();
                if let Some(first) = hidden.as_ref().and_then(|hidden| hidden.first()) {
                    let name = one.streams.iter().map(|Of(pattern)| pattern.as_str()).collect::<Vec<_>>().join(", ");
                    lines.push(format!(
                        "{place}: application[{index}] ({name}) holds for no stream, because an application before it has {first}"
                    ));
                }
                before.extend(one.streams.iter().map(|Of(pattern)| pattern));
            }
        }
        lines
    }
}

fn is_open(file: &FilePath) -> bool {
    fs::metadata(file).is_ok_and(|found| found.mode() & READABLE_BY_ALL != 0)
}

/// Whether the file has a secret, or a URL with credentials.
fn has_secrets(node: &Node, path: &Path, schema: &Schema) -> bool {
    match node {
        Node::Table(table, _) => Table::iter(table).any(|(key, node)| has_secrets(node, &path.key(key), schema)),
        Node::List(items, _) => {
            items.iter().enumerate().any(|(index, item)| has_secrets(item, &path.index(index), schema))
        }
        Node::Leaf(Value::String(text), Origin::File { .. }) if !text.is_empty() => {
            schema.is_secret(path) || (text.contains("://") && Masked(text).to_string() != *text)
        }
        Node::Leaf(..) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::load::Sources;
    use super::*;

    fn advice(text: &str, mode: u32) -> Vec<String> {
        let name = format!("anabranch-advice-{}-{:?}.toml", std::process::id(), std::thread::current().id());
        let file = std::env::temp_dir().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let sources = Sources { file: Some(file.clone()), ..Sources::default() };
        let lines = sources.load().unwrap_or_else(|problems| panic!("{problems}")).advice(Some(&file));
        fs::remove_file(file).unwrap();
        lines
    }

    #[test]
    fn check_reports_secrets_that_every_user_may_read() {
        for text in [
            "[api]\ntoken = 'a secret of the API'",
            "[defaults.token]\nsecrets = ['a long random secret of your own']",
            "[defaults.hooks]\non_publish = ['http://user:password@back.example/']",
            "[[vhost]]\nname = 'v.example'\n[vhost.token]\nsecrets = ['a long random secret of your own']",
        ] {
            let lines = advice(text, 0o644);
            assert!(lines.len() == 1 && lines[0].contains("chmod o-r"), "{text}: {lines:?}");
            assert!(!lines[0].contains("secret of") && !lines[0].contains("password"), "{lines:?}");
            assert_eq!(advice(text, 0o640), [""; 0], "{text}");
        }
        assert_eq!(advice("[defaults.hooks]\non_publish = ['http://back.example/']", 0o644), [""; 0]);
        assert_eq!(advice("", 0o644), [""; 0]);
    }

    #[test]
    fn applications_that_never_hold_are_told() {
        let lists = |lists: &[&str]| -> Vec<String> {
            let list = lists.iter().map(|streams| format!("[[defaults.application]]\nstreams = [{streams}]\n"));
            advice(&list.collect::<String>(), 0o640)
        };
        let lines = lists(&["'live/*', 'x/y'", "'live/cam*'"]);
        assert!(lines.len() == 1 && lines[0].contains("application[1] (live/cam*)"), "{lines:?}");
        assert!(lines[0].ends_with("has live/*"), "{lines:?}");
        for fine in [&["'live/cam*'", "'live/*'"][..], &["'live/?'", "'live/*'"], &["'live/*'", "'live/cam', 'x/*'"]] {
            assert_eq!(lists(fine), [""; 0]);
        }
    }

    #[test]
    fn limits_that_contradict_each_other_are_told() {
        let lines = advice("[defaults.bounds.chunks_before_connect]\nmessage = '4KiB'\npartial = '4KiB'", 0o640);
        assert!(lines.len() == 1 && lines[0].contains("chunks_before_connect.message is 4096"), "{lines:?}");
    }
}
