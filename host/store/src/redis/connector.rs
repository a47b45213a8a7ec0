//! How connections to the server are made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::redis::aio::{AsyncPushSender, MultiplexedConnection};
use ::redis::io::tcp::TcpSettings;
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    RedisError, RedisResult, TlsCertificates,
};
use rand::RngExt;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use async_trait::async_trait;

use super::super::StoreError;
use super::reply;
use sandbar_core::config::StoreConfig;
use sandbar_core::priority::Priority;
use sandbar_core::secret::Setting;

/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests that wait for one connection's writer; more wait with their callers.
const PIPELINE_DEPTH: usize = 1024;
/// The first pause between attempts to connect.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// The longest pause between attempts to connect.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// A server's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u32, pub(super) u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The oldest version that has all that the store uses (exclusive ranges of XPENDING, ZMSCORE, GETEX).
const VERSION_MIN: Version = Version(6, 2);

/// Another user of the server than the one of the configuration.
#[async_trait]
pub(super) trait User: std::fmt::Debug + Send + Sync {
    /// Its name.
    fn name(&self) -> &str;

    /// The password of this host.
    fn password(&self) -> &str;

    /// Makes the user, or makes it known again to a server that has forgotten it.
    async fn ensure(&self) -> Result<(), StoreError>;
}

/// Makes connections to one server.
#[derive(Debug)]
pub(super) struct Connector {
    client: Client,
    address: String,
    pub(super) response_timeout: Duration,
    /// How often a connection was found lost.
    losses: AtomicU64,
    config: StoreConfig,
    /// As whom it connects, where that is not the host itself.
    user: Option<Arc<dyn User>>,
    /// Where connections are driven: all callers share them, so they are never driven at background priority.
    runtime: Option<Handle>,
}

impl Connector {
    /// Reads the address; nothing is connected yet.
    pub(super) fn new(config: &StoreConfig) -> Result<Self, StoreError> {
        Self::with_user(config, None)
    }

    /// Connects to the same server as another user.
    pub(super) fn with(&self, user: Arc<dyn User>) -> Result<Self, StoreError> {
        Self::with_user(&self.config, Some(user))
    }

    fn with_user(config: &StoreConfig, user: Option<Arc<dyn User>>) -> Result<Self, StoreError> {
        let invalid = |error: &dyn std::fmt::Display| {
            StoreError::Invalid(format!(
                "the store's url is not one of redis://, rediss://, unix:// or `embedded`: {error}"
            ))
        };
        let info = config.url.as_str().into_connection_info().map_err(|error| invalid(&error))?;
        let address = address(&info);
        let mut redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        if let Some(Setting::Text(password)) = &config.password {
            redis = redis.set_password(password.expose());
        }
        if let Some(user) = &user {
            redis = redis.set_username(user.name()).set_password(user.password());
        }
        let info = info.set_redis_settings(redis).set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = match &config.ca_file {
            None => Client::open(info),
            Some(path) => {
                let root_cert = std::fs::read(path).map_err(|error| {
                    StoreError::Invalid(format!("store.ca-file `{}` cannot be read: {error}", path.display()))
                })?;
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(root_cert) })
            }
        };
        let client = client.map_err(|error| invalid(&error))?;
        Ok(Self {
            client,
            address,
            response_timeout: config.response_timeout,
            losses: AtomicU64::new(0),
            config: config.clone(),
            user,
            runtime: Handle::try_current().ok(),
        })
    }

    /// A connection was found lost: others that are idle are not to be trusted either.
    pub(super) fn lost(&self) {
        self.losses.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was so.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    /// Where the server is, without user and password.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Makes a connection.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, StoreError> {
        self.open(self.settings()).await
    }

    /// Makes a connection that hands what the server pushes to `pushes`, which must not block.
    pub(super) async fn connect_with_pushes(
        &self,
        pushes: impl AsyncPushSender,
    ) -> Result<MultiplexedConnection, StoreError> {
        self.open(self.settings().set_push_sender(pushes)).await
    }

    fn settings(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(self.response_timeout))
            .set_pipeline_buffer_size(PIPELINE_DEPTH)
    }

    async fn open(&self, settings: AsyncConnectionConfig) -> Result<MultiplexedConnection, StoreError> {
        let made = match (self.make(&settings).await, &self.user) {
            (Err(error), Some(user)) if is_unknown(&error) => {
                // The server has forgotten the user, or this host's password: it was started anew, or somebody has
                // removed it.
                Box::pin(user.ensure()).await?;
                self.make(&settings).await
            }
            (made, _) => made,
        };
        made.map_err(|error| match (error.kind(), reply::error(&error)) {
            (ErrorKind::RESP3NotSupported, _) => StoreError::Invalid(format!(
                "the server at {} does not know the protocol RESP3, so it is older than Redis 6; Sandbar needs {VERSION_MIN} or newer",
                self.address
            )),
            (_, StoreError::Unavailable(text)) => StoreError::Unavailable(format!("{}: {text}", self.address)),
            (_, other) => other,
        })
    }

    async fn make(&self, settings: &AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        let Some(runtime) = self.runtime.as_ref().filter(|_| Priority::current() == Priority::Background) else {
            return self.client.get_multiplexed_async_connection_with_config(settings).await;
        };
        let (client, settings) = (self.client.clone(), settings.clone());
        let making = async move { client.get_multiplexed_async_connection_with_config(&settings).await };
        let made = AbortOnDropHandle::new(runtime.spawn(making)).await;
        made.unwrap_or_else(|ended| Err(std::io::Error::other(ended).into()))
    }

    /// Connects once and refuses a server that is too old.
    pub(super) async fn check_version(&self) -> Result<Version, StoreError> {
        let mut connection = self.connect().await?;
        let info: String = ::redis::cmd("INFO")
            .arg("server")
            .query_async(&mut connection)
            .await
            .map_err(|error| reply::error(&error))?;
        let text = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or_default().trim();
        let mut numbers = text.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let version = Version(numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if version < VERSION_MIN {
            return Err(StoreError::Invalid(format!(
                "the server at {} is Redis {text}, but Sandbar needs {VERSION_MIN} or newer (or Valkey)",
                self.address
            )));
        }
        Ok(version)
    }
}

/// Whether the server does not know the user, or its password.
fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed || matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM"))
}

/// The pauses between attempts to connect: doubling up to a cap, each cut by a random half so that hosts do not come
/// back all at once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// Waits before the next attempt.
    pub(super) async fn pause(&mut self) {
        let full = BACKOFF_MIN.saturating_mul(1 << self.attempts.min(16)).min(BACKOFF_MAX);
        self.attempts = self.attempts.saturating_add(1);
        let part = rand::rng().random_range(0.5..=1.0);
        tokio::time::sleep(full.mul_f64(part)).await;
    }
}

fn address(info: &ConnectionInfo) -> String {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) => format!("{host}:{port}"),
        ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port} (TLS)"),
        ConnectionAddr::Unix(path) => path.display().to_string(),
        _ => "the server".to_owned(),
    }
}
