//! What is called, and what the answers do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Mutex;

use anabranch_core::client::{ClientConfig, ClientEvent, Destination};
use anabranch_tests::Folder;
use anabranch_tests::backend::{Answer, Backend, Call, yes};
use anabranch_tests::peer::Driver;
use anabranch_tests::program::Program;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;

use crate::start;

/// The back end of SRS's documentation: three paths, each for a beginning and its end. It keeps the list of clients,
/// and says no to what makes no sense.
#[derive(Default)]
struct Api {
    /// What each client does: actions that began, by stream.
    clients: Mutex<BTreeMap<String, BTreeSet<String>>>,
}

impl Api {
    fn handle(&self, call: &Call) -> Answer {
        let (begins, kind) = match (call.path.as_str(), call.action()) {
            ("/api/v1/clients", "on_connect") => (true, "client".to_owned()),
            ("/api/v1/clients", "on_close") => (false, "client".to_owned()),
            ("/api/v1/streams", "on_publish") => (true, format!("publish {}", call.text("stream"))),
            ("/api/v1/streams", "on_unpublish") => (false, format!("publish {}", call.text("stream"))),
            ("/api/v1/sessions", "on_play") => (true, format!("play {}", call.text("stream"))),
            ("/api/v1/sessions", "on_stop") => (false, format!("play {}", call.text("stream"))),
            _ => return Some((404, String::new())),
        };
        let mut clients = self.clients.lock().unwrap();
        let client = clients.entry(call.text("client_id").to_owned()).or_default();
        let sensible = if begins { client.insert(kind) } else { client.remove(&kind) };
        if client.is_empty() {
            clients.remove(call.text("client_id"));
        }
        Some((200, format!("{{\"code\":{},\"data\":null}}", u8::from(!sensible))))
    }
}

/// Settings for all calls to the API.
fn settings(base: &str) -> String {
    let hook = |name: &str, path: &str| format!("{name} = ['{base}/api/v1/{path}']\n");
    let hooks = [
        ("on_connect", "clients"),
        ("on_close", "clients"),
        ("on_publish", "streams"),
        ("on_unpublish", "streams"),
        ("on_play", "sessions"),
        ("on_stop", "sessions"),
    ];
    let hooks: String = hooks.iter().map(|(name, path)| hook(name, path)).collect();
    format!("[server]\nid = 'vid-1a09d14'\n[log]\nlevel = 'debug'\n[defaults.hooks]\n{hooks}")
}

fn api() -> Backend {
    let api = Api::default();
    Backend::start(move |call| api.handle(call))
}

/// One client of each kind from its beginning to its end; the calls are those of the API so far.
fn visit(program: &Program, backend: &Backend) -> Vec<Call> {
    let url = "rtmp://h/live?key=7";
    let config = ClientConfig {
        app: "live?key=7".to_owned(),
        page_url: Some("http://page/watch".to_owned()),
        ..ClientConfig::to(&Destination::parse("rtmp://h/live/cam").unwrap())
    };
    let config = ClientConfig { tc_url: url.to_owned(), ..config };
    let mut publisher = Driver::with(program.address(), config.clone());
    publisher.publish("cam?token=a%20b").unwrap();
    backend.wait_calls(2);
    let mut player = Driver::with(program.address(), config);
    player.play("cam").unwrap();
    backend.wait_calls(4);
    player.drop_connection();
    backend.wait_calls(6);
    // Until the answer to its end is read, a call to the same URL needs a separate connection.
    program.wait_lines("/api/v1/clients about conn", 3);
    publisher.drop_connection();
    backend.wait_calls(8)
}

