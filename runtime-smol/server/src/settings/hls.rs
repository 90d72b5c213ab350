use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anabranch_core::hls::{self, Config, MOST_RENDITIONS};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{Size, Time};
use super::written::{Of, Text, Written};
use crate::segments::{OutletSettings, S3Settings};

/// HTTP Live Streaming and MPEG-DASH: the stream in segments, as APP/STREAM.m3u8 and APP/STREAM.mpd.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HlsSettings {
    /// When segments are made: from the first request on, until nothing asks any more ("on_demand"), while the stream is
    /// published ("always"), or never ("off").
    pub(crate) mode: HlsMode,
    /// Target duration of segments, "1s" to "30s" in whole seconds. "auto" settles it at the first segment: 4s, or the
    /// length of the longest GOP until then up to 10s. It never changes afterwards: a longer GOP is cut.
    pub(crate) target: Of<Target>,
    /// How long parts of segments should be, for low latency. "0s" makes none.
    #[schemars(extend("x-maximum" = "10s"))]
    pub(crate) part: Time,
    /// How many segments a playlist lists.
    #[schemars(range(min = 3, max = 10_000))]
    pub(crate) window: usize,
    /// How long a playlist stays open after its publisher has gone. A publisher that comes back within that time goes on.
    #[schemars(extend("x-maximum" = "1h"))]
    pub(crate) hold: Time,
    /// Memory for the segments of one stream. With less room than the window takes, the playlist is shorter.
    #[schemars(extend("x-minimum" = "1MiB", "x-maximum" = "16GiB"))]
    pub(crate) bytes: Size,
    /// The form of segments: fragmented MP4 ("fmp4"), or MPEG transport streams ("ts"), which DASH does not have.
    pub(crate) container: SegmentForm,
    /// The same stream in other qualities: what comes behind its name in the names of these, such as ["_720p", "_480p"]; at
    /// most 8. APP/STREAM.m3u8 lists the stream and those that are published, and a viewer of any is one of the stream.
    /// Programs of run can make them. The tracks of a publisher that sends several are listed without this.
    pub(crate) renditions: Vec<String>,
    /// A folder in which segments and playlists are files, too, for a web server to serve: APP/STREAM.m3u8 and
    /// APP/STREAM/NAME. "" for none. With a folder or a store, segments are made always, unless mode is "off".
    pub(crate) folder: PathBuf,
    pub(crate) s3: S3Settings,
}

/// When segments are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HlsMode {
    #[default]
    OnDemand,
    Always,
    Off,
}

/// The form of segments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SegmentForm {
    #[default]
    Fmp4,
    Ts,
}

/// The target duration of segments, in seconds; `None` is `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target(Option<u32>);

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Target(None));
        }
        let whole = Time::read(text).ok().filter(|time| time.0.as_millis() % 1000 == 0).map(|time| time.0.as_secs());
        match whole {
            Some(seconds @ 1..=30) => Ok(Target(Some(seconds as u32))),
            _ => Err(format!("{text:?} is not {}", Target::FORM)),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(seconds) => write!(f, "{seconds}s"),
            None => f.write_str("auto"),
        }
    }
}

impl Text for Target {
    const FORM: &'static str = "\"auto\", or a time of 1 to 30 whole seconds such as \"4s\"";

    fn text(&self) -> String {
        self.to_string()
    }
}

/// What is wrong with the ends of names of qualities, if anything.
pub(crate) fn rendition_fault(list: &[String]) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    if list.len() > MOST_RENDITIONS {
        return Some(format!("{} qualities are listed, and {MOST_RENDITIONS} is the most", list.len()));
    }
    list.iter().enumerate().find_map(|(index, end)| {
        if end.is_empty() {
            return Some("\"\" is the stream itself, which is listed anyway".to_owned());
        }
        if !end.bytes().all(is_plain) || end.len() > 64 {
            return Some(format!("{end:?} cannot be the end of a name here: up to 64 letters, digits, or . _ ~ -"));
        }
        let is_again = list.iter().take(index).any(|before| before == end);
        is_again.then(|| format!("{end:?} is there twice"))
    })
}

impl Default for HlsSettings {
    fn default() -> Self {
        let Config { target, part, window, hold, bytes, .. } = Config::default();
        HlsSettings {
            mode: HlsMode::OnDemand,
            target: Of(Target(target)),
            part: Time(part.unwrap_or_default()),
            window,
            hold: Time(hold),
            bytes: Size(bytes as u64),
            container: SegmentForm::Fmp4,
            renditions: Vec::new(),
            folder: PathBuf::new(),
            s3: S3Settings::default(),
        }
    }
}

impl HlsSettings {
    /// True if segments are to be in a folder or a store, too.
    pub(crate) fn is_stored(&self) -> bool {
        !self.folder.as_os_str().is_empty() || self.s3.is_on()
    }

    /// Where segments are stored.
    pub(crate) fn outlet(&self) -> OutletSettings {
        OutletSettings { folder: self.folder.clone(), s3: self.s3.clone(), window: self.window, hold: self.hold.0 }
    }

    /// What core needs.
    pub(crate) fn core(&self) -> hls::Settings {
        hls::Settings {
            mode: match self.mode {
                HlsMode::OnDemand if self.is_stored() => hls::Mode::Always,
                HlsMode::OnDemand => hls::Mode::OnDemand,
                HlsMode::Always => hls::Mode::Always,
                HlsMode::Off => hls::Mode::Off,
            },
            config: Config {
                target: self.target.0.0,
                part: Some(self.part.0).filter(|part| *part > Duration::ZERO),
                window: self.window,
                hold: self.hold.0,
                bytes: self.bytes.bytes(),
                container: match self.container {
                    SegmentForm::Fmp4 => hls::Container::Fmp4,
                    SegmentForm::Ts => hls::Container::MpegTs,
                },
                ..Config::default()
            },
            renditions: self.renditions.iter().map(|end| end.as_str().into()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_duration_is_auto_or_some_whole_seconds() {
        for (text, target) in [("auto", None), ("1s", Some(1)), ("4000ms", Some(4)), ("30s", Some(30))] {
            assert_eq!(text.parse(), Ok(Target(target)), "{text}");
        }
        for text in ["", "0s", "31s", "1500ms", "never", "4", "Auto"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_ends_of_names_of_qualities_are_plain_and_each_is_there_once() {
        let fault = |ends: &[&str]| rendition_fault(&ends.iter().map(|end| (*end).to_owned()).collect::<Vec<String>>());
        assert_eq!(fault(&[]), None);
        assert_eq!(fault(&["_720p", "-480p", ".low", "1"]), None);
        let nine: Vec<_> = ["1", "2", "3", "4", "5", "6", "7", "8", "9"].into();
        assert_eq!(fault(&nine[1..]), None);
        for bad in [&[""][..], &["_a", "_a"], &["/a"], &["a b"], &["?x"], &["*"], &["é"], &["\n"], &nine] {
            assert!(fault(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_core() {
        assert_eq!(HlsSettings::default().core(), hls::Settings::default());
    }
}
