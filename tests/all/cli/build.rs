//! `sandbar build` and `sandbar check`.

use sandbar_tests::components;
use sandbar_tests::program::Folder;

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

/// A folder with a plugin and with stand-ins for the programs of Rust, of which the target is missing.
fn without_target() -> Folder {
    let mut folder = folder();
    folder.write("plugin/Cargo.toml", CARGO);
    folder.write("plugin/plugin.toml", "name = \"a\"\n");
    folder.write_program("bin/rustc", "echo \"${0%/*}/libraries\"");
    let message = "{\"reason\":\"compiler-artifact\",\"package_id\":\"p\",\"manifest_path\":\"'$PWD'/Cargo.toml\",\
                   \"target\":{\"kind\":[\"cdylib\"],\"crate_types\":[\"cdylib\"],\"name\":\"p\",\"src_path\":\"/\",\
                   \"edition\":\"2024\"},\"profile\":{\"opt_level\":\"3\",\"debug_assertions\":false,\
                   \"overflow_checks\":false,\"test\":false},\"features\":[],\
                   \"filenames\":[\"'$PWD'/made.wasm\"],\"executable\":null,\"fresh\":false}";
    folder.write_program(
        "bin/cargo",
        &format!("env > \"${{0%/*}}/environment\"\necho made > made.wasm\necho '{message}'"),
    );
    folder.search_only("bin");
    folder
}

#[test]
fn a_missing_target_is_installed_and_told() {
    let folder = without_target();
    folder.write_program("bin/rustup", "mkdir \"${0%/*}/libraries\"\necho \"$@\" > \"${0%/*}/asked\"");
    let built = folder.run(&["build", "plugin"]);
    assert_eq!(built.code, 0, "{}", built.err);
    assert!(built.err.contains("installing the target `wasm32-wasip2` of Rust, once"), "{}", built.err);
    assert_eq!(std::fs::read_to_string(folder.path().join("bin/asked")).unwrap(), "target add wasm32-wasip2\n");
    assert_eq!(std::fs::read_to_string(folder.path().join("plugin/a.wasm")).unwrap(), "made\n");
    let again = folder.run(&["build", "plugin"]);
    assert!(!again.err.contains("installing"), "it is there now: {}", again.err);
}

#[test]
fn a_target_that_cannot_be_installed_is_explained() {
    let folder = without_target();
    let none = folder.run(&["build", "plugin"]);
    assert_eq!(none.code, 1);
    insta::assert_snapshot!(none.err, @r#"
    installing the target `wasm32-wasip2` of Rust, once
    error: cannot run `rustup`: No such file or directory (os error 2)
    help: the target wasm32-wasip2 of Rust is missing: install rustup, which brings it, or install that target the way in which Rust was installed
    "#);
    folder.write_program("bin/rustup", "echo 'error: no network' >&2\nexit 1");
    let failed = folder.run(&["build", "plugin"]);
    assert_eq!(failed.code, 1);
    insta::assert_snapshot!(failed.err, @r#"
    installing the target `wasm32-wasip2` of Rust, once
    error: no network
    error: the target `wasm32-wasip2` of Rust cannot be installed
    help: try it yourself: rustup target add wasm32-wasip2
    "#);
}

#[test]
fn a_missing_cargo_is_explained() {
    let folder = without_target();
    std::fs::remove_file(folder.path().join("bin/cargo")).unwrap();
    std::fs::create_dir(folder.path().join("bin/libraries")).unwrap();
    let finished = folder.run(&["build", "plugin"]);
    assert_eq!(finished.code, 1);
    insta::assert_snapshot!(finished.err, @r#"
    error: cannot run `cargo`: No such file or directory (os error 2)
    help: install Rust with rustup
    "#);
}

#[test]
fn flags_for_the_host_do_not_reach_the_plugin() {
    let folder = without_target();
    std::fs::create_dir(folder.path().join("bin/libraries")).unwrap();
    let meant_for_the_host = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"];
    let built = folder.run_in(&["build", "plugin"], &meant_for_the_host.map(|name| (name, "surely-wrong")));
    assert_eq!(built.code, 0, "{}", built.err);
    let environment = std::fs::read_to_string(folder.path().join("bin/environment")).unwrap();
    assert!(environment.contains("PATH=") && !environment.contains("surely-wrong"), "{environment}");
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
