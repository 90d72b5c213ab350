use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anabranch_tests::media::{Tag, media_tags};
use anabranch_tests::program::{Launch, Process, Program, Runtime, replay};
use anabranch_tests::{Authority, Folder, TIMEOUT, wait_for};
use serde_json::json;

use super::hashes::Hashes;
use super::obs_control::ObsControl;

#[test]
fn what_obs_publishes_arrives_bit_exact_and_ends_well() {
    let folder = Folder::new();
    let captures = folder.file("captures");
    let capture = captures.to_str().expect("paths of tests are UTF-8");
    let server = Program::start(Runtime::Smol, &["--unpublish-grace", "1", "--capture", capture]);
    let dumped = folder.file("rtmpdump.flv");
    let mut early = Hashes::start("ffmpeg", &server.url("live/cam"));
    let mut rtmpdump = server.rtmpdump("live/cam", &dumped);
    server.wait_players("live/cam", 2);

    let port = unused_port();
    configure(&folder, &format!("rtmp://{}/live", server.address()), "cam", port);
    let (_screen, display) = screen();
    let obs = Process::start("env", obs(&folder, &display));
    let publisher = server.wait_publishers("live/cam", 1).swap_remove(0).text;
    assert!(publisher.contains("FMLE/3.0 (compatible; FMSc/1.0)"), "{publisher}");
    wait_for("three seconds of stream", TIMEOUT, || (pictures(&dumped) >= 90).then_some(()));

    let late_dumped = folder.file("late.flv");
    let mut late = server.rtmpdump("live/cam", &late_dumped);
    let mut decoding = server.ffmpeg_decoding("live/cam");
    wait_for("five seconds more", TIMEOUT, || (pictures(&late_dumped) >= 150).then_some(()));
    let mut control = ObsControl::connect(port);
    assert_eq!(control.request("GetStreamStatus")["outputSkippedFrames"], 0);
    let recorded = control.request("StopRecord")["outputPath"].as_str().map(PathBuf::from);
    control.request("StopStream");
    for process in [&mut early, &mut rtmpdump, &mut late, &mut decoding] {
        process.wait_success(TIMEOUT);
    }
    assert_eq!(decoding.stderr(), [""; 0], "ffmpeg complains");

    let tags = media_tags(&late_dumped);
    let first = tags.iter().find(|tag| tag.is_picture());
    assert!(first.is_some_and(Tag::is_key_frame), "a late player does not begin with a key frame");
    assert_eq!(tags.iter().take(2).filter(|tag| tag.is_header()).count(), 2, "headers do not come first");
    let received = Hashes::parse(&early);
    received.assert_same(&Hashes::of_file("ffmpeg", dumped.display()));
    // OBS records what it streams, but begins and ends with it only about the same time.
    let recorded = Hashes::of_file("ffmpeg", recorded.expect("OBS says where it has recorded").display());
    for kind in ["video", "audio"] {
        let track = |hashes: &Hashes| hashes.of_kind(kind).next().cloned().expect("both tracks are there");
        let (received, recorded) = (track(&received), track(&recorded));
        assert_eq!(received.configuration, recorded.configuration, "configuration of {recorded}");
        received.assert_overlaps(&recorded, 200);
    }
    server.wait_closed_without_loss(5);
    // It resets the connection, but takes its leave before.
    let connection =
        publisher.split(" from ").next().and_then(|start| start.rsplit("INFO ").next()).expect("it has a name");
    let closed = server.process.wait_line(&format!("{connection} closed: ")).text;
    assert!(closed.contains(" in phase connected "), "{closed}");
    drop(obs);
    server.stop();
    // What OBS said is replayed to the same events and bytes, and so is every player.
    let replays: Vec<_> = fs::read_dir(&captures)
        .expect("the server has made it")
        .map(|file| replay(Runtime::Smol, &file.expect("it can be listed").path()))
        .collect();
    assert_eq!(replays.len(), 5);
    let of_obs = |lines: &&Vec<String>| lines.iter().any(|line| line.contains("action: attach publisher of live/cam"));
    let lines = replays.iter().find(of_obs).expect("one of them is OBS");
    assert!(lines.iter().any(|line| line.contains("FMLE/3.0 (compatible; FMSc/1.0)")), "{lines:?}");
}

