//! Calls in nginx-rtmp's form, towards a back end as they are written for nginx-rtmp.

use anabranch_core::client::{ClientConfig, Destination};
use anabranch_core::message::Message;
use anabranch_tests::backend::{Answer, Backend, Call, yes};
use anabranch_tests::peer::Driver;
use anabranch_tests::program::Program;
use anabranch_tests::{TIMEOUT, wait_for};

use crate::{start, start_with_api};

/// The back end of many sites, which in PHP is
///
/// ```php
/// switch ($_POST['call']) {
/// case 'publish':
///     if ($_POST['name'] == 'key-of-alice') { header('Location: alice', true, 302); exit; }
///     http_response_code($_POST['key'] == 'secret' ? 200 : 403);
///     break;
/// case 'play':
///     if ($_POST['name'] == 'moved') { header('Location: rtmp://other.example/live/moved', true, 302); exit; }
///     if ($_POST['name'] == 'offline') { header('Location: slate', true, 302); exit; }
///     http_response_code($_POST['name'] == 'private' ? 401 : 204);
///     break;
/// }
/// ```
fn php(call: &Call) -> Answer {
    let redirect = |location: &str| Some((302, location.to_owned()));
    let status = |status: u16| Some((status, String::new()));
    match (call.field("call"), call.field("name")) {
        ("publish", "key-of-alice") => redirect("alice"),
        ("publish", "key-of-mallory") => redirect("rtmp://other.example/live/mallory"),
        ("publish", "login") => redirect("http://site.example/login"),
        ("publish", "nowhere") => redirect(""),
        ("publish", "broken") => status(500),
        ("publish", _) => status(if call.field("key") == "secret" { 200 } else { 403 }),
        ("play", "moved") => redirect("rtmp://other.example/live/moved"),
        ("play", "offline") => redirect("slate"),
        ("play", "private") => status(401),
        _ => status(204),
    }
}

/// Settings for these calls to the URL.
fn hooks(calls: &[&str], url: &str) -> String {
    calls.iter().map(|call| format!("{call} = [{{ url = '{url}', form = 'nginx-rtmp' }}]\n")).collect()
}

const ALL: [&str; 6] = ["on_connect", "on_close", "on_publish", "on_unpublish", "on_play", "on_stop"];

fn visitor(program: &Program) -> Driver {
    Driver::at(program.address(), "rtmp://h/live/x")
}

#[test]
fn each_event_has_the_call_and_the_fields_of_nginx() {
    let backend = Backend::start(php);
    let program = start(&format!("[defaults.hooks]\n{}", hooks(&ALL, &backend.url("/auth?site=1"))));
    let config = ClientConfig {
        app: "live".to_owned(),
        page_url: Some("http://page/watch?a=1&b=2".to_owned()),
        ..ClientConfig::to(&Destination::parse("rtmp://h/live/cam").unwrap())
    };
    let mut publisher = Driver::with(program.address(), config.clone());
    publisher.publish("cam?key=secret&user=me").unwrap();
    let mut player = Driver::with(program.address(), config);
    player.play("cam?from=web").unwrap();
    player.drop_connection();
    backend.wait_calls(6);
    publisher.drop_connection();
    let calls = backend.wait_calls(8);
    let names: Vec<_> = calls.iter().map(|call| call.field("call")).collect();
    let expected = ["connect", "publish", "connect", "play", "play_done", "disconnect", "publish_done", "disconnect"];
    assert_eq!(names, expected);
    for call in &calls {
        assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/auth?site=1"));
        assert_eq!(call.header("content-type"), Some("application/x-www-form-urlencoded"));
        assert_eq!((call.field("app"), call.field("addr")), ("live", "127.0.0.1"));
        assert_eq!((call.field("tcurl"), call.field("pageurl")), ("rtmp://h:1935/live", "http://page/watch?a=1&b=2"));
        assert!(call.field("flashver").len() > 3, "{}", call.text);
        assert!(call.field("clientid").parse::<u64>().is_ok(), "{}", call.text);
    }
    let publish = &calls[1];
    let fields = [publish.field("name"), publish.field("type"), publish.field("key"), publish.field("user")];
    assert_eq!(fields, ["cam", "live", "secret", "me"]);
    assert_eq!(calls[6].field("clientid"), publish.field("clientid"));
    assert_ne!(calls[3].field("clientid"), publish.field("clientid"));
    assert_eq!((calls[3].field("name"), calls[3].field("from")), ("cam", "web"));
}

