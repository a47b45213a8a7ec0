//! What must come out, counted from what goes in.

use std::collections::BTreeMap;

use super::{Entry, Fate};

/// What a number of entries must leave behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Results published.
    pub results: u64,
    /// Results remembered as alerts, before lists are cut to their length.
    pub alerts: u64,
    /// Entries in the dead letters.
    pub dead_letters: u64,
    /// Results and alerts by the camera's id.
    pub cameras: BTreeMap<String, CameraCounts>,
}

/// What must come out for one camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CameraCounts {
    /// Results published.
    pub results: u64,
    /// Results remembered as alerts, before the list is cut to its length.
    pub alerts: u64,
}

impl Expected {
    /// Counts one more entry.
    pub fn add(&mut self, entry: &Entry) {
        match &entry.fate {
            Fate::Result { camera, is_alert } => {
                let alerts = u64::from(*is_alert);
                let counts = self.cameras.entry(camera.clone()).or_default();
                counts.results += 1;
                counts.alerts += alerts;
                self.results += 1;
                self.alerts += alerts;
            }
            Fate::DeadLetter { .. } => self.dead_letters += 1,
        }
    }
}

impl<'a> FromIterator<&'a Entry> for Expected {
    fn from_iter<T: IntoIterator<Item = &'a Entry>>(entries: T) -> Self {
        let mut expected = Self::default();
        entries.into_iter().for_each(|entry| expected.add(entry));
        expected
    }
}
