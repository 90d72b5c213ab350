//! Texts with variables: arguments and values of the environment.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::str::FromStr;
use std::time::SystemTime;

use anabranch_core::url::{NameError, StreamKey};
use sha2::{Digest, Sha256};
use time::UtcDateTime;

use crate::settings::values::Secret;
use crate::settings::written::Text;

/// The most bytes of an argument as it is written in the configuration.
const LONGEST: usize = 8 << 10;

/// A text in which `{NAME}` stands for a value of the stream; `{{` and `}}` are braces. All that a variable stands for
/// goes into this text, whatever characters it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Variable),
    Input,
    /// The name of the stream that is published, without virtual host.
    Output(Box<Template>),
    /// A value of `environment`, which is not shown.
    Environment(String),
}

/// A variable that stands for a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    Vhost,
    App,
    Stream,
    VhostFile,
    AppFile,
    StreamFile,
    Params,
    Address,
    Connection,
    Time,
}

const VARIABLES: [(&str, Variable); 10] = [
    ("vhost", Variable::Vhost),
    ("app", Variable::App),
    ("stream", Variable::Stream),
    ("vhost_file", Variable::VhostFile),
    ("app_file", Variable::AppFile),
    ("stream_file", Variable::StreamFile),
    ("params", Variable::Params),
    ("address", Variable::Address),
    ("connection", Variable::Connection),
    ("time", Variable::Time),
];

const KNOWN: &str = "known are {vhost}, {app}, {stream}, {vhost_file}, {app_file}, {stream_file}, {params}, {address}, \
                     {connection}, {time}, {environment:NAME}, {input} and {output:NAME}; a brace is written twice, {{ or }}";
/// The most bytes of a name in the name of a file. Three of them and some text more are within the 255 bytes that file
/// systems take.
const LONGEST_FILE: usize = 72;
/// Hex digits of the hash of a name that is longer.
const HASH: usize = 32;
/// Ends of names that FFmpeg takes for a type, and changes.
const TYPES: [&str; 3] = [".flv", ".f4v", ".mp4"];

/// What variables stand for.
#[derive(Debug, Clone)]
pub(super) struct Values<'a> {
    pub(super) key: &'a StreamKey,
    /// The query of the publisher's URL, without `?`.
    pub(super) params: &'a str,
    /// The address of the publisher; empty if it is not known.
    pub(super) address: &'a str,
    /// The number of the publisher's connection; 0 for the program itself.
    pub(super) connection: u64,
    /// When the publication began.
    pub(super) begun: SystemTime,
    /// What `{environment:NAME}` stands for, apart from variables.
    pub(super) environment: &'a BTreeMap<String, Secret>,
}

/// Makes the URLs of a program.
pub(super) trait Urls {
    /// The URL that plays the stream.
    fn input(&self, key: &StreamKey) -> Option<String>;
    /// The URL that publishes the stream.
    fn output(&self, key: &StreamKey) -> Option<String>;
}

