//! Data sources that need no cloud: `null` and `http` (`datasource/` of Packer).

use bakery_lang::{Map, Value};

/// What the data source `http` asks for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Where.
    pub url: String,
    /// How: `GET`, `HEAD`, `POST`, `PUT`, `DELETE`, `OPTIONS` or `PATCH`.
    pub method: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// What is sent.
    pub body: String,
}

/// What it gets.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The text.
    pub body: String,
}

/// Asks a server; an error is a sentence. An answer that is no success is an error.
pub type Fetch = fn(&Request) -> Result<Response, String>;

/// The value of a data source.
pub(super) fn read(kind: &str, config: &Map, fetch: Option<Fetch>) -> Result<Value, String> {
    if kind == "null" {
        return Ok(Value::map([("output", config.get("input").unwrap_or_default())]));
    }
    let text =
        |key: &str| config.get(key).filter(|v| !v.is_none()).map(|v| v.to_string()).unwrap_or_default();
    let request = Request {
        url: text("url"),
        method: Some(text("method")).filter(|method| !method.is_empty()).unwrap_or_else(|| "GET".into()),
        headers: config
            .get("request_headers")
            .and_then(|headers| headers.as_map().map(Map::pairs))
            .unwrap_or_default()
            .into_iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        body: text("request_body"),
    };
    if request.url.is_empty() {
        return Err("the data source `http` needs a `url`".into());
    }
    let fetch = fetch.ok_or("the data source `http` is not asked here")?;
    let response = fetch(&request)?;
    let headers = Map::new();
    for (name, value) in &response.headers {
        headers.set(name, value.as_str());
    }
    Ok(Value::map([
        ("url", Value::from(request.url.as_str())),
        ("request_body", request.body.as_str().into()),
        ("body", response.body.as_str().into()),
        ("response_headers", headers.into()),
    ]))
}
