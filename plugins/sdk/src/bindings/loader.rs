//! The glue that exports a loader: a world of its own, so that a plugin may have a loader, a handler, or both.

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package sandbar:sdk-loader;

        world sdk-loader {
            export sandbar:plugin/loader@0.1.0;
        }
    ",
    world: "sandbar:sdk-loader/sdk-loader",
    pub_export_macro: true,
    generate_all,
    ownership: Borrowing { duplicate_if_necessary: true },
});
