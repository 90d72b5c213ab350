//! The ways to a Redis: passwords, users, databases, TLS, several hosts.

use anabranch_tests::Authority;
use anabranch_tests::program::free_address;
use anabranch_tests::redis::Redis;

use super::super::probe::probe;
use super::*;

#[test]
fn a_password_opens_the_way_when_it_is_right() {
    let redis = Redis::with(&["--requirepass", "s3cret"], &["-a", "s3cret"]);
    let at = redis.address();
    let none = Node::start("none", settings(&redis.url()));
    let wrong = Node::start("wrong", settings(&format!("redis://:wr0ng@{at}")));
    let right = Node::connected("right", settings(&format!("redis://:s3cret@{at}")));
    none.wait_error("NOAUTH");
    let error = wrong.wait_error("WRONGPASS");
    assert!(!error.contains("wr0ng"), "{error}");
    let _claim = right.take("v/live/cam");
    // What becomes right later is noticed.
    redis.command(&["CONFIG", "SET", "requirepass", "wr0ng"]);
    wrong.wait_state(true);
    assert_eq!(wrong.claim("v/live/cam").1, Err(ClaimError::Held("right".into())));
    assert!(!format!("{:?}", wrong.directory.view()).contains("wr0ng"));
}

#[test]
fn a_user_with_few_rights_and_another_database_will_do() {
    let redis = Redis::new();
    redis.command(&[
        "ACL",
        "SETUSER",
        "ana",
        "on",
        ">s3cret",
        "~x:*",
        "&x:c",
        "+eval",
        "+evalsha",
        "+subscribe",
        "+publish",
        "+select",
        "+ping",
        "+time",
        "+hmget",
        "+hset",
        "+pexpire",
        "+get",
        "+set",
        "+del",
        "+zadd",
        "+zrem",
        "+zremrangebyscore",
        "+zrevrange",
    ]);
    let url = format!("redis://ana:s3cret@{}/3", redis.address());
    let limited = ClusterSettings { prefix: "x:".to_owned(), ..settings(&url) };
    let [a, b] = ["a", "b"].map(|id| Node::connected(id, limited.clone()));
    let _claim = a.take("v/live/cam");
    assert_eq!(b.claim("v/live/cam").1, Err(ClaimError::Held("a".into())));
    assert!(redis.command(&["-n", "3", "KEYS", "*"]).contains("x:s:{v/live/cam}"));
    assert_eq!(redis.command(&["KEYS", "*"]), "");
    // One without a right that is needed is told so, and claims have their answers.
    redis.command(&["ACL", "SETUSER", "ana", "-hset"]);
    let refusing = Node::connected("c", refuse(limited));
    assert_eq!(refusing.claim("v/live/new").1, Err(ClaimError::NoAnswer));
}

#[test]
fn tls_needs_the_root_that_is_named() {
    let authority = Authority::new();
    authority.issue("redis", &["127.0.0.1"]);
    authority.issue("client", &["anabranch"]);
    let file = |name: &str| authority.file(name).display().to_string();
    let (certificate, key) = (file("redis.pem"), file("redis.key"));
    let options = |clients: &'static str| {
        ["--port", "0", "--tls-port", "PORT", "--tls-cert-file", &certificate, "--tls-key-file", &key]
            .into_iter()
            .map(str::to_owned)
            .chain([
                "--tls-ca-cert-file".to_owned(),
                authority.ca(),
                "--tls-auth-clients".to_owned(),
                clients.to_owned(),
            ])
            .collect::<Vec<_>>()
    };
    let start = |clients: &'static str| {
        let options = options(clients);
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let ca = authority.ca();
        let client = ["--tls", "--cacert", &ca, "--cert", &file("client.pem"), "--key", &file("client.key")];
        Redis::with(&options, &client)
    };
    let open = start("no");
    let url = format!("rediss://{}", open.address());
    let with_root = ClusterSettings { ca_file: authority.ca().into(), ..settings(&url) };
    let a = Node::connected("a", with_root.clone());
    let claims = a.take_all(&names(200));
    assert_eq!(count(&open), 200);
    drop(claims);
    let other = Authority::new();
    let stranger = Node::start("b", ClusterSettings { ca_file: other.ca().into(), ..settings(&url) });
    stranger.wait_error("certificate");
    let plain = Node::start("c", settings(&format!("redis://{}", open.address())));
    plain.wait_error(&open.address().to_string());
    // A Redis as it is by default wants to see a certificate, too.
    let closed = start("yes");
    let url = format!("rediss://{}", closed.address());
    let without = Node::start("d", ClusterSettings { ca_file: authority.ca().into(), ..settings(&url) });
    without.wait_error(&closed.address().to_string());
    let (certificate, key) = (authority.file("client.pem"), authority.file("client.key"));
    let with = ClusterSettings { certificate, key, ..with_root }.with_redis(&url);
    let with = Node::connected("e", with);
    let _claim = with.take("v/live/cam");
}

#[test]
fn the_first_host_that_is_a_master_is_used() {
    let master = Redis::new();
    let at = master.address();
    let replica = Redis::with(&["--replicaof", &at.ip().to_string(), &at.port().to_string()], &[]);
    let nowhere = free_address();
    let alone = Node::start("a", settings(&replica.url()));
    alone.wait_error("replica");
    let b = Node::connected("b", settings(&format!("redis://{nowhere},{},{at}", replica.address())));
    assert_eq!(b.directory.state().address, at.to_string());
    let _claim = b.take("v/live/cam");
    // A master that becomes a replica is left.
    master.command(&["REPLICAOF", &replica.address().ip().to_string(), &replica.address().port().to_string()]);
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    wait_for("the new master", TIMEOUT, || {
        (b.directory.state().address == replica.address().to_string()).then_some(())
    });
    b.wait_confirmed(1);
}

#[test]
fn a_look_says_what_is_wrong_and_what_to_do() {
    let redis = Redis::with(
        &["--requirepass", "s3cret", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"],
        &["-a", "s3cret"],
    );
    let at = redis.address();
    let found = probe(&settings(&format!("redis://:s3cret@{at}")));
    let words = found.directory.unwrap().unwrap();
    assert!(words.contains("Redis 7.") || words.contains("Redis "), "{words}");
    assert!(found.warnings.iter().any(|fault| fault.words.contains("allkeys-lru")), "{:?}", found.warnings);
    assert_eq!(redis.command(&["KEYS", "*"]), "", "nothing is written there");
    let found = probe(&settings(&redis.url()));
    assert!(found.directory.unwrap().unwrap_err().cure.contains("password"));
    // Nothing listens there, and no other test gets the port.
    let nowhere = "redis://127.0.0.1:1".to_owned();
    let found = probe(&settings(&nowhere));
    let fault = found.directory.unwrap().unwrap_err();
    assert!(fault.words.contains("refused") && fault.cure.contains("start the Redis"), "{fault}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let reached =
        ClusterSettings { advertise: format!("rtmp://{}", listener.local_addr().unwrap()), ..settings(&nowhere) };
    assert!(probe(&reached).advertise.unwrap().is_ok());
    let not_reached = ClusterSettings { advertise: "rtmp://127.0.0.1:1".to_owned(), ..settings(&nowhere) };
    assert!(probe(&not_reached).advertise.unwrap().is_err());
}
