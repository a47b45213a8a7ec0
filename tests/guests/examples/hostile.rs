//! Does what a hostile component would do; every error is ignored, as a hostile component would.
//!
//! Field: `do`, one of the words below. Grants: everything.
#![allow(clippy::print_stdout, reason = "it floods the log")]

use sandbar_sdk::prelude::*;

/// Names that lie outside of a tenant's prefix if anybody takes them at their word.
const NAMES: [&str; 16] = [
    "../b:secret",
    "..",
    "b:secret",
    "*",
    "a*",
    "?:secret",
    "[ab]:secret",
    "{b}:secret",
    "{b:}secret",
    "\0b:secret",
    "b:secret\0",
    "x\r\nDEL b:secret\r\n",
    "\\",
    "sandbar:fence:events:guest:x",
    "__redis__:invalidate",
    "",
];

sandbar_sdk::handler!(handle);

fn handle(event: &Event) -> Result<(), Failure> {
    let done = match event.text("do")? {
        "loop" => loop {
            std::hint::black_box(event);
        },
        "allocate" => {
            let mut eaten = Vec::new();
            loop {
                eaten.push(vec![1_u8; 1 << 20]);
                std::hint::black_box(&eaten);
            }
        }
        "recurse" => recurse(u64::MAX) > 0,
        "effects" => (0..20_000).all(|n| cache::set(&format!("flood:{n}"), "x", Expiry::Never).is_ok()),
        "calls" => (0..5_000).all(|n| cache::get(&format!("k:{}", n % 10)).is_ok()),
        "lists" => lists(),
        "names" => NAMES.iter().all(|name| misuse(name)),
        "log" => {
            let line = "a gigabyte of this ".repeat(3_000);
            (0..200).for_each(|_| log::info(&line));
            (0..200).for_each(|_| println!("{line}"));
            true
        }
        _ => false,
    };
    std::hint::black_box(done);
    Ok(cache::add("survived", 1)?)
}

#[expect(unconditional_recursion, reason = "that is what it is for")]
fn recurse(n: u64) -> u64 {
    std::hint::black_box(n) + recurse(n - 1)
}

/// Makes a list as large as it may be, and reads it again and again.
fn lists() -> bool {
    let value = vec![b'x'; 1_000];
    let values: Vec<&[u8]> = (0..500).map(|_| value.as_slice()).collect();
    let pushed = collections::list_push("huge", End::Back, &values, Some(10_000)).is_ok();
    pushed & (0..20).all(|_| collections::list_range("huge", 0, -1).is_ok())
}

/// Does everything that there is with a name.
fn misuse(name: &str) -> bool {
    let reads = [
        cache::get(name).is_ok(),
        cache::get_many(&[name, "b:secret"]).is_ok(),
        cache::ttl(name).is_ok(),
        cache::scan(name, 0, 100).is_ok(),
        cache::get_for_update(name).is_ok(),
        stream::range(name, "-", "+", 10).is_ok(),
        stream::info(name).is_ok(),
        collections::hash_get_all(name).is_ok(),
        collections::set_members(name).is_ok(),
        collections::sorted_size(name).is_ok(),
        collections::list_range(name, 0, -1).is_ok(),
        queue::length(name).is_ok(),
        queue::peek(name, 1).is_ok(),
        queue::take(name, 1).is_ok(),
        pubsub::subscribers(name).is_ok(),
        lock::try_acquire(name, Duration::from_secs(1)).is_ok(),
    ];
    let writes = [
        cache::increment(name, 1).is_ok(),
        cache::set(name, "hacked", Expiry::Never).is_ok(),
        cache::delete(name).is_ok(),
        stream::append(name, &[("hacked", "x")], Retention::Unlimited).is_ok(),
        stream::trim(name, Retention::Exactly(0), false).is_ok(),
        queue::push(name, "hacked").is_ok(),
        pubsub::publish(name, "hacked").is_ok(),
        collections::list_push(name, End::Front, &["hacked"], None).is_ok(),
        collections::hash_set(name, &[("hacked", "x")]).is_ok(),
    ];
    // What was gathered under one name must not be refused because of another.
    let committed = transaction::commit().is_ok();
    reads.into_iter().chain(writes).filter(|is_ok| *is_ok).count() > 0 && committed
}
