//! The HTTP API of the running program.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_tests::media::frames::{audio, audio_header, video, video_header};
use anabranch_tests::peer::Driver;
use anabranch_tests::program::{Answer, Program};
use anabranch_tests::{TIMEOUT, wait_for};
use serde_json::{Value, json};

use crate::{launch, start, start_with_api};

/// The API's document, and what it says of answers.
struct Interface {
    document: Value,
}

impl Interface {
    fn of(program: &Program) -> Self {
        let mut document = program.get("/openapi.json");
        // What is not in the document must not be in an answer either.
        for schema in document["components"]["schemas"].as_object_mut().expect("schemas").values_mut() {
            if schema.get("properties").is_some() {
                schema["unevaluatedProperties"] = json!(false);
            }
        }
        Interface { document }
    }

    /// Panics if the answer is not what the document says of the method and path.
    fn check(&self, method: &str, path: &str, answer: &Answer) {
        let method = method.to_ascii_lowercase();
        let response = &self.document["paths"][path][&method]["responses"][answer.status.to_string()];
        let (kind, content) = response["content"]
            .as_object()
            .and_then(|content| content.iter().next())
            .unwrap_or_else(|| panic!("{method} {path} may not answer {}: {}", answer.status, answer.body));
        assert!(answer.kind.starts_with(kind.as_str()), "{path}: {}", answer.kind);
        if kind != "application/json" {
            return;
        }
        let errors = self.errors(&content["schema"], &answer.json());
        assert!(errors.is_empty(), "{method} {path}: {errors:?} in {}", answer.body);
    }

    fn errors(&self, schema: &Value, answer: &Value) -> Vec<String> {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "allOf": [schema],
            "components": self.document["components"],
        });
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        validator.iter_errors(answer).map(|error| error.to_string()).collect()
    }
}

#[test]
fn a_disabled_virtual_host_is_shown_as_such() {
    let program = start_with_api("[[vhost]]\nname = 'a'\n[[vhost]]\nname = 'b'\nenabled = false\n");
    let vhosts = &program.get("/api/v1/vhosts")["vhosts"];
    assert_eq!([&vhosts[0]["enabled"], &vhosts[1]["enabled"]], [&json!(true), &json!(false)]);
}

#[test]
fn the_document_is_strict() {
    let program = start_with_api("");
    let interface = Interface::of(&program);
    let schema = json!({ "$ref": "#/components/schemas/VersionsAnswer" });
    let answer = program.get("/api/v1/versions");
    assert_eq!(interface.errors(&schema, &answer), [""; 0]);
    for (path, value) in [("/code", json!(1)), ("/data/major", json!("0")), ("/data", json!({}))] {
        let mut wrong = answer.clone();
        *wrong.pointer_mut(path).expect("it is there") = value;
        assert!(!interface.errors(&schema, &wrong).is_empty(), "{path}");
    }
    let mut more = answer;
    more["data"]["more"] = json!(1);
    assert!(!interface.errors(&schema, &more).is_empty(), "what the document does not have");
}

/// With a publisher of `cam`, and two players.
fn busy(settings: &str) -> (Program, [Driver; 3]) {
    let program = start_with_api(settings);
    let mut publisher = program.publisher("cam");
    let players = [program.player("cam"), program.player("cam")];
    for message in [video_header(), audio_header(), video(0, true, 100), audio(0), video(40, false, 50)] {
        publisher.send(message);
    }
    let [mut one, mut other] = players;
    for player in [&mut one, &mut other] {
        wait_for("frames", TIMEOUT, || {
            player.step();
            (player.frames >= 5).then_some(())
        });
    }
    (program, [publisher, one, other])
}

