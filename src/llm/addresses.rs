//! Addresses of the endpoints that serve one model.

use std::net::IpAddr;

use reqwest::Url;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Most endpoints of one model.
const MOST: usize = 64;

/// Smallest and largest weight of an endpoint.
const WEIGHTS: [f64; 2] = [1e-3, 1e3];

/// One address, or several that serve the same model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct BaseUrls(Vec<BaseUrl>);

/// One entry of a list of addresses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum BaseUrl {
    /// An address of weight 1.
    Plain(String),
    /// An address with its weight.
    Weighted {
        /// The address.
        url: String,
        /// Its share of the requests, relative to the others.
        #[serde(default = "one")]
        weight: f64,
    },
}

fn one() -> f64 {
    1.0
}

/// The form in a suite. A single address stays a text, so that it is the same setting in a list and alone.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Alone(String),
    Listed(Vec<BaseUrl>),
}

impl From<Written> for BaseUrls {
    fn from(written: Written) -> Self {
        match written {
            Written::Alone(url) => Self(vec![BaseUrl::Plain(url)]),
            Written::Listed(all) => Self(all),
        }
    }
}

impl From<BaseUrls> for Written {
    fn from(BaseUrls(all): BaseUrls) -> Self {
        match all.as_slice() {
            [BaseUrl::Plain(url)] => Self::Alone(url.clone()),
            _ => Self::Listed(all),
        }
    }
}

impl From<&str> for BaseUrls {
    fn from(url: &str) -> Self {
        Self(vec![BaseUrl::Plain(url.into())])
    }
}

impl From<String> for BaseUrls {
    fn from(url: String) -> Self {
        Self(vec![BaseUrl::Plain(url)])
    }
}

impl FromIterator<BaseUrl> for BaseUrls {
    fn from_iter<I: IntoIterator<Item = BaseUrl>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

/// A checked address with its weight.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Address {
    pub url: Url,
    pub weight: f64,
}

impl BaseUrls {
    /// Number of addresses.
    pub fn n(&self) -> usize {
        self.0.len()
    }

    /// The addresses in their order.
    ///
    /// # Errors
    /// The problems, each with the place behind `base_url`: empty, `.1` or `.1.weight`. None repeats an address,
    /// since it may hold a key.
    pub(super) fn read(&self) -> Result<Vec<Address>, Vec<(String, String)>> {
        let (mut found, mut problems) = (Vec::<Address>::new(), Vec::new());
        if self.0.is_empty() {
            problems.push((String::new(), "is an empty list: expected at least one address".into()));
        }
        for (nth, entry) in self.0.iter().enumerate() {
            let (text, weight, place) = match entry {
                BaseUrl::Plain(text) if self.n() == 1 => (text, 1.0, String::new()),
                BaseUrl::Plain(text) => (text, 1.0, format!(".{nth}")),
                BaseUrl::Weighted { url, weight } => (url, *weight, format!(".{nth}.url")),
            };
            let [low, high] = WEIGHTS;
            if !(low..=high).contains(&weight) {
                let why = format!("is {weight}: expected a number from {low} to {high}");
                problems.push((format!(".{nth}.weight"), why));
            }
            match parse_base_url(text) {
                Err(why) => problems.push((place, why.into())),
                Ok(url) if found.iter().any(|other| shown(&other.url) == shown(&url)) => {
                    problems.push((place, "is an address that the list has before: give it once".into()));
                }
                Ok(url) => found.push(Address { url, weight }),
            }
        }
        if problems.is_empty() { Ok(found) } else { Err(problems) }
    }

    /// The schema of the field: one address, or a list.
    pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
        let [low, high] = WEIGHTS;
        json_schema!({
            "type": ["string", "array", "null"], "minItems": 1, "maxItems": MOST,
            "items": {
                "type": ["string", "object"],
                "properties": {
                    "url": {"type": "string", "description": "Address of an endpoint."},
                    "weight": {
                        "type": "number", "minimum": low, "maximum": high,
                        "description": "Its share of the requests, relative to the others.",
                    },
                },
                "required": ["url"],
                "additionalProperties": false,
            },
        })
    }
}

/// Parses a base URL. It must not contain a key, because base URLs are shown.
fn parse_base_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text.trim()).map_err(|_| "is not a URL: expected `https://host/path`")?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err("is not a web address: expected `https://host/path`");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a name or a key before the host: name the key's variable in `api_key_env`");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a part after `?` or `#`: parameters belong under `query`");
    }
    Ok(url)
}

/// A base URL as text, without a trailing slash.
pub(super) fn shown(base_url: &Url) -> String {
    base_url.as_str().trim_end_matches('/').to_string()
}

/// Addresses as text, in an order of their own: sorted, separated by commas.
pub(super) fn all_shown(addresses: &[Address]) -> String {
    let mut all: Vec<String> = addresses.iter().map(|address| shown(&address.url)).collect();
    all.sort_unstable();
    all.join(",")
}

/// Whether an address is on this machine, so that it needs no network and no key.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    if host == "localhost" {
        return true;
    }
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => false,
    }
}
