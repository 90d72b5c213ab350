//! The status codes of refusals.

use std::collections::BTreeSet;

use super::*;
use crate::bandwidth::BandwidthConfig;
use crate::cluster::{ClusterConfig, DirectoryOrder, Member, PullSigner, SignedPull};
use crate::location::ClaimError;
use crate::policy::{self, Limits, Rate, Refer, Refusal, Secret, Token, TokenScope, Vhost, Vhosts, sign};
use crate::relay::Order;

fn at(tc_url: &str) -> Object {
    Object::default().with("app", tc_url.rsplit('/').next().unwrap_or_default()).with("tcUrl", tc_url)
}

/// The host that all clients here connect to, if they do not say so otherwise.
const HERE: &str = "rtmp://here.example/live";

fn vhosts(vhosts: impl IntoIterator<Item = Vhost<VhostConfig>>) -> Config {
    Config { vhosts: Vhosts::new(vhosts).expect("names"), ..Config::default() }
}

/// Codes and status codes of the refusals that clients got.
#[derive(Debug, Default)]
struct Told(BTreeSet<(&'static str, &'static str)>);

impl Told {
    fn note(&mut self, client: &Client) {
        let refused = client.remarks.iter().filter_map(|remark| match remark {
            Remark::Refused(refused) => Some((refused.code, refused.status)),
            _ => None,
        });
        self.0.extend(refused);
    }

    /// A client sends these commands after its `connect`; the verdict is for its last question.
    fn asks(&mut self, harness: &Harness, connect: Object, commands: &[u8], verdict: Option<Verdict>) {
        let mut client = harness.client_from(Some("192.0.2.1:1".parse().expect("an address")), connect);
        client.send(harness, commands);
        client.receive(harness);
        if let Some(verdict) = verdict {
            client.answer(harness, verdict);
        }
        self.note(&client);
    }

    /// A directory that does not give the name, and one that does not answer; a pull of what is not here.
    fn cluster(&mut self) {
        let harness = Harness::with(Config { cluster: Some(ClusterConfig::default()), ..Config::default() });
        let relays = harness.server.relays();
        for error in [ClaimError::Held("other".into()), ClaimError::NoAnswer] {
            let mut client = harness.client();
            client.send(&harness, &peer::publish(0, "cam"));
            let DirectoryOrder::Claim { claim, .. } = relays.poll_directory() else { panic!("the name is claimed") };
            relays.claimed(claim, Err(error));
            let Order::Answer { ask, verdict, .. } = relays.poll(harness.now) else { panic!("the client is answered") };
            client.conn.answer(harness.now, ask, verdict);
            let received = client.receive(&harness);
            assert!(!received.iter().any(|line| line.contains("other")), "{received:?}");
            self.note(&client);
            assert!(matches!(relays.poll_directory(), DirectoryOrder::Release(_)));
        }
        harness.server.set_clock(harness.now, 1_000_000);
        relays.set_cluster_secret(harness.now, "a secret of the cluster");
        let key = StreamKey::new(crate::url::DEFAULT_VHOST, "live", "cam").expect("a name");
        let (asked, by, avoid) = Default::default();
        let pull = SignedPull { key, fencing: 7, hop: 1, asked, by, avoid };
        let signed = PullSigner::new("a secret of the cluster").sign(&pull, 1_000_000);
        self.asks(&harness, at(HERE).with("anabranchPull", signed.clone()), &peer::play(0, "cam"), None);
        self.asks(&harness, at(HERE).with("anabranchPull", signed.replace(" 7 ", " 8 ")), &[], None);
        let pulls = |host: &str| {
            let connect = at("rtmp://10.0.0.1/live").with("anabranchPull", signed.clone());
            harness.client_from(Some(format!("{host}:1").parse().expect("an address")), connect)
        };
        let _both = ["192.0.2.1", "192.0.2.2"].map(pulls);
        let mut third = pulls("192.0.2.3");
        third.receive(&harness);
        self.note(&third);
        self.referral();
    }

