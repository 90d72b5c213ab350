//! Scenes as the tool plays them: the same line from each process, and histories shortened to what matters.

use std::process::Command;
use std::time::Duration;

use anabranch_sim::scene::{Act, Budget, Kind, Plan, Scene, Shape, attempt, shrink};
use anabranch_sim::{ClientId, Sim};

/// What the tool prints, and whether it is content.
fn tool(arguments: &str) -> (String, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
    let output = command.args(arguments.split_whitespace()).output().expect("the tool is built");
    (String::from_utf8(output.stdout).expect("it prints text"), output.status.success())
}

#[test]
fn two_processes_print_the_same_digest_for_one_seed() {
    for arguments in [
        "--scene random --seed 100 --seeds 20",
        "--scene modest --seed 3 --minutes 0.5",
        "--scene hostile --seed 3 --minutes 0.5",
    ] {
        let (first, passed) = tool(arguments);
        assert!(passed, "{first}");
        assert_eq!(tool(arguments).0, first);
        assert_eq!(tool(&format!("{arguments} --jobs 3")).0, first, "in whatever order they are done");
    }
    let line = |seed| tool(&format!("--scene random --seed {seed}")).0;
    let digest = |line: &str| line.rsplit_once(' ').expect("the digest is last").1.to_owned();
    assert_ne!(digest(&line(5)), digest(&line(6)));
}

#[test]
fn a_part_of_a_scene_is_played_as_it_is_named() {
    let (line, passed) = tool("--scene random --seed 7 --only 0,1@0.25 --until 5 --trace");
    assert!(passed);
    assert_eq!(line.lines().count(), 4, "two operations, the end, the result: {line}");
    assert!(line.contains("1       0.250 s  client 1 plays a.example/live/a"), "{line}");
    assert!(line.contains("seed 7: 6.000 s, 2 clients, "), "{line}");
    assert!(!tool("--only 3,2").1);
    assert!(!tool("--scene unknown").1);
    assert!(!tool("--no-such 1").1);
}

#[test]
fn scenes_of_all_kinds_are_busy_and_pass() {
    for (kind, seeds, seconds, least) in
        [(Kind::Modest, 1, 60, 20_000), (Kind::Hostile, 10, 60, 100), (Kind::Busy, 1, 10, 30_000)]
    {
        let mut received = 0;
        for seed in 0..seeds {
            let shape = Shape { duration: Some(Duration::from_secs(seconds)), ..Shape::of(kind) };
            let outcome = Scene::new(seed, &shape).play();
            assert_eq!(outcome.elapsed, Duration::from_secs(seconds + 1));
            received += outcome.received;
        }
        assert!(received > least * seeds, "{kind:?}: {received} frames were received");
    }
}

/// A check that reports pausing and resuming as an error.
fn nobody_resumes(net: &Sim) -> Result<(), String> {
    let resumed = |id: &ClientId| {
        let client = net.client(*id);
        client.count("NetStream.Pause.Notify") > 0 && client.count("NetStream.Unpause.Notify") > 0
    };
    net.clients().find(resumed).map_or(Ok(()), |id| Err(format!("client {} resumed", id.index())))
}

#[test]
fn a_failing_history_is_shortened_to_the_operations_that_matter() {
    let shape = Shape { duration: Some(Duration::from_secs(120)), variations: 300, ..Shape::of(Kind::Hostile) };
    let mut found = 0;
    for seed in 0..6 {
        let scene = Scene::new(seed, &shape).also_check(nobody_resumes);
        let whole = scene.whole();
        let Err(failure) = attempt(&scene, &whole) else {
            continue;
        };
        found += 1;
        assert!(failure.what.contains("resumed"), "{failure:?}");
        let budget = Budget { runs: 2_000, time: Duration::from_secs(3_600) };
        let shrunk = shrink(&scene, &whole, failure, budget);
        let acts: Vec<_> = shrunk.plan.steps.iter().map(|(number, _)| &scene.operations()[*number].act).collect();
        let story = scene.describe(&shrunk.plan);
        assert!(whole.steps.len() > 40, "{}", whole.steps.len());
        assert!(
            matches!(
                acts[..],
                [Act::Play { .. }, Act::Pause { on: true, .. }, Act::Pause { on: false, .. }]
                    | [
                        Act::Publish { .. },
                        Act::Play { .. },
                        Act::Pause { on: true, .. },
                        Act::Pause { on: false, .. }
                    ]
            ),
            "{story}"
        );
        assert!(shrunk.plan.end < Duration::from_secs(3), "{story}");
        // The shortened history is complete: it fails again, and does not fail without any of its parts.
        assert_eq!(attempt(&scene, &shrunk.plan), Err(shrunk.failure));
        for left_out in 0..acts.len() {
            let mut steps = shrunk.plan.steps.clone();
            steps.remove(left_out);
            assert!(attempt(&scene, &Plan { steps, ..shrunk.plan }).is_ok(), "{story}");
        }
    }
    assert!(found >= 2, "most of these pause and resume: {found}");
}
