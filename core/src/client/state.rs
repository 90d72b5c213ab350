use super::event::ClientCloseReason;
use crate::endpoint::{self, Closing};
use crate::handshake::ClientHandshake;

/// The state of a client. Each state leads to the next one, and every state to the last one.
#[derive(Debug)]
pub(crate) enum State {
    /// Reads S0, S1 and S2.
    Handshake(Box<ClientHandshake>),
    /// `connect` waits for its answer.
    Connecting,
    /// Streams are requested and media is handled.
    Connected,
    /// The connection ends; what is queued is still written.
    Closing(Box<Closing<ClientCloseReason>>),
}

impl State {
    pub(super) fn is_connected(&self) -> bool {
        matches!(self, State::Connected)
    }
}

impl endpoint::State for State {
    type Reason = ClientCloseReason;

    fn closing(&self) -> Option<&Closing<ClientCloseReason>> {
        match self {
            State::Closing(closing) => Some(closing),
            _ => None,
        }
    }

    fn closing_mut(&mut self) -> Option<&mut Closing<ClientCloseReason>> {
        match self {
            State::Closing(closing) => Some(closing),
            _ => None,
        }
    }

    fn close(&mut self, closing: Closing<ClientCloseReason>) {
        *self = State::Closing(Box::new(closing));
    }

    /// A server sends a client no request that the program has to answer.
    fn is_asked(&self) -> bool {
        false
    }

    fn has_chunks(&self) -> bool {
        matches!(self, State::Connecting | State::Connected)
    }
}
