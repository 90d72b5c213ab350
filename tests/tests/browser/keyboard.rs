//! The console without a mouse, and what it says to those who do not see it.

use anabranch_tests::browser::{Browser, Look};
use anabranch_tests::media::{Mark, test_picture};
use anabranch_tests::program::{Launch, Process, Program, Runtime};
use serde_json::json;

use crate::console::{player, view};
use crate::page;

/// The program with HTTP and the API on free ports, and a stream.
fn start() -> (Program, Process) {
    let program = Launch::of(Runtime::Smol).with_web().settings("[api]\nlisten = '127.0.0.1:0'\n").start();
    let publisher = test_picture(&program.url("live/cam"), Mark::Frame, &[]);
    program.wait_publishers("live/cam", 1);
    (program, publisher)
}

/// Presses Tab until an element of this selector has the focus, which can be seen.
fn tab_to(browser: &mut Browser, selector: &str) {
    for _ in 0..40 {
        browser.press("Tab");
        if browser.value(&format!("document.activeElement.matches({})", json!(selector))) == true {
            assert_eq!(browser.value("document.activeElement.matches(':focus-visible')"), true, "{selector}");
            return;
        }
    }
    panic!("Tab does not come to {selector}");
}

#[test]
fn the_console_works_with_keys_alone() {
    let (program, _publisher) = start();
    let _player = player(&program, "live/cam", "some player");
    program.wait_players("live/cam", 1);
    let mut browser = Browser::chromium(Look::DESK);
    browser.open(&page(&program, "/#/clients"));
    browser.wait("connections", "document.querySelectorAll('td.cell-do button').length === 2");

    // The first stop leads past the views, and stays in the view.
    browser.press("Tab");
    assert_eq!(browser.text("document.activeElement.id"), "skip");
    assert_eq!(browser.value("document.activeElement.getBoundingClientRect().left >= 0"), true, "it can be seen");
    browser.press("Enter");
    assert_eq!(browser.text("document.activeElement.id"), "view");
    assert_eq!(browser.text("location.hash"), "#/clients");

    // A connection is removed: Enter asks, Escape takes it back, and the focus is where it was.
    tab_to(&mut browser, "td.cell-do button");
    let row = "document.activeElement.closest('tr').textContent.includes('some player')";
    if browser.value(row) != true {
        browser.press("Tab");
    }
    browser.press("Enter");
    browser.wait("question", "document.getElementById('confirm').open");
    assert_eq!(browser.text("document.activeElement.id"), "confirm-no", "Enter ends nothing by mistake");
    browser.press("Escape");
    browser.wait("end of the question", "!document.getElementById('confirm').open");
    assert_eq!(browser.value(row), true, "the focus is where it was");
    assert!(program.process.lines_with("is removed through the API").is_empty());
    browser.press("Enter");
    browser.wait("question", "document.getElementById('confirm').open");
    tab_to(&mut browser, "#confirm-yes");
    browser.press("Enter");
    program.wait_line("is removed through the API");

    // Another view, and a stream with its player.
    browser.value("document.activeElement.blur()");
    tab_to(&mut browser, "#views a[href='#/streams']");
    browser.press("Enter");
    browser.wait("stream", "document.querySelector('.picture-tools a')");
    tab_to(&mut browser, ".picture-tools a");
    browser.press("Enter");
    browser.wait("moving picture", "document.querySelector('video')?.currentTime > 0");
    tab_to(&mut browser, ".screen-bar button[data-t=sound_on]");
    browser.press("Enter");
    browser.wait("sound", "!document.querySelector('video').muted");
    assert_eq!(browser.faults(), [""; 0]);
}

/// Elements that do something or show something, and have no name for a screen reader.
const NAMELESS: &str = "[...document.querySelectorAll('a, button, input, select, video, canvas, svg, section.screen, nav, \
     [role=img], dialog[open]')].filter(one => one.checkVisibility() && one.computedRole !== 'none' && \
     !one.computedName.trim()).map(one => one.outerHTML.slice(0, 200))";

#[test]
fn everything_in_the_pages_has_a_name_in_both_languages() {
    let (program, _publisher) = start();
    for language in ["en-US", "zh-CN"] {
        let mut browser = Browser::chromium(Look { language, ..Look::DESK });
        browser.open(&page(&program, "/"));
        browser.wait("names", "document.querySelector('#views a').computedName");
        for name in ["streams", "clients", "relays", "closes", "settings", "server"] {
            view(&mut browser, name);
            browser.wait(name, "document.querySelector('#view > div')");
            assert_eq!(browser.value(NAMELESS), json!([]), "{name}");
            // What is said while it is alone: columns of tables have heads.
            let heads = "[...document.querySelectorAll('th')].filter(one => !one.textContent && one.scope).length";
            assert_eq!(browser.value(heads), 0, "{name}");
        }
        view(&mut browser, "streams");
        browser.click(".picture-tools a");
        browser.wait("player", "document.querySelector('.screen-bar')");
        browser.click(".screen-bar button[data-t=statistics]");
        assert_eq!(browser.value(NAMELESS), json!([]), "one stream");
        // No key of a word is shown in the place of the word.
        let untranslated = "[...document.querySelectorAll('[data-t]')].filter(one => one.textContent === one.dataset.t && \
                            one.dataset.t.includes('_')).map(one => one.dataset.t)";
        assert_eq!(browser.value(untranslated), json!([]));
        assert_eq!(browser.faults(), [""; 0]);
    }
}
