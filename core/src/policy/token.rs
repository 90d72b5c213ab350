use std::fmt::{self, Write as _};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use thiserror::Error;

use super::{Action, Refusal};
use crate::url::{DEFAULT_VHOST, StreamKey};

/// Fewest bytes of a [`Secret`]: an attacker that has one signed URL can try any number of secrets against it offline.
pub const MIN_SECRET_LEN: usize = 16;

const SIGNATURE_LEN: usize = 32;

/// Signed URLs: the owner of a secret can hand out URLs that publish or play one stream until a given time. No other
/// URLs work.
///
/// # Format
/// The query of the stream carries `expires=<Unix time in seconds>&token=<signature>`. The signature is 64 lower-case
/// hex digits of HMAC-SHA256 (RFC 2104, FIPS 180-4), keyed with the secret, over
///
/// ```text
/// <action>:<app>/<stream>:<expires>            on a server without virtual hosts
/// <action>@<vhost>/<app>/<stream>:<expires>    in a virtual host
/// ```
///
/// where the action is `publish` or `play`, app and stream are the names without their query, byte for byte as
/// [`StreamKey`](crate::url::StreamKey) has them, and `expires` is exactly the text in the query. `vhost` is the
/// virtual host's own name in lower case, not an alias: a URL signed for one virtual host does not work in another one,
/// even with the same secret. For the virtual host called [`DEFAULT_VHOST`] the first form is signed.
///
/// # Worked example
/// To let a client publish `cam` in the app `live` until 2026-01-01 00:00:00 UTC with the secret
/// `a long random secret of your own`, sign `publish:live/cam:1767225600`:
///
/// ```
/// use anabranch_core::policy::{Action, Secret, Token, TokenScope, sign};
/// use anabranch_core::url::{DEFAULT_VHOST, StreamKey};
///
/// let secret = Secret::new("a long random secret of your own")?;
/// let key = StreamKey::new(DEFAULT_VHOST, "live", "cam")?;
/// let token = sign(&secret, Action::Publish, &key, 1767225600);
/// assert_eq!(token, "625b2dc01d5a72e897db8c14c5ff2e1b3cd0411bf3252f2d07961ecba85c32d0");
///
/// let policy = Token { secrets: vec![secret], required_for: TokenScope::Publish };
/// let now = 1767225599;
/// assert!(policy.check(Action::Publish, &key, Some(&token), Some("1767225600"), now).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The URL to publish to is
/// `rtmp://host/live/cam?expires=1767225600&token=625b2dc01d5a72e897db8c14c5ff2e1b3cd0411bf3252f2d07961ecba85c32d0`.
///
/// The same in a shell, for an hour from now, with the secret in `$SECRET`:
///
/// ```sh
/// e=$(($(date +%s)+3600)); echo "expires=$e&token=$(printf %s "publish:live/cam:$e" | openssl dgst -sha256 -hmac "$SECRET" -r | cut -d' ' -f1)"
/// ```
///
/// For the virtual host `cdn.example.com`, sign `publish@cdn.example.com/live/cam:$e`.
///
/// # Rotation
/// A signature made with any of the secrets is valid. Add the new secret, sign with it, and remove the old one when the
/// last URL that it signed has expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The secrets that sign. Without any, every request that requires a token is refused.
    pub secrets: Vec<Secret>,
    /// The actions that require a token; for others a token in the URL is ignored.
    pub required_for: TokenScope,
}

