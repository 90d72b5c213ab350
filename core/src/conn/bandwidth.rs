use std::time::Instant;

use super::rules::{self, NotMeasured};
use super::slow_path::SlowPath;
use crate::bandwidth::{self, BandwidthCheck, CHUNK_STREAM};
use crate::capture::Step;
use crate::command::Command;
use crate::policy::Refusal;
use crate::session::{CloseReason, ConnectRequest};

/// A chunk stream id that fits the one-byte form.
const CHECK_CHUNK_STREAM: u8 = CHUNK_STREAM as u8;

impl SlowPath {
    /// A `connect` to a host for bandwidth checks.
    pub(super) fn begin_check(&mut self, now: Instant, request: ConnectRequest) {
        let Some(config) = self.vhost.config().bandwidth_check.clone() else {
            return;
        };
        let tc_url = request.info().tc_url.clone().unwrap_or_default();
        match rules::may_measure(&self.vhost, &tc_url, now) {
            Ok(()) => {}
            Err(NotMeasured::WrongKey) => {
                return self.refuse_connect(request, &rules::connect_rejected(Refusal::CheckKey));
            }
            Err(NotMeasured::TooSoon(too_soon)) => {
                self.session.send_measuring(CHECK_CHUNK_STREAM, &too_soon.notice());
                return self.refuse_connect(request, &rules::connect_rejected(Refusal::CheckTooSoon(too_soon)));
            }
        }
        let permit = rules::admit_connection(&self.server, &self.vhost).map_err(rules::connect_rejected);
        match self.ruled_besides(now, Step::Connect, permit) {
            Ok(permit) => {
                if let Some(client) = &mut self.client {
                    client.permit = Some(permit);
                }
            }
            Err(rejection) => return self.refuse_connect(request, &rejection),
        }
        let swf_url = request.info().swf_url.clone();
        self.session.set_config(self.vhost.own.session.clone());
        self.session.accept(request);
        self.session.measure();
        self.check = Some(Box::new(BandwidthCheck::new(&config, now).with_swf_url(swf_url.as_deref())));
    }

    /// Handles what the measured client sent.
    pub(super) fn measured(&mut self, now: Instant, command: Option<&Command>, bytes: usize) {
        if let Some(check) = &mut self.check {
            match command {
                Some(command) => check.handle(now, command, bytes),
                None => check.received(now, bytes),
            }
        }
    }

    /// Sends the next messages of the check. Returns when to call it again.
    pub(super) fn measure(&mut self, now: Instant) -> Option<Instant> {
        if self.session.is_closing() {
            self.check = None;
        }
        let check = self.check.as_mut()?;
        loop {
            let outbound = self.session.outbound();
            let waiting = outbound.len() + outbound.lent_len();
            match check.poll(now, waiting) {
                bandwidth::Step::Send(command) => self.session.send_measuring(CHECK_CHUNK_STREAM, &command),
                bandwidth::Step::Wait(until) => return Some(until),
                bandwidth::Step::Finished(_) => {
                    self.session.close(CloseReason::BandwidthChecked);
                    return None;
                }
            }
        }
    }
}
