//! The example `examples/jobs` does what its README says.

use sandbar_store::{EntryId, Lengths};
use sandbar_tests::host::text;
use sandbar_tests::{TestHost, components, poll_until};

use super::{PATIENCE, both, now_ms};
use sandbar_store::JobQueue;

const MANIFEST: &str = include_str!("../../../examples/jobs/plugin.toml");
const UPLOADS: &str = include_str!("../../../examples/jobs/uploads.jsonl");

#[tokio::test(flavor = "multi_thread")]
async fn uploads_become_thumbnails() {
    for (server, store) in both().await {
        // From the beginning, since they are there before the plugin.
        let manifest = MANIFEST.replace("stream = \"uploads\"", "stream = \"uploads\"\nstart = \"0\"");
        let test = TestHost::on(store, components::EXAMPLE_JOBS, &manifest).await.reading("uploads");
        let begun = now_ms();
        for upload in UPLOADS.lines() {
            let fields: std::collections::BTreeMap<&str, &str> = serde_json::from_str(upload).unwrap();
            let fields: Vec<(&str, &str)> = fields.into_iter().collect();
            test.feed(&[&fields]).await;
        }
        let queue = JobQueue::new("", "thumbnails");
        let lengths = async || test.store.lengths(&queue).await.unwrap();
        let expected = Lengths { ready: 0, delayed: 2, leased: 0, dead: 1 };
        poll_until(PATIENCE, "all is done", async || lengths().await == expected).await;
        for image in ["cat.jpg", "dog.jpg"] {
            let key = format!("thumbnail:{image}");
            assert_eq!(test.value(&key).await, Some(format!("a small {image}")));
        }
        // What was ordered is made once, and removed later.
        let numbers = test.host.plugins()[0].metrics.snapshot();
        assert_eq!((numbers.done, numbers.dead), (4 + 2, 1), "{} ms", now_ms() - begun);
        let dead_letters = test.store.range("thumbnails:dead", EntryId::ZERO, EntryId::MAX, 10, false).await.unwrap();
        assert_eq!(text(&dead_letters[0], "reason"), "unreadable.gif: not a picture");
        assert_eq!(text(&dead_letters[0], "payload"), r#"{"do":"make","image":"unreadable.gif"}"#);
        drop(server);
    }
}
