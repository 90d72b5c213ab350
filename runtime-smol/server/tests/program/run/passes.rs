//! The URLs that programs get, in other hands.

use anabranch_tests::peer::Driver;
use anabranch_tests::{Folder, TIMEOUT, wait_for};

use super::{script, server, wait_file};

#[test]
fn a_url_permits_one_action_on_one_stream_on_this_machine() {
    let folder = Folder::new();
    let out = folder.file("urls");
    let write = "printf '%s\\n%s\\n' \"$2\" \"$3\" > \"$1.new\"; mv \"$1.new\" \"$1\"; \
                 while :; do sleep 1; done";
    let command = script(write, &format!("'{}', '{{input}}', '{{output:{{stream}}_copy}}'", out.display()));
    let rules = "\n[defaults.token]\nrequired_for = 'both'\nsecrets = ['a long random secret of your own']\n\
                 [[defaults.application]]\nstreams = ['live/cam']\n[defaults.application.token]\nrequired_for = 'play'\n";
    let server = server(&command, &format!("restart = 'never'{rules}"));
    let publisher = server.publisher("cam");
    let urls = wait_file(&out);
    let [input, output] = urls.lines().collect::<Vec<_>>()[..] else { panic!("{urls}") };
    let address = server.address();
    assert!(input.starts_with(&format!("rtmp://{address}/live?vhost=__defaultVhost__&anabranch_pass=")), "{input}");
    assert!(input.ends_with("/cam") && output.ends_with("/cam_copy"), "{urls}");
    let pass = |url: &str| {
        let (_, pass) = url.split_once("anabranch_pass=").unwrap();
        pass.split_once('/').unwrap().0.to_owned()
    };
    let (input, output) = (pass(input), pass(output));
    assert!(!server.visitor().is_granted(false, "cam"), "a signed URL is needed");
    for (publishes, name, pass, may) in [
        (false, "cam", &input, true),
        (true, "cam_copy", &output, true),
        (false, "cam_copy", &input, false),
        (true, "cam_copy", &input, false),
        (false, "cam_copy", &output, false),
        (true, "cam_copy2", &output, false),
        (false, "cam", &input.replace('-', "-0"), false),
        (false, "cam", &String::new(), false),
    ] {
        let granted = server.visitor().is_granted(publishes, &format!("{name}?anabranch_pass={pass}"));
        assert_eq!(granted, may, "{publishes} {name} {pass}");
    }
    server.wait_line("(pass_invalid)");
    drop(publisher);
    server.wait_line("sh of live/cam has ended");
    let granted = server.visitor().is_granted(true, &format!("cam_copy?anabranch_pass={output}"));
    assert!(!granted, "with the program the pass is over");
}

/// It may have left the process group of its program.
#[test]
fn what_a_pass_has_begun_ends_with_its_program() {
    let folder = Folder::new();
    let out = folder.file("url");
    let write = "printf \"%s\" \"$2\" > \"$1.new\"; mv \"$1.new\" \"$1\"; while :; do sleep 1; done";
    let server = server(&script(write, &format!("'{}', '{{output:{{stream}}_copy}}'", out.display())), "");
    let publisher = server.publisher("cam");
    let url = wait_file(&out);
    let (_, pass) = url.split_once("anabranch_pass=").unwrap();
    let (pass, name) = pass.split_once('/').unwrap();
    let mut other = Driver::at(server.address(), &server.url("live/x"));
    other.publish(&format!("{name}?anabranch_pass={pass}")).unwrap();
    server.wait_publishers("live/cam_copy", 1);
    drop(publisher);
    server.wait_line("the program that its pass was for has ended");
    wait_for("end of what the pass has begun", TIMEOUT, || {
        let streams = server.get("/api/v1/streams");
        let all = streams["streams"].as_array().unwrap();
        all.iter().all(|stream| stream["publish"]["active"] == false).then_some(())
    });
}
