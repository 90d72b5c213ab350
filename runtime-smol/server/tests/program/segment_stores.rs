//! Segments of HLS as files in a folder, and as objects in a store that speaks S3.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use anabranch_tests::backend::{Backend, yes};
use anabranch_tests::media::ffmpeg_publishes;
use anabranch_tests::{Folder, TIMEOUT, wait_for};

use crate::launch;
use crate::record::media;

const HLS: &str =
    "[api]\nlisten = '127.0.0.1:0'\n[defaults.hls]\ntarget = '1s'\npart = '0s'\nhold = '0s'\nwindow = 3\n";

/// The names that a playlist lists.
fn listed(playlist: &str) -> Vec<&str> {
    playlist.lines().filter(|line| !line.starts_with('#')).collect()
}

/// Names of the files of a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_folder_has_playlist_and_segments_that_play_and_each_is_told() {
    let folder = Folder::new();
    let segments = folder.file("www");
    let backend = Backend::start(|_| yes());
    let settings = format!("{HLS}folder = {segments:?}\n[defaults.hooks]\non_hls = ['{}']\n", backend.url("/hls"));
    let program = launch().settings(&settings).start();
    let clip = media::clip(folder.path(), 8);
    // Eight seconds of media in two.
    let input = ["-readrate", "4", "-i", clip.to_str().unwrap()];
    let publisher = ffmpeg_publishes(&program.url("live/cam?key=7"), &input);
    let playlist = segments.join("live/cam.m3u8");
    wait_for("three segments", TIMEOUT, || {
        let text = fs::read_to_string(&playlist).unwrap_or_default();
        (listed(&text).len() == 3).then_some(())
    });
    let play = ["-v", "error", "-allowed_extensions", "ALL", "-read_intervals", "%+1", "-show_entries"];
    let play = play.into_iter().chain("stream=codec_name -of csv=p=0".split(' '));
    let codecs = media::run("ffprobe", play.chain([playlist.to_str().unwrap()]));
    assert!(codecs.contains("h264") && codecs.contains("aac"), "{codecs}");
    publisher.wait_success(TIMEOUT);

    let text = wait_for("end of the playlist", TIMEOUT, || {
        fs::read_to_string(&playlist).ok().filter(|text| text.ends_with("#EXT-X-ENDLIST\n"))
    });
    let stored = names(&segments.join("live/cam"));
    let last = listed(&text);
    assert_eq!(last.len(), 3);
    for name in &last {
        let name = name.strip_prefix("cam/").expect("it is in the folder");
        assert!(stored.iter().any(|stored| stored == name), "{name} of {stored:?}");
    }
    assert!(stored.iter().all(|name| !name.starts_with('.')), "nothing is left half: {stored:?}");
    let metrics = program.ask("GET", "/metrics").body;
    let count = metrics.lines().find_map(|line| line.strip_prefix("anabranch_segments_stored_total{to=\"folder\"} "));
    let count: usize = count.unwrap().parse().unwrap();
    assert!((7..=10).contains(&count), "{count}");
    let calls = backend.wait_calls(count);
    let mut number = None;
    for call in &calls {
        assert_eq!((call.action(), call.text("app"), call.text("stream")), ("on_hls", "live", "cam"));
        assert_eq!((call.text("param"), call.text("ip")), ("?key=7", "127.0.0.1"));
        assert_eq!(call.text("m3u8"), playlist.to_str().unwrap());
        assert_eq!(call.text("m3u8_url"), "live/cam.m3u8");
        assert_eq!(segments.join(call.text("url")).to_str().unwrap(), call.text("file"));
        let seconds = call.body["duration"].as_f64().unwrap();
        assert!((0.5..=1.5).contains(&seconds), "{seconds}");
        let next = call.body["seq_no"].as_u64().unwrap();
        assert!(number.is_none_or(|number| next == number + 1), "in their order");
        number = Some(next);
    }
    wait_for("removal of all", TIMEOUT, || {
        names(&segments.join("live")).iter().all(|name| name == "cam").then_some(())
    });
    wait_for("empty folder", TIMEOUT, || names(&segments.join("live/cam")).is_empty().then_some(()));
}

/// A store that keeps what is put, if the request is signed. While `is_down` is set, it answers 503.
struct Store {
    address: SocketAddr,
    objects: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    is_down: Arc<Mutex<bool>>,
}

