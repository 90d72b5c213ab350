use std::fmt;

/// The one parameter of a stream's URL that names no secret.
const SHOWN: &str = "vhost";

/// A URL for the log: without a password, and with the names of its parameters but not their values, except that of
/// `vhost`. The operator chooses what a parameter is for, so each may be a secret.
#[derive(Debug, Clone, Copy)]
pub struct Masked<'a>(pub &'a str);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (base, query) = self.0.split_once('?').map_or((self.0, None), |(base, query)| (base, Some(query)));
        match base.split_once("://") {
            Some((scheme, rest)) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(_, host)| ("***@", host));
                write!(f, "{}://{user}{}{}", scheme.escape_debug(), host.escape_debug(), path.escape_debug())?;
            }
            None => write!(f, "{}", base.escape_debug())?,
        }
        for (index, parameter) in query.into_iter().flat_map(|query| query.split(['&', ',', '?'])).enumerate() {
            f.write_str(if index == 0 { "?" } else { "&" })?;
            match parameter.split_once('=') {
                Some((SHOWN, value)) => write!(f, "{SHOWN}={}", value.escape_debug())?,
                Some((name, _)) => write!(f, "{}=***", name.escape_debug())?,
                // A name alone may be the secret itself.
                None => f.write_str("***")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_masked_and_names_stay() {
        for (url, shown) in [
            ("rtmp://h:1935/live/cam", "rtmp://h:1935/live/cam"),
            ("rtmp://h/live/cam?token=s3cret&vhost=a.com&x=", "rtmp://h/live/cam?token=***&vhost=a.com&x=***"),
            ("rtmp://h/live?vhost=a/cam?key=s3cret", "rtmp://h/live?vhost=a/cam&key=***"),
            ("live/cam?s3cret", "live/cam?***"),
            ("https://me:s3cret@h/hook?a=s3cret,b=s3cret", "https://***@h/hook?a=***&b=***"),
            ("rtmp://h/a\nb", "rtmp://h/a\\nb"),
            ("", ""),
        ] {
            assert_eq!(Masked(url).to_string(), shown);
            assert!(!Masked(url).to_string().contains("s3cret"));
        }
    }
}
