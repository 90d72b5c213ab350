//! Configurations of other servers, migrated by the pages in docs: who may publish and play, which hooks are called,
//! and which files are recorded is the same as before. The half of nginx-rtmp runs against nginx-rtmp as well.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anabranch_core::client::{ClientConfig, Destination};
use anabranch_core::message::Message;
use anabranch_tests::backend::{Answer, Backend, Call};
use anabranch_tests::peer::Driver;
use anabranch_tests::program::{Nginx, Program};
use anabranch_tests::{Folder, TIMEOUT, wait_for};

use super::record::media;
use crate::launch;

/// An address that rules allow, and one that they do not name.
const STUDIO: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A client that wants a stream.
struct Visit {
    from: IpAddr,
    publish: bool,
    url: &'static str,
    name: &'static str,
    page: Option<&'static str>,
    may: bool,
}

impl Visit {
    fn publish(from: IpAddr, url: &'static str, name: &'static str, may: bool) -> Visit {
        Visit { from, publish: true, url, name, page: None, may }
    }

    fn play(from: IpAddr, url: &'static str, name: &'static str, may: bool) -> Visit {
        Visit { publish: false, ..Visit::publish(from, url, name, may) }
    }

    fn on_page(self, page: &'static str) -> Visit {
        Visit { page: Some(page), ..self }
    }

    /// The client, if it may; it stays until it is dropped.
    fn make(&self, address: SocketAddr) -> Option<Driver> {
        self.make_at(address, false)
    }

    /// The same at a server that may refuse `late`: it says that it plays, and then closes the connection.
    fn make_at(&self, address: SocketAddr, late: bool) -> Option<Driver> {
        let destination = Destination::parse(&format!("{}/x", self.url)).unwrap();
        let page_url = self.page.map(str::to_owned);
        let config = ClientConfig { page_url, ..ClientConfig::to(&destination) };
        let mut driver = Driver::from(self.from, address, config);
        let what = if self.publish { "publish" } else { "play" };
        let mut may = driver.is_granted(self.publish, self.name);
        if may && !self.may && late {
            driver.wait_close();
            may = false;
        }
        assert_eq!(may, self.may, "{} wants to {what} {}/{}", self.from, self.url, self.name);
        may.then_some(driver)
    }
}

/// Sends a picture a second for three seconds.
fn send_pictures(publisher: &mut Driver) {
    publisher.send(Message::video(0, [0x17, 0, 0, 0, 0, 1, 100, 0, 31, 255, 225, 0, 0, 1, 0, 0].as_slice()));
    (0..3).for_each(|second| send_picture(publisher, second));
}

fn send_picture(publisher: &mut Driver, second: u32) {
    publisher.send(Message::video(second * 1000, [0x17, 1, 0, 0, 0, 0, 0, 0, 1, 0x65].as_slice()));
}

fn with(fixture: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(fixture.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the fixture has no {from}");
        text.replace(from, to)
    })
}

/// The site's back end for nginx-rtmp.
fn site(call: &Call) -> Answer {
    let status = |allowed: bool| Some((if allowed { 200 } else { 403 }, String::new()));
    match call.path.as_str() {
        "/rtmp/publish" if call.field("name") == "key-1" => Some((302, "channel-one".to_owned())),
        "/rtmp/publish" => status(false),
        "/rtmp/play" => status(call.field("ticket") == "good"),
        _ => status(true),
    }
}

