//! What a plugin is and is triggered by, against what its tenant grants.

use super::{HTTP, Inspection, LoadError, PACKAGE, Version};
use sandbar_core::grants::{Primitive, TenantGrants};
use sandbar_core::manifest::{Manifest, Trigger};

/// What a component imports of what a tenant may refuse, each with the name of the import.
pub(super) fn imported(inspection: &Inspection) -> Vec<(Primitive, String)> {
    let primitive = |name: &str| match name.strip_prefix(PACKAGE) {
        Some(interface) => Primitive::named(interface.split('@').next().unwrap_or_default()),
        None => HTTP.iter().any(|http| name.starts_with(http)).then_some(Primitive::Http),
    };
    let imports = inspection.imports.iter();
    imports.filter_map(|import| primitive(&import.name).map(|primitive| (primitive, import.name.clone()))).collect()
}

/// Checks that the tenant grants what a version imports, and what its manifest has it triggered by.
pub fn check_grants(version: &Version, manifest: &Manifest, grants: &TenantGrants) -> Result<(), LoadError> {
    let refused = |primitive: Primitive| format!("but the tenant's `primitives` do not grant `{}`", primitive.name());
    if let Some((primitive, name)) = version.imported.iter().find(|(primitive, _)| !grants.has(*primitive)) {
        return Err(LoadError::Import { name: name.clone(), reason: refused(*primitive) });
    }
    if (version.exports.has_loader() || manifest.cache.loader.is_some()) && !grants.has(Primitive::Loader) {
        return Err(LoadError::NotGranted(format!("it has a loader, {}", refused(Primitive::Loader))));
    }
    for trigger in &manifest.triggers {
        let primitive = match trigger {
            Trigger::Stream(_) => Primitive::Stream,
            Trigger::Queue(_) => Primitive::Queue,
            Trigger::Channel(_) => Primitive::Pubsub,
            Trigger::Schedule(_) => Primitive::Schedule,
            Trigger::Http(_) => Primitive::Http,
        };
        if !grants.has(primitive) {
            let kind = trigger.kind();
            return Err(LoadError::NotGranted(format!("it has a {kind} trigger, {}", refused(primitive))));
        }
        let granted = match trigger {
            Trigger::Stream(trigger) => grants.source(&trigger.stream),
            Trigger::Queue(trigger) => grants.source(&trigger.queue),
            Trigger::Channel(trigger) if trigger.pattern.is_some() => grants.channels(trigger.subject()),
            Trigger::Channel(trigger) => grants.channel(trigger.subject()),
            Trigger::Schedule(_) => Ok(()),
            Trigger::Http(trigger) => grants.route(&trigger.route),
        };
        granted.map_err(|denied| LoadError::NotGranted(format!("its {} trigger {denied}", trigger.kind())))?;
    }
    Ok(())
}
