//! Finds arguments that a program reads as a script. A name of a client in a script could be a part of it. This knows the
//! usual shells and interpreters, behind whatever wrappers; it is a net and no wall.

use super::template::Template;
use crate::settings::written::{Of, Text};

/// How a program gets a script.
struct Interpreter {
    /// The program's names, without version.
    names: &'static [&'static str],
    /// The letters of options before a script.
    letters: &'static str,
    /// The same as words.
    words: &'static [&'static str],
    /// The letters of options that take a value.
    values: &'static str,
    /// The letters of options that take the file of a script in its place.
    files: &'static str,
    reads: Reads,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// The first argument that is no option, once there was an option for a script. What comes behind it is for the script.
    Shell,
    /// The argument of the option, or the rest of it; there may be several.
    Option,
    /// The first argument that is no option, if no option has named a script.
    First,
    /// The argument of the option, wherever that is.
    Anywhere,
    /// All that comes behind it.
    All,
    /// All that comes behind an option that splits text.
    Split,
}

const PLAIN: Interpreter =
    Interpreter { names: &[], letters: "", words: &[], values: "", files: "", reads: Reads::Option };

const INTERPRETERS: [Interpreter; 13] = [
    Interpreter {
        names: &["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh", "rbash"],
        letters: "c",
        words: &["command"],
        values: "oO",
        reads: Reads::Shell,
        ..PLAIN
    },
    Interpreter { names: &["python", "pypy"], letters: "c", values: "WXQ", files: "m", ..PLAIN },
    Interpreter { names: &["perl"], letters: "eE", values: "I", ..PLAIN },
    Interpreter { names: &["ruby", "irb"], letters: "e", values: "Ir", ..PLAIN },
    Interpreter {
        names: &["node", "nodejs", "deno", "bun"],
        letters: "ep",
        words: &["eval", "print"],
        values: "r",
        ..PLAIN
    },
    Interpreter { names: &["php"], letters: "rBRE", words: &["run"], values: "dcz", files: "fF", ..PLAIN },
    Interpreter { names: &["lua", "luajit", "osascript"], letters: "e", values: "l", ..PLAIN },
    Interpreter { names: &["expect", "tclsh"], letters: "c", values: "f", ..PLAIN },
    Interpreter {
        names: &["awk", "gawk", "mawk", "nawk"],
        letters: "e",
        words: &["source"],
        values: "Fv",
        files: "f",
        reads: Reads::First,
    },
    Interpreter {
        names: &["sed", "gsed"],
        letters: "e",
        words: &["expression"],
        files: "f",
        reads: Reads::First,
        ..PLAIN
    },
    Interpreter {
        names: &["su", "runuser", "flock", "script", "sg"],
        letters: "c",
        words: &["command"],
        reads: Reads::Anywhere,
        ..PLAIN
    },
    Interpreter {
        names: &["ssh", "rsh", "eval", "tmux", "watch", "parallel", "pwsh", "powershell"],
        reads: Reads::All,
        ..PLAIN
    },
    Interpreter { names: &["env"], letters: "S", words: &["split-string"], reads: Reads::Split, ..PLAIN },
];

struct Item {
    text: String,
    has_variables: bool,
}

/// The argument that would be read as a script, or as the file of one, and has a variable.
pub(super) fn script_with_variable(command: &[Of<Template>]) -> Option<usize> {
    let items: Vec<Item> =
        command.iter().map(|Of(part)| Item { text: Text::text(part), has_variables: part.has_variables() }).collect();
    for (at, item) in items.iter().enumerate() {
        let Some(interpreter) = Interpreter::named(&item.text) else {
            continue;
        };
        let behind = items.get(at + 1..).unwrap_or_default();
        let found = interpreter.script_in(behind);
        match found {
            Found::Variable(place) => return Some(at + 1 + place),
            // What comes now is for the script.
            Found::Script => return None,
            Found::Nothing => {}
        }
    }
    None
}

enum Found {
    /// A variable where it must not be.
    Variable(usize),
    /// A script without variables, and the rest is for it.
    Script,
    Nothing,
}

