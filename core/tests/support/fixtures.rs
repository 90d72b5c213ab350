//! The vectors of `tests/fixtures/vectors.json`.

use serde_json::Value;

/// The whole fixture.
pub(crate) fn fixtures() -> Value {
    serde_json::from_str(include_str!("../fixtures/vectors.json")).expect("the fixture is JSON")
}

/// The vectors of one kind, in the order of the file.
pub(crate) fn vectors(kind: &str) -> Vec<Value> {
    let root = fixtures();
    let all = root["vectors"].as_array().expect("a list of vectors");
    all.iter().filter(|vector| vector["kind"] == kind).cloned().collect()
}

/// The recordings of real clients.
pub(crate) fn captures() -> Vec<Value> {
    fixtures()["captures"].as_array().expect("a list of captures").clone()
}

/// The id of a vector.
pub(crate) fn id(vector: &Value) -> &str {
    vector["id"].as_str().expect("an id")
}

/// The bytes of a vector.
pub(crate) fn input(vector: &Value) -> Vec<u8> {
    hex::decode(vector["input"].as_str().expect("a hex string")).expect("hex digits")
}
