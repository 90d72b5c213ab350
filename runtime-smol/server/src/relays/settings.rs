use std::path::PathBuf;

use anabranch_core::policy::StreamPattern;
use anabranch_core::relay::{Backoff, Edge, Forward, Origin, Template};
use schemars::{JsonSchema, Schema, json_schema};
use serde::{Deserialize, Serialize};

use crate::settings::values::Time;
use crate::settings::written::{Of, Text, Written, written};

written! {
    [] Target;
}

/// The URL of a target of pushes. Its path and query may have a secret, so it is never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target(pub(crate) Template);

impl Written for Target {
    const NAME: &'static str = "Target";
    const FORM: &'static str = "the URL of a target such as \"rtmp://live.example.org/app/{stream}\"";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map(Target).map_err(|error| format!("not {}: {error}", Target::FORM))
    }

    fn write(&self) -> String {
        self.0.as_str().to_owned()
    }

    /// `writeOnly` keeps it from being shown.
    fn schema() -> Schema {
        json_schema!({ "type": "string", "writeOnly": true })
    }
}

impl Text for Origin {
    const FORM: &'static str = "an origin such as \"rtmp://origin.example.org:1935\"";

    fn text(&self) -> String {
        self.to_string()
    }
}

/// Pushes to and pulls from other servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RelaySettings {
    /// A file of CA certificates in PEM that targets and origins with rtmps:// may have their certificates from, besides
    /// those of the system; "" for only the system's.
    pub(crate) ca_file: PathBuf,
}

/// A target: each stream that is published here and that a pattern matches is published there, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForwardSettings {
    /// Where to publish: rtmp:// or rtmps://, host, and path. {vhost}, {app} and {stream} stand for parts of the stream's
    /// name here, {params} for the parameters of its publisher; they may stand in path and query only.
    pub(crate) to: Target,
    /// The streams that are pushed, as APP/STREAM. * stands for any characters, including slashes, and ? for one
    /// character. [] for all streams.
    #[serde(default)]
    pub(crate) streams: Vec<Of<StreamPattern>>,
    /// How long each step of an attempt may take: the look-up of the name, the connection with TLS, the answers to
    /// connect and publish.
    #[serde(default = "connect_timeout")]
    #[schemars(extend("x-minimum" = "10ms", "x-maximum" = "5m"))]
    pub(crate) connect_timeout: Time,
    /// How long to wait after an attempt that failed. Each failure in a row doubles the time, up to max_backoff.
    #[serde(default = "backoff")]
    #[schemars(extend("x-minimum" = "10ms", "x-maximum" = "1h"))]
    pub(crate) backoff: Time,
    /// The longest time to wait after an attempt that failed.
    #[serde(default = "max_backoff")]
    #[schemars(extend("x-minimum" = "10ms", "x-maximum" = "24h"))]
    pub(crate) max_backoff: Time,
    /// How long to wait after a refusal that the next attempt will not change, such as a wrong key.
    #[serde(default = "refused_backoff")]
    #[schemars(extend("x-minimum" = "10ms", "x-maximum" = "24h"))]
    pub(crate) refused_backoff: Time,
}

fn connect_timeout() -> Time {
    Time(Forward::CONNECT_TIMEOUT)
}

fn backoff() -> Time {
    Time(Backoff::default().first)
}

fn max_backoff() -> Time {
    Time(Backoff::default().cap)
}

fn refused_backoff() -> Time {
    Time(Backoff::default().refused)
}

impl From<&ForwardSettings> for Forward {
    fn from(settings: &ForwardSettings) -> Self {
        let mut forward = Forward::new(settings.to.0.clone());
        forward.streams = settings.streams.iter().map(|Of(pattern)| pattern.clone()).collect();
        forward.connect_timeout = settings.connect_timeout.0;
        forward.backoff =
            Backoff { first: settings.backoff.0, cap: settings.max_backoff.0, refused: settings.refused_backoff.0 };
        forward
    }
}