#[test]
fn every_route_answers_as_the_document_says() {
    let folder = anabranch_tests::Folder::new();
    let captures = folder.file("captures");
    let (program, [mut publisher, _one, _other]) = busy(&format!("[capture]\napi_folder = {captures:?}\n"));
    let interface = Interface::of(&program);
    let stream = program.get("/api/v1/streams")["streams"][0]["id"].as_str().expect("an id").to_owned();
    let vhost = program.get("/api/v1/vhosts")["vhosts"][0]["id"].as_str().expect("an id").to_owned();
    let captured = program.ask("POST", &format!("/api/v1/captures?stream={stream}&role=publisher"));
    assert_eq!(captured.status, 200, "{}", captured.body);
    interface.check("POST", "/api/v1/captures", &captured);
    let capture = captured.json()["capture"]["id"].to_string();
    let target = "rtmp%3A%2F%2F127.0.0.1%2Flive%2Fother";
    let added = program.ask("POST", &format!("/api/v1/forwards?stream={stream}&url={target}"));
    assert_eq!(added.status, 200, "{}", added.body);
    interface.check("POST", "/api/v1/forwards", &added);
    let forward = added.json()["forward"]["id"].to_string();
    let clients = program.get("/api/v1/clients");
    let client = clients["clients"][2]["id"].as_str().expect("an id").to_owned();
    assert_eq!(clients["total"], 3);
    let known = |path: &str| match path {
        "/api/v1/streams/{id}" => stream.clone(),
        "/api/v1/vhosts/{id}" => vhost.clone(),
        "/api/v1/captures/{id}" => capture.clone(),
        "/api/v1/forwards/{id}" => forward.clone(),
        _ => client.clone(),
    };
    let mut walked = 0;
    let paths = interface.document["paths"].as_object().expect("paths");
    let mut walk = |method: &str, path: &str, id: &str, status: u16| {
        let answer = program.ask(method, &path.replace("{id}", id));
        assert_eq!(answer.status, status, "{method} {path} {id}: {}", answer.body);
        interface.check(method, path, &answer);
        walked += 1;
    };
    for path in paths.keys() {
        if path.contains("{id}") {
            walk("GET", path, "nobody", 404);
            walk("GET", path, "%00%ff", 404);
            walk("GET", path, &known(path), 200);
        } else if path == "/api/v1/clusters" {
            // It is asked about a stream.
            walk("GET", path, "", 400);
        } else if path != "/api/v1/drain" && path != "/api/v1/reload" {
            walk("GET", path, "", 200);
        }
    }
    walk("POST", "/api/v1/captures", "", 400);
    walk("DELETE", "/api/v1/captures/{id}", &capture, 200);
    walk("DELETE", "/api/v1/captures/{id}", "0", 404);
    walk("POST", "/api/v1/forwards", "", 400);
    walk("DELETE", "/api/v1/forwards/{id}", &forward, 200);
    walk("DELETE", "/api/v1/forwards/{id}", "0", 404);
    walk("DELETE", "/api/v1/clients/{id}", &client, 200);
    walk("DELETE", "/api/v1/clients/{id}", "0", 404);
    walk("DELETE", "/api/v1/streams/{id}", "nobody", 404);
    walk("DELETE", "/api/v1/streams/{id}", &stream, 200);
    publisher.wait_close();
    // One player is left, waiting.
    walk("DELETE", "/api/v1/streams/{id}", &stream, 409);
    walk("GET", "/api/v1/streams/{id}", &stream, 200);
    walk("POST", "/api/v1/reload", "", 200);
    walk("POST", "/api/v1/drain", "", 200);
    walk("GET", "/readyz", "", 503);
    walk("GET", "/api/v1/health", "", 503);
    walk("DELETE", "/api/v1/drain", "", 200);
    walk("GET", "/readyz", "", 200);
    walk("GET", "/healthz", "", 200);
    let documented: usize = paths.values().map(|methods| methods.as_object().map_or(0, serde_json::Map::len)).sum();
    assert!(walked >= documented, "{walked} of {documented}");
}

