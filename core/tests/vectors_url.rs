//! The `tcUrl` vectors of the fixtures, each by its id.

use anabranch_core::url::{Connect, Params, TcUrl, UrlError};
use serde_json::Value;

fn vectors() -> Vec<Value> {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/vectors.json");
    let text = std::fs::read_to_string(fixtures).expect("the fixtures are part of the crate");
    let root: Value = serde_json::from_str(&text).expect("the fixtures are JSON");
    let all = root["vectors"].as_array().expect("a list of vectors");
    all.iter().filter(|vector| vector["kind"] == "tcurl").cloned().collect()
}

fn error_named(name: &str) -> UrlError {
    match name {
        "empty" => UrlError::Empty,
        "port is not decimal" => UrlError::PortNotDecimal,
        "port out of range" => UrlError::PortOutOfRange,
        "unknown scheme" => UrlError::NotRtmp { scheme: "http".to_owned() },
        other => panic!("a vector expects an unknown error: {other}"),
    }
}

#[test]
fn every_vector_is_read_as_it_says() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 18, "the number of tcurl vectors");
    for vector in &vectors {
        let id = vector["id"].as_str().expect("an id");
        let input = vector["input"].as_str().expect("an input");
        let expect = vector["expect"].as_object().expect("an expectation");
        let parsed = TcUrl::parse(input);
        if let Some(error) = expect.get("error") {
            assert_eq!(parsed, Err(error_named(error.as_str().expect("a name"))), "{id}");
            continue;
        }
        let url = parsed.unwrap_or_else(|error| panic!("{id}: {error}"));
        let connect = Connect::parse(Some(input), None).unwrap_or_else(|error| panic!("{id}: {error}"));
        for (field, value) in expect {
            let found = match field.as_str() {
                "scheme" => Value::from(url.scheme().as_str()),
                "host" => Value::from(url.host()),
                "port" => Value::from(url.port()),
                "app" => Value::from(url.app()),
                "query" => Value::from(url.query()),
                "userinfo" => Value::from(url.userinfo()),
                "app_normalised" => Value::from(connect.app()),
                "vhost" => Value::from(connect.vhost()),
                other => panic!("{id} expects an unknown field: {other}"),
            };
            assert_eq!(found, *value, "{id}: {field}");
        }
        let params = Params::parse(url.query()).unwrap_or_else(|error| panic!("{id}: {error}"));
        assert_eq!(&params, connect.params(), "{id}");
    }
}
