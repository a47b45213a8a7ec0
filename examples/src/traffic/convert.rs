//! Real detections of one camera become assessments of many.
//!
//! A recording is a JSON array of frames, `{frame_id, objects: [...]}`, at 30 frames a second. Camera `n` of `N`
//! replays it from its own offset, `n / N` of its length, and round. There is no language model in this; the risk is
//! derived from the detections:
//!
//! - Two objects are close when their centres are at most [`CLOSE`] apart, in parts of the picture's width and height.
//! - A group is a set of at least two objects connected by being close.
//! - Its level grows with its size: 2 `low`, 3 `medium`, 4 `high`, more `critical`; a picture without groups is `none`.
//! - Driving is dangerous where a bus is in a group.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::assessment::{Assessment, Group, Level, Object, Risk, timestamp};
use super::{Entry, FIELD, Fate, START_MS};

/// How far apart the centres of close objects are at most.
pub const CLOSE: f64 = 0.05;
/// Frames a second in a recording.
const FRAMES_PER_SECOND: u64 = 30;

/// What is made of a recording.
#[derive(Clone, Debug)]
pub struct Options {
    /// Cameras, named `1` to this number.
    pub cameras: u32,
    /// Cuts every so-manieth entry in half, as a broken connection would; 0 for none.
    pub cut_every: u64,
}

impl Default for Options {
    /// 20 cameras, nothing cut.
    fn default() -> Self {
        Self { cameras: 20, cut_every: 0 }
    }
}

/// A recording that can be converted.
#[derive(Debug)]
pub struct Converter {
    frames: Vec<Frame>,
}

/// One picture.
#[derive(Debug, Deserialize)]
struct Frame {
    frame_id: u64,
    objects: Vec<Object>,
}

impl Converter {
    /// Reads a recording.
    ///
    /// # Errors
    ///
    /// Where it is not a JSON array of frames.
    pub fn parse(recording: &[u8]) -> serde_json::Result<Self> {
        Ok(Self { frames: serde_json::from_slice(recording)? })
    }

    /// Number of frames.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// The entries of all cameras, frame by frame: as many as frames times cameras.
    pub fn entries(&self, options: &Options) -> impl Iterator<Item = Entry> {
        let Options { cameras, cut_every } = *options;
        let rounds = 0..self.frames.len();
        let turns = rounds.flat_map(move |round| (0..cameras).map(move |camera| (round, camera)));
        (1..).zip(turns).filter_map(move |(number, (round, camera))| {
            let offset = self.frames.len() * camera as usize / cameras as usize;
            let frame = self.frames.get((round + offset) % self.frames.len())?;
            let is_cut = cut_every > 0 && number % cut_every == 0;
            entry(frame, &(camera + 1).to_string(), round as u64, is_cut)
        })
    }
}

fn entry(frame: &Frame, camera: &str, round: u64, is_cut: bool) -> Option<Entry> {
    let groups = groups(&frame.objects);
    let is_in_group = |index| groups.iter().any(|group| group.objects.contains(&index));
    let risk_assessment = Risk {
        max_risk_level: groups.iter().map(|group| group.risk_level).max().unwrap_or(Level::None),
        has_dangerous_driving: frame
            .objects
            .iter()
            .enumerate()
            .any(|(i, object)| object.name == "bus" && is_in_group(i)),
    };
    let is_alert = risk_assessment.is_alert();
    let assessment = Assessment {
        request_id: format!("{camera}-{}", frame.frame_id),
        camera_id: camera,
        timestamp: timestamp(START_MS + round * 1_000 / FRAMES_PER_SECOND),
        detected_objects: &frame.objects,
        traffic_groups: groups,
        risk_assessment,
        llm_latency: None,
        llm_model: None,
    };
    let mut data = serde_json::to_string(&assessment).ok()?;
    if is_cut {
        data.truncate(data.floor_char_boundary(data.len() / 2));
        return Some(Entry { field: (FIELD, data), fate: Fate::DeadLetter { reason: "" } });
    }
    Some(Entry { field: (FIELD, data), fate: Fate::Result { camera: camera.to_owned(), is_alert } })
}

