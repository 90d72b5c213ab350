//! The states of a session, and all changes between them.
//!
//! | in | when | then |
//! |---|---|---|
//! | proxy header | header over | handshake |
//! | proxy header | web begun | web |
//! | proxy header | end settled | closing |
//! | handshake | handshake over | awaiting connect |
//! | handshake | web begun | web |
//! | handshake | end settled | closing |
//! | web | connect asked | asked to connect |
//! | web | answer asked | asked on web |
//! | web | end settled | closing |
//! | asked on web | answered | web |
//! | asked on web | end settled | closing |
//! | awaiting connect | connect asked | asked to connect |
//! | awaiting connect | end settled | closing |
//! | asked to connect | connect granted | connected |
//! | asked to connect | end settled | closing |
//! | connected | stream asked | asked for a stream |
//! | connected | measurement begun | measuring |
//! | connected | end settled | closing |
//! | asked for a stream | stream granted | connected |
//! | asked for a stream | end settled | closing |
//! | measuring | end settled | closing |
//!
//! Nothing else changes the state. A refusal settles the end. A closing session stays in that state until it is
//! dropped. What is published and played while the session is connected is in
//! [`MessageStreams`](super::streams::MessageStreams).

use std::mem;

use super::event::CloseReason;
use crate::endpoint::{self, Closing};
use crate::handshake::ServerHandshake;
use crate::preface::Preface;

/// The state of a session.
#[derive(Debug)]
pub(crate) enum State {
    /// Reads the header that a trusted proxy may send before the handshake.
    ProxyHeader { preface: Box<Preface>, handshake: Box<ServerHandshake> },
    /// Reads C0, C1 and C2.
    Handshake(Box<ServerHandshake>),
    /// Reads requests by HTTP. A live stream goes the way of RTMP from here on.
    Web,
    /// The program is to answer a request by HTTP: nothing is parsed.
    AskedOnWeb,
    /// Waits for `connect`.
    AwaitingConnect,
    /// `connect` waits for its answer: nothing is parsed.
    AskedToConnect,
    /// Commands and media are handled.
    Connected,
    /// `publish` or `play` waits for its answer: nothing is parsed.
    AskedForStream,
    /// All messages except control messages are passed on for a bandwidth check.
    Measuring,
    /// The session ends; what is queued is still written.
    Closing(Box<Closing<CloseReason>>),
}

/// A change of the state.
#[derive(Debug)]
pub(super) enum Change {
    HeaderOver,
    HandshakeOver,
    ConnectAsked,
    ConnectGranted,
    StreamAsked,
    StreamGranted,
    MeasurementBegun,
    WebBegun,
    AnswerAsked,
    Answered,
    EndSettled(Box<Closing<CloseReason>>),
}

impl State {
    /// Applies a change; true if the table has it for this state.
    pub(super) fn change(&mut self, change: Change) -> bool {
        let (state, changes) = match (mem::replace(self, State::Connected), change) {
            (State::ProxyHeader { handshake, .. }, Change::HeaderOver) => (State::Handshake(handshake), true),
            (State::Handshake(_), Change::HandshakeOver) => (State::AwaitingConnect, true),
            (State::AwaitingConnect, Change::ConnectAsked) => (State::AskedToConnect, true),
            (State::AskedToConnect, Change::ConnectGranted) => (State::Connected, true),
            (State::Connected, Change::StreamAsked) => (State::AskedForStream, true),
            (State::AskedForStream, Change::StreamGranted) => (State::Connected, true),
            (State::Connected, Change::MeasurementBegun) => (State::Measuring, true),
            (State::ProxyHeader { .. } | State::Handshake(_), Change::WebBegun) => (State::Web, true),
            (State::Web, Change::ConnectAsked) => (State::AskedToConnect, true),
            (State::Web, Change::AnswerAsked) => (State::AskedOnWeb, true),
            (State::AskedOnWeb, Change::Answered) => (State::Web, true),
            // The first reason stays.
            (State::Closing(first), _) => (State::Closing(first), false),
            (_, Change::EndSettled(closing)) => (State::Closing(closing), true),
            (same, _) => (same, false),
        };
        *self = state;
        changes
    }

    /// True from the answer to `connect` until the end begins.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self, State::Connected | State::AskedForStream | State::Measuring)
    }
}

