use super::{Moment, Outcome, What, show_decision};
use crate::capture::{Called, Capture, Polled, Record};
use crate::session::Phase;

/// Shows what a capture has that began in the middle of its connection.
pub(super) fn show(capture: &Capture, show: &mut dyn FnMut(&Moment<'_>)) -> Outcome {
    let phase = capture.joined().map_or(Phase::Handshake, |joined| joined.phase);
    let mut outcome = Outcome { difference: None, calls: 0, queued: 0 };
    // Bytes that waited for the client when that was shown last.
    let mut waiting = 0;
    for (at, record) in &capture.records {
        let mut show = |what: What<'_>| show(&Moment { at: *at, phase, what });
        match record {
            Record::Call(written, called) => {
                outcome.calls += 1;
                if written.waiting != waiting {
                    waiting = written.waiting;
                    let words = format!("{waiting} bytes wait for the client to take them");
                    show(What::Call { words: &words, routine: true });
                }
                match called {
                    Called::Input(bytes) => show(What::Input(bytes)),
                    Called::Poll => {}
                    called => {
                        let routine = matches!(called, Called::Timeout);
                        show(What::Call { words: &called.to_string(), routine });
                    }
                }
            }
            Record::Decision(decision) => show_decision(&decision.kind, &mut show),
            Record::Output(bytes) => {
                outcome.queued += bytes.len() as u64;
                show(What::Output(bytes));
            }
            Record::Returned(returned) => match &returned.what {
                Polled::Action(label) => show(What::Action { words: label, routine: label == "wake" }),
                Polled::Closed(closing) => show(What::Closed(&closing.report)),
                Polled::Wait(_) => {}
            },
            Record::Opening(_) | Record::Joined(_) | Record::Pull(_) | Record::Stopped(_) => {}
        }
    }
    outcome
}
