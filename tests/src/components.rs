//! The components that the build script made, by name.

include!(concat!(env!("OUT_DIR"), "/components.rs"));
