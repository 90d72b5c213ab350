//! The night shift: what metrics, API and health say is what happened. Back ends fail, disks fail, a client is captured
//! while it streams, a drain is undone.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use anabranch_tests::backend::{Backend, Call, yes};
use anabranch_tests::media::frames::{video, video_header};
use anabranch_tests::peer::Driver;
use anabranch_tests::program::{Launch, Program};
use anabranch_tests::{Folder, TIMEOUT, wait_for};
use serde_json::{Value, json};

use crate::{launch, start_with_api};

/// A series with its labels.
fn metric(program: &Program, series: &str) -> f64 {
    program.metric(series).unwrap_or_else(|| panic!("there is no {series}"))
}

fn wait_metric(program: &Program, series: &str, value: f64) {
    wait_for(series, TIMEOUT, || (program.metric(series) == Some(value)).then_some(()));
}

fn calls(program: &Program, action: &str, outcome: &str) -> f64 {
    metric(program, &format!("anabranch_hooks_calls_total{{action=\"{action}\",outcome=\"{outcome}\"}}"))
}

/// The state of the one URL that is configured.
fn hook(program: &Program) -> Value {
    let mut hooks = program.get("/api/v1/hooks");
    assert_eq!(hooks["hooks"].as_array().map(Vec::len), Some(1), "{hooks}");
    hooks["hooks"][0].take()
}

fn health(program: &Program) -> (u16, Value) {
    let answer = program.ask("GET", "/api/v1/health");
    let mut body = answer.json();
    (answer.status, body["data"].take())
}

#[test]
fn back_ends_that_fail_are_seen_as_they_fail_and_when_they_are_well_again() {
    // It takes connections, and never says a word.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let dead = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let failing = Backend::start(|_| Some((500, String::new())));
    let wrong = Backend::start(|_| Some((200, "<html>welcome</html>".to_owned())));
    for (address, outcome, error) in [
        (silent.local_addr().unwrap(), "failed", "timeout"),
        (dead, "failed", "refused"),
        (failing.address, "failed", "status 500"),
        (wrong.address, "refused", ""),
    ] {
        let url = format!("http://user:secret@{address}/hook?key=secret");
        let settings = format!("[defaults.hooks]\ntimeout = '300ms'\non_publish = ['{url}']\n");
        let program = start_with_api(&settings);
        assert_eq!(
            (hook(&program)["state"].clone(), health(&program).1["status"].clone()),
            (json!("unused"), json!("ok"))
        );
        program.visitor().publish("cam").unwrap_err();
        let state = hook(&program);
        let fails = outcome == "failed";
        assert_eq!(state["url"], format!("http://***@{address}/hook"));
        assert_eq!(state["actions"], json!(["on_publish"]));
        assert_eq!(state["state"], if fails { "failing" } else { "ok" }, "{state}");
        assert_eq!((&state["calls"], &state["failures"]), (&json!(1), &json!(u8::from(fails))));
        assert_eq!(state["last_error"].as_str().is_some_and(|words| !words.is_empty()), fails, "{state}");
        assert!(state["last_error"].as_str().unwrap().to_lowercase().contains(error), "{state}");
        assert_eq!(state["last_success_ms"].as_u64() > Some(0), !fails);
        assert_eq!(calls(&program, "on_publish", outcome), 1.0);
        assert_eq!(calls(&program, "on_publish", "granted"), 0.0);
        assert_eq!(metric(&program, "anabranch_hooks_questions_failed_total"), f64::from(u8::from(fails)));
        assert_eq!(metric(&program, "anabranch_hooks_call_seconds_count{action=\"on_publish\"}"), 1.0);
        let in_a_row = format!("anabranch_hooks_consecutive_failures{{url=\"http://***@{address}/hook\"}}");
        assert_eq!(metric(&program, &in_a_row), f64::from(u8::from(fails)));
        // The server serves clients, so it lives and is ready.
        let (status, body) = health(&program);
        assert_eq!((status, &body["ready"]), (200, &json!(true)));
        assert_eq!(body["status"], if fails { "degraded" } else { "ok" }, "{body}");
        assert_eq!(body["reasons"].as_array().map(Vec::len), Some(usize::from(fails)), "{body}");
        assert_eq!(metric(&program, "anabranch_health_reasons{code=\"hook_failing\"}"), f64::from(u8::from(fails)));
        assert_eq!((program.ask("GET", "/healthz").status, program.ask("GET", "/readyz").status), (200, 200));
        let all = program.ask("GET", "/api/v1/hooks").body + &program.ask("GET", "/metrics").body + &body.to_string();
        assert!(!all.contains("secret"), "{all}");
    }
}