/// Makes the server an edge: streams that clients play here are pulled from an origin, and streams that clients publish
/// here are published at an origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EdgeSettings {
    /// The servers that have the streams, such as "rtmp://origin.example.org:1935", in the order in which they are tried.
    /// [] for no edge; in a cluster, streams are then pulled from its other servers, by the times and limits here.
    pub(crate) origins: Vec<Of<Origin>>,
    /// How long each step of an attempt may take: the look-up of the name, the connection with TLS, the answers to
    /// connect and play.
    #[schemars(extend("x-minimum" = "10ms", "x-maximum" = "5m"))]
    pub(crate) connect_timeout: Time,
    /// How long players wait for the first frame of a stream before they get StreamNotFound.
    #[schemars(extend("x-minimum" = "10ms", "x-maximum" = "1h"))]
    pub(crate) wait: Time,
    /// For how long a stream that no origin has counts as absent: its players are refused at once.
    #[schemars(extend("x-maximum" = "1s"))]
    pub(crate) negative_cache: Time,
    /// How long a pull goes on after its last player has left.
    #[schemars(extend("x-maximum" = "24h"))]
    pub(crate) linger: Time,
    /// After how long without a frame of one origin the next one is tried, while the first goes on.
    #[schemars(extend("x-minimum" = "10ms", "x-maximum" = "1m"))]
    pub(crate) stagger: Time,
    /// How long an origin that has sent frames may be silent before its connection counts as lost.
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "1h"))]
    pub(crate) silence: Time,
    /// The largest number of pulls at one time. A player that would need one more gets StreamNotFound.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) pulls: usize,
    /// Whether what clients publish here is published at an origin, which then has to grant it. Otherwise it stays on this
    /// server.
    pub(crate) publish: bool,
    /// How long all origins together may take to answer a client that publishes.
    #[schemars(extend("x-minimum" = "10ms", "x-maximum" = "5m"))]
    pub(crate) publish_wait: Time,
    /// How long a publisher is kept while no origin can be reached.
    #[schemars(extend("x-maximum" = "24h"))]
    pub(crate) keep: Time,
    /// Whether the parameters of the client's URL, such as a token, go to the origin: those of the publisher, or of the
    /// first player.
    pub(crate) params: bool,
    /// How many redirects are followed one after another, each to a server in origins.
    #[schemars(range(min = 0, max = 16))]
    pub(crate) redirects: u8,
    /// How long to wait after an attempt that failed at all origins. Each failure in a row doubles the time, up to
    /// max_backoff.
    #[schemars(extend("x-minimum" = "10ms", "x-maximum" = "1h"))]
    pub(crate) backoff: Time,
    /// The longest time to wait after an attempt that failed.
    #[schemars(extend("x-minimum" = "10ms", "x-maximum" = "24h"))]
    pub(crate) max_backoff: Time,
    /// How long to wait after a refusal that the next attempt will not change, such as a wrong token.
    #[schemars(extend("x-minimum" = "10ms", "x-maximum" = "24h"))]
    pub(crate) refused_backoff: Time,
}

impl Default for EdgeSettings {
    /// The core's defaults, without an origin.
    fn default() -> Self {
        let edge = Edge::of(Vec::new());
        EdgeSettings {
            origins: Vec::new(),
            connect_timeout: Time(edge.connect_timeout),
            wait: Time(edge.wait),
            negative_cache: Time(edge.negative_cache),
            linger: Time(edge.linger),
            stagger: Time(edge.stagger),
            silence: Time(edge.silence),
            pulls: edge.pulls,
            publish: edge.publish,
            publish_wait: Time(edge.publish_wait),
            keep: Time(edge.keep),
            params: edge.params,
            redirects: edge.redirects,
            backoff: Time(edge.backoff.first),
            max_backoff: Time(edge.backoff.cap),
            refused_backoff: Time(edge.backoff.refused),
        }
    }
}

impl EdgeSettings {
    /// As core's configuration. Without origins it has the times and limits of what is pulled from other servers of a
    /// cluster; `None` if nothing is set.
    pub(crate) fn config(&self) -> Option<Edge> {
        if *self == EdgeSettings::default() {
            return None;
        }
        let mut edge = Edge::of(self.origins.iter().map(|Of(origin)| origin.clone()).collect());
        edge.connect_timeout = self.connect_timeout.0;
        edge.wait = self.wait.0;
        edge.negative_cache = self.negative_cache.0;
        edge.linger = self.linger.0;
        edge.stagger = self.stagger.0;
        edge.silence = self.silence.0;
        edge.pulls = self.pulls;
        edge.publish = self.publish;
        edge.publish_wait = self.publish_wait.0;
        edge.keep = self.keep.0;
        edge.params = self.params;
        edge.redirects = self.redirects;
        edge.backoff = Backoff { first: self.backoff.0, cap: self.max_backoff.0, refused: self.refused_backoff.0 };
        Some(edge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_without_origins_keeps_its_times_and_limits() {
        assert_eq!(EdgeSettings::default().config(), None);
        let settings: EdgeSettings = toml::from_str("pulls = 5000\nwait = '20s'\n").expect("settings");
        let edge = settings.config().expect("it says something");
        assert!(edge.origins.is_empty());
        assert_eq!((edge.pulls, edge.wait.as_secs()), (5000, 20));
    }
}