/// The groups of a picture, in the order of their first objects.
fn groups(objects: &[Object]) -> Vec<Group> {
    // The group of an object goes by the lowest index in it; a merge relabels the other side.
    let mut labels: Vec<usize> = (0..objects.len()).collect();
    for (i, one) in objects.iter().enumerate() {
        for (j, other) in objects.iter().enumerate().skip(i + 1) {
            if let (true, Some(&a), Some(&b)) = (are_close(one, other), labels.get(i), labels.get(j)) {
                let lowest = a.min(b);
                labels.iter_mut().filter(|label| **label == a || **label == b).for_each(|label| *label = lowest);
            }
        }
    }
    let mut members = BTreeMap::<usize, Vec<usize>>::new();
    for (index, label) in labels.into_iter().enumerate() {
        members.entry(label).or_default().push(index);
    }
    let groups = members.into_values().filter(|members| members.len() > 1).enumerate();
    groups
        .map(|(group_id, objects)| Group {
            group_id,
            risk_level: level(objects.len()),
            description: format!("{} road users close to each other", objects.len()),
            objects,
        })
        .collect()
}

fn are_close(one: &Object, other: &Object) -> bool {
    let (one, other) = (one.relative_coordinates, other.relative_coordinates);
    let (x, y) = (one.center_x - other.center_x, one.center_y - other.center_y);
    x * x + y * y <= CLOSE * CLOSE
}

fn level(size: usize) -> Level {
    match size {
        0 | 1 => Level::None,
        2 => Level::Low,
        3 => Level::Medium,
        4 => Level::High,
        _ => Level::Critical,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Expected;
    use super::*;

    /// A recording with objects of these kinds at these places, one list a frame.
    fn recording(frames: &[&[(&str, f64, f64)]]) -> Converter {
        let object = |&(name, center_x, center_y): &(&str, f64, f64)| {
            serde_json::json!({
                "class_id": 6, "name": name, "confidence": 0.5,
                "relative_coordinates": { "center_x": center_x, "center_y": center_y, "width": 0.1, "height": 0.1 },
            })
        };
        let frames = frames.iter().enumerate().map(|(id, objects)| {
            serde_json::json!({ "frame_id": id, "objects": objects.iter().map(object).collect::<Vec<_>>() })
        });
        Converter::parse(&serde_json::to_vec(&frames.collect::<Vec<_>>()).expect("JSON")).expect("a recording")
    }

    fn levels(frames: &[&[(&str, f64, f64)]]) -> Vec<Level> {
        let converter = recording(frames);
        let max = |frame: &Frame| groups(&frame.objects).iter().map(|group| group.risk_level).max();
        converter.frames.iter().map(|frame| max(frame).unwrap_or(Level::None)).collect()
    }

    #[test]
    fn the_level_grows_with_the_largest_group() {
        let row = |count: usize| (0..count).map(|i| ("car", 0.1 + 0.04 * i as f64, 0.5)).collect::<Vec<_>>();
        let pairs = [("car", 0.1, 0.1), ("car", 0.12, 0.1), ("car", 0.5, 0.5), ("car", 0.52, 0.5)];
        assert_eq!(
            levels(&[&row(0), &row(1), &row(2), &row(3), &row(4), &row(5), &pairs]),
            [Level::None, Level::None, Level::Low, Level::Medium, Level::High, Level::Critical, Level::Low]
        );
    }

    #[test]
    fn each_camera_has_each_frame_once_from_its_own_offset() {
        let converter = recording(&[&[], &[], &[], &[]]);
        let entries: Vec<_> = converter.entries(&Options { cameras: 2, cut_every: 0 }).collect();
        let ids = entries.iter().map(|entry| {
            let value: serde_json::Value = serde_json::from_str(&entry.field.1).expect("JSON");
            value["requestId"].as_str().expect("text").to_owned()
        });
        assert_eq!(ids.collect::<Vec<_>>(), ["1-0", "2-2", "1-1", "2-3", "1-2", "2-0", "1-3", "2-1"]);
    }

    #[test]
    fn a_bus_in_a_group_is_an_alert_and_what_is_cut_a_dead_letter() {
        let near_bus: &[_] = &[("bus", 0.1, 0.1), ("car", 0.12, 0.1)];
        let lone_bus: &[_] = &[("bus", 0.1, 0.1), ("car", 0.5, 0.1)];
        let converter = recording(&[near_bus, lone_bus]);
        let expected: Expected =
            converter.entries(&Options { cameras: 3, cut_every: 3 }).collect::<Vec<_>>().iter().collect();
        assert_eq!((expected.results, expected.alerts, expected.dead_letters), (4, 2, 2));
        assert_eq!(converter.entries(&Options { cameras: 3, cut_every: 0 }).count(), 6);
    }
}
