use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use anabranch_core::conn::{Ask, AskId, ClientFacts, Notice, Verdict};
use anabranch_core::hub::{HeldBy, Switched};
use anabranch_core::url::StreamKey;

use crate::host::Link;

/// The program's decisions about clients. The server calls [`ask`](Self::ask) before a client may connect, publish or
/// play, and [`notify`](Self::notify) when that has ended. [`VhostConfig::asks`](anabranch_core::conn::VhostConfig::asks)
/// says which questions are asked, and what happens without an answer. By default none is, and a server with hooks that
/// nothing asks is not built.
///
/// The thread that serves the connection makes both calls. They must not block, because other connections may wait for
/// this thread. Hooks that need time move the [`Answer`] to another thread or task. If a call panics, the server closes
/// that client's connection; others are not affected.
///
/// ```
/// use anabranch_host::core::conn::{Ask, Subject, Verdict};
/// use anabranch_host::{Answer, Hooks};
///
/// #[derive(Debug)]
/// struct OneApp;
///
/// impl Hooks for OneApp {
///     fn ask(&self, ask: Ask, answer: Answer) {
///         answer.give(match &ask.subject {
///             Subject::Publish(stream) if stream.key.app() != "live" => Verdict::Deny("not here".into()),
///             _ => Verdict::Allow,
///         });
///     }
/// }
/// ```
pub trait Hooks: fmt::Debug + Send + Sync + 'static {
    /// A client asks for something. The client waits until the answer or the question's deadline; other connections do
    /// not wait.
    fn ask(&self, ask: Ask, answer: Answer);

    /// What was asked about, and not refused, has ended. Called exactly once for each.
    fn notify(&self, notice: Notice) {
        let _ = notice;
    }

    /// A publisher that stood by is on air.
    fn switched(&self, switch: SwitchNotice) {
        let _ = switch;
    }
}

/// A publisher that stood by is on air: see [`Conflict::Backup`](anabranch_core::hub::Conflict::Backup).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SwitchNotice {
    /// The stream.
    pub key: StreamKey,
    /// Why.
    pub because: Switched,
    /// The publisher that was on air before.
    pub before: Option<HeldBy>,
    /// The client that is on air.
    pub client: ClientFacts,
}

/// Answers one question, once, from any thread. If it is dropped, there is no answer, and the deadline decides. It does
/// not keep the connection open: an answer for a client that is gone has no effect.
#[must_use = "if it is dropped, there is no answer"]
pub struct Answer {
    id: AskId,
    deliver: Box<dyn FnOnce(Verdict) + Send>,
}

impl Answer {
    pub(crate) fn new<C: Link>(id: AskId, connection: &Arc<C>) -> Self {
        let connection = Arc::downgrade(connection);
        let deliver = move |verdict| {
            let mut verdict = Some(verdict);
            if let Some(connection) = connection.upgrade() {
                connection.change_client(&mut |conn| {
                    if let Some(verdict) = verdict.take() {
                        conn.answer(Instant::now(), id, verdict);
                    }
                });
            }
        };
        Answer { id, deliver: Box::new(deliver) }
    }

    /// Which question this answers.
    pub fn id(&self) -> AskId {
        self.id
    }

    /// Gives the answer. Does not block.
    pub fn give(self, verdict: Verdict) {
        (self.deliver)(verdict);
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("id", &self.id).finish_non_exhaustive()
    }
}