#[test]
fn each_answer_means_what_it_means_to_nginx() {
    let backend = Backend::start(php);
    let calls = ["on_publish", "on_unpublish", "on_play", "on_stop"];
    let program = start(&format!("[defaults.hooks]\n{}", hooks(&calls, &backend.url("/?key=s3cret"))));
    for (name, words) in [
        ("cam", "status 403"),
        ("broken", "cannot ask its back end about this request now"),
        ("login", "Location must be the new name alone"),
        ("nowhere", "status 302 without a Location"),
        ("key-of-mallory", "redirects to another server"),
    ] {
        let refusal = visitor(&program).publish(name).unwrap_err();
        assert!(refusal.description.contains(words), "{name}: {refusal:?}");
    }
    program.wait_line("redirects to another server, which this server can do for players only");
    let refusal = visitor(&program).play("private").unwrap_err();
    assert!(refusal.description.contains("status 401"), "{refusal:?}");
    let redirect = visitor(&program).play("moved").unwrap_err().redirect.expect("it is sent elsewhere");
    assert_eq!(redirect.url.as_deref(), Some("rtmp://other.example/live/moved"));
    let granted = visitor(&program).publish("cam?key=secret");
    granted.unwrap();
    assert!(backend.calls().iter().all(|call| call.path.contains("s3cret")));
    assert_eq!(program.lines("s3cret"), [""; 0], "what is secret in a URL is in no line");
}

#[test]
fn a_stream_is_published_and_played_under_the_name_in_location() {
    let backend = Backend::start(php);
    let calls = ["on_publish", "on_unpublish", "on_play", "on_stop"];
    let program = start_with_api(&format!("[defaults.hooks]\n{}", hooks(&calls, &backend.url("/"))));
    let mut publisher = visitor(&program);
    publisher.publish("key-of-alice?key=x").unwrap();
    program.wait_publishers("live/alice", 1);
    program.wait_line("live/key-of-alice is renamed to \"alice\" by on_publish");
    // No other publisher gets that name, whatever it asks for.
    let taken = visitor(&program).publish("key-of-alice").unwrap_err();
    assert_eq!(taken.code, "NetStream.Publish.BadName", "{taken:?}");
    let taken = visitor(&program).publish("alice?key=secret").unwrap_err();
    assert_eq!(taken.code, "NetStream.Publish.BadName", "{taken:?}");
    // A player gets what is published, by the public name and by one that the back end replaces.
    let mut slate = visitor(&program);
    slate.publish("slate?key=secret").unwrap();
    let mut player = visitor(&program);
    player.play("offline").unwrap();
    program.wait_players("live/slate", 1);
    slate.send(Message::video(0, [0x17, 1, 0, 0, 0, 9].as_slice()));
    wait_for("the picture", TIMEOUT, || {
        player.step();
        (player.pictures > 0).then_some(())
    });
    let mut other = visitor(&program);
    other.play("alice").unwrap();
    publisher.send(Message::video(0, [0x17, 1, 0, 0, 0, 9].as_slice()));
    wait_for("the picture", TIMEOUT, || {
        other.step();
        (other.pictures > 0).then_some(())
    });
    publisher.drop_connection();
    player.drop_connection();
    // The ends have the names that were asked about, as in nginx-rtmp.
    let ends = backend.wait(|calls| calls.iter().filter(|call| call.field("call").ends_with("_done")).count() >= 3);
    let ends: Vec<_> = ends.iter().filter(|call| call.field("call").ends_with("_done")).collect();
    let of = |call: &str, name: &str| {
        ends.iter().filter(|end| (end.field("call"), end.field("name")) == (call, name)).count()
    };
    // One of the publisher, and one of the client for which the name was taken.
    assert_eq!((of("publish_done", "key-of-alice"), of("publish_done", "alice")), (2, 0));
    assert_eq!(of("play_done", "offline"), 1);
}

