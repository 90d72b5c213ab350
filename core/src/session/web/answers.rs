//! How answers are sent.

use super::{Admission, Beginning, Live, Stage};
use crate::endpoint::Cause;
use crate::endpoint::{Error, Timer};
use crate::http::websocket;
use crate::http::{Answer, Framing, HttpError, date_line};
use crate::session::Session;
use crate::session::as_play::refused;
use crate::session::event::{CloseReason, Rejection};
use crate::session::state::Change;
use crate::time_limit::TimeLimit;

impl Session {
    pub(super) fn answer_web(&mut self, answer: &Answer) {
        let Some(web) = self.web.as_mut().filter(|web| matches!(web.stage, Stage::Asked { .. })) else {
            return;
        };
        let Stage::Asked { is_head, fields } = std::mem::replace(&mut web.stage, Stage::Reading) else {
            return;
        };
        self.endpoint.state.change(Change::Answered);
        // The program may have put them there itself.
        let is_refusal = answer.status >= 400 && !answer.has_field("Access-Control-Allow-Origin");
        self.queue_answer(answer, if is_refusal { &fields } else { "" }, is_head);
    }

    /// Sends an answer, and goes on as the request wants it.
    pub(super) fn queue_answer(&mut self, answer: &Answer, fields: &str, is_head: bool) {
        let lines = fields.to_owned() + &self.date_of(answer);
        let Some(web) = &mut self.web else {
            return;
        };
        let (keeps_alive, idle) = (!web.is_last && !web.drains, web.settings.idle);
        web.since = self.endpoint.now;
        self.endpoint.outbound.push_answer(answer.head(&lines, keeps_alive).into());
        if answer.has_length() && !is_head {
            answer.pieces().for_each(|piece| self.endpoint.outbound.push_answer(piece.clone()));
        }
        if keeps_alive {
            self.endpoint.timers.limit(Timer::Setup, TimeLimit::new(self.endpoint.now, idle));
        } else {
            web.stage = Stage::Over;
            self.close_with(CloseReason::Served, String::new());
        }
    }

    /// Sends an answer that is the last one. The caller closes.
    pub(super) fn queue_last_answer(&mut self, answer: &Answer) {
        let date = self.date_of(answer);
        let Some(web) = &mut self.web else {
            return;
        };
        let (fields, is_head) = match std::mem::replace(&mut web.stage, Stage::Over) {
            Stage::Elsewhere(_) => {
                web.admission = Some(Admission::Refused(answer.clone()));
                return;
            }
            Stage::Live(live) => (live.fields, live.is_head),
            Stage::Asked { is_head, fields } => (fields, is_head),
            Stage::Reading | Stage::Over => (String::new(), false),
        };
        self.endpoint.outbound.push_answer(answer.head(&(fields + &date), false).into());
        if !is_head {
            answer.pieces().for_each(|piece| self.endpoint.outbound.push_answer(piece.clone()));
        }
    }

    /// A rule refuses the live stream.
    pub(in crate::session) fn refuse_web(&mut self, rejection: &Rejection) {
        let delivery = self.delivery();
        self.queue_last_answer(&refused(rejection, delivery));
    }

    /// What the client sent cannot be read.
    pub(in crate::session) fn fail_web(&mut self, error: &Error) {
        let Error::Http(error) = error else {
            return;
        };
        let is_open =
            |live: &mut Live| live.framing == Framing::Messages && matches!(live.beginning, Beginning::Begun(_));
        if self.web.as_mut().and_then(|web| web.live()).is_some_and(is_open) {
            let status = match error {
                HttpError::FrameTooLong { .. } => websocket::TOO_BIG,
                _ => websocket::PROTOCOL_ERROR,
            };
            self.endpoint.queue(Cause::Own, websocket::close_frame(status));
            if let Some(web) = &mut self.web {
                web.stage = Stage::Over;
            }
        } else {
            self.queue_last_answer(&Answer::text(error.status(), &error.to_string()));
        }
    }

    /// The line with the date of an answer that has none.
    fn date_of(&self, answer: &Answer) -> String {
        if answer.has_field("Date") { String::new() } else { self.date_line() }
    }

    /// The line with the date of an answer; empty if the server does not know the time of day. It follows from the time at
    /// which the connection came in, which captures have.
    pub(super) fn date_line(&self) -> String {
        let passed = self.endpoint.now.saturating_duration_since(self.start).as_secs();
        self.door.unix.map_or_else(String::new, |unix| date_line(unix.saturating_add(passed)))
    }
}