/// What happens at a server with the configuration of nginx-rtmp, or the migrated one: who may do what, and which calls
/// and files come of it.
fn evening(address: SocketAddr, late: bool, backend: &Backend, recordings: &Path) {
    let (live, preview) = ("rtmp://site.example/live", "rtmp://site.example/preview");
    let mut publisher = Visit::publish(STUDIO, live, "key-1", true).make(address).unwrap();
    send_pictures(&mut publisher);
    for visit in [
        Visit::publish(ELSEWHERE, live, "key-1", false),
        Visit::publish(STUDIO, live, "guessed", false),
        Visit::play(STUDIO, live, "channel-one?ticket=good", true),
        Visit::play(ELSEWHERE, live, "channel-one?ticket=good", true),
        Visit::play(ELSEWHERE, live, "channel-one?ticket=stolen", false),
        Visit::publish(ELSEWHERE, preview, "rough-cut", true),
        Visit::play(STUDIO, preview, "rough-cut", true),
        Visit::play(ELSEWHERE, preview, "rough-cut", false),
        Visit::publish(STUDIO, "rtmp://site.example/other", "cam", false),
        Visit::play(STUDIO, "rtmp://site.example/other", "cam", false),
    ] {
        visit.make_at(address, late);
    }
    // The channel is there under the name that the back end gave it.
    let mut player = Visit::play(ELSEWHERE, live, "channel-one?ticket=good", true).make(address).unwrap();
    let mut seconds = 3..;
    wait_for("the picture of the channel", TIMEOUT, || {
        // nginx-rtmp keeps none for players that come later.
        send_picture(&mut publisher, seconds.next().unwrap_or_default());
        player.step();
        (player.pictures > 0).then_some(())
    });
    drop(publisher);
    let ended = |call: &Call| call.path == "/rtmp/publish_done" && call.field("name") == "key-1";
    let calls = backend.wait(|calls| calls.iter().any(ended));
    assert!(calls.iter().all(|call| call.field("app") == "live"), "the other application has no hooks");
    let granted = calls.iter().find(|call| call.path == "/rtmp/publish").unwrap();
    assert_eq!((granted.field("call"), granted.field("addr")), ("publish", "127.0.0.1"));
    let tickets: Vec<_> =
        calls.iter().filter(|call| call.path == "/rtmp/play").map(|call| call.field("ticket")).collect();
    assert_eq!(tickets, ["good", "good", "stolen", "good"]);
    let file = wait_for("the recording", TIMEOUT, || match &media::files(recordings)[..] {
        [file] if fs::metadata(file).unwrap().len() > 50 => Some(file.clone()),
        files => {
            assert!(files.len() < 2, "only one stream is recorded: {files:?}");
            None
        }
    });
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("channel-one-20") && name.ends_with(".flv"), "{name}");
}

#[test]
fn nginx_rtmp_does_this() {
    let (backend, folder) = (Backend::start(site), Folder::new());
    let (http, files) = (backend.address.to_string(), folder.path().to_str().unwrap());
    let nginx = Nginx::with(|address| {
        let listen = format!("listen {address};");
        let changes = [("listen 1935;", &*listen), ("127.0.0.1:8080", &*http), ("/var/lib/rtmp/rec", files)];
        with(include_str!("nginx-rtmp.conf"), &changes)
    });
    evening(nginx.address(), true, &backend, folder.path());
}

#[test]
fn the_configuration_of_nginx_rtmp_does_the_same_here() {
    let (backend, folder) = (Backend::start(site), Folder::new());
    let program = migrated_from_nginx(&backend, folder.path());
    evening(program.address(), false, &backend, folder.path());
    // Clients that a rule refuses are not asked about.
    let calls = backend.calls();
    let names = |path: &str| -> Vec<String> {
        calls.iter().filter(|call| call.path == path).map(|call| call.field("name").to_owned()).collect()
    };
    assert_eq!(
        (names("/rtmp/publish"), names("/rtmp/publish_done")),
        (strings(&["key-1", "guessed"]), strings(&["key-1"]))
    );
}

