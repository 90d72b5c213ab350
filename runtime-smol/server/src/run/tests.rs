//! The plan in virtual time.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anabranch_core::url::StreamKey;

use super::plan::{Exit, Facts, OfStream, Order, Outcome, Plan, PlanLimits, State, Why};
use super::settings::{Restart, RunSettings};
use crate::settings::values::Time;

const SECOND: Duration = Duration::from_secs(1);

/// A plan, and the programs that its orders have started.
struct World {
    plan: Plan,
    now: Instant,
    /// Task and process of those that run.
    running: Vec<(u64, u32)>,
    terminated: Vec<u64>,
    killed: Vec<u64>,
    waits: Vec<Why>,
    /// When programs were started.
    starts: Vec<Instant>,
    next_pid: u32,
}

fn key(name: &str) -> StreamKey {
    name.parse().unwrap()
}

fn run() -> RunSettings {
    RunSettings { streams: Vec::new(), ..toml::from_str("command = ['x']").unwrap() }
}

fn settings(runs: &[RunSettings]) -> OfStream {
    OfStream { runs: runs.iter().cloned().map(Arc::new).collect(), away: Duration::ZERO, most: None }
}

impl World {
    fn new() -> Self {
        World::with(PlanLimits { runs: None, starts: 100_000 })
    }

    fn with(limits: PlanLimits) -> Self {
        let now = Instant::now();
        World {
            plan: Plan::new(now, limits, 7),
            now,
            running: Vec::new(),
            terminated: Vec::new(),
            killed: Vec::new(),
            waits: Vec::new(),
            starts: Vec::new(),
            next_pid: 100,
        }
    }

    fn publish(&mut self, name: &str, settings: OfStream) {
        let facts = Facts {
            key: key(name),
            params: String::new(),
            address: String::new(),
            connection: 1,
            is_relayed: false,
            begun: SystemTime::UNIX_EPOCH,
        };
        self.plan.published(self.now, facts, settings);
        self.act();
    }

    fn unpublish(&mut self, name: &str) {
        self.plan.unpublished(self.now, &key(name));
        self.act();
    }

    /// Does what is due.
    fn act(&mut self) {
        loop {
            let orders = self.plan.due(self.now);
            if orders.is_empty() {
                break;
            }
            for order in orders {
                match order {
                    Order::Start { id, .. } => {
                        self.plan.started(self.now, id, self.next_pid);
                        self.running.push((id, self.next_pid));
                        self.starts.push(self.now);
                        self.next_pid += 1;
                    }
                    Order::Terminate { id } => self.terminated.push(id),
                    Order::Kill { id } => self.killed.push(id),
                    Order::Waits { why, .. } => self.waits.push(why),
                }
            }
        }
    }

    /// The oldest program ends.
    fn exit(&mut self, exit: Exit) -> Option<Outcome> {
        let (id, _) = self.running.remove(0);
        let outcome = self.plan.exited(self.now, id, exit, String::new());
        self.act();
        outcome
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.plan.next().filter(|at| *at <= end) {
            assert!(at >= self.now, "a time that is over is no time to wait for");
            let before = self.now;
            self.now = at;
            self.act();
            assert!(self.plan.next() != Some(before), "it does not spin");
        }
        self.now = end;
        self.act();
    }
}

#[test]
fn a_program_runs_as_long_as_its_stream() {
    let mut world = World::new();
    world.publish("live/cam", settings(&[run(), RunSettings { name: "two".to_owned(), ..run() }]));
    assert_eq!(world.running.len(), 2);
    world.wait(100 * SECOND);
    assert!(world.terminated.is_empty() && world.running.len() == 2);
    world.unpublish("live/cam");
    assert_eq!(world.terminated.len(), 2);
    assert_eq!(world.exit(Exit::Signal(15)), Some(Outcome::Ended));
    assert_eq!(world.exit(Exit::Code(0)), Some(Outcome::Ended));
    assert_eq!(world.plan.tasks().count(), 0);
    assert!(world.killed.is_empty() && world.plan.next().is_none() && !world.plan.is_active());
}

