//! `sandbar build` and `sandbar check`.

use sandbar_tests::components;

use super::{folder, objects};

const CARGO: &str = "[package]\nname = \"small\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n[workspace]\n";

#[test]
fn a_folder_becomes_a_component() {
    let folder = folder();
    folder.write("small/Cargo.toml", CARGO);
    folder.write("small/plugin.toml", "name = \"a-plugin\"\n");
    folder.write("small/src/lib.rs", "#[unsafe(no_mangle)]\npub extern \"C\" fn unused() {}\n");
    let built = folder.run(&["build", "small", "--json"]);
    assert_eq!(built.code, 0, "{}", built.err);
    let told = &objects(&built.out)[0];
    assert_eq!((told["plugin"].as_str(), told["component"].as_str()), (Some("a-plugin"), Some("small/a-plugin.wasm")));
    let size = std::fs::metadata(folder.path().join("small/a-plugin.wasm")).unwrap().len();
    assert_eq!(told["bytes"].as_u64(), Some(size));
    folder.write("small/src/lib.rs", "fn broken( {\n");
    let broken = folder.run(&["build", "small"]);
    assert_eq!(broken.code, 1);
    assert!(broken.err.contains("src/lib.rs:1"), "the place is shown: {}", broken.err);
    assert!(broken.err.contains("error: the plugin in `small` does not build"), "{}", broken.err);
}

#[test]
fn a_folder_that_is_no_plugin_is_refused() {
    let folder = folder();
    folder.write("empty/README.md", "");
    let finished = folder.run(&["build", "empty"]);
    assert_eq!(finished.code, 64);
    insta::assert_snapshot!(finished.err, @r#"
    error: cannot read `empty/plugin.toml`: No such file or directory (os error 2)
    help: a plugin is a folder with a plugin.toml; `name = "my-plugin"` is a start
    "#);
}

#[test]
fn check_tells_what_a_component_is() {
    let folder = folder();
    folder.write("plugin/aggregator.wasm", std::fs::read(components::RESULT_AGGREGATOR).unwrap());
    folder.write(
        "plugin/plugin.toml",
        "name = \"a\"\ncomponent = \"aggregator.wasm\"\n[[trigger]]\ntype = \"stream\"\nstream = \"s\"\n\
         [grants]\nread = [\"detection:*\"]\nwrite = [\"camera:*\"]\n",
    );
    let by_folder = folder.run(&["check", "plugin", "--json"]);
    assert_eq!(by_folder.code, 0, "{}", by_folder.err);
    let report = &objects(&by_folder.out)[0];
    assert_eq!(report["exports"], serde_json::json!(["sandbar:plugin/handler@0.1.0"]));
    let needs = |name: &str| {
        let imports = report["imports"].as_array().unwrap();
        let import = imports.iter().find(|import| import["name"].as_str().unwrap().starts_with(name));
        import.unwrap()["needs"].as_str().map(str::to_owned)
    };
    assert_eq!(needs("sandbar:plugin/cache").unwrap(), "read = [\"detection:*\"], write = [\"camera:*\"]");
    assert!(needs("sandbar:plugin/pubsub").unwrap().contains("every call would be denied"));
    assert_eq!(needs("sandbar:plugin/types"), None);
    let by_file = folder.run(&["check", "plugin/aggregator.wasm", "--json"]);
    assert_eq!(objects(&by_file.out)[0]["plugin"], "a", "the manifest beside it counts");
}

#[test]
fn check_refuses_what_a_host_would_refuse() {
    let folder = folder();
    let sockets = "(component (import \"wasi:sockets/instance-network@0.2.6\" (instance)))";
    folder.write("sockets.wasm", wat::parse_str(sockets).unwrap());
    let refused = folder.run(&["check", "sockets.wasm"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.out.contains("it imports `wasi:sockets/instance-network@0.2.6`, but plugins have no sockets"),
        "{}",
        refused.out
    );
    folder.write("core.wasm", wat::parse_str("(module)").unwrap());
    let core = folder.run(&["check", "core.wasm"]);
    assert_eq!(core.code, 1);
    assert!(core.err.contains("`core.wasm` would be refused"), "{}", core.err);
    folder.write("plugin.toml", "name = \"a\"\n[[trigger]]\ntype = \"stream\"\nstream = \"s\"\n");
    folder.write("nothing.wasm", wat::parse_str("(component)").unwrap());
    let nothing = folder.run(&["check", "nothing.wasm"]);
    assert_eq!(nothing.code, 1);
    assert!(nothing.out.contains("needs the export `sandbar:plugin/handler`"), "{}", nothing.out);
}
