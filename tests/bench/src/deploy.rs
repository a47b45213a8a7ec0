//! How soon all hosts of a fleet run what is deployed: the real program, three hosts on one Redis, each with a folder
//! of its own for compiled code, as hosts on machines of their own have. Here they share the cores of one, so each
//! compiles more slowly than it would alone.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sandbar_tests::components::{HANDLE_MARK, RESULT_AGGREGATOR};
use sandbar_tests::{Options, RedisServer, open_manifest};
use serde_json::{Value, json};

use crate::idle::Working;
use crate::replace::{Spread, custom_section};

/// How long the hosts may take to join.
const START_LIMIT: Duration = Duration::from_secs(30);
/// The time between two deploys.
const PAUSE: Duration = Duration::from_millis(300);
/// By this name the benchmark is the program itself.
pub(crate) const PROGRAM: &str = "sandbar";

/// What `deploy` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Deploy {
    /// Hosts of the fleet
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    hosts: u32,
    /// Deploys of each component, each of another digest
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    deploys: u32,
}

impl Deploy {
    /// Measures, and prints a table and one JSON object.
    pub(crate) fn measure(&self) -> Result<()> {
        let (server, folder) = (Options::new().port().start(), tempfile::tempdir()?);
        let mut hosts = Vec::new();
        for number in 0..self.hosts {
            let config = folder.path().join(format!("host-{number}.toml"));
            let text = format!(
                "[store]\nurl = \"{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n[engine]\ncache-dir = \"cache-{number}\"\n",
                server.url()
            );
            fs::write(&config, text)?;
            let mut command = program("run", &server)?;
            command.arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
            hosts.push(Working(command.spawn().context("a host")?));
        }
        let begun = Instant::now();
        while server.get::<u32>(&["HLEN", "sandbar:fleet:nodes"]) < self.hosts {
            ensure!(begun.elapsed() < START_LIMIT, "not all hosts joined within {START_LIMIT:?}");
            thread::sleep(Duration::from_millis(20));
        }
        println!("{} hosts, {} deploys of each component", self.hosts, self.deploys);
        println!("| component | bytes | p50, ms | max, ms |\n| --- | --- | --- | --- |");
        let mut results = Vec::new();
        for component in [HANDLE_MARK, RESULT_AGGREGATOR] {
            let name = Path::new(component).file_stem().context("a name")?.to_string_lossy().into_owned();
            let plugin = folder.path().join(&name);
            fs::create_dir(&plugin)?;
            fs::write(plugin.join("plugin.toml"), format!("component = \"version.wasm\"\n{}", open_manifest("", "")))?;
            let bytes = fs::read(component).context(component)?;
            let mut times = Vec::new();
            for number in 0..self.deploys {
                let mut version = bytes.clone();
                custom_section(&mut version, number);
                fs::write(plugin.join("version.wasm"), version)?;
                times.push(self.deploy(&server, &plugin)?);
                thread::sleep(PAUSE);
            }
            eprintln!("{name}: {times:?}");
            let Spread { p50, max, .. } = Spread::of(times);
            println!("| {name} | {} | {p50} | {max} |", bytes.len());
            results.push(json!({ "component": name, "p50_ms": p50, "max_ms": max }));
        }
        println!("\n{}", json!({ "hosts": self.hosts, "deploys": self.deploys, "components": results }));
        Ok(())
    }

    /// Deploys once, and answers after how many milliseconds all hosts have told that they run it.
    fn deploy(&self, server: &RedisServer, plugin: &Path) -> Result<u64> {
        let mut command = program("deploy", server)?;
        command.arg(plugin).arg("--json");
        let begun = Instant::now();
        let output = command.output().context("the deploy")?;
        let took = begun.elapsed();
        ensure!(output.status.success(), "the deploy failed: {}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout)?;
        let hosts = told.get("hosts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let good = hosts.iter().filter(|host| host.to_string().contains("\"good\"")).count();
        ensure!(good == self.hosts as usize, "not all hosts run it: {told}");
        Ok(u64::try_from(took.as_millis())?)
    }
}

/// A command of the program.
fn program(command: &str, server: &RedisServer) -> Result<Command> {
    let mut program = Command::new(std::env::current_exe().context("this program's own file")?);
    program.arg0(PROGRAM).arg(command).args(["--redis-url", &server.url()]).stdin(Stdio::null());
    Ok(program)
}
