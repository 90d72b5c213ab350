use anabranch_core::client::Destination;
use serde_json::Value;

/// The longest reason that a client gets, in characters.
const LONGEST_REASON: usize = 200;
/// The most targets that one answer may have.
const MOST_TARGETS: usize = 64;
/// Fields in which a back end may give a reason: the first of these that is a text counts.
const REASONS: [&str; 5] = ["msg", "message", "reason", "error", "desc"];

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// The back end grants the request.
    Granted,
    /// The back end grants it under another name: of the stream, or of the app at `connect`.
    Renamed(String),
    /// The back end refuses it, perhaps with a reason or a URL to go to instead.
    Refused { reason: Option<String>, redirect: Option<String> },
    /// The URLs at which a stream is to be published, too.
    Targets(Vec<String>),
    /// The back end did not answer properly, and may do so later; with a text for the log.
    Failed(String),
}

impl Reply {
    /// What an HTTP answer means, by SRS's rules: status 200 or 201, and a body that is `0` or an object whose `code`
    /// is the integer 0. Everything else is a refusal, except for the statuses that mean a failure of the back end.
    pub(super) fn of(status: u16, body: &[u8]) -> Reply {
        match status {
            200 | 201 => {}
            // A back end, or the proxy in front of it, cannot serve now.
            408 | 429 | 500.. => return Reply::Failed(format!("the back end answers with status {status}")),
            _ => return Reply::refused(Some(format!("status {status}"))),
        }
        let Ok(answer) = serde_json::from_slice::<Value>(body) else {
            return Reply::refused(Some("the back end's answer is not JSON".to_owned()));
        };
        let code = answer.get("code").unwrap_or(&answer);
        if code.as_i64() == Some(0) {
            return Reply::Granted;
        }
        let reason = REASONS.iter().find_map(|name| answer.get(name)?.as_str()).map(printable);
        let redirect = answer.get("redirect").and_then(Value::as_str).filter(|url| Destination::parse(url).is_ok());
        let reason = reason.filter(|reason| !reason.is_empty());
        let reason = reason.or_else(|| code.as_i64().map(|code| format!("code {code}")));
        Reply::Refused { reason, redirect: redirect.map(str::to_owned) }
    }

    /// What an HTTP answer means, by nginx-rtmp's rules: status 2xx grants, 3xx grants under the name in `Location` or
    /// sends the client to the URL there, and everything else is a refusal, except for the statuses that mean a failure
    /// of the back end.
    pub(super) fn of_nginx(status: u16, location: Option<&str>) -> Reply {
        match status {
            200..300 => Reply::Granted,
            300..400 => Reply::of_location(status, location.map(str::trim).unwrap_or_default()),
            408 | 429 | 500.. => Reply::Failed(format!("it answers with status {status}")),
            _ => Reply::refused(Some(format!("status {status}"))),
        }
    }

    /// What the answer to the question about targets means, by SRS's rules: an object whose `data` has the list `urls`, or
    /// no `data` for no targets. A text in the list that is not a URL is refused later, with words in the log.
    pub(super) fn of_forward(status: u16, body: &[u8]) -> Reply {
        match Reply::of(status, body) {
            Reply::Granted => {}
            other => return other,
        }
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let urls = answer.get("data").and_then(|data| data.get("urls")).and_then(Value::as_array);
        let urls = urls.into_iter().flatten().filter_map(Value::as_str);
        Reply::Targets(urls.take(MOST_TARGETS).map(str::to_owned).collect())
    }

    /// The same by nginx-rtmp's rules for `on_publish`: a redirect to a URL names the target.
    pub(super) fn of_nginx_forward(status: u16, location: Option<&str>) -> Reply {
        match Reply::of_nginx(status, location) {
            Reply::Granted => Reply::Targets(Vec::new()),
            Reply::Refused { redirect: Some(url), .. } => Reply::Targets(vec![url]),
            other => other,
        }
    }

    fn of_location(status: u16, location: &str) -> Reply {
        let is_rtmp = location.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("rtmp://"));
        if is_rtmp {
            return match Destination::parse(location) {
                Ok(_) => Reply::Refused { reason: None, redirect: Some(location.to_owned()) },
                Err(error) => Reply::refused(Some(format!("a redirect to a URL that names no stream: {error}"))),
            };
        }
        match location {
            "" => Reply::refused(Some(format!("status {status} without a Location"))),
            // nginx-rtmp would take it for a name. Web frameworks make it of a relative address.
            url if url.contains("://") => Reply::refused(Some(
                "a redirect to a URL that is not RTMP: Location must be the new name alone".to_owned(),
            )),
            name if name.contains(['?', '#']) || name.chars().any(char::is_control) => {
                Reply::refused(Some("a redirect to something that is not the name of a stream".to_owned()))
            }
            name => Reply::Renamed(name.to_owned()),
        }
    }

    fn refused(reason: Option<String>) -> Reply {
        Reply::Refused { reason, redirect: None }
    }
}

