//! What clients, back ends and other servers say is shown as text, and the pages load nothing but the server's own files.

use anabranch_tests::backend::{Backend, yes};
use anabranch_tests::browser::{Browser, Look, Pages};
use anabranch_tests::media::{Mark, test_picture};
use anabranch_tests::peer::WebPlayer;
use anabranch_tests::program::{Launch, Process, Runtime};
use serde_json::json;

use crate::console::{player, view};
use crate::player::wait_playing;
use crate::{page, start};

/// A text that would do something if it were read as HTML.
const EVIL: &str = "<img/src=x/onerror='document.evil=1'>";

/// Waits until the view has the text in an element of a selector.
fn wait_shown(browser: &mut Browser, selector: &str) {
    let selector = json!(format!("#view {selector}"));
    let found =
        format!("[...document.querySelectorAll({selector})].some(one => one.innerText.includes({}))", json!(EVIL));
    browser.wait(&format!("text in {selector}"), &found);
}

/// Nothing that was shown has become an element or has run.
fn assert_text_only(browser: &mut Browser) {
    assert_eq!(browser.value("document.evil"), json!(null));
    assert_eq!(browser.value("document.querySelectorAll('main img, main script, #notices img').length"), 0);
    assert_eq!(browser.faults(), [""; 0]);
}

#[test]
fn names_and_words_of_clients_that_are_html_stay_text() {
    let program = start("");
    let name = format!("{EVIL}<script>document.evil=2</script>");
    let metadata = format!("title={EVIL}");
    let encoder = format!("encoder={EVIL}");
    let options = ["-metadata", &metadata, "-metadata", &encoder, "-rtmp_flashver", EVIL];
    let _publisher = test_picture(&program.url(&format!("live/{name}")), Mark::Frame, &options);
    let stream = format!("live/{name}");
    program.wait_line(" is publisher of ");
    let _player = player(&program, &stream, EVIL);
    program.wait_line(" is player of ");
    // A request that is refused is in the list of those that ended, with what it asked for.
    let refused = Process::start(
        "ffmpeg",
        ["-nostdin", "-re", "-f", "lavfi", "-i", "testsrc2", "-t", "5", "-f", "flv", &program.url(&stream)],
    );
    program.wait_line("refused");
    drop(refused);
    let mut browser = Browser::chromium(Look::PHONE);
    browser.open(&page(&program, "/"));
    wait_shown(&mut browser, "h2");
    browser.click(".stream h2 a");
    wait_shown(&mut browser, "h1");
    view(&mut browser, "closes");
    wait_shown(&mut browser, "td.cell-stream");
    view(&mut browser, "clients");
    wait_shown(&mut browser, "td.cell-stream");
    wait_shown(&mut browser, "td.cell-program");
    assert_text_only(&mut browser);
}

#[test]
fn words_of_back_ends_and_other_servers_that_are_html_stay_text() {
    let refusal = json!({ "code": 403, "msg": EVIL }).to_string();
    let backend = Backend::start(move |call| match call.body["stream"].as_str() {
        Some("denied") => Some((200, refusal.clone())),
        _ => yes(),
    });
    let hooks = format!("[defaults.hooks]\non_publish = ['http://{}/']\n", backend.address);
    let origin = Launch::of(Runtime::Smol).settings(&hooks).start();
    let settings = format!(
        "[api]\nlisten = '127.0.0.1:0'\n{hooks}\
         [[defaults.run]]\nname = \"{EVIL}\"\nstreams = ['live/*']\ncommand = ['sleep', '600']\n"
    );
    let program = Launch::of(Runtime::Smol).with_web().settings(&settings).start();
    let _publisher = test_picture(&program.url("live/cam"), Mark::Frame, &[]);
    program.wait_publishers("live/cam", 1);
    // A player by HTTP that says what it is.
    let request = format!("GET /live/cam.flv HTTP/1.1\r\nHost: h\r\nUser-Agent: {EVIL}\r\n\r\n");
    let mut viewer = WebPlayer::asking(program.web(), &request);
    assert_eq!(viewer.status(), 200);
    let mut browser = Browser::chromium(Look::DESK);
    browser.open(&page(&program, "/"));
    view(&mut browser, "clients");
    wait_shown(&mut browser, "td.cell-program");
    // A push that the other server refuses with the words of its back end.
    view(&mut browser, "relays");
    browser.fill("form input[name=stream]", "live/cam");
    browser.fill("form input[name=url]", &format!("rtmp://{}/{EVIL}/denied", origin.address()));
    browser.click("#view form button[type=submit]");
    wait_shown(&mut browser, "td.cell-last_error");
    wait_shown(&mut browser, "td.cell-target");
    view(&mut browser, "server");
    wait_shown(&mut browser, "td.cell-program");
    view(&mut browser, "settings");
    wait_shown(&mut browser, "td.cell-value");
    assert_text_only(&mut browser);
}

