//! `sandbar dead`: looks after the dead letters of a stream or a queue.

use clap::{Args, Subcommand};

use super::Global;
use super::exit::{Exit, Failure};
use super::screen::Screen;
use super::setup::Opened;
use sandbar_server::admin::AdminError;
use sandbar_server::admin::dead::{self, BATCH_MAX, DeadLetterAction, DeadLetters};
use sandbar_store::dead_letter::FIELD_PREFIX;
use sandbar_store::{CommitError, EntryId};

/// What `sandbar dead` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List dead letters, the newest first
    List {
        #[command(flatten)]
        from: SourceOptions,
        /// How many at most
        #[arg(long, default_value_t = 100, value_name = "COUNT")]
        limit: u32,
    },
    /// Show all that is known of dead letters
    Show {
        #[command(flatten)]
        from: SourceOptions,
        /// The dead letters, by their ids in the list
        #[arg(required = true, value_name = "ID")]
        ids: Vec<EntryId>,
    },
    /// Append the events again to the stream that they came from (or push the jobs to their queue), and remove the
    /// dead letters
    Retry {
        #[command(flatten)]
        from: SourceOptions,
        #[command(flatten)]
        which: SelectionOptions,
    },
    /// Remove dead letters for good
    Drop {
        #[command(flatten)]
        from: SourceOptions,
        #[command(flatten)]
        which: SelectionOptions,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct SourceOptions {
    /// The stream that the events came from, without the tenant's prefix
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    /// The queue that the jobs came from, without the tenant's prefix
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
}

impl SourceOptions {
    /// What is named, and how.
    fn named(&self) -> (&str, &'static str) {
        match (&self.stream, &self.queue) {
            (None, Some(queue)) => (queue, "--queue"),
            (stream, _) => (stream.as_deref().unwrap_or_default(), "--stream"),
        }
    }
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct SelectionOptions {
    /// The dead letters, by their ids in the list
    #[arg(value_name = "ID")]
    ids: Vec<EntryId>,
    /// All dead letters that are there now
    #[arg(long)]
    all: bool,
}

/// Does what the arguments say.
pub(super) async fn run(arguments: Arguments, global: &Global, screen: &Screen) -> Result<Exit, Failure> {
    let (Action::List { from, .. }
    | Action::Show { from, .. }
    | Action::Retry { from, .. }
    | Action::Drop { from, .. }) = &arguments.action;
    let admin = DeadLetterAdmin::open(from, global).await?;
    match arguments.action {
        Action::List { limit, .. } => admin.list(limit, screen).await,
        Action::Show { ids, .. } => {
            for dead_letter in admin.dead_letters.find(&ids).await.map_err(|error| admin.failure(&error))? {
                screen.result(&dead_letter, || dead_letter.page())?;
            }
            Ok(Exit::Done)
        }
        Action::Retry { which, .. } => admin.settle(which, DeadLetterAction::Retry, screen).await,
        Action::Drop { which, .. } => admin.settle(which, DeadLetterAction::Drop, screen).await,
    }
}

/// The dead letters of one stream or queue, and how the operator calls it.
struct DeadLetterAdmin {
    dead_letters: DeadLetters,
    /// With the option before it.
    called: String,
}

impl DeadLetterAdmin {
    async fn open(from: &SourceOptions, global: &Global) -> Result<Self, Failure> {
        let (name, option) = from.named();
        let called = format!("{option} {name}");
        sandbar_core::grants::check_name("stream's name", name).map_err(|error| Failure::new(Exit::Usage, error))?;
        let Opened { setup, store } = Opened::shared("dead", global).await?;
        let place = if from.queue.is_some() {
            dead::DeadLetterSource::Queue(name)
        } else {
            dead::DeadLetterSource::Stream(name)
        };
        let dead_letters = DeadLetters::of(store, setup.prefix(), place).map_err(|error| Failure::from(&error))?;
        Ok(Self { dead_letters, called })
    }

    async fn list(&self, limit: u32, screen: &Screen) -> Result<Exit, Failure> {
        let (mut left, mut end) = (limit, Some(EntryId::MAX));
        while let Some(before) = end.filter(|_| left > 0) {
            let dead_letters = self.dead_letters.before(before, left.min(BATCH_MAX)).await;
            let dead_letters = dead_letters.map_err(|error| self.failure(&error))?;
            end = dead_letters.last().and_then(|dead_letter| dead_letter.id.previous());
            left -= dead_letters.len().try_into().unwrap_or(left).min(left);
            for dead_letter in dead_letters {
                screen.result(&dead_letter, || dead_letter.line())?;
            }
        }
        if left == limit && limit > 0 {
            screen.note(format!("no dead letters in `{}`", self.dead_letters.key()));
        }
        Ok(Exit::Done)
    }

    async fn settle(&self, which: SelectionOptions, fate: DeadLetterAction, screen: &Screen) -> Result<Exit, Failure> {
        let which = if which.all {
            dead::DeadLetterSelection::Oldest(u64::MAX)
        } else {
            dead::DeadLetterSelection::Ids(which.ids)
        };
        let report = self.dead_letters.settle(which, fate).await.map_err(|error| self.failure(&error))?;
        let done = match fate {
            DeadLetterAction::Retry => format!("sent back to `{}`", self.dead_letters.source()),
            DeadLetterAction::Drop => "dropped".to_owned(),
        };
        screen.result(&report, || match report.dead_letters {
            1 => format!("1 dead letter {done}"),
            dead_letters => format!("{dead_letters} dead letters {done}"),
        })?;
        if report.left.is_empty() {
            return Ok(Exit::Done);
        }
        let what = format!(
            "no event is in {}: no field begins with `{FIELD_PREFIX}`; left as they are",
            report.left.join(", ")
        );
        Err(Failure::new(Exit::Failed, what).help(format_args!("sandbar dead show {} ID", self.called)))
    }

    fn failure(&self, error: &AdminError) -> Failure {
        let failure = Failure::from(error);
        match error {
            AdminError::NoDeadLetter { .. } => failure.help(format_args!("sandbar dead list {}", self.called)),
            AdminError::Stopped { error, .. } => {
                let exit = if matches!(error, CommitError::Unknown(_)) { Exit::Store } else { Exit::Failed };
                Failure { exit, ..failure }
                    .help(format_args!("look at what is left: sandbar dead list {}", self.called))
            }
            AdminError::Refused { .. } => failure.help("their dead letters were put back, with new ids"),
            AdminError::Name(_) | AdminError::Store { .. } | AdminError::NotHeld(_) => failure,
        }
    }
}