/// Short enough for a command, and without control characters.
fn printable(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_yes_is_what_srs_takes_for_one() {
        for body in ["0", "{\"code\":0}", "{\"code\": 0, \"data\": null}", "0\n"] {
            assert_eq!(Reply::of(200, body.as_bytes()), Reply::Granted, "{body}");
            assert_eq!(Reply::of(201, body.as_bytes()), Reply::Granted, "{body}");
        }
        let no = ["", "1", "00", "\"0\"", "{}", "{\"code\":\"0\"}", "{\"code\":0.5}", "{\"code\":null}", "ok", "[0]"];
        for body in no {
            assert!(matches!(Reply::of(200, body.as_bytes()), Reply::Refused { .. }), "{body}");
        }
        for status in [204, 302, 400, 403, 404] {
            assert!(matches!(Reply::of(status, b"0"), Reply::Refused { .. }), "{status}");
        }
        for status in [408, 429, 500, 503] {
            assert!(matches!(Reply::of(status, b"0"), Reply::Failed(_)), "{status}");
        }
    }

    #[test]
    fn answers_in_the_form_of_nginx_grant_rename_redirect_or_refuse() {
        for status in [200, 201, 204, 299] {
            assert_eq!(Reply::of_nginx(status, None), Reply::Granted, "{status}");
        }
        for (location, name) in [("public", "public"), (" room/cam ", "room/cam"), ("/cam", "/cam")] {
            assert_eq!(Reply::of_nginx(302, Some(location)), Reply::Renamed(name.to_owned()));
        }
        let redirect = Some("RTMP://other/live/cam?a=1".to_owned());
        let reply = Reply::Refused { reason: None, redirect };
        assert_eq!(Reply::of_nginx(301, Some("RTMP://other/live/cam?a=1")), reply);
        for location in [None, Some(""), Some("http://h/login"), Some("cam?x=1"), Some("a\u{7}"), Some("rtmp://h")] {
            let reply = Reply::of_nginx(302, location);
            assert!(matches!(reply, Reply::Refused { reason: Some(_), redirect: None }), "{location:?}: {reply:?}");
        }
        for status in [400, 401, 403, 404] {
            assert_eq!(Reply::of_nginx(status, Some("x")), Reply::refused(Some(format!("status {status}"))));
        }
        for status in [408, 429, 500, 503] {
            assert!(matches!(Reply::of_nginx(status, None), Reply::Failed(_)), "{status}");
        }
    }

    #[test]
    fn targets_are_the_urls_of_the_answer() {
        let urls = |body: &str| Reply::of_forward(200, body.as_bytes());
        let targets = |urls: &[&str]| Reply::Targets(urls.iter().map(|url| (*url).to_owned()).collect());
        assert_eq!(
            urls(r#"{"code":0,"data":{"urls":["rtmp://a/b/c","rtmp://d/e/f?g=h"]}}"#),
            targets(&["rtmp://a/b/c", "rtmp://d/e/f?g=h"])
        );
        for none in ["0", r#"{"code":0}"#, r#"{"code":0,"data":null}"#, r#"{"code":0,"data":{"urls":[1,null]}}"#] {
            assert_eq!(urls(none), targets(&[]), "{none}");
        }
        assert!(matches!(urls(r#"{"code":1,"data":{"urls":["rtmp://a/b/c"]}}"#), Reply::Refused { .. }));
        assert!(matches!(Reply::of_forward(500, b"0"), Reply::Failed(_)));
        assert_eq!(Reply::of_nginx_forward(302, Some("rtmp://a/b/c")), targets(&["rtmp://a/b/c"]));
        assert_eq!(Reply::of_nginx_forward(200, None), targets(&[]));
    }

    #[test]
    fn reasons_and_places_to_go_are_passed_on() {
        let reason = |body: &str| match Reply::of(200, body.as_bytes()) {
            Reply::Refused { reason: Some(reason), .. } => reason,
            other => panic!("{body}: {other:?}"),
        };
        assert_eq!(reason("{\"code\":403,\"msg\":\"no\\r\\n credit \"}"), "no credit");
        assert_eq!(reason("{\"code\":7}"), "code 7");
        assert_eq!(reason("{\"code\":7,\"msg\":\"\"}"), "code 7");
        assert_eq!(reason("3"), "code 3");
        assert_eq!(reason(&format!("{{\"code\":1,\"error\":\"{}\"}}", "é".repeat(5000))).chars().count(), 200);
        let redirect = |url: &str| match Reply::of(200, format!("{{\"code\":302,\"redirect\":\"{url}\"}}").as_bytes()) {
            Reply::Refused { redirect, .. } => redirect,
            other => panic!("{url}: {other:?}"),
        };
        assert_eq!(redirect("rtmp://other/live/cam?a=1").as_deref(), Some("rtmp://other/live/cam?a=1"));
        assert_eq!(redirect("http://other/live/cam"), None);
        assert_eq!(redirect("rtmp://other"), None);
    }
}