/// Two names that are replaced by each other end after one step: nothing is asked about the new name.
#[test]
fn renaming_ends() {
    let backend = Backend::start(|call| Some((302, if call.field("name") == "a" { "b" } else { "a" }.to_owned())));
    let program = start(&format!("[defaults.hooks]\n{}", hooks(&["on_publish", "on_play"], &backend.url("/"))));
    let mut publisher = visitor(&program);
    publisher.publish("a").unwrap();
    program.wait_publishers("live/b", 1);
    let mut player = visitor(&program);
    player.play("a").unwrap();
    program.wait_players("live/b", 1);
    assert_eq!(backend.calls().len(), 2);
}

#[test]
fn the_rules_of_the_new_name_hold() {
    let backend = Backend::start(|call| match call.field("name") {
        "to-studio" => Some((302, "studio/cam".to_owned())),
        "to-full" => Some((302, "full/cam".to_owned())),
        "to-nothing" => Some((302, "..".to_owned())),
        _ => yes(),
    });
    let program = start(&format!(
        "[defaults.hooks]\n{}\n\
         [[defaults.application]]\nstreams = ['live/studio/*']\nsecurity.rules = ['deny publish all']\n\
         [[defaults.application]]\nstreams = ['live/full/*']\nlimits.publishers = 0\n",
        hooks(&["on_publish", "on_unpublish"], &backend.url("/"))
    ));
    for (name, words) in
        [("to-studio", "your address may not publish"), ("to-full", "too many publishers"), ("to-nothing", "name")]
    {
        let refusal = visitor(&program).publish(name).unwrap_err();
        assert!(refusal.description.contains(words), "{name}: {refusal:?}");
    }
    // The back end had granted them, so it gets notices of their ends.
    let ends = backend.wait(|calls| calls.iter().filter(|call| call.field("call") == "publish_done").count() >= 3);
    let mut ends: Vec<_> =
        ends.iter().filter(|call| call.field("call") == "publish_done").map(|call| call.field("name")).collect();
    ends.sort_unstable();
    assert_eq!(ends, ["to-full", "to-nothing", "to-studio"]);
}

#[test]
fn a_connect_may_be_given_another_app() {
    let backend = Backend::start(|call| match call.field("app") {
        "trial" => Some((301, "live".to_owned())),
        "bad" => Some((301, "a/../b".to_owned())),
        _ => yes(),
    });
    let program = start(&format!("[defaults.hooks]\n{}", hooks(&["on_connect", "on_close"], &backend.url("/"))));
    let mut publisher = Driver::at(program.address(), "rtmp://h/trial/x");
    publisher.publish("cam").unwrap();
    program.wait_publishers("live/cam", 1);
    publisher.drop_connection();
    let calls = backend.wait_calls(2);
    assert_eq!((calls[0].field("app"), calls[1].field("app")), ("trial", "live"));
    assert!(!Driver::at(program.address(), "rtmp://h/bad/x").is_granted(true, "cam"));
}

#[test]
fn both_forms_go_together() {
    let nginx = Backend::start(php);
    let srs = Backend::start(|call| Some((200, u8::from(call.text("stream") == "no").to_string())));
    let urls = format!("['{}', {{ url = '{}', form = 'nginx-rtmp' }}]", srs.url("/"), nginx.url("/"));
    let program = start(&format!("[defaults.hooks]\non_publish = {urls}\non_unpublish = {urls}\n"));
    assert!(visitor(&program).publish("no?key=secret").is_err());
    assert_eq!((srs.calls().len(), nginx.calls().len()), (1, 0), "the first refusal decides");
    assert!(visitor(&program).publish("cam").is_err());
    let mut publisher = visitor(&program);
    publisher.publish("key-of-alice").unwrap();
    program.wait_publishers("live/alice", 1);
    publisher.drop_connection();
    let told = srs.wait(|calls| calls.iter().any(|call| call.action() == "on_unpublish"));
    assert_eq!(told.last().unwrap().text("stream"), "key-of-alice");
    nginx.wait(|calls| calls.iter().any(|call| call.field("call") == "publish_done"));
}
