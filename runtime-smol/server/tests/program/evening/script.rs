use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anabranch_core::amf::Object;
use anabranch_core::message::Message;
use anabranch_core::policy::{Action, Secret, sign};
use anabranch_core::url::StreamKey;
use anabranch_tests::backend::Backend;
use anabranch_tests::peer::opening::{ANSWER_LENGTH, hello};
use anabranch_tests::peer::{Driver, ScriptedClient, Wire};
use anabranch_tests::program::{Launch, Program, free_address};
use anabranch_tests::{Folder, TIMEOUT};

use super::normal::Normal;

/// Connections that are opened in a second. Of more than twenty in a second the log leaves lines out.
const A_SECOND: usize = 10;
const SECRET: &str = "sixteen bytes or more";
/// A key frame, and how many bytes of it are sent.
const KEY_FRAME: [u8; 5] = [0x17, 1, 0, 0, 0];

/// A part of the evening, with the lines that it left in the log.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) lines: Vec<String>,
}

struct Evening {
    program: Program,
    normal: Normal,
    steps: Vec<Step>,
    /// Lines of the log so far.
    seen: usize,
    /// Connections so far.
    opened: u64,
    /// When the present second began, and connections in it.
    second: (Instant, usize),
}

/// Runs the evening with a log in this format.
pub(super) fn evening(format: &str) -> Vec<Step> {
    let backend = Backend::start(|call| {
        let (status, body) = match call.text("stream") {
            "poor" => (200, "{\"code\":402,\"msg\":\"no credit\"}"),
            "moved" => (200, "{\"code\":302,\"redirect\":\"rtmp://other.example/live/moved\"}"),
            _ => (200, "0"),
        };
        Some((status, body.to_owned()))
    });
    let (folder, dead) = (Folder::new(), free_address());
    let settings = settings(format, &folder, &backend.url("/"), &format!("http://{dead}/"));
    let file = folder.write("anabranch.toml", &settings);
    // Otherwise the log advises to do so.
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("the file is ours");
    let launch =
        Launch::new(env!("CARGO_BIN_EXE_anabranch")).on_a_free_port().args(["--threads", "1"]).with_files(1024);
    let program = launch.arg("--config").arg(&file).start();
    let ready = program.wait_line(" is ready, listening on ").text;
    let (before, _) = ready.split_once(" is ready, listening on ").expect("the line has these words");
    let (_, version) = before.split_once("anabranch ").expect("the version comes after the name");
    let version = version.to_owned();
    let replaced = vec![
        (folder.path().display().to_string(), "FOLDER"),
        (version, "VERSION"),
        (backend.address.to_string(), "BACKEND"),
        (dead.to_string(), "DEAD"),
    ];
    let (normal, second) = (Normal { replaced }, (Instant::now(), 0));
    let mut evening = Evening { program, normal, steps: Vec::new(), seen: 0, opened: 0, second };
    evening.step("the server starts", &[], |_| ());
    evening.streams();
    evening.rules();
    evening.limits();
    evening.back_ends();
    evening.losses();
    evening.slow_players();
    evening.operators(&file, &settings);
    evening.end()
}