#[test]
fn a_program_that_does_not_end_is_killed_after_its_grace() {
    let mut world = World::new();
    world.publish("live/cam", settings(&[RunSettings { grace: Time(3 * SECOND), ..run() }]));
    world.unpublish("live/cam");
    world.wait(3 * SECOND - Duration::from_millis(1));
    assert!(world.killed.is_empty());
    world.wait(Duration::from_millis(1));
    assert_eq!(world.killed.len(), 1);
    world.wait(100 * SECOND);
    assert_eq!(world.killed.len(), 1, "once is enough");
    assert_eq!(world.exit(Exit::Signal(9)), Some(Outcome::Killed));
    assert_eq!(world.plan.tasks().count(), 0);
}

#[test]
fn the_next_publication_waits_for_the_program_of_the_last_one() {
    let mut world = World::new();
    world.publish("live/cam", settings(&[run()]));
    world.unpublish("live/cam");
    world.publish("live/cam", settings(&[run()]));
    assert_eq!((world.running.len(), world.plan.waiting()), (1, 1));
    world.wait(10 * SECOND);
    assert_eq!(world.starts.len(), 1, "also after SIGKILL, as long as it is there");
    world.exit(Exit::Signal(9));
    assert_eq!((world.running.len(), world.starts.len()), (1, 2));
    assert_eq!(world.plan.restarts, 0, "it is the first start of another publication");
}

#[test]
fn a_publisher_that_comes_back_in_time_finds_its_programs() {
    let mut world = World::new();
    let patient = || OfStream { away: 5 * SECOND, ..settings(&[run()]) };
    world.publish("live/cam", patient());
    world.unpublish("live/cam");
    world.wait(4 * SECOND);
    world.publish("live/cam", patient());
    world.wait(100 * SECOND);
    assert!(world.terminated.is_empty() && world.starts.len() == 1);
    world.unpublish("live/cam");
    world.wait(5 * SECOND);
    assert_eq!(world.terminated.len(), 1);
}

#[test]
fn each_policy_restarts_what_it_says() {
    for (restart, success, failure, signal) in [
        (Restart::OnFailure, false, true, true),
        (Restart::Always, true, true, true),
        (Restart::Never, false, false, false),
    ] {
        for (exit, again, outcome) in [
            (Exit::Code(0), success, Outcome::Success),
            (Exit::Code(1), failure, Outcome::Failure),
            (Exit::Signal(11), signal, Outcome::Signal),
        ] {
            let mut world = World::new();
            world.publish("live/cam", settings(&[RunSettings { restart, ..run() }]));
            assert_eq!(world.exit(exit), Some(outcome));
            let over = world.plan.tasks().next().unwrap().1.state == State::Over;
            assert_eq!(over, !again, "{restart:?} {exit:?}");
            world.wait(2 * SECOND);
            assert_eq!(world.running.len(), usize::from(again));
            world.unpublish("live/cam");
            assert_eq!(world.terminated.len(), usize::from(again));
        }
    }
}

#[test]
fn waits_before_restarts_double_up_to_the_longest() {
    let mut world = World::new();
    let run = RunSettings { restart_after: Time(SECOND), restart_most: Time(10 * SECOND), starts: 1000, ..run() };
    world.publish("live/cam", settings(&[run]));
    let mut waits = Vec::new();
    for _ in 0..8 {
        let ended = world.now;
        world.exit(Exit::Code(1));
        while world.running.is_empty() {
            let at = world.plan.next().unwrap();
            world.wait(at - world.now);
        }
        waits.push((world.now - ended).as_secs_f64());
    }
    for (wait, expected) in waits.iter().zip([1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0, 10.0]) {
        assert!((expected * 0.75..=expected * 1.25).contains(wait), "{waits:?}");
    }
    assert!(waits[4..].windows(2).any(|pair| pair[0] != pair[1]), "{waits:?}");
    // It has run for long enough.
    world.wait(10 * SECOND);
    world.exit(Exit::Code(1));
    let at = world.plan.next().unwrap();
    assert!((at - world.now).as_secs_f64() <= 1.25);
    assert_eq!(world.plan.restarts, 8);
}

