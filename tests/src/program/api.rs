use std::net::SocketAddr;

use serde_json::Value;

use super::Program;
use crate::TIMEOUT;

/// What the API answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header `Content-Type`; each is empty where there is none.
    pub kind: String,
    /// The header `Allow`.
    pub allow: String,
    /// The header `WWW-Authenticate`.
    pub challenge: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body.
    ///
    /// # Panics
    /// If it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// The HTTP API of the smol server, where its settings have one: `[api]` with `listen = '127.0.0.1:0'`.
impl Program {
    /// Where the API listens, by the program's stdout, or by its log where that is JSON.
    ///
    /// # Panics
    /// If it does not say.
    pub fn api(&self) -> SocketAddr {
        *self.api.get_or_init(|| {
            let place = |url: &str| url.strip_prefix("http://")?.strip_suffix("/api/v1")?.parse().ok();
            let printed = |line: &String| place(line.trim().strip_prefix("API ")?.trim());
            let logged = |line: &Value| place(line["api"].as_str()?);
            self.process.wait_for("address of the API", || {
                let (printed, started) = (self.process.stdout().iter().find_map(printed), self.process.started());
                printed.or_else(|| started.as_ref().and_then(logged))
            })
        })
    }

    /// Where it listens for HTTP, by the program's stdout.
    ///
    /// # Panics
    /// If it does not say.
    pub fn web(&self) -> SocketAddr {
        let place = |line: &String| {
            line.trim().strip_prefix("watch, HTTP")?.trim().strip_prefix("http://")?.split('/').next()?.parse().ok()
        };
        self.process.wait_for("address for HTTP", || self.process.stdout().iter().find_map(place))
    }

    /// Asks without credentials.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn ask(&self, method: &str, path: &str) -> Answer {
        self.ask_with(method, path, &[])
    }

    /// Asks with these headers.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn ask_with(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT));
        let agent: ureq::Agent = config.build().into();
        let url = format!("http://{}{path}", self.api());
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let mut response = agent.run(request).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        Answer {
            status: response.status().as_u16(),
            kind: header("content-type"),
            allow: header("allow"),
            challenge: header("www-authenticate"),
            body: response.body_mut().read_to_string().expect("a body"),
        }
    }

    /// The JSON at a path.
    ///
    /// # Panics
    /// If the status is not 200.
    pub fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// The JSON at a path, with a token.
    ///
    /// # Panics
    /// If the status is not 200.
    pub fn get_with(&self, path: &str, token: &str) -> Value {
        let answer = self.ask_with("GET", path, &[("authorization", &format!("Bearer {token}"))]);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// The value of a series of `/metrics`, written as there.
    ///
    /// # Panics
    /// If it is no number.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = self.ask("GET", "/metrics").body;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(value.parse().expect("a number"))
    }
}
