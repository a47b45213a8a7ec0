//! What plugins log, with the plugin, its version, the trigger and the event.

use sandbar_tests::program::get;
use sandbar_tests::{RedisServer, components};
use serde_json::Value;

use super::{folder, objects};

#[test]
fn lines_of_plugins_say_where_they_come_from() {
    let server = RedisServer::start();
    let folder = folder();
    let url = server.url();
    folder.write(
        "sandbar.toml",
        format!("plugins = [\"p\"]\n[http]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = \"{url}\"\n"),
    );
    folder.write(
        "p/plugin.toml",
        "name = \"teller\"\ncomponent = \"p.wasm\"\n[[trigger]]\ntype = \"stream\"\nstream = \"s\"\nstart = \"0\"\n\
         [[trigger]]\ntype = \"http\"\nroute = \"/log\"\n",
    );
    folder.write("p/p.wasm", std::fs::read(components::LOG_LINES).unwrap());
    let ids: Vec<String> = (0..3).map(|n| server.get::<String>(&["XADD", "s", "*", "n", &n.to_string()])).collect();
    let mut running = folder.start(&["run", "--log-format", "json"]);
    let lines = |err: &str| objects(err).into_iter().filter(|line| line["plugin"] == "teller").collect::<Vec<_>>();
    let address = running.until("the host says where it answers", |_, err| {
        let started = objects(err).into_iter().find(|line| line["message"] == "started")?;
        Some(started["address"].as_str()?.to_owned())
    });
    let find = |lines: &[Value], message: &str| lines.iter().find(|line| line["message"] == message).cloned();
    let told = running.until("all events are told", |_, err| {
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
    let (asked, printed) = running.until("the request is told", |_, err| {
        let told = lines(err);
        find(&told, "asked for /log/x").zip(find(&told, "without an end"))
    });
    assert_eq!(asked["trigger"], "http:/log");
    assert_eq!(asked["event"].as_str().unwrap().len(), 16);
    assert_eq!((&printed["trigger"], &printed["event"]), (&asked["trigger"], &asked["event"]));
    assert_eq!(running.terminate().code, 0);
}
