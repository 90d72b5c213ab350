use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anabranch_core::conn::{Asks, VhostConfig};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::body::Event;
use crate::settings::values::{Size, Time};
use crate::settings::written::{Of, Text};

/// The program answers a question this long before core's deadline, so that the client gets the program's reason.
pub(super) const MARGIN: Duration = Duration::from_secs(1);

/// HTTP calls to a back end, as SRS or nginx-rtmp makes them. The server asks it whether a client may connect, publish
/// and play, and tells it when that is over. Each call goes to all URLs of its list. A URL is a text for calls in SRS's
/// form (JSON), or { url = "http://HOST/PATH", form = "nginx-rtmp" } for calls in nginx-rtmp's form (form fields).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HookSettings {
    /// Question: a client connects.
    #[schemars(extend("x-connection" = "the server calls it when a client connects, before it names a stream"))]
    pub(crate) on_connect: Vec<HookTarget>,
    /// Notice: the connection of a client has ended.
    #[schemars(extend("x-connection" = "the server calls it for a connection, which may have several streams or none"))]
    pub(crate) on_close: Vec<HookTarget>,
    /// Question: a client wants to publish a stream.
    pub(crate) on_publish: Vec<HookTarget>,
    /// Notice: a client has stopped publishing a stream.
    pub(crate) on_unpublish: Vec<HookTarget>,
    /// Question: a client wants to play a stream.
    pub(crate) on_play: Vec<HookTarget>,
    /// Notice: a client has stopped playing a stream.
    pub(crate) on_stop: Vec<HookTarget>,
    /// Notice: a file of a recording is complete, because the publication or the file's length is over.
    pub(crate) on_dvr: Vec<HookTarget>,
    /// Notice: a segment of HLS is complete, and in its folder if it has one.
    pub(crate) on_hls: Vec<HookTarget>,
    /// Question, after a client has begun to publish a stream: where else to publish it. The answer has the URLs, as in SRS:
    /// { "code": 0, "data": { "urls": ["rtmp://HOST/APP/STREAM"] } }. The client does not wait for it.
    pub(crate) on_forward: Vec<HookTarget>,
    /// Notice: a publisher that stood by as backup of a stream is on air, or the first publisher is on air again.
    pub(crate) on_switch: Vec<HookTarget>,
    /// How long one call to one URL may take.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "1h"))]
    pub(crate) timeout: Time,
    /// How often on_close, on_unpublish, on_stop, on_dvr, on_hls, on_forward and on_switch are repeated when the back end
    /// cannot be reached, takes too long or answers with a server error. Questions are not repeated, because a client waits for the answer.
    #[schemars(range(max = 100))]
    pub(crate) retries: u32,
    /// The wait before the first repetition; each further wait is twice as long, up to a minute.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "1h"))]
    pub(crate) retry_after: Time,
    /// Whether a client is granted its request when no back end answers: it cannot be reached, takes too long, answers
    /// with a server error, or too many questions wait already. The back end's refusals and limits.questions always
    /// refuse.
    pub(crate) allow_on_failure: bool,
    /// Calls to one URL at the same time.
    #[schemars(range(min = 1, max = 1024))]
    pub(crate) max_in_flight: usize,
    /// Questions to one URL that may wait for their turn. Further questions are answered at once, as after a failure.
    #[schemars(range(max = 1_000_000))]
    pub(crate) queue: usize,
    /// Memory for the notices that wait for one URL; a notice takes about a kilobyte. on_unpublish may use all of it,
    /// the others three quarters. Notices beyond that are dropped, and counted in the metrics.
    pub(crate) notice_memory: Size,
    /// A file of CA certificates (PEM) for HTTPS back ends; "" for the system's certificates.
    pub(crate) ca_file: PathBuf,
    /// Whether the certificates of HTTPS back ends are checked. Switch this off in tests only.
    pub(crate) verify_tls: bool,
    /// The User-Agent header, for back ends that check it: SRS sends something like "SRS/6.0.157(Hang)".
    pub(crate) user_agent: String,
}

