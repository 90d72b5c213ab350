//! A stream has one name and a client one address, whichever part of a server says it.

use std::sync::mpsc::{Sender, channel};

use anabranch_core::conn::{Ask, Asks, Config, Notice, Subject, Verdict, VhostConfig};
use anabranch_core::message::Message;
use anabranch_core::policy::{Vhost, Vhosts};
use anabranch_core::url::StreamKey;
use anabranch_host::{Answer, Hooks, Serve, Update};
use anabranch_tests::TIMEOUT;
use anabranch_tests::embedded::Embedded;
use anabranch_tests::peer::Driver;

anabranch_tests::on_both_libraries!(
    a_stream_has_one_name_everywhere,
    an_ipv4_client_has_an_ipv4_address_on_a_socket_for_both_families,
);

/// Allows everything, and passes on what it is asked and told.
#[derive(Debug)]
struct Asked {
    names: Sender<StreamKey>,
    clients: Sender<String>,
}

impl Hooks for Asked {
    fn ask(&self, ask: Ask, answer: Answer) {
        let address = ask.client.address.map(|address| address.to_string());
        let _ = self.clients.send(address.unwrap_or_default());
        if let Subject::Publish(stream) = ask.subject {
            let _ = self.names.send(stream.key);
        }
        answer.give(Verdict::Allow);
    }

    fn notify(&self, notice: Notice) {
        let address = notice.client.address.map(|address| address.to_string());
        let _ = self.clients.send(address.unwrap_or_default());
        if let Subject::Publish(stream) = notice.subject {
            let _ = self.names.send(stream.key);
        }
    }
}

fn asking() -> VhostConfig {
    let asks = Asks { connect: true, publish: true, ..Asks::default() };
    VhostConfig { asks, ..VhostConfig::default() }
}

fn a_stream_has_one_name_everywhere<S: Serve + Send + 'static>() {
    for (url, name) in [
        ("rtmp://tv.example/live/room/cam?key=1", "live/room/cam?vhost=tv.example"),
        ("rtmp://other.example/live//cam", "live/cam"),
    ] {
        let ((names, said), (clients, _addresses)) = (channel(), channel());
        let vhosts =
            Vhosts::new(["tv.example", anabranch_core::url::DEFAULT_VHOST].map(|name| Vhost::new(name, asking())));
        let config = Config { vhosts: vhosts.expect("two names"), ..Config::default() };
        let hooks = Asked { names: names.clone(), clients };
        let server = Embedded::start::<S>(|builder| builder.config(config).hooks(hooks));
        server.handle.on_publish(move |start| drop(names.send(start.key.clone())));
        let mut subscription = server.handle.subscribe(name).expect("it is a name");

        let destination = anabranch_core::client::Destination::parse(url).expect("a URL");
        let mut publisher = Driver::at(server.address, url);
        publisher.publish(destination.stream()).expect("the hooks allow it");
        publisher.send(Message::video(0, [0x17, 1, 0, 0, 0, 9].as_slice()));
        // The program finds it under the name that it is called.
        assert!(matches!(subscription.recv_timeout(TIMEOUT), Some(Update::Frame(_))));
        let mut keys = vec![subscription.key().clone()];
        keys.extend(server.handle.stats().streams.into_iter().map(|stream| stream.key));
        keys.extend(server.handle.connections().into_iter().flat_map(|info| info.streams).map(|(_, key)| key));
        publisher.close();
        // The question, the callback, and the end.
        keys.extend((0..3).map(|_| said.recv_timeout(TIMEOUT).expect("a name")));
        assert_eq!(keys.len(), 6);
        for key in keys {
            assert_eq!(key.to_string(), name);
            assert_eq!(name.parse(), Ok(key));
        }
        drop(subscription);
        server.stop();
    }
}

fn an_ipv4_client_has_an_ipv4_address_on_a_socket_for_both_families<S: Serve + Send + 'static>() {
    let ((names, _said), (clients, addresses)) = (channel(), channel());
    // A rule for IPv4 is one for such clients.
    let config = VhostConfig { security: "allow publish 127.0.0.0/8".parse().expect("rules"), ..asking() };
    let builder = S::builder().listen("0".parse().expect("a port")).config(config).hooks(Asked { names, clients });
    let server = Embedded::run(builder.build().expect("it can be built"));
    assert!(server.address.is_ipv6(), "one socket for both families");
    let mut publisher = Driver::at(([127, 0, 0, 1], server.address.port()).into(), "rtmp://localhost/live/cam");
    publisher.publish("cam").expect("the rule allows it");
    let [connection] = &server.handle.connections()[..] else { panic!("one connection") };
    let shown = connection.peer.expect("it has an address").to_string();
    assert!(shown.starts_with("127.0.0.1:"), "{shown}");
    assert_eq!(server.handle.connection(connection.id).and_then(|info| info.peer), connection.peer);
    publisher.close();
    // Two questions and two notices.
    for _ in 0..4 {
        assert_eq!(addresses.recv_timeout(TIMEOUT).expect("a question or a notice"), shown);
    }
    // A client with IPv6 keeps its address.
    let mut other =
        Driver::at((std::net::Ipv6Addr::LOCALHOST, server.address.port()).into(), "rtmp://localhost/live/cam");
    other.publish("cam").expect_err("the rule is for IPv4");
    assert!(addresses.recv_timeout(TIMEOUT).expect("a question").starts_with("[::1]:"));
    server.stop();
}
