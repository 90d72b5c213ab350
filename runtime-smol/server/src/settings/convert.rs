use std::collections::HashSet;

use anabranch_core::bandwidth::BandwidthConfig;
use anabranch_core::chunk::Leniency;
use anabranch_core::conn::{Asks, Config, Fallback, VhostConfig};
use anabranch_core::hub::{BackupRules, Conflict};
use anabranch_core::pacing;
use anabranch_core::policy::{self, Applications, Rate, Refer, Security, Vhosts};
use anabranch_core::session::{SessionConfig, SessionTimeouts};
use anabranch_core::source::{SourceLimits, StartLimits, StartRule, Timestamps};
use anabranch_core::url::{DEFAULT_VHOST, StreamKey};
use anabranch_program::LogFilter;

use super::Settings;
use super::tree::Path;
use super::values::{Size, Time};
use super::vhost::{Application, OnConflict, Play, Start, Timeouts, TimestampMode, Token, TokenScope, VhostSettings};
use super::written::Of;

/// Errors beyond the form of single values, each with its place.
type Wrong = Vec<(Path, String)>;

impl Settings {
    /// The settings as core's configuration.
    ///
    /// # Errors
    /// Values that contradict each other; all of them are returned.
    pub(crate) fn config(&self) -> Result<Config, Wrong> {
        let mut wrong = Wrong::new();
        if let Err(words) = LogFilter::check(&self.log.level) {
            wrong.push((Path::of(&["log", "level"]), words));
        }
        for key in self.rtc.unmet() {
            let words = "this program was built without WebRTC (feature webrtc)";
            wrong.push((Path::of(&["rtc", key]), words.to_owned()));
        }
        let defaults = self.defaults.config(&Path::of(&["defaults"]), &mut wrong);
        let vhosts: Vec<_> = self
            .vhost
            .iter()
            .enumerate()
            .map(|(index, vhost)| policy::Vhost {
                name: vhost.name.clone(),
                aliases: vhost.aliases.clone(),
                enabled: vhost.enabled,
                settings: vhost.settings.config(&Path::of(&["vhost"]).index(index), &mut wrong),
            })
            .collect();
        let vhosts = Vhosts::new(vhosts).unwrap_or_else(|error| {
            wrong.push((Path::of(&["vhost"]), error.to_string()));
            Vhosts::default()
        });
        let trusted_proxies = all(&self.server.trusted_proxies);
        let (memory, cluster) = (self.limits.memory.0.bytes(), self.cluster.core());
        let web = self.web.core(self.api.place());
        let config = Config { defaults, vhosts, trusted_proxies, web, memory, cluster };
        if wrong.is_empty() { Ok(config) } else { Err(wrong) }
    }
}

impl VhostSettings {
    fn config(&self, path: &Path, wrong: &mut Wrong) -> VhostConfig {
        if let Err(words) = self.record.check_file() {
            wrong.push((path.key("record").key("file"), words));
        }
        let check = &self.bandwidth_check;
        let check = check.enabled.then(|| BandwidthConfig {
            key: check.key.0.clone(),
            interval: check.interval.0,
            limit_kbps: check.limit_kbps,
        });
        let (cache, play) = (&self.cache, &self.play);
        let mut config = VhostConfig {
            session: self.session(),
            source: SourceLimits {
                bytes: cache.bytes.bytes(),
                frames: cache.frames,
                milliseconds: milliseconds(cache.time),
                header_bytes: cache.header_bytes.bytes(),
                tracks: cache.tracks,
            },
            start_rule: play.start_rule(),
            start_limits: StartLimits { wait: play.start_wait.0, milliseconds: milliseconds(play.start_age) },
            timestamps: match play.timestamps {
                TimestampMode::Monotonic => Timestamps::Monotonic,
                TimestampMode::Pass => Timestamps::Pass,
            },
            reduce_sequence_headers: play.reduce_sequence_headers,
            pacing: pacing::Pacing {
                merge_window: self.pacing.merge_window.0,
                merge_window_max: self.pacing.merge_window_max.0,
                read_wait: self.pacing.read_wait.0,
                read_wait_publishers: self.pacing.read_wait_publishers,
            },
            conflict: match self.publish.conflict {
                OnConflict::Reject => Conflict::Reject,
                OnConflict::Takeover => Conflict::TakeOver,
                OnConflict::Backup => Conflict::Backup,
            },
            backup: BackupRules { after: self.publish.backup_after.0, returns: self.publish.backup_return },
            unpublish_grace: play.unpublish_grace.0,
            fallback: play.fallback().unwrap_or_else(|words| {
                wrong.push((path.key("play").key("fallback"), words));
                None
            }),
            hls: self.hls.core(),
            idle_publisher: self.publish.idle.limit(),
            max_gap: play.max_gap.limit(),
            multitrack_to_all: play.multitrack_to_all,
            high_water: play.high_water.bytes(),
            security: Security { rules: all(&self.security.rules) },
            refer: Refer { all: all(&self.refer.all), publish: all(&self.refer.publish), play: all(&self.refer.play) },
            token: self.token.policy(&path.key("token").key("secrets"), wrong),
            limits: self.limits(),
            bandwidth_check: check,
            asks: Asks::default(),
            applications: Applications::default(),
            forward: self.forward.iter().map(Into::into).collect(),
            edge: self.edge.config(),
        };
        self.hooks.apply(&mut config);
        for (index, run) in self.run.iter().enumerate() {
            for (key, item, words) in run.wrong() {
                let place = path.key("run").index(index).key(key);
                wrong.push((item.map_or_else(|| place.clone(), |item| place.index(item)), words));
            }
        }
        config.applications = self.applications_config(path, wrong);
        config
    }

