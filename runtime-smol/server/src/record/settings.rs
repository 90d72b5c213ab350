use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anabranch_core::policy::StreamPattern;
use anabranch_core::url::StreamKey;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::FileName;
use crate::settings::values::{Size, Time};
use crate::settings::written::{Of, Text};

/// Recording of streams into FLV files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RecordSettings {
    /// The streams to record, as APP/STREAM. * stands for any characters, including slashes, and ? for one character.
    /// By default no stream is recorded.
    pub(crate) streams: Vec<Of<StreamPattern>>,
    /// The folder for the files.
    pub(crate) folder: PathBuf,
    /// The name of a file, relative to the folder. {vhost}, {app} and {stream} are replaced by the names, {time} by the
    /// UTC time at which the file begins. An existing file is never overwritten: the new one gets a number.
    pub(crate) file: Of<FilePattern>,
    /// The length of a file after which a new one begins, at the next key frame.
    #[schemars(extend("x-minimum" = "1s"))]
    pub(crate) max_duration: Time,
    /// The size of a file after which a new one begins, at the next key frame.
    #[schemars(extend("x-minimum" = "1MiB"))]
    pub(crate) max_size: Size,
    /// How long a file must have lasted, by the clock, before a different video sequence header begins a new one. Until
    /// then such a header is written into the file, where players take it for a change of size or codec settings.
    pub(crate) min_duration: Time,
    /// Space that must stay free on the disk: with less, nothing is recorded.
    pub(crate) min_free: Size,
}

impl Default for RecordSettings {
    fn default() -> Self {
        RecordSettings {
            streams: Vec::new(),
            folder: PathBuf::from("recordings"),
            file: Of(FilePattern::default()),
            max_duration: Time::NEVER,
            max_size: Size::UNLIMITED,
            min_duration: Time(Duration::from_secs(10)),
            min_free: Size(1 << 30),
        }
    }
}

impl RecordSettings {
    /// Whether a stream is to be recorded.
    pub(crate) fn wants(&self, stream: &StreamKey) -> bool {
        self.streams.iter().any(|Of(pattern)| pattern.matches(stream.path()))
    }
}

/// How files are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilePattern(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Vhost,
    App,
    Stream,
    Time,
}

impl FilePattern {
    /// The name that a file gets, relative to the folder.
    pub(super) fn file(&self, name: &FileName<'_>) -> PathBuf {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Vhost => name.vhost(),
            Part::App => name.app(),
            Part::Stream => name.stream(),
            Part::Time => name.time(),
        };
        self.0.iter().map(text).collect::<String>().into()
    }
}

impl Default for FilePattern {
    fn default() -> Self {
        let text = |text: &str| Part::Text(text.to_owned());
        FilePattern(vec![Part::App, text("/"), Part::Stream, text("-"), Part::Time, text(".flv")])
    }
}

impl FromStr for FilePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("the file name {text:?} {why}");
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let (name, behind) = behind.split_once('}').ok_or_else(|| wrong("has a { without }"))?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(match name {
                "vhost" => Part::Vhost,
                "app" => Part::App,
                "stream" => Part::Stream,
                "time" => Part::Time,
                _ => return Err(wrong("has more in {} than vhost, app, stream and time")),
            });
            rest = behind;
        }
        parts.push(Part::Text(rest.to_owned()));
        let normal = |component: Component<'_>| matches!(component, Component::Normal(_));
        if text.is_empty() || text.ends_with('/') || text.contains('\0') || !Path::new(text).components().all(normal) {
            return Err(wrong("does not name a file below the folder"));
        }
        Ok(FilePattern(parts))
    }
}

impl Text for FilePattern {
    const FORM: &'static str = "a file name such as \"{app}/{stream}-{time}.flv\"";

    fn text(&self) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Vhost => "{vhost}".to_owned(),
            Part::App => "{app}".to_owned(),
            Part::Stream => "{stream}".to_owned(),
            Part::Time => "{time}".to_owned(),
        };
        self.0.iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_files_stay_below_the_folder() {
        let read = |text: &str| text.parse::<FilePattern>();
        for wrong in ["", "/{stream}", "../{stream}", "a/../{stream}", "{stream", "{name}", "{stream}/", "a\0"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(read("{app}/{stream}-{time}.flv").unwrap().0[1..], FilePattern::default().0[..]);
    }
}
