//! Properties that hold for any text.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// Texts made of pieces that have a meaning in URLs, in any order.
fn hostile() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("/"),
        Just("//"),
        Just("?"),
        Just("#"),
        Just("&"),
        Just("="),
        Just(";"),
        Just(","),
        Just(":"),
        Just(":/"),
        Just("://"),
        Just("."),
        Just(".."),
        Just("..."),
        Just("...vhost..."),
        Just("vhost"),
        Just("vhost="),
        Just("domain="),
        Just("_definst_"),
        Just("__defaultVhost__"),
        Just("__defaultApp__"),
        Just("live"),
        Just("cam"),
        Just("a"),
        Just("b"),
        Just("1"),
        Just(" "),
        Just("\r\n"),
        Just("'"),
        Just("%2F"),
        Just("%"),
        Just("@"),
        Just("["),
        Just("]"),
        Just("é"),
        Just("\0"),
        Just("rtmp://"),
        Just("token="),
        Just("rtmp://h"),
        Just("[::1]"),
    ];
    prop::collection::vec(word, 0..14).prop_map(|words| words.concat())
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => hostile(), 1 => any::<String>()]
}

fn url() -> impl Strategy<Value = String> {
    prop_oneof![5 => text().prop_map(|rest| format!("rtmp://h/{rest}")), 2 => text().prop_map(|rest| format!("rtmp://{rest}")), 1 => text()]
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9é%_-][a-zA-Z0-9é%_.-]{0,6}[a-z0-9]"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), reference in text()) {
        if let Ok(url) = TcUrl::from_bytes(&bytes) {
            prop_assert_eq!(TcUrl::parse(&url.to_string()).map(|url| url.to_string()), Ok(url.to_string()));
        }
        let base = TcUrl::parse("rtmp://h/live/room").unwrap();
        if let Ok(url) = resolve(&base, &reference) {
            prop_assert!(!url.host().is_empty());
        }
        let lossy = String::from_utf8_lossy(&bytes);
        if let Ok(params) = Params::parse(&lossy) {
            for (key, _) in params.iter() {
                prop_assert!(params.get(key).is_some());
            }
        }
    }

    #[test]
    fn a_tc_url_printed_and_read_is_the_same(url in url()) {
        if let Ok(url) = TcUrl::parse(&url) {
            let again = TcUrl::parse(&url.to_string()).unwrap();
            prop_assert_eq!(again.userinfo(), None);
            prop_assert_eq!(again.to_string(), url.to_string());
            prop_assert_eq!((again.app(), again.query(), again.host(), again.port()), (url.app(), url.query(), url.host(), url.port()));
        }
    }

    #[test]
    fn a_target_printed_and_read_is_the_same(url in url(), app in prop::option::of(text()), stream in text()) {
        if let Ok(target) = discover(Some(&url), app.as_deref(), &stream) {
            let shown = target.to_string();
            prop_assert_eq!(discover(Some(&shown), None, ""), Ok(target.clone()), "{}", shown);
            let key = target.key();
            prop_assert_eq!(StreamKey::new(key.vhost(), key.app(), key.stream()), Ok(key.clone()));
            // A host with a separator of parameters is no virtual host of any server.
            if !key.vhost().contains(['&', '#', ';', ',']) {
                prop_assert_eq!(key.to_string().parse(), Ok(key.clone()));
            }
        }
    }

    #[test]
    fn parameters_are_there_once(url in url(), app in text(), stream in text()) {
        if let Ok(target) = discover(Some(&url), Some(&app), &stream) {
            let pairs: Vec<_> = target.params().iter().collect();
            let query = target.params().to_query();
            let distinct: HashSet<_> = query.trim_start_matches('?').split('&').collect();
            prop_assert_eq!(distinct.len(), pairs.len().max(1));
            prop_assert_eq!(Params::parse(&query), Ok(target.params().clone()));
            prop_assert!(pairs.len() <= MAX_PARAMS);
        }
    }

    /// Every place where a client may split the URL, and every place where the query may be.
    #[test]
    fn the_key_depends_on_the_path_only(names in prop::collection::vec(name(), 2..7), value in name(), vhost in "[a-z]{1,5}") {
        let expected = StreamKey::new("h", &names[..names.len() - 1].join("/"), &names[names.len() - 1]).unwrap();
        for cut in 1..=names.len() {
            let (app, stream) = (names[..cut].join("/"), names[cut..].join("/"));
            let tc_url = format!("rtmp://h:1935/{app}");
            let target = discover(Some(&tc_url), Some(&app), &stream).unwrap();
            prop_assert_eq!(target.key(), &expected);
            let query = format!("token={value}");
            for (tc_url, app, stream) in [
                (format!("{tc_url}?{query}"), app.clone(), stream.clone()),
                (format!("{tc_url}?{query}"), format!("{app}?{query}"), stream.clone()),
                (tc_url.clone(), format!("{app}?{query}"), stream.clone()),
                (tc_url.clone(), app.clone(), format!("{stream}?{query}")),
            ] {
                let target = discover(Some(&tc_url), Some(&app), &stream).unwrap();
                prop_assert_eq!(target.key(), &expected);
                prop_assert_eq!(target.params().to_query(), format!("?{query}"));
            }
            for query_at in 1..=names.len() {
                let (before, after) = (names[..query_at].join("/"), names[query_at..].join("/"));
                let url = format!("rtmp://h/{before}?vhost={vhost}/{after}");
                let target = discover(Some(&url), None, "").unwrap();
                prop_assert_eq!((target.app(), target.stream(), target.vhost()), (expected.app(), expected.stream(), vhost.as_str()));
            }
        }
    }
}
