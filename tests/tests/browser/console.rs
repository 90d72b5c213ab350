use std::path::PathBuf;

use anabranch_tests::browser::{Browser, Look};
use anabranch_tests::media::{Mark, test_picture};
use anabranch_tests::program::{Process, Program, free_address};
use serde_json::json;

use crate::{page, start};

/// A player that says this of itself.
pub(crate) fn player(program: &Program, stream: &str, version: &str) -> Process {
    let url = program.url(stream);
    let options = ["-nostdin", "-loglevel", "warning", "-rtmp_flashver", version, "-i", &url, "-f", "null", "-"];
    Process::start("ffmpeg", options)
}

/// Waits until the page has these words.
fn wait_words(browser: &mut Browser, words: &str) {
    browser.wait(words, &format!("document.getElementById('view').innerText.includes({})", json!(words)));
}

/// Opens a view by its link.
pub(crate) fn view(browser: &mut Browser, name: &str) {
    browser.click(&format!("#views a[href='#/{name}']"));
}

/// Answers the question with yes.
fn confirm(browser: &mut Browser) {
    browser.wait("question", "document.getElementById('confirm').open");
    browser.click("#confirm-yes");
}

/// Waits until a notice has come, and removes it.
fn notice(browser: &mut Browser, words: &str) {
    let found =
        format!("[...document.querySelectorAll('.notice')].find(one => one.textContent.includes({}))", json!(words));
    browser.wait(&format!("notice {words:?}"), &format!("{found} !== undefined"));
    browser.value(&format!("{found}.remove()"));
}

