//! Names.

use anabranch_core::client::Destination;
use anabranch_core::url::{self, Connect, MAX_NAME_LEN, MAX_PARAMS, Params, StreamKey, Target, TcUrl};

/// Four texts, one a line: `tcUrl`, `app`, stream name, reference. A line that is not there was not sent.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        assert!(TcUrl::from_bytes(input).is_err());
        return;
    };
    let mut lines = text.splitn(4, '\n');
    let tc_url = lines.next().filter(|line| *line != "-");
    let app = lines.next().filter(|line| *line != "-");
    let stream = lines.next().unwrap_or_default();
    let reference = lines.next().unwrap_or_default();

    if let Some(parsed) = tc_url.and_then(|text| TcUrl::parse(text).ok()) {
        let shown = parsed.to_string();
        let again = TcUrl::parse(&shown).unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        assert_eq!(again.to_string(), shown, "a URL as we write it stays as it is");
        if let Ok(resolved) = url::resolve(&parsed, reference) {
            let shown = resolved.to_string();
            TcUrl::parse(&shown).unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        }
        if parsed.userinfo().is_some_and(|secret| secret.len() > 12) {
            let secret = parsed.userinfo().unwrap_or_default();
            // Unless it stands elsewhere in the URL too.
            if text.matches(secret).count() == 1 {
                assert!(!shown.contains(secret), "a secret is shown");
            }
        }
    }
    if let Ok(params) = Params::parse(stream) {
        assert!(params.len() <= MAX_PARAMS);
        let query = params.to_query();
        let again = Params::parse(&query).expect("what we write can be read");
        assert_eq!(again, params, "{query:?}");
        for (key, _) in params.iter() {
            let (raw, decoded) = (params.raw(key), params.get(key));
            assert!(raw.zip(decoded).is_some_and(|(raw, decoded)| decoded.len() <= raw.len()), "{key:?}");
        }
    }
    if let Some(destination) = tc_url.and_then(|text| Destination::parse(text).ok()) {
        check_destination(&destination);
    }
    let Ok(connect) = Connect::parse(tc_url, app) else {
        assert!(url::discover(tc_url, app, stream).is_err());
        return;
    };
    match connect.target(stream) {
        Ok(target) => check_target(&target, stream, &connect),
        Err(error) => assert_eq!(url::discover(tc_url, app, stream), Err(error)),
    }
}

/// What a client would say to a server leads the server to the same place.
fn check_destination(destination: &Destination) {
    let (tc_url, app, stream) = (destination.tc_url(), destination.app(), destination.stream());
    let parsed = TcUrl::parse(&tc_url).unwrap_or_else(|error| panic!("{tc_url:?}: {error}"));
    assert_eq!((parsed.host(), parsed.port()), (destination.host(), destination.port()));
    if Connect::parse(Some(&tc_url), Some(app)).is_err() {
        // A host that is no virtual host: the stream's name may give another, but `connect` comes first.
        return;
    }
    let target = url::discover(Some(&tc_url), Some(app), stream);
    let target = target.unwrap_or_else(|error| panic!("{tc_url:?} {app:?} {stream:?}: {error}"));
    assert!(!target.stream().is_empty());
}

fn check_target(target: &Target, stream: &str, connect: &Connect) {
    let key = target.key();
    assert_eq!(connect.target(stream).as_ref(), Ok(target), "nothing of one request is left for the next");
    assert_eq!(StreamKey::new(key.vhost(), key.app(), key.stream()).as_ref(), Ok(key), "a key is made of its parts");
    assert!(key.as_str().len() <= MAX_NAME_LEN);
    assert!(!key.stream().contains('/') && !key.stream().is_empty() && !key.app().is_empty());
    assert!(target.params().len() <= MAX_PARAMS);
    assert_eq!(target.key_in(key.vhost()).as_ref(), Ok(key));
    let name = key.to_string();
    // A host with a separator of parameters is no virtual host of any server.
    if name.len() <= url::MAX_TEXT_LEN && !key.vhost().contains(['&', '#', ';', ',']) {
        assert_eq!(name.parse::<StreamKey>().as_ref(), Ok(key), "a name as we write it is read as the same");
    }

    // What is longer than a text may be cannot come back as one.
    let shown = target.to_string();
    if shown.len() <= url::MAX_TEXT_LEN {
        let again = url::discover(Some(&shown), None, "").unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        assert_eq!(again.key(), key, "{shown:?}");
        assert_eq!(again.to_string(), shown, "a URL as we write it stays as it is");
    }
}