#[test]
fn calls_have_the_fields_of_srs_in_its_order() {
    let backend = api();
    let program = start(&settings(&backend.url("")));
    let calls = visit(&program, &backend);
    let (first, player) = (&calls[0], &calls[2]);
    let service = first.text("service_id");
    let (one, two) = (first.text("client_id"), player.text("client_id"));
    let stream_id = calls[1].text("stream_id");
    assert_eq!((service.len(), stream_id.len(), &stream_id[..4]), (8, 29, "vid-"));
    assert_ne!(one, two);
    let head = |action: &str, client: &str| {
        format!(
            "{{\"server_id\":\"vid-1a09d14\",\"service_id\":\"{service}\",\"action\":\"{action}\",\
             \"client_id\":\"{client}\",\"ip\":\"127.0.0.1\",\"vhost\":\"__defaultVhost__\",\"app\":\"live\","
        )
    };
    let tail = format!("\"stream_url\":\"/live/cam\",\"stream_id\":\"{stream_id}\"}}");
    let tc = "\"tcUrl\":\"rtmp://h/live?key=7\"";
    let page = "\"pageUrl\":\"http://page/watch\"";
    let connect = format!("\"stream\":\"\",\"param\":\"?key=7\",{tc},{page}}}");
    let param = calls[1].text("param");
    assert!(param.starts_with('?') && param.contains("key=7") && param.contains("token=a%20b"), "{param}");
    let publish = format!("{tc},\"stream\":\"cam\",\"param\":\"{param}\",{tail}");
    let close = |call: &Call| {
        let (sent, received) = (&call.body["send_bytes"], &call.body["recv_bytes"]);
        assert!(sent.as_u64().unwrap() > 3000 && received.as_u64().unwrap() > 3000, "both shook hands");
        let reason = &call.body["reason"];
        assert!(reason.as_str().is_some_and(|reason| reason.starts_with("peer_")), "{reason}");
        format!("\"send_bytes\":{sent},\"recv_bytes\":{received},\"reason\":{reason},\"code\":\"\"}}")
    };
    let player = format!("{},\"form\":\"rtmp\",\"user_agent\":\"\"}}", tail.trim_end_matches('}'));
    let expected = [
        head("on_connect", one) + &connect,
        head("on_publish", one) + publish.trim_end_matches('}') + ",\"role\":\"publisher\"}",
        head("on_connect", two) + &connect,
        head("on_play", two) + &format!("\"stream\":\"cam\",{tc},\"param\":\"?key=7\",{page},{player}"),
        head("on_stop", two) + &format!("{tc},\"stream\":\"cam\",\"param\":\"?key=7\",{player}"),
        head("on_close", two) + &close(&calls[5]),
        head("on_unpublish", one) + &publish,
        head("on_close", one) + &close(&calls[7]),
    ];
    for (call, expected) in calls.iter().zip(&expected) {
        assert_eq!(&call.text, expected);
        assert_eq!(call.method, "POST");
        assert_eq!(call.header("content-type"), Some("application/json"));
        assert_eq!(call.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("keep-alive"));
        assert!(call.header("user-agent").unwrap().starts_with("anabranch/"));
    }
    assert!(calls.iter().all(|call| call.connection < 3), "connections are kept, one for each URL");
}

#[test]
fn the_documentation_shows_what_is_sent() {
    let backend = api();
    let program = start(&settings(&backend.url("")));
    let calls = visit(&program, &backend);
    let documentation = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/hooks.md")).unwrap();
    let blocks = documentation.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let examples = blocks.map(|block| serde_json::from_str::<Value>(block).expect("an example is JSON"));
    let shape = |body: &Value| -> BTreeMap<String, bool> {
        let fields = body.as_object().unwrap().iter();
        fields.map(|(name, value)| (name.clone(), value.is_string())).collect()
    };
    let mut shown = BTreeSet::new();
    // No file is recorded here; a test of recordings has its call.
    let of_visit = |example: &Value| example.get("action").is_some_and(|action| action != "on_dvr");
    for example in examples.filter(of_visit) {
        let action = example["action"].as_str().unwrap();
        let call = calls.iter().find(|call| call.action() == action).expect("there is such a call");
        assert_eq!(shape(&example), shape(&call.body), "{action}");
        shown.insert(action.to_owned());
    }
    assert_eq!(shown.len(), 6, "{shown:?}");
}

