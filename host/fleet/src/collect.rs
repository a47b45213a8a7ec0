//! Components that nothing refers to any more are deleted.

use std::collections::HashSet;

use super::{Fleet, FleetError};
use sandbar_store::{CommitError, Effect};

/// How many components are deleted in one commit.
const COLLECTED_MAX: usize = 100;

impl Fleet {
    /// Deletes components that no record refers to, and answers how many. Does nothing while others deploy: they
    /// collect when they are done.
    pub async fn collect(&self) -> Result<usize, FleetError> {
        let catalogue = self.key("catalogue");
        // A deploy after this moment changes it, so that what it refers to is not collected.
        let before = self.store.get(&catalogue).await?;
        let components = self.store.set_members(&self.key("components")).await?;
        // A record that cannot be read may refer to anything, so nothing is collected then.
        let listed = self.plugins(None).await?;
        let used: HashSet<&str> = listed.iter().flat_map(|listed| listed.record.digests()).collect();
        let unused: Vec<String> =
            components.into_iter().filter(|digest| !used.contains(digest.as_str())).take(COLLECTED_MAX).collect();
        if unused.is_empty() {
            return Ok(0);
        }
        let delete = |digest: &String| Effect::Delete { key: self.component_key(digest) };
        let mut effects: Vec<Effect> = unused.iter().map(delete).collect();
        effects.push(Effect::SetRemove { key: self.key("components"), members: unused.clone() });
        match self.commit(&effects, &[(catalogue, before)]).await {
            Ok(()) => Ok(unused.len()),
            Err(FleetError::Commit(CommitError::Conflict(_))) => Ok(0),
            Err(error) => Err(error),
        }
    }
}