#[test]
fn an_operator_does_everything_in_the_console() {
    let program = start("token = 'open sesame'\n[log]\nlevel = 'info'\n");
    let _publisher = test_picture(&program.url("live/cam"), Mark::Frame, &[]);
    program.wait_publishers("live/cam", 1);
    let mut browser = Browser::chromium(Look::DESK);
    browser.open(&page(&program, "/"));

    // Only with the token, which is kept for the session.
    browser.fill("#token", "wrong");
    browser.click("#sign-in button[type=submit]");
    browser.wait(
        "refusal",
        "!document.getElementById('wrong').hidden && document.getElementById('wrong').checkVisibility()",
    );
    browser.fill("#token", "open sesame");
    browser.click("#sign-in button[type=submit]");
    wait_words(&mut browser, "live/cam");
    browser.open(&page(&program, "/?again"));
    wait_words(&mut browser, "live/cam");

    // The list says what the stream is, and the filter finds it.
    wait_words(&mut browser, "320 × 180");
    wait_words(&mut browser, "AAC");
    browser.wait("chart", "document.querySelector('.chart-line')?.getAttribute('d')");
    browser.fill("#filter", "nothing like this");
    browser.wait("empty list", "document.querySelectorAll('.stream').length === 0");
    browser.fill("#filter", "CAM");
    browser.wait("stream", "document.querySelectorAll('.stream').length === 1");

    // A push is added, shown with its state, and ended.
    view(&mut browser, "relays");
    browser.fill("form input[name=stream]", "live/cam");
    browser.fill("form input[name=url]", "no address");
    browser.click("#view form button[type=submit]");
    browser.wait("refusal", "document.querySelector('.notice.bad')");
    browser.fill("form input[name=url]", &format!("rtmp://{}/live/there", free_address()));
    browser.click("#view form button[type=submit]");
    notice(&mut browser, "The push has begun");
    browser.wait("push", "document.querySelector('td.cell-target')?.textContent.includes('/live/***')");
    browser.click("#view td.cell-do button");
    confirm(&mut browser);
    notice(&mut browser, "The push has ended");
    browser.wait("no push", "document.querySelectorAll('td.cell-target').length === 0");

    // A connection is removed, and the list of those that ended says why.
    let _player = player(&program, "live/cam", "some player");
    program.wait_players("live/cam", 1);
    view(&mut browser, "clients");
    let row = "[...document.querySelectorAll('tbody tr')].find(row => row.textContent.includes('some player'))";
    browser.wait("player", &format!("{row} !== undefined"));
    browser.value(&format!("{row}.querySelector('button').click()"));
    browser.wait("question", "document.getElementById('confirm').open");
    // No, and the question again before the browser tells that the first has closed: the second stays.
    browser.value(
        "document.getElementById('confirm').addEventListener('close', () => (document.wasTold = true), { once: true })",
    );
    browser.value(&format!("document.getElementById('confirm-no').click(), {row}.querySelector('button').click()"));
    browser.wait("end of the first question", "document.wasTold");
    assert!(program.process.lines_with("is removed through the API").is_empty(), "it was only asked");
    confirm(&mut browser);
    notice(&mut browser, "is closed");
    program.wait_line("is removed through the API");
    view(&mut browser, "closes");
    wait_words(&mut browser, "removed through the API");

    // The configuration, with what the file says and without secrets; it is read again.
    view(&mut browser, "settings");
    wait_words(&mut browser, "anabranch.toml:2:1");
    wait_words(&mut browser, "api.token");
    assert!(!browser.text("document.body.innerText").contains("open sesame"));
    browser.click("#only");
    wait_words(&mut browser, "defaults.cache.bytes");
    browser.click_text("#view button", "Read the configuration again");
    notice(&mut browser, "Changed: nothing");

    // The server drains, and does not any more.
    view(&mut browser, "server");
    wait_words(&mut browser, "Nothing is wrong.");
    browser.fill("form input[name=seconds]", "600");
    browser.click("#view form button[type=submit]");
    confirm(&mut browser);
    notice(&mut browser, "The server drains");
    browser.wait("drain", "document.getElementById('health').textContent === 'Draining'");
    browser.click_text("#view button", "Accept new clients again");
    notice(&mut browser, "accepts new clients again");
    browser.wait("health", "document.getElementById('health').textContent === 'OK'");

    // The publisher is removed from the stream's own page.
    view(&mut browser, "streams");
    browser.click(".stream h2 a");
    browser.click_text("#view button", "Remove the publisher");
    confirm(&mut browser);
    notice(&mut browser, "is closed");
    program.wait_line("publisher of live/cam, is removed");

    // Language and colours.
    browser.fill("#language", "zh");
    browser.wait("Chinese", "document.querySelector(\"#views a[href='#/clients']\").textContent === '连接'");
    assert_eq!(browser.text("document.documentElement.lang"), "zh");
    let ground = "getComputedStyle(document.body).backgroundColor";
    let light = browser.text(ground);
    browser.fill("#theme", "dark");
    assert_ne!(browser.text(ground), light);

    browser.click("#sign-out");
    browser.wait("form", "document.getElementById('sign-in').checkVisibility()");
    assert_eq!(browser.value("sessionStorage.length"), 0);
    let faults = browser.faults();
    // The browser itself reports answers with an error status; there were two that were meant.
    let others: Vec<_> = faults.iter().filter(|fault| !fault.contains("Failed to load resource")).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn the_console_works_in_firefox() {
    let program = start("token = 'open sesame'\n");
    let _publisher = test_picture(&program.url("live/cam"), Mark::Frame, &[]);
    program.wait_publishers("live/cam", 1);
    let mut browser = Browser::firefox();
    browser.open(&page(&program, "/"));
    browser.fill("#token", "open sesame");
    browser.click("#sign-in button[type=submit]");
    wait_words(&mut browser, "live/cam");
    for name in ["clients", "relays", "closes", "settings", "server", "streams"] {
        view(&mut browser, name);
        browser.wait(name, "document.querySelector('#view > div')");
    }
    browser.click(".stream h2 a");
    browser.click_text("#view button", "Remove the publisher");
    confirm(&mut browser);
    notice(&mut browser, "is closed");
    program.wait_line("publisher of live/cam, is removed");
    assert_eq!(browser.faults(), [""; 0]);
}

/// Where pictures of the pages are to be written, for the documents: only if the variable is set.
fn pictures() -> Option<PathBuf> {
    std::env::var_os("ANABRANCH_PICTURES").map(PathBuf::from)
}

#[test]
fn nothing_in_a_page_is_wider_than_a_phone() {
    let program = start("");
    let _publisher = test_picture(&program.url("live/cam"), Mark::Frame, &[]);
    program.wait_publishers("live/cam", 1);
    for (look, name) in [
        (Look::PHONE, "phone"),
        (Look { language: "zh-CN", is_dark: true, ..Look::PHONE }, "phone-zh"),
        (Look::DESK, "desk"),
    ] {
        let mut browser = Browser::chromium(look);
        browser.open(&page(&program, "/"));
        wait_words(&mut browser, "live/cam");
        browser.wait("language", &format!("document.documentElement.lang === {}", json!(&look.language[..2])));
        for view_name in ["streams", "clients", "relays", "closes", "settings", "server"] {
            view(&mut browser, view_name);
            browser.wait(view_name, "document.querySelector('#view > div')");
            let wide = browser.number("document.documentElement.scrollWidth");
            assert!(wide <= f64::from(look.width), "{view_name}: {wide}");
            if let Some(folder) = pictures() {
                browser.picture(&folder.join(format!("{name}-{view_name}.png")), true);
            }
        }
        assert_eq!(browser.faults(), [""; 0]);
    }
}