/// Why a text cannot be made for a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotExpanded {
    /// A client could give the program an option that way.
    #[error("{{{0}}} is {1:?} and would be an option of the program, because the argument would begin with -")]
    Option(&'static str, String),
    /// The same for a value that may have secrets.
    #[error("{{{0}}} begins with - and would be an option of the program")]
    SecretOption(&'static str),
    /// Programs change such a name in a URL, or read options behind it.
    #[error("{{{0}}} has the name {1:?}, which programs do not take from a URL as it is: {2}")]
    Url(&'static str, String, &'static str),
    #[error("{{environment:{0}}} has no value")]
    NoValue(String),
    #[error("{{output:{0}}} names no stream: {1}")]
    Output(String, NameError),
    #[error("{{output:{0}}} is the stream itself")]
    Itself(String),
    #[error("there is no address for {{input}} and {{output}}: no plain RTMP address of this server is on loopback")]
    NoAddress,
}

impl Template {
    /// Whether it has a variable.
    pub(crate) fn has_variables(&self) -> bool {
        self.parts.iter().any(|part| !matches!(part, Part::Text(_)))
    }

    /// Whether it has a URL of this server.
    pub(crate) fn has_url(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Input | Part::Output(_)))
    }

    /// The text, if it has no variables.
    pub(crate) fn without_variables(&self) -> Option<String> {
        match &self.parts[..] {
            [] => Some(String::new()),
            [Part::Text(text)] => Some(text.clone()),
            _ => None,
        }
    }

    /// The parts that are no variables.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The names of `{environment:NAME}`.
    pub(super) fn secrets_named(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Environment(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether its text is different for each stream that the patterns match: whether all names of files have the app.
    pub(crate) fn names_files_of_several_apps(&self) -> bool {
        let has = |variable| self.parts.contains(&Part::Value(variable));
        has(Variable::StreamFile) && !has(Variable::AppFile) && !has(Variable::App)
    }

    /// The text as an argument of a program. A value must not become an option.
    pub(super) fn argument(&self, values: &Values<'_>, urls: &dyn Urls) -> Result<String, NotExpanded> {
        let text = self.value(values, urls)?;
        if let Some(First::OfClient(variable)) = self.first(values)
            && text.starts_with('-')
        {
            return Err(match variable {
                Variable::Params => NotExpanded::SecretOption(variable.name()),
                _ => NotExpanded::Option(variable.name(), variable.value(values)),
            });
        }
        Ok(text)
    }

    /// What the text begins with; `None` if it is empty.
    fn first(&self, values: &Values<'_>) -> Option<First> {
        self.parts.iter().find_map(|part| match part {
            Part::Text(text) => (!text.is_empty()).then_some(First::OfOperator),
            Part::Value(variable) => (!variable.value(values).is_empty()).then_some(First::OfClient(*variable)),
            Part::Environment(name) => environment(name, values).ok()?.first(values),
            Part::Input | Part::Output(_) => Some(First::OfOperator),
        })
    }

    /// The text for other uses.
    pub(super) fn value(&self, values: &Values<'_>, urls: &dyn Urls) -> Result<String, NotExpanded> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Value(variable) => text.push_str(&variable.value(values)),
                Part::Input => {
                    is_taken("input", values.key)?;
                    text.push_str(&urls.input(values.key).ok_or(NotExpanded::NoAddress)?);
                }
                Part::Environment(name) => {
                    text.push_str(&environment(name, values)?.value(values, urls)?);
                }
                Part::Output(name) => {
                    let key = output(name, values, urls)?;
                    is_taken("output", &key)?;
                    text.push_str(&urls.output(&key).ok_or(NotExpanded::NoAddress)?);
                }
            }
        }
        Ok(text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("the text {text:?} {why}");
        if text.len() > LONGEST {
            return Err(format!("the text has {} bytes, the most is {LONGEST}", text.len()));
        }
        if text.contains('\0') {
            return Err(wrong("has a NUL character, which no program can get".to_owned()));
        }
        let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, after) = rest.split_at(at);
            literal.push_str(before);
            if after.starts_with("{{") || after.starts_with("}}") {
                literal.push_str(&after[..1]);
                rest = &after[2..];
                continue;
            }
            if after.starts_with('}') {
                return Err(wrong("has a } without {; a brace is written twice: }}".to_owned()));
            }
            let end =
                closing(after).ok_or_else(|| wrong("has a { without }; a brace is written twice: {{".to_owned()))?;
            let name = &after[1..end];
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::read(name).map_err(wrong)?);
            rest = &after[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Template { text: text.to_owned(), parts })
    }
}

/// Where the brace is closed that the text begins with.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

impl Part {
    fn read(name: &str) -> Result<Self, String> {
        if name == "input" {
            return Ok(Part::Input);
        }
        if let Some((_, variable)) = VARIABLES.iter().find(|(known, _)| *known == name) {
            return Ok(Part::Value(*variable));
        }
        if let Some(name) = name.strip_prefix("environment:").filter(|name| !name.is_empty()) {
            return Ok(Part::Environment(name.to_owned()));
        }
        if name == "output" || name == "output:" {
            let words = "has {output} without the name of the stream to publish: write it as in {output:{stream}_720p}";
            return Err(words.to_owned());
        }
        let Some(output) = name.strip_prefix("output:") else {
            return Err(format!("has {{{name}}}, which is no variable: {KNOWN}"));
        };
        let output = Template::parse(output)?;
        let allowed = |part: &Part| matches!(part, Part::Text(_) | Part::Value(Variable::App | Variable::Stream));
        if !output.parts.iter().all(allowed) {
            return Err(format!("has {{{name}}}: the name of an output may have {{app}} and {{stream}} only"));
        }
        if matches!(output.text.as_str(), "{stream}" | "{app}/{stream}") {
            return Err(format!("has {{{name}}}, which is the stream itself: write a name such as {{stream}}_720p"));
        }
        Ok(Part::Output(Box::new(output)))
    }
}