    /// The applications, each with its place in the list. An application of the defaults is left out where the virtual
    /// host has one with the same streams: that comes first.
    pub(crate) fn applications(&self) -> Applications<(usize, &Application)> {
        let mut names = HashSet::new();
        let list = self.application.iter().enumerate();
        let list = list.map(|(index, one)| policy::Application { streams: all(&one.streams), settings: (index, one) });
        Applications::new(list.filter(|one| names.insert(one.name())))
    }

    /// The place of an application in the defaults, if it is inherited from there.
    pub(crate) fn shared_place(&self, index: usize) -> Option<usize> {
        index.checked_sub(self.application.iter().filter(|one| !one.inherited).count())
    }

    /// The place of an application in the file, where `path` is that of these settings.
    pub(crate) fn place_of_application(&self, path: &Path, index: usize) -> Path {
        match self.shared_place(index) {
            None => path.key("application").index(index),
            Some(shared) => Path::of(&["defaults", "application"]).index(shared),
        }
    }

    fn applications_config(&self, path: &Path, wrong: &mut Wrong) -> Applications<VhostConfig> {
        let place = |index| self.place_of_application(path, index);
        let applications = self.applications();
        for (index, one) in self.application.iter().enumerate() {
            let is_left_out = || applications.iter().all(|known| known.settings.0 != index);
            if one.streams.is_empty() {
                let words = "an application needs at least one pattern of its streams, such as \"live/*\"";
                wrong.push((place(index).key("streams"), words.to_owned()));
            } else if !one.inherited && is_left_out() {
                let words = "an application before this one has the same streams, so this one never applies";
                wrong.push((place(index).key("streams"), words.to_owned()));
            }
        }
        applications.map(|one| {
            let (index, application) = one.settings;
            application.settings.config(&place(index), wrong)
        })
    }

    fn session(&self) -> SessionConfig {
        let session = &self.session;
        SessionConfig {
            chunk_size: session.chunk_size,
            window: u32::try_from(session.ack_window.0).unwrap_or(u32::MAX),
            bandwidth_done: session.bandwidth_done,
            leniency: if session.strict_chunks { Leniency::Strict } else { Leniency::Lenient },
            limits: (&self.bounds).into(),
            timeouts: (&self.timeouts).into(),
        }
    }

    fn limits(&self) -> policy::Limits {
        let limits = &self.limits;
        let rate = |bytes_per_second| Rate { bytes_per_second, window: limits.publisher_rate_window.0 };
        policy::Limits {
            connections: limits.connections.0,
            publishers: limits.publishers.0,
            players: limits.players.0,
            stream_players: limits.stream_players.0,
            streams: limits.streams.0,
            questions: limits.questions.0,
            publisher_rate: (limits.publisher_rate != Size::UNLIMITED).then(|| rate(limits.publisher_rate.0)),
        }
    }
}

impl Token {
    fn policy(&self, path: &Path, wrong: &mut Wrong) -> Option<policy::Token> {
        let mut secrets = Vec::new();
        for (index, secret) in self.secrets.iter().enumerate() {
            match policy::Secret::new(&secret.0) {
                Ok(secret) => secrets.push(secret),
                Err(error) => wrong.push((path.index(index), error.to_string())),
            }
        }
        let required_for = match self.required_for {
            TokenScope::Nothing => return None,
            TokenScope::Publish => policy::TokenScope::Publish,
            TokenScope::Play => policy::TokenScope::Play,
            TokenScope::Both => policy::TokenScope::Both,
        };
        if self.secrets.is_empty() {
            wrong.push((path.clone(), "a signed URL is required, but there is no secret to sign with".to_owned()));
        }
        Some(policy::Token { secrets, required_for })
    }
}

impl Play {
    /// What plays while a stream has no publisher.
    ///
    /// # Errors
    /// It is neither the URL of a file nor the name of a stream.
    pub(crate) fn fallback(&self) -> Result<Option<Fallback>, String> {
        let text = self.fallback.as_str();
        if text.is_empty() {
            return Ok(None);
        }
        if let Some(path) = text.strip_prefix("file://") {
            return match path.starts_with('/') {
                true => Ok(Some(Fallback::File(path.into()))),
                false => Err(format!("{text:?} needs an absolute path: file:///path/loop.flv")),
            };
        }
        let named = text.split_once('/').and_then(|(app, stream)| StreamKey::new(DEFAULT_VHOST, app, stream).ok());
        match named {
            Some(_) => Ok(Some(Fallback::Stream(text.into()))),
            None => Err(format!("{text:?} is neither file:///path/loop.flv nor the name of a stream, app/stream")),
        }
    }

    fn start_rule(&self) -> StartRule {
        match self.start {
            Start::NextKeyFrame => StartRule::NextKeyFrame,
            Start::NewestKeyFrame => StartRule::NewestKeyFrame {
                bytes: self.start_bytes.0,
                milliseconds: milliseconds(self.start_time),
                frames: self.start_frames.0.map_or(u64::MAX, u64::from),
            },
        }
    }
}

impl From<&Timeouts> for SessionTimeouts {
    fn from(times: &Timeouts) -> Self {
        SessionTimeouts {
            connect: times.connect.0,
            identify: times.identify.0,
            first_message: times.first_message.0,
            next_message: times.next_message.0,
            write: times.write.0,
            wait_for_stream: times.wait_for_stream.0,
            ping: times.ping.0,
            linger: times.linger.0,
        }
    }
}

fn milliseconds(time: Time) -> u32 {
    u32::try_from(time.0.as_millis()).unwrap_or(u32::MAX)
}

fn all<T: Clone>(list: &[Of<T>]) -> Vec<T> {
    list.iter().map(|Of(item)| item.clone()).collect()
}