#[test]
fn what_cannot_be_started_is_tried_again_and_what_must_not_be_is_not() {
    for (refused, again) in [(false, true), (true, false)] {
        let mut world = World::new();
        world.plan.published(
            world.now,
            Facts {
                key: key("live/cam"),
                params: String::new(),
                address: String::new(),
                connection: 1,
                is_relayed: false,
                begun: SystemTime::UNIX_EPOCH,
            },
            settings(&[run()]),
        );
        let orders = world.plan.due(world.now);
        let [Order::Start { id, .. }] = orders[..] else { panic!("{orders:?}") };
        world.plan.not_started(world.now, id, "no".to_owned(), refused);
        world.wait(2 * SECOND);
        assert_eq!(world.running.len(), usize::from(again));
    }
}

#[test]
fn the_limits_hold_and_those_that_wait_get_their_turn() {
    let mut world = World::with(PlanLimits { runs: Some(3), starts: 100_000 });
    for number in 0..10 {
        world.publish(&format!("live/cam{number}"), settings(&[run()]));
    }
    assert_eq!((world.running.len(), world.waits.len()), (3, 7));
    world.wait(100 * SECOND);
    assert_eq!(world.waits.len(), 7, "said once");
    assert!(world.waits.iter().all(|why| *why == Why::Room));
    for number in 0..10 {
        world.unpublish(&format!("live/cam{number}"));
        if !world.running.is_empty() {
            world.exit(Exit::Code(0));
        }
        assert!(world.running.len() <= 3);
    }
    assert_eq!(world.starts.len(), 10);
    // That of a virtual host.
    let mut world = World::new();
    for number in 0..4 {
        world.publish(&format!("live/cam{number}"), OfStream { most: Some(1), ..settings(&[run()]) });
        world.publish(&format!("live/cam{number}?vhost=v"), OfStream { most: Some(2), ..settings(&[run()]) });
    }
    assert_eq!(world.running.len(), 3);
}

#[test]
fn a_stream_that_comes_and_goes_starts_no_storm() {
    let mut world = World::new();
    let run = RunSettings { starts: 5, ..run() };
    let begin = world.now;
    for _ in 0..600 {
        world.publish("live/cam", settings(std::slice::from_ref(&run)));
        world.unpublish("live/cam");
        while !world.running.is_empty() {
            world.exit(Exit::Signal(15));
        }
        world.wait(SECOND);
    }
    let within = |from: u32| {
        let (from, to) = (begin + SECOND * from, begin + SECOND * (from + 60));
        world.starts.iter().filter(|at| **at >= from && **at < to).count()
    };
    for from in 0..540 {
        assert!((4..=10).contains(&within(from)), "{from}: {}", within(from));
    }
    assert!((50..=55).contains(&world.starts.len()), "{}", world.starts.len());
    assert!(world.waits.iter().all(|why| *why == Why::Pace));
}

#[test]
fn the_limit_of_all_starts_holds_for_all_names() {
    let mut world = World::with(PlanLimits { runs: None, starts: 60 });
    for number in 0..100 {
        world.publish(&format!("live/cam{number}"), settings(&[run()]));
    }
    assert_eq!(world.running.len(), 60);
    world.wait(10 * SECOND);
    assert_eq!(world.running.len(), 70);
    world.wait(60 * SECOND);
    assert_eq!(world.running.len(), 100);
}

#[test]
fn a_draining_server_ends_programs_and_starts_them_again_if_it_does_not_leave() {
    let mut world = World::new();
    world.publish("live/cam", settings(&[run()]));
    world.plan.hold(world.now, true);
    world.act();
    assert_eq!(world.terminated.len(), 1);
    world.publish("live/other", settings(&[run()]));
    world.exit(Exit::Code(0));
    world.wait(100 * SECOND);
    assert!(world.running.is_empty() && world.starts.len() == 1);
    world.plan.hold(world.now, false);
    world.act();
    assert_eq!(world.running.len(), 2, "the streams that are still there");
}

