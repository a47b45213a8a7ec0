//! The OpenAPI document: every route with its role, and answers that are what the document says.

use sandbar_core::token::Role;
use sandbar_server::api::routes;
use sandbar_tests::components;
use serde_json::Value;

use super::site::Site;

/// The role of each route. Written here, so that a route whose role changes by mistake is noticed.
const ROLES: [(&str, &str, Role); 21] = [
    ("GET", "/whoami", Role::Read),
    ("GET", "/openapi.json", Role::Read),
    ("GET", "/plugins", Role::Read),
    ("POST", "/plugins", Role::Deploy),
    ("GET", "/plugins/{name}", Role::Read),
    ("DELETE", "/plugins/{name}", Role::Deploy),
    ("POST", "/plugins/{name}/rollback", Role::Operate),
    ("POST", "/plugins/{name}/promote", Role::Deploy),
    ("DELETE", "/plugins/{name}/trial", Role::Operate),
    ("GET", "/nodes", Role::Read),
    ("GET", "/dead", Role::Read),
    ("GET", "/dead/{id}", Role::Read),
    ("POST", "/dead/retry", Role::Operate),
    ("POST", "/dead/drop", Role::Operate),
    ("GET", "/queues", Role::Read),
    ("GET", "/queues/{name}", Role::Read),
    ("POST", "/queues/{name}/pause", Role::Operate),
    ("POST", "/queues/{name}/resume", Role::Operate),
    ("GET", "/locks", Role::Read),
    ("POST", "/locks/{key}/break", Role::Operate),
    ("GET", "/schedules", Role::Read),
];

/// Follows a reference.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => {
            let schema = document.pointer(reference.trim_start_matches('#'));
            resolved(document, schema.unwrap_or_else(|| panic!("`{reference}` leads nowhere")))
        }
        None => schema,
    }
}

/// Why a value is not what a schema says. Members that the schema does not name are wrong.
fn mismatch(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = resolved(document, schema);
    if let Some(choices) = schema["oneOf"].as_array() {
        let wrong: Vec<String> =
            choices.iter().filter_map(|choice| mismatch(document, choice, value, at).err()).collect();
        let found = wrong.len() < choices.len();
        return if found { Ok(()) } else { Err(format!("{at}: none of the choices: {}", wrong.join("; "))) };
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let parts: Vec<&Value> = parts.iter().map(|part| resolved(document, part)).collect();
        let named = |name: &String| parts.iter().find_map(|part| part["properties"].get(name));
        for (name, value) in value.as_object().ok_or_else(|| format!("{at}: no object"))? {
            let schema = named(name).ok_or_else(|| format!("{at}.{name} is not in the document"))?;
            mismatch(document, schema, value, &format!("{at}.{name}"))?;
        }
        return Ok(());
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        Value::String(kind) => vec![kind.as_str()],
        _ => return Ok(()),
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !(kinds.contains(&kind) || kind == "integer" && kinds.contains(&"number")) {
        return Err(format!("{at}: {value} is not {kinds:?}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        mismatch(document, &schema["items"], item, &format!("{at}[{index}]"))?;
    }
    if let (Some(members), Some(properties)) = (value.as_object(), schema["properties"].as_object()) {
        for (name, value) in members {
            let schema = properties.get(name).ok_or_else(|| format!("{at}.{name} is not in the document"))?;
            mismatch(document, schema, value, &format!("{at}.{name}"))?;
        }
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        if let Some(missing) = required.into_iter().find(|name| !members.contains_key(*name)) {
            return Err(format!("{at}.{missing} is missing"));
        }
    }
    Ok(())
}

#[test]
fn each_route_has_its_role() {
    let mut found: Vec<_> = routes().into_iter().map(|route| (route.method, route.path, route.role)).collect();
    let mut wanted = ROLES.map(|(method, path, role)| (method.to_owned(), path.to_owned(), role)).to_vec();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_and_every_answer_is_described() {
    let site = Site::start().await;
    let document = site.get("/openapi.json", &site.key("acme", Role::Read).await).await.json();
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.values().map(|path| path.as_object().unwrap().len()).sum::<usize>(), ROLES.len());
    for (method, path, role) in ROLES {
        let operation = &paths[&format!("/api/v1{path}")][method.to_ascii_lowercase()];
        assert_eq!(operation["description"], format!("Needs the role `{role}`."), "{method} {path}");
        assert!(operation["summary"].as_str().is_some_and(|summary| summary.len() > 10), "{method} {path}");
        for status in ["200", "400", "401", "403", "404", "409", "413", "422", "503"] {
            let schema = &operation["responses"][status]["content"]["application/json"]["schema"];
            let is_described = schema["$ref"].is_string() || path == "/openapi.json";
            assert!(is_described, "{method} {path}: {status} is not described: {operation}");
            resolved(&document, schema);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_what_the_document_says() {
    let site = Site::start().await;
    let key = site.key("*", Role::Deploy).await;
    let own = site.key("acme", Role::Read).await;
    let document = site.get("/openapi.json", &own).await.json();
    let manifest = "name = \"guest\"\n[[trigger]]\ntype = \"schedule\"\nname = \"often\"\nevery = \"50ms\"\n\
                    [[trigger]]\ntype = \"stream\"\nstream = \"events\"\nstart = \"0\"\nmax-attempts = 1\n\
                    [grants]\nread = [\"*\"]\nwrite = [\"*\"]\n";
    let component = std::fs::read(components::TICK_AND_HANDLE).unwrap();
    for query in ["?tenant=acme", "?tenant=acme&shadow=true"] {
        let deployed = site.deploy(query, &key, manifest, &component).await;
        assert_eq!(deployed.status, 200, "{deployed:?}");
        let schema = &document["paths"]["/api/v1/plugins"]["post"]["responses"]["200"]["content"];
        mismatch(&document, &schema["application/json"]["schema"], &deployed.json(), "deploy").unwrap();
    }
    site.post("/queues/jobs/pause?tenant=acme", &key, "").await;
    let asked = [
        ("/whoami", "/whoami"),
        ("/plugins", "/plugins"),
        ("/plugins/{name}", "/plugins/guest"),
        ("/nodes", "/nodes"),
        ("/dead", "/dead?stream=events"),
        ("/queues", "/queues"),
        ("/queues/{name}", "/queues/jobs"),
        ("/locks", "/locks?match=*"),
        ("/schedules", "/schedules"),
    ];
    for (path, request) in asked {
        for key in [&key, &own] {
            let tenant = if request.contains('?') { "&tenant=acme" } else { "?tenant=acme" };
            let answer = site.get(&format!("{request}{tenant}"), key).await;
            assert_eq!(answer.status, 200, "{request}: {answer:?}");
            let response = &document["paths"][&format!("/api/v1{path}")]["get"]["responses"]["200"];
            let schema = &response["content"]["application/json"]["schema"];
            mismatch(&document, schema, &answer.json(), request).unwrap();
        }
    }
    let refused = site.get("/dead?tenant=acme", &own).await;
    let schema = &document["components"]["schemas"]["ApiError"];
    mismatch(&document, schema, &refused.json(), "error").unwrap();
}
