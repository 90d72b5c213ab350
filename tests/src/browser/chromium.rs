use serde_json::{Value, json};

use super::socket::Socket;
use super::{Driver, Look};
use crate::Folder;
use crate::program::Process;

/// Chromium over the DevTools protocol.
#[derive(Debug)]
pub(super) struct Chromium {
    socket: Socket,
    session: String,
    faults: Vec<String>,
    _process: Process,
    _profile: Folder,
}

impl Chromium {
    pub(super) fn start(look: Look, flags: &[&str]) -> Self {
        let profile = Folder::new();
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            // A container may have next to no shared memory.
            "--disable-dev-shm-usage",
            "--mute-audio",
            // Pages have `computedName`: what a screen reader calls an element.
            "--enable-blink-features=ComputedAccessibilityInfo",
            "--remote-debugging-port=0",
        ];
        let own = [
            format!("--user-data-dir={}", profile.path().display()),
            format!("--accept-lang={}", look.language),
            "about:blank".to_owned(),
        ];
        let process = Process::start("chromium", arguments.iter().chain(flags).map(ToString::to_string).chain(own));
        let line = process.wait_line("DevTools listening on ws://").text;
        let address = line.split_whitespace().last().expect("an address").to_owned();
        let mut socket = Socket::connect(&address);
        let targets = socket.tell(None, "Target.getTargets", &json!({}));
        let page = targets["targetInfos"].as_array().into_iter().flatten().find(|target| target["type"] == "page");
        let id = page.expect("a page")["targetId"].clone();
        let attached = socket.tell(None, "Target.attachToTarget", &json!({ "targetId": id, "flatten": true }));
        let session = attached["sessionId"].as_str().expect("a session").to_owned();
        let mut chromium = Chromium { socket, session, faults: Vec::new(), _process: process, _profile: profile };
        for domain in ["Page", "Runtime", "Log"] {
            chromium.tell(&format!("{domain}.enable"), &json!({}));
        }
        let scale = if look.is_phone { 2 } else { 1 };
        chromium.tell(
            "Emulation.setDeviceMetricsOverride",
            &json!({
                "width": look.width, "height": look.height, "deviceScaleFactor": scale, "mobile": look.is_phone,
            }),
        );
        let scheme = if look.is_dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        chromium.tell("Emulation.setEmulatedMedia", &features);
        chromium
    }

    fn tell(&mut self, method: &str, parameters: &Value) -> Value {
        let result = self.socket.tell(Some(&self.session), method, parameters);
        self.sort();
        result
    }

    /// Keeps the errors among the events.
    fn sort(&mut self) {
        for event in self.socket.events() {
            let of = &event["params"];
            match event["method"].as_str() {
                Some("Runtime.exceptionThrown") => self.faults.push(of["exceptionDetails"].to_string()),
                Some("Log.entryAdded") if of["entry"]["level"] == "error" => {
                    let (text, url) = (&of["entry"]["text"], &of["entry"]["url"]);
                    self.faults.push(format!(
                        "{} {}",
                        text.as_str().unwrap_or_default(),
                        url.as_str().unwrap_or_default()
                    ));
                }
                Some("Runtime.consoleAPICalled") if of["type"] == "error" => self.faults.push(of["args"].to_string()),
                _ => {}
            }
        }
    }
}

impl Driver for Chromium {
    fn open(&mut self, address: &str) {
        self.faults.clear();
        let answer = self.tell("Page.navigate", &json!({ "url": address }));
        assert!(answer.get("errorText").is_none(), "{address}: {answer}");
        // Chromium answers once the document has begun.
        let loaded = "new Promise(done => document.readyState === 'complete' ? done('') : \
                      addEventListener('load', () => done('')))";
        self.evaluate(loaded).unwrap_or_else(|thrown| panic!("{address}: {thrown}"));
    }

    fn evaluate(&mut self, expression: &str) -> Result<String, String> {
        let parameters = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true,
        });
        let answer = self.tell("Runtime.evaluate", &parameters);
        match answer.get("exceptionDetails") {
            Some(details) => Err(details.to_string()),
            None => Ok(answer["result"]["value"].as_str().unwrap_or("null").to_owned()),
        }
    }

    fn press(&mut self, key: &str) {
        // The code of the key, and the text that it writes.
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            other => panic!("no key {other}"),
        };
        let down = if text.is_empty() { "rawKeyDown" } else { "keyDown" };
        for kind in [down, "keyUp"] {
            let event = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text,
            });
            self.tell("Input.dispatchKeyEvent", &event);
        }
    }

    fn picture(&mut self, is_whole: bool) -> String {
        let parameters = json!({ "format": "png", "captureBeyondViewport": is_whole });
        self.tell("Page.captureScreenshot", &parameters)["data"].as_str().expect("a picture").to_owned()
    }

    fn listen(&mut self) {
        // Events are sent before the answer to a later command.
        self.tell("Runtime.evaluate", &json!({ "expression": "''" }));
    }

    fn faults(&self) -> &[String] {
        &self.faults
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // It removes its own processes, which killing it alone may leave for a while.
        let _ = self.socket.ask(None, "Browser.close", &json!({}));
    }
}
