use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::routes::{Content, ROUTES, Route};
use super::shapes::Failure;

/// The API as an OpenAPI 3.1 document.
pub(super) fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut generator = settings.into_generator();
    let failure = generator.subschema_for::<Failure>();
    let failure = json!({ "application/json": { "schema": failure } });
    let mut paths = Map::new();
    for route in ROUTES {
        let content = match &route.content {
            Content::Json(schema) | Content::Status(schema) => {
                json!({ "application/json": { "schema": schema(&mut generator) } })
            }
            Content::Text => json!({ "text/plain": { "schema": { "type": "string" } } }),
            Content::Document => json!({ "application/json": { "schema": { "type": "object" } } }),
        };
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_ascii_lowercase()] = operation(route, &content, &failure);
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Anabranch",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The HTTP API of a live RTMP server. Shapes, names and units are those of SRS where SRS has them.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "security": [{}, { "token": [] }, { "user": [] }],
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "user": { "type": "http", "scheme": "basic" },
            },
        },
    })
}

fn operation(route: &Route, content: &Value, failure: &Value) -> Value {
    let mut responses = Map::new();
    responses.insert("200".to_owned(), json!({ "description": route.summary, "content": content }));
    for (status, about) in route.failures {
        let content = if matches!(route.content, Content::Text | Content::Status(_)) { content } else { failure };
        responses.insert(status.as_str().to_owned(), json!({ "description": about, "content": content }));
    }
    let mut always =
        vec![("403", "The Host header does not name this machine, or the request comes from a page of another origin")];
    if !route.open {
        always.push(("401", "The credentials are missing or wrong"));
    }
    for (status, about) in always {
        responses.insert(status.to_owned(), json!({ "description": about, "content": failure }));
    }
    let id = route.path.contains("{id}").then(|| {
        json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string" }, "description": "As in the list" })
    });
    let query = route.query.iter().map(|parameter| {
        let schema =
            if parameter.text { json!({ "type": "string" }) } else { json!({ "type": "integer", "minimum": 0 }) };
        json!({ "name": parameter.name, "in": "query", "schema": schema, "description": parameter.about })
    });
    let parameters: Vec<_> = id.into_iter().chain(query).collect();
    let mut operation = json!({ "summary": route.summary, "operationId": name(route), "responses": responses });
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if route.open {
        operation["security"] = json!([]);
    }
    operation
}

/// `GET /api/v1/streams/{id}` as `getStreamsId`.
fn name(route: &Route) -> String {
    let mut name = route.method.to_ascii_lowercase();
    for word in route.path.trim_start_matches("/api/v1").split(|c: char| !c.is_ascii_alphanumeric()) {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}