#[test]
fn a_url_is_listed_once_whatever_settings_it_is_called_with() {
    let dead = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let url = |key: u8| format!("['http://{dead}/hook?key={key}']");
    let program = start_with_api(&format!(
        "[defaults.hooks]\ntimeout = '300ms'\non_publish = {}\n[[vhost]]\nname = '__defaultVhost__'\n\
         [[vhost]]\nname = 'a.example'\n[vhost.hooks]\ntimeout = '200ms'\non_publish = {}\n\
         [[vhost.application]]\nstreams = ['ingest/*']\n[vhost.application.hooks]\non_play = {}\n",
        url(1),
        url(2),
        url(3)
    ));
    for name in ["cam", "cam?vhost=a.example"] {
        program.visitor().publish(name).unwrap_err();
    }
    let state = hook(&program);
    assert_eq!((&state["url"], &state["state"]), (&json!(format!("http://{dead}/hook")), &json!("failing")));
    assert_eq!((&state["calls"], &state["failures"]), (&json!(2), &json!(2)), "{state}");
    assert_eq!(state["actions"], json!(["on_play", "on_publish"]));
    assert!(state["vhosts"].as_array().is_some_and(|vhosts| vhosts.contains(&json!("a.example"))), "{state}");
    let application = json!({"vhost": "a.example", "streams": "ingest/*"});
    assert_eq!(state["applications"], json!([application]));
    let in_a_row = metric(&program, &format!("anabranch_hooks_consecutive_failures{{url=\"http://{dead}/hook\"}}"));
    assert_eq!(state["consecutive_failures"].as_f64(), Some(in_a_row));
    assert_eq!(health(&program).1["reasons"].as_array().map(Vec::len), Some(1), "one reason for one URL");
}

#[test]
fn a_back_end_that_is_slow_has_a_queue_and_is_well_again_when_it_answers() {
    let status = std::sync::Arc::new(AtomicU16::new(500));
    let answers = status.clone();
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let backend = Backend::start(move |call| {
        if call.action() == "on_unpublish" {
            return Some((answers.load(Ordering::Relaxed), "0".to_owned()));
        }
        let _ = gate.lock().unwrap().recv();
        yes()
    });
    let url = backend.url("/");
    let program = std::sync::Arc::new(start_with_api(&format!(
        "[defaults.hooks]\ntimeout = '60s'\nmax_in_flight = 1\nretries = 100\nretry_after = '10ms'\n\
         on_publish = ['{url}']\non_unpublish = ['{url}']\n"
    )));
    let clients: Vec<_> = (0..3)
        .map(|number| {
            let program = program.clone();
            std::thread::spawn(move || {
                let mut client = program.visitor();
                client.publish(&format!("cam{number}")).unwrap();
                client
            })
        })
        .collect();
    let waiting = |kind: &str| format!("anabranch_hooks_waiting{{url=\"{url}\",kind=\"{kind}\"}}");
    wait_metric(&program, &waiting("question"), 2.0);
    assert_eq!(metric(&program, &format!("anabranch_hooks_in_flight{{url=\"{url}\"}}")), 1.0);
    let state = hook(&program);
    assert_eq!((&state["in_flight"], &state["questions_waiting"]), (&json!(1), &json!(2)));
    (0..3).for_each(|_| release.send(()).unwrap());
    let mut clients: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    wait_metric(&program, &waiting("question"), 0.0);
    // Notices fail, are repeated, and arrive in the end.
    clients.pop().unwrap().drop_connection();
    wait_for("failures in a row", TIMEOUT, || {
        (hook(&program)["consecutive_failures"].as_u64() > Some(2)).then_some(())
    });
    assert_eq!(health(&program).1["status"], "degraded");
    status.store(200, Ordering::Relaxed);
    wait_for("health", TIMEOUT, || (health(&program).1["status"] == "ok").then_some(()));
    let state = hook(&program);
    assert_eq!((&state["state"], &state["notices_waiting"]), (&json!("ok"), &json!(0)), "{state}");
    assert_eq!(calls(&program, "on_unpublish", "granted"), 1.0);
    assert_eq!(calls(&program, "on_unpublish", "failed"), state["failures"].as_f64().unwrap());
    assert_eq!(calls(&program, "on_publish", "granted"), 3.0);
}

fn call_url(body: &Value) -> &str {
    body["stream_url"].as_str().expect("a text")
}