#[test]
fn the_pages_load_nothing_from_other_hosts_and_run_no_script_in_them() {
    let program = Launch::of(Runtime::Smol).with_web().settings("[api]\nlisten = '127.0.0.1:0'\n").start();
    let _publisher = test_picture(&program.url("live/cam"), Mark::Frame, &[]);
    program.wait_publishers("live/cam", 1);
    let other =
        Pages::start(vec![("/picture.svg", "image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>".into())]);
    for address in [page(&program, "/"), format!("http://{}/watch/live/cam", program.web())] {
        let mut browser = Browser::chromium(Look::DESK);
        browser.open(&address);
        if address.ends_with("/watch/live/cam") {
            wait_playing(&mut browser);
        } else {
            for name in ["clients", "relays", "closes", "settings", "server", "streams"] {
                view(&mut browser, name);
                browser.wait(name, "document.querySelector('#view > div')");
            }
            browser.click(".picture-tools a");
            wait_playing(&mut browser);
        }
        let own = format!("[location.origin, 'http://{}', 'blob:']", program.web());
        let loaded = browser.value(&format!(
            "performance.getEntriesByType('resource').map(one => one.name).filter(name => !{own}.some(own => \
             name.startsWith(own)))"
        ));
        assert_eq!(loaded, json!([]), "{address}");
        assert!(browser.number("performance.getEntriesByType('resource').length") > 5.0, "its files");
        let inline = "[...document.querySelectorAll('*')].filter(one => one.matches('script:not([src]), style, [style]') \
                      || one.getAttributeNames().some(name => name.startsWith('on'))).map(one => one.outerHTML)";
        assert_eq!(browser.value(inline), json!([]), "{address}");
        assert_eq!(browser.faults(), [""; 0], "{address}");

        // Even if a text became an element, the policy would stop it.
        let attempt = |what: &str| {
            format!("(() => {{ try {{ {what}; return 'done'; }} catch (error) {{ return error.name; }} }})()")
        };
        let script =
            "const one = document.createElement('script'); one.append('document.evil = 3'); document.body.append(one)";
        browser.value(&attempt(script));
        let html = attempt("document.body.innerHTML += '<img src=x onerror=\"document.evil = 4\">'");
        assert_eq!(browser.value(&html), "TypeError", "HTML from a text is refused");
        let picture = json!(other.url("/picture.svg"));
        let load = format!(
            "new Promise(done => {{ const one = new Image(); one.onload = () => done('loaded'); \
             one.onerror = () => done('refused'); one.src = {picture}; }})"
        );
        assert_eq!(browser.value(&load), "refused", "a picture of another host");
        let ask = format!("fetch({picture}, {{ mode: 'no-cors' }}).then(() => 'answered', () => 'refused')");
        assert_eq!(browser.value(&ask), "refused", "a request to another host");
        assert_eq!(browser.value("document.evil"), json!(null));
        assert!(
            browser.faults().iter().any(|fault| fault.contains("Content Security Policy")),
            "{:?}",
            browser.faults()
        );
    }
}
