//! What a session takes: by the goroutines alive and the creation sites, not by how many came and went. Every allocation of
//! this process is counted.

#[path = "../benches/workload/mod.rs"]
mod workload;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tracer::pipeline::Pipeline;
use workload::{Shape, Workload};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
/// The numbers are the whole process's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

// SAFETY: every request goes to the system's allocator as it is, and its answer back.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's conditions.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above; `ptr` is from `alloc` with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }

    /// Large ones are moved by the kernel page by page: what the old place had is not there twice.
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let now = NOW.fetch_add(new_size, Ordering::Relaxed) + new_size;
        MOST.fetch_max(now - layout.size(), Ordering::Relaxed);
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn bytes() -> usize {
    NOW.load(Ordering::Relaxed)
}

/// The goroutines of a debug build's run; the release build of `cargo xtask bench flow` has all ten million.
const SHORT_LIVED: u64 = if cfg!(debug_assertions) { 1_000_000 } else { 10_000_000 };

#[test]
fn short_lived_goroutines_leave_nothing() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let before = bytes();
    let shape = Shape { events: 2 * SHORT_LIVED, rate: 100_000, live: 1_000, park: false };
    let (mut workload, mut record, mut pipeline) = (Workload::new(shape), Vec::new(), Pipeline::new());
    // What is remembered of the last 131,072 that ended, and of the last minutes, is full by the half.
    let (mut n, mut at_half) = (0, 0);
    while workload.next(&mut record) {
        pipeline.push(&record);
        n += 1;
        if n == SHORT_LIVED {
            at_half = bytes() - before;
        }
    }
    let at_end = bytes() - before;
    let snapshot = pipeline.snapshot();
    println!("{SHORT_LIVED} goroutines: {at_half} bytes at half, {at_end} at the end");
    assert!(snapshot.totals.born > SHORT_LIVED / 100 * 99, "{:?}", snapshot.totals);
    assert!(snapshot.totals.live < 2_000, "{:?}", snapshot.totals);
    assert!(snapshot.losses.is_empty(), "{:?}", snapshot.losses);
    // Series of 50 sites get a point a second for two minutes: at most this much in all.
    assert!(at_end <= at_half + (2 << 20), "{at_half} bytes grew to {at_end}");
    assert!(at_end < 32 << 20, "{at_end} bytes");
}

#[test]
fn a_million_live_goroutines_fit_into_a_hundred_megabytes() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let shape = Shape { events: 1_000_000, rate: 200_000, live: 1_000_000, park: false };
    let (mut workload, mut record) = (Workload::new(shape), Vec::new());
    let before = bytes();
    let mut pipeline = Pipeline::new();
    // The stream's maker remembers them too; that is counted apart, and left out.
    let mut maker = 0;
    loop {
        let was = bytes();
        let more = workload.next(&mut record);
        maker += bytes() as isize - was as isize;
        if !more {
            break;
        }
        pipeline.push(&record);
    }
    pipeline.finish();
    let all = bytes() as isize - maker - before as isize;
    MOST.store(bytes(), Ordering::Relaxed);
    let snapshot = pipeline.snapshot();
    let most = MOST.load(Ordering::Relaxed) as isize - maker - before as isize;
    println!("a million: {all} bytes, {most} while the picture is drawn");
    assert_eq!(snapshot.totals.live, 1_000_000);
    assert!(most < 100_000_000, "{most} bytes");
}