/// What is recorded, where.
fn record(files: &Path, more: &str) -> String {
    format!(
        "[api]\nlisten = '127.0.0.1:0'\n[defaults.record]\nstreams = ['live/*']\nfolder = {files:?}\nmin_free = 0\n{more}"
    )
}

fn send_gop(publisher: &mut Driver, time: u32, length: usize) {
    publisher.send(video_header());
    publisher.send(video(time, true, length));
    publisher.send(video(time + 40, false, length));
}

fn recordings(program: &Program) -> (Vec<Value>, Vec<Value>) {
    let answer = program.get("/api/v1/recordings");
    let list = |name: &str| answer[name].as_array().cloned().unwrap_or_else(|| panic!("{answer}"));
    (list("recordings"), list("ended"))
}

#[test]
fn each_file_of_a_recording_is_told_in_order_and_until_the_back_end_has_it() {
    let folder = Folder::new();
    let files = folder.file("files");
    // The first calls fail.
    let failures = Mutex::new(2);
    let backend = Backend::start(move |_| {
        let mut failures = failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Some((503, String::new()));
        }
        yes()
    });
    let hooks = format!("[defaults.hooks]\nretry_after = '10ms'\non_dvr = ['{}']\n", backend.url("/dvr"));
    let settings = record(&files, &format!("max_duration = '1s'\n{hooks}"));
    let program = launch().settings(&settings).start();
    let mut publisher = program.visitor();
    publisher.publish("cam?key=7").unwrap();
    // A key frame each second: each begins a new file.
    for second in 0..4 {
        send_gop(&mut publisher, second * 1000, 2000);
    }
    wait_for("three files and one more", TIMEOUT, || {
        let (running, ended) = recordings(&program);
        (ended.len() == 3 && running.len() == 1 && running[0]["state"] == "recording").then_some(())
    });
    assert_eq!(metric(&program, "anabranch_recordings"), 1.0);
    let client = program.get("/api/v1/clients")["clients"][0]["id"].clone();
    assert_eq!(recordings(&program).0[0]["client_id"], client);
    publisher.drop_connection();
    let told = backend.wait(|calls| calls.len() == 6);
    let arrived: Vec<&Call> = told[2..].iter().collect();
    assert_eq!(told[0].text, told[2].text, "what failed is repeated");
    let (_, mut ended) = recordings(&program);
    ended.reverse();
    assert_eq!(ended.len(), 4);
    for (index, (call, file)) in arrived.iter().zip(&ended).enumerate() {
        let last = index == 3;
        let body: Vec<_> = call.body.as_object().unwrap().keys().map(String::as_str).collect();
        let names = ["action", "client_id", "ip", "vhost", "app", "stream", "param", "cwd", "file"];
        assert!(names.iter().all(|name| body.contains(name)), "{body:?}");
        assert_eq!((call.action(), call.text("app"), call.text("stream")), ("on_dvr", "live", "cam"));
        assert_eq!((call.text("ip"), call.text("client_id")), ("127.0.0.1", client.as_str().unwrap()));
        assert_eq!(call.text("param"), "?key=7");
        assert_eq!(call.text("reason"), if last { "unpublished" } else { "max_duration" });
        assert_eq!((&file["state"], &file["reason"]), (&json!("complete"), &call.body["reason"]));
        assert_eq!(file["file"], call.body["file"], "in the order of the files");
        let path = PathBuf::from(call.text("cwd")).join(call.text("file"));
        assert_eq!(Some(fs::metadata(&path).unwrap().len()), call.body["bytes"].as_u64(), "it has its last byte");
        assert_eq!((&file["bytes"], &file["duration"]), (&call.body["bytes"], &call.body["duration"]));
        assert_eq!(call.body["duration"], json!(0.04));
    }
    let documentation = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/hooks.md")).unwrap();
    let example = documentation.split("```json\n").find(|block| block.contains("\"action\":\"on_dvr\"")).unwrap();
    let example: Value = serde_json::from_str(example.split("```").next().unwrap()).unwrap();
    let shape = |body: &Value| -> Vec<(String, bool)> {
        body.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.is_string())).collect()
    };
    assert_eq!(shape(&example), shape(&arrived[0].body), "the documentation shows what is sent");
    // Streams have the same names as in all other calls, in the page and in what is sent.
    assert_eq!((call_url(&example), call_url(&arrived[0].body)), ("/live/livestream", "/live/cam"));
    assert_eq!(metric(&program, "anabranch_recorded_files_total"), 4.0);
    assert_eq!(metric(&program, "anabranch_recordings_completed_total"), 4.0);
    let bytes: u64 = ended.iter().map(|file| file["bytes"].as_u64().unwrap()).sum();
    assert_eq!(metric(&program, "anabranch_recorded_bytes_total"), bytes as f64);
    assert!((metric(&program, "anabranch_recorded_seconds_total") - 0.16).abs() < 1e-9);
    assert_eq!(metric(&program, "anabranch_recording_missed_frames_total"), 0.0);
    wait_metric(&program, "anabranch_recordings", 0.0);
    assert_eq!(calls(&program, "on_dvr", "failed"), 2.0);
    assert_eq!(calls(&program, "on_dvr", "granted"), 4.0);
}

