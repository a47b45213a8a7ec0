//! How a command ends: an exit code, and what a person reads about it.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::builder::BuildError;
use sandbar_fleet::FleetError;
use sandbar_server::admin::AdminError;
use sandbar_server::host::HostError;
use sandbar_store::StoreError;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// It worked.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// The arguments do not go together.
    Usage = 2,
    /// The configuration or a manifest is wrong.
    Config = 64,
    /// The input is malformed.
    Input = 65,
    /// The store is not available.
    Store = 69,
    /// It was interrupted before it was finished.
    Interrupted = 130,
}

impl Exit {
    /// All of them, in the order of their codes.
    #[cfg(test)]
    pub(super) const ALL: [Self; 7] =
        [Self::Done, Self::Failed, Self::Usage, Self::Config, Self::Input, Self::Store, Self::Interrupted];

    /// The code that a shell sees.
    pub(super) fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command ends early.
#[derive(Debug)]
pub(super) struct Failure {
    /// How the process ends.
    pub(super) exit: Exit,
    /// What happened, and where. Empty where no one reads it.
    pub(super) what: String,
    /// What to do next.
    pub(super) help: Option<String>,
}

impl Failure {
    /// A failure without advice.
    pub(super) fn new(exit: Exit, what: impl Display) -> Self {
        Self { exit, what: what.to_string(), help: None }
    }

    /// The same with advice.
    pub(super) fn help(self, help: impl Display) -> Self {
        Self { help: Some(help.to_string()), ..self }
    }

    /// A file that cannot be read or written.
    pub(super) fn file(doing: &str, path: &Path, error: &io::Error) -> Self {
        let exit = if error.kind() == io::ErrorKind::NotFound { Exit::Config } else { Exit::Failed };
        Self::new(exit, format_args!("cannot {doing} `{}`: {error}", path.display()))
    }

    /// A call to the store that failed while `doing` something.
    pub(super) fn store(doing: &str, error: &StoreError) -> Self {
        let exit = if error.is_transient() { Exit::Store } else { Exit::Failed };
        Self::new(exit, format_args!("cannot {doing}: {error}"))
    }

    /// What the fleet did not do while `doing` something.
    pub(super) fn fleet(doing: &str, error: &FleetError) -> Self {
        let exit = match error {
            FleetError::Manifest(_) | FleetError::ManifestTooLarge(_) => Exit::Config,
            FleetError::TooLarge(_) => Exit::Input,
            error if error.is_transient() => Exit::Store,
            _ => Exit::Failed,
        };
        Self::new(exit, format_args!("cannot {doing}: {error}"))
    }

    /// The system gives no threads.
    #[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
    pub(super) fn runtime(error: io::Error) -> Self {
        Self::new(Exit::Failed, format_args!("cannot start threads: {error}"))
    }

    /// The reader of the output is gone, which is no fault: `sandbar dead list | head`.
    pub(super) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { exit: Exit::Done, what: String::new(), help: None };
        }
        Self::new(Exit::Failed, format_args!("cannot write to standard output: {error}"))
    }
}

impl From<&AdminError> for Failure {
    fn from(error: &AdminError) -> Self {
        let exit = match error {
            AdminError::Name(_) => Exit::Usage,
            AdminError::Store { error, .. } if error.is_transient() => Exit::Store,
            AdminError::Store { .. }
            | AdminError::NoDeadLetter { .. }
            | AdminError::Stopped { .. }
            | AdminError::Refused { .. }
            | AdminError::NotHeld(_) => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

impl From<&BuildError> for Failure {
    fn from(error: &BuildError) -> Self {
        let exit = match error {
            BuildError::Manifest { .. } | BuildError::NothingToBuild { .. } | BuildError::NoComponent { .. } => {
                Exit::Config
            }
            BuildError::Unreadable { error, .. } if error.kind() == io::ErrorKind::NotFound => Exit::Config,
            BuildError::Unreadable { .. }
            | BuildError::NoProgram { .. }
            | BuildError::TargetNotInstalled { .. }
            | BuildError::Failed { .. }
            | BuildError::NotOneComponent { .. } => Exit::Failed,
        };
        Self { exit, what: error.to_string(), help: error.help().map(str::to_owned) }
    }
}

impl From<&HostError> for Failure {
    fn from(error: &HostError) -> Self {
        let exit = match error {
            HostError::Manifest { .. }
            | HostError::Route { .. }
            | HostError::Outbound(_)
            | HostError::NoTenant(_)
            | HostError::Secret { .. } => Exit::Config,
            HostError::Confine { source, .. } if source.is_transient() => Exit::Store,
            HostError::Confine { .. } => Exit::Config,
            HostError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => Exit::Config,
            HostError::Engine(_)
            | HostError::Read { .. }
            | HostError::Load { .. }
            | HostError::Start { .. }
            | HostError::Component { .. }
            | HostError::Digest { .. }
            | HostError::Stopping
            | HostError::NotLoaded { .. }
            | HostError::Compiler { .. } => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_is_wrong_decides_the_code() {
        assert_eq!(Failure::store("read", &StoreError::Unavailable("no route".into())).exit, Exit::Store);
        assert_eq!(Failure::store("read", &StoreError::WrongType("`k` holds a list".into())).exit, Exit::Failed);
        let missing = io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(Failure::file("read", Path::new("x"), &missing).exit, Exit::Config);
        let nothing = BuildError::NothingToBuild { folder: PathBuf::from("x") };
        assert_eq!(Failure::from(&nothing).exit, Exit::Config);
        assert_eq!(Failure::output(&io::Error::from(io::ErrorKind::BrokenPipe)).exit, Exit::Done);
    }

    #[test]
    fn codes_are_the_documented_ones() {
        assert_eq!(Exit::ALL.map(Exit::code), [0, 1, 2, 64, 65, 69, 130]);
    }
}