impl Default for HookSettings {
    fn default() -> Self {
        HookSettings {
            on_connect: Vec::new(),
            on_close: Vec::new(),
            on_publish: Vec::new(),
            on_unpublish: Vec::new(),
            on_play: Vec::new(),
            on_stop: Vec::new(),
            on_dvr: Vec::new(),
            on_hls: Vec::new(),
            on_forward: Vec::new(),
            on_switch: Vec::new(),
            timeout: Time(Duration::from_secs(10)),
            retries: 5,
            retry_after: Time(Duration::from_secs(1)),
            allow_on_failure: false,
            max_in_flight: 16,
            queue: 2000,
            notice_memory: Size(64 << 20),
            ca_file: PathBuf::new(),
            verify_tls: true,
            user_agent: concat!("anabranch/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

impl HookSettings {
    /// The URLs of a call.
    pub(super) fn urls(&self, event: Event) -> &[HookTarget] {
        match event {
            Event::Connect => &self.on_connect,
            Event::Close => &self.on_close,
            Event::Publish => &self.on_publish,
            Event::Unpublish => &self.on_unpublish,
            Event::Play => &self.on_play,
            Event::Stop => &self.on_stop,
            Event::Dvr => &self.on_dvr,
            Event::Hls => &self.on_hls,
            Event::Forward => &self.on_forward,
            Event::Switch => &self.on_switch,
        }
    }

    /// The URLs of all calls, with repetitions.
    pub(crate) fn all_urls(&self) -> impl Iterator<Item = &HookTarget> {
        Event::ALL.into_iter().flat_map(|event| self.urls(event))
    }

    /// The most bytes that waiting and running calls to one URL can take.
    pub(crate) fn most_memory(&self, target: &HookTarget) -> u64 {
        let questions = u64::try_from(self.queue.saturating_add(self.max_in_flight)).unwrap_or(u64::MAX);
        questions.saturating_mul(target.form.largest()).saturating_add(self.notice_memory.0)
    }

    /// Has core ask the questions that these hooks need. A hook that only has notices needs the question, too, because
    /// core sends a notice only after a question. The program answers such a question at once.
    pub(crate) fn apply(&self, config: &mut VhostConfig) {
        let any = |events: [Event; 2]| events.iter().any(|event| !self.urls(*event).is_empty());
        let connect = any([Event::Connect, Event::Close]);
        let publish = any([Event::Publish, Event::Unpublish]);
        let play = any([Event::Play, Event::Stop]);
        if !(connect || publish || play) {
            return;
        }
        let longest = [Event::Connect, Event::Publish, Event::Play].map(|event| self.urls(event).len());
        let urls = u32::try_from(longest.into_iter().max().unwrap_or_default().max(1)).unwrap_or(u32::MAX);
        let timeout = self.timeout.0.saturating_mul(urls).saturating_add(MARGIN);
        let asks = &mut config.asks;
        *asks =
            Asks { connect, publish, play, timeout, allow_on_timeout: self.allow_on_failure, traverse: asks.traverse };
    }
}

/// The form of the calls to a URL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub(crate) enum Form {
    /// JSON, as SRS sends it.
    #[default]
    #[serde(rename = "srs")]
    Srs,
    /// Form fields, as nginx-rtmp sends them, with its redirects.
    #[serde(rename = "nginx-rtmp")]
    NginxRtmp,
}

impl Form {
    pub(super) const ALL: [Form; 2] = [Form::Srs, Form::NginxRtmp];

    /// The largest body of a question in bytes, with the longest values that a client may send. In form fields, most
    /// bytes of a value may take three.
    pub(crate) fn largest(self) -> u64 {
        match self {
            Form::Srs => 50 << 10,
            Form::NginxRtmp => 150 << 10,
        }
    }
}

/// A URL that is called, and the form of the calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HookTarget {
    pub(crate) url: HookUrl,
    pub(crate) form: Form,
}

/// A target as a table.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Table {
    /// The URL.
    url: Of<HookUrl>,
    /// The form of the calls: "srs" or "nginx-rtmp".
    #[serde(default)]
    form: Form,
}

impl Serialize for HookTarget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let url = Of(self.url.clone());
        match self.form {
            Form::Srs => url.serialize(serializer),
            form @ Form::NginxRtmp => Table { url, form }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for HookTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TargetReader)
    }
}

struct TargetReader;