#[test]
fn a_recording_without_a_folder_says_so_everywhere() {
    let folder = Folder::new();
    let files = folder.file("files");
    let program = launch().settings(&record(&files, "")).start();
    // Now a file is where the folder should be.
    let _ = fs::remove_dir(&files);
    folder.write("files", "this is no folder");
    let mut publisher = program.publisher("cam");
    send_gop(&mut publisher, 0, 2000);
    program.wait_line("recording of live/cam: ");
    let failed = "anabranch_recording_failures_total{reason=\"folder\"}";
    wait_metric(&program, failed, 1.0);
    assert_eq!(metric(&program, "anabranch_recordings_failing"), 1.0);
    let (running, ended) = recordings(&program);
    assert_eq!((&running[0]["state"], &running[0]["file"]), (&json!("failing"), &json!("")));
    let error = running[0]["error"].as_str().unwrap();
    assert!(error.starts_with("folder: cannot make the folder ") && error.contains(files.to_str().unwrap()), "{error}");
    let lines = program.lines("recording of live/cam: cannot make the folder ");
    assert!(lines.iter().any(|line| line.contains(files.to_str().unwrap())), "{lines:?}");
    assert!(running[0]["again_ms"].as_u64() > running[0]["since_ms"].as_u64());
    assert!(ended.is_empty());
    let (status, body) = health(&program);
    assert_eq!((status, &body["status"]), (200, &json!("degraded")));
    assert_eq!(
        (&body["reasons"][0]["code"], &body["reasons"][0]["subject"]),
        (&json!("recording_failing"), &json!("live/cam"))
    );
    assert_eq!(program.ask("GET", "/healthz").status, 200);
    // When the stream is over, its failure is among what has ended.
    publisher.drop_connection();
    wait_for("end of the recording", TIMEOUT, || {
        let (running, ended) = recordings(&program);
        (running.is_empty() && ended.len() == 1 && ended[0]["state"] == "failed").then_some(())
    });
    assert_eq!(health(&program).1["status"], "ok");
    assert_eq!(metric(&program, "anabranch_recordings_completed_total"), 0.0);
}

#[test]
fn a_disk_that_gets_full_ends_the_file_and_says_so_everywhere() {
    let folder = Folder::new();
    let files = folder.file("files");
    let backend = Backend::start(|_| yes());
    let settings = record(&files, &format!("[defaults.hooks]\non_dvr = ['{}']\n", backend.url("/")));
    // No file may be longer than 256 KiB.
    let program = launch().behind("trap '' XFSZ; ulimit -f 512").settings(&settings).start();
    let mut publisher = program.publisher("cam");
    let full = "anabranch_recording_failures_total{reason=\"disk_full\"}";
    let mut time = 0;
    wait_for("a full disk", TIMEOUT, || {
        send_gop(&mut publisher, time, 20_000);
        time += 1000;
        (program.metric(full) == Some(1.0)).then_some(())
    });
    let call = &backend.wait_calls(1)[0];
    assert_eq!(call.text("reason"), "disk_full");
    let (running, ended) = recordings(&program);
    assert_eq!((running[0]["state"].clone(), ended.len()), (json!("failing"), 1));
    let error = ended[0]["error"].as_str().unwrap();
    assert!((ended[0]["state"] == "failed") && error.to_lowercase().contains("too large"), "{ended:?}");
    assert!(error.contains(ended[0]["file"].as_str().unwrap()), "{error}");
    assert_eq!(ended[0]["reason"], "disk_full");
    assert_eq!(
        (metric(&program, "anabranch_recorded_files_total"), metric(&program, "anabranch_recordings_completed_total")),
        (1.0, 0.0)
    );
    assert_eq!(metric(&program, "anabranch_health_reasons{code=\"recording_failing\"}"), 1.0);
}