impl Token {
    /// Checks whether `token` and `expires`, as the query has them, permit this at `unix_now`, the Unix time in
    /// seconds.
    ///
    /// A client learns that a URL has expired only if its signature is right.
    ///
    /// # Errors
    /// [`Refusal::TokenMissing`], [`Refusal::TokenMalformed`], [`Refusal::TokenInvalid`] and, from the second `expires`
    /// on, [`Refusal::TokenExpired`].
    pub fn check(
        &self,
        action: Action,
        key: &StreamKey,
        token: Option<&str>,
        expires: Option<&str>,
        unix_now: u64,
    ) -> Result<(), Refusal> {
        if !self.required_for.covers(action) {
            return Ok(());
        }
        let (Some(token), Some(expires)) = (token, expires) else {
            return Err(Refusal::TokenMissing { action });
        };
        let signature = decode(token).ok_or(Refusal::TokenMalformed)?;
        let expires_at = seconds(expires).ok_or(Refusal::TokenMalformed)?;
        // `verify_slice` compares in constant time.
        let fits = |secret| mac(secret, action, key, expires).verify_slice(&signature).is_ok();
        if !self.secrets.iter().any(fits) {
            Err(Refusal::TokenInvalid)
        } else if unix_now >= expires_at {
            Err(Refusal::TokenExpired)
        } else {
            Ok(())
        }
    }
}

/// Which actions require a [`Token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenScope {
    /// Publishing; all clients may play.
    Publish,
    /// Playing; all clients may publish.
    Play,
    /// Publishing and playing.
    Both,
}

impl TokenScope {
    fn covers(self, action: Action) -> bool {
        match self {
            TokenScope::Publish => action == Action::Publish,
            TokenScope::Play => action == Action::Play,
            TokenScope::Both => true,
        }
    }
}

/// The secret that signs a [`Token`]. `Debug` and errors do not show its bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

/// A text that cannot be a [`Secret`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Shorter than [`MIN_SECRET_LEN`].
    #[error("a secret of {length} bytes is too easy to guess, it needs {MIN_SECRET_LEN}")]
    TooShort {
        /// Its length in bytes.
        length: usize,
    },
}