#[test]
fn streams_and_clients_are_told_as_srs_tells_them() {
    let (program, [publisher, player, _other]) = busy("");
    let streams = program.get("/api/v1/streams/");
    assert_eq!(streams["code"], 0);
    assert!(streams["server"].as_str().is_some_and(|id| id.starts_with("vid-")));
    let stream = &streams["streams"][0];
    assert_eq!(stream["name"], "cam");
    assert_eq!(stream["app"], "live");
    assert_eq!(stream["url"], "/live/cam");
    assert_eq!(stream["key"], "live/cam");
    assert_eq!(stream["tcUrl"], format!("rtmp://{}/live", program.address()));
    assert_eq!(stream["clients"], 3);
    assert_eq!(stream["frames"], 2);
    assert_eq!(stream["audio_frames"], 1);
    assert_eq!(stream["publish"]["active"], true);
    assert_eq!(stream["video"]["codec"], "H264");
    assert_eq!((&stream["video"]["width"], &stream["video"]["height"]), (&json!(320), &json!(240)));
    assert_eq!(stream["audio"], json!({"codec": "AAC", "sample_rate": 44100, "channel": 2, "profile": "LC"}));

    let clients = program.get("/api/v1/clients/?start=0&count=10");
    let list = clients["clients"].as_array().expect("a list");
    assert_eq!(list.len(), 3);
    assert_eq!(list[0]["id"], stream["publish"]["cid"]);
    assert_eq!((&list[0]["type"], &list[0]["publish"]), (&json!("fmle-publish"), &json!(true)));
    assert_eq!((&list[1]["type"], &list[1]["publish"]), (&json!("rtmp-play"), &json!(false)));
    for client in list {
        assert_eq!(
            (&client["ip"], &client["name"], &client["url"]),
            (&json!("127.0.0.1"), &json!("cam"), &json!("/live/cam"))
        );
        assert_eq!((&client["stream"], &client["vhost"]), (&stream["id"], &stream["vhost"]));
    }
    assert_eq!(list[0]["recv_bytes"], publisher.written);
    // Five messages, headers included.
    assert_eq!(list[0]["recv_frames"], 5);
    assert_eq!(list[1]["send_bytes"], player.received);
    assert_eq!(program.get("/api/v1/clients?start=2")["clients"].as_array().map(Vec::len), Some(1));
    assert_eq!(program.get("/api/v1/clients?start=9999999999")["clients"], json!([]));
    assert_eq!(program.get("/api/v1/streams?start=1")["streams"], json!([]));

    let vhost = &program.get("/api/v1/vhosts")["vhosts"][0];
    assert_eq!((&vhost["name"], &vhost["id"]), (&json!("__defaultVhost__"), &stream["vhost"]));
    assert_eq!((&vhost["clients"], &vhost["streams"], &vhost["players"]), (&json!(3), &json!(1), &json!(2)));
    assert_eq!(vhost["recv_bytes"].as_u64(), list.iter().map(|client| client["recv_bytes"].as_u64()).sum());

    let summary = &program.get("/api/v1/summaries")["data"];
    assert_eq!((&summary["ok"], &summary["system"]["conn_srs"]), (&json!(true), &json!(3)));
    assert!(summary["self"]["mem_kbyte"].as_u64() > Some(0));
    let version = &program.get("/api/v1/versions")["data"];
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_client_that_is_removed_is_gone_at_once() {
    let (program, [mut publisher, mut player, mut other]) = busy("");
    let id = |index: usize| program.get("/api/v1/clients")["clients"][index]["id"].as_str().expect("an id").to_owned();
    let victim = id(1);
    let start = Instant::now();
    assert_eq!(program.ask("DELETE", &format!("/api/v1/clients/{victim}")).status, 200);
    player.wait_close();
    println!("closed after {:?}", start.elapsed());
    wait_for("the end in the list", TIMEOUT, || {
        (program.ask("GET", &format!("/api/v1/clients/{victim}")).status == 404).then_some(())
    });
    assert_eq!(program.ask("DELETE", &format!("/api/v1/clients/{victim}")).status, 404);
    // The others go on.
    let before = other.frames;
    publisher.send(video(80, false, 50));
    wait_for("the next frame", TIMEOUT, || {
        other.step();
        (other.frames > before).then_some(())
    });
    let stream = program.get("/api/v1/streams")["streams"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(program.ask("DELETE", &format!("/api/v1/streams/{stream}")).status, 200);
    publisher.wait_close();
    wait_for("the end of the stream", TIMEOUT, || {
        let stream = &program.get(&format!("/api/v1/streams/{stream}"))["stream"];
        (stream["publish"]["active"] == false && stream["video"].is_null()).then_some(())
    });
    other.step();
    assert!(other.closed().is_none());
}

#[test]
fn a_draining_server_is_not_ready_and_grants_nothing() {
    let (program, [_publisher, _one, _other]) = busy("");
    assert_eq!(program.ask("GET", "/readyz").status, 200);
    for seconds in ["x", "-1", "86401", "18446744073709551615"] {
        assert_eq!(program.ask("POST", &format!("/api/v1/drain?seconds={seconds}")).status, 400, "{seconds}");
    }
    assert_eq!(program.ask("GET", "/readyz").status, 200);
    let answer = program.ask("POST", "/api/v1/drain?seconds=300&tc_url=rtmp%3A%2F%2Felsewhere%2Flive").json();
    assert_eq!(answer["data"], json!({"seconds": 300, "connections": 3}));
    assert_eq!(program.ask("GET", "/readyz").status, 503);
    assert_eq!(program.ask("GET", "/healthz").status, 200);
    assert_eq!(program.metric("anabranch_draining"), Some(1.0));
    let mut late = program.visitor();
    let _ = late.client.publish("late", anabranch_core::command::PublishType::Live).expect("it may be asked");
    wait_for("a refusal", TIMEOUT, || {
        let refused = |event: &_| matches!(event, anabranch_core::client::ClientEvent::Rejected { .. });
        (late.events().iter().any(refused) || late.closed().is_some()).then_some(())
    });
}

#[test]
fn methods_and_paths_that_are_not_there() {
    let program = start_with_api("");
    for (method, path, allow) in [
        ("POST", "/api/v1/streams", "GET, HEAD"),
        ("GET", "/api/v1/drain", "DELETE, POST"),
        ("PUT", "/api/v1/clients/1", "DELETE, GET, HEAD"),
        ("OPTIONS", "/metrics", "GET, HEAD"),
    ] {
        let answer = program.ask(method, path);
        assert_eq!((answer.status, answer.allow.as_str()), (405, allow), "{method} {path}");
        assert_eq!(answer.json()["code"], 405);
    }
    for path in ["/api", "/api/v2", "/api/v1/nothing", "/api/v1/streams/a/b", "//", "/api/v1/../v1/streams", "/%2e%2e"]
    {
        let answer = program.ask("GET", path);
        assert_eq!((answer.status, answer.json()["code"].as_u64()), (404, Some(404)), "{path}");
    }
    for (path, code) in [("vhosts", 2014), ("streams", 2048), ("clients", 2049)] {
        let answer = program.ask("GET", &format!("/api/v1/{path}/nobody"));
        assert_eq!((answer.status, answer.json()["code"].as_u64()), (404, Some(code)));
    }
    let head = program.ask("HEAD", "/api/v1/versions");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn only_with_credentials_where_they_are_set() {
    let program = start_with_api("token = 'secret'\nuser = 'ops'\npassword = 'pass word'");
    let asked = |path: &str, value: &str| program.ask_with("GET", path, &[("authorization", value)]).status;
    for path in ["/api/v1", "/api/v1/streams", "/metrics", "/openapi.json", "/nothing"] {
        let answer = program.ask("GET", path);
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.challenge.starts_with("Basic"), "{}", answer.challenge);
        for wrong in ["Bearer wrong", "Bearer secret2", "Basic secret", "Digest secret", "secret", "Basic b3BzOnBhc3M="]
        {
            assert_eq!(asked(path, wrong), 401, "{path} {wrong}");
        }
    }
    assert_eq!(program.ask("DELETE", "/api/v1/clients/1").status, 401);
    assert_eq!(program.ask("POST", "/api/v1/drain").status, 401);
    assert_eq!(program.ask("GET", "/readyz").status, 200, "the probes tell nothing");
    assert_eq!(program.ask("GET", "/healthz").status, 200);
    assert_eq!(asked("/api/v1/streams", "Bearer secret"), 200);
    assert_eq!(asked("/api/v1/streams", "Basic b3BzOnBhc3Mgd29yZA=="), 200);
}

#[test]
fn pages_of_others_get_nothing() {
    let program = start_with_api("");
    let evil = [("host", "evil.example")];
    assert_eq!(program.ask_with("GET", "/api/v1/streams", &evil).status, 403);
    assert_eq!(program.ask_with("GET", "/healthz", &evil).status, 403);
    // Orchestrators probe a container by its address, which tells them nothing more.
    for host in ["10.1.2.3:1985", "[2001:db8::1]:1985"] {
        for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/api/v1/health", 403), ("/metrics", 403)] {
            assert_eq!(program.ask_with("GET", path, &[("host", host)]).status, status, "{host}{path}");
        }
        assert_eq!(program.ask_with("POST", "/api/v1/drain", &[("host", host)]).status, 403, "{host}");
    }
    assert_eq!(program.ask_with("POST", "/api/v1/drain", &[("origin", "https://evil.example")]).status, 403);
    assert_eq!(program.ask("GET", "/readyz").status, 200);
    assert_eq!(program.ask_with("GET", "/readyz", &[("host", "localhost:1985")]).status, 200);
}

#[test]
fn what_is_not_safe_does_not_start() {
    let refused = |settings: &str, word: &str| {
        let ended = launch().settings(settings).run();
        assert!(!ended.status.success(), "{settings}");
        assert!(ended.stderr.contains(word), "{settings}: {}", ended.stderr);
    };
    refused("[api]\nlisten = '0.0.0.0:0'", "api.token");
    refused("[api]\nlisten = '0'", "api.token");
    refused("[api]\nlisten = '127.0.0.1:0'\nuser = 'x'", "api.password");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    refused(&format!("[api]\nlisten = '{address}'"), &format!("the API cannot listen on {address}"));
    // With a token it starts.
    let program = start("[api]\nlisten = '0.0.0.0:0'\ntoken = 'x'");
    assert!(program.api().ip().is_unspecified());
}

#[test]
fn a_default_port_that_is_taken_is_gone_without() {
    // By this test, or by another program already.
    let _taken = std::net::TcpListener::bind("127.0.0.1:1985");
    let program = start("");
    let line = program.wait_line("without API").text;
    assert!(line.contains("127.0.0.1:1985"), "{line}");
    let _publisher = program.publisher("cam");
    assert!(program.process.is_running());
}

fn connect(program: &Program) -> TcpStream {
    let socket = TcpStream::connect(program.api()).expect("it listens");
    socket.set_read_timeout(Some(TIMEOUT)).expect("a socket");
    socket
}

/// What comes until the other side has closed.
fn rest(mut socket: TcpStream) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("it is still open"),
            Err(_) => return all,
        }
    }
}

