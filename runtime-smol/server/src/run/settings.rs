use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use anabranch_core::policy::StreamPattern;
use anabranch_core::url::StreamKey;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::script::script_with_variable;
use super::template::Template;
use crate::settings::values::{Secret, Time};
use crate::settings::written::Of;

/// Shorter texts are no secrets: to leave them out would garble the log.
const SHORTEST_SECRET: usize = 8;

/// A program that the server starts when a stream begins and ends when the stream is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RunSettings {
    /// The name in the log, the API and the metrics; "" for the name of the program.
    pub(crate) name: String,
    /// The streams, as APP/STREAM. * stands for any characters, including slashes, and ? for one character.
    pub(crate) streams: Vec<Of<StreamPattern>>,
    /// The program and its arguments. In arguments, {vhost}, {app}, {stream}, {params}, {address}, {connection} and {time}
    /// stand for what is known of the publication, {vhost_file}, {app_file} and {stream_file} for names that are safe in
    /// names of files, {environment:NAME} for a value of environment, which is shown to users of the machine only, {input} for a URL that plays the stream, and {output:NAME} for a URL that publishes the stream NAME, such as
    /// {output:{stream}_720p}. A variable stays within its argument. If a client's name would become an option, because
    /// the argument would begin with -, the program is not started.
    pub(crate) command: Vec<Of<Template>>,
    /// When the program is started again while the stream goes on: if it ends with an error or by a signal
    /// ("on_failure"), whenever it ends ("always"), or not at all ("never").
    pub(crate) restart: Restart,
    /// The wait before the first restart. Each further wait is twice as long, up to restart_most, and each is up to a
    /// quarter shorter or longer, so that not all programs start at once.
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "1h"))]
    pub(crate) restart_after: Time,
    /// The longest wait before a restart. A program that has run for this long waits as before its first restart.
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "24h"))]
    pub(crate) restart_most: Time,
    /// How often it may be started for one stream within a minute, whatever ends it or the stream.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) starts: u32,
    /// How long the program may go on after SIGTERM, before the server kills it and all programs that it has started
    /// (SIGKILL).
    #[schemars(extend("x-maximum" = "10m"))]
    pub(crate) grace: Time,
    /// The folder that the program works in; "" for that of the server.
    pub(crate) folder: PathBuf,
    /// Variables of the environment, as NAME = "VALUE". Values may have the same variables as arguments. They are not
    /// shown.
    pub(crate) environment: BTreeMap<String, Secret>,
    /// Names of variables that the program gets from the server's environment.
    pub(crate) inherit: Vec<String>,
    /// Lines of the program's output that the log gets each second; in a burst ten times as many. More are counted and
    /// left out. 0 for none.
    #[schemars(range(max = 10_000))]
    pub(crate) log_lines: u32,
    /// Whether it is started for streams that other servers push here, too. The server that pushes may have the same
    /// entry; then two programs make the same, and two servers that push to each other start programs without end.
    pub(crate) relayed: bool,
}

/// When a program is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Restart {
    #[default]
    OnFailure,
    Always,
    Never,
}

impl Default for RunSettings {
    fn default() -> Self {
        RunSettings {
            name: String::new(),
            streams: Vec::new(),
            command: Vec::new(),
            restart: Restart::OnFailure,
            restart_after: Time(Duration::from_secs(1)),
            restart_most: Time(Duration::from_secs(60)),
            starts: 20,
            grace: Time(Duration::from_secs(5)),
            folder: PathBuf::new(),
            environment: BTreeMap::new(),
            inherit: Vec::new(),
            log_lines: 10,
            relayed: false,
        }
    }
}

impl RunSettings {
    /// Whether the program is for a stream, which another server may push here.
    pub(super) fn wants(&self, stream: &StreamKey, is_relayed: bool) -> bool {
        (self.relayed || !is_relayed) && self.streams.iter().any(|Of(pattern)| pattern.matches(stream.path()))
    }

    /// The program, as it is written.
    pub(crate) fn program(&self) -> String {
        self.command.first().map(|Of(program)| crate::settings::written::Text::text(program)).unwrap_or_default()
    }

