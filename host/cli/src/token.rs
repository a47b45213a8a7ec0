//! `sandbar token`: tokens of the HTTP API.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::Global;
use super::exit::{Exit, Failure};
use super::fleet::time;
use super::screen::Screen;
use super::setup::Setup;
use sandbar_core::token::{Minted, Record, Role, Scope, TokenId};
use sandbar_fleet::token_registry::{ListedToken, Registry, TokenError, make};
use sandbar_store::CommitError;

/// What `sandbar token` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

/// The names of the roles.
fn roles() -> impl TypedValueParser<Value = Role> {
    let names = Role::ALL.map(|role| PossibleValue::new(role.name()).help(role.allows()));
    PossibleValuesParser::new(names).try_map(|name| name.parse())
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a token for a tenant and show it, once
    Create {
        /// What it is for, such as `ci` or the name of a person
        #[arg(value_name = "NAME")]
        name: String,
        /// What it may be used for: look, also operate, also deploy
        #[arg(long, value_parser = roles())]
        role: Role,
        /// For all tenants, and what all of them share
        #[arg(long, conflicts_with = "tenant")]
        all_tenants: bool,
        /// How long it holds, such as `90days`; for ever by default
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        expires_in: Option<Duration>,
        /// Keep nothing in the store, and print what goes into sandbar.toml instead
        #[arg(long, conflicts_with = "expires_in")]
        for_config: bool,
    },
    /// List the tokens in the store; what is secret of them is not known
    List,
    /// Take a token away; hosts refuse it within seconds
    Revoke {
        /// Its id, the middle part of the token
        #[arg(value_name = "ID")]
        id: TokenId,
    },
    /// Give a token another secret and show it, once
    Rotate {
        /// Its id, the middle part of the token
        #[arg(value_name = "ID")]
        id: TokenId,
        /// How long the secret before still holds
        #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = humantime::parse_duration)]
        overlap: Duration,
    },
}

/// A token, as it is shown once.
#[derive(Debug, Serialize)]
struct TokenReport<'a> {
    id: &'a TokenId,
    token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<String>,
}

/// Does what the arguments say.
pub(super) async fn run(arguments: Arguments, global: &Global, screen: &Screen) -> Result<Exit, Failure> {
    let setup = Setup::find(global)?;
    let scope = |all| if all { Scope::Host } else { Scope::Tenant(setup.tenant().name.clone()) };
    match arguments.action {
        Action::Create { name, role, all_tenants, for_config: true, .. } => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            let (minted, record) =
                make(&name, scope(all_tenants), role, None, now_ms).map_err(|error| failure(&error))?;
            print(&minted, Some(section(&minted, &record)), screen)
        }
        Action::Create { name, role, all_tenants, expires_in, .. } => {
            let minted = registry(&setup).await?.create(&name, scope(all_tenants), role, expires_in).await;
            print(&minted.map_err(|error| failure(&error))?, None, screen)
        }
        Action::List => list(&registry(&setup).await?, screen).await,
        Action::Revoke { id } => {
            if !registry(&setup).await?.revoke(&id).await.map_err(|error| failure(&error))? {
                return Err(failure(&TokenError::Missing(id)));
            }
            screen.result(&serde_json::json!({ "revoked": id }), || format!("`{id}` is revoked"))?;
            Ok(Exit::Done)
        }
        Action::Rotate { id, overlap } => {
            let minted = registry(&setup).await?.rotate(&id, overlap).await;
            print(&minted.map_err(|error| failure(&error))?, None, screen)
        }
    }
}

async fn registry(setup: &Setup) -> Result<Registry, Failure> {
    Ok(Registry::new(setup.connect_shared("token").await?, &setup.config.fleet.prefix))
}

/// The only place where a token is printed.
fn print(minted: &Minted, config: Option<String>, screen: &Screen) -> Result<Exit, Failure> {
    let report = TokenReport { id: &minted.id, token: minted.token.expose(), config };
    screen.result(&report, || match &report.config {
        None => report.token.to_owned(),
        Some(config) => format!("{}\n\n{config}", report.token),
    })?;
    screen.note("keep it: it is not shown again, and not known to anybody else");
    Ok(Exit::Done)
}

async fn list(registry: &Registry, screen: &Screen) -> Result<Exit, Failure> {
    let tokens = registry.list().await.map_err(|error| Failure::store("list tokens", &error))?;
    for token in &tokens {
        screen.result(token, || line(token, registry.now_ms()))?;
    }
    if tokens.is_empty() {
        screen.note("no tokens: `sandbar token create NAME --role deploy` makes one");
    }
    Ok(Exit::Done)
}

fn line(token: &ListedToken, now_ms: u64) -> String {
    let ListedToken { id, name, tenant, role, created_ms, expires_ms, last_used_ms } = token;
    let end = match *expires_ms {
        None => String::new(),
        Some(end) if end <= now_ms => format!("  expired {}", time(end)),
        Some(end) => format!("  until {}", time(end)),
    };
    let used = last_used_ms.map_or("never used".to_owned(), |used| format!("used {}", time(used)));
    format!("{id}  {name}  tenant {tenant}  {role}  made {}  {used}{end}", time(*created_ms))
}

/// What goes into sandbar.toml.
fn section(minted: &Minted, record: &Record) -> String {
    let name = record.name.replace('\\', "\\\\").replace('"', "\\\"");
    let hash = String::from(minted.hash);
    format!(
        "[[http.token]]\nid = \"{}\"\nname = \"{name}\"\ntenant = \"{}\"\nrole = \"{}\"\nhash = \"{hash}\"",
        minted.id, record.tenant, record.role
    )
}

fn failure(error: &TokenError) -> Failure {
    match error {
        TokenError::Missing(_) => Failure::new(Exit::Failed, error).help("sandbar token list"),
        TokenError::Invalid(_) => Failure::new(Exit::Usage, error),
        TokenError::Changed(_) => Failure::new(Exit::Failed, error),
        TokenError::Store(error) => Failure::store("work on tokens", error),
        TokenError::Commit(error) => {
            let exit = if matches!(error, CommitError::Unknown(_)) { Exit::Store } else { Exit::Failed };
            Failure::new(exit, error).help("sandbar token list")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbar_core::config::Config;

    #[test]
    fn what_is_printed_for_the_configuration_is_a_configuration() {
        let (minted, record) = make("a \"b\" \\", Scope::Host, Role::Operate, None, 0).unwrap();
        let config = Config::parse(&section(&minted, &record)).unwrap();
        let token = &config.http.tokens[0];
        assert_eq!((token.name.as_str(), &token.id, token.role), ("a \"b\" \\", &minted.id, Role::Operate));
        assert!(token.record().unwrap().hash.is(&minted.hash));
    }
}
