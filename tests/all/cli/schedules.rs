//! `sandbar schedules`.

use sandbar_tests::RedisServer;

use super::{folder, objects};

#[test]
fn schedules_are_shown_with_their_next_tick_and_last_runs() {
    let (server, folder) = (RedisServer::start(), folder());
    let config = format!("plugins = [\"report\"]\n[tenant]\nprefix = \"t:\"\n[store]\nurl = \"{}\"\n", server.url());
    folder.write("sandbar.toml", config);
    folder.write(
        "report/plugin.toml",
        "name = \"report\"\n[[trigger]]\ntype = \"schedule\"\nname = \"nightly\"\ncron = \"0 0 1 1 *\"\n\
         [[trigger]]\ntype = \"stream\"\nstream = \"s\"\n",
    );
    let new = folder.run(&["schedules", "--json"]);
    assert_eq!(new.code, 0, "{}", new.err);
    let told = &objects(&new.out)[0];
    assert_eq!((&told["plugin"], &told["schedule"]), (&"report".into(), &"nightly".into()));
    assert!(told["next_ms"].as_u64().unwrap() > 1_795_000_000_000 && told["last_ms"].is_null());
    assert_eq!(told["runs"], serde_json::json!([]));

    let own = "t:sandbar:schedule:report:nightly";
    let run = |tick: u64, more: &str| {
        format!("{{\"tick\":{tick},\"started\":{tick},\"duration_ms\":12,\"host\":\"0f3a\",\"version\":\"ab\",{more}}}")
    };
    server.ask(&["SET", &format!("{own}:last"), "1767225600000"]);
    let (done, failed) = ("\"outcome\":\"done\"", "\"outcome\":\"failed\",\"error\":\"no\\ndata\",\"left_out\":2");
    server.ask(&["LPUSH", &format!("{own}:history"), &run(1_735_689_600_000, done), &run(1_767_225_600_000, failed)]);
    server.ask(&["SET", &format!("{own}:lock"), "7:beef:report:1795000000000:00ff", "PX", "60000"]);
    let shown = folder.run(&["schedules", "--plugin", "report"]);
    let lines: Vec<&str> = shown.out.lines().collect();
    assert!(
        lines[0].starts_with("report nightly  next 20") && lines[0].ends_with("-01-01T00:00:00.000Z, runs on beef"),
        "{}",
        shown.out
    );
    assert_eq!(lines[1], "  2026-01-01T00:00:00.000Z  failed in 12 ms on 0f3a, 2 skipped before: no\\ndata");
    assert_eq!(lines[2..], ["  2025-01-01T00:00:00.000Z  done in 12 ms on 0f3a"]);
    assert_eq!(folder.run(&["schedules", "--runs", "1"]).out.lines().count(), 2);
    assert_eq!(folder.run(&["schedules", "--plugin", "other"]).out, "");
}