fn settings(format: &str, folder: &Folder, hook: &str, dead: &str) -> String {
    let folder = folder.path().join("recordings");
    let folder = folder.display();
    let hosts = [
        ("live.example", String::new()),
        ("deny.example", "security.rules = ['deny publish all']".to_owned()),
        ("allow.example", "security.rules = ['allow play 192.0.2.0/24']".to_owned()),
        ("refer.example", "refer.play = ['page.example']".to_owned()),
        (
            "signed.example",
            format!("token.required_for = 'publish'\ntoken.secrets = ['{SECRET}']\npublish.conflict = 'takeover'"),
        ),
        ("off.example", "enabled = false".to_owned()),
        ("check.example", "bandwidth_check = { enabled = true, key = 'sesame', interval = '1h' }".to_owned()),
        ("full.example", "limits.connections = 0".to_owned()),
        ("publishers.example", "limits.publishers = 0".to_owned()),
        ("players.example", "limits.players = 0".to_owned()),
        ("crowd.example", "limits.stream_players = 0".to_owned()),
        ("streams.example", "limits.streams = 0".to_owned()),
        ("questions.example", format!("limits.questions = 0\nhooks.on_publish = ['{hook}']")),
        ("rate.example", "limits.publisher_rate = '1KiB'\nlimits.publisher_rate_window = '1s'".to_owned()),
        ("hooks.example", format!("hooks.on_publish = ['{hook}']")),
        ("dead.example", format!("hooks.on_publish = ['{dead}']")),
        ("silent.example", "timeouts.next_message = '1s'".to_owned()),
        ("slow.example", "cache.bytes = '256KiB'\ncache.time = '0s'".to_owned()),
        (
            "record.example",
            format!(
                "record.streams = ['live/*']\nrecord.folder = '{folder}'\nrecord.file = '{{app}}/{{stream}}.flv'\nrecord.min_free = '0'"
            ),
        ),
    ];
    let hosts = hosts.map(|(name, settings)| format!("[[vhost]]\nname = '{name}'\n{settings}\n"));
    format!(
        "[log]\nformat = '{format}'\n[api]\nlisten = '127.0.0.1:0'\n[shutdown]\ndrain = '2s'\n[limits]\nmemory = '1GiB'\n\
         [defaults.timeouts]\nlinger = '1s'\n{}",
        hosts.concat()
    )
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

/// A stream name with a signature for it.
fn signed(stream: &str, expires: u64) -> String {
    let key = StreamKey::new("signed.example", "live", stream).expect("a name");
    let secret = Secret::new(SECRET).expect("it is long enough");
    format!("{stream}?expires={expires}&token={}", sign(&secret, Action::Publish, &key, expires))
}

impl Evening {
    /// Does something, waits until each of these texts has come into the log, and keeps the lines of it.
    fn step<T>(&mut self, name: &'static str, ends: &[&str], act: impl FnOnce(&mut Self) -> T) -> T {
        let done = act(self);
        for words in ends {
            self.program.process.wait_for(words, || self.news().iter().any(|line| line.contains(words)).then_some(()));
        }
        let news = self.news();
        self.seen += news.len();
        let lines = news.iter().map(|line| self.normal.line(line)).collect();
        self.steps.push(Step { name, lines });
        done
    }

    /// The same, where two threads may write the lines in either order.
    fn step_of_two<T>(&mut self, name: &'static str, ends: &[&str], act: impl FnOnce(&mut Self) -> T) -> T {
        let done = self.step(name, ends, act);
        self.steps.last_mut().expect("a step was made").lines.sort();
        done
    }

    fn news(&self) -> Vec<String> {
        self.program.process.stderr().split_off(self.seen)
    }

    /// One more connection is about to be opened.
    fn opens(&mut self) {
        let (start, count) = &mut self.second;
        if *count == A_SECOND {
            thread::sleep(Duration::from_secs(1).saturating_sub(start.elapsed()));
        }
        if start.elapsed() >= Duration::from_secs(1) {
            (*start, *count) = (Instant::now(), 0);
        }
        *count += 1;
        self.opened += 1;
    }

    /// A client on the application `live` of a virtual host.
    fn at(&mut self, host: &str) -> Driver {
        self.opens();
        Driver::at(self.program.address(), &format!("rtmp://{host}/live/x"))
    }

    /// The same, that says what a test tells it to.
    fn scripted(&mut self, host: &str) -> ScriptedClient {
        self.opens();
        ScriptedClient::connected_with(self.program.address(), object(host, "live"))
    }

    fn closed(&self) -> String {
        format!("conn {} closed: ", self.opened)
    }

    fn publishes_at(&mut self, host: &str, name: &str) -> Driver {
        let mut driver = self.at(host);
        driver.publish(name).expect("it may publish");
        driver
    }

    fn publish_is_refused(&mut self, step: &'static str, host: &str, name: &str) {
        let closed = format!("conn {} closed: ", self.opened + 1);
        self.step(step, &[&closed], |evening| {
            let mut driver = evening.at(host);
            driver.publish(name).expect_err("it may not publish");
            driver.drop_connection();
        });
    }

    fn play_is_refused(&mut self, step: &'static str, host: &str, name: &str) {
        let closed = format!("conn {} closed: ", self.opened + 1);
        self.step(step, &[&closed], |evening| {
            let mut driver = evening.at(host);
            driver.play(name).expect_err("it may not play");
            driver.drop_connection();
        });
    }

    fn streams(&mut self) {
        let player = self.step("a player comes before the publisher", &[" waits for "], |evening| {
            let mut player = evening.at("live.example");
            player.play("later").expect("it may wait");
            player
        });
        let mut publisher = self.step("the publisher comes", &[" gets "], |evening| {
            let mut publisher = evening.publishes_at("live.example", "later");
            publisher.send(Message::video(0, KEY_FRAME.to_vec()));
            publisher
        });
        self.publish_is_refused("another encoder uses the same name", "live.example", "later");
        self.step("the publisher ends", &["conn 2 closed: "], |_| {
            publisher.send(Message::video(40, KEY_FRAME.to_vec()));
            publisher.close();
        });
        self.step("the player ends", &["conn 1 closed: "], |_| player.close());
    }

    fn rules(&mut self) {
        self.publish_is_refused("a rule denies the address", "deny.example", "cam");
        self.play_is_refused("rules allow other addresses", "allow.example", "cam");
        self.play_is_refused("the player is on no page", "refer.example", "cam");
        self.publish_is_refused("the URL is not signed", "signed.example", "cam");
        self.publish_is_refused("the signature is cut", "signed.example", "cam?expires=1&token=0123");
        let (soon, past) = (now() + 3600, now() - 3600);
        self.publish_is_refused("the signature is of another stream", "signed.example", &{
            let other = signed("other", soon);
            other.replace("other?", "cam?")
        });
        self.publish_is_refused("the signature has expired", "signed.example", &signed("cam", past));
        self.publish_is_refused("no virtual host has the name", "nowhere.example", "cam");
        self.publish_is_refused("the virtual host is off", "off.example", "cam");
        self.publish_is_refused("the stream is on a host for checks", "live.example", "cam?vhost=check.example");
        self.publish_is_refused("a bandwidth check without its key", "check.example", "cam");
        let closed = format!("conn {} closed: ", self.opened + 2);
        self.step("two bandwidth checks", &[&closed], |evening| {
            for outcome in ["Success", "Rejected"] {
                evening.opens();
                let mut client = ScriptedClient::open(evening.program.address());
                let url = "rtmp://check.example/live?key=sesame";
                client.connect(Object::new().with("app", "live").with("tcUrl", url));
                client.receive_until(&format!("NetConnection.Connect.{outcome}"));
                client.wire().shut_down_writing();
                client.assert_closed();
                evening.program.wait_line(&evening.closed());
            }
        });
        let closed = format!("conn {} closed: ", self.opened + 1);
        self.step("the URL has no application", &[&closed], |evening| {
            evening.opens();
            let mut client = ScriptedClient::open(evening.program.address());
            client.connect(object("live.example", ".."));
            client.receive_until("NetConnection.Connect.InvalidApp");
            client.wire().shut_down_writing();
            client.assert_closed();
        });
        self.publish_is_refused("the stream's name is none", "live.example", "..");
        self.publish_is_refused("the name has a secret and cannot be used", "live.example", "..?token=geheim");
    }

    fn limits(&mut self) {
        self.publish_is_refused("too many connections", "full.example", "cam");
        self.publish_is_refused("too many publishers", "publishers.example", "cam");
        self.play_is_refused("too many players", "players.example", "cam");
        self.play_is_refused("too many players of a stream", "crowd.example", "cam");
        self.play_is_refused("too many streams", "streams.example", "cam");
        self.publish_is_refused("too many questions", "questions.example", "cam");
        let closed = format!("conn {} closed: ", self.opened + 1);
        self.step("a publisher sends too much", &[&closed], |evening| {
            let mut driver = evening.at("rate.example");
            let stream = driver.publish("cam").expect("it may publish");
            let picture = [&KEY_FRAME[..], &[7; 100_000]].concat();
            driver.client.send_message(stream, Message::video(0, picture)).expect("it is published");
            driver.wait_close();
        });
    }

    fn back_ends(&mut self) {
        self.publish_is_refused("the back end refuses", "hooks.example", "poor");
        self.publish_is_refused("the back end sends the client away", "hooks.example", "moved");
        self.publish_is_refused("the back end is down", "dead.example", "cam");
    }

    fn losses(&mut self) {
        let closed = format!("conn {} closed: ", self.opened + 1);
        self.step("an encoder crashes", &[&closed], |evening| {
            evening.publishes_at("live.example", "crash").drop_connection();
        });
        let closed = format!("conn {} closed: ", self.opened + 1);
        self.step("an encoder loses its memory", &[&closed], |evening| {
            let mut client = evening.scripted("live.example");
            client.create_stream(2.0);
            client.publish(1, "reset");
            client.receive_until("NetStream.Publish.Start");
            client.into_wire().reset();
        });
        let closed = format!("conn {} closed: ", self.opened + 1);
        self.step("an encoder falls silent", &[&closed], |evening| {
            let mut driver = evening.publishes_at("silent.example", "cam");
            driver.send(Message::video(0, KEY_FRAME.to_vec()));
            driver.wait_close();
        });
    }

    /// A player takes nothing for a while, another takes nothing at all.
    fn slow_players(&mut self) {
        let (mut publisher, mut slow) = self.step("a stream with a player", &[" is player of "], |evening| {
            let publisher = evening.publishes_large("slow.example", "cam");
            (publisher, evening.narrow_player("slow.example", "cam"))
        });
        let its_slow = self.opened;
        let frame = [&KEY_FRAME[..], &[7; 100_000]].concat();
        self.step("it takes nothing for a while", &[" it missed "], |_| {
            (0..60).for_each(|number| publisher.video(number * 40, &frame));
            publisher.receive_pending();
            slow.wire().receive_for(Duration::from_millis(500));
        });
        // From here on it takes what comes.
        let mut time = 2400;
        let mut goes_on = |log: &Program, words: &str| {
            let until = Instant::now() + TIMEOUT;
            while log.lines(words).is_empty() && Instant::now() < until {
                publisher.video(time, &KEY_FRAME);
                time += 200;
                publisher.receive_pending();
                slow.wire().receive_for(Duration::from_millis(200));
            }
        };
        let takes_nothing = "it takes nothing, and is";
        let (other, stuck) = self.step("another player takes nothing", &[takes_nothing], |evening| {
            let mut other = evening.publishes_large("live.example", "other");
            let stuck = evening.narrow_player("live.example", "other");
            (0..8).for_each(|number| other.video(number * 40, &frame));
            other.receive_pending();
            goes_on(&evening.program, takes_nothing);
            (other, stuck)
        });
        let closed = self.closed();
        self.step("it is gone", &[&closed], |_| stuck.into_wire().reset());
        let keeps_up = format!("conn {its_slow} keeps up again");
        self.step("the first keeps up again", &[&keeps_up], |evening| goes_on(&evening.program, &keeps_up));
        let closed = format!("conn {its_slow} closed: ");
        self.step("it leaves", &[&closed], |_| slow.wire().shut_down_writing());
        let closed = [1, 3].map(|before| format!("conn {} closed: ", self.opened - before));
        self.step_of_two("the publishers are reset", &closed.each_ref().map(String::as_str), |_| {
            publisher.into_wire().reset();
            other.into_wire().reset();
        });
    }

    /// A client that publishes large frames.
    fn publishes_large(&mut self, host: &str, name: &str) -> ScriptedClient {
        let mut publisher = self.scripted(host);
        publisher.create_stream(2.0);
        publisher.publish(1, name);
        publisher.receive_until("NetStream.Publish.Start");
        publisher.set_chunk_size(60_000);
        self.program.wait_line(&format!("conn {} from ", self.opened));
        publisher
    }

    /// A player with little room for what it has not read.
    fn narrow_player(&mut self, host: &str, name: &str) -> ScriptedClient {
        self.opens();
        let mut wire = Wire::dial_narrow(self.program.address(), 4096);
        wire.write(&hello());
        let answer = wire.read_exact(ANSWER_LENGTH);
        let mut player = ScriptedClient::resume(wire, &answer);
        player.connect(object(host, "live"));
        player.receive_until("NetConnection.Connect.Success");
        player.create_stream(2.0);
        player.play(1, name);
        player.receive_until("|RtmpSampleAccess");
        self.program.wait_line(&format!("conn {} from ", self.opened));
        player
    }

    fn operators(&mut self, file: &Path, settings: &str) {
        let name = signed("cam", now() + 3600);
        let (first, second) = self.step("an encoder comes back", &[" took ", " lost "], |evening| {
            let first = evening.publishes_at("signed.example", &name);
            evening.program.wait_line(&format!("conn {} from ", evening.opened));
            let second = evening.publishes_at("signed.example", &name);
            (first, second)
        });
        let closed = format!("conn {} closed: ", self.opened - 1);
        self.step("its old connection sends once more", &[&closed], |_| {
            let mut first = first;
            first.send(Message::video(0, KEY_FRAME.to_vec()));
            first.wait_close();
        });
        let closed = self.closed();
        self.step_of_two("an operator closes it", &[&closed, " removed through the API"], |evening| {
            let (path, mut second) = (format!("/api/v1/clients/{}", evening.opened), second);
            assert_eq!(evening.program.ask("DELETE", &path).status, 200);
            second.wait_close();
        });
        let mut recorded = self.step("an encoder of a stream that is recorded", &[" is publisher of "], |evening| {
            evening.publishes_large("record.example", "show")
        });
        self.step("its first pictures", &[" into "], |_| {
            (0..2).for_each(|number| recorded.video(number * 40, &KEY_FRAME));
        });
        self.step("it ends", &["recorded "], |_| recorded.command("deleteStream", 0.0, 0, &[1.0.into()]));
        let closed = self.closed();
        self.step("its encoder leaves", &[&closed], |_| {
            recorded.wire().shut_down_writing();
            recorded.assert_closed();
        });
        let mut publisher = self.step("an encoder that may publish", &[" is publisher of "], |evening| {
            evening.publishes_at("live.example", "cam")
        });
        let closed = self.closed();
        self.step_of_two("a reload with a new rule", &[&closed, "is in force; changed: "], |evening| {
            let live = "name = 'live.example'\n";
            fs::write(file, settings.replace(live, &format!("{live}security.rules = ['deny publish all']\n")))
                .expect("the file can be written");
            evening.program.process.signal("HUP");
            publisher.wait_close();
        });
        self.step("a reload of a bad file", &["was not accepted"], |evening| {
            fs::write(file, settings.replace("drain = '2s'", "drian = '2s'")).expect("the file can be written");
            evening.program.process.signal("HUP");
        });
    }

    fn end(mut self) -> Vec<Step> {
        self.step("a signal as for log rotation", &["SIGUSR1"], |evening| evening.program.process.signal("USR1"));
        self.step("a drain that is undone", &["draining, through the API", " undone"], |evening| {
            for method in ["POST", "DELETE"] {
                assert_eq!(evening.program.ask(method, "/api/v1/drain").status, 200);
            }
        });
        let player = self.step("a player that stays", &[" waits for "], |evening| {
            let mut player = evening.at("live.example");
            player.play("cam").expect("it may play");
            player
        });
        let stays = self.opened;
        self.step("the server drains", &["draining: "], |evening| evening.program.process.terminate());
        self.publish_is_refused("a publisher comes too late", "record.example", "cam");
        let closed = format!("conn {stays} closed: ");
        self.step_of_two("the server stops", &[&closed, "stopped"], |evening| {
            let mut player = player;
            player.wait_close();
            evening.program.process.wait_success(TIMEOUT);
        });
        self.steps
    }
}

/// What `connect` says.
fn object(host: &str, app: &str) -> Object {
    Object::new().with("app", app).with("tcUrl", format!("rtmp://{host}/{app}"))
}
