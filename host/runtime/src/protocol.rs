//! Which protections a host has: all of them.
//!
//! With the feature `fault-injection`, which only tests enable, each protection can be taken away. A test then sees
//! that it is needed.

/// The protections of a host. Without the feature `fault-injection` this has no fields, and every answer is a constant.
#[derive(Debug, Clone, Copy)]
pub struct Protocol {
    /// Commits are transactions that watch the fence of the consumer, or the lease.
    #[cfg(feature = "fault-injection")]
    pub fenced: bool,
    /// After a lost reply a consumer first advances its own fence, or moves its lease to a new name.
    #[cfg(feature = "fault-injection")]
    pub fence_after_lost_reply: bool,
    /// Names that plugins use are checked and prefixed. Otherwise only the store's access control keeps a tenant
    /// below its prefix.
    #[cfg(feature = "fault-injection")]
    pub names_checked: bool,
}

/// Defines what a protection answers with and without the feature.
macro_rules! protections {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        impl Default for Protocol {
            fn default() -> Self {
                Self {
                    $(#[cfg(feature = "fault-injection")] $name: true,)+
                }
            }
        }

        impl Protocol {
            $($(#[$doc])*
            pub const fn $name(self) -> bool {
                #[cfg(feature = "fault-injection")]
                return self.$name;
                #[cfg(not(feature = "fault-injection"))]
                true
            })+
        }
    };
}

protections! {
    /// Whether commits watch the fence of the consumer, or the lease.
    fenced,
    /// Whether a consumer fences itself after a lost reply.
    fence_after_lost_reply,
    /// Whether names that plugins use are checked and prefixed.
    names_checked,
}
