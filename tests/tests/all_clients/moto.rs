use std::env;
use std::net::TcpListener;

use anabranch_tests::media::{Clip, Publication};
use anabranch_tests::program::{Launch, Process, Runtime};
use anabranch_tests::{Folder, TIMEOUT, wait_for};

/// Segments of HLS in a bucket of moto, a store that speaks S3.
#[test]
fn a_bucket_of_moto_plays_what_is_published() {
    let folder = Folder::new();
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let program = env::var("ANABRANCH_MOTO").expect("tests/run --all-clients installs moto and says where");
    let moto = Process::start(program, ["-H", "127.0.0.1", "-p", &port.to_string()]);
    let base = format!("http://127.0.0.1:{port}");
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).build().into();
    moto.wait_for("bucket", || agent.put(format!("{base}/streams")).send_empty().ok());
    let settings = format!(
        "[defaults.hls]\ntarget = '1s'\npart = '0s'\n[defaults.hls.s3]\nendpoint = '{base}'\nbucket = 'streams'\n\
         prefix = 'tv'\naccess_key = 'name'\nsecret_key = 'secret'\n"
    );
    let server = Launch::of(Runtime::Smol).settings(&settings).start();
    let clip = Clip { picture: "testsrc2=size=320x180:rate=25", seconds: 8, gop: 25, megabits: None };
    let _publication = Publication::of_clip(&server, "live/a+b", &clip, &folder);
    // moto asks for a signature, and does not look at it.
    let get = |url: &str| agent.get(url).header("authorization", "AWS name:secret").call();
    let playlist = format!("{base}/streams/tv/live/a%252Bb.m3u8");
    let text = wait_for("three segments", TIMEOUT, || {
        let text = get(&playlist).ok()?.body_mut().read_to_string().ok()?;
        (text.matches("#EXTINF").count() >= 3).then_some(text)
    });
    let name = text.lines().find(|line| !line.starts_with('#')).expect("it lists one");
    let segment = get(&format!("{base}/streams/tv/live/{name}")).expect("the segment is there");
    assert_eq!(segment.headers().get("content-type").and_then(|value| value.to_str().ok()), Some("video/mp4"));
    let signed = "Authorization: AWS name:secret\r\n";
    let play = ["-v", "error", "-headers", signed, "-show_entries", "stream=codec_name", "-of", "csv=p=0", &playlist];
    let codecs = Process::run("ffprobe", play).concat();
    assert!(codecs.contains("h264") && codecs.contains("aac"), "{codecs}");
}
