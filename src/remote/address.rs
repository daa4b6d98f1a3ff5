//! Addresses in object storage, and the settings of their services.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// A service for objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Amazon S3, and services that speak its protocol.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
}

impl Service {
    const ALL: [Self; 3] = [Self::S3, Self::Google, Self::Azure];

    /// How an address begins.
    fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }

    /// How the names of its environment variables begin.
    fn variables(self) -> &'static str {
        match self {
            Self::S3 => "AWS_",
            Self::Google => "GOOGLE_",
            Self::Azure => "AZURE_",
        }
    }
}

/// A place for the files of one run: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The service.
    pub service: Service,
    /// Bucket or container.
    pub bucket: String,
    /// What the names of all its objects begin with, without a slash at either end. Not empty.
    pub prefix: String,
}

/// What is wrong with an address. The address itself is not told: it may hold a key.
const EXPECTED: &str = "is not an address in object storage: expected `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or \
                        `az://CONTAINER/PREFIX`, without user, key or query";

impl Address {
    /// Reads an address. None for a path on this disk; the error continues the name of the flag.
    pub fn parse(path: &Path) -> Option<Result<Self, String>> {
        let text = path.to_str()?;
        let (service, rest) = Service::ALL.into_iter().find_map(|service| {
            let rest = text.strip_prefix(service.scheme())?.strip_prefix("://")?;
            Some((service, rest))
        })?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        let is_plain = |part: &str| {
            !["", ".", ".."].contains(&part)
                && !part.contains(|c: char| c.is_control() || "?#@\\".contains(c))
        };
        let is_of_bucket = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let is_bucket = !bucket.is_empty() && bucket.chars().all(is_of_bucket);
        Some(match is_bucket && prefix.split('/').all(is_plain) {
            true => Ok(Self { service, bucket: bucket.into(), prefix: prefix.into() }),
            false => Err(EXPECTED.into()),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/{}", self.service.scheme(), self.bucket, self.prefix)
    }
}

/// Settings and credentials of services, by the names of their environment variables: `AWS_ACCESS_KEY_ID`,
/// `AWS_ENDPOINT_URL`, `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_ACCOUNT_NAME` and so on.
#[derive(Clone, Default)]
pub struct Settings(BTreeMap<String, String>);

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be keys.
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Shortest value that is hidden in messages.
const SHORTEST_HIDDEN: usize = 8;

impl Settings {
    /// Takes what belongs to a service. Empty values count as not set.
    pub fn new(variables: impl Iterator<Item = (String, String)>) -> Self {
        let is_wanted = |name: &str| Service::ALL.iter().any(|service| name.starts_with(service.variables()));
        Self(variables.filter(|(name, value)| is_wanted(name) && !value.is_empty()).collect())
    }

    /// Names in lower case with their values.
    #[cfg_attr(not(feature = "object-storage"), allow(dead_code, reason = "nothing is connected"))]
    pub(super) fn of(&self, service: Service) -> impl Iterator<Item = (String, &str)> {
        let own = move |name: &&String| name.starts_with(service.variables());
        let named = self.0.iter().filter(move |(name, _)| own(name));
        named.map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
    }

    /// The addresses of servers among them.
    fn endpoints(&self) -> impl Iterator<Item = &str> {
        let is_endpoint = |name: &str| name.contains("ENDPOINT") || name.ends_with("_URL");
        self.0.iter().filter(move |(name, _)| is_endpoint(name)).map(|(_, value)| value.as_str())
    }

    /// Whether a server is named that speaks unencrypted HTTP. No other is talked to without encryption.
    #[cfg_attr(not(feature = "object-storage"), allow(dead_code, reason = "nothing is connected"))]
    pub(super) fn has_http_endpoint(&self) -> bool {
        self.endpoints().any(|endpoint| endpoint.starts_with("http://"))
    }

    /// What tells the servers apart that these settings lead to: two of them may have buckets of one name.
    pub(super) fn servers(&self) -> String {
        self.endpoints().collect::<Vec<_>>().join(" ")
    }

    /// The text without any of the values, and without the queries of addresses, which may be signed.
    #[cfg_attr(not(feature = "object-storage"), allow(dead_code, reason = "nothing is connected"))]
    pub(super) fn hidden_in(&self, text: &str) -> String {
        let public: Vec<&str> = self.endpoints().collect();
        let values = self.0.iter().filter(|(name, value)| {
            value.len() >= SHORTEST_HIDDEN && !name.contains("REGION") && !public.contains(&value.as_str())
        });
        let text = values.fold(text.to_string(), |text, (_, value)| text.replace(value, "***"));
        let mut shown = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find("://") {
            let end = rest[at..].find(|c: char| c.is_whitespace() || "\"')".contains(c));
            let end = end.map_or(rest.len(), |end| at + end);
            let query = rest[at..end].find('?').map_or(end, |query| at + query);
            shown.push_str(&rest[..query]);
            rest = &rest[end..];
        }
        shown + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Result<Address, String>> {
        Address::parse(Path::new(text))
    }

    #[test]
    fn addresses_are_told_from_paths() {
        for path in ["results/smoke", "/s3/x", "s3:/x", "s3", "ftp://a/b", "S3://a/b"] {
            assert!(parse(path).is_none(), "{path}");
        }
        for text in ["s3://runs/a", "gs://my-runs.org/a/b c", "az://runs/ä/b-1"] {
            assert_eq!(parse(&format!("{text}/")).expect("an address").expect("sound").to_string(), text);
        }
        for wrong in
            ["s3://", "s3://runs", "s3://runs/", "s3:///a", "s3://a b/c", "s3://k:v@runs/a", "s3://r/a//b"]
        {
            assert!(parse(wrong).expect("an address").is_err(), "{wrong}");
        }
        let keyed = parse("az://runs/a?sig=SECRET").expect("an address").expect_err("a query");
        assert!(!keyed.contains("SECRET"), "{keyed}");
    }

    #[test]
    fn no_value_is_told() {
        let variables = [
            ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI"),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:9000"),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_PROFILE", ""),
            ("PATH", "/usr/bin:/bin"),
        ];
        let settings = Settings::new(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        assert_eq!(settings.of(Service::S3).count(), 3);
        assert!(settings.has_http_endpoint() && settings.of(Service::Azure).next().is_none());
        assert!(!format!("{settings:?}").contains("wJal"));
        let text =
            "GET http://127.0.0.1:9000/runs?sig=abc failed (https://x/y?k=v): wJalrXUtnFEMI in eu-central-1";
        let shown = "GET http://127.0.0.1:9000/runs failed (https://x/y): *** in eu-central-1";
        assert_eq!(settings.hidden_in(text), shown);
    }
}