#[test]
fn obs_publishes_over_rtmps() {
    let (folder, authority) = (Folder::new(), Authority::new());
    authority.issue("server", &["localhost"]);
    let server = authority.server(&["server"]);
    let dumped = folder.file("rtmpdump.flv");
    let rtmpdump = server.rtmpdump("live/cam", &dumped);
    server.wait_players("live/cam", 1);

    // OBS trusts the authorities of the system: for OBS alone that is our authority.
    let trusted = folder.file("trusted");
    fs::create_dir(&trusted).expect("the folder can be written");
    fs::copy(authority.ca(), trusted.join("ca.pem")).expect("the folder can be written");
    let port = unused_port();
    configure(&folder, &format!("rtmps://localhost:{}/live", server.address().port()), "cam", port);
    let (_screen, display) = screen();
    let line = ["--mount", "sh", "-c", "mount --bind \"$0\" /etc/ssl/certs && exec env \"$@\""].map(str::to_owned);
    let line = line.into_iter().chain([trusted.display().to_string()]).chain(obs(&folder, &display));
    let _obs = Process::start("unshare", line);
    let publisher = server.wait_publishers("live/cam", 1).swap_remove(0).text;
    assert!(publisher.contains("FMLE/3.0 (compatible; FMSc/1.0)"), "{publisher}");
    wait_for("three seconds of stream", TIMEOUT, || (pictures(&dumped) >= 90).then_some(()));
    let mut control = ObsControl::connect(port);
    assert_eq!(control.request("GetStreamStatus")["outputSkippedFrames"], 0);
    control.request("StopStream");
    rtmpdump.wait_success(TIMEOUT);
    server.wait_closed_without_loss(2);
    server.stop();
}

#[test]
fn obs_publishes_with_a_signed_key() {
    let folder = Folder::new();
    let file = folder.file("anabranch.toml");
    fs::write(&file, of_readme("cat > anabranch.toml <<'END'\n", "END\n")).expect("the folder can be written");
    let server = Launch::of(Runtime::Smol).arg("-c").arg(&file).env("ANABRANCH__API__LISTEN", "off").start();
    let dumped = folder.file("rtmpdump.flv");
    let rtmpdump = server.rtmpdump("live/cam", &dumped);
    server.wait_players("live/cam", 1);

    // The line of the README that prints the stream key, as a person runs it.
    let command = of_readme("which this prints:\n\n```sh\n", "```");
    let binaries = Runtime::Smol.binary().parent().expect("a program is in a folder").display().to_string();
    let line = format!("cd '{}' && PATH={binaries}:$PATH && {command}", folder.path().display());
    let key = Process::run("sh", ["-c", &line]).concat();
    assert!(key.starts_with("cam?expires=") && key.contains("&token="), "{key}");
    let port = unused_port();
    configure(&folder, &format!("rtmp://{}/live", server.address()), &key, port);
    let (_screen, display) = screen();
    let _obs = Process::start("env", obs(&folder, &display));
    server.wait_publishers("live/cam", 1);
    wait_for("three seconds of stream", TIMEOUT, || (pictures(&dumped) >= 90).then_some(()));
    let mut control = ObsControl::connect(port);
    assert_eq!(control.request("GetStreamStatus")["outputSkippedFrames"], 0);
    control.request("StopStream");
    rtmpdump.wait_success(TIMEOUT);
    server.wait_closed_without_loss(2);
    let log = server.process.stderr().join("\n");
    assert!(!log.contains("token="), "{log}");
    server.stop();
}

/// What the README has between these texts.
fn of_readme(begin: &str, end: &str) -> String {
    let page = include_str!("../../../README.md");
    let (_, rest) = page.split_once(begin).unwrap_or_else(|| panic!("the README has no {begin:?}"));
    rest.split_once(end).expect("it ends").0.to_owned()
}