/// What an argument begins with.
enum First {
    /// What the configuration has: text, or a URL of this server.
    OfOperator,
    /// What a client may have chosen.
    OfClient(Variable),
}

/// The value of `{environment:NAME}`. It has no such variable, so what is made of it ends.
fn environment(name: &str, values: &Values<'_>) -> Result<Template, NotExpanded> {
    let value = values.environment.get(name).and_then(|value| value.0.parse::<Template>().ok());
    let value = value.filter(|value| value.secrets_named().next().is_none());
    value.ok_or_else(|| NotExpanded::NoValue(name.to_owned()))
}

/// The stream that an output is published as: `STREAM` in the same app, or `APP/STREAM`.
fn output(name: &Template, values: &Values<'_>, urls: &dyn Urls) -> Result<StreamKey, NotExpanded> {
    let path = name.value(values, urls)?;
    let (app, stream) = path.rsplit_once('/').unwrap_or((values.key.app(), &path));
    let key = StreamKey::new(values.key.vhost(), app, stream);
    let key = key.map_err(|error| NotExpanded::Output(name.text.clone(), error))?;
    if key == *values.key { Err(NotExpanded::Itself(name.text.clone())) } else { Ok(key) }
}

/// Whether programs take a stream's name from a URL as it is. FFmpeg leaves out all behind a blank, `.flv` at the end, and
/// makes `mp4:` of other ends; librtmp takes what is behind a blank for options of the connection, so that a client could
/// have the server's machine connect to another address.
fn is_taken(variable: &'static str, key: &StreamKey) -> Result<(), NotExpanded> {
    let path = key.path();
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\\' | '?' | '#');
    let why = if path.contains(is_odd) {
        "it has a blank, a quotation mark, a backslash, ? or #"
    } else if path.contains("slist=") {
        "slist= is a parameter of FFmpeg"
    } else if key.app().contains(':') {
        "the app has a colon"
    } else if TYPES.iter().any(|end| path.to_ascii_lowercase().ends_with(end)) {
        "FFmpeg takes the end of the name for a type"
    } else {
        return Ok(());
    };
    Err(NotExpanded::Url(variable, path.to_owned(), why))
}

impl Variable {
    fn name(self) -> &'static str {
        VARIABLES.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| *name)
    }

    fn value(self, values: &Values<'_>) -> String {
        match self {
            Variable::Vhost => values.key.vhost().to_owned(),
            Variable::App => values.key.app().to_owned(),
            Variable::Stream => values.key.stream().to_owned(),
            Variable::VhostFile => for_file(values.key.vhost()),
            Variable::AppFile => for_file(values.key.app()),
            Variable::StreamFile => for_file(values.key.stream()),
            Variable::Params => values.params.to_owned(),
            Variable::Address => values.address.to_owned(),
            Variable::Connection => values.connection.to_string(),
            Variable::Time => utc(values.begun),
        }
    }
}

/// A name as a part of a file's name: letters, digits, `_`, and `-` and dots inside stay; all other characters are `~XX`
/// for each of their bytes. Different names stay different: of a long one this is the beginning, and a hash of all. No
/// `%`, because ffmpeg reads it in names of files.
fn for_file(name: &str) -> String {
    let mut file = String::with_capacity(name.len());
    for (at, c) in name.char_indices() {
        if c.is_alphanumeric() || c == '_' || (matches!(c, '-' | '.') && at > 0) {
            file.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a String does not fail.
                let _ = write!(file, "~{byte:02X}");
            }
        }
    }
    if file.len() > LONGEST_FILE {
        let end = (0..=LONGEST_FILE - HASH - 2).rev().find(|at| file.is_char_boundary(*at)).unwrap_or_default();
        file.truncate(end);
        // No other name has two of them.
        file.push_str("~~");
        for byte in Sha256::digest(name).iter().take(HASH / 2) {
            let _ = write!(file, "{byte:02x}");
        }
    }
    file
}

