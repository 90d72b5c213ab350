//! Commands: remote calls in AMF, messages of type 20 and 17 (RTMP 1.0 §7.1.1, §7.2).
//!
//! [`Command`] is any command on the wire; [`Request`] is a client's command to a server, with typed arguments;
//! [`reply`] builds a server's commands to a client.

mod connect;
pub mod reply;
mod request;

pub use connect::{Capabilities, ConnectInfo, FourCcSupport, Signature};
pub use request::{PlayArguments, PublishType, Request};

use thiserror::Error;

use crate::amf::{AmfError, AmfString, Limits, Value, amf0};
use crate::message::strip_amf3_selector;

/// One remote call, or the answer to one.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Name of the procedure, or `_result`, `_error`, `onStatus`.
    pub name: AmfString,
    /// Transaction id; the answer has the same. 0 if the sender wants no answer, or left it out.
    pub transaction: f64,
    /// The command object; Null if it is missing.
    pub object: Value,
    /// The values after the command object.
    pub arguments: Vec<Value>,
}

/// A command message that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The body is not valid AMF.
    #[error("command is not valid AMF: {0}")]
    Amf(#[from] AmfError),
    /// The body does not start with a String, the name.
    #[error("command does not start with its name")]
    NoName,
}

impl Command {
    /// A command with no arguments.
    pub fn new(name: &str, transaction: f64, object: Value) -> Self {
        Command { name: name.into(), transaction, object, arguments: Vec::new() }
    }

    /// This command with one more argument.
    #[must_use]
    pub fn with(mut self, argument: impl Into<Value>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Reads the body of a message of type 20 or 17.
    ///
    /// A transaction id that is missing or not a Number counts as 0 and a missing command object as Null: several
    /// encoders leave them out of calls that want no answer.
    ///
    /// # Errors
    /// A body that is not AMF, or does not start with a String.
    pub fn parse(type_id: u8, body: &[u8], limits: &Limits) -> Result<Command, CommandError> {
        let values = amf0::decode_all(strip_amf3_selector(type_id, body), limits)?;
        let mut values = values.into_iter().map(Value::into_amf0);
        let Some(Value::String(name)) = values.next() else {
            return Err(CommandError::NoName);
        };
        let transaction = values.next().and_then(|value| value.as_number()).unwrap_or(0.0);
        let object = values.next().unwrap_or(Value::Null);
        Ok(Command { name, transaction, object, arguments: values.collect() })
    }

    /// The body of a type 20 message. (Never type 17: FFmpeg ignores replies of that type.)
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        amf0::encode(&Value::String(self.name.clone()), &mut out);
        amf0::encode(&Value::Number(self.transaction), &mut out);
        amf0::encode(&self.object, &mut out);
        for argument in &self.arguments {
            amf0::encode(argument, &mut out);
        }
        out
    }

    /// The argument at `index` as text, if it is a String.
    pub(crate) fn text(&self, index: usize) -> Option<&AmfString> {
        match self.arguments.get(index) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The argument at `index` as a number.
    pub(crate) fn number(&self, index: usize) -> Option<f64> {
        self.arguments.get(index).and_then(Value::as_number)
    }
}