#[test]
fn a_reload_ends_what_is_gone_and_starts_what_is_new() {
    let mut world = World::new();
    let named = |name: &str| RunSettings { name: name.to_owned(), ..run() };
    world.publish("live/cam", settings(&[named("stays"), named("goes")]));
    let limits = PlanLimits { runs: None, starts: 100 };
    world.plan.reconfigure(world.now, limits, |_| Some(settings(&[named("comes"), named("stays")])));
    world.act();
    assert_eq!(world.terminated, [2]);
    let mut names: Vec<_> = world.plan.tasks().map(|(_, task)| (task.settings.name.clone(), task.starts)).collect();
    names.sort();
    // The new one begins when the one that was first in the list before has ended, or at once: it is another program.
    assert_eq!(names.len(), 3, "{names:?}");
    world.running.remove(0);
    world.exit(Exit::Code(0));
    world.wait(SECOND);
    let names: Vec<_> = world.plan.tasks().map(|(_, task)| (task.settings.name.clone(), task.starts)).collect();
    assert_eq!(names, [("stays".to_owned(), 1), ("comes".to_owned(), 1)]);
}

#[test]
fn whatever_happens_no_program_is_left_and_no_limit_is_passed() {
    for seed in 0..300_u64 {
        let mut random = seed;
        let mut next = |most: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % most
        };
        let mut world = World::with(PlanLimits { runs: Some(4), starts: 1000 });
        for _ in 0..300 {
            let name = format!("live/cam{}", next(5));
            match next(8) {
                0 | 1 => {
                    let away = SECOND * u32::try_from(next(3)).unwrap();
                    let two = RunSettings { name: "two".to_owned(), restart: Restart::Always, ..run() };
                    world.publish(&name, OfStream { away, ..settings(&[run(), two]) });
                }
                2 | 3 => world.unpublish(&name),
                4 if !world.running.is_empty() => {
                    let exit = if next(2) == 0 { Exit::Code(0) } else { Exit::Signal(9) };
                    let at = next(world.running.len() as u64) as usize;
                    world.running.swap(0, at);
                    world.exit(exit);
                }
                5 => {
                    let hold = next(3) == 0;
                    world.plan.hold(world.now, hold);
                    world.act();
                }
                _ => world.wait(Duration::from_millis(next(3000))),
            }
            assert!(world.running.len() <= 4);
        }
        for number in 0..5 {
            world.unpublish(&format!("live/cam{number}"));
        }
        world.wait(10 * SECOND);
        assert_eq!(world.running.iter().filter(|(id, _)| !world.terminated.contains(id)).count(), 0, "seed {seed}");
        while !world.running.is_empty() {
            world.exit(Exit::Signal(9));
        }
        world.plan.hold(world.now, false);
        world.act();
        assert_eq!(world.plan.tasks().count(), 0, "seed {seed}");
        assert_eq!(world.plan.next(), None);
    }
}

#[test]
fn a_stream_without_programs_is_forgotten_with_its_publisher() {
    let mut world = World::new();
    for number in 0..10_000 {
        let name = format!("live/cam{number}");
        world.publish(&name, OfStream { away: 10 * SECOND, ..settings(&[]) });
        world.unpublish(&name);
    }
    assert_eq!((world.plan.known(), world.plan.next()), (0, None), "nothing waits for its end");
    // A reload takes the programs away while the publisher is.
    world.publish("live/cam", OfStream { away: 10 * SECOND, ..settings(&[run()]) });
    world.unpublish("live/cam");
    world.plan.reconfigure(world.now, PlanLimits { runs: None, starts: 100 }, |_| Some(settings(&[])));
    world.act();
    world.exit(Exit::Signal(15));
    world.wait(10 * SECOND);
    assert_eq!((world.plan.known(), world.plan.tasks().count()), (0, 0));
}

#[test]
fn what_waits_costs_nothing_until_it_is_its_turn() {
    let mut world = World::with(PlanLimits { runs: Some(5), starts: 100_000 });
    for number in 0..10_000 {
        world.publish(&format!("live/cam{number}"), settings(&[run()]));
    }
    assert_eq!((world.running.len(), world.plan.waiting()), (5, 9_995));
    let looks = |world: &mut World, what: &str, most: usize| {
        let looks = std::mem::take(&mut world.plan.looks);
        assert!(looks <= most, "{what}: {looks} tasks looked at");
    };
    looks(&mut world, "all publications", 3 * 10_000);
    world.wait(SECOND);
    world.plan.due(world.now);
    looks(&mut world, "nothing to do", 0);
    world.publish("live/more", settings(&[run()]));
    looks(&mut world, "one more", 3);
    world.unpublish("live/cam0");
    world.exit(Exit::Code(0));
    assert_eq!(world.running.len(), 5);
    looks(&mut world, "one less", 3);
}

