//! GitHub's published description of its API, and what it allows.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Answer, Request};

/// Those that everything may answer with, without being described for each operation.
const ANYWHERE: [u16; 5] = [401, 403, 422, 429, 502];

/// An operation of the description, with the parts of the path that stand for something.
pub(super) struct Operation {
    pub(super) id: String,
    described: Value,
    pub(super) at: BTreeMap<String, String>,
}

fn document() -> Value {
    serde_json::from_str(include_str!("openapi.json")).unwrap()
}

/// The operation that a request is of, if the description allows it.
pub(super) fn allowed(at: usize, request: &Request) -> Result<Operation, String> {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let found = paths.iter().find_map(|(template, methods)| {
        let described = methods.get(request.method.to_lowercase())?;
        Some((described.clone(), matched(template, &request.path)?))
    });
    let (described, parts) = found.ok_or("no such operation")?;
    let id = described["operationId"].as_str().unwrap().to_owned();
    let uploads = described.get("servers").is_some();
    if uploads != (at == 1) {
        return Err("that is asked of another host".to_owned());
    }
    let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
    if header("user-agent").is_empty() || header("x-github-api-version").is_empty() || header("accept").is_empty() {
        return Err("User-Agent, Accept and X-GitHub-Api-Version belong to each request".to_owned());
    }
    let parameters = described["parameters"].as_array().unwrap();
    let named: Vec<_> = parameters.iter().filter(|p| p["in"] == "query").collect();
    if let Some(key) = request
        .query
        .keys()
        .find(|key| !named.iter().any(|p| p["name"] == key.as_str()))
    {
        return Err(format!("there is no parameter {key}"));
    }
    if let Some(lost) = named
        .iter()
        .find(|p| p["required"] == true && !request.query.contains_key(p["name"].as_str().unwrap()))
    {
        return Err(format!("the parameter {} is missing", lost["name"]));
    }
    let body = &described["requestBody"];
    if body.is_null() != request.body.is_empty() {
        return Err("a body where none belongs, or none where one does".to_owned());
    }
    if !body.is_null() {
        let kind = header("content-type");
        let content = body["content"]
            .get(&kind)
            .ok_or(format!("the body can't be {kind:?}"))?;
        if kind == "application/json" {
            let asked: Value = serde_json::from_slice(&request.body).map_err(|error| error.to_string())?;
            fits(&content["schema"], &asked)?;
            let known = &content["schema"]["properties"];
            if let Some(key) = asked.as_object().unwrap().keys().find(|key| known.get(key).is_none()) {
                return Err(format!("there is no field {key}"));
            }
        }
    }
    Ok(Operation {
        id,
        described,
        at: parts,
    })
}

impl Operation {
    pub(super) fn holds(&self, answer: &Answer) -> Result<(), String> {
        let responses = &self.described["responses"];
        let Some(described) = responses.get(answer.status.to_string()) else {
            return if ANYWHERE.contains(&answer.status) {
                Ok(())
            } else {
                Err(format!("status {}", answer.status))
            };
        };
        let schema = &described["content"]["application/json"]["schema"];
        if schema.is_null() {
            return Ok(());
        }
        fits(
            schema,
            &serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?,
        )
    }
}

fn fits(schema: &Value, value: &Value) -> Result<(), String> {
    let whole = json!({"allOf": [schema], "components": document()["components"]});
    let validator = jsonschema::validator_for(&whole).unwrap();
    let why: Vec<_> = validator
        .iter_errors(value)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    if why.is_empty() { Ok(()) } else { Err(why.join("\n")) }
}

/// The parts of a path that a template names; `{ref}` is all of the rest.
fn matched(template: &str, path: &str) -> Option<BTreeMap<String, String>> {
    let (mut parts, mut rest) = (BTreeMap::new(), path.strip_prefix('/')?);
    let mut left = template.strip_prefix('/')?.split('/').peekable();
    while let Some(word) = left.next() {
        let (head, tail) = match left.peek() {
            Some(_) => rest.split_once('/')?,
            None => (rest, ""),
        };
        match word.strip_prefix('{').and_then(|word| word.strip_suffix('}')) {
            Some(name) if name == "ref" || !head.contains('/') => drop(parts.insert(name.to_owned(), head.to_owned())),
            Some(_) => return None,
            None if word == head => {}
            None => return None,
        }
        rest = tail;
    }
    // A number is never a word: `assets` is no release.
    let number = |name: &str| parts.get(name).is_none_or(|text| text.parse::<u64>().is_ok());
    (number("release_id") && number("asset_id")).then_some(parts)
}
