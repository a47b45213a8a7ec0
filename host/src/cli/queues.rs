//! `sandbar queues`: looks after queues.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Global;
use super::exit::{Exit, Failure};
use super::screen::Screen;
use super::setup::Setup;
use crate::grants::check_name;
use crate::store::{JobQueue, Lengths, Store};

/// How many keys one step of the search for queues looks at.
const SCAN_COUNT: u32 = 1000;
/// Keys beside a queue by which it is found. Producers alone do not make a queue known: a list is a list.
const MARKS: [&str; 2] = [":seq", ":paused"];

/// What `sandbar queues` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the queues that something was ever taken from, and those that are paused
    List,
    /// Tell how many jobs a queue has, by state
    Length(Place),
    /// Let nobody take jobs from a queue; those that are taken are finished
    Pause(Place),
    /// Let a queue go on
    Resume(Place),
}

#[derive(Debug, Args)]
struct Place {
    /// The queue, without the tenant's prefix
    #[arg(value_name = "QUEUE")]
    queue: String,
}

/// What is known of a queue.
#[derive(Debug, Serialize)]
struct State {
    queue: String,
    paused: bool,
    ready: u64,
    delayed: u64,
    leased: u64,
    dead: u64,
}

/// What `pause` and `resume` did.
#[derive(Debug, Serialize)]
struct Switched {
    queue: String,
    paused: bool,
    changed: bool,
}

/// Does what the arguments say.
pub(super) async fn run(arguments: Arguments, global: &Global, screen: &Screen) -> Result<Exit, Failure> {
    if let Action::Length(place) | Action::Pause(place) | Action::Resume(place) = &arguments.action {
        check_name("queue's name", &place.queue).map_err(|error| Failure::new(Exit::Usage, error))?;
    }
    let setup = Setup::find(global)?;
    let desk = Desk { store: setup.connect_shared("queues").await?, prefix: setup.prefix().to_owned() };
    match arguments.action {
        Action::List => desk.list(screen).await,
        Action::Length(Place { queue }) => {
            let state = desk.state(&queue).await?;
            screen.result(&state, || state.line())?;
            Ok(Exit::Done)
        }
        Action::Pause(Place { queue }) => desk.switch(queue, true, screen).await,
        Action::Resume(Place { queue }) => desk.switch(queue, false, screen).await,
    }
}

/// The queues of a tenant.
struct Desk {
    store: Arc<dyn Store>,
    prefix: String,
}

impl Desk {
    async fn list(&self, screen: &Screen) -> Result<Exit, Failure> {
        let names = self.names().await?;
        for name in &names {
            let state = self.state(name).await?;
            screen.result(&state, || state.line())?;
        }
        if names.is_empty() {
            screen.note("no queue that something was ever taken from");
        }
        Ok(Exit::Done)
    }

    async fn names(&self) -> Result<BTreeSet<String>, Failure> {
        let (begin, mut names, mut cursor) = (format!("{}{}", self.prefix, JobQueue::INFIX), BTreeSet::new(), Some(0));
        while let Some(from) = cursor {
            let page = self.store.scan(&format!("{}*", literal(&begin)), from, SCAN_COUNT).await;
            let page = page.map_err(|error| Failure::store("look for queues", &error))?;
            let name = |key: &String| {
                let rest = key.strip_prefix(&begin)?;
                MARKS.iter().find_map(|mark| rest.strip_suffix(mark)).map(str::to_owned)
            };
            names.extend(page.keys.iter().filter_map(name));
            cursor = page.next;
        }
        Ok(names)
    }

    async fn state(&self, name: &str) -> Result<State, Failure> {
        let queue = JobQueue::new(&self.prefix, name);
        let failed = |error| Failure::store(&format!("look at the queue `{}`", queue.list), &error);
        let Lengths { ready, delayed, leased, dead } = self.store.lengths(&queue).await.map_err(failed)?;
        let paused = self.store.is_paused(&queue).await.map_err(failed)?;
        Ok(State { queue: name.to_owned(), paused, ready, delayed, leased, dead })
    }

    async fn switch(&self, queue: String, paused: bool, screen: &Screen) -> Result<Exit, Failure> {
        let changed = self.store.set_paused(&JobQueue::new(&self.prefix, &queue), paused).await;
        let changed = changed.map_err(|error| Failure::store("write to the queue", &error))?;
        let switched = Switched { queue, paused, changed };
        screen.result(&switched, || switched.line())?;
        Ok(Exit::Done)
    }
}

impl State {
    fn line(&self) -> String {
        let Self { queue, paused, ready, delayed, leased, dead } = self;
        let paused = if *paused { "  paused" } else { "" };
        format!("{queue}  ready {ready}  delayed {delayed}  leased {leased}  dead {dead}{paused}")
    }
}

impl Switched {
    fn line(&self) -> String {
        let Self { queue, paused, changed } = self;
        let before = if *changed { "" } else { ", as it was before" };
        if *paused { format!("`{queue}` is paused{before}") } else { format!("`{queue}` goes on{before}") }
    }
}

/// A text as a glob pattern that matches only itself.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for char in text.chars() {
        if matches!(char, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern
}
