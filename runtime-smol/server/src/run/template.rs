//! Texts with variables: arguments and values of the environment.

use std::fmt::Write;
use std::str::FromStr;
use std::time::SystemTime;

use anabranch_core::url::{NameError, StreamKey};
use time::UtcDateTime;

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
}

/// A variable that stands for a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    Vhost,
    App,
    Stream,
    AppFile,
    StreamFile,
    Params,
    Address,
    Connection,
    Time,
}

const VARIABLES: [(&str, Variable); 9] = [
    ("vhost", Variable::Vhost),
    ("app", Variable::App),
    ("stream", Variable::Stream),
    ("app_file", Variable::AppFile),
    ("stream_file", Variable::StreamFile),
    ("params", Variable::Params),
    ("address", Variable::Address),
    ("connection", Variable::Connection),
    ("time", Variable::Time),
];

const KNOWN: &str = "known are {vhost}, {app}, {stream}, {app_file}, {stream_file}, {params}, {address}, {connection}, \
                     {time}, {input} and {output:NAME}; a brace is written twice, {{ or }}";

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

    /// The text as an argument of a program. A value must not become an option.
    pub(super) fn argument(&self, values: &Values<'_>, urls: &dyn Urls) -> Result<String, NotExpanded> {
        let text = self.value(values, urls)?;
        let first = self.parts.iter().find_map(|part| match part {
            Part::Text(text) if text.is_empty() => None,
            Part::Value(variable) if variable.value(values).is_empty() => None,
            part => Some(part),
        });
        if let Some(Part::Value(variable)) = first
            && text.starts_with('-')
        {
            return Err(NotExpanded::Option(variable.name(), variable.value(values)));
        }
        Ok(text)
    }

    /// The text for other uses.
    pub(super) fn value(&self, values: &Values<'_>, urls: &dyn Urls) -> Result<String, NotExpanded> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Value(variable) => text.push_str(&variable.value(values)),
                Part::Input => text.push_str(&urls.input(values.key).ok_or(NotExpanded::NoAddress)?),
                Part::Output(name) => {
                    let key = output(name, values, urls)?;
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

/// The stream that an output is published as: `STREAM` in the same app, or `APP/STREAM`.
fn output(name: &Template, values: &Values<'_>, urls: &dyn Urls) -> Result<StreamKey, NotExpanded> {
    let path = name.value(values, urls)?;
    let (app, stream) = path.rsplit_once('/').unwrap_or((values.key.app(), &path));
    let key = StreamKey::new(values.key.vhost(), app, stream);
    let key = key.map_err(|error| NotExpanded::Output(name.text.clone(), error))?;
    if key == *values.key { Err(NotExpanded::Itself(name.text.clone())) } else { Ok(key) }
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
/// for each of their bytes. Different names stay different. No `%`, because ffmpeg reads it in names of files.
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
        let values = Values {
            key: &key,
            params: "a=1&token=x",
            address: "192.0.2.7",
            connection: 12,
            begun: UNIX_EPOCH + Duration::from_secs(1_795_689_790),
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
        assert!(expand("{stream}", "live", "-rf").unwrap_err().contains("{stream} is \"-rf\""));
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
        assert_eq!(expand("{app_file}-{stream_file}", "live/x", "-cam").as_deref(), Ok("live~2Fx-~2Dcam"));
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