/// Each refusal is counted under its code, and under no other.
#[test]
fn refusals_are_counted_by_their_codes() {
    let backend = Backend::start(|call| match call.text("stream") {
        "denied" => Some((200, "{\"code\":7,\"msg\":\"no\"}".to_owned())),
        "elsewhere" => Some((200, "{\"code\":302,\"redirect\":\"rtmp://other/live/elsewhere\"}".to_owned())),
        "broken" => Some((500, String::new())),
        _ => yes(),
    });
    let settings = format!(
        "[api]\nlisten = '127.0.0.1:0'\n[[vhost]]\nname = '127.0.0.1'\n[vhost.hooks]\non_publish = ['{}']\n\
         [vhost.limits]\nplayers = 1\n[vhost.timeouts]\nfirst_message = '1h'\n[[vhost]]\nname = 'closed.example'\nenabled = false\n\
         [[vhost]]\nname = 'ruled.example'\n[vhost.security]\nrules = ['deny publish all', 'allow play 10.0.0.0/8']\n\
         [[vhost]]\nname = 'signed.example'\n[vhost.token]\nrequired_for = 'publish'\n\
         secrets = ['a long random secret of your own']\n",
        backend.url("/")
    );
    let program = launch().settings(&settings).start();
    let at = |host: &str| Driver::at(program.address(), &format!("rtmp://{host}/live/x"));
    let _publisher = program.publisher("cam");
    let _player = program.player("cam");
    let mut expected = std::collections::BTreeMap::new();
    for (host, name, publishes, code) in [
        ("127.0.0.1", "cam", true, "name_taken"),
        ("127.0.0.1", "cam", true, "name_taken"),
        ("127.0.0.1", "denied", true, "hook_denied"),
        ("127.0.0.1", "elsewhere", true, "hook_redirected"),
        ("127.0.0.1", "broken", true, "hook_unanswered"),
        ("127.0.0.1", "cam", false, "limit_players"),
        ("nowhere.example", "cam", true, "vhost_unknown"),
        ("closed.example", "cam", true, "vhost_disabled"),
        ("ruled.example", "cam", true, "security_denied"),
        ("ruled.example", "cam", false, "security_not_allowed"),
        ("signed.example", "cam", true, "token_missing"),
        ("signed.example", "cam?token=00&expires=soon", true, "token_malformed"),
    ] {
        let mut client = at(host);
        // At connect or at the stream: refused either way.
        if publishes {
            let _ = client.client.publish(name, anabranch_core::command::PublishType::Live);
        } else {
            let _ = client.client.play(name, anabranch_core::client::PlayOptions::default());
        }
        *expected.entry(code).or_insert(0.0) += 1.0;
        let series = format!("anabranch_refusals_total{{code=\"{code}\"}}");
        wait_for(&format!("{code} of {name} at {host}"), TIMEOUT, || {
            client.step();
            (program.metric(&series) == Some(expected[code])).then_some(())
        });
    }
    let text = program.ask("GET", "/metrics").body;
    let counted =
        text.lines().filter_map(|line| line.strip_prefix("anabranch_refusals_total{code=\"")?.split_once("\"} "));
    for (code, count) in counted {
        let count: f64 = count.parse().unwrap();
        assert_eq!(count, expected.get(code).copied().unwrap_or_default(), "{code}");
    }
}

fn replay(file: &str) -> (bool, Vec<String>) {
    let ended = Launch::new(env!("CARGO_BIN_EXE_anabranch")).arg("replay").arg(file).run();
    (ended.status.success(), ended.stdout.lines().map(str::to_owned).collect())
}

/// Waits until a file of a capture has ended, and returns it.
fn captured(program: &Program, id: &Value, index: usize) -> Value {
    wait_for("end of a captured file", TIMEOUT, || {
        let capture = program.get(&format!("/api/v1/captures/{id}"))["capture"].clone();
        let file = capture["files"].get(index)?.clone();
        (file["reason"] != "").then_some(file)
    })
}

fn capturing() -> (Program, Folder) {
    let folder = Folder::new();
    let settings = format!(
        "[api]\nlisten = '127.0.0.1:0'\n[log]\naddresses = 'off'\n[capture]\napi_folder = {:?}\nmin_free = 0\n\
         [[vhost]]\nname = '__defaultVhost__'\n[[vhost]]\nname = 'tv.example'\naliases = ['www.tv.example']\n",
        folder.file("captures")
    );
    (launch().settings(&settings).start(), folder)
}

fn begin(program: &Program, query: &str) -> Value {
    let answer = program.ask("POST", &format!("/api/v1/captures?{query}"));
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    answer.json()["capture"].clone()
}