impl Store {
    fn start() -> Store {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let store = Store { address: listener.local_addr().unwrap(), objects: Arc::default(), is_down: Arc::default() };
        let (objects, is_down) = (store.objects.clone(), store.is_down.clone());
        // It ends with the process of the tests.
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (objects, is_down) = (objects.clone(), is_down.clone());
                thread::spawn(move || serve(socket.unwrap(), &objects, &is_down));
            }
        });
        store
    }

    fn playlist(&self) -> String {
        let objects = self.objects.lock().unwrap();
        objects
            .get("/bucket/tv/live/cam.m3u8")
            .map(|bytes| String::from_utf8(bytes.clone()).unwrap())
            .unwrap_or_default()
    }
}

fn serve(socket: TcpStream, objects: &Mutex<BTreeMap<String, Vec<u8>>>, is_down: &Mutex<bool>) {
    let mut reader = BufReader::new(socket);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if reader.read_until(b'\n', &mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let head = String::from_utf8(head).unwrap();
        let field = |name: &str| {
            head.lines().find_map(|line| {
                let (found, value) = line.split_once(": ")?;
                found.eq_ignore_ascii_case(name).then_some(value.trim())
            })
        };
        let mut body = vec![0; field("content-length").map_or(0, |length| length.parse().unwrap())];
        reader.read_exact(&mut body).unwrap();
        let signed = field("authorization").is_some_and(|value| {
            value.starts_with("AWS4-HMAC-SHA256 Credential=name/")
                && value.contains("/eu-1/s3/aws4_request,SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=")
        });
        let mut line = head.split(' ');
        let (method, path) = (line.next().unwrap(), line.next().unwrap());
        let answer = if *is_down.lock().unwrap() {
            "503 X\r\nContent-Length: 68\r\n\r\n<Error><Code>SlowDown</Code><StringToSign>secret</StringToSign></Er>"
        } else if !signed {
            "403 X\r\nContent-Length: 0\r\n\r\n"
        } else {
            let mut objects = objects.lock().unwrap();
            if method == "PUT" {
                objects.insert(path.to_owned(), body);
            } else {
                objects.remove(path);
            }
            "200 X\r\nContent-Length: 0\r\n\r\n"
        };
        if reader.get_mut().write_all(format!("HTTP/1.1 {answer}").as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn a_store_that_is_away_for_a_while_costs_segments_there_and_nothing_else() {
    let folder = Folder::new();
    let store = Store::start();
    let settings = format!(
        "{HLS}[defaults.hls.s3]\nendpoint = 'http://{}'\nbucket = 'bucket'\nregion = 'eu-1'\nprefix = 'tv'\ndelete = true\n\
         access_key = 'name'\nsecret_key = 'top-secret'\n",
        store.address
    );
    let program = launch().settings(&settings).start();
    let clip = media::clip(folder.path(), 10);
    let input = ["-stream_loop", "-1", "-readrate", "10", "-i", clip.to_str().unwrap()];
    let publisher = ffmpeg_publishes(&program.url("live/cam"), &input);
    wait_for("playlist in the store", TIMEOUT, || (listed(&store.playlist()).len() == 3).then_some(()));
    let objects = store.objects.lock().unwrap().clone();
    for name in listed(&store.playlist()) {
        assert!(
            store.objects.lock().unwrap().contains_key(&format!("/bucket/tv/live/{name}")),
            "{name}: {:?}",
            objects.keys()
        );
    }
    *store.is_down.lock().unwrap() = true;
    program.wait_line("segments of live/cam are not stored in ");
    program.wait_line("answered 503 SlowDown to PUT of live/cam/");
    *store.is_down.lock().unwrap() = false;
    program.wait_line(" again; ");
    wait_for("discontinuity", TIMEOUT, || store.playlist().contains("#EXT-X-DISCONTINUITY\n").then_some(()));
    let metrics = program.ask("GET", "/metrics").body;
    assert!(!metrics.contains("anabranch_segments_lost_total{to=\"s3\"} 0\n"), "{metrics}");
    assert!(metrics.contains("anabranch_segments_lost_total{to=\"folder\"} 0\n"));
    let settings = program.ask("GET", "/api/v1/settings").body;
    assert!(settings.contains("eu-1") && !settings.contains("top-secret"), "{settings}");
    let first = objects.keys().find(|name| name.ends_with(".m4s")).expect("it had a segment");
    wait_for("removal of the first", TIMEOUT, || (!store.objects.lock().unwrap().contains_key(first)).then_some(()));
    publisher.terminate();
    program.finish();
    assert!(program.lines("top-secret").is_empty(), "{:?}", program.lines("top-secret"));
}