/// `20261126T104310Z`.
fn utc(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let time = i64::try_from(since).ok().and_then(|since| UtcDateTime::from_unix_timestamp(since).ok());
    let time = time.unwrap_or(UtcDateTime::MAX);
    let ((year, month, day), (hour, minute, second)) = (time.to_calendar_date(), time.as_hms());
    format!("{year:04}{:02}{day:02}T{hour:02}{minute:02}{second:02}Z", u8::from(month))
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Template::parse(text)
    }
}

impl Text for Template {
    const FORM: &'static str = "a text, in which {stream} and other variables stand for values";

    fn text(&self) -> String {
        self.text.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    struct Shown;

    impl Urls for Shown {
        fn input(&self, key: &StreamKey) -> Option<String> {
            Some(format!("rtmp://in/{key}"))
        }

        fn output(&self, key: &StreamKey) -> Option<String> {
            Some(format!("rtmp://out/{key}"))
        }
    }

    fn expand(text: &str, app: &str, stream: &str) -> Result<String, String> {
        let key = StreamKey::new("v.example", app, stream).unwrap();
        let environment = [("KEY", "s3cret of {app}"), ("TITLE", "{stream}"), ("NONE", ""), ("OWN", "-{stream}")];
        let environment = environment.map(|(name, value)| (name.to_owned(), Secret(value.to_owned())));
        let environment = BTreeMap::from(environment);
        let values = Values {
            key: &key,
            params: "a=1&token=x",
            address: "192.0.2.7",
            connection: 12,
            begun: UNIX_EPOCH + Duration::from_secs(1_795_689_790),
            environment: &environment,
        };
        let template: Template = text.parse()?;
        template.argument(&values, &Shown).map_err(|error| error.to_string())
    }

    #[test]
    fn variables_stand_for_what_is_known_of_the_stream() {
        for (text, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("{vhost}|{app}|{stream}", "v.example|live/room|cam"),
            ("{params} {address} {connection} {time}", "a=1&token=x 192.0.2.7 12 20261126T104310Z"),
            ("{input}", "rtmp://in/live/room/cam?vhost=v.example"),
            ("{output:{stream}_720p}", "rtmp://out/live/room/cam_720p?vhost=v.example"),
            ("x={output:small/{app}/{stream}}", "x=rtmp://out/small/live/room/cam?vhost=v.example"),
            ("rtmp://x/{environment:KEY}", "rtmp://x/s3cret of live/room"),
            ("{{stream}} {{{stream}}}", "{stream} {cam}"),
            ("scale=-2:720", "scale=-2:720"),
            ("-re", "-re"),
        ] {
            assert_eq!(expand(text, "live/room", "cam").as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_wrong_is_told_with_its_cure() {
        for (text, words) in [
            ("{strem}", "{strem}, which is no variable: known are {vhost}"),
            ("{stream", "written twice: {{"),
            ("stream}", "written twice: }}"),
            ("{output}", "{output:{stream}_720p}"),
            ("{output:{stream}}", "the stream itself"),
            ("{output:{params}}", "{app} and {stream} only"),
            ("{output:{output:x}}", "{app} and {stream} only"),
            ("a\0b", "NUL"),
        ] {
            let error = text.parse::<Template>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!("x".repeat(LONGEST + 1).parse::<Template>().unwrap_err().contains("8193 bytes"));
    }

    #[test]
    fn a_clients_name_becomes_no_option_and_stays_one_argument() {
        for (text, stream) in [("{stream}", "-rf"), ("{stream}.flv", "-i"), ("{params}{stream}", "x")] {
            let expanded = expand(text, "live", stream);
            assert_eq!(expanded.is_err(), stream.starts_with('-'), "{text} {stream}: {expanded:?}");
        }
        for text in
            ["{stream}", "{environment:TITLE}", "{environment:NONE}{stream}", "{environment:NONE}{environment:TITLE}"]
        {
            assert!(expand(text, "live", "-rf").unwrap_err().contains("{stream} is \"-rf\""), "{text}");
        }
        assert_eq!(expand("{environment:OWN}", "live", "rf").as_deref(), Ok("-rf"), "the operator's own");
        assert_eq!(expand("{environment:NONE}-{stream}", "live", "rf").as_deref(), Ok("-rf"), "the operator's own");
        assert_eq!(expand("title={stream}", "live", "-rf").as_deref(), Ok("title=-rf"));
        assert_eq!(expand("-{stream}", "live", "rf").as_deref(), Ok("-rf"), "the operator's own");
        for stream in ["a b", "a'b\"c", "a;rm $(x) `y`", "*", "{app}", "a{b}"] {
            assert_eq!(expand("{stream}", "live", stream).as_deref(), Ok(stream));
            assert_eq!(expand("x {stream} y", "live", stream), Ok(format!("x {stream} y")));
        }
    }

    #[test]
    fn names_for_files_lead_nowhere() {
        for (name, file) in [
            ("cam-1_x.2", "cam-1_x.2"),
            ("-rf", "~2Drf"),
            (".hidden", "~2Ehidden"),
            ("a/../b", "a~2F..~2Fb"),
            ("a%03d", "a~2503d"),
            ("a~2F", "a~7E2F"),
            ("http:x y", "http~3Ax~20y"),
            ("кам", "кам"),
        ] {
            assert_eq!(for_file(name), file);
        }
        assert_eq!(
            expand("{vhost_file}+{app_file}+{stream_file}", "live/x", "-cam").as_deref(),
            Ok("v.example+live~2Fx+~2Dcam")
        );
        // No name has the sign between them, so that no two streams have one file.
        assert!(!for_file("a+b").contains('+'));
    }

    #[test]
    fn long_names_for_files_are_cut_and_stay_different() {
        let (one, two) = (format!("{}1", "%".repeat(400)), format!("{}2", "%".repeat(400)));
        assert!(for_file(&one).len() <= LONGEST_FILE && for_file(&one) != for_file(&two), "{}", for_file(&one));
        assert!(for_file(&"ä".repeat(100)).len() <= LONGEST_FILE);
        let kept = "x".repeat(LONGEST_FILE);
        assert_eq!(for_file(&kept), kept);
        let all = [for_file(&one), for_file(&two), for_file(&one)].join("+") + "_segment_0000001.m4s";
        assert!(all.len() <= 255, "{}", all.len());
    }

    #[test]
    fn names_that_programs_would_change_in_a_url_are_refused() {
        for (app, stream) in [
            ("live", "cam socks=198.51.100.7:1080"),
            ("my live", "cam"),
            ("live", "cam.flv"),
            ("live", "cam.MP4"),
            ("live", "slist=victim"),
            ("live", "a\"b"),
            ("live", "a\\20b"),
            ("a/b:c", "cam"),
        ] {
            assert!(expand("{input}", app, stream).unwrap_err().contains("{input} has the name"), "{app} {stream}");
            assert!(expand("{stream}", app, stream).is_ok(), "only in URLs");
        }
        assert!(expand("{output:{stream}.flv}", "live", "cam").unwrap_err().contains("{output} has the name"));
        for stream in ["cam", "cam.x", "mp4:cam", "cam=1&b", "flv", "кам"] {
            assert!(expand("{input}{output:{stream}_a}", "live", stream).is_ok(), "{stream}");
        }
    }

    #[test]
    fn a_clients_parameters_are_not_told_when_they_would_be_an_option() {
        let key = StreamKey::new("v.example", "live", "cam").unwrap();
        let environment = BTreeMap::new();
        let values = Values {
            key: &key,
            params: "-token=s3cret",
            address: "",
            connection: 1,
            begun: UNIX_EPOCH,
            environment: &environment,
        };
        let words = "{params}".parse::<Template>().unwrap().argument(&values, &Shown).unwrap_err().to_string();
        assert!(words.contains("{params}") && !words.contains("s3cret"), "{words}");
    }

    #[test]
    fn an_output_must_be_another_stream_with_a_valid_name() {
        assert!(expand("{output:live/{stream}}", "live", "cam").unwrap_err().contains("itself"));
        assert!(expand("{output:live/{stream}}", "other", "cam").is_ok());
        assert!(expand("{output:/{stream}}", "live", "cam").unwrap_err().contains("names no stream"));
        let long = "x".repeat(1000);
        assert!(
            expand(&format!("{{output:{}}}", "{stream}".repeat(20)), "live", &long)
                .unwrap_err()
                .contains("names no stream")
        );
    }
}
