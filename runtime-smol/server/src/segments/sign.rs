//! Signature version 4 of S3 (AWS Signature Version 4, in the field `Authorization`).

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// Who signs.
#[derive(Clone, Copy)]
pub(super) struct Credentials<'a> {
    pub(super) access_key: &'a str,
    pub(super) secret_key: &'a str,
    pub(super) region: &'a str,
}

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// The path, encoded as it is in the URL.
    pub(super) path: &'a str,
    /// Names in lower case, in order, with their values. `x-amz-date` and `x-amz-content-sha256` are among them.
    pub(super) fields: &'a [(&'a str, &'a str)],
    /// The hash of the body in hexadecimal digits.
    pub(super) hash: &'a str,
    /// `20261126T104310Z`.
    pub(super) time: &'a str,
}

/// The value of `Authorization`.
pub(super) fn authorization(credentials: &Credentials<'_>, request: &Request<'_>) -> String {
    let Request { method, path, fields, hash, time } = request;
    let day = time.get(..8).unwrap_or_default();
    let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let mut canonical = format!("{method}\n{path}\n\n");
    for (name, value) in *fields {
        let _ = writeln!(canonical, "{name}:{}", value.trim());
    }
    let _ = write!(canonical, "\n{names}\n{hash}");
    let scope = format!("{day}/{}/s3/aws4_request", credentials.region);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let mut key = mac(format!("AWS4{}", credentials.secret_key).as_bytes(), day);
    for part in [credentials.region, "s3", "aws4_request"] {
        key = mac(&key, part);
    }
    let signature = hex(&mac(&key, &text));
    let access_key = credentials.access_key;
    format!("AWS4-HMAC-SHA256 Credential={access_key}/{scope},SignedHeaders={names},Signature={signature}")
}

/// The hash of bytes, in hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    // HMAC takes a key of any length.
    Hmac::<Sha256>::new_from_slice(key).map_or_else(
        |_| Vec::new(),
        |mut mac| {
            mac.update(text.as_bytes());
            mac.finalize().into_bytes().to_vec()
        },
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of "Authenticating Requests: Using the Authorization Header" in the reference of S3.
    #[test]
    fn signatures_are_those_of_the_reference() {
        let credentials = Credentials {
            access_key: "AKIAIOSFODNN7EXAMPLE",
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            region: "us-east-1",
        };
        let (time, host) = ("20130524T000000Z", "examplebucket.s3.amazonaws.com");
        let hash = sha256(b"");
        let get = Request {
            method: "GET",
            path: "/test.txt",
            fields: &[("host", host), ("range", "bytes=0-9"), ("x-amz-content-sha256", &hash), ("x-amz-date", time)],
            hash: &hash,
            time,
        };
        assert_eq!(
            authorization(&credentials, &get),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let hash = sha256(b"Welcome to Amazon S3.");
        let put = Request {
            method: "PUT",
            path: "/test%24file.text",
            fields: &[
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                ("host", host),
                ("x-amz-content-sha256", &hash),
                ("x-amz-date", time),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            hash: &hash,
            time,
        };
        let signed = authorization(&credentials, &put);
        assert!(
            signed.ends_with("Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
            "{signed}"
        );
    }
}