impl endpoint::State for State {
    type Reason = CloseReason;

    fn closing(&self) -> Option<&Closing<CloseReason>> {
        match self {
            State::Closing(closing) => Some(closing),
            _ => None,
        }
    }

    fn closing_mut(&mut self) -> Option<&mut Closing<CloseReason>> {
        match self {
            State::Closing(closing) => Some(closing),
            _ => None,
        }
    }

    fn close(&mut self, closing: Closing<CloseReason>) {
        self.change(Change::EndSettled(Box::new(closing)));
    }

    fn is_asked(&self) -> bool {
        matches!(self, State::AskedOnWeb | State::AskedToConnect | State::AskedForStream)
    }

    fn has_chunks(&self) -> bool {
        matches!(self, State::AwaitingConnect | State::AskedToConnect) || self.is_connected()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Phase;

    fn handshake() -> Box<ServerHandshake> {
        Box::new(ServerHandshake::new([7; 32], 0))
    }

    fn closing() -> Box<Closing<CloseReason>> {
        Box::new(Closing::new(CloseReason::Shutdown, Phase::Connect, 0, None))
    }

    fn states() -> [State; 10] {
        [
            State::ProxyHeader { preface: Box::default(), handshake: handshake() },
            State::Handshake(handshake()),
            State::Web,
            State::AskedOnWeb,
            State::AwaitingConnect,
            State::AskedToConnect,
            State::Connected,
            State::AskedForStream,
            State::Measuring,
            State::Closing(closing()),
        ]
    }

    fn changes() -> [Change; 11] {
        [
            Change::HeaderOver,
            Change::HandshakeOver,
            Change::ConnectAsked,
            Change::ConnectGranted,
            Change::StreamAsked,
            Change::StreamGranted,
            Change::MeasurementBegun,
            Change::WebBegun,
            Change::AnswerAsked,
            Change::Answered,
            Change::EndSettled(closing()),
        ]
    }

    /// As in the table. Without a wildcard, so that a new state must be added here, and counted above.
    fn state_name(state: &State) -> &'static str {
        match state {
            State::ProxyHeader { .. } => "proxy header",
            State::Handshake(_) => "handshake",
            State::Web => "web",
            State::AskedOnWeb => "asked on web",
            State::AwaitingConnect => "awaiting connect",
            State::AskedToConnect => "asked to connect",
            State::Connected => "connected",
            State::AskedForStream => "asked for a stream",
            State::Measuring => "measuring",
            State::Closing(_) => "closing",
        }
    }

    fn change_name(change: &Change) -> &'static str {
        match change {
            Change::HeaderOver => "header over",
            Change::HandshakeOver => "handshake over",
            Change::ConnectAsked => "connect asked",
            Change::ConnectGranted => "connect granted",
            Change::StreamAsked => "stream asked",
            Change::StreamGranted => "stream granted",
            Change::MeasurementBegun => "measurement begun",
            Change::WebBegun => "web begun",
            Change::AnswerAsked => "answer asked",
            Change::Answered => "answered",
            Change::EndSettled(_) => "end settled",
        }
    }

    #[test]
    fn the_table_is_what_the_code_does() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let mut rows = vec![row(["in", "when", "then"]), row(["---"; 3])];
        for from in 0..states().len() {
            for change in changes() {
                let mut state = states().into_iter().nth(from).expect("counted");
                let (before, when) = (state_name(&state), change_name(&change));
                if state.change(change) {
                    rows.push(row([before, when, state_name(&state)]));
                } else {
                    assert_eq!(state_name(&state), before, "{when} leads nowhere");
                }
            }
        }
        let documented = include_str!("state.rs").lines().filter_map(|line| line.strip_prefix("//! |"));
        let documented: Vec<Vec<String>> = documented
            .map(|row| row.trim_end_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
            .collect();
        assert_eq!(rows, documented);
    }

    #[test]
    fn the_first_end_stands() {
        let mut state = State::Closing(closing());
        let second = Closing::new(CloseReason::Idle, Phase::Publishing, 1, None);
        assert!(!state.change(Change::EndSettled(Box::new(second))));
        let first = endpoint::State::closing(&state).expect("closing");
        assert_eq!(first.close().reason, CloseReason::Shutdown);
    }
}
