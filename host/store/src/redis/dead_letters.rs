//! Dead letters as commands.

use ::redis::Pipeline;

use crate::Field;

/// Appends dead letters, of which so many stay for so many milliseconds.
pub(super) fn append<'a>(
    dead_key: &str,
    (max_len, max_age_ms): (u64, u64),
    dead_letters: impl ExactSizeIterator<Item = &'a Vec<Field>>,
    now_ms: u64,
    pipeline: &mut Pipeline,
) {
    if dead_letters.len() == 0 {
        return;
    }
    for fields in dead_letters {
        pipeline.cmd("XADD").arg(dead_key).arg("MAXLEN").arg("~").arg(max_len).arg("*");
        for field in fields {
            pipeline.arg(&field.name).arg(&field.value[..]);
        }
    }
    pipeline.cmd("XTRIM").arg(dead_key).arg("MINID").arg("~").arg(now_ms.saturating_sub(max_age_ms));
}