impl Interpreter {
    fn named(text: &str) -> Option<&'static Self> {
        let name = text.rsplit('/').next()?;
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
        INTERPRETERS.iter().find(|interpreter| interpreter.names.contains(&name))
    }

    fn script_in(&self, items: &[Item]) -> Found {
        let first_variable = |from: usize| {
            let place = items.iter().skip(from).position(|item| item.has_variables);
            place.map_or(Found::Nothing, |place| Found::Variable(from + place))
        };
        match self.reads {
            Reads::All => first_variable(0),
            Reads::Split => {
                let leads = |item: &&Item| item.text.starts_with('-') || item.text.contains('=');
                let splits = items.iter().take_while(leads).position(|item| self.is_script(&item.text).is_some());
                splits.map_or(Found::Nothing, first_variable)
            }
            Reads::Anywhere => {
                for (at, item) in items.iter().enumerate() {
                    let Some(in_next) = self.is_script(&item.text) else {
                        continue;
                    };
                    let place = at + usize::from(in_next);
                    if items.get(place).is_some_and(|item| item.has_variables) {
                        return Found::Variable(place);
                    }
                }
                Found::Nothing
            }
            Reads::Shell | Reads::Option | Reads::First => self.in_options(items),
        }
    }

    /// Whether an argument is an option for a script: true if the script is the next argument, false if it is the rest of
    /// this one.
    fn is_script(&self, text: &str) -> Option<bool> {
        if let Some(word) = text.strip_prefix("--") {
            let (name, glued) = word.split_once('=').map_or((word, false), |(name, _)| (name, true));
            return self.words.contains(&name).then_some(!glued);
        }
        let letters = text.strip_prefix('-')?;
        let place = letters.find(|c| self.letters.contains(c))?;
        Some(self.reads == Reads::Shell || place + 1 == letters.len())
    }

    fn in_options(&self, items: &[Item]) -> Found {
        let mut awaits = self.reads == Reads::First;
        let (mut has_script, mut is_value, mut are_over) = (false, false, false);
        for (at, item) in items.iter().enumerate() {
            if std::mem::take(&mut is_value) {
                continue;
            }
            let text = item.text.as_str();
            if !are_over && text.len() > 1 && text.starts_with(['-', '+']) {
                if item.has_variables {
                    return Found::Variable(at);
                }
                are_over = text == "--";
                let last = text.chars().next_back().unwrap_or_default();
                match self.is_script(text) {
                    Some(true) => awaits = true,
                    Some(false) => (awaits, has_script) = (false, true),
                    None if text.starts_with("--") => {}
                    None if self.files.contains(last) => (awaits, has_script, is_value) = (false, true, true),
                    None => is_value = self.values.contains(last),
                }
            } else if awaits || !has_script {
                // It is the script, or the name of its file.
                if item.has_variables {
                    return Found::Variable(at);
                }
                if self.reads == Reads::Shell || !awaits {
                    return Found::Script;
                }
                (awaits, has_script) = (false, true);
            } else {
                return Found::Script;
            }
        }
        Found::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(items: &[&str]) -> Option<usize> {
        let command: Vec<Of<Template>> = items.iter().map(|item| Of(item.parse().unwrap())).collect();
        script_with_variable(&command)
    }

    #[test]
    fn a_variable_in_a_script_is_found_behind_any_wrapper() {
        let shell = "echo {stream}";
        for items in [
            &["sh", "-c", shell][..],
            &["/bin/sh", "-ec", shell],
            &["sh", "-c", "--", shell],
            &["sh", "-c", "-e", shell],
            &["bash", "-euo", "pipefail", "-c", shell],
            &["bash-5.2", "--norc", "-c", shell],
            &["nice", "-n", "1", "sh", "-c", shell],
            &["env", "A=b", "sh", "-c", shell],
            &["env", "-S", "sh -c", shell],
            &["env", "-iS", "{stream}"],
            &["env", "-Secho {stream}"],
            &["env", "--split-string=echo {stream}"],
            &["busybox", "sh", "-c", shell],
            &["timeout", "10", "setpriv", "--reuid", "x", "sh", "-c", shell],
            &["systemd-run", "--scope", "sh", "-c", shell],
            &["sudo", "-u", "x", "ionice", "-c", "3", "sh", "-c", shell],
            &["xargs", "-I", "x", "sh", "-c", shell],
            &["docker", "run", "image", "sh", "-c", shell],
            &["su", "user", "-c", shell],
            &["su", "-lc", shell, "user"],
            &["su", "--command=echo {stream}"],
            &["ssh", "host", shell],
            &["ssh", "host", "echo", "{stream}"],
            &["sh", "{stream}"],
            &["eval", shell],
            &["perl", "-e", shell],
            &["perl", "-E", shell],
            &["perl", "-lane", shell],
            &["perl", "-I", "/lib", "-e", shell],
            &["perl", "-e", "print 1;", "-e", shell],
            &["perl", "-eprint `echo {stream}`"],
            &["python3.11", "-c", shell],
            &["python3", "-W", "ignore", "-c", shell],
            &["python3", "-cprint('{stream}')"],
            &["ruby", "-e", shell],
            &["php8.2", "-r", shell],
            &["lua5.4", "-e", shell],
            &["node", "-p", shell],
            &["node", "--eval=f('{stream}')"],
            &["nodejs", "--eval", shell],
            &["pwsh", "-Command", shell],
            &["awk", "BEGIN {{ print \"{stream}\" }}"],
            &["awk", "-F", ",", "-v", "x=1", "{{ print \"{stream}\" }}"],
            &["sed", "-n", "s/x/{stream}/"],
            &["sed", "-e", "s/x/y/", "-e", "s/x/{stream}/"],
        ] {
            let variable = items.iter().position(|item| item.contains("{stream}"));
            assert_eq!(place(items), variable, "{items:?}");
        }
    }

    #[test]
    fn a_variable_beside_a_script_is_fine() {
        for items in [
            &["sh", "-c", "echo \"$1\"", "sh", "{stream}"][..],
            &["nice", "-n", "1", "sh", "-c", "echo \"$1\"", "sh", "{stream}"],
            &["sh", "-c", "--", "echo \"$1\"", "sh", "{stream}"],
            &["sh", "/opt/x.sh", "-c", "{stream}"],
            &["python3", "/opt/x.py", "-c", "{stream}"],
            &["python3", "-m", "tool", "{stream}"],
            &["perl", "/opt/x.pl", "-name", "{stream}"],
            &["perl", "-e", "print $ARGV[0]", "{stream}"],
            &["perl", "-eprint $ARGV[0]", "--", "{stream}"],
            &["awk", "-v", "name={stream}", "BEGIN {{ print name }}"],
            &["awk", "-f", "/opt/x.awk", "{stream}"],
            &["sed", "-e", "s/x/y/", "/srv/{stream_file}"],
            &["env", "NAME={stream}", "/opt/tool", "{stream}"],
            &["su", "user", "-c", "/opt/tool \"$0\"", "--", "{stream}"],
            &["ffmpeg", "-c", "copy", "-e", "{stream}", "-f", "flv", "{output:{stream}_copy}"],
            &["ffmpeg", "-i", "{input}", "-c:v", "libx264", "-metadata", "title={stream}"],
        ] {
            assert_eq!(place(items), None, "{items:?}");
        }
    }
}
