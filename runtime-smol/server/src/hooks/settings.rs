use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anabranch_core::conn::{Asks, VhostConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::body::Event;
use crate::settings::values::{Size, Time};
use crate::settings::written::{Of, Text};

/// The program answers a question this long before core's deadline, so that the client gets the program's reason.
pub(super) const MARGIN: Duration = Duration::from_secs(1);

/// The largest body of a question in bytes, with the longest values that a client may send.
const LARGEST: u64 = 50 << 10;

/// HTTP calls to a back end, as SRS makes them. The server asks it whether a client may connect, publish and play, and
/// tells it when that is over. Each call goes to all URLs of its list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HookSettings {
    /// Question: a client connects.
    pub(crate) on_connect: Vec<Of<HookUrl>>,
    /// Notice: the connection of a client has ended.
    pub(crate) on_close: Vec<Of<HookUrl>>,
    /// Question: a client wants to publish a stream.
    pub(crate) on_publish: Vec<Of<HookUrl>>,
    /// Notice: a client has stopped publishing a stream.
    pub(crate) on_unpublish: Vec<Of<HookUrl>>,
    /// Question: a client wants to play a stream.
    pub(crate) on_play: Vec<Of<HookUrl>>,
    /// Notice: a client has stopped playing a stream.
    pub(crate) on_stop: Vec<Of<HookUrl>>,
    /// Notice: a file of a recording is complete, because the publication or the file's length is over.
    pub(crate) on_dvr: Vec<Of<HookUrl>>,
    /// How long one call to one URL may take.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "1h"))]
    pub(crate) timeout: Time,
    /// How often on_close, on_unpublish, on_stop and on_dvr are repeated when the back end cannot be reached, takes too
    /// long or answers with a server error. Questions are not repeated, because a client waits for the answer.
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
    pub(super) fn urls(&self, event: Event) -> &[Of<HookUrl>] {
        match event {
            Event::Connect => &self.on_connect,
            Event::Close => &self.on_close,
            Event::Publish => &self.on_publish,
            Event::Unpublish => &self.on_unpublish,
            Event::Play => &self.on_play,
            Event::Stop => &self.on_stop,
            Event::Dvr => &self.on_dvr,
        }
    }

    /// The URLs of all calls, with repetitions.
    pub(crate) fn all_urls(&self) -> impl Iterator<Item = &HookUrl> {
        Event::ALL.into_iter().flat_map(|event| self.urls(event)).map(|url| &url.0)
    }

    /// The most bytes that waiting and running calls to one URL can take.
    pub(crate) fn most_memory(&self) -> u64 {
        let questions = u64::try_from(self.queue.saturating_add(self.max_in_flight)).unwrap_or(u64::MAX);
        questions.saturating_mul(LARGEST).saturating_add(self.notice_memory.0)
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
        assert_eq!(format!("{:?}", settings.on_play[0]), "Of(HookUrl(https://h:8443/x))", "no secrets in the log");
    }

    #[test]
    fn what_is_secret_in_a_url_is_in_no_line() {
        let url: HookUrl = "https://me:s3cret@h:1/x?key=s3cret".parse().unwrap();
        assert_eq!((url.to_string(), url.as_str().matches("s3cret").count()), ("https://***@h:1/x".to_owned(), 2));
        for wrong in ["http//me:s3cret@h", "ftp://me:s3cret@h/", "me:s3cret@h?s3cret", "http://me:s3cret@ h/"] {
            let error = wrong.parse::<HookUrl>().unwrap_err();
            assert!(error.contains("***@") && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn the_core_asks_what_somebody_wants_to_hear_of() {
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