impl Secret {
    /// Takes the bytes as they are: the caller removes the line end of a secret that it reads from a file.
    ///
    /// # Errors
    /// [`SecretError::TooShort`].
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, SecretError> {
        let bytes = bytes.as_ref();
        if bytes.len() < MIN_SECRET_LEN {
            return Err(SecretError::TooShort { length: bytes.len() });
        }
        Ok(Secret(bytes.into()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Makes the `token` of a URL that permits this action until `expires`, a Unix time in seconds; see [`Token`] for the
/// format.
pub fn sign(secret: &Secret, action: Action, key: &StreamKey, expires: u64) -> String {
    let signature = mac(secret, action, key, &expires.to_string()).finalize().into_bytes();
    let mut hex = String::with_capacity(2 * SIGNATURE_LEN);
    for byte in signature {
        // Writing to a String does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Different requests give different texts: an action has no `:` or `@`, a virtual host and a stream have no `/`, and
/// `expires` has only digits.
fn mac(secret: &Secret, action: Action, key: &StreamKey, expires: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).expect("HMAC takes a key of any length");
    let name =
        if key.vhost() == DEFAULT_VHOST { [":", key.app(), "/", key.stream()] } else { ["@", key.as_str(), "", ""] };
    for part in [action.as_str()].into_iter().chain(name).chain([":", expires]) {
        mac.update(part.as_bytes());
    }
    mac
}

fn seconds(text: &str) -> Option<u64> {
    // The parser of numbers would accept a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn decode(hex: &str) -> Option<[u8; SIGNATURE_LEN]> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let pairs: &[[u8; 2]; SIGNATURE_LEN] = pairs.try_into().ok().filter(|_| rest.is_empty())?;
    let mut signature = [0; SIGNATURE_LEN];
    for (byte, [high, low]) in signature.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(signature)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_767_225_599;
    const EXPIRES: &str = "1767225600";

    fn secret(text: &str) -> Secret {
        Secret::new(text).unwrap()
    }

    fn policy(required_for: TokenScope) -> Token {
        Token {
            secrets: vec![secret("the new secret of this test"), secret("the old secret of this test")],
            required_for,
        }
    }

    fn key(app: &str, stream: &str) -> StreamKey {
        StreamKey::new(DEFAULT_VHOST, app, stream).unwrap()
    }

    fn code(result: Result<(), Refusal>) -> &'static str {
        result.map_or_else(|refusal| refusal.code(), |()| "ok")
    }

    #[test]
    fn the_signature_equals_the_one_of_openssl() {
        let secret = secret("a long random secret of your own");
        assert_eq!(
            sign(&secret, Action::Play, &key("live/room", "cam"), 1_767_225_600),
            "0f5e89d55c1b5fcfa475186e4e528c3f81366ee6f7e5b842870d3f8143c87201"
        );
        assert_eq!(
            sign(&secret, Action::Publish, &StreamKey::new("cdn.example.com", "live", "cam").unwrap(), 1_767_225_600),
            "9652b48cce0663969f00de6a625b53f239623d3a4b29435d0d60bd68b35409b8"
        );
    }

    #[test]
    fn every_secret_counts_until_it_is_taken_away() {
        let mut policy = policy(TokenScope::Both);
        let old = policy.secrets[1].clone();
        let token = sign(&old, Action::Play, &key("live", "cam"), NOW + 1);
        let check =
            |policy: &Token| code(policy.check(Action::Play, &key("live", "cam"), Some(&token), Some(EXPIRES), NOW));
        assert_eq!(check(&policy), "ok");
        policy.secrets.pop();
        assert_eq!(check(&policy), "token_invalid");
        policy.secrets.clear();
        assert_eq!(check(&policy), "token_invalid");
    }

    #[test]
    fn requests_in_the_wrong_form_or_too_late_are_refused() {
        let policy = policy(TokenScope::Both);
        let token = sign(&policy.secrets[0], Action::Publish, &key("live", "cam"), NOW + 1);
        let token = token.as_str();
        let upper = token.to_uppercase();
        let zero = format!("0{EXPIRES}");
        let plus = format!("+{EXPIRES}");
        let other = sign(&policy.secrets[0], Action::Publish, &key("live", "cam2"), NOW + 1);
        for (token, expires, now, expected) in [
            (Some(token), Some(EXPIRES), NOW, "ok"),
            (Some(token), Some(EXPIRES), 0, "ok"),
            (Some(token), Some(EXPIRES), NOW + 1, "token_expired"),
            (Some(token), Some(EXPIRES), u64::MAX, "token_expired"),
            (None, Some(EXPIRES), NOW, "token_missing"),
            (Some(token), None, NOW, "token_missing"),
            (None, None, NOW, "token_missing"),
            (Some(""), Some(EXPIRES), NOW, "token_malformed"),
            (Some(&token[..62]), Some(EXPIRES), NOW, "token_malformed"),
            (Some(&token[..63]), Some(EXPIRES), NOW, "token_malformed"),
            (Some(&upper), Some(EXPIRES), NOW, "token_malformed"),
            (Some(token), Some(""), NOW, "token_malformed"),
            (Some(token), Some(&plus), NOW, "token_malformed"),
            (Some(token), Some("1767225600 "), NOW, "token_malformed"),
            (Some(token), Some("18446744073709551616"), NOW, "token_malformed"),
            (Some(token), Some(&zero), NOW, "token_invalid"),
            (Some(token), Some("1767225601"), NOW, "token_invalid"),
            (Some(&other), Some(EXPIRES), NOW, "token_invalid"),
            (Some(&other), Some(EXPIRES), NOW + 1, "token_invalid"),
        ] {
            let result = policy.check(Action::Publish, &key("live", "cam"), token, expires, now);
            assert_eq!(code(result), expected, "{token:?}, {expires:?}, {now}");
        }
    }

    #[test]
    fn only_what_requires_a_token_is_checked() {
        for (scope, publish, play) in [
            (TokenScope::Publish, "token_missing", "ok"),
            (TokenScope::Play, "ok", "token_missing"),
            (TokenScope::Both, "token_missing", "token_missing"),
        ] {
            let check = |action| code(policy(scope).check(action, &key("live", "cam"), None, None, NOW));
            assert_eq!((check(Action::Publish), check(Action::Play)), (publish, play), "{scope:?}");
        }
    }

    #[test]
    fn secrets_are_long_and_never_shown() {
        assert_eq!(Secret::new("123456789012345"), Err(SecretError::TooShort { length: 15 }));
        let shown = format!("{:?}", Token { secrets: vec![secret("1234567890123456")], ..policy(TokenScope::Both) });
        assert_eq!(shown, "Token { secrets: [Secret(..)], required_for: Both }");
    }

    proptest! {
        #[test]
        fn a_signature_fits_what_it_was_made_for_and_nothing_else(
            text in "\\PC{16,40}",
            publish in any::<bool>(),
            (vhost, other_vhost) in ("[a:1]{1,3}|__defaultVhost__", "[a:1]{1,3}|__defaultVhost__"),
            app in "[a-z:/]{1,6}",
            stream in "[a-z0-9:]{1,6}",
            expires in 1u64..,
            (other_app, other_stream, other_expires) in ("[a-z:/]{1,6}", "[a-z0-9:]{1,6}", any::<u64>()),
            (position, change) in (0usize..64, 1usize..16),
        ) {
            let secret = secret(&text);
            let (action, other_action) =
                if publish { (Action::Publish, Action::Play) } else { (Action::Play, Action::Publish) };
            let key = |vhost: &str, app: &str, stream: &str| StreamKey::new(vhost, app, stream);
            let Ok(own) = key(&vhost, &app, &stream) else { return Ok(()) };
            let token = sign(&secret, action, &own, expires);
            let other_secret = Secret::new(format!("{text}x")).unwrap();
            let policy = Token { secrets: vec![secret], required_for: TokenScope::Both };
            let check_in = |vhost: &str, app: &str, stream: &str, token: &str, expires: u64| {
                // Texts that are not names are not signed.
                let check = |key| code(policy.check(action, &key, Some(token), Some(&expires.to_string()), 0));
                key(vhost, app, stream).map_or("token_invalid", check)
            };
            if vhost != other_vhost {
                for (app_now, stream_now, expires_now) in [(&app, &stream, expires), (&other_app, &other_stream, other_expires)] {
                    prop_assert_eq!(check_in(&other_vhost, app_now, stream_now, &token, expires_now), "token_invalid");
                }
                // The name of the host moves into the app, or out of it.
                let moved = format!("{vhost}/{app}");
                prop_assert_eq!(check_in(DEFAULT_VHOST, &moved, &stream, &token, expires), "token_invalid");
            }
            let check = |action, app: &str, stream: &str, token: &str, expires: u64| {
                let check = |key| code(policy.check(action, &key, Some(token), Some(&expires.to_string()), 0));
                key(&vhost, app, stream).map_or("token_invalid", check)
            };
            prop_assert_eq!(check(action, &app, &stream, &token, expires), "ok");
            prop_assert_eq!(check(other_action, &app, &stream, &token, expires), "token_invalid");
            for (app_now, stream_now, expires_now) in [
                (&other_app, &stream, expires),
                (&app, &other_stream, expires),
                (&app, &stream, other_expires),
                (&other_app, &other_stream, other_expires),
            ] {
                if (app_now, stream_now, expires_now) != (&app, &stream, expires) {
                    prop_assert_eq!(check(action, app_now, stream_now, &token, expires_now), "token_invalid");
                }
            }
            let mut forged = token.into_bytes();
            let digits = b"0123456789abcdef";
            let value = digits.iter().position(|digit| *digit == forged[position]).unwrap();
            forged[position] = digits[(value + change) % 16];
            let forged = String::from_utf8(forged).unwrap();
            prop_assert_eq!(check(action, &app, &stream, &forged, expires), "token_invalid");
            let others = sign(&other_secret, action, &own, expires);
            prop_assert_eq!(check(action, &app, &stream, &others, expires), "token_invalid");
        }

        #[test]
        fn no_text_passes_by_chance(token in prop_oneof!["\\PC{0,70}", "[0-9a-f]{64}"], expires in "\\PC{0,3}|[0-9]{1,21}") {
            let result = policy(TokenScope::Both).check(Action::Play, &key("live", "cam"), Some(&token), Some(&expires), 0);
            prop_assert!(matches!(result, Err(Refusal::TokenMalformed | Refusal::TokenInvalid)));
        }
    }
}
