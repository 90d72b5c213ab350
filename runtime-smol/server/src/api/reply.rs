use anabranch_core::http::Answer;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::shapes::Failure;
use crate::web::Page;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    kind: HeaderValue,
    body: Bytes,
    allow: Option<HeaderValue>,
    /// The credentials that are required.
    challenge: Option<HeaderValue>,
    /// More headers, which take the place of those that every answer has.
    more: Vec<(HeaderName, HeaderValue)>,
}

impl Reply {
    fn new(status: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Self {
        Reply { status, kind, body: body.into(), allow: None, challenge: None, more: Vec::new() }
    }

    pub(super) fn json(value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Reply::new(StatusCode::OK, JSON, body),
            Err(_) => Reply::error(StatusCode::INTERNAL_SERVER_ERROR, 500, "the answer cannot be serialized"),
        }
    }

    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Reply { status, ..self }
    }

    pub(super) fn text(status: StatusCode, body: &'static str) -> Self {
        Reply::new(status, TEXT, body)
    }

    pub(super) fn metrics(body: String) -> Self {
        let kind = HeaderValue::from_static(prometheus_client::encoding::prometheus_text::CONTENT_TYPE);
        Reply::new(StatusCode::OK, kind, body)
    }

    /// A failure, in SRS's form.
    pub(super) fn error(status: StatusCode, code: u32, words: impl Into<String>) -> Self {
        let failure = Failure { code, error: words.into() };
        Reply::new(status, JSON, serde_json::to_vec(&failure).unwrap_or_default())
    }

    pub(super) fn not_allowed(allow: &str) -> Self {
        let reply = Reply::error(StatusCode::METHOD_NOT_ALLOWED, 405, format!("this path allows {allow}"));
        Reply { allow: HeaderValue::from_str(allow).ok(), ..reply }
    }

    /// A page for browsers, or that it has not changed.
    pub(super) fn page(page: &Page, host: Option<&str>, if_none_match: Option<&str>) -> Self {
        let is_known = if_none_match.is_some_and(|tags| page.is_known(tags));
        let (status, body) =
            if is_known { (StatusCode::NOT_MODIFIED, Bytes::new()) } else { (StatusCode::OK, page.body.clone()) };
        let header = |(name, value): (&'static str, String)| {
            HeaderValue::from_str(&value).ok().map(|value| (HeaderName::from_static(name), value))
        };
        let more = page.headers(host).filter_map(header).collect();
        Reply { more, ..Reply::new(status, HeaderValue::from_static(page.kind), body) }
    }

    pub(super) fn with_challenge(self, basic: bool) -> Self {
        let scheme = if basic { "Basic realm=\"anabranch\"" } else { "Bearer realm=\"anabranch\"" };
        Reply { challenge: Some(HeaderValue::from_static(scheme)), ..self }
    }

    /// The same for an entrance of core.
    pub(super) fn into_answer(self) -> Answer {
        let body = self.body.clone();
        let response = self.into_response();
        let answer = Answer::new(response.status().as_u16()).with_body(body);
        let fields = response.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()));
        fields.fold(answer, |answer, (name, value)| answer.with(name, value))
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.kind);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        for (name, value) in [(ALLOW, self.allow), (WWW_AUTHENTICATE, self.challenge)] {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        for (name, value) in self.more {
            headers.insert(name, value);
        }
        response
    }
}