    /// What the log calls it.
    pub(crate) fn label(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        let program = self.program();
        let name = FilePath::new(&program).file_name().map(|name| name.to_string_lossy().into_owned());
        name.unwrap_or(program)
    }

    /// Whether it needs a URL of this server.
    pub(crate) fn has_url(&self) -> bool {
        let values = self.environment.values().filter_map(|value| value.0.parse::<Template>().ok());
        self.command.iter().any(|Of(part)| part.has_url()) || values.into_iter().any(|value| value.has_url())
    }

    /// What is wrong with the values: the key, and the words.
    pub(crate) fn wrong(&self) -> Vec<(&'static str, Option<usize>, String)> {
        let mut wrong = Vec::new();
        if self.streams.is_empty() {
            wrong.push(("streams", None, "a run needs at least one pattern of streams, such as \"live/*\"".to_owned()));
        }
        match self.command.first() {
            None => {
                let words = "a run needs a program and its arguments, such as [\"ffmpeg\", \"-i\", \"{input}\", ...]";
                wrong.push(("command", None, words.to_owned()));
            }
            Some(Of(program)) if program.has_variables() || self.program().is_empty() => {
                let words = "the first item is the program, and must have a name without variables";
                wrong.push(("command", Some(0), words.to_owned()));
            }
            Some(_) => {}
        }
        if let Some(index) = script_with_variable(&self.command) {
            let words = "a client's name would be a part of a script here: give it to the script as a separate \
                         argument, as in [\"sh\", \"-c\", 'echo \"$1\"', \"sh\", \"{stream}\"], or in the environment";
            wrong.push(("command", Some(index), words.to_owned()));
        }
        for (name, value) in &self.environment {
            if name.is_empty() || name.contains(['=', '\0']) {
                wrong.push(("environment", None, format!("{name:?} cannot be the name of a variable")));
            }
            // The value may be a secret, and the error would show it.
            let is_value = value.0.parse::<Template>().is_ok_and(|value| value.secrets_named().next().is_none());
            if !is_value {
                let words = format!("the value of {name} has a variable that is not known here, or a single brace");
                wrong.push(("environment", None, words));
            }
        }
        if let Some(index) = self.inherit.iter().position(|name| name.is_empty() || name.contains(['=', '\0'])) {
            wrong.push(("inherit", Some(index), "this cannot be the name of a variable".to_owned()));
        }
        for (index, Of(part)) in self.command.iter().enumerate() {
            if let Some(name) = part.secrets_named().find(|name| !self.environment.contains_key(*name)) {
                let words = format!("{{environment:{name}}} stands for {name} in environment, which is not there");
                wrong.push(("command", Some(index), words));
            }
        }
        if self.restart_after.0 > self.restart_most.0 {
            wrong.push(("restart_most", None, "it is less than restart_after".to_owned()));
        }
        wrong
    }

    /// An argument that is the name of a file for streams of several apps.
    pub(crate) fn collides(&self) -> Option<usize> {
        let of_several = |Of(pattern): &Of<StreamPattern>| {
            let text = crate::settings::written::Text::text(pattern);
            text.rsplit_once('/').is_none_or(|(app, _)| app.contains(['*', '?']))
        };
        let is_several = self.streams.len() > 1 || self.streams.iter().any(of_several);
        self.command.iter().position(|Of(part)| is_several && part.names_files_of_several_apps())
    }

    /// Where the program is looked for: its PATH.
    pub(crate) fn places(&self) -> OsString {
        let own = self.environment.get("PATH").and_then(|value| value.0.parse::<Template>().ok());
        own.and_then(|value| value.without_variables())
            .map_or_else(|| env::var_os("PATH").unwrap_or_default(), Into::into)
    }