fn pictures(file: &Path) -> usize {
    if !file.exists() {
        return 0;
    }
    media_tags(file).iter().filter(|tag| tag.is_picture()).count()
}

/// A screen, and its number.
fn screen() -> (Process, String) {
    let screen = Process::start("Xvfb", "-displayfd 1 -screen 0 800x600x24 -nolisten tcp".split(' '));
    let display = wait_for("display", TIMEOUT, || screen.stdout().first().cloned());
    (screen, display)
}

/// What `env` is to start OBS with.
fn obs(folder: &Folder, display: &str) -> Vec<String> {
    let run = folder.file("run");
    fs::create_dir(&run).expect("the folder can be written");
    fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).expect("permissions can be changed");
    let environment = [
        format!("HOME={}", folder.path().display()),
        format!("XDG_CONFIG_HOME={}", folder.file(".config").display()),
        format!("XDG_RUNTIME_DIR={}", run.display()),
        format!("DISPLAY=:{display}"),
        "LIBGL_ALWAYS_SOFTWARE=1".to_owned(),
        "QT_QPA_PLATFORM=xcb".to_owned(),
    ];
    let line = "obs --startstreaming --startrecording --minimize-to-tray --disable-updater --multi --profile Test \
                --collection Test";
    environment.into_iter().chain(line.split_whitespace().map(str::to_owned)).collect()
}

/// The files that a person makes with the dialogs of OBS: a profile with our server and a scene with a clip.
fn configure(folder: &Folder, server: &str, key: &str, port: u16) {
    let base = folder.file(".config/obs-studio");
    let write = |name: &str, text: &str| {
        let path = base.join(name);
        fs::create_dir_all(path.parent().expect("it has a folder")).expect("the folder can be written");
        fs::write(path, text).expect("the folder can be written");
    };
    write(
        "global.ini",
        &format!(
            "[General]\nFirstRun=true\nEnableAutoUpdates=false\n\n[Basic]\nProfile=Test\nProfileDir=Test\n\
             SceneCollection=Test\nSceneCollectionFile=Test\n\n[BasicWindow]\nWarnBeforeStoppingStream=false\n\n\
             [OBSWebSocket]\nFirstLoad=false\nServerEnabled=true\nServerPort={port}\nAlertsEnabled=false\n\
             AuthRequired=false\n"
        ),
    );
    write(
        "basic/profiles/Test/basic.ini",
        &format!(
            "[General]\nName=Test\n\n[Output]\nMode=Simple\nReconnect=false\n\n[SimpleOutput]\nFilePath={}\n\
             RecFormat=flv\nRecQuality=Stream\nVBitrate=1000\nABitrate=96\nStreamEncoder=x264\nUseAdvanced=true\n\
             Preset=ultrafast\nx264Settings=keyint=60\n\n[Video]\nBaseCX=320\nBaseCY=180\nOutputCX=320\n\
             OutputCY=180\nFPSType=0\nFPSCommon=30\n\n[Audio]\nSampleRate=48000\nChannelSetup=Stereo\n",
            folder.path().display()
        ),
    );
    let service = json!({"type": "rtmp_custom", "settings": {"server": server, "key": key, "use_auth": false}});
    write("basic/profiles/Test/service.json", &service.to_string());
    let clip = json!({"local_file": super::LONG.file(), "is_local_file": true, "looping": true, "hw_decode": false});
    let item = json!({"id": 1, "name": "Clip", "visible": true, "pos": {"x": 0, "y": 0}, "scale": {"x": 1, "y": 1}});
    let scene = json!({
        "name": "Test",
        "current_scene": "Scene",
        "current_program_scene": "Scene",
        "scene_order": [{"name": "Scene"}],
        "sources": [
            {"id": "ffmpeg_source", "name": "Clip", "mixers": 255, "volume": 1, "settings": clip},
            {"id": "scene", "name": "Scene", "settings": {"id_counter": 1, "items": [item]}},
        ],
    });
    write("basic/scenes/Test.json", &scene.to_string());
}

/// A port that nothing listens on just now.
fn unused_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it is bound").port()
}
