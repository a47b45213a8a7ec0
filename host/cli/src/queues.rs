//! `sandbar queues`: lists, pauses and resumes queues.

use clap::{Args, Subcommand};

use super::Global;
use super::exit::{Exit, Failure};
use super::screen::Screen;
use super::setup::Opened;
use sandbar_core::grants::check_name;
use sandbar_server::admin::queues::{QueueState, Queues, Switched};

/// What `sandbar queues` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the queues from which something was taken, and the paused ones, with their jobs by state
    List,
    /// Show how many jobs of a queue are ready, delayed, leased and dead
    Length(QueueOptions),
    /// Stop all hosts from taking jobs; jobs already taken are finished
    Pause(QueueOptions),
    /// Let hosts take jobs again
    Resume(QueueOptions),
}

#[derive(Debug, Args)]
struct QueueOptions {
    /// The queue, without the tenant's prefix
    #[arg(value_name = "QUEUE")]
    queue: String,
}

/// Does what the arguments say.
pub(super) async fn run(arguments: Arguments, global: &Global, screen: &Screen) -> Result<Exit, Failure> {
    if let Action::Length(place) | Action::Pause(place) | Action::Resume(place) = &arguments.action {
        check_name("queue's name", &place.queue).map_err(|error| Failure::new(Exit::Usage, error))?;
    }
    let Opened { setup, store } = Opened::shared("queues", global).await?;
    let queues = Queues::of(store, setup.prefix());
    match arguments.action {
        Action::List => list(&queues, screen).await,
        Action::Length(QueueOptions { queue }) => {
            let state = queues.state(&queue).await.map_err(|error| Failure::from(&error))?;
            screen.result(&state, || state_line(&state))?;
            Ok(Exit::Done)
        }
        Action::Pause(QueueOptions { queue }) => switch(&queues, &queue, true, screen).await,
        Action::Resume(QueueOptions { queue }) => switch(&queues, &queue, false, screen).await,
    }
}

async fn list(queues: &Queues, screen: &Screen) -> Result<Exit, Failure> {
    let names = queues.names().await.map_err(|error| Failure::from(&error))?;
    for name in &names {
        let state = queues.state(name).await.map_err(|error| Failure::from(&error))?;
        screen.result(&state, || state_line(&state))?;
    }
    if names.is_empty() {
        screen.note("no queue that something was ever taken from");
    }
    Ok(Exit::Done)
}

async fn switch(queues: &Queues, queue: &str, paused: bool, screen: &Screen) -> Result<Exit, Failure> {
    let switched = queues.switch(queue, paused).await.map_err(|error| Failure::from(&error))?;
    screen.result(&switched, || switched_line(&switched))?;
    Ok(Exit::Done)
}

fn state_line(state: &QueueState) -> String {
    let QueueState { queue, paused, ready, delayed, leased, dead } = state;
    let paused = if *paused { "  paused" } else { "" };
    format!("{queue}  ready {ready}  delayed {delayed}  leased {leased}  dead {dead}{paused}")
}

fn switched_line(switched: &Switched) -> String {
    let Switched { queue, paused, changed } = switched;
    let before = if *changed { "" } else { ", as it was before" };
    if *paused { format!("`{queue}` is paused{before}") } else { format!("`{queue}` goes on{before}") }
}
