//! Slots come back, tenants get their parts, and who uses much is moved behind.

use tokio::task::JoinSet;

use super::*;

/// Holds its thread for so long, so many times.
async fn spin(times: u32, slice: Duration) {
    for _ in 0..times {
        let begun = Instant::now();
        while begun.elapsed() < slice {
            std::hint::spin_loop();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_uses_much_is_moved_behind_in_the_middle_and_who_uses_little_is_not() {
    let threads = Threads::new(2, PriorityThreads::of_this_runtime());
    // What a busy machine takes from a poll counts as used, so the calm one may use much more.
    let (loud, calm) = (Arc::new(threads.share(1)), Arc::new(threads.share(1000)));
    let work = |share: Arc<Share>, slice: Duration| {
        let placed = share.clone();
        placed.place(async move {
            let (meter, total) = (Meter::default(), AtomicU64::new(0));
            let began = Priority::current();
            share.run(&meter, &total, spin(30, slice)).await;
            (began, Priority::current())
        })
    };
    let slice = Duration::from_millis(2);
    assert_eq!(work(loud.clone(), slice).await.unwrap(), (Priority::Foreground, Priority::Background));
    assert_eq!(work(loud, slice).await.unwrap(), (Priority::Background, Priority::Background), "it is remembered");
    assert_eq!(work(calm, Duration::ZERO).await.unwrap(), (Priority::Foreground, Priority::Foreground));
    // All slots have come back.
    let next = threads.share(1);
    assert!(threads.foreground.lock().begin(next.foreground, 0) && threads.background.lock().begin(next.background, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn background_threads_pause_as_long_as_they_ran_while_foreground_code_runs() {
    let threads = Threads::new(2, PriorityThreads::of_this_runtime());
    // Of this weight, half of a core is much.
    let (loud, calm) = (Arc::new(threads.share(2)), threads.share(1000));
    let slice = Duration::from_millis(1);
    let work = async |calls: u32| {
        let share = loud.clone();
        let placed = share.clone().place(async move {
            let (meter, total, begun) = (Meter::default(), AtomicU64::new(0), Instant::now());
            share.run(&meter, &total, spin(calls, slice)).await;
            (Priority::current(), begun.elapsed(), meter.used())
        });
        placed.await.unwrap()
    };
    assert_eq!(work(60).await.0, Priority::Background, "it has used much");
    let in_front = async {
        loop {
            calm.run(&Meter::default(), &AtomicU64::new(0), spin(1, Duration::ZERO)).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = in_front => {}
        (priority, took, used) = work(50) => {
            assert_eq!(priority, Priority::Background);
            assert!(took >= used + slice * 40, "{took:?} for {used:?} of work");
        }
    }
}

#[test]
fn a_rest_brings_nobody_back_in_front() {
    let share = Threads::new(1, None).share(1);
    share.rested(Duration::ZERO);
    assert!(!share.is_much());
    share.rested(Duration::from_millis(10));
    assert!(share.is_much(), "it counts as what was used");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_one_tenant_has_no_background() {
    let share = Arc::new(Threads::new(1, None).share(1));
    let placed = share.clone();
    let work = async move {
        share.run(&Meter::default(), &AtomicU64::new(0), spin(30, Duration::from_millis(2))).await;
        Priority::current()
    };
    assert_eq!(placed.place(work).await.unwrap(), Priority::Foreground);
}

#[tokio::test]
async fn the_time_of_a_call_is_measured() {
    let (threads, meter, total) = (Threads::new(1, None), Meter::default(), AtomicU64::new(0));
    let share = threads.share(1);
    let call = async {
        spin(3, Duration::from_millis(2)).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(meter.used() >= Duration::from_millis(6), "the poll that runs counts");
    };
    share.run(&meter, &total, call).await;
    assert!((6..20).contains(&meter.used().as_millis()), "{:?}: waiting is free", meter.used());
    assert_eq!(u128::from(total.load(Ordering::Relaxed)), meter.used().as_nanos());
    meter.reset();
    assert_eq!(meter.used(), Duration::ZERO);
}

#[tokio::test]
async fn a_call_within_a_call_needs_no_slot_of_its_own() {
    let threads = Threads::new(1, None);
    let (a, b) = (threads.share(1), threads.share(1));
    let (meter, total) = (Meter::default(), AtomicU64::new(0));
    let inner = async { b.run(&Meter::default(), &AtomicU64::new(0), spin(2, Duration::ZERO)).await };
    a.run(&meter, &total, inner).await;
}

#[tokio::test]
async fn a_call_that_is_dropped_while_it_waits_leaves_no_gap() {
    let threads = Threads::new(1, None);
    let share = Arc::new(threads.share(1));
    let mut calls = JoinSet::new();
    for number in 0..50 {
        let share = share.clone();
        calls.spawn(async move {
            let (meter, total) = (Meter::default(), AtomicU64::new(0));
            let call = share.run(&meter, &total, spin(20, Duration::from_micros(50)));
            let limit = if number % 2 == 0 { Duration::from_millis(3) } else { Duration::from_secs(60) };
            tokio::time::timeout(limit, call).await.is_ok()
        });
    }
    let ended = calls.join_all().await;
    assert!(ended.iter().filter(|ended| **ended).count() >= 25);
    assert_eq!(threads.foreground.lock().running(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_tenant_that_loops_leaves_the_others_their_share() {
    let threads = Threads::new(2, None);
    let (hostile, other) = (Arc::new(threads.share(1)), Arc::new(threads.share(1)));
    let mut loops = JoinSet::new();
    for _ in 0..100 {
        let hostile = hostile.clone();
        loops.spawn(async move {
            let (meter, total) = (Meter::default(), AtomicU64::new(0));
            hostile.run(&meter, &total, spin(u32::MAX, Duration::from_millis(1))).await;
        });
    }
    let (meter, total, begun) = (Meter::default(), AtomicU64::new(0), Instant::now());
    other.run(&meter, &total, spin(100, Duration::from_micros(100))).await;
    // In turn with a hundred loops it would be 10 s.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    loops.shutdown().await;
    assert_eq!(threads.foreground.lock().running(), 0);
}
