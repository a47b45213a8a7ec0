//! What plugins log, with the plugin, its version, the trigger and the event.

use sandbar_tests::program::{Folder, Running, get};
use sandbar_tests::{RedisServer, components};
use serde_json::Value;

use super::{folder, objects};

/// A folder with the plugin `teller`, its triggers and whatever else its manifest says.
fn told(server: &RedisServer, manifest: &str) -> Folder {
    let folder = folder();
    let url = server.url();
    folder.write(
        "sandbar.toml",
        format!("plugins = [\"p\"]\n[http]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = \"{url}\"\n"),
    );
    folder.write("p/plugin.toml", format!("name = \"teller\"\ncomponent = \"p.wasm\"\n{manifest}"));
    folder.write("p/p.wasm", std::fs::read(components::LOG_LINES).unwrap());
    folder
}

/// What the plugin has said so far.
fn lines(err: &str) -> Vec<Value> {
    objects(err).into_iter().filter(|line| line["plugin"] == "teller").collect()
}

fn find(lines: &[Value], message: &str) -> Option<Value> {
    lines.iter().find(|line| line["message"] == message).cloned()
}

/// Waits until the plugin has said this.
fn said(running: &mut Running, message: &str) -> Value {
    running.until(message, |_, err| find(&lines(err), message))
}

#[test]
fn lines_of_plugins_say_where_they_come_from() {
    let server = RedisServer::start();
    let folder = told(
        &server,
        "[[trigger]]\ntype = \"stream\"\nstream = \"s\"\nstart = \"0\"\n[[trigger]]\ntype = \"http\"\nroute = \"/log\"\n",
    );
    let ids: Vec<String> = (0..3).map(|n| server.get::<String>(&["XADD", "s", "*", "n", &n.to_string()])).collect();
    let mut running = folder.start(&["run", "--log-format", "json"]);
    let address = running.until("the host says where it answers", |_, err| {
        let started = objects(err).into_iter().find(|line| line["message"] == "started")?;
        Some(started["address"].as_str()?.to_owned())
    });
    let told = running.until("all events are logged", |_, err| {
        let told = lines(err);
        find(&told, "printed 2").is_some().then_some(told)
    });
    for (n, id) in ids.iter().enumerate() {
        let logged = find(&told, &format!("logged {n}")).unwrap();
        let printed = find(&told, &format!("printed {n}")).unwrap();
        assert_eq!((&logged["level"], &logged["context"]), (&Value::from("WARN"), &Value::from("part")));
        assert_eq!((&printed["level"], &printed["context"]), (&Value::from("INFO"), &Value::from("stdout")));
        for line in [logged, printed] {
            assert_eq!(
                (&line["trigger"], &line["event"]),
                (&Value::from("stream:s"), &Value::from(id.as_str())),
                "{line}"
            );
            assert_eq!(line["version"].as_str().unwrap().len(), 12, "{line}");
            assert_eq!(line["tenant"], "default");
        }
    }
    assert_eq!(get(&address, "/log/x").unwrap().0, 204);
    let (asked, printed) = running.until("the request is logged", |_, err| {
        let told = lines(err);
        find(&told, "asked for /log/x").zip(find(&told, "without an end"))
    });
    assert_eq!(asked["trigger"], "http:/log");
    assert_eq!(asked["event"].as_str().unwrap().len(), 16);
    assert_eq!((&printed["trigger"], &printed["event"]), (&asked["trigger"], &asked["event"]));
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn each_kind_of_trigger_is_named() {
    let server = RedisServer::start();
    let folder = told(
        &server,
        "[[trigger]]\ntype = \"queue\"\nqueue = \"q\"\n[[trigger]]\ntype = \"channel\"\npattern = \"c*\"\n\
         [[trigger]]\ntype = \"schedule\"\nname = \"often\"\nevery = \"100ms\"\n",
    );
    let mut running = folder.start(&["run", "--log-format", "json"]);
    let ticked = said(&mut running, "ticked");
    assert_eq!((&ticked["trigger"], &ticked["level"]), (&Value::from("schedule:often"), &Value::from("ERROR")));
    server.ask(&["LPUSH", "q", "job"]);
    let logged = said(&mut running, "logged job");
    assert_eq!(logged["trigger"], "queue:q");
    assert_eq!(said(&mut running, "printed job")["event"], logged["event"]);
    assert!(!logged["event"].as_str().unwrap().is_empty());
    // Nobody hears what is published before the host listens.
    sandbar_tests::poll_until_blocking(sandbar_tests::host::PATIENCE, "it listens", || {
        server.get::<u64>(&["PUBLISH", "c1", "message"]) == 1
    });
    let logged = said(&mut running, "logged message");
    assert_eq!((&logged["trigger"], &logged["event"]), (&Value::from("channel:c1"), &Value::from("1")));
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn lines_are_bounded_in_number_and_length() {
    let server = RedisServer::start();
    let trigger = "[[trigger]]\ntype = \"stream\"\nstream = \"s\"\nstart = \"0\"\nbatch = 1\n";
    let folder = told(&server, &format!("{trigger}[limits]\nlog-lines = 8\n"));
    for n in ["many", "long", "last"] {
        server.ask(&["XADD", "s", "*", "n", n]);
    }
    let mut running = folder.start(&["run", "--log-format", "json"]);
    said(&mut running, "printed last");
    let told = lines(&running.err());
    let many = told.iter().filter(|line| line["message"].as_str().unwrap().starts_with("line ")).count();
    assert_eq!(many, 8);
    let skipped = told.iter().find(|line| line["lines"] == 12).expect("the number of skipped lines");
    assert!(skipped["message"].as_str().unwrap().contains("limits.log-lines"), "{skipped}");
    let long: Vec<&str> =
        told.iter().filter_map(|line| line["message"].as_str()).filter(|text| text.starts_with('x')).collect();
    assert_eq!(long.len(), 2, "one logged, one printed");
    for text in long {
        // The bound is within a character of two bytes.
        assert!((4095..=4096).contains(&text.trim_end_matches('\u{fffd}').len()), "{} bytes", text.len());
    }
    assert_eq!(running.terminate().code, 0);
}