    /// Texts that must not come into the log, if the program writes them: values of `environment`, and what in URLs of the
    /// command may be a key.
    pub(super) fn secrets(&self) -> Vec<String> {
        let values = self.environment.iter().filter(|(name, _)| *name != "PATH");
        let values = values.filter_map(|(_, value)| value.0.parse::<Template>().ok());
        let values = values.flat_map(|value| value.texts().map(str::to_owned).collect::<Vec<_>>());
        let arguments = self.command.iter().flat_map(|Of(part)| part.texts()).flat_map(keys_in);
        values.chain(arguments.map(str::to_owned)).filter(|secret| secret.len() >= SHORTEST_SECRET).collect()
    }
}

/// What in a URL may be a key: all behind the last slash, or the values of a query.
fn keys_in(text: &str) -> Vec<&str> {
    let Some((_, url)) = text.split_once("://") else {
        return Vec::new();
    };
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let last = path.rsplit_once('/').map(|(_, last)| last);
    let values = query.split('&').filter_map(|pair| pair.split_once('=').map(|(_, value)| value));
    last.into_iter().chain(values).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> RunSettings {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_cure() {
        let fine = "streams = ['live/*']\ncommand = ['ffmpeg', '-i', '{input}']";
        assert_eq!(read(fine).wrong(), []);
        for (text, key, index, words) in [
            ("command = ['x']", "streams", None, "at least one pattern"),
            ("streams = ['live/*']", "command", None, "needs a program"),
            ("streams = ['live/*']\ncommand = ['{app}']", "command", Some(0), "without variables"),
            ("streams = ['live/*']\ncommand = ['']", "command", Some(0), "must have a name"),
            ("streams = ['live/*']\ncommand = ['/bin/sh', '-ec', 'echo {stream}']", "command", Some(2), "\"$1\""),
            ("streams = ['live/*']\ncommand = ['perl', '-e', 'print {app}']", "command", Some(2), "script"),
        ] {
            let wrong = read(text).wrong();
            assert!(wrong.len() == 1 && (wrong[0].0, wrong[0].1) == (key, index), "{text}: {wrong:?}");
            assert!(wrong[0].2.contains(words), "{wrong:?}");
        }
        let shell = "streams = ['live/*']\ncommand = ['sh', '-c', 'echo \"$1\"', 'sh', '{stream}']";
        assert_eq!(read(shell).wrong(), []);
        let secret = read(&format!("{fine}\n[environment]\nKEY = 's3cret {{stram}}'\n'A=B' = ''"));
        let words = format!("{:?}", secret.wrong());
        assert!(words.contains("KEY") && words.contains("A=B") && !words.contains("s3cret"), "{words}");
    }

    #[test]
    fn what_may_be_a_secret_is_known() {
        let text = "command = ['x', '-i', '{input}', 'rtmp://a.example/live2/abcd-efgh-ijkl', 'srt://b:9?passphrase=0123456789&m=1']
                    [environment]\nPATH = '/usr/local/bin'\nKEY = 'a long secret'\nSHORT = 'no'\nNAME = '{app}/{stream}'";
        let mut secrets = read(text).secrets();
        secrets.sort();
        assert_eq!(secrets, ["0123456789", "a long secret", "abcd-efgh-ijkl"]);
        assert_eq!(read(text).places(), "/usr/local/bin");
        let named = |text: &str| read(&format!("streams = ['live/*']\n{text}")).wrong();
        assert_eq!(named("command = ['x', '{environment:KEY}']\n[environment]\nKEY = 'a'"), []);
        let wrong = named("command = ['x', '{environment:KEY}']");
        assert!(wrong.len() == 1 && wrong[0].2.contains("KEY in environment, which is not there"), "{wrong:?}");
        assert_eq!(named("command = ['x']\n[environment]\nA = '{environment:B}'\nB = ''").len(), 1, "not in itself");
    }

    #[test]
    fn it_is_called_by_its_name_or_by_its_program() {
        assert_eq!(read("command = ['/usr/bin/ffmpeg', '-i']").label(), "ffmpeg");
        assert_eq!(read("name = 'ladder'\ncommand = ['ffmpeg']").label(), "ladder");
        assert!(read("command = ['x', 'a{output:y}']").has_url());
        assert!(read("command = ['x']\n[environment]\nU = '{input}'").has_url());
        assert!(!read("command = ['x', '{stream}']").has_url());
    }
}