#[test]
fn a_client_is_captured_while_it_streams_and_shown_as_messages() {
    let (program, _folder) = capturing();
    let mut publisher = program.publisher("cam");
    let mut player = program.player("cam");
    send_gop(&mut publisher, 0, 1000);
    wait_for("frames", TIMEOUT, || {
        player.step();
        (player.frames == 3).then_some(())
    });
    let clients = program.get("/api/v1/clients");
    let id = |index: usize| clients["clients"][index]["id"].as_str().unwrap().to_owned();
    let (of_publisher, of_player) =
        (begin(&program, &format!("client={}", id(0))), begin(&program, &format!("client={}", id(1))));
    assert_eq!(of_publisher["files"][0]["from_start"], false);
    assert_eq!(metric(&program, "anabranch_captures"), 2.0);
    assert_eq!(metric(&program, "anabranch_capture_files_open"), 2.0);
    for number in 1..20 {
        publisher.send(video(number * 40, false, 1000));
    }
    wait_for("frames", TIMEOUT, || {
        player.step();
        (player.frames == 22).then_some(())
    });
    let ended = program.ask("DELETE", &format!("/api/v1/captures/{}", of_publisher["id"]));
    assert_eq!((ended.status, &ended.json()["capture"]["reason"]), (200, &json!("ended_by_api")));
    player.drop_connection();
    for (capture, arrow, reason) in [(&of_publisher, "-->", "ended_by_api"), (&of_player, "<--", "connection_closed")] {
        let file = captured(&program, &capture["id"], 0);
        assert_eq!(file["reason"], reason);
        let path = file["file"].as_str().unwrap().to_owned();
        wait_for("file", TIMEOUT, || {
            (fs::metadata(&path).ok()?.len() == file["bytes"].as_u64()? + ended_by(reason)).then_some(())
        });
        let (shown, lines) = replay(&path);
        let text = lines.join("\n");
        assert!(shown && !text.contains("unreadable"), "{text}");
        assert!(text.contains(&format!("{arrow} video on stream 1: H.264 frame, 1005 bytes at 40 ms")), "{text}");
        assert!(text.contains("timestamps 120 to 760"), "{text}");
        assert!(lines.last().unwrap().contains("began in the middle"), "{text}");
    }
    assert_eq!(metric(&program, "anabranch_captures"), 0.0);
    assert_eq!(metric(&program, "anabranch_capture_files_total"), 2.0);
    let reasons = ["ended_by_api", "connection_closed"];
    for reason in reasons {
        assert_eq!(metric(&program, &format!("anabranch_capture_files_ended_total{{reason=\"{reason}\"}}")), 1.0);
    }
    assert!(metric(&program, "anabranch_capture_bytes_total") > 19.0 * 2.0 * 1000.0);
    // The publisher goes on, and may be captured again.
    publisher.send(video(2000, true, 100));
    begin(&program, &format!("client={}", id(0)));
}

/// The bytes of the record that says why a capture ended; they count as no captured bytes.
fn ended_by(reason: &str) -> u64 {
    let words = if reason == "ended_by_api" { "the capture was ended through the API" } else { return 0 };
    3 + 1 + words.len() as u64
}

#[test]
fn clients_to_come_are_captured_from_their_first_byte_and_replay() {
    let (program, _folder) = capturing();
    let stream = begin(&program, "stream=live%2Fcam&role=publisher&connections=2");
    // A stream that is not meant, and one that is; then one whose publisher is refused.
    drop(program.publisher("other"));
    let mut publisher = program.publisher("cam");
    send_gop(&mut publisher, 0, 1000);
    program.visitor().publish("cam").unwrap_err();
    publisher.drop_connection();
    let mut files = vec![captured(&program, &stream["id"], 0), captured(&program, &stream["id"], 1)];
    wait_metric(&program, "anabranch_captures", 0.0);
    let address = begin(&program, "address=127.0.0.0%2F8&bytes=100000");
    let mut large = program.publisher("large");
    for number in 0..20 {
        large.send(video(number * 40, number == 0, 20_000));
    }
    let file = captured(&program, &address["id"], 0);
    assert_eq!(file["reason"], "byte_limit");
    files.push(file);
    let texts: Vec<_> = files
        .iter()
        .map(|file| {
            assert_eq!(file["from_start"], true);
            let path = file["file"].as_str().unwrap();
            // The disk may be behind.
            wait_for("replay", TIMEOUT, || {
                let (same, lines) = replay(path);
                (same && lines.last().map(String::as_str) == Some("same actions and bytes as captured"))
                    .then_some(lines)
            })
            .join("\n")
        })
        .collect();
    let (refused, granted): (Vec<_>, Vec<_>) = texts[..2].iter().partition(|text| text.contains("refused: "));
    assert_eq!((refused.len(), granted.len()), (1, 1), "{texts:?}");
    assert!(granted[0].contains("attach publisher of live/cam") && granted[0].contains("handshake"), "{granted:?}");
    assert!(texts[2].contains("the limit of 100000 bytes for one connection was reached"), "{}", texts[2]);
    // The large client never noticed.
    large.send(video(2000, true, 100));
}

