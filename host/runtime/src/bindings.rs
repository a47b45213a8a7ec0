//! The one `bindgen!`: what `wit/` says, as Rust. Nothing else is here.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "generated code"
)]

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package sandbar:host;

        world host {
            include sandbar:plugin/primitives@0.1.0;
            import wasi:logging/logging@0.1.0-draft;
            export sandbar:plugin/handler@0.1.0;
            export sandbar:plugin/schedule@0.1.0;
            export sandbar:plugin/loader@0.1.0;
        }
    ",
    world: "sandbar:host/host",
    ownership: Borrowing { duplicate_if_necessary: true },
    require_store_data_send: true,
    imports: {
        "sandbar:plugin/cache.get": async,
        "sandbar:plugin/cache.get-many": async,
        "sandbar:plugin/cache.ttl": async,
        "sandbar:plugin/cache.scan": async,
        "sandbar:plugin/cache.get-for-update": async,
        "sandbar:plugin/cache.fetch": async,
        "sandbar:plugin/cache.increment": async,
        "sandbar:plugin/stream.range": async,
        "sandbar:plugin/stream.rev-range": async,
        "sandbar:plugin/stream.length": async,
        "sandbar:plugin/stream.info": async,
        "sandbar:plugin/stream.trim": async,
        "sandbar:plugin/queue.length": async,
        "sandbar:plugin/queue.peek": async,
        "sandbar:plugin/queue.take": async,
        "sandbar:plugin/pubsub.subscribers": async,
        "sandbar:plugin/lock.acquire": async,
        "sandbar:plugin/lock.[method]guard.extend": async,
        "sandbar:plugin/lock.[method]guard.release": async,
        "sandbar:plugin/lock.[drop]guard": async,
        "sandbar:plugin/collections.hash-get": async,
        "sandbar:plugin/collections.hash-get-many": async,
        "sandbar:plugin/collections.hash-get-all": async,
        "sandbar:plugin/collections.hash-length": async,
        "sandbar:plugin/collections.set-contains": async,
        "sandbar:plugin/collections.set-members": async,
        "sandbar:plugin/collections.set-size": async,
        "sandbar:plugin/collections.sorted-score": async,
        "sandbar:plugin/collections.sorted-size": async,
        "sandbar:plugin/collections.sorted-range": async,
        "sandbar:plugin/collections.sorted-range-by-score": async,
        "sandbar:plugin/collections.list-range": async,
        "sandbar:plugin/collections.list-length": async,
        "sandbar:plugin/transaction.commit": async,
        "sandbar:plugin/transaction.discard": async,
    },
    exports: { default: async },
    with: {
        "sandbar:plugin/lock.guard": crate::call::Guard,
    },
});
