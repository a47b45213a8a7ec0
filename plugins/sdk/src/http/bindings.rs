//! What `wit-bindgen` makes of `wasi:http`: a world of its own, so that a plugin without a handler is complete, and
//! one without HTTP imports nothing of it.
//!
//! Generated. Public because `service!` expands to paths into it, and for plugins that stream bodies, which the
//! functions of [`crate::http`] do not.

#![allow(unsafe_code, reason = "the canonical ABI passes pointers; the generator upholds it")]
#![allow(missing_docs, unreachable_pub, unused_qualifications, reason = "generated")]

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package sandbar:sdk-http;

        world service {
            import wasi:http/types@0.2.12;
            import wasi:http/outgoing-handler@0.2.12;
            export wasi:http/incoming-handler@0.2.12;
        }
    ",
    world: "sandbar:sdk-http/service",
    generate_all,
    pub_export_macro: true,
});