#[test]
fn what_cannot_be_captured_is_refused_with_the_reason() {
    let (program, folder) = capturing();
    let refused = |method: &str, path: &str, status: u16, words: &str| {
        let answer = program.ask(method, path);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.body.contains(words), "{path}: {}", answer.body);
    };
    for (query, words) in [
        ("", "one of client, address and stream"),
        ("client=1&stream=live%2Fcam", "one of client, address and stream"),
        ("address=300.1.1.1", "300.1.1.1"),
        ("stream=cam", "stream: "),
        ("stream=live%2Fcam&role=viewer", "publisher"),
        ("stream=live%2F..%2F..%2Fetc", "stream: "),
        ("address=10.0.0.1&seconds=0", "1 to 86400"),
        ("address=10.0.0.1&bytes=1", "65536"),
        ("address=10.0.0.1&connections=1000", "1 to 100"),
        ("address=10.0.0.1&role=player", "role needs stream"),
        ("address=10.0.0.1&second=5", "\\\"second\\\" is not a parameter"),
    ] {
        refused("POST", &format!("/api/v1/captures?{query}"), 400, words);
    }
    refused("POST", "/api/v1/captures?client=99", 404, "no such client");
    refused("POST", "/api/v1/captures?client=other-1", 404, "no such client");
    refused("POST", "/api/v1/captures?stream=live%2Fcam%3Fvhost%3Dnosuch", 404, "no virtual host of this name");
    refused("DELETE", "/api/v1/captures/7", 404, "no such capture");
    refused("GET", "/api/v1/captures/x", 404, "no such capture");
    for _ in 0..16 {
        begin(&program, "address=192.0.2.1");
    }
    refused("POST", "/api/v1/captures?address=192.0.2.1", 409, "16 captures run already");
    assert_eq!(program.get("/api/v1/captures")["captures"].as_array().map(Vec::len), Some(16));
    // A folder that cannot be made, none at all, and all connections captured already.
    let file = folder.write("file", "no folder");
    let all = folder.file("all");
    for (settings, status, words) in [
        (format!("[capture]\napi_folder = {file:?}\n"), 507, "cannot capture into"),
        (format!("[capture]\napi_folder = {:?}\nmin_free = '1000000GiB'\n", folder.file("f")), 507, "capture.min_free"),
        ("[capture]\napi_folder = ''\n".to_owned(), 409, "capture.api_folder is empty"),
        (format!("[capture]\nfolder = {all:?}\n"), 409, "each connection is captured already"),
    ] {
        let program = launch().settings(&format!("[api]\nlisten = '127.0.0.1:0'\n{settings}")).start();
        let answer = program.ask("POST", "/api/v1/captures?address=192.0.2.1");
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(answer.body.contains(words), "{}", answer.body);
    }
}

/// While a capture waits for a stream, the first records of each connection wait; it is that connection which one
/// wants.
#[test]
fn a_client_that_names_no_stream_is_captured_and_those_that_cannot_be_are_named() {
    let (program, _folder) = capturing();
    let stream = begin(&program, "stream=live%2Fnone%3Fvhost%3Dwww.tv.example");
    assert_eq!(stream["selector"], "clients of live/none?vhost=tv.example", "an alias is its virtual host");
    let _client = program.visitor();
    let id =
        wait_for("client", TIMEOUT, || program.get("/api/v1/clients")["clients"][0]["id"].as_str().map(str::to_owned));
    let one = begin(&program, &format!("client={id}"));
    assert_eq!((&one["matches"], &one["files"][0]["from_start"]), (&json!(1), &json!(true)), "{one}");
    let address = begin(&program, "address=127.0.0.1");
    assert_eq!((&address["matches"], &address["files"]), (&json!(1), &json!([])));
    assert_eq!(address["skipped"][0]["client_id"], json!(id));
    assert_eq!(address["skipped"][0]["reason"], "the connection is captured already");
    assert_eq!(program.ask("POST", "/api/v1/captures?client=999").status, 404);
    assert_eq!(program.ask("DELETE", &format!("/api/v1/captures/{}", one["id"])).status, 200);
    // Each line is there once, in its order, and none has the address.
    program.wait_line(&format!("capture {} ends: ", one["id"]));
    program.wait_line(&format!("capture {} begins: clients from a network", address["id"]));
    let lines = program.lines("capture");
    let at = |words: &str| lines.iter().position(|line| line.contains(words)).unwrap_or_else(|| panic!("{lines:#?}"));
    let order = [
        format!("capture {} begins: conn 1", one["id"]),
        "conn 1 is captured from its beginning into ".to_owned(),
        "is complete: conn 1, ".to_owned(),
        format!("capture {} ends: ", one["id"]),
    ]
    .map(|words| at(&words));
    assert!(order.is_sorted(), "{lines:#?}");
    at("conn 1 is left out of capture");
    assert!(lines.iter().all(|line| !line.contains("127.0.0.1") && !line.contains("conn 999")), "{lines:#?}");
}