    /// A server that pulls a stream which another one can give it.
    fn referral(&mut self) {
        let cluster = ClusterConfig { children: 1, ..ClusterConfig::default() };
        let harness = Harness::with(Config { cluster: Some(cluster), ..Config::default() });
        harness.server.set_clock(harness.now, 1_000_000);
        let relays = harness.server.relays();
        relays.set_cluster_secret(harness.now, "a secret of the cluster");
        let mut publisher = harness.client();
        publisher.send(&harness, &peer::publish(0, "cam"));
        let DirectoryOrder::Claim { claim, .. } = relays.poll_directory() else { panic!("the name is claimed") };
        relays.claimed(claim, Ok(Some(7)));
        let Order::Answer { ask, verdict, .. } = relays.poll(harness.now) else { panic!("the client is answered") };
        publisher.conn.answer(harness.now, ask, verdict);
        publisher.receive(&harness);
        let mut all = Vec::new();
        for node in ["b", "c"] {
            let key = StreamKey::new(crate::url::DEFAULT_VHOST, "live", "cam").expect("a name");
            let by = Member { node: node.into(), address: format!("rtmp://{node}").into() };
            let (asked, avoid) = Default::default();
            let pull = SignedPull { key, fencing: 7, hop: 1, asked, by, avoid };
            let signed = PullSigner::new("a secret of the cluster").sign(&pull, 1_000_000);
            let peer = Some("192.0.2.1:1".parse().expect("an address"));
            let mut client = harness.client_from(peer, at("rtmp://10.0.0.1/live").with("anabranchPull", signed));
            client.send(&harness, &peer::play(0, "cam"));
            client.receive(&harness);
            self.note(&client);
            all.push(client);
        }
    }

    /// One client publishes the name, another one plays it.
    fn uses(&mut self, harness: &Harness, name: &str, verdict: Option<Verdict>) {
        self.asks(harness, at(HERE), &peer::publish(0, name), verdict.clone());
        self.asks(harness, at(HERE), &peer::play(0, name), verdict);
    }
}