#[test]
fn what_is_no_request_ends_the_connection_and_nothing_else() {
    let program = start_with_api("header_timeout = '2s'");
    let long = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "a".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x: y\r\n".repeat(1000));
    let path = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", "a".repeat(100_000));
    let body = "POST /api/v1/versions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999\r\n\r\nxxxx";
    let chunked =
        "POST /api/v1/versions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n";
    let both = "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\nabc";
    let garbage: Vec<u8> = (0..100_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let cases: [&[u8]; 12] = [
        b"\x03\0\0\0\0",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n\r\n\r\n\0",
        long.as_bytes(),
        many.as_bytes(),
        path.as_bytes(),
        body.as_bytes(),
        both.as_bytes(),
        &garbage,
    ];
    for case in cases.into_iter().chain([chunked.as_bytes()]) {
        let mut socket = connect(&program);
        // It may be closed before all of it is written.
        let _ = socket.write_all(case);
        let said = rest(socket);
        let shown = String::from_utf8_lossy(&case[..case.len().min(60)]).into_owned();
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 ") || said.starts_with(b"HTTP/1.0 "), "{shown}");
        assert!(!said.starts_with(b"HTTP/1.1 2"), "{shown}: {}", String::from_utf8_lossy(&said));
        assert!(program.process.is_running(), "{shown}");
    }
    assert_eq!(program.ask("GET", "/healthz").status, 200);
}

#[test]
fn the_api_does_not_wait_for_slow_or_silent_clients() {
    let program = start_with_api("header_timeout = '300ms'\nidle_timeout = '1s'");
    // Byte by byte, for longer than a head may take.
    let mut slow = connect(&program);
    let start = Instant::now();
    for byte in b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: ".iter().chain([b'a'; 100_000].iter()) {
        if slow.write_all(&[*byte]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(5));
        assert!(start.elapsed() < TIMEOUT, "it waits for ever");
    }
    rest(slow);
    // Nothing at all, half a request, and a request with nothing behind it.
    rest(connect(&program));
    let mut half = connect(&program);
    half.write_all(b"GET /healthz HT").expect("it is open");
    rest(half);
    let mut quiet = connect(&program);
    quiet.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("it is open");
    assert!(rest(quiet).starts_with(b"HTTP/1.1 200"));
    // A connection stays open for its idle time after an answer, however short the time for a head is.
    let mut kept = connect(&program);
    let start = Instant::now();
    kept.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("it is open");
    assert!(rest(kept).starts_with(b"HTTP/1.1 200"));
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    // Requests without end whose answers are not read.
    let mut greedy = connect(&program);
    greedy.set_write_timeout(Some(Duration::from_millis(200))).expect("a socket");
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1000);
    let _ = (0..20).try_for_each(|_| greedy.write_all(&request));
    assert_eq!(program.ask("GET", "/healthz").status, 200);
    wait_for("the end of the client that reads nothing", TIMEOUT, || {
        greedy.write_all(&request).is_err_and(|error| error.kind() != ErrorKind::WouldBlock).then_some(())
    });
}

