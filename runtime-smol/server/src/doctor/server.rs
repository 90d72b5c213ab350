use serde_json::Value;

use super::entry::{Entry, Report};
use crate::remote::Remote;
use crate::settings::tree::Path;
use crate::settings::{Loaded, Sources};

/// The server that runs with this configuration, if there is one and its API answers.
#[derive(Debug, Default)]
pub(super) struct Running {
    /// Where the API is, if it is on.
    pub(super) url: Option<String>,
    /// Why the server does not answer.
    pub(super) silence: Option<String>,
    /// The process, if the server answers.
    pub(super) pid: Option<u32>,
    pub(super) version: String,
    pub(super) uptime: u64,
    pub(super) connections: u64,
    pub(super) is_draining: bool,
    pub(super) streams: Vec<Stream>,
    /// What the server itself says is wrong.
    pub(super) complaints: Vec<String>,
}

/// A stream of that server.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) app: String,
    pub(super) name: String,
    pub(super) kbps: u64,
    pub(super) is_live: bool,
}

impl Running {
    pub(super) fn ask(sources: &Sources) -> Self {
        let mut running = Running::default();
        let remote = match Remote::configured(sources) {
            Ok(remote) => remote,
            Err(words) => {
                running.silence = Some(words);
                return running;
            }
        };
        running.url = Some(remote.url().to_owned());
        let summary = match remote.get("/api/v1/summaries") {
            Ok(summary) => summary,
            Err(words) => {
                running.silence = Some(words);
                return running;
            }
        };
        let process = &summary["data"]["self"];
        running.pid = process["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        running.version = process["version"].as_str().unwrap_or_default().to_owned();
        running.uptime = process["srs_uptime"].as_u64().unwrap_or_default();
        running.is_draining = process["draining"].as_bool().unwrap_or_default();
        running.connections = summary["data"]["system"]["conn_srs"].as_u64().unwrap_or_default();
        // While it drains, the status is not 200, and what it says is known already.
        let health = remote.get("/api/v1/health").unwrap_or_default();
        let complaint = |reason: &Value| {
            let text = |name: &str| reason[name].as_str().unwrap_or_default().to_owned();
            format!("{} ({}): {}", text("code"), text("subject"), text("words"))
        };
        running.complaints = health["data"]["reasons"].as_array().into_iter().flatten().map(complaint).collect();
        let streams = remote.get("/api/v1/streams?count=1000").unwrap_or_default();
        running.streams = streams["streams"].as_array().into_iter().flatten().map(Stream::of).collect();
        running
    }
}

impl Stream {
    fn of(stream: &Value) -> Self {
        let text = |name: &str| stream[name].as_str().unwrap_or_default().to_owned();
        Stream {
            app: text("app"),
            name: text("name"),
            kbps: stream["kbps"]["recv_30s"].as_u64().unwrap_or_default(),
            is_live: stream["publish"]["active"].as_bool().unwrap_or_default(),
        }
    }
}

/// Whether the API answers, and what it says.
pub(super) fn api(loaded: &Loaded, running: &Running, report: &mut Report) {
    let path = Path::of(&["api", "listen"]);
    let origin = loaded.tree.nearest(&path).origin().clone();
    let Running { url, silence, version, uptime, connections, .. } = running;
    let entry = match (url, running.pid, silence) {
        (None, ..) => {
            let cure =
                "without the API there are no metrics, no top and no health: set api.listen to an address and port";
            Entry::warning("api", silence.clone().unwrap_or_default(), cure)
        }
        (Some(url), Some(pid), _) => {
            let words = format!(
                "{url} answers: version {version}, process {pid}, up for {uptime} s, {connections} connections"
            );
            let own = env!("CARGO_PKG_VERSION");
            if running.is_draining {
                Entry::warning(
                    "api",
                    format!("{words}; it drains, and takes no new clients"),
                    "start it again when it has ended",
                )
            } else if version != own {
                let cure = "restart the server, if it was upgraded";
                Entry::warning("api", format!("{words}; this program is version {own}"), cure)
            } else {
                Entry::ok("api", words)
            }
        }
        // Ports that are taken show whether that is a fault.
        (Some(url), None, silence) if silence.as_ref().is_some_and(|words| is_absence(words)) => {
            Entry::ok("api", format!("no server answers at {url} now"))
        }
        (Some(_), None, silence) => {
            let cure = "another program may have that port, or the credentials are not those of the running server";
            Entry::fault("api", silence.clone().unwrap_or_default(), cure)
        }
    };
    report.add(entry.at(&origin, &path));
    for complaint in &running.complaints {
        let cure = "GET /api/v1/health, /api/v1/hooks and /api/v1/recordings have more about it";
        report.add(Entry::fault("server", format!("the running server says: {complaint}"), cure));
    }
}

fn is_absence(words: &str) -> bool {
    words.contains("refused")
}
