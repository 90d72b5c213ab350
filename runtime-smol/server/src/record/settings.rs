use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::name::FileName;
use crate::time_span::TimeSpan;

/// Recording of streams into FLV files, as they come.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RecordSettings {
    /// Streams to record, as APP/STREAM, in which * stands for any characters, slashes included, and ? for one. Default
    /// none.
    pub(crate) streams: Vec<String>,
    /// The folder for the files.
    pub(crate) folder: PathBuf,
    /// The name of a file, below the folder: {vhost}, {app} and {stream} are names, {time} is when the file begins, in
    /// UTC. A file that exists is not touched: the new one gets a number.
    pub(crate) file: FilePattern,
    /// The length from which on a new file begins, at the next key frame, such as "1h". Default: none.
    pub(crate) max_duration: Option<TimeSpan>,
    /// The size from which on a new file begins, at the next key frame, in MiB. Default: none.
    #[schemars(range(min = 1))]
    pub(crate) max_size: Option<u64>,
    /// Space that is left free on the disk, in MiB: below that nothing is recorded.
    pub(crate) min_free: u64,
}

impl Default for RecordSettings {
    fn default() -> Self {
        RecordSettings {
            streams: Vec::new(),
            folder: PathBuf::from("recordings"),
            file: FilePattern::default(),
            max_duration: None,
            max_size: None,
            min_free: 1024,
        }
    }
}

impl RecordSettings {
    /// Whether a stream is to be recorded.
    pub(super) fn wants(&self, app: &str, stream: &str) -> bool {
        let path = format!("{app}/{stream}");
        self.streams.iter().any(|pattern| matches(pattern, &path))
    }
}

/// Whether `*` for any characters and `?` for one make the pattern this text.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut from) = (0, 0);
    // The last `*`, and where the text goes on behind what it stands for.
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(c) if *c == '?' || Some(c) == text.get(from) => {
                at += 1;
                from += 1;
            }
            _ => match &mut star {
                // It stands for one more.
                Some((star_at, end)) => {
                    *end += 1;
                    (at, from) = (*star_at + 1, *end);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

/// How files are named.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
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

impl TryFrom<String> for FilePattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |why: &str| format!("the file name {text:?} {why}");
        let mut parts = Vec::new();
        let mut rest = text.as_str();
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
        if text.is_empty() || text.ends_with('/') || text.contains('\0') || !Path::new(&text).components().all(normal) {
            return Err(wrong("does not name a file below the folder"));
        }
        Ok(FilePattern(parts))
    }
}

impl JsonSchema for FilePattern {
    fn schema_name() -> Cow<'static, str> {
        "FilePattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_streams() {
        for (pattern, text) in [
            ("live/*", "live/cam"),
            ("*", "live/room/cam"),
            ("live/cam?", "live/camé"),
            ("*/a*b*c", "x/aXbbYbc"),
            ("live/cam", "live/cam"),
            ("live/*", "live/a/b"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("live/*", "other/cam"),
            ("live/cam?", "live/cam"),
            ("", "live/cam"),
            ("*/a*b", "x/ab-"),
            ("live", "live/"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn patterns_of_files_stay_below_the_folder() {
        let read = |text: &str| FilePattern::try_from(text.to_owned());
        for wrong in ["", "/{stream}", "../{stream}", "a/../{stream}", "{stream", "{name}", "{stream}/", "a\0"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(read("{app}/{stream}-{time}.flv").unwrap().0[1..], FilePattern::default().0[..]);
    }
}