#[test]
fn a_drain_is_seen_and_undone_unless_the_process_is_to_end() {
    let program = launch().settings("[api]\nlisten = '127.0.0.1:0'\n[shutdown]\ndrain = '1h'\n").start();
    let _publisher = program.publisher("cam");
    assert_eq!(health(&program), (200, json!({"status": "ok", "ready": true, "reasons": [], "drain": null})));
    assert_eq!(
        program.ask("DELETE", "/api/v1/drain").json()["data"],
        json!({"was_draining": false, "connections": 1, "closed": 0})
    );
    for url in ["other.example", "http%3A%2F%2Fother.example%2Flive", "rtmp%3A%2F%2Fx%0Ay%2Flive"] {
        let answer = program.ask("POST", &format!("/api/v1/drain?tc_url={url}"));
        assert_eq!(answer.status, 400, "{url}");
        assert!(answer.body.contains("tc_url: "), "{}", answer.body);
    }
    let target = "rtmp%3A%2F%2Fother.example%2Flive%3Ftoken%3Dsecret";
    assert_eq!(program.ask("POST", &format!("/api/v1/drain?seconds=3600&tc_url={target}")).status, 200);
    program
        .wait_line("for 3600 s at most; clients are sent to rtmp://other.example/live; DELETE /api/v1/drain undoes it");
    let (status, body) = health(&program);
    assert_eq!((status, &body["status"], &body["ready"]), (503, &json!("draining"), &json!(false)));
    assert_eq!((&body["drain"]["can_be_undone"], &body["drain"]["connections"]), (&json!(true), &json!(1)));
    assert!(body["drain"]["seconds_left"].as_u64().is_some_and(|left| (3500..=3600).contains(&left)), "{body}");
    assert_eq!((program.ask("GET", "/readyz").status, metric(&program, "anabranch_draining")), (503, 1.0));
    let refusal = program.visitor().publish("late").expect_err("it grants nothing");
    assert_eq!(refusal.code, "NetConnection.Connect.Rejected", "not as if its stream key were wrong");
    wait_for("the end of the late client", TIMEOUT, || (health(&program).1["drain"]["connections"] == 1).then_some(()));
    let undone = program.ask("DELETE", "/api/v1/drain");
    assert_eq!(undone.status, 200);
    assert_eq!(undone.json()["data"], json!({"was_draining": true, "connections": 1, "closed": 1}));
    program.wait_line("connections that ended while the server drained: 1; still open: 1");
    assert_eq!((program.ask("GET", "/readyz").status, metric(&program, "anabranch_draining")), (200, 0.0));
    assert_eq!(health(&program).1["drain"], json!(null));
    let _again = program.publisher("again");
    // A signal ends the process: nothing takes that back.
    program.process.terminate();
    program.wait_line("draining: ");
    let (status, body) = health(&program);
    assert_eq!((status, &body["drain"]["can_be_undone"]), (503, &json!(false)));
    for (method, path) in [("DELETE", "/api/v1/drain"), ("POST", "/api/v1/drain?seconds=60")] {
        let answer = program.ask(method, path);
        assert_eq!(answer.status, 409, "{method}");
        assert!(answer.body.contains("told to stop"), "{}", answer.body);
    }
    // The deadline is that of the signal, and no line of the log promises anything else.
    let left = health(&program).1["drain"]["seconds_left"].as_u64();
    assert!(left.is_some_and(|left| (3500..=3600).contains(&left)), "{left:?}");
    assert_eq!(program.lines("DELETE /api/v1/drain undoes it").len(), 1);
    assert_eq!(program.ask("GET", "/readyz").status, 503);
}
