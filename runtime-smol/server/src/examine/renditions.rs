use anabranch_core::policy::StreamPattern;
use anabranch_program::Fault;

use super::Grade;
use super::parts::Found;
use crate::settings::tree::Path;
use crate::settings::vhost::{Application, VhostSettings};
use crate::settings::written::Of;
use crate::settings::{HlsMode, rendition_fault};

impl Found<'_> {
    /// The other qualities of streams.
    pub(super) fn renditions(&mut self) {
        let settings = &self.loaded().settings;
        let vhosts = settings.vhost.iter().enumerate();
        let vhosts = vhosts.map(|(index, vhost)| (Path::of(&["vhost"]).index(index), &vhost.settings));
        for (path, host) in [(Path::of(&["defaults"]), &settings.defaults)].into_iter().chain(vhosts) {
            self.renditions_of(&path, host, host, None);
            for (index, application) in host.application.iter().enumerate() {
                let place = host.place_of_application(&path, index);
                self.renditions_of(&place, &application.settings, host, Some(index));
            }
        }
    }

    /// The qualities of streams that have these settings: of an application of a virtual host, by its place in the list,
    /// or of all others.
    fn renditions_of(&mut self, path: &Path, settings: &VhostSettings, host: &VhostSettings, place: Option<usize>) {
        let (list, path) = (&settings.hls.renditions, path.key("hls").key("renditions"));
        if let Some(words) = rendition_fault(list) {
            let fault = Fault::new(words, "write what comes behind the name, such as [\"_720p\", \"_480p\"]");
            return self.add(Grade::Fault, path, fault);
        }
        for end in list {
            if let Some(pattern) = ruled_quality(settings, host, place, end) {
                let words = format!("{pattern} has rules that do not hold for those that view it as a quality");
                let cure = "give the stream whose quality it is the same rules, or take it out of the list";
                self.add(Grade::Warning, path.clone(), Fault::new(words, cure));
            }
        }
    }
}

/// Streams with other rules than these settings, which are qualities of streams that have these settings.
fn ruled_quality(settings: &VhostSettings, host: &VhostSettings, place: Option<usize>, end: &str) -> Option<String> {
    let (own, none) = (rules(settings), rules(&VhostSettings::default()));
    let is_other = |other: &VhostSettings| {
        let rules = rules(other);
        rules != own && rules != none
    };
    let before = &host.application[..place.unwrap_or(host.application.len())];
    let names: Vec<&str> = match place {
        Some(index) => patterns(&host.application[index]).map(StreamPattern::as_str).collect(),
        None => vec!["*"],
    };
    for name in names {
        // Such streams are qualities and have none.
        if settings.hls.renditions.iter().any(|other| name.ends_with(other.as_str())) {
            continue;
        }
        let quality = format!("{name}{end}");
        let is_one_of_these = |of: &String| {
            meet(of, name) && !before.iter().flat_map(patterns).any(|earlier| covers(earlier.as_str(), of))
        };
        let mut is_covered = false;
        for (index, other) in host.application.iter().enumerate() {
            if Some(index) != place && is_other(&other.settings) {
                let mut ruled = patterns(other).map(StreamPattern::as_str).filter(|pattern| meet(pattern, &quality));
                if let Some(pattern) = ruled.find(|pattern| streams_of(pattern, end).iter().any(is_one_of_these)) {
                    return Some(pattern.to_owned());
                }
            }
            is_covered = patterns(other).any(|pattern| covers(pattern.as_str(), &quality));
            if is_covered {
                break;
            }
        }
        if place.is_some() && !is_covered && is_other(host) {
            return Some(quality);
        }
    }
    None
}

/// What decides about who views a stream.
fn rules(settings: &VhostSettings) -> Option<String> {
    let VhostSettings { security, refer, token, hooks, hls, .. } = settings;
    let hooks = (&hooks.on_connect, &hooks.on_play, &hooks.on_stop);
    serde_json::to_string(&(security, refer, token, hooks, hls.mode == HlsMode::Off)).ok()
}

fn patterns(application: &Application) -> impl Iterator<Item = &StreamPattern> {
    application.streams.iter().map(|Of(pattern)| pattern)
}

/// True if the pattern `all` matches every name that `some` matches, as far as the two texts show.
fn covers(all: &str, some: &str) -> bool {
    let [all, some] = [all, some].map(str::parse::<StreamPattern>);
    all.is_ok_and(|all| some.is_ok_and(|some| all.covers(&some)))
}

/// Patterns of the streams of which one with this pattern is a quality, by the end of its name.
fn streams_of(quality: &str, end: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (place, character) in quality.char_indices() {
        let (stream, rest) = quality.split_at(place);
        if meet(rest, end) {
            found.push(stream.to_owned());
            if character == '*' {
                found.push(format!("{stream}*"));
            }
        }
    }
    found.retain(|stream| !stream.is_empty() && !stream.ends_with('/'));
    found.dedup();
    found
}

/// True if there is a name that two patterns match.
fn meet(one: &str, other: &str) -> bool {
    let [one, other] = [one, other].map(|text| text.chars().collect::<Vec<_>>());
    // Whether what is behind these places in the two can match the same, from the end on.
    let mut behind = vec![false; other.len() + 1];
    for left in (0..=one.len()).rev() {
        let mut here = vec![false; other.len() + 1];
        for right in (0..=other.len()).rev() {
            let (first, second) = (one.get(left), other.get(right));
            let next = |places: &[bool]| places.get(right + 1).copied().unwrap_or_default();
            here[right] = match (first, second) {
                (None, None) => true,
                // It stands for nothing, or for one character more of the other one.
                (Some('*'), _) => behind[right] || next(&here),
                (_, Some('*')) => next(&here) || (first.is_some() && behind[right]),
                (Some(first), Some(second)) => (first == second || *first == '?' || *second == '?') && next(&behind),
                (None, Some(_)) | (Some(_), None) => false,
            };
        }
        behind = here;
    }
    behind[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_meet_if_one_name_matches_both() {
        for (one, other) in [
            ("live/cam", "live/cam"),
            ("live/*", "*_hd"),
            ("live/cam_*", "live/cam_720p"),
            ("live/?am", "*/c*"),
            ("*", "live/*_hd"),
            ("a**", "a"),
        ] {
            assert!(meet(one, other) && meet(other, one), "{one} {other}");
        }
        for (one, other) in [("live/cam", "live/cam_hd"), ("live/*", "ingest/*"), ("*_sd", "*_hd"), ("?", "")] {
            assert!(!meet(one, other) && !meet(other, one), "{one} {other}");
        }
    }

    #[test]
    fn the_streams_of_a_quality_have_its_name_without_the_end() {
        assert_eq!(streams_of("live/cam_hd", "_hd"), ["live/cam"]);
        assert_eq!(streams_of("live/*_hd", "_hd"), ["live/*"]);
        assert_eq!(streams_of("live/*", "_hd"), ["live/*"]);
        assert!(streams_of("live/cam_*", "_hd").contains(&"live/cam".to_owned()));
        assert!(streams_of("live/cam", "_hd").is_empty());
    }
}