#[test]
fn the_status_codes_of_every_refusal_are_listed() {
    let mut told = Told::default();
    let plain = VhostConfig::default;
    let only = |config: VhostConfig| Harness::with(config.into());

    for rules in ["deny publish all; deny play all", "allow publish 10.0.0.0/8; allow play 10.0.0.0/8"] {
        told.uses(&only(VhostConfig { security: rules.parse().expect("rules"), ..plain() }), "cam", None);
    }
    let refer = Refer { all: vec!["good.example".parse().expect("a host")], ..Refer::default() };
    told.uses(&only(VhostConfig { refer, ..plain() }), "cam", None);

    let secret = Secret::new("a long random secret of your own").expect("long enough");
    let token = Some(Token { secrets: vec![secret.clone()], required_for: TokenScope::Both });
    let signed = only(VhostConfig { token, ..plain() });
    signed.server.set_clock(signed.now, 1_000_000);
    let zeros = "0".repeat(64);
    for name in ["cam", "cam?token=x&expires=1", &format!("cam?token={zeros}&expires=2000000")] {
        told.uses(&signed, name, None);
    }
    let key = StreamKey::new(crate::url::DEFAULT_VHOST, "live", "cam").expect("a name");
    let expired = |action| format!("cam?expires=999999&token={}", sign(&secret, action, &key, 999_999));
    told.asks(&signed, at(HERE), &peer::publish(0, &expired(policy::Action::Publish)), None);
    told.asks(&signed, at(HERE), &peer::play(0, &expired(policy::Action::Play)), None);

    told.asks(&only(plain()), at(&format!("{HERE}?{}=x", policy::PASS)), &[], None);
    told.uses(&only(plain()), &format!("cam?{}=x", policy::PASS), None);

    let limits = |limits| VhostConfig { limits, ..plain() };
    let check = BandwidthConfig { key: "right".to_owned(), ..BandwidthConfig::default() };
    let hosts = Harness::with(vhosts([
        Vhost::new("here.example", plain()),
        Vhost { enabled: false, ..Vhost::new("off.example", plain()) },
        Vhost::new("check.example", VhostConfig { bandwidth_check: Some(check), ..plain() }),
        Vhost::new("full.example", limits(Limits { connections: Some(0), ..Limits::NONE })),
    ]));
    for host in ["nowhere.example", "off.example", "full.example"] {
        told.asks(&hosts, at(&format!("rtmp://{host}/live")), &[], None);
        told.uses(&hosts, &format!("cam?vhost={host}"), None);
    }
    told.uses(&hosts, "cam?vhost=check.example", None);
    for key in ["wrong", "right", "right"] {
        told.asks(&hosts, at(&format!("rtmp://check.example/check?key={key}")), &[], None);
    }
    told.asks(&hosts, at("rtmp://here.example/.."), &[], None);
    told.asks(&hosts, at(HERE).with("anabranch", ["0123456789abcdef"; 17].join(",")), &[], None);
    told.uses(&hosts, "..", None);

    for full in [
        Limits { publishers: Some(0), ..Limits::NONE },
        Limits { players: Some(0), ..Limits::NONE },
        Limits { stream_players: Some(0), ..Limits::NONE },
        Limits { streams: Some(0), ..Limits::NONE },
    ] {
        told.uses(&only(limits(full)), "cam", None);
    }
    let rate = Rate { bytes_per_second: 100, window: Duration::from_secs(10) };
    let slow = only(limits(Limits { publisher_rate: Some(rate), ..Limits::NONE }));
    told.asks(&slow, at(HERE), &[peer::publish(0, "cam"), peer::video(0, &[0x17; 2000])].concat(), None);

    let streams = Asks { publish: true, play: true, ..Asks::default() };
    let asking = |asks: &Asks, limits| VhostConfig { asks: asks.clone(), limits, ..plain() };
    let connects = Asks { connect: true, ..Asks::default() };
    let none = Limits { questions: Some(0), ..Limits::NONE };
    told.asks(&only(asking(&connects, none)), at(HERE), &[], None);
    told.uses(&only(asking(&streams, none)), "cam", None);
    for verdict in [
        Verdict::Deny("no".to_owned()),
        Verdict::Unanswered("later".to_owned()),
        Verdict::Redirect("rtmp://other.example/live".to_owned()),
        Verdict::Rename("..".to_owned()),
        Verdict::Origin { code: String::new(), words: "no".to_owned() },
        Verdict::Origin { code: "NetStream.Publish.BadName".to_owned(), words: "no".to_owned() },
        Verdict::Origin { code: "NetStream.Play.StreamNotFound".to_owned(), words: "no".to_owned() },
    ] {
        told.asks(&only(asking(&connects, Limits::NONE)), at(HERE), &[], Some(verdict.clone()));
        told.uses(&only(asking(&streams, Limits::NONE)), "cam", Some(verdict));
    }

    let origins = crate::http::Origins::Listed(vec!["https://a.example".to_owned()]);
    let web = crate::http::Settings { origins, ..Default::default() };
    let pages = Harness::with(Config { web: web.into(), ..Config::default() });
    let mut page = Client::new(&pages, None);
    page.conn = pages.server.connect_by(pages.now, None, Accepts::Web);
    let request = "GET /live/cam.flv HTTP/1.1\r\nHost: h\r\nOrigin: https://b.example\r\n";
    page.send(&pages, format!("{request}{}\r\n", super::web::UPGRADE).as_bytes());
    told.note(&page);

    let taken = only(plain());
    let _publisher = taken.publisher("cam");
    told.asks(&taken, at(HERE), &peer::publish(0, "cam"), None);

    // What changes while the back end decides.
    let here = || Vhost::new("here.example", asking(&streams, Limits::NONE));
    for changed in [vec![Vhost::new("other.example", plain())], vec![Vhost { enabled: false, ..here() }]] {
        for request in [peer::publish(0, "cam"), peer::play(0, "cam")] {
            let harness = Harness::with(vhosts([here()]));
            let mut client = harness.client_from(None, at(HERE));
            client.send(&harness, &request);
            harness.server.reconfigure(vhosts(changed.clone()));
            client.answer(&harness, Verdict::Rename("other".to_owned()));
            told.note(&client);
        }
    }
    let drains = only(plain());
    let clients = [peer::publish(0, "cam"), peer::play(0, "cam")].map(|request| (drains.client(), request));
    drains.server.drain();
    for (mut client, request) in clients {
        client.send(&drains, &request);
        told.note(&client);
    }
    told.asks(&drains, at(HERE), &[], None);

    told.cluster();

    let listed = Refusal::STATUSES.iter().flat_map(|(code, statuses)| statuses.iter().map(|status| (*code, *status)));
    assert_eq!(told.0, listed.collect());
}
