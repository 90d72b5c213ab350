//! Asks back ends whether they can be reached, without an event of a client.

use std::time::Instant;

use anabranch_program::Fault;
use serde_json::json;
use ureq::http::Request;
use ureq::{Agent, Error};

use super::endpoint::EndpointKey;
use super::reply::Reply;
use super::settings::{Form, HookSettings, HookTarget};

/// What a back end that is asked by [`probe`] may see.
const AGENT: &str = concat!("anabranch-doctor/", env!("CARGO_PKG_VERSION"));

/// What came of asking one URL.
#[derive(Debug)]
pub(crate) struct Probe {
    /// The URL without secrets.
    pub(crate) url: String,
    /// What the back end answered, in words.
    pub(crate) outcome: Result<String, Fault>,
}

/// Asks each URL of these settings once, and returns the place of its settings in the list with what came of it. The
/// request is an `OPTIONS` without a body, which is no event. With `ask`, a question follows that has the action
/// `on_doctor` and no client: its answer shows whether the form is right.
pub(crate) fn probe(all: &[&HookSettings], ask: bool) -> Vec<(usize, Probe)> {
    let (mut asked, mut probes) = (Vec::new(), Vec::new());
    for (place, settings) in all.iter().enumerate() {
        for url in settings.all_urls() {
            // A file that cannot be used is found elsewhere. Equal URLs with other settings are asked again.
            let Some((key, agent)) =
                EndpointKey::new(url, settings).and_then(|key| Ok((key.clone(), key.agent()?))).ok()
            else {
                continue;
            };
            if !asked.contains(&key) {
                asked.push(key);
                probes.push((place, Probe { url: url.to_string(), outcome: of_url(url, &agent, settings, ask) }));
            }
        }
    }
    probes
}

fn of_url(target: &HookTarget, agent: &Agent, settings: &HookSettings, ask: bool) -> Result<String, Fault> {
    let url = &target.url;
    let start = Instant::now();
    let request = Request::builder().method("OPTIONS").uri(url.as_str()).header("user-agent", AGENT).body(());
    let request =
        request.map_err(|error| Fault::new(format!("the URL cannot be asked: {error}"), "correct the URL"))?;
    let response = agent.run(request).map_err(|error| unreachable(&error))?;
    let status = response.status().as_u16();
    let took = start.elapsed().as_millis();
    if status >= 500 && status != 501 {
        let words = format!("it answers with status {status}, which counts as a failure");
        return Err(Fault::new(words, "look into the back end's log, or into that of the proxy in front of it"));
    }
    let verified = match (url.as_str().starts_with("https"), settings.verify_tls) {
        (true, true) => ", its certificate is right",
        (true, false) => ", its certificate is not checked (hooks.verify_tls)",
        (false, _) => "",
    };
    let words = format!("it answers in {took} ms (status {status} to OPTIONS{verified})");
    if !ask {
        return Ok(words);
    }
    let reply = question(agent, target).map_err(|error| unreachable(&error))?;
    match reply {
        Reply::Granted | Reply::Renamed(_) | Reply::Targets(_) => {
            Ok(format!("{words}; a question without a client was granted"))
        }
        Reply::Refused { reason: Some(reason), .. } if reason.starts_with("an answer that is not JSON") => {
            let cure =
                "answer with status 200 and the body 0, or with a JSON object whose code is 0, to grant a request";
            Err(Fault::new("its answer is not JSON, so every request is refused", cure))
        }
        Reply::Refused { reason, .. } => {
            let reason = reason.unwrap_or_else(|| "no reason".to_owned());
            Ok(format!("{words}; a question without a client was refused ({reason}), which is a valid answer"))
        }
        Reply::Failed(words) => Err(Fault::new(words, "look into the back end's log")),
    }
}

fn question(agent: &Agent, target: &HookTarget) -> Result<Reply, Error> {
    let url = target.url.as_str();
    if target.form == Form::NginxRtmp {
        let request = agent.post(url).content_type("application/x-www-form-urlencoded").header("user-agent", AGENT);
        let response = request.send("app=&addr=127.0.0.1&clientid=&call=doctor")?;
        let location = response.headers().get("location").and_then(|value| value.to_str().ok());
        return Ok(Reply::of_nginx(response.status().as_u16(), location));
    }
    let body = json!({
        "server_id": "", "service_id": "", "action": "on_doctor", "client_id": "", "ip": "127.0.0.1",
        "vhost": "", "app": "", "stream": "", "param": "", "tcUrl": "",
    });
    let request = agent.post(url).content_type("application/json").header("user-agent", AGENT);
    let mut response = request.send(body.to_string())?;
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(64 << 10).read_to_vec()?;
    Ok(Reply::of(status, &body))
}

fn unreachable(error: &Error) -> Fault {
    let words = format!("it cannot be asked: {error}");
    let text = error.to_string().to_ascii_lowercase();
    let cure = if text.contains("certificate") || text.contains("tls") {
        "name the file of the CA that issued its certificate in hooks.ca_file, or give it a certificate that this \
         machine trusts"
    } else if text.contains("refused") {
        "start the back end, or correct the port; clients are refused until then, unless hooks.allow_on_failure is set"
    } else if text.contains("timeout") {
        "look whether a firewall drops packets to it, or whether it is overloaded; hooks.timeout says how long the \
         server waits"
    } else if matches!(error, Error::HostNotFound) || text.contains("lookup") || text.contains("name") {
        "correct the host's name, or look at this machine's DNS (getent hosts NAME)"
    } else {
        "look whether the back end runs and speaks HTTP on that port"
    };
    Fault::new(words, cure)
}
