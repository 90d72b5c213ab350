//! Environment variables that look like this program's and are not: a misspelt one would be ignored without a word.

use std::ffi::OsStr;

use clap::Command;

use crate::faults::Fault;

/// What this program's variables begin with.
const PREFIX: &str = "ANABRANCH_";
/// What variables for keys of the configuration begin with.
const KEYS: &str = "ANABRANCH__";
/// How alike an unknown name must be to a known one to count as a misspelling of it.
const ALIKE: f64 = 0.88;
/// Set when the program is built.
const BUILD: &str = "ANABRANCH_COMMIT";

/// A variable with this program's prefix that means nothing to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownVariable {
    /// Its name.
    pub name: String,
    /// The variable that was probably meant.
    pub meant: Option<String>,
    /// True if the name is that of a key, and the value is not UTF-8.
    pub unreadable: bool,
}

impl UnknownVariable {
    /// Whether the program must not start: it would run without a setting that was meant.
    pub fn is_fault(&self) -> bool {
        self.unreadable || self.meant.is_some()
    }

    /// What is wrong with it, and what to do.
    pub fn fault(&self) -> Fault {
        if self.unreadable {
            let words = format!("environment variable {}: its value is not UTF-8", self.name);
            return Fault::new(words, "write the value in UTF-8, or put the setting into a configuration file");
        }
        let words = format!("environment variable {}: no such setting", self.name);
        match &self.meant {
            Some(meant) => Fault::new(
                words,
                format!(
                    "did you mean {meant}? (a variable of your own needs a name that is not so much like one of the \
                     program's)"
                ),
            ),
            None => Fault::new(words, "it has no effect; --help lists the variables that have one"),
        }
    }
}

/// Finds the variables that begin with `ANABRANCH_` and that neither an option of `command` nor a key reads. `keys` are
/// names of variables for keys, such as `ANABRANCH__SERVER__LISTEN`; a program without keys has none. Variables that
/// Kubernetes and Docker set for a service named `anabranch` are left out, and so are empty ones.
pub fn unknown_variables<'a>(
    command: &Command,
    keys: &[String],
    variables: impl IntoIterator<Item = (&'a OsStr, &'a OsStr)>,
) -> Vec<UnknownVariable> {
    let mut known = Vec::new();
    names(command, &mut known);
    let mut unknown: Vec<_> = variables
        .into_iter()
        .filter(|(name, value)| !value.is_empty() && name.to_string_lossy().starts_with(PREFIX))
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        // Keys are checked where their values are read; text that is not UTF-8 does not get there.
        .filter(|(name, value)| {
            !name.starts_with(KEYS) || keys.is_empty() || value.contains(char::REPLACEMENT_CHARACTER)
        })
        .filter(|(name, value)| name != BUILD && !known.contains(name) && !is_of_a_service(name, value))
        .map(|(name, _)| {
            let unreadable = keys.contains(&name);
            let meant = if unreadable { None } else { meant(&name, &known, keys) };
            UnknownVariable { name, meant, unreadable }
        })
        .collect();
    unknown.sort_by(|one, other| one.name.cmp(&other.name));
    unknown
}

/// The variables of all options.
fn names(command: &Command, known: &mut Vec<String>) {
    let variables = command.get_arguments().filter_map(|option| option.get_env());
    known.extend(variables.map(|name| name.to_string_lossy().into_owned()));
    command.get_subcommands().for_each(|command| names(command, known));
}

/// Kubernetes sets such variables in all containers near a service of the name `anabranch...`, and Docker's links do.
fn is_of_a_service(name: &str, value: &str) -> bool {
    let numbered = || {
        name.split("_PORT_").skip(1).any(|rest| {
            let (port, protocol) = rest.split_once('_').unwrap_or((rest, ""));
            let protocol = protocol.split('_').next().unwrap_or_default();
            port.parse::<u16>().is_ok() && matches!(protocol, "TCP" | "UDP" | "SCTP")
        })
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && value.contains("://"))
        || (name == "ANABRANCH_NAME" && value.starts_with('/'))
        || name.starts_with("ANABRANCH_ENV_")
        || numbered()
}

