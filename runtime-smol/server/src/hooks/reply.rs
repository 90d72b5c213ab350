use anabranch_core::client::Destination;
use serde_json::Value;

/// The longest reason that a client gets, in characters.
const LONGEST_REASON: usize = 200;
/// Fields in which a back end may give a reason: the first of these that is a text counts.
const REASONS: [&str; 5] = ["msg", "message", "reason", "error", "desc"];

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// The back end grants the request.
    Granted,
    /// The back end refuses it, perhaps with a reason or a URL to go to instead.
    Refused { reason: Option<String>, redirect: Option<String> },
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