#[test]
fn a_thousand_silent_connections_keep_no_client_out() {
    let program = start_with_api("connections = 16");
    let silent: Vec<_> = (0..1000).map(|_| connect(&program)).collect();
    assert_eq!(program.ask("GET", "/healthz").status, 200);
    let pid = program.get("/api/v1/versions")["pid"].as_str().expect("a number").to_owned();
    assert_eq!(pid, program.process.id().to_string());
    let open = program.open_files();
    assert!(open < 150, "{open} files are open");
    // Those whose place was taken are closed: all but sixteen, and the two that asked took two more.
    let closed = silent.into_iter().take(980).map(rest).filter(Vec::is_empty).count();
    assert_eq!(closed, 980);
}

/// Sets a flag when it goes.
struct StoresOnDrop<'a>(&'a AtomicBool);

impl Drop for StoresOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One who asks over a connection that stays, and one who comes for each request, while others open a thousand a second
/// and say nothing, from the same address.
#[test]
fn a_storm_of_connections_keeps_no_operator_out() {
    let program = start_with_api("token = 'secret'");
    let bearer = [("authorization", "Bearer secret")];
    let mut kept = connect(&program);
    let ask_kept = |kept: &mut TcpStream| {
        let request = "GET /api/v1/versions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer secret\r\n\r\n";
        kept.write_all(request.as_bytes()).expect("it is open");
        let mut buffer = [0; 4096];
        let count = kept.read(&mut buffer).expect("an answer");
        let answer = String::from_utf8_lossy(&buffer[..count]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    };
    ask_kept(&mut kept);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // The scope waits for the storm, also where this thread panics.
        let ends = StoresOnDrop(&over);
        let storm = scope.spawn(|| {
            let (mut open, mut count) = (std::collections::VecDeque::new(), 0);
            let start = Instant::now();
            while !over.load(Ordering::Relaxed) {
                // The server hangs up, and the system may have no more ports for a moment.
                open.extend(TcpStream::connect(program.api()));
                if open.len() > 400 {
                    open.pop_front();
                }
                count += 1;
                let due = start + Duration::from_millis(count);
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            count
        });
        for _ in 0..40 {
            assert_eq!(program.ask_with("GET", "/api/v1/versions", &bearer).status, 200);
            // In each round, so that on a slow machine it is not closed because nothing came for long.
            ask_kept(&mut kept);
            thread::sleep(Duration::from_millis(50));
        }
        drop(ends);
        assert!(storm.join().expect("it ends") > 100, "a storm");
    });
}
