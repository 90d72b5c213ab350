use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// A file for browsers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// The media type.
    pub(crate) kind: &'static str,
    pub(crate) body: Bytes,
    /// The entity tag: a hash of the body, in quotes.
    pub(crate) tag: String,
    /// The `Content-Security-Policy`, for documents, with [`HERE`] in the place of this server's name.
    pub(crate) policy: Option<String>,
}

/// Where this server plays streams to browsers, at the host that the page is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Media {
    pub(crate) port: u16,
    /// True if it is played by HTTPS.
    pub(crate) is_secure: bool,
}

impl Media {
    /// The schemes of requests and of WebSockets.
    fn schemes(self) -> [&'static str; 2] {
        if self.is_secure { ["https", "wss"] } else { ["http", "ws"] }
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Pages {
    assets: BTreeMap<&'static str, Page>,
    console: Page,
    watch: Page,
    /// `None` if there are no rooms.
    call: Option<Page>,
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Where the documents say on which port streams are played.
const MEDIA: &str = "data-media=\"\"";
/// The name of this server, in policies.
const HERE: &str = "{here}";

macro_rules! assets {
    ($($name:literal: $kind:expr),* $(,)?) => {
        &[$(($name, $kind, include_bytes!(concat!("static/", $name)).as_slice())),*]
    };
}

/// The files below `/assets/`.
const ASSETS: &[(&str, &str, &[u8])] = assets! {
    "address.js": SCRIPT,
    "api.js": SCRIPT,
    "call.js": SCRIPT,
    "chart.js": SCRIPT,
    "clients.js": SCRIPT,
    "closes.js": SCRIPT,
    "console.js": SCRIPT,
    "elements.js": SCRIPT,
    "icon.svg": "image/svg+xml",
    "looks.js": SCRIPT,
    "mp4.js": SCRIPT,
    "numbers.js": SCRIPT,
    "parts.js": SCRIPT,
    "picture.js": SCRIPT,
    "player.js": SCRIPT,
    "relays.js": SCRIPT,
    "screen.js": SCRIPT,
    "server.js": SCRIPT,
    "settings.js": SCRIPT,
    "stream.js": SCRIPT,
    "streams.js": SCRIPT,
    "style.css": "text/css; charset=utf-8",
    "watch.js": SCRIPT,
    "webrtc.js": SCRIPT,
    "words.js": SCRIPT,
};

impl Pages {
    /// The pages. `media` is where this server plays streams to browsers, if that is not the port of the pages. Without rooms
    /// there is no page for calls.
    pub(crate) fn new(media: Option<Media>, has_rooms: bool) -> Self {
        let assets = ASSETS.iter().map(|(name, kind, body)| (*name, Page::new(kind, Bytes::from_static(body), None)));
        let document = |text: &str, frames: &str| {
            let place = media.map(|media| format!("{}:{}", media.schemes()[0], media.port)).unwrap_or_default();
            let body = text.replacen(MEDIA, &format!("data-media=\"{place}\""), 1);
            Page::new(HTML, body.into(), Some(policy(media, frames)))
        };
        Pages {
            assets: assets.collect(),
            // A console in a frame of another page could be clicked without being seen. A player may be in any page.
            console: document(include_str!("static/index.html"), "'none'"),
            watch: document(include_str!("static/watch.html"), "*"),
            // In a frame of another page, a person could be seen and heard there without knowing it.
            call: has_rooms.then(|| document(include_str!("static/call.html"), "'none'")),
        }
    }

    /// The page at a path.
    pub(crate) fn find(&self, path: &str) -> Option<&Page> {
        match path {
            "/" => Some(&self.console),
            "/watch" => Some(&self.watch),
            _ if path.starts_with("/watch/") => Some(&self.watch),
            "/call" => self.call.as_ref(),
            _ if path.starts_with("/call/") => self.call.as_ref(),
            _ => self.assets.get(path.strip_prefix("/assets/")?),
        }
    }
}

impl Page {
    fn new(kind: &'static str, body: Bytes, policy: Option<String>) -> Self {
        let mut tag = String::from("\"");
        for byte in &Sha256::digest(&body)[..12] {
            let _ = write!(tag, "{byte:02x}");
        }
        tag.push('"');
        Page { kind, body, tag, policy }
    }

    /// Whether the browser has this page already, by its header `If-None-Match`.
    pub(crate) fn is_known(&self, if_none_match: &str) -> bool {
        if_none_match.split(',').any(|tag| {
            let tag = tag.trim();
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.tag
        })
    }

    /// The headers besides those of the body: for the page, and for an answer that it has not changed. `host` is the one
    /// that the request names.
    pub(crate) fn headers(&self, host: Option<&str>) -> impl Iterator<Item = (&'static str, String)> {
        let fixed = [
            ("cache-control", "no-cache".to_owned()),
            ("etag", self.tag.clone()),
            ("x-content-type-options", "nosniff".to_owned()),
            // A server that grants by page gets its own pages, and no other server learns of them.
            ("referrer-policy", "same-origin".to_owned()),
            ("cross-origin-opener-policy", "same-origin".to_owned()),
        ];
        let policy = self.policy.as_ref().map(|policy| policy.replace(HERE, name_of(host.unwrap_or_default())));
        let policy = policy.map(|policy| ("content-security-policy", policy));
        fixed.into_iter().chain(policy)
    }
}

/// The name of a host for a policy, without its port. Policies have no form for addresses of IPv6, so all hosts stand for one.
fn name_of(host: &str) -> &str {
    let name = host.split(':').next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match name {
        _ if host.starts_with('[') => "*",
        "" => "none.invalid",
        name if name.chars().all(is_plain) => name,
        _ => "none.invalid",
    }
}

/// What a document may load: files of this server, and streams of its other port.
fn policy(media: Option<Media>, frames: &str) -> String {
    let streams = |media: Media| media.schemes().map(|scheme| format!(" {scheme}://{HERE}:{}", media.port)).concat();
    let streams = media.map(streams).unwrap_or_default();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' blob:{streams}; \
         connect-src 'self'{streams}; base-uri 'none'; form-action 'none'; frame-ancestors {frames}; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn each_file_is_served_and_each_import_is_there() {
        let pages = Pages::new(None, true);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/static");
        let mut imports = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".html") {
                continue;
            }
            let page = pages.find(&format!("/assets/{name}")).unwrap_or_else(|| panic!("{name} is not served"));
            let text = std::str::from_utf8(&page.body).unwrap();
            for line in text.lines().filter(|line| line.starts_with("import ") || line.starts_with("} from ")) {
                let file = line.split("'./").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
                assert!(pages.find(&format!("/assets/{file}")).is_some(), "{name} imports {file}");
                imports += 1;
            }
        }
        assert!(imports > 10, "{imports}");
    }

