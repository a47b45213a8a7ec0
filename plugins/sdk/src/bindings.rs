//! What `wit-bindgen` makes of `wit/`: the raw imports, and the glue that exports a handler.
//!
//! Generated, and the only place of the SDK with `unsafe` code. The other modules wrap what is here; it is public
//! because `handler!` and `batch_handler!` expand to paths into it. `types` is written by hand in [`crate::types`]: a
//! change of the WIT that it does not follow does not compile.
//!
//! Outside of WebAssembly the imports panic: tests on the host's target reach everything but them.

#![allow(unsafe_code, reason = "the canonical ABI passes pointers; the generator upholds it")]
#![allow(missing_docs, unreachable_pub, unused_qualifications, reason = "generated")]

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package sandbar:sdk;

        world sdk {
            include sandbar:plugin/primitives@0.1.0;
            import wasi:logging/logging@0.1.0-draft;
            import wasi:config/store@0.2.0-rc.1;
            export sandbar:plugin/handler@0.1.0;
        }
    ",
    world: "sandbar:sdk/sdk",
    with: { "sandbar:plugin/types@0.1.0": crate::types },
    generate_all,
    pub_export_macro: true,
    ownership: Borrowing { duplicate_if_necessary: true },
});

pub mod loader;
