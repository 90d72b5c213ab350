use serde_json::{Value, json};

use super::Driver;
use super::socket::Socket;
use crate::Folder;
use crate::program::Process;

/// Firefox over WebDriver BiDi.
#[derive(Debug)]
pub(super) struct Firefox {
    socket: Socket,
    context: String,
    faults: Vec<String>,
    _process: Process,
    _profile: Folder,
}

/// Settings of the profile: no start pages, no connections but those of the test.
const SETTINGS: &str = r#"
user_pref("app.update.auto", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.page", 0);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("media.autoplay.default", 0);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("toolkit.telemetry.reportingpolicy.firstRun", false);
"#;

impl Firefox {
    pub(super) fn start() -> Self {
        let profile = Folder::new();
        profile.write("user.js", SETTINGS);
        let folder = profile.path().to_str().expect("paths of tests are UTF-8").to_owned();
        let arguments =
            ["--headless", "--no-remote", "--remote-debugging-port", "0", "--profile", &folder, "about:blank"];
        let process = Process::start("firefox-esr", arguments);
        let line = process.wait_line("WebDriver BiDi listening on ws://").text;
        let address = line.split_whitespace().last().expect("an address");
        let mut socket = Socket::connect(&format!("{address}/session"));
        socket.tell(None, "session.new", &json!({ "capabilities": {} }));
        socket.tell(None, "session.subscribe", &json!({ "events": ["log.entryAdded"] }));
        let tree = socket.tell(None, "browsingContext.getTree", &json!({}));
        let context = tree["contexts"][0]["context"].as_str().expect("a page").to_owned();
        Firefox { socket, context, faults: Vec::new(), _process: process, _profile: profile }
    }

    fn tell(&mut self, method: &str, parameters: &Value) -> Value {
        let result = self.socket.tell(None, method, parameters);
        for event in self.socket.events() {
            if event["method"] == "log.entryAdded" && event["params"]["level"] == "error" {
                self.faults.push(event["params"]["text"].to_string());
            }
        }
        result
    }
}

impl Driver for Firefox {
    fn open(&mut self, address: &str) {
        self.faults.clear();
        let parameters = json!({ "context": self.context, "url": address, "wait": "complete" });
        self.tell("browsingContext.navigate", &parameters);
    }

    fn evaluate(&mut self, expression: &str) -> Result<String, String> {
        let parameters = json!({
            "expression": expression, "target": { "context": self.context }, "awaitPromise": true, "userActivation": true,
        });
        let answer = self.tell("script.evaluate", &parameters);
        match answer["type"].as_str() {
            Some("success") => Ok(answer["result"]["value"].as_str().unwrap_or("null").to_owned()),
            _ => Err(answer["exceptionDetails"]["text"].to_string()),
        }
    }

    fn press(&mut self, key: &str) {
        // As WebDriver numbers them.
        let value = match key {
            "Tab" => "\u{e004}",
            "Enter" => "\u{e007}",
            "Escape" => "\u{e00c}",
            other => panic!("no key {other}"),
        };
        let keys = ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": value }));
        let actions = json!([{ "type": "key", "id": "keyboard", "actions": keys }]);
        self.tell("input.performActions", &json!({ "context": self.context, "actions": actions }));
    }

    fn picture(&mut self, is_whole: bool) -> String {
        let origin = if is_whole { "document" } else { "viewport" };
        let answer =
            self.tell("browsingContext.captureScreenshot", &json!({ "context": self.context, "origin": origin }));
        answer["data"].as_str().expect("a picture").to_owned()
    }

    fn listen(&mut self) {
        self.tell("session.status", &json!({}));
    }

    fn faults(&self) -> &[String] {
        &self.faults
    }
}

impl Drop for Firefox {
    fn drop(&mut self) {
        let _ = self.socket.ask(None, "browser.close", &json!({}));
    }
}
