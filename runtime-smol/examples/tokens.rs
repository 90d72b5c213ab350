//! A server whose clients need a token: `cargo run -p anabranch-smol --example tokens -- TABLE [ADDRESS]`.
//!
//! Each line of the table permits one thing to the clients that have a token:
//!
//! ```text
//! publish live/cam a-long-random-text
//! play    live/cam another-one
//! ```
//!
//! Then OBS publishes with the stream key `cam?token=a-long-random-text`, and a player opens
//! `rtmp://127.0.0.1/live/cam?token=another-one`. A stream in another virtual host is written as
//! `live/cam?vhost=tv.example`.

use std::collections::HashSet;
use std::error::Error;
use std::{env, fs};

use anabranch_smol::core::conn::{Ask, Asks, Notice, Subject, Verdict, VhostConfig};
use anabranch_smol::core::policy::Action;
use anabranch_smol::core::url::{Params, StreamKey};
use anabranch_smol::{Answer, Hooks, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let table = arguments.next().ok_or("usage: tokens TABLE [ADDRESS]")?;
    let address = arguments.next().unwrap_or_else(|| "1935".into());
    let tokens = Tokens::read(&fs::read_to_string(&table)?).map_err(|error| format!("{table}: {error}"))?;

    // The hooks are asked what the configuration says.
    let asks = Asks { publish: true, play: true, ..Asks::default() };
    let config = VhostConfig { asks, ..VhostConfig::default() };
    let server = Server::builder().listen(address.parse()?).config(config).hooks(tokens).build()?;
    for address in server.addresses() {
        println!("listening on {address}");
    }
    server.run();
    Ok(())
}

/// What each token permits. A set is looked up by hash, so the time of an answer tells nothing about the tokens.
#[derive(Debug)]
struct Tokens(HashSet<(Action, StreamKey, String)>);

impl Tokens {
    fn read(table: &str) -> Result<Self, String> {
        let mut tokens = HashSet::new();
        for (number, line) in table.lines().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (action, stream, token) = match words[..] {
                [] => continue,
                [word, ..] if word.starts_with('#') => continue,
                ["publish", stream, token] => (Action::Publish, stream, token),
                ["play", stream, token] => (Action::Play, stream, token),
                _ => return Err(format!("line {}: write publish or play, a stream and a token", number + 1)),
            };
            let stream = stream.parse::<StreamKey>().map_err(|error| format!("line {}: {error}", number + 1))?;
            tokens.insert((action, stream, token.to_owned()));
        }
        Ok(Tokens(tokens))
    }
}

impl Hooks for Tokens {
    /// The thread that serves the client makes this call, so it must not wait. Hooks that ask a database move `answer`
    /// to another thread; the client waits until it is given, or until `Asks::timeout`.
    fn ask(&self, ask: Ask, answer: Answer) {
        let (action, stream) = match ask.subject {
            Subject::Publish(stream) => (Action::Publish, stream),
            Subject::Play(stream) => (Action::Play, stream),
            _ => return answer.give(Verdict::Allow),
        };
        let params = Params::parse(&stream.params).unwrap_or_default();
        let token = params.get("token").unwrap_or_default().into_owned();
        let from = ask.client.address.map_or_else(|| "an unknown address".into(), |address| address.to_string());
        if self.0.contains(&(action, stream.key.clone(), token)) {
            println!("{from} may {action} {}", stream.key);
            answer.give(Verdict::Allow);
        } else {
            println!("{from} may not {action} {}", stream.key);
            answer.give(Verdict::Deny("the token of this URL is not valid".into()));
        }
    }

    /// Follows each request that was allowed, however it ended.
    fn notify(&self, notice: Notice) {
        if let Subject::Publish(stream) = notice.subject {
            println!("{} is over", stream.key);
        }
    }
}