    #[test]
    fn no_text_becomes_html_and_nothing_comes_from_elsewhere() {
        for (name, kind, body) in ASSETS {
            let text = std::str::from_utf8(body).unwrap();
            for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"] {
                assert!(!text.contains(word), "{name} has {word}");
            }
            if *kind == SCRIPT {
                assert!(!text.contains("https://") && !text.contains("import("), "{name} loads from elsewhere");
            }
        }
        for document in
            [include_str!("static/index.html"), include_str!("static/watch.html"), include_str!("static/call.html")]
        {
            assert!(document.contains(MEDIA));
            for line in document.lines() {
                assert!(!line.contains("<style") && !line.contains(" style=") && !line.contains(" onclick="), "{line}");
                assert!(!line.contains("<script") || line.contains("src=\"/assets/"), "{line}");
            }
        }
    }

    #[test]
    fn paths_have_their_pages() {
        let pages = Pages::new(Some(Media { port: 8080, is_secure: false }), true);
        let body = |path: &str| pages.find(path).map(|page| String::from_utf8(page.body.to_vec()).unwrap());
        assert!(body("/").unwrap().contains("data-media=\"http:8080\""));
        for path in ["/watch/live/cam", "/watch/", "/watch", "/watch/live/%3Cscript%3E"] {
            assert_eq!(pages.find(path), Some(&pages.watch), "{path}");
        }
        for path in ["/call", "/call/", "/call/team", "/call/%E4%BC%9A"] {
            assert!(body(path).is_some_and(|body| body.contains("/assets/call.js")), "{path}");
            assert_eq!(Pages::new(None, false).find(path), None, "{path}");
        }
        for path in
            ["/watcher", "/caller", "/assets/", "/assets/../mod.rs", "/assets/index.html", "/index.html", "", "//"]
        {
            assert_eq!(pages.find(path), None, "{path}");
        }
    }

    #[test]
    fn a_browser_that_has_a_page_is_told_so() {
        let pages = Pages::new(None, true);
        let page = pages.find("/assets/player.js").unwrap();
        let tag = &page.tag;
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            assert!(page.is_known(&known), "{known}");
        }
        for other in ["", "\"\"", &tag[1..], pages.find("/").unwrap().tag.as_str()] {
            assert!(!page.is_known(other), "{other}");
        }
    }

    #[test]
    fn documents_load_only_from_this_server() {
        let policy_at = |pages: &Pages, path: &str, host: &str| {
            let mut headers = pages.find(path).unwrap().headers(Some(host));
            headers.find(|(name, _)| *name == "content-security-policy").unwrap().1
        };
        let policy = |pages: &Pages, path: &str| policy_at(pages, path, "tv.example:1985");
        let at = |is_secure| Pages::new(Some(Media { port: 8080, is_secure }), false);
        let (here, other) = (Pages::new(None, true), at(false));
        assert!(policy(&here, "/").starts_with("default-src 'none'; script-src 'self';"));
        assert!(!policy(&here, "/").contains('*') && policy(&here, "/").contains("frame-ancestors 'none'"));
        assert!(policy(&here, "/watch/live/cam").contains("frame-ancestors *"));
        assert!(policy(&here, "/call/team").contains("frame-ancestors 'none'"));
        assert!(policy(&other, "/").contains("connect-src 'self' http://tv.example:8080 ws://tv.example:8080;"));
        assert!(policy(&at(true), "/").contains("connect-src 'self' https://tv.example:8080 wss://tv.example:8080;"));
        assert!(policy_at(&other, "/", "[::1]:1985").contains("connect-src 'self' http://*:8080"));
        for odd in ["", "x; script-src *", "*", "a.example 'unsafe-inline'"] {
            let policy = policy_at(&other, "/", odd);
            assert!(policy.contains("connect-src 'self' http://none.invalid:8080"), "{odd:?}: {policy}");
        }
        assert!(here.find("/assets/player.js").unwrap().policy.is_none());
    }
}