#[test]
fn virtual_hosts_take_turns() {
    let mut world = World::with(PlanLimits { runs: Some(2), starts: 100_000 });
    for number in 0..100 {
        world.publish(&format!("live/cam{number}?vhost=greedy"), settings(&[run()]));
    }
    for host in ["a", "b", "c"] {
        world.publish(&format!("live/cam?vhost={host}"), settings(&[run()]));
    }
    let mut order = Vec::new();
    for _ in 0..6 {
        let (id, _) = world.running[0];
        let key = world.plan.task(id).unwrap().facts.key.clone();
        order.push(key.vhost().to_owned());
        world.unpublish(&format!("{}?vhost={}", key.path(), key.vhost()));
        world.exit(Exit::Code(0));
    }
    assert_eq!(order, ["greedy", "greedy", "a", "b", "c", "greedy"]);
}

#[test]
fn a_program_that_was_not_started_takes_no_start_from_others() {
    let mut world = World::with(PlanLimits { runs: None, starts: 2 });
    for number in 0..10 {
        let name = format!("live/cam{number}");
        let facts = Facts {
            key: key(&name),
            params: String::new(),
            address: String::new(),
            connection: 1,
            is_relayed: false,
            begun: SystemTime::UNIX_EPOCH,
        };
        world.plan.published(world.now, facts, settings(&[run()]));
        let orders = world.plan.due(world.now);
        let [Order::Start { id, .. }] = orders[..] else { panic!("{number}: {orders:?}") };
        world.plan.not_started(world.now, id, "its name is an option".to_owned(), true);
    }
    world.publish("live/cam", settings(&[run()]));
    assert_eq!(world.running.len(), 1);
}

#[test]
fn a_program_that_cannot_be_ended_is_reported_by_those_that_wait_for_its_end() {
    let mut world = World::new();
    let run = RunSettings { grace: Time(3 * SECOND), ..run() };
    world.publish("live/cam", settings(std::slice::from_ref(&run)));
    world.unpublish("live/cam");
    world.publish("live/cam", settings(std::slice::from_ref(&run)));
    world.wait(7 * SECOND);
    assert_eq!((world.killed.len(), &world.waits[..]), (1, &[][..]), "it may still end");
    world.wait(100 * SECOND);
    assert_eq!(world.waits, [Why::Turn], "once");
    world.exit(Exit::Signal(9));
    assert_eq!(world.running.len(), 1);
}

#[test]
fn a_program_that_is_not_wanted_any_more_when_it_has_started_is_ended() {
    let mut world = World::new();
    let facts = Facts {
        key: key("live/cam"),
        params: String::new(),
        address: String::new(),
        connection: 1,
        is_relayed: false,
        begun: SystemTime::UNIX_EPOCH,
    };
    world.plan.published(world.now, facts, settings(&[run()]));
    let orders = world.plan.due(world.now);
    let [Order::Start { id, .. }] = orders[..] else { panic!("{orders:?}") };
    assert_eq!(world.plan.starting(), [id]);
    // The system takes its time.
    world.unpublish("live/cam");
    world.wait(10 * SECOND);
    assert!(world.terminated.is_empty() && !world.plan.is_idle());
    world.plan.started(world.now, id, 1);
    world.act();
    assert_eq!(world.terminated, [id]);
    world.plan.exited(world.now, id, Exit::Signal(15), String::new());
    assert!(world.plan.is_idle() && world.plan.tasks().count() == 0);
}

#[test]
fn another_publisher_of_the_stream_may_have_other_programs() {
    let mut world = World::new();
    let named = |name: &str| RunSettings { name: name.to_owned(), ..run() };
    world.publish("live/cam", settings(&[named("relayed")]));
    // A client takes over from another server.
    world.publish("live/cam", settings(&[named("relayed"), named("plain")]));
    assert_eq!((world.running.len(), world.terminated.len()), (2, 0));
    world.publish("live/cam", settings(&[named("relayed")]));
    assert_eq!(world.terminated, [2]);
}