#[test]
fn a_refused_client_gets_the_reason_and_the_redirect() {
    let backend = Backend::start(|call| match call.text("stream") {
        "poor" => Some((200, "{\"code\":402,\"msg\":\"no credit\"}".to_owned())),
        "moved" => Some((200, "{\"code\":302,\"redirect\":\"rtmp://other/live/moved?x=1\"}".to_owned())),
        "forbidden" => Some((403, "0".to_owned())),
        "html" => Some((200, "<html>".to_owned())),
        "created" => Some((201, "{\"code\":0}".to_owned())),
        _ if call.text("app") == "closed" => Some((200, "{\"code\":1,\"message\":\"closed today\"}".to_owned())),
        _ => yes(),
    });
    let hooks: String = ["on_connect", "on_publish", "on_unpublish", "on_play", "on_stop"]
        .map(|name| format!("{name} = ['{}']\n", backend.url("/")))
        .concat();
    let program = start(&format!("[defaults.hooks]\n{hooks}"));
    let visitor = || Driver::at(program.address(), "rtmp://h/live/x");
    for (name, words) in [("poor", "no credit"), ("forbidden", "status 403"), ("html", "not JSON")] {
        for refusal in [visitor().publish(name).unwrap_err(), visitor().play(name).unwrap_err()] {
            assert!(refusal.description.contains(words), "{name}: {refusal:?}");
        }
    }
    let redirect = visitor().play("moved").unwrap_err().redirect.expect("it is sent elsewhere");
    assert_eq!(redirect.url.as_deref(), Some("rtmp://other/live/moved?x=1"));
    let mut accepted = visitor();
    accepted.publish("created").unwrap();
    let refusal =
        Driver::at(program.address(), "rtmp://h/closed/x").wait_event("refusal of connect", |event| match event {
            ClientEvent::Rejected { stream: None, rejection } => Some(rejection),
            _ => None,
        });
    assert!(refusal.description.contains("closed today"), "{refusal:?}");
    accepted.drop_connection();
    let calls = backend.wait(|calls| calls.iter().any(|call| call.action() == "on_unpublish"));
    program.finish();
    let ended: Vec<_> = calls.iter().filter(|call| matches!(call.action(), "on_unpublish" | "on_stop")).collect();
    assert_eq!(ended.len(), 1, "what was refused has no end");
    assert_eq!(ended[0].text("stream"), "created");
}

#[test]
fn each_url_is_called_and_the_first_no_decides() {
    let first = Backend::start(|_| yes());
    let second = Backend::start(|call| Some((200, u8::from(call.text("stream") == "no").to_string())));
    let third = Backend::start(|_| yes());
    let urls = format!("['{}', '{}', '{}']", first.url("/"), second.url("/"), third.url("/"));
    let program = start(&format!("[defaults.hooks]\non_publish = {urls}\non_unpublish = {urls}\n"));
    let mut peer = Driver::at(program.address(), "rtmp://h/live/x");
    let refusal = peer.publish("no").unwrap_err();
    assert!(refusal.description.contains("code 1"), "{refusal:?}");
    assert_eq!((first.calls().len(), second.calls().len(), third.calls().len()), (1, 1, 0));
    let mut peer = Driver::at(program.address(), "rtmp://h/live/x");
    peer.publish("yes").unwrap();
    peer.drop_connection();
    for (backend, count) in [(&first, 3), (&second, 3), (&third, 2)] {
        let calls = backend.wait_calls(count);
        assert_eq!(calls[count - 1].action(), "on_unpublish");
    }
}

#[test]
fn a_url_that_gets_only_notices_gets_them() {
    let backend = Backend::start(|_| yes());
    let url = backend.url("/");
    let program = start(&format!("[defaults.hooks]\non_close = ['{url}']\non_unpublish = ['{url}']\n"));
    let mut peer = Driver::at(program.address(), "rtmp://h/live/x");
    peer.publish("cam").unwrap();
    assert!(backend.calls().is_empty(), "no question is asked");
    // The end of the server is the end of its clients, and it waits until the notices are delivered.
    program.finish();
    let actions: Vec<_> = backend.calls().iter().map(|call| call.action().to_owned()).collect();
    assert_eq!(actions, ["on_unpublish", "on_close"]);
}

#[test]
fn https_is_spoken_with_those_whose_certificate_is_known() {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::from_params(&params, &ca_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let tls = ServerConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let backend = Backend::with_tls(tls, |_| yes());
    let folder = Folder::new();
    let file = folder.write("ca.pem", &ca.pem());
    let port = backend.address.port();
    let publish = |more: &str| {
        let program = start(&format!("[defaults.hooks]\non_publish = ['https://localhost:{port}/']\n{more}"));
        Driver::at(program.address(), "rtmp://h/live/x").publish("cam")
    };
    publish(&format!("ca_file = {file:?}")).unwrap();
    assert_eq!(backend.calls().len(), 1);
    let refusal = publish("").unwrap_err();
    assert!(refusal.description.contains("cannot ask its back end"), "{refusal:?}");
    assert_eq!(backend.calls().len(), 1, "the system does not know that certificate");
    publish("verify_tls = false").unwrap();
    assert_eq!(backend.calls().len(), 2);
}
