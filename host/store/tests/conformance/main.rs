//! Every store keeps the contract of `sandbar_store`: the same cases run against each of them.
//!
//! A case is an `async fn` over a [`Fixture`]. The macro [`conformance`] makes four tests of it: on the embedded
//! store, on a fresh Redis server, on the same as a tenant that the server keeps below its prefix, and on a Redis
//! server full of other people's keys, which must be untouched afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "all of it is tests, also the functions that they share"
)]

mod build;
mod fixture;
mod strangers;

mod cache;
mod collections;
mod commit;
mod delivery;
mod leases;
mod loading;
mod lock;
mod pubsub;
mod queue;
mod refusals;
mod retries;
mod scan;
mod servers;
mod stream;
mod takeover;
mod trim;
mod watches;

use fixture::Fixture;

/// Makes tests of cases, for each store.
macro_rules! conformance {
    ($($case:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test]
            async fn $case() {
                super::$case(&crate::Fixture::embedded()).await;
            })+
        }

        mod redis {
            $(#[tokio::test]
            async fn $case() {
                super::$case(&crate::Fixture::redis().await).await;
            })+
        }

        mod confined {
            $(#[tokio::test]
            async fn $case() {
                super::$case(&crate::Fixture::confined().await).await;
            })+
        }

        mod crowded {
            $(#[tokio::test]
            async fn $case() {
                let fixture = crate::Fixture::crowded().await;
                super::$case(&fixture).await;
                fixture.assert_strangers_untouched();
            })+
        }
    };
}
use conformance;
