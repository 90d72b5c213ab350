//! Real browsers: Chromium, driven over its own protocol, and Firefox, driven over WebDriver BiDi.
//!
//! A browser has one page. Tests open an address, evaluate JavaScript in the page, wait until something is true in it, and
//! see what the page complained about.

mod chromium;
mod firefox;
mod pages;
mod socket;

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs, thread};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::TIMEOUT;
use crate::program::target_folder;
use chromium::Chromium;
use firefox::Firefox;
pub use pages::Pages;

/// Between two looks into a page. A look costs the page time.
const PAUSE: Duration = Duration::from_millis(50);

/// What a browser looks like to its pages.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Of the page, in CSS pixels.
    pub width: u32,
    /// Of the page, in CSS pixels.
    pub height: u32,
    /// A phone: touch, and two pixels of the screen for each of CSS.
    pub is_phone: bool,
    /// The language that the person prefers.
    pub language: &'static str,
    /// Whether the person prefers dark colours.
    pub is_dark: bool,
}

impl Look {
    /// A window on a desk, in English.
    pub const DESK: Look = Look { width: 1280, height: 800, is_phone: false, language: "en-US", is_dark: false };
    /// A phone, in English.
    pub const PHONE: Look = Look { width: 390, height: 844, is_phone: true, ..Look::DESK };
}

/// The protocol of a browser.
trait Driver: fmt::Debug {
    /// Goes to an address, and returns once its document is loaded.
    fn open(&mut self, address: &str);
    /// The value of an expression, which may be a promise of a text, or what was thrown.
    fn evaluate(&mut self, expression: &str) -> Result<String, String>;
    /// Presses a key, as `KeyboardEvent.key` names it: Tab, Enter or Escape.
    fn press(&mut self, key: &str);
    /// What the page shows, as PNG in base64; the whole page, or what can be seen of it.
    fn picture(&mut self, is_whole: bool) -> String;
    /// Puts what the browser said meanwhile into the list.
    fn listen(&mut self);
    /// Errors of the page since it was opened.
    fn faults(&self) -> &[String];
}

/// A file of a package from npm, which `tests/run` installs.
pub fn npm(file: &str) -> PathBuf {
    target_folder().join("npm/node_modules").join(file)
}

/// A browser without window. It ends with the value.
#[derive(Debug)]
pub struct Browser {
    driver: Box<dyn Driver>,
}

impl Browser {
    /// Chromium.
    ///
    /// # Panics
    /// If it does not start.
    pub fn chromium(look: Look) -> Self {
        Browser::chromium_with(look, &[])
    }

    /// Chromium with more flags.
    ///
    /// # Panics
    /// If it does not start.
    pub fn chromium_with(look: Look, flags: &[&str]) -> Self {
        Browser { driver: Box::new(Chromium::start(look, flags)) }
    }

    /// Firefox.
    ///
    /// # Panics
    /// If it does not start.
    pub fn firefox() -> Self {
        Browser { driver: Box::new(Firefox::start()) }
    }

    /// Goes to an address.
    ///
    /// # Panics
    /// If it cannot be loaded.
    pub fn open(&mut self, address: &str) {
        self.driver.open(address);
    }

    /// The value of a JavaScript expression in the page; a promise is awaited.
    ///
    /// # Panics
    /// If it throws.
    pub fn value(&mut self, expression: &str) -> Value {
        let text = self.driver.evaluate(&format!("(async () => JSON.stringify((await ({expression})) ?? null))()"));
        let text = text.unwrap_or_else(|thrown| panic!("{expression}: {thrown}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{expression}: {error}: {text}"))
    }

    /// A text, or an empty one where there is none.
    ///
    /// # Panics
    /// If the expression throws.
    pub fn text(&mut self, expression: &str) -> String {
        self.value(expression).as_str().unwrap_or_default().to_owned()
    }

    /// A number, or NaN where there is none.
    ///
    /// # Panics
    /// If the expression throws.
    pub fn number(&mut self, expression: &str) -> f64 {
        self.value(expression).as_f64().unwrap_or(f64::NAN)
    }

    /// Waits until an expression is something that JavaScript takes for true, and returns it.
    ///
    /// # Panics
    /// If it does not become so.
    pub fn wait(&mut self, what: &str, expression: &str) -> Value {
        let start = std::time::Instant::now();
        loop {
            let value = self.value(&format!("({expression}) || null"));
            if !value.is_null() {
                return value;
            }
            if start.elapsed() > TIMEOUT {
                let page = self.text("document.body.innerText");
                panic!("no {what} in {TIMEOUT:?}; faults {:?}; the page says {page:?}", self.faults());
            }
            thread::sleep(PAUSE);
        }
    }

    /// Clicks on the element of a CSS selector once it is there, like a person does.
    ///
    /// # Panics
    /// If it does not come.
    pub fn click(&mut self, selector: &str) {
        let selector = json!(selector);
        let found = format!("document.querySelector({selector})");
        let ready = format!("{found} && !{found}.disabled && {found}.checkVisibility()");
        self.wait(&format!("element {selector}"), &ready);
        self.value(&format!("{found}.click()"));
    }

    /// Clicks on the first element of a selector that has this text.
    ///
    /// # Panics
    /// If it does not come.
    pub fn click_text(&mut self, selector: &str, text: &str) {
        let found = format!(
            "[...document.querySelectorAll({})].find(one => one.textContent.trim() === {} && one.checkVisibility() && \
             !one.disabled)",
            json!(selector),
            json!(text)
        );
        self.wait(&format!("{selector} with {text:?}"), &format!("({found}) !== undefined"));
        self.value(&format!("({found}).click()"));
    }

    /// Presses a key and lets it go: Tab, Enter or Escape.
    ///
    /// # Panics
    /// If it is another one, or the browser does not answer.
    pub fn press(&mut self, key: &str) {
        self.driver.press(key);
    }

    /// Puts a text into a field.
    ///
    /// # Panics
    /// If there is no such field.
    pub fn fill(&mut self, selector: &str, text: &str) {
        let selector = json!(selector);
        self.wait(&format!("field {selector}"), &format!("document.querySelector({selector})"));
        self.value(&format!(
            "(() => {{ const field = document.querySelector({selector}); field.value = {}; \
             for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind, {{ bubbles: true }})); }})()",
            json!(text)
        ));
    }

    /// Writes what the page shows into a PNG file.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn picture(&mut self, file: &Path, is_whole: bool) {
        let picture = BASE64_STANDARD.decode(self.driver.picture(is_whole)).expect("a picture in base64");
        fs::write(file, picture).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// What the page complained about since it was opened: exceptions, errors on its console, what its policy forbids.
    ///
    /// # Panics
    /// If the browser is gone.
    pub fn faults(&mut self) -> Vec<String> {
        self.driver.listen();
        self.driver.faults().to_vec()
    }
}
