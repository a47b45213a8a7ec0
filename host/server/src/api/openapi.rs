//! The OpenAPI document, made from the list of routes.

use axum::extract::Json;
use serde_json::{Map, Value, json};

use super::routes::{Body, ROUTES, Route};

/// The document of all routes.
pub fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(format!("{}{}", super::BASE, route.path)).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.to_ascii_lowercase(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sandbar",
            "version": "1",
            "description": "Looks after the plugins of a fleet of hosts, and what they work on. Every request needs a token: \
                            `sandbar token create NAME --role ROLE` makes one. A token is for one tenant, or for all; then the query says \
                            which one a request is about.",
        },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {
                        "error": { "type": "string", "description": "What happened." },
                        "help": { "type": "string", "description": "What to do next." },
                    },
                },
            },
        },
    })
}

pub(super) async fn answer() -> Json<Value> {
    Json(document())
}

fn operation(route: &Route) -> Value {
    let error = |what: &str| json!({ "description": what, "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } } });
    let answer =
        json!({ "description": "Done.", "content": { "application/json": { "schema": { "type": "object" } } } });
    let mut parameters: Vec<Value> =
        names(route.path).map(|name| parameter(name, "path", "string", "", true)).collect();
    parameters.extend(route.query.iter().map(|(name, kind, what)| parameter(name, "query", kind, what, false)));
    parameters.push(parameter(
        "tenant",
        "query",
        "string",
        "The tenant; needed where a token is for all of several",
        false,
    ));
    let mut operation = json!({
        "summary": route.summary,
        "description": format!("Needs the role `{}`.", route.role),
        "operationId": id(route),
        "parameters": parameters,
        "responses": {
            "200": answer,
            "400": error("The request is not understood."),
            "401": error("There is no token, or it is not valid."),
            "403": error("The token has too low a role, or is for another tenant."),
            "404": error("There is no such thing."),
            "409": error("It cannot be done as things are."),
            "413": error("The body is too large."),
            "422": error("A host would not load the version."),
            "503": error("The store does not answer, or there is too much to do."),
        },
    });
    if let (Some(body), Some(operation)) = (body(route.body), operation.as_object_mut()) {
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}

fn body(body: Body) -> Option<Value> {
    let (content, members, required) = match body {
        Body::None => return None,
        Body::Json(members) => ("application/json", members, false),
        Body::Form(members) => ("multipart/form-data", members, true),
    };
    let properties: Map<String, Value> =
        members.iter().map(|(name, kind, what)| ((*name).to_owned(), schema(kind, what))).collect();
    Some(
        json!({ "required": required, "content": { content: { "schema": { "type": "object", "properties": properties } } } }),
    )
}

fn parameter(name: &str, place: &str, kind: &str, what: &str, required: bool) -> Value {
    json!({ "name": name, "in": place, "required": required, "description": what, "schema": schema(kind, "") })
}

fn schema(kind: &str, what: &str) -> Value {
    let mut schema = match kind {
        "binary" => json!({ "type": "string", "format": "binary" }),
        "array" => json!({ "type": "array", "items": { "type": "string" } }),
        kind => json!({ "type": kind }),
    };
    if let (false, Some(schema)) = (what.is_empty(), schema.as_object_mut()) {
        schema.insert("description".to_owned(), what.into());
    }
    schema
}

/// The parameters of a path.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

/// A name for the operation: `get-plugins-name`.
fn id(route: &Route) -> String {
    let parts = route.path.split(['/', '.', '{', '}']).filter(|part| !part.is_empty());
    parts.fold(route.method.to_ascii_lowercase(), |id, part| format!("{id}-{part}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_in_the_document_once() {
        let document = document();
        let operations =
            || document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
        assert_eq!(operations().count(), ROUTES.len());
        let ids: BTreeSet<&str> = operations().map(|operation| operation["operationId"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), ROUTES.len());
        let deploy = &document["paths"]["/api/v1/plugins"]["post"];
        assert_eq!(deploy["description"], "Needs the role `deploy`.");
        assert!(
            deploy["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]["component"].is_object()
        );
        assert_eq!(document["paths"]["/api/v1/queues/{name}/pause"]["post"]["parameters"][0]["name"], "name");
    }
}
