use super::many::{FINE, LOSSY, PlainPeers, UNEASY, estimate, hello};
use super::*;

struct Scene {
    world: World,
    low: Option<Publisher>,
    path: Path,
    pictures: u32,
    /// Of each datagram to the viewer its time and its bytes.
    got: Vec<(u32, usize)>,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::with(Settings::default(), Box::new(PlainPeers));
        world.publish();
        let low = StreamKey::new("__defaultVhost__", "live", "cam_low").expect("a name");
        let mut low = world.hub.publish(&low).expect("the name is free");
        low.push(world.now, avc_header()).expect("it is on air");
        let number = world.post("/live/cam/whep", "v=0\r\nm=video 9\r\n");
        let (local, remote) = (SERVER.parse().expect("an address"), "10.0.0.1:9".parse().expect("an address"));
        let path = Path { transport: Transport::Tcp, local, remote };
        let mut scene = Scene { world, low: Some(low), path, pictures: 0, got: Vec::new() };
        scene.run(1);
        let name = String::from_utf8(scene.world.answers[&number].body.to_vec()).expect("text");
        scene.say(&hello(&name));
        scene
    }

    fn say(&mut self, bytes: &[u8]) {
        self.world.desk.receive(self.world.time(), self.path, bytes);
        self.take();
    }

    fn take(&mut self) {
        while let Some(datagram) = self.world.desk.poll_datagram() {
            let time = datagram.bytes.get(8..12).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
            self.got.push((time, datagram.bytes.len()));
        }
        while let Some(effect) = self.world.desk.poll() {
            self.world.effect(effect);
        }
    }

    /// Both are published, with a key frame each second. The times of the lower one are others.
    fn run(&mut self, pictures: u32) {
        for _ in 0..pictures {
            let kind = if self.pictures.is_multiple_of(25) { Kind::Key } else { Kind::Reference };
            self.pictures += 1;
            let (now, time) = (self.world.now, self.world.milliseconds());
            let high = video(time, kind, 1, 0, 1000);
            self.world.publisher.as_mut().expect("a publisher").push(now, high).expect("it is on air");
            if let Some(low) = &mut self.low {
                low.push(now, video(time + 5_000_000, kind, 2, 0, 100)).expect("it is on air");
            }
            for stream in self.world.followed.clone() {
                self.world.desk.wake(self.world.time(), stream);
            }
            self.take();
            self.world.now += Duration::from_millis(40);
            self.world.desk.turn(self.world.time());
            self.take();
        }
    }

    fn run_quietly(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.say(FINE);
            self.run(25);
        }
        self.got.clear();
        self.run(25);
    }

    fn is_low(&self) -> bool {
        assert_eq!(self.got.len(), 25, "each picture once");
        let is_low = self.got.iter().all(|(_, bytes)| *bytes < 500);
        assert!(is_low || self.got.iter().all(|(_, bytes)| *bytes > 500), "{:?}", self.got);
        is_low
    }
}

#[test]
fn a_viewer_that_is_too_slow_gets_a_lower_quality_and_later_the_higher_one_again() {
    let mut scene = Scene::new();
    scene.run_quietly(3);
    assert!(!scene.is_low());
    scene.say(LOSSY);
    scene.got.clear();
    scene.run(50);
    let times: Vec<_> = scene.got.iter().filter(|(_, bytes)| *bytes < 500).map(|(time, _)| *time).collect();
    assert!(times.windows(2).all(|two| two[1] - two[0] == 3600), "{times:?}");
    scene.run_quietly(5);
    assert!(scene.is_low());
    let before = scene.got.last().expect("a picture").0;
    assert_eq!(scene.world.followed.len(), 1, "the other one is not needed");
    scene.run(25);
    scene.run_quietly(20);
    assert!(!scene.is_low());
    let apart = scene.got[0].0.wrapping_sub(before);
    assert!(apart.is_multiple_of(3600) && apart < 90_000 * 30, "the times go on: {apart}");

    // The next time it takes longer.
    scene.say(LOSSY);
    scene.run(50);
    scene.run_quietly(25);
    assert!(scene.is_low());
    scene.run_quietly(20);
    assert!(!scene.is_low());
    assert!(scene.world.left.is_empty());
}

#[test]
fn a_viewer_gets_the_higher_quality_again_after_a_good_time_and_not_after_any_time() {
    let mut scene = Scene::new();
    scene.run_quietly(3);
    scene.say(LOSSY);
    scene.run(50);
    for _ in 0..30 {
        scene.say(UNEASY);
        scene.run(25);
    }
    scene.run_quietly(15);
    assert!(scene.is_low(), "fifteen good seconds are too few");
    scene.run_quietly(10);
    assert!(!scene.is_low());
}

#[test]
fn a_quality_that_ends_gives_its_viewers_back() {
    let mut scene = Scene::new();
    scene.run_quietly(3);
    scene.say(LOSSY);
    scene.run(50);
    scene.run_quietly(1);
    assert!(scene.is_low());
    scene.low.take().expect("it is published").end(scene.world.now);
    scene.run(30);
    scene.run_quietly(1);
    assert!(!scene.is_low());
    let session = scene.world.desk.sessions()[0].session;
    scene.world.desk.left(scene.world.time(), session);
    scene.take();
    assert_eq!((scene.world.followed.len(), scene.world.desk.streams.len()), (0, 0));
}

#[test]
fn a_viewer_whose_estimate_falls_below_the_stream_gets_a_lower_quality_before_it_loses_anything() {
    let mut scene = Scene::new();
    scene.run_quietly(2);
    assert!(!scene.is_low());
    // The stream has 25 pictures of 1,000 bytes a second.
    scene.say(&estimate(300_000));
    scene.say(&estimate(150_000));
    scene.run_quietly(1);
    assert!(!scene.is_low(), "one fall may be an accident");
    scene.say(&estimate(120_000));
    scene.run_quietly(1);
    assert!(scene.is_low());
    assert_eq!(scene.world.desk.sessions()[0].network.estimate, Some(120_000));
}