/// The known name that is most like this one.
fn meant(name: &str, known: &[String], keys: &[String]) -> Option<String> {
    let bare = |name: &str| name.trim_start_matches(PREFIX).replace('_', "");
    let this = bare(name);
    // One underscore where two belong.
    if let Some(key) = keys.iter().find(|key| bare(key) == this).filter(|_| !this.is_empty()) {
        return Some(key.clone());
    }
    let likeness = |known: &str| strsim::jaro_winkler(&bare(known), &this);
    let nearest = known.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))?;
    (likeness(nearest) >= ALIKE).then(|| nearest.clone())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::Options;

    fn found(variables: &[(&str, &str)], keys: &[&str]) -> Vec<(String, Option<String>)> {
        let command = crate::command(Options::command(Command::new("program")), "1");
        let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
        let variables = variables.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value)));
        let unknown = unknown_variables(&command, &keys, variables);
        unknown.into_iter().map(|variable| (variable.name, variable.meant)).collect()
    }

    #[test]
    fn a_misspelt_variable_is_told_with_the_one_that_was_meant() {
        for (name, meant) in [
            ("ANABRANCH_LISTN", "ANABRANCH_LISTEN"),
            ("ANABRANCH_LISTENS", "ANABRANCH_LISTEN"),
            ("ANABRANCH_LOGFORMAT", "ANABRANCH_LOG_FORMAT"),
            ("ANABRANCH_TRUSTED_PROXIES", "ANABRANCH_TRUSTED_PROXY"),
            ("ANABRANCH_CHUNKSIZE", "ANABRANCH_CHUNK_SIZE"),
            ("ANABRANCH_SERVER_LISTEN", "ANABRANCH__SERVER__LISTEN"),
        ] {
            let keys = ["ANABRANCH__SERVER__LISTEN", "ANABRANCH__SERVER__ID"];
            assert_eq!(found(&[(name, "1")], &keys), [(name.to_owned(), Some(meant.to_owned()))]);
        }
    }

    #[test]
    fn a_variable_of_the_operator_is_told_and_nothing_is_guessed() {
        for name in ["ANABRANCH_IMAGE", "ANABRANCH_VERSION", "ANABRANCH_DOMAIN", "ANABRANCH_PORT", "ANABRANCH_HOME"] {
            assert_eq!(found(&[(name, "x")], &[]), [(name.to_owned(), None)]);
        }
        // A program without keys.
        assert_eq!(found(&[("ANABRANCH__LOG__LEVEL", "x")], &[]).len(), 1);
    }

    #[test]
    fn what_is_known_empty_or_of_an_orchestrator_is_not_told() {
        let variables = [
            ("ANABRANCH_LISTEN", "1935"),
            ("ANABRANCH_STRICT_CHUNKS", ""),
            ("ANABRANCH_LISTN", ""),
            ("ANABRANCH_COMMIT", "abc"),
            ("ANABRANCH__LOG__LEVEL", "debug"),
            ("ANABRANCH_SERVICE_HOST", "10.0.0.1"),
            ("ANABRANCH_SERVICE_PORT", "1935"),
            ("ANABRANCH_SERVICE_PORT_RTMP", "1935"),
            ("ANABRANCH_PORT", "tcp://10.0.0.1:1935"),
            ("ANABRANCH_PORT_1935_TCP", "tcp://10.0.0.1:1935"),
            ("ANABRANCH_PORT_1935_TCP_ADDR", "10.0.0.1"),
            ("ANABRANCH_API_PORT_1985_TCP_PROTO", "tcp"),
            ("ANABRANCH_NAME", "/web/anabranch"),
            ("ANABRANCH_ENV_PATH", "/usr/bin"),
            ("PATH", "/usr/bin"),
        ];
        assert_eq!(found(&variables, &["ANABRANCH__LOG__LEVEL"]), []);
    }

    #[test]
    fn a_key_whose_value_is_not_utf_8_is_told() {
        let command = Command::new("program");
        let value = OsString::from_vec(vec![b'a', 0xff]);
        let keys = ["ANABRANCH__LOG__LEVEL".to_owned()];
        let unknown = unknown_variables(&command, &keys, [(OsStr::new("ANABRANCH__LOG__LEVEL"), &*value)]);
        assert!(unknown.len() == 1 && unknown[0].is_fault(), "{unknown:?}");
        assert!(unknown[0].fault().words.contains("UTF-8"), "{}", unknown[0].fault());
    }
}