impl<'de> Visitor<'de> for TargetReader {
    type Value = HookTarget;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or a table such as {{ url = \"http://HOST/PATH\", form = \"nginx-rtmp\" }}", HookUrl::FORM)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<HookTarget, E> {
        Ok(HookTarget { url: text.parse().map_err(E::custom)?, form: Form::Srs })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HookTarget, A::Error> {
        let Table { url, form } = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(HookTarget { url: url.0, form })
    }
}

impl JsonSchema for HookTarget {
    fn schema_name() -> Cow<'static, str> {
        "HookTarget".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<Table>();
        json_schema!({ "anyOf": [{ "type": "string" }, table] })
    }
}

/// For the log.
impl fmt::Display for HookTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

/// The URL of a back end: `http://` or `https://`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct HookUrl(String);

impl HookUrl {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HookUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("the hook URL {:?} {why}", without_secrets(text));
        let uri: ureq::http::Uri = text.parse().map_err(|error| wrong(&format!("cannot be read: {error}")))?;
        match uri.scheme_str() {
            Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(HookUrl(text.to_owned())),
            _ => Err(wrong("is not http://HOST... or https://HOST...")),
        }
    }
}

impl Text for HookUrl {
    const FORM: &'static str = "a URL such as \"http://127.0.0.1:8085/api/v1/streams\"";

    fn text(&self) -> String {
        self.0.clone()
    }
}

/// For the log.
impl fmt::Display for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_secrets(&self.0))
    }
}

/// The text without user, password and query. It need not be a valid URL.
fn without_secrets(text: &str) -> String {
    let base = text.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = base.split_at(base.find("://").map_or(0, |at| at + 3));
    match rest.rsplit_once('@') {
        Some((_, rest)) => format!("{scheme}***@{rest}"),
        None => base.to_owned(),
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HookUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<HookSettings, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn urls_and_times_that_make_no_sense_are_named() {
        assert!(read("timeout = '5 seconds'").unwrap_err().contains("\"5 seconds\""));
        assert!(read("on_play = ['ftp://h/']").unwrap_err().contains("\"ftp://h/\""));
        assert!(read("on_play = ['/hook']").is_err());
        assert!(read("on_player = []").unwrap_err().contains("on_player"));
        let settings = read("on_play = ['https://h:8443/x?key=1', 'http://[::1]/']\ntimeout = '350ms'").unwrap();
        assert_eq!(settings.timeout.0, Duration::from_millis(350));
        let debug = "HookTarget { url: HookUrl(https://h:8443/x), form: Srs }";
        assert_eq!(format!("{:?}", settings.on_play[0]), debug, "no secrets in the log");
    }

    #[test]
    fn a_url_may_have_a_form() {
        let text = "on_play = ['http://g/', { url = 'http://h/?key=s3cret', form = 'nginx-rtmp' }]";
        let settings = read(text).unwrap();
        assert_eq!(settings.on_play.iter().map(|target| target.form).collect::<Vec<_>>(), Form::ALL);
        assert_eq!(read(&toml::to_string(&settings).unwrap()), Ok(settings.clone()));
        assert_eq!(read("on_play = [{ url = 'http://h/' }]").unwrap().on_play[0].form, Form::Srs);
        assert!(settings.most_memory(&settings.on_play[1]) > settings.most_memory(&settings.on_play[0]));
        for (wrong, words) in [
            ("on_play = [{ url = 'http://h/', form = 'nginx' }]", "unknown variant `nginx`"),
            ("on_play = [{ form = 'srs' }]", "missing field `url`"),
            ("on_play = [{ url = 'http://h/', method = 'get' }]", "unknown field `method`"),
            ("on_play = [7]", "form = \"nginx-rtmp\""),
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn secrets_of_a_url_are_in_no_log_line() {
        let url: HookUrl = "https://me:s3cret@h:1/x?key=s3cret".parse().unwrap();
        assert_eq!((url.to_string(), url.as_str().matches("s3cret").count()), ("https://***@h:1/x".to_owned(), 2));
        for wrong in ["http//me:s3cret@h", "ftp://me:s3cret@h/", "me:s3cret@h?s3cret", "http://me:s3cret@ h/"] {
            let error = wrong.parse::<HookUrl>().unwrap_err();
            assert!(error.contains("***@") && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn core_asks_only_what_the_hooks_need() {
        let asks = |text: &str| {
            let mut config = VhostConfig::default();
            read(text).unwrap().apply(&mut config);
            config.asks
        };
        assert_eq!(asks(""), Asks::default());
        let told = asks("on_unpublish = ['http://h/']\non_close = ['http://h/']\nallow_on_failure = true");
        assert_eq!((told.connect, told.publish, told.play, told.allow_on_timeout), (true, true, false, true));
        let asked = asks("on_play = ['http://h/', 'http://g/']\ntimeout = '2s'");
        assert_eq!((asked.connect, asked.publish, asked.play), (false, false, true));
        assert_eq!(asked.timeout, Duration::from_secs(5), "both URLs may take their time");
    }
}