fn migrated_from_nginx(backend: &Backend, folder: &Path) -> Program {
    let http = backend.address.to_string();
    let changes = [("127.0.0.1:8080", &*http), ("/var/lib/rtmp/rec", folder.to_str().unwrap())];
    launch().settings(&with(include_str!("nginx-rtmp.toml"), &changes)).start()
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// The back end of the public channels.
fn channels(call: &Call) -> Answer {
    let refused = match call.action() {
        "on_publish" => !call.text("param").contains("key=secret"),
        "on_play" => call.text("stream") == "premium",
        _ => false,
    };
    Some((200, u8::from(refused).to_string()))
}

#[test]
fn the_configuration_of_srs_does_the_same_here() {
    let (backend, folder) = (Backend::start(channels), Folder::new());
    let http = backend.address.to_string();
    let files = folder.path().to_str().unwrap();
    let changes = [("127.0.0.1:8085", &*http), ("./objs/nginx/html", files), ("127.0.0.1:1985", "127.0.0.1:0")];
    let program = launch().settings(&with(include_str!("srs.toml"), &changes)).start();
    let address = program.address();
    let (live, studio) = ("rtmp://live.example.com/live", "rtmp://studio.example.com/live");
    let web = "rtmp://web.example.com/live";
    let mut publisher = Visit::publish(ELSEWHERE, live, "cam?key=secret", true).make(address).unwrap();
    send_pictures(&mut publisher);
    for visit in [
        // live.example.com: the back end decides.
        Visit::publish(STUDIO, live, "cam2?key=wrong", false),
        Visit::play(ELSEWHERE, live, "cam", true),
        Visit::play(ELSEWHERE, live, "premium", false),
        // studio.example.com: by address.
        Visit::publish(STUDIO, studio, "a", true),
        Visit::publish(ELSEWHERE, studio, "b", false),
        Visit::play(ELSEWHERE, studio, "a", true),
        // web.example.com: by page for players, by address for publishers.
        Visit::publish(STUDIO, web, "a", true),
        Visit::publish(ELSEWHERE, web, "a", false),
        Visit::play(ELSEWHERE, web, "a", true).on_page("https://www.example.com/watch"),
        Visit::play(ELSEWHERE, web, "a", false).on_page("https://evilexample.com/watch"),
        Visit::play(ELSEWHERE, web, "a", false),
        // A host that the file does not have.
        Visit::publish(STUDIO, "rtmp://other.example.com/live", "a", false),
    ] {
        visit.make(address);
    }
    drop(publisher);
    let calls = backend.wait(|calls| calls.iter().filter(|call| call.action() == "on_close").count() == 4);
    assert!(calls.iter().all(|call| call.text("vhost") == "live.example.com"), "the other hosts have no hooks");
    let of = |action: &str| -> Vec<String> {
        let about = calls.iter().filter(|call| call.action() == action);
        about.map(|call| call.body["stream"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!((of("on_publish"), of("on_unpublish")), (strings(&["cam", "cam2"]), strings(&["cam"])));
    assert_eq!((of("on_play"), of("on_stop")), (strings(&["cam", "premium"]), strings(&["cam"])));
    assert_eq!(of("on_connect").len(), 4);
    program.wait_line("recorded ");
    let files = media::files(folder.path());
    let [file] = &files[..] else { panic!("one host records, one stream was granted: {files:?}") };
    assert!(file.starts_with(folder.path().join("live")), "{file:?}");
    assert!(file.file_name().unwrap().to_str().unwrap().starts_with("cam-20"), "{file:?}");
    program.finish();
}

/// The pages show the files of these tests.
#[test]
fn the_pages_show_these_configurations() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let here = "runtime-smol/server/tests/program/migration";
    for (page, files) in [
        (
            "coming-from-nginx-rtmp.md",
            [
                ("nginx-rtmp.conf", include_str!("nginx-rtmp.conf")),
                ("nginx-rtmp.toml", include_str!("nginx-rtmp.toml")),
            ],
        ),
        ("coming-from-srs.md", [("srs.conf", include_str!("srs.conf")), ("srs.toml", include_str!("srs.toml"))]),
    ] {
        let page = fs::read_to_string(docs.join(page)).unwrap();
        for (name, text) in files {
            assert!(page.contains(&format!("{here}/{name}")), "{name} is not linked");
            let migrated = name.ends_with(".toml");
            assert!(!migrated || page.contains(&format!("```toml\n{text}```")), "{name} is not shown");
        }
    }
}
