use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::settings::values::Secret;

/// A store that speaks the protocol of S3, in which the segments of HLS are put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct S3Settings {
    /// The URL of the service, such as "https://s3.eu-central-1.amazonaws.com" or "http://127.0.0.1:9000"; "" for none.
    pub(crate) endpoint: String,
    /// The bucket; "" if the endpoint's host already names it.
    pub(crate) bucket: String,
    /// The region, for the signature.
    pub(crate) region: String,
    /// The name of the key that signs.
    pub(crate) access_key: Secret,
    /// The key that signs.
    pub(crate) secret_key: Secret,
    /// What the names of objects begin with.
    pub(crate) prefix: String,
    /// Delete segments when players no longer need them. Without it they stay, for a rule of the bucket to remove.
    pub(crate) delete: bool,
}

impl Default for S3Settings {
    fn default() -> Self {
        S3Settings {
            endpoint: String::new(),
            bucket: String::new(),
            region: "us-east-1".to_owned(),
            access_key: Secret::default(),
            secret_key: Secret::default(),
            prefix: String::new(),
            delete: false,
        }
    }
}

impl S3Settings {
    /// True if there is such a store.
    pub(crate) fn is_on(&self) -> bool {
        !self.endpoint.is_empty()
    }

    /// Scheme with authority, authority, and path.
    ///
    /// # Errors
    /// The endpoint is no URL of HTTP, or has more than that in it.
    pub(super) fn endpoint(&self) -> Result<(String, String, String), String> {
        let wrong = || format!("{:?} is not a URL such as \"https://s3.example.com\"", self.shown());
        let uri: ureq::http::Uri = self.endpoint.parse().map_err(|_| wrong())?;
        let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https")).ok_or_else(wrong)?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        if uri.query().is_some() || self.region.is_empty() {
            return Err(if self.region.is_empty() { "the store needs its region".to_owned() } else { wrong() });
        }
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok((format!("{scheme}://{authority}"), authority.to_string(), path))
    }

    /// The endpoint without what may be secret in it.
    fn shown(&self) -> &str {
        let end = self.endpoint.find(['@', '?']).map_or(self.endpoint.len(), |_| 0);
        self.endpoint.get(..end).unwrap_or_default()
    }

    /// # Errors
    /// The store cannot be used with these settings.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !self.is_on() {
            return Ok(());
        }
        self.endpoint()?;
        if self.access_key.0.is_empty() || self.secret_key.0.is_empty() {
            return Err("the store needs access_key and secret_key".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_without_secrets() {
        let of = |endpoint: &str| {
            S3Settings { endpoint: endpoint.to_owned(), region: "r".to_owned(), ..Default::default() }.endpoint()
        };
        let text = str::to_owned;
        assert_eq!(
            of("http://127.0.0.1:9000").unwrap(),
            (text("http://127.0.0.1:9000"), text("127.0.0.1:9000"), text(""))
        );
        assert_eq!(of("https://s3.example/x/").unwrap(), (text("https://s3.example"), text("s3.example"), text("/x")));
        for wrong in ["", "s3.example", "ftp://s3.example", "https://s3.example/?a=b", "https://user:secret@s3.example"]
        {
            let error = of(wrong).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
