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

/// Recording of streams into files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RecordSettings {
    /// The streams to record, as APP/STREAM. * stands for any characters, including slashes, and ? for one character.
    /// By default no stream is recorded.
    pub(crate) streams: Vec<Of<StreamPattern>>,
    /// The folder for the files.
    pub(crate) folder: PathBuf,
    /// The name of a file, relative to the folder. {vhost}, {app} and {stream} are replaced by the names, {time} by the
    /// UTC time at which the file begins, {format} by the format. An existing file is never overwritten: the new one gets
    /// a number.
    pub(crate) file: Of<FilePattern>,
    /// The format of the files: "flv" holds every codec and all data; "mp4" is fragmented MP4, which browsers and most
    /// other programs play. Both can be played after a crash.
    pub(crate) format: Format,
    /// The length of a file after which a new one begins, at the next key frame.
    #[schemars(extend("x-minimum" = "1s"))]
    pub(crate) max_duration: Time,
    /// The size of a file after which a new one begins, at the next key frame.
    #[schemars(extend("x-minimum" = "1MiB"))]
    pub(crate) max_size: Size,
    /// How long a file must have lasted, by the clock, before a different video sequence header begins a new one. Until
    /// then such a header is written into the file, where players take it for a change of size or codec settings. In
    /// format "mp4" every different header begins a new file, at the next key frame.
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
            format: Format::Flv,
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

    /// # Errors
    /// The files' names say that they have another format.
    pub(crate) fn check_file(&self) -> Result<(), String> {
        let ending = self.file.0.ending();
        let other = Format::ALL.into_iter().find(|format| *format != self.format && ending == Some(format.name()));
        match other {
            None => Ok(()),
            Some(_) => Err(format!(
                "{:?} is not the name of a file in format {:?}: write {{format}} for the ending",
                self.file.0.text(),
                self.format.name()
            )),
        }
    }
}

/// The format of a recording's files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// FLV: the messages as they came.
    #[default]
    Flv,
    /// Fragmented MP4.
    Mp4,
}

impl Format {
    const ALL: [Format; 2] = [Format::Flv, Format::Mp4];

    /// The name in the settings, which is also the ending of file names.
    fn name(self) -> &'static str {
        match self {
            Format::Flv => "flv",
            Format::Mp4 => "mp4",
        }
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
    Format,
}

impl FilePattern {
    /// The name that a file gets, relative to the folder.
    pub(super) fn file(&self, name: &FileName<'_>, format: Format) -> PathBuf {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Vhost => name.vhost(),
            Part::App => name.app(),
            Part::Stream => name.stream(),
            Part::Time => name.time(),
            Part::Format => format.name().to_owned(),
        };
        self.0.iter().map(text).collect::<String>().into()
    }

    /// What follows the last dot of the name, if that is written there.
    fn ending(&self) -> Option<&str> {
        let Some(Part::Text(last)) = self.0.iter().rev().find(|part| **part != Part::Text(String::new())) else {
            return None;
        };
        last.rsplit_once('.').map(|(_, ending)| ending)
    }
}

impl Default for FilePattern {
    fn default() -> Self {
        let text = |text: &str| Part::Text(text.to_owned());
        FilePattern(vec![Part::App, text("/"), Part::Stream, text("-"), Part::Time, text("."), Part::Format])
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
                "format" => Part::Format,
                _ => return Err(wrong("has more in {} than vhost, app, stream, time and format")),
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
    const FORM: &'static str = "a file name such as \"{app}/{stream}-{time}.{format}\"";

    fn text(&self) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Vhost => "{vhost}".to_owned(),
            Part::App => "{app}".to_owned(),
            Part::Stream => "{stream}".to_owned(),
            Part::Time => "{time}".to_owned(),
            Part::Format => "{format}".to_owned(),
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
        let default = FilePattern::default();
        assert_eq!(read(&default.text()).unwrap().text(), "{app}/{stream}-{time}.{format}");
    }

    #[test]
    fn a_name_does_not_end_with_that_of_another_format() {
        let with =
            |file: &str, format| RecordSettings { file: Of(file.parse().unwrap()), format, ..Default::default() };
        for file in ["{stream}", "{stream}.{format}", "{stream}.bin", "{app}.flv/{stream}", "{time}.mp4"] {
            assert_eq!(with(file, Format::Mp4).check_file(), Ok(()), "{file}");
        }
        let error = with("{stream}-{time}.flv", Format::Mp4).check_file().unwrap_err();
        assert!(error.contains("write {format} for the ending"), "{error}");
        assert!(with("{stream}.mp4", Format::Flv).check_file().is_err());
    }
}
