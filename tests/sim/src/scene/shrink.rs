use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::Once;
use std::time::{Duration, Instant};

use super::Plan;

/// How a scene failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In words.
    pub what: String,
    /// Where in the source.
    pub place: String,
    /// When in the scene.
    pub at: Duration,
}

impl Failure {
    /// What two failures of one kind have in common: the place, and the words without any numbers and what follows
    /// them.
    fn kind(&self) -> (&str, String) {
        let words = match self.what.strip_prefix("seed ") {
            Some(rest) => rest.split_once(": ").map_or(rest, |(_, words)| words),
            None => &self.what,
        };
        let plain = words.split_whitespace().filter(|word| word.chars().all(char::is_alphabetic));
        (&self.place, plain.take(4).collect::<Vec<_>>().join(" "))
    }
}

/// How much trouble to take.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Scenes played at the most.
    pub runs: u32,
    /// Real time after which no other is begun.
    pub time: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { runs: 2_000, time: Duration::from_secs(60) }
    }
}

/// The shortest history found that fails as the whole does.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// What happens in it.
    pub plan: Plan,
    /// How it fails.
    pub failure: Failure,
    /// How many were tried.
    pub runs: u32,
}

/// What can be played whole or in part, and shortened if it fails.
pub trait History {
    /// What it happens to.
    type Net;
    /// What comes of it.
    type Outcome;

    /// The servers before anything has happened.
    fn stage(&self) -> Self::Net;
    /// Plays it according to a plan.
    ///
    /// # Panics
    /// If anything is wrong.
    fn perform(&self, net: &mut Self::Net, plan: &Plan);
    /// What came of it so far.
    fn outcome(net: &Self::Net) -> Self::Outcome;
    /// How much time has passed.
    fn elapsed(net: &Self::Net) -> Duration;
}

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Plays a scene according to a plan.
///
/// # Errors
/// How it failed: a panic in it is caught and not printed.
pub fn attempt<H: History>(scene: &H, plan: &Plan) -> Result<H::Outcome, Failure> {
    stay_silent();
    let mut net = scene.stage();
    CATCHING.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(|| scene.perform(&mut net, plan)));
    CATCHING.set(false);
    match result {
        Ok(()) => Ok(H::outcome(&net)),
        Err(payload) => Err(Failure { what: words(&*payload), place: PLACE.take(), at: H::elapsed(&net) }),
    }
}

/// Shortens the history of a scene that fails with `failure` when all of it is played: leaves out operations (delta
/// debugging), then time.
pub fn shrink<H: History>(scene: &H, plan: &Plan, failure: Failure, budget: Budget) -> Shrunk {
    let mut search = Search { scene, budget, begin: Instant::now(), best: plan.clone(), failure, runs: 0 };
    search.cut_what_follows();
    search.leave_out();
    while search.hurry() {}
    // Leaving out time may have made more superfluous.
    search.leave_out();
    Shrunk { plan: search.best, failure: search.failure, runs: search.runs }
}

struct Search<'a, H> {
    scene: &'a H,
    budget: Budget,
    begin: Instant,
    best: Plan,
    failure: Failure,
    runs: u32,
}

impl<H: History> Search<'_, H> {
    /// Takes this plan if it fails in the same way.
    fn try_plan(&mut self, plan: Plan) -> bool {
        if self.is_spent() {
            return false;
        }
        self.runs += 1;
        match attempt(self.scene, &plan) {
            Err(failure) if failure.kind() == self.failure.kind() => {
                (self.best, self.failure) = (plan, failure);
                self.cut_what_follows();
                true
            }
            _ => false,
        }
    }

    fn is_spent(&self) -> bool {
        self.runs >= self.budget.runs || self.begin.elapsed() > self.budget.time
    }

    /// What was to happen after the failure has nothing to do with it.
    fn cut_what_follows(&mut self) {
        let at = self.failure.at;
        self.best.steps.retain(|(_, time)| *time <= at);
        // The failure of a step that ends at this moment must still come.
        self.best.end = self.best.end.min(at + Duration::from_millis(1));
    }

    /// Delta debugging: leaves out ever smaller parts, until no single operation can be missed.
    fn leave_out(&mut self) {
        let mut size = self.best.steps.len().div_ceil(2).max(1);
        loop {
            let (mut from, mut any) = (0, false);
            while from < self.best.steps.len() && !self.is_spent() {
                let mut plan = self.best.clone();
                plan.steps.drain(from..(from + size).min(plan.steps.len()));
                if self.try_plan(plan) {
                    any = true;
                } else {
                    from += size;
                }
            }
            match (size, any) {
                (1, false) => return,
                (1, true) => {}
                _ => size = size.div_ceil(2),
            }
            if self.is_spent() {
                return;
            }
        }
    }

    /// Lets less time pass before each operation, if it fails all the same; true if that gained something.
    fn hurry(&mut self) -> bool {
        let before = self.best.end;
        for index in 0..self.best.steps.len() {
            for part in [0, 1, 4, 16] {
                if index >= self.best.steps.len() {
                    break;
                }
                let before = index.checked_sub(1).map_or(Duration::ZERO, |before| self.best.steps[before].1);
                let wait = self.best.steps[index].1.saturating_sub(before);
                // In whole milliseconds, so that it can be written down.
                let shorter = Duration::from_millis((wait * part / 32).as_millis() as u64);
                if shorter + Duration::from_millis(1) >= wait {
                    continue;
                }
                let mut plan = self.best.clone();
                for (_, time) in &mut plan.steps[index..] {
                    *time -= wait - shorter;
                }
                if self.try_plan(plan) {
                    break;
                }
            }
        }
        // Less would take long for little.
        self.best.end + before / 16 < before
    }
}

/// Panics in trial runs are recorded; all others are printed as usual.
fn stay_silent() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |information| {
            if CATCHING.get() {
                PLACE.set(information.location().map(Location::to_string).unwrap_or_default());
            } else {
                before(information);
            }
        }));
    });
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}
