//! `type = "http"`.

use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

use super::{ManifestError, millis, named, refuse, within};

/// The paths of the host's own, some of which are still to come. No plugin answers there or below.
const RESERVED: [&str; 6] = ["/api", "/events", "/healthz", "/metrics", "/push", "/readyz"];

/// Which requests make a plugin run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HttpTrigger {
    /// The path below which the plugin answers, such as `/sessions`; begins with `/`, and is no path of the host's own.
    pub route: String,
    /// Bytes of a request's body, up to 1 GiB; default 1 MiB. More answer 413.
    #[serde(default = "HttpTrigger::default_request_bytes")]
    pub request_bytes: ByteSize,
    /// Bytes of a response's body, up to 1 GiB; default 16 MiB.
    #[serde(default = "HttpTrigger::default_response_bytes")]
    pub response_bytes: ByteSize,
    /// Requests handled at the same time on one host, 1 to 10,000; default 64. More wait shortly, then answer 503.
    #[serde(default = "HttpTrigger::default_concurrency")]
    pub concurrency: u32,
    /// How long a request may take, its body included, 1 ms to 1 h; default 30 s. More answer 504.
    #[serde(default = "HttpTrigger::default_timeout", with = "humantime_serde")]
    pub timeout: Duration,
}

impl HttpTrigger {
    pub(super) fn check(&self) -> Result<(), ManifestError> {
        named("trigger.route", &self.route)?;
        if !self.route.starts_with('/') || self.route.contains(['?', '#', '*', '{', '}']) {
            return refuse("trigger.route", format!("`{}` is no path that begins with `/`", self.route));
        }
        let is_below = |rest: &str| rest.is_empty() || rest.starts_with('/');
        if let Some(own) = RESERVED.iter().find(|own| self.route.strip_prefix(**own).is_some_and(is_below)) {
            return refuse("trigger.route", format!("`{}` is the host's own, as all below `{own}` is", self.route));
        }
        within("trigger.request-bytes", self.request_bytes.as_u64(), 0, 1 << 30)?;
        within("trigger.response-bytes", self.response_bytes.as_u64(), 0, 1 << 30)?;
        within("trigger.concurrency", self.concurrency.into(), 1, 10_000)?;
        within("trigger.timeout (ms)", millis(self.timeout), 1, 3_600_000)
    }

    fn default_request_bytes() -> ByteSize {
        ByteSize::mib(1)
    }
    fn default_response_bytes() -> ByteSize {
        ByteSize::mib(16)
    }
    fn default_concurrency() -> u32 {
        64
    }
    fn default_timeout() -> Duration {
        Duration::from_secs(30)
    }
}
