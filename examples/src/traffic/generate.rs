//! Plausible assessments of cameras, made up from a seed: some of high risk, some malformed.

use super::assessment::{Assessment, Group, Level, Object, Place, Risk, timestamp};
use super::random::Random;
use super::{Entry, FIELD, Fate, START_MS};

/// Milliseconds from one picture to the next.
const PICTURE_MS: u64 = 40;
/// The most groups in a picture.
const GROUPS_MAX: usize = 4;
/// The most objects in a group.
const GROUP_OBJECTS_MAX: usize = 6;

/// What is generated.
#[derive(Clone, Debug)]
pub struct Options {
    /// The same seed gives the same entries.
    pub seed: u64,
    /// Cameras, named `1` to this number; at least one.
    pub cameras: u32,
    /// The share of entries that are malformed, 0 to 1.
    pub malformed_share: f64,
    /// The share of well-formed entries that are alerts, 0 to 1.
    pub high_risk_share: f64,
    /// The most objects in a picture; an object is about 170 bytes, so 300 make a result of 50 KB.
    pub objects_max: u32,
}

impl Default for Options {
    /// Seed 1, 50 cameras, 1 % malformed, 5 % of high risk, up to 24 objects.
    fn default() -> Self {
        Self { seed: 1, cameras: 50, malformed_share: 0.01, high_risk_share: 0.05, objects_max: 24 }
    }
}

/// Entries without end.
#[derive(Clone, Debug)]
pub struct Generator {
    options: Options,
    random: Random,
    pictures: u64,
}

impl Generator {
    /// Begins at the first picture.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { random: Random::new(options.seed), options, pictures: 0 }
    }

    fn entry(&mut self) -> Option<Entry> {
        self.pictures += 1;
        let camera = (1 + self.random.below(self.options.cameras as usize)).to_string();
        let malformed = self.random.chance(self.options.malformed_share);
        let is_alert = self.random.chance(self.options.high_risk_share);
        let objects = objects(&mut self.random, self.options.objects_max as usize);
        let risk_assessment = risk(&mut self.random, is_alert)?;
        let assessment = Assessment {
            request_id: format!("r-{:08}", self.pictures),
            camera_id: &camera,
            timestamp: timestamp(START_MS + self.pictures * PICTURE_MS),
            traffic_groups: groups(&mut self.random, objects.len(), risk_assessment.max_risk_level),
            detected_objects: &objects,
            risk_assessment,
            llm_latency: Some(self.random.decimal(0.2, 2.5)),
            llm_model: Some("vision-7b"),
        };
        let data = serde_json::to_string(&assessment).ok()?;
        if malformed {
            return spoil(&mut self.random, &data);
        }
        Some(Entry { field: (FIELD, data), fate: Fate::Result { camera, is_alert } })
    }
}

impl Iterator for Generator {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        self.entry()
    }
}

fn objects(random: &mut Random, max: usize) -> Vec<Object> {
    let kinds = [(6, "car"), (6, "car"), (6, "car"), (5, "bus"), (7, "truck"), (0, "person"), (1, "bicycle")];
    let count = random.below(max + 1);
    let object = |_| {
        let (class_id, name) = random.pick(kinds)?;
        let relative_coordinates = Place {
            center_x: random.decimal(0.05, 0.95),
            center_y: random.decimal(0.2, 0.95),
            width: random.decimal(0.02, 0.2),
            height: random.decimal(0.02, 0.25),
        };
        Some(Object { class_id, name: name.to_owned(), relative_coordinates, confidence: random.decimal(0.25, 0.99) })
    };
    (0..count).filter_map(object).collect()
}

/// A risk that is an alert, by its level or by dangerous driving, or one that is not.
fn risk(random: &mut Random, is_alert: bool) -> Option<Risk> {
    let calm = [Level::None, Level::Low, Level::Low, Level::Medium];
    let by_driving = is_alert && random.chance(0.25);
    let max_risk_level = if is_alert && !by_driving {
        random.pick([Level::High, Level::High, Level::Critical])
    } else {
        random.pick(calm)
    };
    Some(Risk { max_risk_level: max_risk_level?, has_dangerous_driving: by_driving })
}

/// Groups of neighbouring objects, the first with the highest level.
fn groups(random: &mut Random, objects: usize, max: Level) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut first = 0;
    while first < objects && groups.len() < GROUPS_MAX {
        let size = (1 + random.below(GROUP_OBJECTS_MAX)).min(objects - first);
        let risk_level = if groups.is_empty() { max } else { max.min(Level::Low) };
        let description = format!("{size} road users close to each other, relative speed {} m/s", random.below(14));
        groups.push(Group {
            group_id: groups.len(),
            objects: (first..first + size).collect(),
            risk_level,
            description,
        });
        first += size;
    }
    groups
}

/// Makes an entry malformed in one of the ways that producers have.
fn spoil(random: &mut Random, data: &str) -> Option<Entry> {
    let replaced = |from: &str, to: &str| data.replacen(from, to, 1);
    let level = |data: &str| {
        let (before, after) = data.rsplit_once("\"maxRiskLevel\":\"")?;
        let (_, after) = after.split_once('"')?;
        Some(format!("{before}\"maxRiskLevel\":\"purple\"{after}"))
    };
    let (name, data, reason) = match random.below(5) {
        0 => (FIELD, data.get(..data.len() / 8)?.to_owned(), ""),
        1 => (FIELD, replaced("\"cameraId\":", "\"camera\":"), "missing field `cameraId`"),
        2 => (FIELD, level(data)?, "riskAssessment.maxRiskLevel: unknown level \"purple\""),
        3 => (
            FIELD,
            replaced("\"trafficGroups\":", "\"trafficGroups\":{},\"groups\":"),
            "trafficGroups: expected an array",
        ),
        _ => ("payload", data.to_owned(), "data: missing field"),
    };
    Some(Entry { field: (name, data), fate: Fate::DeadLetter { reason } })
}

#[cfg(test)]
mod tests {
    use super::super::Expected;
    use super::*;

    fn entries(options: Options, count: usize) -> Vec<Entry> {
        Generator::new(options).take(count).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_entries() {
        let first = entries(Options::default(), 200);
        assert_eq!(first, entries(Options::default(), 200));
        assert_ne!(first, entries(Options { seed: 2, ..Options::default() }, 200));
        assert_eq!(first.len(), 200);
    }

    #[test]
    fn shares_are_kept() {
        let options = Options { malformed_share: 0.1, high_risk_share: 0.2, ..Options::default() };
        let expected: Expected = entries(options, 10_000).iter().collect();
        assert!((900..1_100).contains(&expected.dead_letters), "{}", expected.dead_letters);
        assert!((1_650..1_950).contains(&expected.alerts), "{}", expected.alerts);
        assert_eq!(expected.cameras.len(), 50);
        let none = Options { malformed_share: 0.0, high_risk_share: 0.0, ..Options::default() };
        let expected: Expected = entries(none, 1_000).iter().collect();
        assert_eq!((expected.results, expected.alerts, expected.dead_letters), (1_000, 0, 0));
    }

    #[test]
    fn many_objects_make_large_results() {
        let options = Options { objects_max: 600, malformed_share: 0.0, ..Options::default() };
        let sizes = entries(options, 200).into_iter().map(|entry| entry.field.1.len());
        let sum: usize = sizes.sum();
        assert!((40_000..60_000).contains(&(sum / 200)), "{}", sum / 200);
    }
}
